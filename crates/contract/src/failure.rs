//! Failures of work, sorted by what would remedy them.

use serde::{Deserialize, Serialize};

use crate::WebErrorStatus;

/// What has to happen before the work can go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum Remedy {
    /// Trying again later may do.
    Transient,
    /// The machine has to change first; no attempt is counted.
    Blocked { on: Blocker },
    /// Only a new start from byte 0 can succeed; the bytes at hand are of another version.
    Stale,
    /// The caller has to renew the URL, a header or a credential; the bytes at hand are kept.
    NeedsInput,
    /// Nothing helps.
    Permanent,
}

/// What of the machine stands in the way.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum Blocker {
    /// No route, no name service, or the link went away.
    Network,
    /// A captive portal answered in place of the server.
    Portal,
    /// No space left, or over the user's quota.
    DiskSpace,
    /// The destination folder is gone or its file system is not mounted.
    Folder,
    /// The destination is read-only or its permissions forbid writing.
    ReadOnly,
    /// Out of file descriptors or memory.
    Resources,
    /// The store of the service cannot write.
    Store,
}

/// The cause of a failure as a word that stays the same over releases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum Cause {
    NameNotResolved,
    CannotConnect,
    ConnectTimeout,
    ResponseTimeout,
    Stalled,
    ConnectionReset,
    ConnectionClosed,
    /// The body ended before its announced length.
    Truncated,
    TlsCertificate,
    TlsProtocol,
    InvalidResponse,
    HeadersTooLarge,
    HttpStatus,
    /// An FTP server refused a command.
    FtpReply,
    RateLimitedByServer,
    Redirect,
    RedirectLoop,
    RedirectToHttp,
    UnsupportedScheme,
    SourceChanged,
    RangesUnsupported,
    LengthMissing,
    OverlapMismatch,
    ContentEncoding,
    DigestMismatch,
    SizeMismatch,
    ContentTypeMismatch,
    CaptivePortal,
    AddressForbidden,
    NoNetwork,
    DiskFull,
    FileTooLarge,
    FolderMissing,
    FolderNotWritable,
    NameExists,
    InvalidName,
    FileIo,
    FileReplaced,
    /// A file to be sent is not there, or is no file that can be read.
    SourceUnreadable,
    /// A request that must not be repeated blindly may have reached the server, and no answer came.
    Unconfirmed,
    Resources,
    StoreUnavailable,
    Canceled,
    Internal,
}

impl Cause {
    /// The camelCase word that answers carry.
    #[must_use]
    pub fn word(self) -> String {
        serde_json::to_value(self).ok().and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
    }
}

/// One failed attempt, in the terms the deciding code and the caller share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    pub remedy: Remedy,
    pub cause: Cause,
    pub web_error_status: WebErrorStatus,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_status: Option<u16>,
    /// For a person: what happened, naming host or path, without secrets.
    pub detail: String,
    /// Seconds the server asked us to wait (Retry-After, RFC 9110 section 10.2.3), already bounded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_seconds: Option<u32>,
}
