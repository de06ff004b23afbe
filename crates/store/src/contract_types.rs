//! The Store contract: what every store has to do, whatever it is made of.

use longhaul_contract::{
    AccessStatus, AppId, CompletionGroupId, GroupName, Instance, InstanceId, Limits, OperationId,
    OperationKind, ReasonCode, RegisterTaskRequest, ResponseInformation, Scope, Spec, TaskId, TaskName,
    Timestamp, TransferBehavior,
};
use longhaul_engine::task::{KnownSignals, TaskRow};
use longhaul_engine::{Change, CompletionRow, Finished, Row};

/// Progress of an operation as its worker recorded it. `record` is the worker's own and opaque here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalWrite {
    pub id: OperationId,
    /// Bytes that have come, or that have gone out and are known to be kept by the server.
    pub received: u64,
    /// 0 is unknown.
    pub total: u64,
    pub record: Vec<u8>,
}

/// One thing to write. A commit takes many, in order, all or none.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "nearly every write is a change, and none is kept for long")]
pub enum Write {
    Change(Change),
    Journal(JournalWrite),
    Token(TokenWrite),
    Output(OutputWrite),
    ResponseBody(ResponseBodyWrite),
    /// A setting that is not the engine's; `None` takes it back.
    Setting {
        name: String,
        value: Option<String>,
    },
    /// What a manifest and its programs were when they were last looked at; opaque here. `None` forgets it.
    Manifest {
        app: AppId,
        identity: Option<String>,
    },
}

/// What an instance wrote, bounded, once it is over. Kept as long as the instance is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputWrite {
    pub instance: InstanceId,
    pub output: StoredOutput,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredOutput {
    pub text: String,
    /// Bytes that were left out.
    pub dropped: u64,
}

/// What the server answered to an upload; a newer answer takes its place. Kept as long as the operation is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseBodyWrite {
    pub id: OperationId,
    pub body: StoredBody,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBody {
    pub bytes: Vec<u8>,
    /// There was more.
    pub is_cut: bool,
}

impl Write {
    /// Whether it has to be on disk before anybody is told of it. Losing the others costs nothing but detail.
    #[must_use]
    pub const fn is_durable(&self) -> bool {
        match self {
            Self::Change(change) => change.is_durable(),
            Self::Journal(_) | Self::Token(_) | Self::Setting { .. } | Self::Manifest { .. } => true,
            // They are followed by the end of the instance or of the attempt, which takes them along.
            Self::Output(_) | Self::ResponseBody(_) => false,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenWrite {
    /// SHA-256 of the token; the token itself is never kept.
    pub hash: [u8; 32],
    pub app: AppId,
    pub scopes: Vec<Scope>,
    pub created: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    #[error(
        "{path} was written by a newer Longhaul (format {found}, this one knows up to {known}): install that version"
    )]
    NewerFormat { path: String, found: u32, known: u32 },
    #[error("another service{} uses {path}: stop it, or choose another state folder", process_phrase(*.holder))]
    InUse {
        path: String,
        /// The process that holds it, where that is known.
        holder: Option<u32>,
    },
    #[error("{path} cannot be the state folder: {problem}")]
    UnsafeFolder { path: String, problem: String },
    #[error(
        "{path} is sealed with the key {key}, which {from} does not hold: put that key back, or move the \
         database away to begin a new one"
    )]
    KeyMissing { path: String, key: String, from: String },
    #[error("{from} cannot be used as the key of the database: {problem}")]
    UnusableKey { from: String, problem: String },
    #[error("the store cannot write: {0}")]
    CannotWrite(String),
    #[error("the store cannot read: {0}")]
    CannotRead(String),
    #[error("the store has been closed")]
    Closed,
}

fn process_phrase(holder: Option<u32>) -> String {
    holder.map(|process| format!(" (process {process})")).unwrap_or_default()
}

/// Everything the engine adopts at start.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Loaded {
    pub groups: Vec<(AppId, GroupName, TransferBehavior)>,
    pub completion_groups: Vec<CompletionRow>,
    /// Rows that are not final.
    pub rows: Vec<Row>,
    pub limits: Option<Limits>,
    pub tasks: Vec<TaskRow>,
    pub access: Vec<(AppId, AccessStatus)>,
    pub signals: Option<KnownSignals>,
    /// Instances that are not over and whose registration is gone.
    pub left_over: Vec<(AppId, Instance)>,
}

