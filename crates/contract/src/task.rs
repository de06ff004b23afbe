//! Background tasks: what a registration says, and what callers get to see of it (BackgroundTaskRegistration).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::instance::Instance;
use crate::status::numbered_enum;
use crate::trigger::{Condition, TriggerKind, TriggerSpec, TriggerView};
use crate::{InstanceId, Secret, TaskGroupId, TaskId, TaskName, Timestamp, WaitingReason};

numbered_enum! {
    /// What the owner and the system allow an application (BackgroundAccessStatus). The numbers 1 to 3 are words
    /// that Windows 10 no longer uses; they are never given.
    AccessStatus {
        /// The application has not asked yet: its tasks do not run.
        Unspecified = 0,
        /// Runs under energy saver too.
        AlwaysAllowed = 4,
        AllowedSubjectToSystemPolicy = 5,
        DeniedBySystemPolicy = 6,
        DeniedByUser = 7,
    }
}

impl AccessStatus {
    #[must_use]
    pub const fn is_allowed(self) -> bool {
        matches!(self, Self::AlwaysAllowed | Self::AllowedSubjectToSystemPolicy)
    }
}

numbered_enum! {
    /// What an application may ask for (BackgroundAccessRequestKind).
    AccessRequestKind {
        AlwaysAllowed = 0,
        AllowedSubjectToSystemPolicy = 1,
    }
}

/// Answer of `GET, POST /background-tasks/access`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BackgroundAccessStatus {
    pub status: AccessStatus,
}

/// Body of `POST /background-tasks/access`; without a body it is RequestAccessAsync.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct RequestAccess {
    pub kind: Option<AccessRequestKind>,
    /// For the owner, who decides about AlwaysAllowed.
    pub reason: Option<String>,
}

/// Body of `PUT /apps/{id}/access`: the owner's decision. `Unspecified` takes it back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutAccess {
    pub status: AccessStatus,
}

/// What to do when the name is taken; `?onConflict=` of registering.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnConflict {
    /// 409.
    #[default]
    Fail,
    /// Unregister the other one first, its running instance is cancelled.
    Replace,
    /// Both stay (the classic Register()).
    Allow,
}

/// Runs a task again that failed, on the registration's own wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Retry {
    /// Further runs for one firing, 1 to 10.
    pub max: u8,
    /// Seconds before the first of them, 1 to 86,400; doubled for each further one.
    pub delay_seconds: u32,
    /// Whether a run that was interrupted by a crash of the service or the machine is repeated too.
    #[serde(default)]
    pub after_interruption: bool,
}

/// Body of `POST /background-tasks` (BackgroundTaskBuilder). Unknown members are ignored, but not in `trigger`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RegisterTaskRequest {
    /// Unique among the application's tasks of one group, case-sensitive.
    pub name: TaskName,
    /// Class that the application's manifest declares, case-sensitive.
    #[schema(min_length = 1, max_length = 256)]
    pub entry_point: String,
    pub trigger: TriggerSpec,
    /// All must hold at the instant of the start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Keeps the network up while the task runs; it is no condition.
    #[serde(default)]
    pub is_network_requested: bool,
    /// Cancels the running instance when one of its conditions stops to hold.
    #[serde(default)]
    pub cancel_on_condition_loss: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_group: Option<TaskGroupId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// Seconds an instance may run, within what the manifest and the owner allow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 604_800)]
    pub time_limit: Option<u32>,
    /// Variables for the task's process, beside those of the manifest. Never shown again.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, Secret>,
}

impl RegisterTaskRequest {
    /// A registration without conditions and with everything else at its default.
    #[must_use]
    pub fn new(name: TaskName, entry_point: impl Into<String>, trigger: TriggerSpec) -> Self {
        Self {
            name,
            entry_point: entry_point.into(),
            trigger,
            conditions: Vec::new(),
            is_network_requested: false,
            cancel_on_condition_loss: false,
            task_group: None,
            retry: None,
            time_limit: None,
            env: BTreeMap::new(),
        }
    }
}

/// A registration in lists (BackgroundTaskRegistration).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackgroundTask {
    pub id: TaskId,
    pub name: TaskName,
    pub trigger_type: TriggerKind,
    /// An instance is running.
    pub is_active: bool,
    pub conditions: Vec<Condition>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_group: Option<TaskGroupId>,
    /// `Completed`, `Canceled:REASON`, `Failed:DETAIL` or `Interrupted`; absent before the first run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run_result: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_completed_time: Option<Timestamp>,
    /// Why a firing that is kept has not started, or why none can come.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<WaitingReason>,
    /// What is odd about it, for instance conditions that can never hold together.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// What is left of a task that has unregistered itself, beside its instances.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PastTask {
    pub id: TaskId,
    pub name: TaskName,
    pub registered_time: Timestamp,
    pub unregistered_time: Timestamp,
    /// Of its newest instance; none while that runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_completed_time: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run_result: Option<String>,
}

/// Everything about one registration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackgroundTaskDetail {
    pub id: TaskId,
    pub name: TaskName,
    pub entry_point: String,
    pub trigger: TriggerView,
    pub conditions: Vec<Condition>,
    pub is_active: bool,
    pub is_network_requested: bool,
    pub cancel_on_condition_loss: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_group: Option<TaskGroupId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_limit: Option<u32>,
    /// 0 to 100; of the running instance, or of the last one until the next runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 100)]
    pub progress: Option<u32>,
    pub created_time: Timestamp,
    /// When a time or maintenance trigger fires next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_fire_time: Option<Timestamp>,
    /// Since when a firing waits for its start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_since: Option<Timestamp>,
    /// A one-shot registration that has started: it stays until it is deleted and never fires again.
    pub is_consumed: bool,
    /// It took its host down too often and is not started any more until it is registered again or run by hand.
    pub is_quarantined: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running_instance: Option<InstanceId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_completed_time: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run_result: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<WaitingReason>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// The newest instances, newest first, bounded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Instance>,
}

numbered_enum! {
    /// What became of a request (ApplicationTriggerResult, MediaProcessingTriggerResult).
    RequestResult {
        /// Accepted, which does not mean started.
        Allowed = 0,
        CurrentlyRunning = 1,
        DisabledByPolicy = 2,
        UnknownError = 3,
        /// Of DeviceUseTrigger (DeviceTriggerResult).
        DeniedByUser = 4,
        /// Of DeviceUseTrigger.
        DeniedBySystem = 5,
        /// Of DeviceUseTrigger.
        LowBattery = 6,
    }
}

/// Body of `POST /background-tasks/{id}/request`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct TaskRequest {
    /// Handed to the task with its trigger details; at most 64 KiB.
    pub arguments: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TaskRequestAnswer {
    pub result: RequestResult,
}

/// Answer of `POST /background-tasks/{id}/run`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskRunAnswer {
    /// The instance that starts; absent when it has to wait its turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<InstanceId>,
}

/// A group of registrations that their library handles apart from the others (BackgroundTaskRegistrationGroup).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskGroup {
    pub id: TaskGroupId,
    /// The members, oldest first.
    pub tasks: Vec<BackgroundTask>,
}
