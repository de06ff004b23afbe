//! The owner's settings that decisions depend on.

use std::collections::BTreeSet;

use longhaul_contract::{AccessStatus, AppId, TriggerKind};

use crate::task::RunLimits;

/// Settings that hold from start to stop; live ones are `longhaul_contract::Limits`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Retries without progress after which a connected operation fails [W 1.14].
    pub retries_max: u8,
    pub retry_delay_min_ms: u64,
    pub retry_delay_max_ms: u64,
    /// How long something blocked on the machine (disk space, folder) waits before it looks again by itself.
    pub blocked_delay_ms: u64,
    /// Live operations one application may have.
    pub operations_per_application: u32,
    /// Group names one application may have [W 1.8].
    pub groups_per_application: u32,
    /// Completion groups that are not over, of one application.
    pub completion_groups_per_application: u32,
    /// Seconds a result is kept that nobody has consumed.
    pub keep_unconsumed_seconds: i64,
    /// Seconds a consumed result is kept.
    pub keep_consumed_seconds: i64,
    /// A change of the network's verdict must hold this long before something stopped by it starts again.
    pub settle_ms: u64,
    /// IANA name of the machine's zone, for scheduled rates that name none; UTC when absent.
    pub time_zone: Option<String>,
    pub tasks: TaskPolicy,
}

/// How long a device may be serviced until the task is cancelled [W 2.10].
const SERVICING_RUN_MS: u64 = 1_795_000;

/// What holds for background tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskPolicy {
    /// How long an instance runs until it is cancelled, where neither its registration nor its manifest says so.
    pub run_ms: u64,
    /// The same for ApplicationTrigger, DeviceUseTrigger and MediaProcessingTrigger.
    pub long_run_ms: u64,
    /// The same for MaintenanceTrigger.
    pub maintenance_run_ms: u64,
    /// The longest that a registration or a manifest may ask for.
    pub run_max_ms: u64,
    /// What a cancelled instance has to end by itself [W 2.5].
    pub grace_ms: u64,
    /// Instances that run at one time, and those of one application.
    pub at_once: u32,
    pub at_once_per_application: u32,
    /// Runs in a row that took their host down after which a registration is started no more.
    pub crashes_max: u8,
    pub registrations_per_application: u32,
    /// What an application gets that asks for access and has no decision of the owner.
    pub access_on_request: AccessStatus,
    /// Registering needs access, and is refused without.
    pub is_registration_strict: bool,
    /// An event of the machine that flaps starts one registration at most this often.
    pub flap_ms: u64,
    /// A timer that comes later than this has been missed, and its registration says what becomes of it.
    pub missed_after_ms: u64,
    /// What administrators of the machine say of background access; every one of these counts.
    pub access_rules: Vec<AccessRules>,
}

/// What one administrator's file says of background access (LetAppsRunInBackground and its lists).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessRules {
    /// Names the file.
    pub source: String,
    /// For applications that are on no list.
    pub default: AccessRule,
    pub allow: BTreeSet<AppId>,
    pub deny: BTreeSet<AppId>,
    /// Left to the owner of the service, whatever the default says.
    pub owner: BTreeSet<AppId>,
}

/// Who decides about an application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum AccessRule {
    /// The owner of the service, and the application by asking.
    #[default]
    Owner,
    /// It may run in the background, whatever the owner says.
    Allow,
    /// It may not.
    Deny,
}

impl AccessRules {
    /// The stricter list wins.
    #[must_use]
    pub fn of(&self, app: &AppId) -> AccessRule {
        if self.deny.contains(app) {
            AccessRule::Deny
        } else if self.allow.contains(app) {
            AccessRule::Allow
        } else if self.owner.contains(app) {
            AccessRule::Owner
        } else {
            self.default
        }
    }
}

impl TaskPolicy {
    /// The strictest of all rules for this application.
    #[must_use]
    pub fn access_rule(&self, app: &AppId) -> AccessRule {
        self.access_rules.iter().map(|rules| rules.of(app)).max().unwrap_or_default()
    }

    /// The file that denies this application.
    #[must_use]
    pub fn denies(&self, app: &AppId) -> Option<&str> {
        let denying = self.access_rules.iter().find(|rules| rules.of(app) == AccessRule::Deny);
        denying.map(|rules| rules.source.as_str())
    }

    /// What holds for this type of trigger where nothing else is said; the time limit of Windows is both together.
    #[must_use]
    pub const fn limits(&self, kind: TriggerKind) -> RunLimits {
        let cancel_after_ms = match kind {
            TriggerKind::MaintenanceTrigger => self.maintenance_run_ms,
            TriggerKind::DeviceServicingTrigger => SERVICING_RUN_MS,
            _ if kind.is_requested() => self.long_run_ms,
            _ => self.run_ms,
        };
        RunLimits { cancel_after_ms, grace_ms: self.grace_ms }
    }
}

impl Default for TaskPolicy {
    fn default() -> Self {
        Self {
            run_ms: 25_000,
            long_run_ms: 595_000,
            maintenance_run_ms: 3_595_000,
            run_max_ms: 86_400_000,
            grace_ms: 5_000,
            at_once: 16,
            at_once_per_application: 8,
            crashes_max: 5,
            registrations_per_application: 10_000,
            access_on_request: AccessStatus::AllowedSubjectToSystemPolicy,
            is_registration_strict: false,
            flap_ms: 60_000,
            missed_after_ms: 900_000,
            access_rules: Vec::new(),
        }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            retries_max: 3,
            retry_delay_min_ms: 1_000,
            retry_delay_max_ms: 300_000,
            blocked_delay_ms: 30_000,
            operations_per_application: 1_000_000,
            groups_per_application: 10_000,
            completion_groups_per_application: 10_000,
            keep_unconsumed_seconds: 30 * 86_400,
            keep_consumed_seconds: 7 * 86_400,
            settle_ms: 1_000,
            time_zone: None,
            tasks: TaskPolicy::default(),
        }
    }
}
