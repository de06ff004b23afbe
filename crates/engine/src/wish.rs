//! What callers ask for.

use std::sync::Arc;

use longhaul_contract::{
    AppId, CompletionGroupId, CostPolicy, ErrorCode, GroupName, Limits, OperationId, OperationKind,
    PatchDownload, Priority, Spec, Timestamp, TransferBehavior, WebErrorStatus,
};

use crate::completion::CompletionWish;
use crate::row::{Marks, Origin, TargetKey};
use crate::task::TaskWish;

/// A new operation, already checked for its form.
#[derive(Debug, Clone, PartialEq)]
pub struct NewOperation {
    pub id: OperationId,
    pub kind: OperationKind,
    pub app: AppId,
    pub group: Option<GroupName>,
    pub origin: Origin,
    pub target: Option<TargetKey>,
    pub priority: Priority,
    pub cost_policy: CostPolicy,
    pub rate_limit: Option<u64>,
    pub not_before: Option<Timestamp>,
    pub recoverable: Arc<[WebErrorStatus]>,
    pub completion_group: Option<CompletionGroupId>,
    pub marks: Marks,
    pub start: bool,
    /// Kept by the store and never looked at here.
    pub spec: Spec,
}

/// A command to one operation.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    Start,
    Pause,
    Resume,
    Cancel,
    MakeCurrent,
    /// Cancel if need be, and forget.
    Remove,
    /// `origin` is given when the patch renews the URI.
    Patch {
        patch: Box<PatchDownload>,
        origin: Option<Origin>,
    },
    /// The caller has taken the final result (attach); only legal on a final operation.
    Consume,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Wish {
    /// All or none: the first refusal refuses the batch.
    Create(Vec<NewOperation>),
    Command {
        app: AppId,
        id: OperationId,
        command: Command,
    },
    /// The results of these were taken. The shell has looked that they are final, and of this application.
    Consume {
        app: AppId,
        ids: Vec<OperationId>,
    },
    PutGroup {
        app: AppId,
        name: GroupName,
        behavior: TransferBehavior,
    },
    PutLimits(Limits),
    Completion(CompletionWish),
    /// RequestUnconstrainedDownloads, RequestUnconstrainedUploads: energy saver shall not hold these back. Those that are
    /// over are passed over.
    Unconstrain {
        app: AppId,
        ids: Vec<OperationId>,
    },
    Task(TaskWish),
    /// Forget final operations whose time has come; asked by the shell after [`crate::Effect::Prune`].
    Forget {
        ids: Vec<(AppId, OperationId)>,
    },
}

/// Why a wish is refused; nothing changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Refusal {
    pub code: ErrorCode,
    pub detail: String,
    /// Place in [`Wish::Create`] of the operation that is refused, where it is one.
    pub index: Option<usize>,
}

impl Refusal {
    #[must_use]
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), index: None }
    }

    /// The refusal of the operation at this place.
    #[must_use]
    pub fn of_operation(self, index: usize) -> Self {
        Self { index: Some(index), ..self }
    }
}
