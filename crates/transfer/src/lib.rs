//! Moves the bytes of one operation, resumably, and reports how it went.
//!
//! Knows sockets, one part file and its journal. Deliberately absent: queues, priorities, retry counts and
//! anything about other operations except the shared connections, the rate budget and the space ledger.

mod client_identity;
pub mod digest;
pub mod files;
mod ftp;
mod http;
pub mod interface;
pub mod job;
pub mod journal;
pub mod proxy;
pub mod rate;
pub mod transfers;
pub mod upload;
mod worker;

pub use client_identity::{ClientIdentity, ClientIdentityError};
pub use interface::{Interface, InterfaceError};
pub use job::{Job, Report, TransferEnd};
pub use journal::{Journal, JournalError, JournalRecord, PartIdentity, Validators};
pub use proxy::{ProxyAddress, ProxyError, ProxyRules, ProxyScheme};
pub use transfers::{Handle, ReadError, Settings, SettingsError, StopMode, Transfers};
pub use upload::job::{
    UploadContent, UploadEnd, UploadJob, UploadPart, UploadProtocol, UploadReport, UploadSource,
};
pub use upload::record::{
    FinishedUpload, ResponseBody, SourceIdentity, UploadJournalRecord, UploadLimits, UploadPartRecord,
    UploadReceipt, UsedProtocol,
};
