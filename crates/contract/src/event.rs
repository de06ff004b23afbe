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
    Snapshot { operations: Vec<Operation>, is_last: bool },
    Resync,
    Operation { operation: Box<Operation> },
    Removed { id: OperationId },
    Progress { id: OperationId, progress: Progress },
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