/// Takes over what a store has kept, piece by piece, so that a million rows need not be in memory twice.
/// The limits come first and once, then groups of both kinds, then the rows.
pub trait Adopt {
    fn limits(&mut self, limits: Option<Limits>);
    fn group(&mut self, app: AppId, name: GroupName, behavior: TransferBehavior);
    fn completion_group(&mut self, row: CompletionRow);
    /// Rows that are not final, in no particular order.
    fn row(&mut self, row: Row);
    /// Registrations of background tasks, in no particular order.
    fn task(&mut self, row: TaskRow);
    fn access(&mut self, app: AppId, status: AccessStatus);
    fn signals(&mut self, signals: KnownSignals);
    /// An instance that is not over and whose registration is gone.
    fn left_over(&mut self, app: AppId, instance: Instance);
}

impl Adopt for Loaded {
    fn limits(&mut self, limits: Option<Limits>) {
        self.limits = limits;
    }

    fn group(&mut self, app: AppId, name: GroupName, behavior: TransferBehavior) {
        self.groups.push((app, name, behavior));
    }

    fn completion_group(&mut self, row: CompletionRow) {
        self.completion_groups.push(row);
    }

    fn row(&mut self, row: Row) {
        self.rows.push(row);
    }

    fn task(&mut self, row: TaskRow) {
        self.tasks.push(row);
    }

    fn access(&mut self, app: AppId, status: AccessStatus) {
        self.access.push((app, status));
    }

    fn signals(&mut self, signals: KnownSignals) {
        self.signals = Some(signals);
    }

    fn left_over(&mut self, app: AppId, instance: Instance) {
        self.left_over.push((app, instance));
    }
}

/// A registration of a background task, whole.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredTask {
    pub row: TaskRow,
    pub spec: RegisterTaskRequest,
    pub created: Timestamp,
}

/// What is left of a registration that unregistered itself, beside its instances.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPastTask {
    pub app: AppId,
    pub id: TaskId,
    pub name: TaskName,
    pub created: Timestamp,
    pub vanished: Timestamp,
}

/// A whole record.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredOperation {
    pub row: Row,
    pub spec: Spec,
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

/// Instances kept of one registration.
pub const INSTANCES_KEPT: usize = 50;

/// Registrations of one application that unregistered themselves and are kept with their instances.
pub const PAST_TASKS_KEPT: usize = 100;

/// The writing side; one per database. How each [`Change`] is applied:
///
/// - `Created` keeps nothing if the id is known already.
/// - `Updated`, `Counted`, `Ended` and journals apply to operations that are not final; `Patched`, `Started`,
///   `Waited` and `Removed` to any that is known; `Consumed` to final ones. For all others they do nothing.
/// - A response body is kept of any operation that is known.
/// - `Ended` makes the operation final, drops its journal and keeps the journal's numbers, or the size of the
///   published file where the receipt has it.
/// - The first `Started` and the first `Consumed` keep their time; each `Consumed` moves `keep_until`.
/// - A `Waited` that is in the history already is not counted twice.
/// - `GroupRemoved` forgets the behaviour; operations keep the name of their group.
/// - `Unregistered` of a registration that vanished by itself keeps its instances, those that still run too, among the
///   newest [`PAST_TASKS_KEPT`] of its application; they are forgotten with the application's manifest.
/// - Of tasks: `Registered` keeps nothing if the id is known already; `Updated`, `Instance`, `Waited` and the output of
///   an instance do nothing for a registration or an instance that is not known. `Unregistered` forgets its instances
///   that are over, their output and its waiting too; an instance that still runs is forgotten when it is over, and what
///   was asked for with it. The newest [`INSTANCES_KEPT`] instances of a registration are kept, in the order
///   in which they were first written.
pub trait Store: Send {
    /// # Errors
    /// Says what is unreadable; nothing is changed then.
    fn load_into(&mut self, adopter: &mut dyn Adopt) -> Result<(), StoreError>;

    /// As [`Store::load_into`], gathered.
    ///
    /// # Errors
    /// As [`Store::load_into`].
    fn load(&mut self) -> Result<Loaded, StoreError> {
        let mut loaded = Loaded::default();
        self.load_into(&mut loaded)?;
        Ok(loaded)
    }

    /// All or none, durable when it returns. An empty slice syncs nothing.
    ///
    /// # Errors
    /// Nothing of `writes` is kept then.
    fn commit(&mut self, writes: &[Write]) -> Result<(), StoreError>;
}

/// Whether somebody waits for the next commit already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queue {
    Empty,
    Waiting,
}

