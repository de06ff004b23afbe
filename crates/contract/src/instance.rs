//! One run of a background task (IBackgroundTaskInstance), its history and its own calls.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::status::numbered_enum;
use crate::{InstanceId, TaskId, Timestamp};

numbered_enum! {
    /// Why an instance is cancelled (BackgroundTaskCancellationReason).
    CancelReason {
        /// Unregistered with its instance, or a maintenance task that lost external power.
        Abort = 0,
        Terminating = 1,
        LoggingOff = 2,
        ServicingUpdate = 3,
        IdleTask = 4,
        Uninstall = 5,
        ConditionLoss = 6,
        SystemPolicy = 7,
        QuietHoursEntered = 8,
        ExecutionTimeExceeded = 9,
        ResourceRevocation = 10,
        EnergySaver = 11,
    }
}

numbered_enum! {
    /// What made an instance start.
    RunCause {
        /// Its trigger fired.
        Trigger = 0,
        /// `POST /background-tasks/{id}/run`.
        Manual = 1,
        /// The run before it failed and the registration asks for another.
        Retry = 2,
    }
}

numbered_enum! {
    InstanceState {
        /// Decided and counted; the process is being made.
        Starting = 0,
        Running = 1,
        /// Asked to end.
        Canceling = 2,
        Completed = 3,
        /// It ended by an error of its own, or could not be started.
        Failed = 4,
        Canceled = 5,
        /// The service or the machine ended before it did.
        Interrupted = 6,
    }
}

impl InstanceState {
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Canceled | Self::Interrupted)
    }
}

/// A limit or sandbox that a manifest can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum LimitKind {
    Memory,
    /// Share of the processor.
    Cpu,
    CpuTime,
    /// Number of processes and threads.
    Processes,
    Filesystem,
    Network,
    ProcessView,
}

/// In words for people.
impl fmt::Display for LimitKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Memory => "memory",
            Self::Cpu => "share of the processor",
            Self::CpuTime => "processor time",
            Self::Processes => "number of processes",
            Self::Filesystem => "file system sandbox",
            Self::Network => "network sandbox",
            Self::ProcessView => "view of processes",
        })
    }
}

/// What became of one limit or sandbox that the manifest asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstanceLimit {
    pub limit: LimitKind,
    pub is_enforced: bool,
    /// What of the kernel holds it: `cgroup`, `setrlimit`, `Landlock`, `seccomp` or `namespace`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub means: Option<String>,
    /// How far it holds, where that is less than its name says; or why it does not hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// Whether the machine is kept awake, and with it its network, for a task that asks for that (isNetworkRequested).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeepAwake {
    pub is_held: bool,
    /// What is held off, or why nothing is.
    pub detail: String,
}

/// One run, running or over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Instance {
    pub id: InstanceId,
    pub task_id: TaskId,
    pub state: InstanceState,
    pub cause: RunCause,
    /// Which run of one firing it is, from 1.
    pub attempt: u32,
    /// When the trigger fired.
    pub fired_time: Timestamp,
    pub started_time: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_time: Option<Timestamp>,
    /// What the trigger said, as the task got it.
    #[schema(value_type = Object)]
    pub trigger_details: serde_json::Value,
    /// As the task set it: any number, mostly per cent.
    pub progress: u32,
    /// Times it was suspended by resource policy (SuspendedCount).
    pub suspended_count: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel_reason: Option<CancelReason>,
    /// `Completed`, `Canceled:REASON`, `Failed:DETAIL` or `Interrupted`; absent while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// Exit code of the process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Signal that ended the process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// It did not go when it was asked to, and was killed.
    pub was_killed: bool,
    /// Milliseconds of processor time of all its processes, as far as known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_milliseconds: Option<u64>,
    /// Largest resident size in bytes, as far as known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_peak: Option<u64>,
    /// The kernel killed something of it because its memory limit was reached.
    #[serde(default)]
    pub ran_out_of_memory: bool,
    /// What of the limits and the sandbox of its manifest really holds, or held; empty where it asks for none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<InstanceLimit>,
    /// Absent where the task does not ask for the network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_awake: Option<KeepAwake>,
}

/// Captured output of an instance: the beginning and the end, with a gap where it was too much.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstanceOutput {
    /// Standard output and standard error in the order they came; bytes that are no UTF-8 are replaced.
    pub text: String,
    /// Bytes that were left out between the beginning and the end.
    pub dropped: u64,
    /// More may come.
    pub is_running: bool,
}

/// Body of `PUT …/instances/{instanceId}/progress`, from the task itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutProgress {
    pub progress: u32,
}

/// Body of `POST …/instances/{instanceId}/complete`, from the task itself: Run has returned.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CompleteInstance {
    /// A failure that CheckResult reports; absent means success.
    pub failure: Option<String>,
}

/// Answer of `POST …/instances/{instanceId}/deferrals` (GetDeferral): the instance lives until all are completed, each
/// with `DELETE …/deferrals/{deferralId}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Deferral {
    pub deferral_id: String,
}

/// Answer of `GET …/instances/{instanceId}/cancellation?wait=SECONDS`, to the task itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Cancellation {
    /// Absent while nobody asked it to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<CancelReason>,
    /// Milliseconds until it is killed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub milliseconds_left: Option<u64>,
    pub suspended_count: u32,
}

/// One event of `GET /background-tasks/activations?entryPoint=CLASS`: run this, in the program that listens. `entryPoint`
/// may come any number of times; the program serves these classes as long as it reads. The `event:` is `activation`.
/// Who reconnects gets the activations of what still runs again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Activation {
    pub task_id: TaskId,
    pub instance_id: InstanceId,
    pub entry_point: String,
    pub task_name: String,
    #[schema(value_type = Object)]
    pub trigger_details: serde_json::Value,
    /// Set when the instance is to end: the same activation comes again with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel_reason: Option<CancelReason>,
}
