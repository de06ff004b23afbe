//! What must follow from a decision about tasks.

use std::sync::Arc;

use longhaul_contract::{
    AccessStatus, AppId, CancelReason, Instance, InstanceId, ReasonCode, RegisterTaskRequest, RequestResult,
    TaskId, Timestamp,
};

use super::row::TaskRow;
use super::signals::KnownSignals;

/// Something to remember. All but `Waited` are durable before anything leaves.
#[derive(Debug, Clone, PartialEq)]
pub enum TaskChange {
    Registered {
        row: TaskRow,
        spec: Box<RegisterTaskRequest>,
        time: Timestamp,
    },
    /// The row as it is now, whole.
    Updated {
        row: TaskRow,
    },
    /// The registration is forgotten, with its history when no instance runs.
    Unregistered {
        id: TaskId,
        /// When it unregistered itself: its history is kept then.
        vanished: Option<Timestamp>,
    },
    /// An instance began or ended, whole; the newest of each task are kept.
    Instance {
        app: AppId,
        instance: Box<Instance>,
    },
    /// `None` forgets the application's status.
    Access {
        app: AppId,
        status: Option<AccessStatus>,
    },
    /// What the machine was like when edges were last looked for, whole: one value for all registrations.
    Signals(Box<KnownSignals>),
    /// A stretch of waiting is over.
    Waited {
        id: TaskId,
        code: ReasonCode,
        from: Timestamp,
        to: Timestamp,
    },
}

impl TaskChange {
    #[must_use]
    pub const fn is_durable(&self) -> bool {
        !matches!(self, Self::Waited { .. })
    }
}

/// Something to bring about, repeatable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskEffect {
    /// The instance runs; answered with `Running` and then `Ended`, or with `Ended` alone.
    EnsureStarted {
        app: AppId,
        id: TaskId,
        instance: InstanceId,
        /// Trigger details as one JSON document.
        details: Arc<str>,
        /// Hold off suspend and keep the network up while it runs.
        keeps_network: bool,
    },
    /// The instance knows that it has to end, and why; it is killed when the grace is over.
    EnsureCanceled { instance: InstanceId, reason: CancelReason, grace_ms: u64 },
    /// Nothing of the instance is left; answered with `Ended`.
    EnsureKilled { instance: InstanceId },
}

/// What a wish about tasks answers beyond being granted. The shell takes it out before plans are merged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskAnswer {
    Request(RequestResult),
    Access(AccessStatus),
    /// `run`: the instance that starts, or none if it has to wait its turn.
    Run(Option<InstanceId>),
    /// Whether the owner's consent is there, so that the operations run free of what energy saver forbids.
    Unconstrained(bool),
}
