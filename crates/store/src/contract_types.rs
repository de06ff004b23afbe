//! The Store contract: what every store has to do, whatever it is made of.

use longhaul_contract::{
    AppId, CreateDownload, GroupName, Limits, OperationId, OperationKind, ReasonCode, ResponseInformation,
    Scope, Timestamp, TransferBehavior,
};
use longhaul_engine::{Change, Finished, Row};

/// Progress of a download as its worker recorded it. `record` is the worker's own and opaque here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalWrite {
    pub id: OperationId,
    pub received: u64,
    /// 0 is unknown.
    pub total: u64,
    pub record: Vec<u8>,
}

/// One thing to write. A commit takes many, in order, all or none.
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    Change(Change),
    Journal(JournalWrite),
    Token(TokenWrite),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenWrite {
    /// SHA-256 of the token; the token itself is never kept.
    pub hash: [u8; 32],
    pub app: AppId,
    pub scopes: Vec<Scope>,
    pub created: Timestamp,
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(
        "{path} was written by a newer Longhaul (format {found}, this one knows up to {known}): install that version"
    )]
    NewerFormat { path: String, found: u32, known: u32 },
    #[error("another service uses {path}: stop it, or choose another state folder")]
    InUse { path: String },
    #[error("{path} is damaged ({problem}); it was moved to {moved_to} and a new one was begun")]
    Damaged { path: String, problem: String, moved_to: String },
    #[error("the store cannot write: {0}")]
    CannotWrite(String),
    #[error("the store cannot read: {0}")]
    CannotRead(String),
    #[error("the store has been closed")]
    Closed,
}

/// Everything the engine adopts at start.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    pub groups: Vec<(AppId, GroupName, TransferBehavior)>,
    /// Rows that are not final.
    pub rows: Vec<Row>,
    pub limits: Option<Limits>,
}

/// A whole record.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredOperation {
    pub row: Row,
    pub spec: CreateDownload,
    pub created: Timestamp,
    pub started: Option<Timestamp>,
    pub completed: Option<Timestamp>,
    pub consumed: Option<Timestamp>,
    /// From the journal, or the final size.
    pub received: u64,
    pub total: u64,
    pub finished: Option<Finished>,
    pub response: Option<ResponseInformation>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListQuery {
    /// `None` lists every application's (owner only).
    pub app: Option<AppId>,
    pub kind: Option<OperationKind>,
    pub group: Option<GroupName>,
    /// Only ungrouped operations [W 1.11].
    pub only_ungrouped: bool,
    pub label: Option<String>,
    /// Substring of the URI, the file name or the label, without regard to ASCII case.
    pub text: Option<String>,
    /// `None` lists live and final ones.
    pub is_final: Option<bool>,
    pub include_consumed: bool,
    /// Newest first instead of oldest first.
    pub descending: bool,
    /// Only what lies behind this id in the order of the list.
    pub after: Option<OperationId>,
    pub limit: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WaitHistory {
    /// Newest 100, oldest first.
    pub entries: Vec<(ReasonCode, Timestamp, Timestamp)>,
    /// Seconds per reason over the whole life.
    pub totals: Vec<(ReasonCode, u64)>,
}

/// The writing side; one per database.
pub trait Store: Send {
    /// # Errors
    /// Says what is unreadable; nothing is changed then.
    fn load(&mut self) -> Result<Loaded, StoreError>;

    /// All or none, durable when it returns. An empty slice syncs nothing.
    ///
    /// # Errors
    /// Nothing of `writes` is kept then.
    fn commit(&mut self, writes: &[Write]) -> Result<(), StoreError>;
}

/// The reading side; sees what has been committed.
pub trait Reader: Send + Sync {
    /// # Errors
    /// The database cannot be read; so for all of these.
    fn operation(&self, id: OperationId) -> Result<Option<StoredOperation>, StoreError>;
    fn operations(&self, ids: &[OperationId]) -> Result<Vec<StoredOperation>, StoreError>;
    fn list(&self, query: &ListQuery) -> Result<Vec<StoredOperation>, StoreError>;
    /// Ids of an application that begin with these hexadecimal digits (dashes ignored), at most `limit`.
    fn ids_with_prefix(
        &self,
        app: &AppId,
        prefix: &str,
        limit: usize,
    ) -> Result<Vec<OperationId>, StoreError>;
    fn journal(&self, id: OperationId) -> Result<Option<Vec<u8>>, StoreError>;
    fn waits(&self, id: OperationId) -> Result<WaitHistory, StoreError>;
    fn token(&self, hash: &[u8; 32]) -> Result<Option<(AppId, Vec<Scope>)>, StoreError>;
    /// Applications with anything stored.
    fn applications(&self) -> Result<Vec<AppId>, StoreError>;
    /// Final operations to forget at `time`: past their `keep_until`, at most `limit`.
    fn prunable(&self, time: Timestamp, limit: usize) -> Result<Vec<(AppId, OperationId)>, StoreError>;
}