/// A store that takes what many callers gathered in one transaction; see [`crate::Writer`].
pub trait GroupStore: Store + 'static {
    /// Writes with the work done that needs no database.
    type Prepared: Send + 'static;

    /// Called in the submitting thread.
    ///
    /// # Errors
    /// Something in `writes` cannot be written by this store.
    fn prepare(writes: Vec<Write>) -> Result<Self::Prepared, StoreError>;

    /// One result per submission, in order: each is kept whole or not at all, and one that is refused does not
    /// take the others with it. What is kept is durable when this returns.
    fn commit_group(&mut self, submissions: &[Self::Prepared]) -> Vec<Result<(), StoreError>>;

    /// Housekeeping, called after each [`GroupStore::commit_group`] has been answered.
    fn tidy(&mut self, queue: Queue);

    /// The last call: leaves the database tidy for whoever opens it next.
    ///
    /// # Errors
    /// It could not be tidied; nothing committed is lost.
    fn close(&mut self) -> Result<(), StoreError>;
}

/// The reading side; sees what has been committed.
pub trait Reader: Send + Sync {
    /// # Errors
    /// The database cannot be read; so for all of these.
    fn operation(&self, id: OperationId) -> Result<Option<StoredOperation>, StoreError>;
    /// In the order asked for; unknown ones are left out.
    fn operations(&self, ids: &[OperationId]) -> Result<Vec<StoredOperation>, StoreError>;
    /// Ordered by id, which is the order of creation.
    fn list(&self, query: &ListQuery) -> Result<Vec<StoredOperation>, StoreError>;
    /// Ids of an application that begin with these hexadecimal digits (dashes ignored), at most `limit`.
    fn ids_with_prefix(
        &self,
        app: &AppId,
        prefix: &str,
        limit: usize,
    ) -> Result<Vec<OperationId>, StoreError>;
    /// Of these, in their order, the final ones of this application whose results nobody has taken.
    fn unconsumed(&self, app: &AppId, ids: &[OperationId]) -> Result<Vec<OperationId>, StoreError>;
    /// What was kept by [`Write::ResponseBody`].
    fn response_body(&self, id: OperationId) -> Result<Option<StoredBody>, StoreError>;
    fn journal(&self, id: OperationId) -> Result<Option<Vec<u8>>, StoreError>;
    fn waits(&self, id: OperationId) -> Result<WaitHistory, StoreError>;
    fn token(&self, hash: &[u8; 32]) -> Result<Option<(AppId, Vec<Scope>)>, StoreError>;
    /// Scopes of every token an application has, oldest first.
    fn tokens(&self, app: &AppId) -> Result<Vec<Vec<Scope>>, StoreError>;
    /// Applications with anything stored: an operation, a group, a token, a task or an access status; ordered by name.
    fn applications(&self) -> Result<Vec<AppId>, StoreError>;
    /// Final operations to forget at `time`: past their `keep_until`, longest past first, at most `limit`.
    fn prunable(&self, time: Timestamp, limit: usize) -> Result<Vec<(AppId, OperationId)>, StoreError>;
    /// The members of a completion group that are known, oldest first.
    fn completion_members(&self, group: CompletionGroupId) -> Result<Vec<StoredOperation>, StoreError>;
    /// What was asked for with a registration; also of one that is gone, while an instance of it is not over.
    fn task_spec(&self, id: TaskId) -> Result<Option<RegisterTaskRequest>, StoreError>;
    fn task(&self, id: TaskId) -> Result<Option<StoredTask>, StoreError>;
    /// In the order asked for; unknown ones are left out.
    fn tasks(&self, ids: &[TaskId]) -> Result<Vec<StoredTask>, StoreError>;
    /// A registration that unregistered itself.
    fn past_task(&self, id: TaskId) -> Result<Option<StoredPastTask>, StoreError>;
    /// Those of an application, the last one to vanish first.
    fn past_tasks(&self, app: &AppId) -> Result<Vec<StoredPastTask>, StoreError>;
    /// Newest first; only those that are older than `before`.
    fn instances(
        &self,
        task: TaskId,
        limit: usize,
        before: Option<InstanceId>,
    ) -> Result<Vec<Instance>, StoreError>;
    fn instance(&self, id: InstanceId) -> Result<Option<Instance>, StoreError>;
    fn instance_output(&self, id: InstanceId) -> Result<Option<StoredOutput>, StoreError>;
    fn task_waits(&self, id: TaskId) -> Result<WaitHistory, StoreError>;
    fn setting(&self, name: &str) -> Result<Option<String>, StoreError>;
    /// What was kept by [`Write::Manifest`], by application.
    fn manifests(&self) -> Result<Vec<(AppId, String)>, StoreError>;
}
