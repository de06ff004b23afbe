//! What an upload worker is asked to do, and what it reports.

use std::path::PathBuf;

use longhaul_contract::{Credential, Failure, OperationId, ResponseInformation, Secret};
use serde::{Deserialize, Serialize};
use url::Url;

use super::record::{ResponseBody, UploadJournalRecord, UploadReceipt};
use crate::client_identity::ClientIdentity;
use crate::proxy::ProxyRules;

/// How the bytes are to be brought to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum UploadProtocol {
    /// A plain request that the server may upgrade to a resumable one (draft-ietf-httpbis-resumable-upload, status
    /// 104); tus where the server says that it speaks it.
    #[default]
    Auto,
    /// One request with the whole body; every further one starts at byte 0.
    Plain,
    /// tus 1.0; `url` is where uploads are created.
    Tus,
    /// draft-ietf-httpbis-resumable-upload, interop version 8.
    Resumable,
}

/// Where the body comes from.
#[derive(Debug, Clone)]
pub enum UploadSource {
    /// The file's bytes as they are.
    File(PathBuf),
    /// `multipart/SUB_TYPE` (RFC 2046 section 5.1). The same boundary has to be given at every attempt.
    Multipart { sub_type: String, boundary: String, parts: Vec<UploadPart> },
}

/// One part of a multipart body.
#[derive(Debug, Clone)]
pub struct UploadPart {
    /// In the order given, such as Content-Disposition and Content-Type.
    pub headers: Vec<(String, String)>,
    pub content: UploadContent,
}

#[derive(Debug, Clone)]
pub enum UploadContent {
    File(PathBuf),
    Text(String),
}

/// One attempt of one upload.
#[derive(Debug, Clone)]
pub struct UploadJob {
    pub id: OperationId,
    pub attempt: u32,
    pub url: Url,
    pub method: http::Method,
    /// Bound to the origin of `url`: neither a redirect nor an upload URL at another origin gets them.
    pub headers: Vec<(http::HeaderName, Secret)>,
    pub credential: Option<Credential>,
    /// Shown to the origin of `url` alone.
    pub identity: Option<ClientIdentity>,
    pub source: UploadSource,
    pub protocol: UploadProtocol,
    /// Presigned addresses, one for each part of `part_size` bytes (the last one may be shorter); when there are any,
    /// each part is PUT to its own and nothing is sent to `url`.
    pub part_urls: Vec<Url>,
    /// Bytes; 0 when there are no `part_urls`.
    pub part_size: u64,
    /// Media type of the body; a multipart body has its own.
    pub content_type: Option<String>,
    /// Sent as `Idempotency-Key`; the server may be asked again with it where the method alone would forbid that.
    pub idempotency_key: Option<String>,
    /// Bytes per second for this job alone.
    pub rate_limit: Option<u64>,
    /// What an earlier attempt left; `None` starts afresh.
    pub journal: Option<UploadJournalRecord>,
    /// Refuse to connect to anything but public addresses (checked on the connected address, every hop).
    pub public_addresses_only: bool,
    /// Where its connections begin; `None`: as the routes of the machine have it.
    pub interface: Option<crate::interface::Interface>,
    /// By which proxy its requests go.
    pub proxy: ProxyRules,
    /// Bytes of the response body that are kept.
    pub response_body_max: u64,
}

/// Sent by an upload worker; `id` and `attempt` travel beside it.
#[derive(Debug, Clone)]
pub enum UploadReport {
    /// The server has acknowledged the first new bytes of this attempt, for good, and more are missing. A plain request
    /// has no such moment: when it breaks off, all of it was in vain.
    Progressed,
    /// A final response came (each new one replaces the last).
    Response(ResponseInformation),
    /// The last report.
    Ended(Box<UploadEnd>),
}

#[derive(Debug, Clone)]
pub enum UploadEnd {
    /// The server has all bytes and said so.
    Finished {
        receipt: UploadReceipt,
        response: Option<ResponseInformation>,
        body: ResponseBody,
    },
    Stopped,
    Failed {
        failure: Failure,
        /// Whether the server has more of the bytes, for good, than before the attempt.
        has_progressed: bool,
        response: Option<ResponseInformation>,
        /// Body of the response that told the failure; empty when none did.
        body: ResponseBody,
        /// Whether bytes of the body left this machine in the request that failed.
        has_sent: bool,
        /// Whether the request may be made again without asking anybody (RFC 9110 section 9.2.2). The remedy of
        /// `failure` takes account of it already.
        is_repeatable: bool,
    },
}
