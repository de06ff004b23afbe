//! How a call can fail.

use std::io;

use longhaul_contract::{ErrorCode, Problem};

/// Why a call did not bring its answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The service answered and said no.
    #[error("{0}")]
    Refused(Box<Problem>),
    /// No connection, or it broke before the whole answer was there. Whether a call that changes something took
    /// effect is then unknown.
    #[error("the service at {endpoint} cannot be reached: {source}")]
    Unreachable { endpoint: String, source: io::Error },
    /// What answered does not speak this protocol.
    #[error("{call}: {detail}")]
    Protocol { call: String, detail: String },
}

impl ClientError {
    /// The code of a refusal.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused(problem) => Some(problem.code),
            Self::Unreachable { .. } | Self::Protocol { .. } => None,
        }
    }

    /// Whether nothing listens at the endpoint, as opposed to a connection that broke.
    #[must_use]
    pub fn is_not_listening(&self) -> bool {
        match self {
            Self::Unreachable { source, .. } => {
                matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
            }
            Self::Refused(_) | Self::Protocol { .. } => false,
        }
    }

    /// Whether the same call may succeed once the service is there again.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Refused(problem) => {
                matches!(
                    problem.code,
                    ErrorCode::ShuttingDown | ErrorCode::StoreUnavailable | ErrorCode::TooManyRequests
                )
            }
            Self::Unreachable { .. } => true,
            Self::Protocol { .. } => false,
        }
    }
}
