//! The event stream of `GET /events`.

use serde::{Deserialize, Serialize};

use crate::{BackgroundTask, ByteRange, Instance, InstanceId, Operation, OperationId, Progress, TaskId};

/// What an event tells; the `event:` field of the stream and the words of `?kinds=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum EventKind {
    /// All live operations and all tasks of the application, once at the start and after a `resync`.
    Snapshot,
    /// The asked-for numbers are no longer kept; a new snapshot follows.
    Resync,
    /// An operation was created or changed.
    Operation,
    /// An operation was forgotten.
    Removed,
    /// Sampled numbers of running operations; not numbered, never resumed.
    Progress,
    RangesAdded,
    /// A task was registered or changed.
    Task,
    /// A task was unregistered.
    TaskRemoved,
    /// An instance of a task began, changed or ended.
    Instance,
    /// Sampled progress of running instances; not numbered, never resumed.
    InstanceProgress,
}

impl EventKind {
    pub const ALL: &'static [Self] = &[
        Self::Snapshot,
        Self::Resync,
        Self::Operation,
        Self::Removed,
        Self::Progress,
        Self::RangesAdded,
        Self::Task,
        Self::TaskRemoved,
        Self::Instance,
        Self::InstanceProgress,
    ];

    /// The word in `event:` and `?kinds=`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::Resync => "resync",
            Self::Operation => "operation",
            Self::Removed => "removed",
            Self::Progress => "progress",
            Self::RangesAdded => "rangesAdded",
            Self::Task => "task",
            Self::TaskRemoved => "taskRemoved",
            Self::Instance => "instance",
            Self::InstanceProgress => "instanceProgress",
        }
    }
}

/// New bytes of a random-access download (BackgroundTransferRangesDownloadedEventArgs).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RangesAdded {
    pub id: OperationId,
    pub added_ranges: Vec<ByteRange>,
    /// The remote file changed and all earlier bytes are void.
    pub was_download_restarted: bool,
}

/// The `data:` of one event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum Event {
    /// `isLast` is false when further parts of the same snapshot follow. The tasks, grouped ones too, come with the first.
    Snapshot {
        operations: Vec<Operation>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        tasks: Vec<BackgroundTask>,
        #[serde(rename = "isLast")]
        is_last: bool,
    },
    Resync,
    Operation {
        operation: Box<Operation>,
    },
    Removed {
        id: OperationId,
    },
    Progress {
        id: OperationId,
        progress: Progress,
    },
    RangesAdded(RangesAdded),
    Task {
        task: Box<BackgroundTask>,
    },
    TaskRemoved {
        #[serde(rename = "taskId")]
        task_id: TaskId,
    },
    Instance {
        instance: Box<Instance>,
    },
    InstanceProgress {
        #[serde(rename = "taskId")]
        task_id: TaskId,
        #[serde(rename = "instanceId")]
        instance_id: InstanceId,
        /// As the task set it: any number, mostly per cent.
        progress: u32,
    },
}

impl Event {
    #[must_use]
    pub const fn kind(&self) -> EventKind {
        match self {
            Self::Snapshot { .. } => EventKind::Snapshot,
            Self::Resync => EventKind::Resync,
            Self::Operation { .. } => EventKind::Operation,
            Self::Removed { .. } => EventKind::Removed,
            Self::Progress { .. } => EventKind::Progress,
            Self::RangesAdded(_) => EventKind::RangesAdded,
            Self::Task { .. } => EventKind::Task,
            Self::TaskRemoved { .. } => EventKind::TaskRemoved,
            Self::Instance { .. } => EventKind::Instance,
            Self::InstanceProgress { .. } => EventKind::InstanceProgress,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_worded_as_they_are_serialised() {
        for kind in EventKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.word());
        }
        let data = serde_json::to_value(Event::Snapshot {
            operations: Vec::new(),
            tasks: Vec::new(),
            is_last: true,
        })
        .unwrap();
        assert_eq!(data, serde_json::json!({"kind": "snapshot", "operations": [], "isLast": true}));
    }
}
