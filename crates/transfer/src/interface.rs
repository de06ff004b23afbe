//! By which interface, or from which address of this machine, connections are made.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use tokio::net::{TcpSocket, TcpStream};

/// `IFNAMSIZ`, with the byte that ends the name.
const NAME_BYTES_MAX: usize = 15;

/// The name of an interface (`SO_BINDTODEVICE`, socket(7)) or an address that this machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Interface {
    Named(InterfaceName),
    Address(IpAddr),
}

/// Padded with zeros.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct InterfaceName([u8; NAME_BYTES_MAX]);

/// Why a text names none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither the name of an interface (at most 15 bytes, no space, / or :) nor an address")]
pub struct InterfaceError(String);

impl FromStr for Interface {
    type Err = InterfaceError;

    fn from_str(text: &str) -> Result<Self, InterfaceError> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        let is_odd =
            |letter: char| letter.is_whitespace() || letter.is_control() || matches!(letter, '/' | ':');
        if text.is_empty()
            || text.len() > NAME_BYTES_MAX
            || text.contains(is_odd)
            || text == "."
            || text == ".."
        {
            return Err(InterfaceError(text.to_owned()));
        }
        let mut name = [0; NAME_BYTES_MAX];
        name[..text.len()].copy_from_slice(text.as_bytes());
        Ok(Self::Named(InterfaceName(name)))
    }
}

impl Interface {
    /// Whether a connection to `remote` can begin there.
    pub(crate) fn reaches(self, remote: SocketAddr) -> bool {
        match self {
            Self::Named(_) => true,
            Self::Address(address) => address.is_ipv4() == remote.is_ipv4(),
        }
    }
}

impl InterfaceName {
    fn bytes(&self) -> &[u8] {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap_or(self.0.len());
        &self.0[..end]
    }
}

impl fmt::Debug for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&String::from_utf8_lossy(self.bytes()), f)
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(name) => f.write_str(&String::from_utf8_lossy(name.bytes())),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// # Errors
/// As connect(2); `ENODEV` where there is no such interface, `EADDRNOTAVAIL` where the machine has no such address, `EPERM`
/// where the kernel lets only privileged programs choose an interface by its name (Linux before 5.7).
pub(crate) async fn connect(from: Option<Interface>, remote: SocketAddr) -> io::Result<TcpStream> {
    let Some(from) = from else { return TcpStream::connect(remote).await };
    let socket = if remote.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    match from {
        Interface::Named(name) => socket.bind_device(Some(name.bytes()))?,
        Interface::Address(address) => socket.bind(SocketAddr::new(address, 0))?,
    }
    socket.connect(remote).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_told_apart() {
        for text in ["eth0", "wg-home", "enp0s31f6.1000", "abcdefghijklmno", "192.0.2.7", "2001:db8::7"] {
            assert_eq!(text.parse::<Interface>().unwrap().to_string(), text);
        }
        assert!(
            matches!("127.1".parse(), Ok(Interface::Named(_))),
            "the kernel takes it for a name, if there is one"
        );
        for text in ["", "abcdefghijklmnop", "a b", "a/b", "eth0:1", "..", "a\0"] {
            assert_eq!(text.parse::<Interface>(), Err(InterfaceError(text.to_owned())));
        }
    }
}
