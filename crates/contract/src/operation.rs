//! Operations of both kinds as their application sees them, and the newest response of their server.

use serde::{Deserialize, Serialize};

use crate::{
    Checksum, CompletionGroupId, CostPolicy, GroupName, OperationId, OperationKind, Priority, ReasonCode,
    Remedy, Timestamp, TransferStatus, UploadProtocol, WebErrorStatus,
};

/// BackgroundDownloadProgress and BackgroundUploadProgress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Progress {
    pub bytes_received: u64,
    /// 0 is unknown.
    pub total_bytes_to_receive: u64,
    pub bytes_sent: u64,
    /// 0 is unknown.
    pub total_bytes_to_send: u64,
    /// A new request produced new response information.
    pub has_response_changed: bool,
    /// The transfer began again at byte 0.
    pub has_restarted: bool,
    /// Average of the last seconds; 0 while nothing moves.
    pub bytes_per_second: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds_left: Option<u64>,
}

/// Why an operation failed, or what it waits for the caller to repair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OperationError {
    pub web_error_status: WebErrorStatus,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_status: Option<u16>,
    /// The cause as a word that stays the same over releases.
    pub cause: crate::Cause,
    pub detail: String,
    pub remedy: Remedy,
}

impl From<crate::Failure> for OperationError {
    fn from(failure: crate::Failure) -> Self {
        Self {
            web_error_status: failure.web_error_status,
            http_status: failure.http_status,
            cause: failure.cause,
            detail: failure.detail,
            remedy: failure.remedy,
        }
    }
}

/// One thing the operation waits for, in short; `explain` has the rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WaitingReason {
    pub code: ReasonCode,
    pub detail: String,
    /// When it will be tried again, where that is an instant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// An operation as its application sees it (DownloadOperation, UploadOperation).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Operation {
    pub id: OperationId,
    pub kind: OperationKind,
    /// Without userinfo.
    pub requested_uri: String,
    /// Of a download: absolute path of the file to make; the published name once it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_file: Option<String>,
    /// Of an upload: absolute path of the file that is sent; absent for a multipart document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_file: Option<String>,
    /// Of a multipart upload: the files of its parts, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub part_files: Vec<String>,
    /// Of an upload: its verb.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Of an upload: as asked for; the receipt tells what it came to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<UploadProtocol>,
    pub status: TransferStatus,
    /// The Windows number of `status`.
    pub status_code: u8,
    pub progress: Progress,
    pub cost_policy: CostPolicy,
    pub priority: Priority,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfer_group: Option<GroupName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_group: Option<CompletionGroupId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_web_error_status: Option<WebErrorStatus>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<OperationError>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<WaitingReason>,
    pub created_time: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_time: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_time: Option<Timestamp>,
    /// When `attach` handed the result over; it is forgotten some time after that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consumed_time: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    pub is_random_access_required: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<Checksum>,
}

/// ResponseInformation: the newest response of the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResponseInformation {
    /// After redirects, without userinfo.
    pub actual_uri: String,
    pub status_code: u16,
    /// Whether an interrupted download could go on where it stopped.
    pub is_resumable: bool,
    /// Names in lower case, in the order received; `set-cookie` and other secrets are left out.
    pub headers: Vec<(String, String)>,
}
