//! What workers and the host saw.

use longhaul_contract::{AppId, Blocker, Failure, HostState, OperationId, Receipt, ResponseInformation};
use serde::{Deserialize, Serialize};

use crate::task::TaskFact;

/// What a published download leaves behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finished {
    pub receipt: Receipt,
    pub response: Option<ResponseInformation>,
}

/// How one attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttemptEnd {
    /// All bytes are checked, durable and under the final name.
    Finished(Box<Finished>),
    /// It let go because [`crate::Effect::EnsureStopped`] asked it to.
    Stopped,
    Failed {
        failure: Failure,
        /// The attempt brought bytes that are kept.
        has_progressed: bool,
        /// What was learnt of the response, for the record of a final failure.
        response: Option<ResponseInformation>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// The attempt brought its first new bytes, and more are missing: the retry counter starts again. At most once
    /// an attempt.
    Progressed {
        id: OperationId,
        attempt: u32,
    },
    /// All bytes of the file have come and are right: what is left, publishing it, needs no connection. At most once
    /// an attempt.
    Received {
        id: OperationId,
        attempt: u32,
    },
    Ended {
        id: OperationId,
        attempt: u32,
        end: AttemptEnd,
    },
    /// The part file of a canceled operation is gone.
    Discarded {
        id: OperationId,
    },
    Host(Box<HostState>),
    /// What stood in the way may be gone (space was freed, a folder appeared): try now what waits for it.
    BlockerEased {
        on: Blocker,
        /// The operation in whose way it stood; `None` for all of them.
        id: Option<OperationId>,
    },
    /// The application has to be in the foreground for its transfers to run, and is not; or that is over.
    HeldBack {
        app: AppId,
        is_held_back: bool,
    },
    Task(TaskFact),
}
