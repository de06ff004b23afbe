//! The opening of a connection by a SOCKS proxy (RFC 1928, user name and password by RFC 1929).

use std::io;
use std::net::SocketAddr;

use longhaul_contract::Credential;
use tokio::io::AsyncReadExt as _;

use super::stream::Stream;

const VERSION: u8 = 5;
const WITHOUT_ACCOUNT: u8 = 0;
const BY_PASSWORD: u8 = 2;
const PASSWORD_VERSION: u8 = 1;
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;
const BYTES_MAX: usize = 255;

/// Where the proxy is to connect to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target<'a> {
    Name(&'a str, u16),
    Address(SocketAddr),
}

#[derive(Debug)]
pub(crate) enum SocksError {
    Broken(io::Error),
    /// It wants an account and none is given, or another kind of one.
    AccountWanted,
    AccountRefused,
    /// The reply, a number of RFC 1928 section 6.
    Refused(u8),
    /// A name, user name or password is longer than the protocol can say.
    TooLong(&'static str),
    NotSocks,
}

impl From<io::Error> for SocksError {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

/// Lets the proxy at the other end of `stream` connect to `target`.
pub(crate) async fn open(
    stream: &mut Stream,
    target: Target<'_>,
    credential: Option<&Credential>,
) -> Result<(), SocksError> {
    let request = request(target)?;
    let greeting: &[u8] = match credential {
        None => &[VERSION, 1, WITHOUT_ACCOUNT],
        Some(_) => &[VERSION, 2, WITHOUT_ACCOUNT, BY_PASSWORD],
    };
    stream.say(greeting).await?;
    let [version, method] = read(stream).await?;
    match (version, method, credential) {
        (VERSION, WITHOUT_ACCOUNT, _) => {}
        (VERSION, BY_PASSWORD, Some(credential)) => {
            stream.say(&account(credential)?).await?;
            let [_, status] = read(stream).await?;
            if status != 0 {
                return Err(SocksError::AccountRefused);
            }
        }
        (VERSION, _, _) => return Err(SocksError::AccountWanted),
        _ => return Err(SocksError::NotSocks),
    }
    stream.say(&request).await?;
    let [version, reply, _, kind] = read(stream).await?;
    if version != VERSION {
        return Err(SocksError::NotSocks);
    }
    if reply != 0 {
        return Err(SocksError::Refused(reply));
    }
    // The address that the proxy connects from tells nothing that is needed.
    let length = match kind {
        IPV4 => 4,
        IPV6 => 16,
        NAME => usize::from(read::<1>(stream).await?[0]),
        _ => return Err(SocksError::NotSocks),
    };
    let mut bound = [0_u8; BYTES_MAX + 2];
    stream.read_exact(&mut bound[..length + 2]).await?;
    Ok(())
}

async fn read<const N: usize>(stream: &mut Stream) -> io::Result<[u8; N]> {
    let mut bytes = [0_u8; N];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

fn with_length(message: &mut Vec<u8>, text: &str, what: &'static str) -> Result<(), SocksError> {
    let length = u8::try_from(text.len()).map_err(|_| SocksError::TooLong(what))?;
    message.push(length);
    message.extend_from_slice(text.as_bytes());
    Ok(())
}

fn account(credential: &Credential) -> Result<Vec<u8>, SocksError> {
    let mut message = vec![PASSWORD_VERSION];
    with_length(&mut message, &credential.user, "user name")?;
    with_length(&mut message, credential.password.reveal(), "password")?;
    Ok(message)
}

fn request(target: Target<'_>) -> Result<Vec<u8>, SocksError> {
    let mut message = vec![VERSION, CONNECT, 0];
    let port = match target {
        Target::Name(name, port) => {
            message.push(NAME);
            with_length(&mut message, name, "host name")?;
            port
        }
        Target::Address(SocketAddr::V4(address)) => {
            message.push(IPV4);
            message.extend_from_slice(&address.ip().octets());
            address.port()
        }
        Target::Address(SocketAddr::V6(address)) => {
            message.push(IPV6);
            message.extend_from_slice(&address.ip().octets());
            address.port()
        }
    };
    message.extend_from_slice(&port.to_be_bytes());
    Ok(message)
}

#[cfg(test)]
mod tests {
    use longhaul_contract::Secret;

    use super::*;

    #[test]
    fn requests_are_written_as_the_protocol_has_them() {
        assert_eq!(request(Target::Name("a.b", 258)).unwrap(), [5, 1, 0, 3, 3, b'a', b'.', b'b', 1, 2]);
        let v4 = Target::Address("1.2.3.4:80".parse().unwrap());
        assert_eq!(request(v4).unwrap(), [5, 1, 0, 1, 1, 2, 3, 4, 0, 80]);
        let v6 = request(Target::Address("[::1]:443".parse().unwrap())).unwrap();
        assert_eq!((v6.len(), v6[3], v6[19], &v6[20..]), (22, IPV6, 1, [1, 187].as_slice()));
        let credential =
            |password: &str| Credential { user: "u".to_owned(), password: Secret::new(password) };
        assert_eq!(account(&credential("pw")).unwrap(), [1, 1, b'u', 2, b'p', b'w']);
        assert!(matches!(account(&credential(&"p".repeat(256))), Err(SocksError::TooLong("password"))));
        assert!(request(Target::Name(&"n".repeat(256), 1)).is_err());
    }
}
