//! Who is asked when an operation needs a new address, header or credential.

use serde::{Deserialize, Serialize};

use crate::{OperationId, TaskId};

/// Asked when the operation waits for its caller to repair it; exactly one of the two.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct InputCallback {
    /// A registered task of the application, which fires; it changes and resumes the operations it is told of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskId>,
    /// An `http` address of this machine's loopback. It is sent the operation by POST and answers 200 with what is to be
    /// changed (as for PATCH), after which the operation is resumed; or 204 for nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<String>,
}

/// What a task gets that is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct InputNeeded {
    /// Operations that need input now and name this task.
    pub needs_input: Vec<OperationId>,
}
