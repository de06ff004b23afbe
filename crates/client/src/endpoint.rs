//! Where the service is.

use std::fmt;
use std::path::PathBuf;

use longhaul_contract::paths::{NoHome, ServicePaths};
use longhaul_contract::{Secret, paths};

/// An address of the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// The Unix socket of the owner's service; the peer's user is the credential.
    Unix { socket: PathBuf },
    /// TCP on the loopback, with a token from `longhaul app token`.
    Tcp {
        /// `HOST:PORT`; also what is sent as `Host`.
        authority: String,
        token: Secret,
    },
}

/// Why no endpoint could be made.
#[derive(Debug, thiserror::Error)]
pub enum InvalidEndpoint {
    #[error(transparent)]
    NoHome(#[from] NoHome),
    #[error("the socket path {socket:?} has more than {} bytes", paths::SOCKET_PATH_MAX)]
    SocketPathTooLong { socket: PathBuf },
    #[error("{authority:?} is not HOST:PORT")]
    InvalidAuthority { authority: String },
}

impl Endpoint {
    /// The socket of the calling user's service, by the rules of [`ServicePaths::find`].
    ///
    /// # Errors
    /// When there is no home folder to find it by, or the path is too long for a socket.
    pub fn of_this_user() -> Result<Self, InvalidEndpoint> {
        let uid = rustix::process::getuid().as_raw();
        Self::unix(ServicePaths::find(uid, |name| std::env::var_os(name))?.socket)
    }

    /// # Errors
    /// When the path is too long for a socket.
    pub fn unix(socket: impl Into<PathBuf>) -> Result<Self, InvalidEndpoint> {
        let socket = socket.into();
        if socket.as_os_str().len() > paths::SOCKET_PATH_MAX {
            return Err(InvalidEndpoint::SocketPathTooLong { socket });
        }
        Ok(Self::Unix { socket })
    }

    /// # Errors
    /// When `authority` is not `HOST:PORT`.
    pub fn tcp(authority: &str, token: Secret) -> Result<Self, InvalidEndpoint> {
        let is_valid = authority
            .parse::<http::uri::Authority>()
            .is_ok_and(|parsed| parsed.port_u16().is_some() && !authority.contains('@'));
        if !is_valid {
            return Err(InvalidEndpoint::InvalidAuthority { authority: authority.to_owned() });
        }
        Ok(Self::Tcp { authority: authority.to_owned(), token })
    }

    pub(crate) fn host(&self) -> &str {
        match self {
            Self::Unix { .. } => "localhost",
            Self::Tcp { authority, .. } => authority,
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix { socket } => write!(f, "{}", socket.display()),
            Self::Tcp { authority, .. } => f.write_str(authority),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_needs_a_port_and_no_user() {
        for good in ["127.0.0.1:8080", "[::1]:8080", "localhost:1"] {
            assert!(Endpoint::tcp(good, Secret::new("t")).is_ok(), "{good}");
        }
        for bad in ["localhost", "a@localhost:1", "http://localhost:1", "", "localhost:99999"] {
            assert!(Endpoint::tcp(bad, Secret::new("t")).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_token_is_never_printed() {
        let endpoint = Endpoint::tcp("localhost:1", Secret::new("hidden")).unwrap();
        assert!(!format!("{endpoint} {endpoint:?}").contains("hidden"));
    }

    #[test]
    fn a_socket_path_has_a_longest_length() {
        assert!(Endpoint::unix("/a".repeat(53)).is_ok());
        assert!(Endpoint::unix("/a".repeat(54)).is_err());
    }
}
