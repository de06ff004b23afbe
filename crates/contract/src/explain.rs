//! Why something is not running.

use serde::{Deserialize, Serialize};

use crate::Timestamp;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
pub enum Decision {
    Run,
    Wait,
    Done,
}

/// What can hold an operation back, as a word that stays the same over releases.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum ReasonCode {
    NotStarted,
    PausedByApplication,
    NotBefore,
    NetworkLevel,
    NetworkCost,
    EnergySaver,
    /// The owner lets the application transfer only while it is in the foreground, and it is not.
    ForegroundOnly,
    RunningAtOnce,
    RunningAtOncePerApplication,
    ConnectionsPerHost,
    GroupSerialized,
    /// A failed attempt is waiting for its next try; `detail` names the cause.
    Backoff,
    /// A rate limit of 0, by `limits` or by its schedule.
    RateLimitZero,
    DiskSpace,
    Folder,
    ReadOnly,
    Portal,
    Resources,
    Store,
    NeedsInput,
    /// The worker of an earlier decision is still letting go.
    Stopping,
    Finished,
    /// Of a task: its trigger has not fired.
    NotFired,
    /// A one-shot task that has started does not fire again.
    Consumed,
    /// The application has not asked for background access.
    AccessUnspecified,
    /// The owner or a policy denies background access.
    AccessDenied,
    UserPresent,
    UserNotPresent,
    InternetAvailable,
    InternetNotAvailable,
    SessionConnected,
    SessionDisconnected,
    FreeNetworkAvailable,
    BackgroundWorkCostNotHigh,
    /// A maintenance task, or a condition, waits for mains power.
    ExternalPower,
    BatteryPower,
    /// The task runs already; one firing is kept for afterwards.
    InstanceRunning,
    TasksAtOnce,
    TasksAtOncePerApplication,
    /// The task took its host down too often.
    Quarantined,
    /// A failed run is repeated later.
    RetryDelay,
    /// No program listens that serves the entry point.
    ProgramNotConnected,
    /// The clock is not to be trusted yet, which holds calendars back.
    ClockUntrusted,
    /// An event of the machine that comes again and again starts a task at most once a minute.
    Flapping,
    /// The service is stopping and starts nothing any more.
    ServiceStopping,
}

impl ReasonCode {
    /// The camelCase word that answers carry.
    #[must_use]
    pub fn word(self) -> String {
        serde_json::to_value(self).ok().and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
    }
}

/// One rule that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Reason {
    pub code: ReasonCode,
    /// For a person, in one sentence.
    pub detail: String,
    /// The value that was compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Who set the value: a source of the host, `application`, `limits`, `server`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set_by: Option<String>,
    /// What would end it: an instant, an event or a call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_when: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HistoryEntry {
    pub code: ReasonCode,
    pub from: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReasonTotal {
    pub code: ReasonCode,
    pub seconds: u64,
}

/// Answer of `…/explain`: made by the decision itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    pub decision: Decision,
    pub blocking: Vec<Reason>,
    pub satisfied: Vec<Reason>,
    pub unknown: Vec<Reason>,
    /// Stretches of waiting, oldest first, bounded.
    pub history: Vec<HistoryEntry>,
    /// Seconds spent on each reason over the operation's whole life.
    pub totals: Vec<ReasonTotal>,
    /// The command or call that would start it now.
    #[serde(rename = "override", default, skip_serializing_if = "Option::is_none")]
    pub override_with: Option<String>,
}

impl Explanation {
    /// One in which nothing has been looked at yet.
    #[must_use]
    pub const fn of(decision: Decision) -> Self {
        Self {
            decision,
            blocking: Vec::new(),
            satisfied: Vec::new(),
            unknown: Vec::new(),
            history: Vec::new(),
            totals: Vec::new(),
            override_with: None,
        }
    }
}
