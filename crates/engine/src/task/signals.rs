//! What the machine was last known to be like: triggers fire on edges against it. It outlives a restart, so that no edge
//! is lost while the service is down, and none is invented when a signal is unknown for a while.

use longhaul_contract::{BatteryStatus, NetworkCost, NetworkLevel, WorkCost};
use serde::{Deserialize, Serialize};

/// Absent is what has never been known, or what no registration has waited for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KnownSignals {
    pub level: Option<NetworkLevel>,
    pub cost: Option<NetworkCost>,
    pub session_connected: Option<bool>,
    pub user_present: Option<bool>,
    pub work_cost: Option<WorkCost>,
    pub battery: Option<BatteryStatus>,
    /// IANA name of the machine's zone.
    pub time_zone: Option<String>,
    /// Seconds east of UTC that held in it.
    pub utc_offset: Option<i32>,
}
