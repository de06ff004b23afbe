//! What Longhaul promises its callers: ids, specs, views, events, enums with their numbers, error codes.
//!
//! Plain data and constant tables only. Nothing here decides and nothing here does input or output; the
//! words and numbers of the Windows API are kept so that a port needs no translation table.

pub mod address;
pub mod batch;
pub mod completion;
pub mod download;
pub mod event;
pub mod explain;
pub mod failure;
pub mod group;
pub mod host;
pub mod id;
pub mod input;
pub mod instance;
pub mod limits;
pub mod manifest;
pub mod metalink;
pub mod names;
pub mod operation;
pub mod page;
pub mod paths;
pub mod problem;
pub mod range;
pub mod receipt;
pub mod secret;
pub mod service;
pub mod spec;
pub mod status;
pub mod task;
pub mod time;
pub mod trigger;
pub mod upload;
pub mod web_error;

pub use address::{FtpPathError, Scheme};
pub use batch::{AttachDownloads, AttachedDownloads, CreateDownloads, CreateUploads, CreatedDownloads};
pub use completion::{
    CompletionDetails, CompletionGroup, CompletionGroupDetail, CreateCompletionGroup, Notification,
};
pub use download::{
    Checksum, ChecksumAlgorithm, CreateDownload, Credential, Expectation, IfExists, PatchDownload,
    RequestHeader,
};
pub use event::{Event, EventKind, RangesAdded};
pub use explain::{Decision, Explanation, Reason, ReasonCode};
pub use failure::{Blocker, Cause, Failure, Remedy};
pub use group::{Group, TransferBehavior};
pub use host::{
    BatteryStatus, DataPlanUse, HostSignal, HostState, Network, NetworkCost, NetworkLevel, Power, Signal,
    WorkCost,
};
pub use id::{AppId, CompletionGroupId, GroupName, InstanceId, OperationId, TaskGroupId, TaskId, TaskName};
pub use input::{InputCallback, InputNeeded};
pub use instance::{CancelReason, Instance, InstanceState, RunCause};
pub use limits::{Limits, ScheduledRate};
pub use operation::{Operation, OperationError, Progress, ResponseInformation, WaitingReason};
pub use page::Page;
pub use paths::ServicePaths;
pub use problem::{ErrorCode, Problem};
pub use range::{ByteRange, RangeSet};
pub use receipt::{
    DigestVerdict, Receipt, ReceiptDigest, ReceiptHop, ReceiptPiece, UploadReceipt, Verification,
};
pub use secret::{ClientCertificate, Secret};
pub use service::{App, Health, NewToken, Scope};
pub use spec::Spec;
pub use status::{CostPolicy, OperationKind, Priority, TransferStatus};
pub use task::{
    AccessRequestKind, AccessStatus, BackgroundTask, BackgroundTaskDetail, OnConflict, PastTask,
    RegisterTaskRequest, RequestResult, Retry,
};
pub use time::Timestamp;
pub use trigger::{Condition, SystemTriggerType, TriggerKind, TriggerSpec};
pub use upload::{CreateUpload, PatchUpload, UploadPart, UploadProtocol};
pub use web_error::WebErrorStatus;
