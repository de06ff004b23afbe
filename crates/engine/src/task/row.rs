//! The hot row of a registration: all the engine remembers of it.

use std::sync::Arc;

use longhaul_contract::{
    AppId, CancelReason, CompletionGroupId, Condition, InstanceId, Retry, RunCause, SystemTriggerType,
    TaskGroupId, TaskId, TaskName, Timestamp, TriggerKind,
};
use serde::{Deserialize, Serialize};

/// What of a registration the store hands over at start and gets back at every change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskRow {
    pub id: TaskId,
    pub app: AppId,
    pub group: Option<TaskGroupId>,
    pub name: TaskName,
    pub plan: TaskPlan,
    pub state: TaskState,
}

/// What the registration asked for and nothing changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskPlan {
    pub trigger: TaskTrigger,
    pub conditions: Conditions,
    pub cancel_on_condition_loss: bool,
    pub is_network_requested: bool,
    pub limits: RunLimits,
    pub retry: Option<Retry>,
    /// The class, when a program that is connected has to serve it.
    pub in_process: Option<Arc<str>>,
}

/// What makes it fire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "trigger", rename_all = "camelCase")]
pub enum TaskTrigger {
    System {
        event: SystemTriggerType,
        one_shot: bool,
    },
    /// Every so many minutes; with `is_maintenance` only on external power, and cancelled when that is lost.
    Every {
        minutes: u32,
        one_shot: bool,
        is_maintenance: bool,
        missed: Missed,
    },
    /// A cron expression of five fields in a zone; the machine's zone when none is named.
    Calendar {
        schedule: Arc<str>,
        time_zone: Option<Arc<str>>,
        one_shot: bool,
        missed: Missed,
    },
    /// Fired by a call: ApplicationTrigger, MediaProcessingTrigger, DeviceUseTrigger.
    Requested {
        kind: TriggerKind,
    },
    /// Fired by a source outside, which names the registration: push, location, Bluetooth, activity …
    Sourced {
        kind: TriggerKind,
    },
    /// Fired by the end of a completion group, once.
    Completion {
        group: CompletionGroupId,
    },
}

impl TaskTrigger {
    #[must_use]
    pub const fn is_one_shot(&self) -> bool {
        match self {
            Self::System { one_shot, .. }
            | Self::Every { one_shot, .. }
            | Self::Calendar { one_shot, .. } => *one_shot,
            Self::Requested { .. } | Self::Sourced { .. } | Self::Completion { .. } => false,
        }
    }

    /// The type, where it is not the machine's own doing.
    #[must_use]
    pub const fn called_kind(&self) -> Option<TriggerKind> {
        match self {
            Self::Requested { kind } | Self::Sourced { kind } => Some(*kind),
            Self::Completion { .. } => Some(TriggerKind::CompletionGroupTrigger),
            Self::System { .. } | Self::Every { .. } | Self::Calendar { .. } => None,
        }
    }

    #[must_use]
    pub const fn is_maintenance(&self) -> bool {
        matches!(self, Self::Every { is_maintenance: true, .. })
    }

    /// Whether the registration vanishes when its firing starts, or when its last retry is over [W 6, row 42].
    #[must_use]
    pub const fn vanishes(&self) -> bool {
        matches!(self, Self::Completion { .. })
    }
}

/// What becomes of firings that fell into a time when the machine was off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Missed {
    /// They come once, together, as soon as possible.
    #[default]
    Once,
    Skip,
}

/// A set of conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Conditions(u16);

impl Conditions {
    #[must_use]
    pub fn contains(self, condition: Condition) -> bool {
        self.0 & (1 << condition.number()) != 0
    }

    /// In the order of their numbers.
    pub fn iter(self) -> impl Iterator<Item = Condition> {
        Condition::ALL.iter().copied().filter(move |condition| self.contains(*condition))
    }

    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FromIterator<Condition> for Conditions {
    fn from_iter<T: IntoIterator<Item = Condition>>(conditions: T) -> Self {
        Self(conditions.into_iter().fold(0, |set, condition| set | 1 << condition.number()))
    }
}

/// How long an instance may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunLimits {
    /// After this it is cancelled with ExecutionTimeExceeded.
    pub cancel_after_ms: u64,
    /// After a cancellation it is killed when this is over.
    pub grace_ms: u64,
}

/// What changes, and is kept.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TaskState {
    /// From when on the next period counts: the registration, or the last firing.
    pub anchor: Timestamp,
    /// A firing that is kept until it can start. At most one: later ones put their details in its place.
    pub latch: Option<Latch>,
    /// Counted and committed before the process is made.
    pub running: Option<RunningInstance>,
    /// A one-shot registration that has started.
    pub is_consumed: bool,
    /// Runs in a row that took their host down.
    pub host_crashes: u8,
    pub last: Option<LastRun>,
    /// Number of runs so far, which also makes the ids of instances differ.
    pub runs: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latch {
    pub fired: Timestamp,
    pub cause: RunCause,
    /// Which run of this firing comes next, from 1.
    pub attempt: u32,
    /// Of a retry.
    pub not_before: Option<Timestamp>,
    /// The trigger has fired: it is not only a call of `run`, which spends no one-shot registration.
    #[serde(default)]
    pub has_fired: bool,
    /// When the message that fired it is worth nothing any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// Trigger details as one JSON document.
    pub details: Arc<str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningInstance {
    pub id: InstanceId,
    pub started: Timestamp,
    pub firing: Latch,
    /// It was asked to end, first for this reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel_reason: Option<CancelReason>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastRun {
    pub ended: Timestamp,
    /// `Completed`, `Canceled:REASON`, `Failed:DETAIL` or `Interrupted`.
    pub result: Arc<str>,
    pub progress: u32,
}
