//! What callers ask for, about tasks.

use std::sync::Arc;

use longhaul_contract::{
    AccessRequestKind, AccessStatus, AppId, InstanceId, OnConflict, RegisterTaskRequest, TaskGroupId, TaskId,
    TaskName, TriggerKind,
};

use super::row::TaskPlan;

/// A new registration, already checked for its form, its trigger's rules and its entry point.
#[derive(Debug, Clone, PartialEq)]
pub struct NewTask {
    pub id: TaskId,
    pub app: AppId,
    pub group: Option<TaskGroupId>,
    pub name: TaskName,
    /// The type as the registration names it, for quotas.
    pub kind: TriggerKind,
    pub plan: TaskPlan,
    /// `first=now`: a firing is latched with the registration itself, and committed with it.
    pub fires_at_once: bool,
    /// Kept by the store and never looked at here.
    pub spec: Box<RegisterTaskRequest>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum TaskWish {
    Register {
        task: Box<NewTask>,
        on_conflict: OnConflict,
    },
    Unregister {
        app: AppId,
        id: TaskId,
        /// Cancel a running instance with Abort; without, it may finish.
        cancel_running: bool,
    },
    /// ApplicationTrigger.RequestAsync and its like; `details` is the document the task will get.
    Request {
        app: AppId,
        id: TaskId,
        details: Arc<str>,
    },
    /// Run now, whatever its trigger and conditions say; spends no period.
    Run {
        app: AppId,
        id: TaskId,
    },
    /// Cancel one running instance.
    CancelInstance {
        app: AppId,
        id: TaskId,
        instance: InstanceId,
    },
    /// RequestAccessAsync, RequestAccessKindAsync.
    RequestAccess {
        app: AppId,
        kind: Option<AccessRequestKind>,
    },
    RemoveAccess {
        app: AppId,
    },
    /// The owner's decision; `Unspecified` takes it back.
    PutAccess {
        app: AppId,
        status: AccessStatus,
    },
    /// The application is gone: unregister all it has, cancel with Uninstall.
    Uninstall {
        app: AppId,
    },
}
