//! What a worker keeps of a download between attempts. Recorded ranges are on disk, always: the data is made
//! durable before the record that names it.

use futures_util::future::BoxFuture;
use longhaul_contract::{OperationId, RangeSet, Receipt, ResponseInformation};
use serde::{Deserialize, Serialize};

use crate::upload::record::UploadJournalRecord;

/// What names the version of the remote bytes (RFC 9110 section 8.8).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Validators {
    /// As sent, with quotes and `W/`.
    pub etag: Option<String>,
    pub last_modified: Option<String>,
    /// Date of the response that carried `last_modified`: decides whether that is a strong validator.
    pub date: Option<String>,
    /// Complete length of the representation.
    pub total: Option<u64>,
}

/// Tells the part file from any other file that may come to have its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartIdentity {
    pub device: u64,
    pub inode: u64,
    /// Birth time in nanoseconds where the file system keeps it, else 0.
    pub born: i128,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalRecord {
    pub validators: Validators,
    /// Finished and durable ranges of the part file.
    pub ranges: RangeSet,
    pub part: PartIdentity,
    /// Final file name inside the folder, once it is decided.
    pub name: String,
    /// Absolute path of the destination folder.
    pub folder: String,
    /// All bytes are checked and durable, and the rename to `publish_as` may have happened.
    pub publish_as: Option<String>,
    /// What has happened so far, for the receipt.
    pub receipt: Receipt,
    pub response: Option<ResponseInformation>,
    /// Tells whether the next attempt asks the address that `validators` came from, without keeping the address.
    #[serde(default)]
    pub source: Option<String>,
    /// The same version as the other addresses that brought bytes of it name it, by what `source` tells them by.
    #[serde(default)]
    pub others: Vec<(String, Validators)>,
    /// Where bytes of two responses meet and nothing has shown yet that both are of one version.
    #[serde(default)]
    pub seams: Vec<u64>,
}

#[derive(Debug, Clone, thiserror::Error)]
#[error("the store could not keep the journal: {0}")]
pub struct JournalError(pub String);

/// Where records are kept. When `save` resolves, the record survives a power cut.
pub trait Journal: Send + Sync + 'static {
    fn save(&self, id: OperationId, record: JournalRecord) -> BoxFuture<'static, Result<(), JournalError>>;

    /// The same for an upload: when this resolves, the record survives a power cut.
    fn save_upload(
        &self,
        id: OperationId,
        record: UploadJournalRecord,
    ) -> BoxFuture<'static, Result<(), JournalError>>;
}
