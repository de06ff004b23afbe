//! The event stream of `GET /events`.

use serde::{Deserialize, Serialize};

use crate::{ByteRange, Operation, OperationId, Progress};

/// What an event tells; the `event:` field of the stream and the words of `?kinds=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum EventKind {
    /// All live operations of the application, once at the start and after a `resync`.
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
}

impl EventKind {
    pub const ALL: &'static [Self] =
        &[Self::Snapshot, Self::Resync, Self::Operation, Self::Removed, Self::Progress, Self::RangesAdded];

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
    /// `isLast` is false when further parts of the same snapshot follow.
    Snapshot {
        operations: Vec<Operation>,
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
        let data = serde_json::to_value(Event::Snapshot { operations: Vec::new(), is_last: true }).unwrap();
        assert_eq!(data, serde_json::json!({"kind": "snapshot", "operations": [], "isLast": true}));
    }
}
