//! What must follow from a decision.

use longhaul_contract::{
    AppId, Blocker, CompletionGroupId, GroupName, Limits, OperationId, PatchDownload, ReasonCode,
    ResponseInformation, Spec, TaskId, Timestamp, TransferBehavior,
};

use crate::completion::CompletionRow;
use crate::fact::Finished;
use crate::row::Row;
use crate::task::{TaskAnswer, TaskChange, TaskEffect};

/// Something to remember. The store applies changes in order; each is repeatable.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    Created {
        row: Row,
        spec: Spec,
        time: Timestamp,
    },
    /// The row as it is now, whole.
    Updated {
        row: Row,
    },
    /// How the newest attempt went, of [`Row::fruitless_attempts`] and [`Row::has_bytes`].
    Counted {
        id: OperationId,
        fruitless_attempts: u8,
        has_bytes: bool,
    },
    /// Merge `patch` into the kept spec ([`Spec::apply`]).
    Patched {
        id: OperationId,
        patch: Box<PatchDownload>,
    },
    /// First start; kept only if nothing is kept yet.
    Started {
        id: OperationId,
        time: Timestamp,
    },
    /// The operation is final. Its journal is dropped.
    Ended {
        row: Row,
        time: Timestamp,
        finished: Option<Box<Finished>>,
        /// Of a failed operation.
        response: Option<ResponseInformation>,
        keep_until: Timestamp,
    },
    Consumed {
        id: OperationId,
        time: Timestamp,
        keep_until: Timestamp,
    },
    Removed {
        id: OperationId,
    },
    /// A stretch of waiting is over; the store adds it to the bounded history and to the totals.
    Waited {
        id: OperationId,
        code: ReasonCode,
        from: Timestamp,
        to: Timestamp,
    },
    Group {
        app: AppId,
        name: GroupName,
        behavior: TransferBehavior,
    },
    GroupRemoved {
        app: AppId,
        name: GroupName,
    },
    Limits(Limits),
    /// The completion group as it is now, whole.
    CompletionGroup {
        row: CompletionRow,
    },
    CompletionGroupRemoved {
        id: CompletionGroupId,
    },
    Task(TaskChange),
}

impl Change {
    /// The operation it is about, if it is about one.
    #[must_use]
    pub const fn operation(&self) -> Option<OperationId> {
        match self {
            Self::Created { row, .. } | Self::Updated { row } | Self::Ended { row, .. } => Some(row.id),
            Self::Counted { id, .. }
            | Self::Patched { id, .. }
            | Self::Started { id, .. }
            | Self::Consumed { id, .. }
            | Self::Removed { id }
            | Self::Waited { id, .. } => Some(*id),
            Self::Group { .. }
            | Self::GroupRemoved { .. }
            | Self::Limits(_)
            | Self::CompletionGroup { .. }
            | Self::CompletionGroupRemoved { .. }
            | Self::Task(_) => None,
        }
    }

    /// Whether a caller may have been promised this: such changes reach the disk before anything else leaves.
    /// The others are written along with the next durable ones, and losing them costs nothing but detail.
    #[must_use]
    pub const fn is_durable(&self) -> bool {
        match self {
            Self::Started { .. } | Self::Counted { .. } | Self::Waited { .. } => false,
            Self::Task(change) => change.is_durable(),
            _ => true,
        }
    }
}

/// How a worker lets go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StopMode {
    /// Make durable what is there and keep it.
    Keep,
    /// Delete the part file.
    Discard,
}

/// Whose end is shown to the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Notified {
    Operation(OperationId),
    CompletionGroup(CompletionGroupId),
}

/// Something to bring about, repeatable: "ensure that", never "do once".
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// A worker runs this attempt of the operation.
    EnsureRunning {
        id: OperationId,
        attempt: u32,
    },
    /// No worker runs it; the worker answers with `Ended`.
    EnsureStopped {
        id: OperationId,
        attempt: u32,
        mode: StopMode,
    },
    /// No part file and no journal of it remain; answered with `Discarded`.
    EnsureDiscarded {
        id: OperationId,
    },
    /// The machine is watched for the end of what stands in the way of the operation, which is then told as
    /// [`crate::Fact::BlockerEased`].
    EnsureWatched {
        id: OperationId,
        on: Blocker,
    },
    /// It is not watched for that any more.
    EnsureUnwatched {
        id: OperationId,
    },
    /// The live worker, if any, keeps to this rate.
    SetRate {
        id: OperationId,
        bytes_per_second: Option<u64>,
    },
    /// All workers together keep to this rate.
    SetTotalRate {
        bytes_per_second: Option<u64>,
    },
    /// Connections to one origin.
    SetConnectionsPerHost {
        connections: u32,
    },
    /// Forget final operations whose `keep_until` lies before `time`, oldest first.
    Prune {
        time: Timestamp,
    },
    /// The notification for this end is shown. The one effect that is not repeated after a crash: at most once.
    Notify {
        app: AppId,
        of: Notified,
        is_success: bool,
    },
    /// Whoever the operation names is asked for what it needs.
    AskInput {
        app: AppId,
        id: OperationId,
    },
    Task(TaskEffect),
}

/// All that follows from one input.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    pub changes: Vec<Change>,
    /// To be let go only after the durable changes are on disk.
    pub effects: Vec<Effect>,
    /// Operations whose view changed, for watchers.
    pub touched: Vec<(AppId, OperationId)>,
    pub removed: Vec<(AppId, OperationId)>,
    /// Registrations whose view changed, or that are gone, for watchers.
    pub tasks_touched: Vec<(AppId, TaskId)>,
    pub tasks_removed: Vec<(AppId, TaskId)>,
    /// Of one wish; see [`TaskAnswer`].
    pub answer: Option<TaskAnswer>,
}

impl Plan {
    #[must_use]
    pub fn needs_commit(&self) -> bool {
        self.changes.iter().any(Change::is_durable)
    }

    pub fn merge(&mut self, other: Self) {
        self.changes.extend(other.changes);
        self.effects.extend(other.effects);
        self.touched.extend(other.touched);
        self.removed.extend(other.removed);
        self.tasks_touched.extend(other.tasks_touched);
        self.tasks_removed.extend(other.tasks_removed);
    }
}
