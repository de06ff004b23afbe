//! The hot row: all the engine remembers of a live operation.

use std::num::NonZeroU64;
use std::sync::Arc;

use longhaul_contract::{
    AppId, CompletionGroupId, CostPolicy, Failure, GroupName, OperationId, OperationKind, Priority,
    Timestamp, WebErrorStatus,
};
use serde::{Deserialize, Serialize};

/// `scheme://host:port` of an operation's address: what the per-host limit counts by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Origin {
    pub name: Arc<str>,
    /// A loopback address: reachable whatever the network is like, and free of cost.
    pub is_local: bool,
}

/// Names the file an operation makes: a hash of the folder's canonical path and the name, so that it costs eight
/// bytes. Two live operations never have the same; the engine refuses the second with `ErrorCode::TargetInUse`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TargetKey(pub NonZeroU64);

/// The phase as the store keeps it. What only holds while the service runs (slots, back-off, workers) is not in it:
/// after a restart everything `Started` waits for its turn again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "camelCase")]
pub enum StoredPhase {
    Idle,
    Started,
    PausedByApplication,
    /// PausedRecoverableWebErrorStatus, or the wait for a new URL, header or credential.
    NeedsInput {
        failure: Failure,
    },
    /// The cancellation is promised, the part file may still be there: not final yet, and the journal is needed
    /// to find that file. Callers see it as Canceled, or not at all when it is to be forgotten (DELETE).
    Canceling {
        forget: bool,
    },
    Completed,
    Canceled,
    Error {
        failure: Failure,
    },
}

impl StoredPhase {
    #[must_use]
    pub const fn is_final(&self) -> bool {
        matches!(self, Self::Completed | Self::Canceled | Self::Error { .. })
    }
}

/// What of an operation the store hands over at start and gets back at every change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub id: OperationId,
    pub kind: OperationKind,
    pub app: AppId,
    pub group: Option<GroupName>,
    pub origin: Origin,
    /// `None` when the name is not decided yet or may be changed (a folder as target, `ifExists: rename`).
    pub target: Option<TargetKey>,
    /// Place among the application's operations of one priority; lower goes first.
    pub order: i64,
    pub priority: Priority,
    pub cost_policy: CostPolicy,
    /// Bytes per second; 0 stops it.
    pub rate_limit: Option<u64>,
    pub not_before: Option<Timestamp>,
    pub recoverable: Arc<[WebErrorStatus]>,
    pub phase: StoredPhase,
    /// Attempts in a row that failed without bringing new bytes.
    pub fruitless_attempts: u8,
    /// Bytes were received that a later attempt may go on from.
    pub has_bytes: bool,
    pub completion_group: Option<CompletionGroupId>,
    pub marks: Marks,
}

/// What few operations ask for, as a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Marks(u8);

impl Marks {
    const NOTIFIES_SUCCESS: u8 = 1;
    const NOTIFIES_FAILURE: u8 = 2;
    const UNCONSTRAINED: u8 = 4;
    const ASKS_FOR_INPUT: u8 = 8;

    /// Of an operation that wants these ends to be shown to the user.
    #[must_use]
    pub const fn notifying(success: bool, failure: bool) -> Self {
        Self((success as u8) * Self::NOTIFIES_SUCCESS | (failure as u8) * Self::NOTIFIES_FAILURE)
    }

    #[must_use]
    pub const fn unconstrained(self) -> Self {
        Self(self.0 | Self::UNCONSTRAINED)
    }

    #[must_use]
    pub const fn asking_for_input(self) -> Self {
        Self(self.0 | Self::ASKS_FOR_INPUT)
    }

    /// Somebody wants to be asked when it needs input.
    #[must_use]
    pub const fn asks_for_input(self) -> bool {
        self.0 & Self::ASKS_FOR_INPUT != 0
    }

    #[must_use]
    pub const fn notifies_success(self) -> bool {
        self.0 & Self::NOTIFIES_SUCCESS != 0
    }

    #[must_use]
    pub const fn notifies_failure(self) -> bool {
        self.0 & Self::NOTIFIES_FAILURE != 0
    }

    /// Energy saver does not hold it back.
    #[must_use]
    pub const fn is_unconstrained(self) -> bool {
        self.0 & Self::UNCONSTRAINED != 0
    }

    /// As the store keeps it.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }

    /// Bits that are not known are dropped.
    #[must_use]
    pub const fn from_number(number: u8) -> Self {
        let known =
            Self::NOTIFIES_SUCCESS | Self::NOTIFIES_FAILURE | Self::UNCONSTRAINED | Self::ASKS_FOR_INPUT;
        Self(number & known)
    }
}
