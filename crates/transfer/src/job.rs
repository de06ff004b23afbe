//! What a worker is asked to do, and what it reports.

use longhaul_contract::{
    ByteRange, Checksum, Credential, Expectation, Failure, IfExists, OperationId, Receipt,
    ResponseInformation, Secret,
};
use url::Url;

use crate::client_identity::ClientIdentity;
use crate::interface::Interface;
use crate::journal::JournalRecord;
use crate::proxy::ProxyRules;

/// One attempt of one download.
#[derive(Debug, Clone)]
pub struct Job {
    pub id: OperationId,
    pub attempt: u32,
    pub url: Url,
    pub mirrors: Vec<Url>,
    pub method: http::Method,
    pub body: Option<Secret>,
    /// Bound to the origin of `url`: a redirect to another origin does not carry them.
    pub headers: Vec<(http::HeaderName, Secret)>,
    pub credential: Option<Credential>,
    /// Shown to the origin of `url` alone.
    pub identity: Option<ClientIdentity>,
    /// Absolute path of the file to make, or of a folder (ending in `/`) where the server or URL names it.
    pub result_file: String,
    pub if_exists: IfExists,
    pub is_random_access: bool,
    pub checksum: Option<Checksum>,
    pub expect: Option<Expectation>,
    /// Bytes per second for this job alone.
    pub rate_limit: Option<u64>,
    /// What an earlier attempt left; `None` starts afresh.
    pub journal: Option<JournalRecord>,
    /// Refuse to connect to anything but public addresses (checked on the connected address, every hop).
    pub public_addresses_only: bool,
    /// Where its connections begin; `None`: as the routes of the machine have it.
    pub interface: Option<Interface>,
    /// By which proxy its requests go.
    pub proxy: ProxyRules,
}

/// Sent by a worker; `id` and `attempt` travel beside it.
#[derive(Debug, Clone)]
pub enum Report {
    /// The first new bytes of this attempt are in the part file, and more are missing.
    Progressed,
    /// A response was accepted (each new one replaces the last).
    Response(ResponseInformation),
    /// Bytes became readable; coalesced. Only for random-access jobs.
    RangesAdded { ranges: Vec<ByteRange>, was_restarted: bool },
    /// All bytes have come and have the right digests; only the publication is left. At most once.
    Received,
    /// The last report.
    Ended(Box<TransferEnd>),
}

#[derive(Debug, Clone)]
pub enum TransferEnd {
    /// Checked, durable, published.
    Finished {
        receipt: Receipt,
        response: Option<ResponseInformation>,
    },
    Stopped,
    Failed {
        failure: Failure,
        has_progressed: bool,
        response: Option<ResponseInformation>,
    },
}
