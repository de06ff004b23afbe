//! What runners, sources and the host saw, about tasks. What follows from a change of `HostState` (Internet, session,
//! presence, power, cost, zone) the engine works out by itself.

use std::sync::Arc;

use longhaul_contract::instance::{InstanceLimit, KeepAwake};
use longhaul_contract::{AppId, CancelReason, InstanceId, SystemTriggerType, TaskId};

use crate::policy::AccessRules;

/// How a run went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceEnd {
    pub outcome: InstanceOutcome,
    pub exit_code: Option<i32>,
    pub signal: Option<i32>,
    pub was_killed: bool,
    pub progress: u32,
    pub suspended_count: u32,
    pub cpu_milliseconds: Option<u64>,
    pub memory_peak: Option<u64>,
    pub ran_out_of_memory: bool,
    /// Which of the limits it was to have held.
    pub limits: Vec<InstanceLimit>,
    pub keep_awake: Option<KeepAwake>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InstanceOutcome {
    Completed,
    Failed {
        detail: String,
        /// What runs the instance broke, not the instance by itself: counts towards quarantine.
        is_host_crash: bool,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskFact {
    /// The trigger of this registration fired, with details as one JSON document.
    Fired {
        id: TaskId,
        details: Arc<str>,
    },
    /// The same with a message that is worth nothing any more after so many milliseconds. With 0 it starts an instance at
    /// once or never (RFC 8030 section 5.2).
    Message {
        id: TaskId,
        details: Arc<str>,
        lifetime_ms: u64,
    },
    /// An event of the machine, or of one application, that is no change of `HostState`.
    System {
        event: SystemTriggerType,
        app: Option<AppId>,
        details: Arc<str>,
    },
    /// The instance's code runs.
    Running {
        id: TaskId,
        instance: InstanceId,
    },
    Ended {
        id: TaskId,
        instance: InstanceId,
        end: Box<InstanceEnd>,
    },
    /// Running instances have to go: of one application, or all.
    Revoked {
        app: Option<AppId>,
        reason: CancelReason,
    },
    /// The device that the registration is about is gone.
    DeviceGone {
        id: TaskId,
    },
    /// A program began or ceased to serve a class of its application.
    Serving {
        app: AppId,
        class: Arc<str>,
        is_connected: bool,
    },
    /// What administrators say of background access now, all of it.
    AccessRules(Vec<AccessRules>),
    /// The wall clock was set, or the machine woke up.
    ClockChanged,
}
