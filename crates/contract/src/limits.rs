//! Rate limits and how many operations run at once.

use serde::{Deserialize, Serialize};

/// A rate limit that holds during a weekly window. Windows of several entries may overlap: the lowest rate wins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScheduledRate {
    /// `Mon` to `Sun`; empty means every day. A window over midnight belongs to the day it begins on.
    #[serde(default)]
    pub weekdays: Vec<String>,
    /// Start of the window, `HH:MM` in `timeZone`.
    pub from: String,
    /// End of the window, `HH:MM`; equal to `from` means the whole day, earlier means over midnight.
    pub to: String,
    /// IANA name; the machine's zone when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// Bytes per second for all transfers together; 0 stops them.
    pub bytes_per_second: u64,
}

/// The machine-wide limits of `GET, PUT /limits`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Limits {
    /// Bytes per second for all transfers together; absent is unlimited, 0 stops them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_per_second: Option<u64>,
    pub schedule: Vec<ScheduledRate>,
    /// Operations that move bytes at one time, over all applications.
    pub running_at_once: u32,
    /// Operations that move bytes at one time for one application.
    pub running_at_once_per_application: u32,
    /// Connections to one origin over all operations and applications.
    pub connections_per_host: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes_per_second: None,
            schedule: Vec::new(),
            running_at_once: 16,
            running_at_once_per_application: 12,
            connections_per_host: 16,
        }
    }
}
