//! What the machine is like right now, as one value.

use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::status::numbered_enum;

/// One signal of the machine: known with its source, or unknown with the reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "state", rename_all = "camelCase")]
pub enum Signal<T> {
    Known { value: T, since: Timestamp, source: String },
    Unknown { reason: String },
}

impl<T> Signal<T> {
    #[must_use]
    pub fn unknown(reason: &str) -> Self {
        Self::Unknown { reason: reason.to_owned() }
    }

    #[must_use]
    pub fn value(&self) -> Option<&T> {
        match self {
            Self::Known { value, .. } => Some(value),
            Self::Unknown { .. } => None,
        }
    }
}

/// NetworkConnectivityLevel.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
pub enum NetworkLevel {
    None,
    Local,
    ConstrainedInternet,
    Internet,
}

/// What the connection costs, and how near its data limit is (ConnectionCost).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NetworkCost {
    pub is_metered: bool,
    pub is_roaming: bool,
    /// On track to exceed the data limit.
    pub is_approaching_data_limit: bool,
    pub is_over_data_limit: bool,
    /// The owner restricts background data.
    pub is_background_data_restricted: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Network {
    pub level: Signal<NetworkLevel>,
    pub cost: Signal<NetworkCost>,
}

numbered_enum! {
    /// What the battery does (Windows.System.Power.BatteryStatus).
    BatteryStatus {
        NotPresent = 0,
        Discharging = 1,
        Idle = 2,
        Charging = 3,
    }
}

numbered_enum! {
    /// How much work in the background costs now (BackgroundWorkCostValue).
    WorkCost {
        Low = 0,
        Medium = 1,
        High = 2,
    }
}

/// Where the power comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Power {
    /// Mains; also true on a machine without a battery.
    pub is_external: bool,
    pub battery: BatteryStatus,
    /// Charge in per cent, where there is a battery that tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<u8>,
}

/// Every signal the deciding code may look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HostState {
    pub network: Network,
    /// Whether energy saver is on (EnergySaverStatus).
    pub energy_saver: Signal<bool>,
    pub power: Signal<Power>,
    /// Whether the owner of this service has a session that is connected: logged in and in front, or remote.
    pub session_connected: Signal<bool>,
    /// Whether the user is active.
    pub user_present: Signal<bool>,
    pub work_cost: Signal<WorkCost>,
    /// IANA name of the machine's zone.
    pub time_zone: Signal<String>,
    /// The owner's data plans, by connection. What follows from them is in the cost of the network; they stand here as of
    /// this moment, for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data_plans: Vec<DataPlanUse>,
}

/// A connection's data plan as the owner set it, and what was used of it (DataPlanStatus).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DataPlanUse {
    /// A connection of NetworkManager, or a network interface.
    pub connection: String,
    /// Whether the way to the Internet goes through it now.
    pub is_in_use: bool,
    /// For one period, sent and received together.
    pub limit_bytes: u64,
    /// In this period up to now, by the kernel's counters.
    pub used_bytes: u64,
    /// What will have been used at the end of the period if it goes on like this.
    pub projected_bytes: u64,
    /// When this period began.
    pub since: Timestamp,
    /// When the next one begins.
    pub resets_time: Timestamp,
    /// On track to exceed the limit.
    pub is_approaching_limit: bool,
    pub is_over_limit: bool,
}

impl HostState {
    /// Nothing measured yet.
    #[must_use]
    pub fn unmeasured() -> Self {
        Self {
            network: Network {
                level: Signal::unknown("no network source has reported yet"),
                cost: Signal::unknown("no source of network cost on this host"),
            },
            energy_saver: Signal::unknown("no source of energy saver on this host"),
            power: Signal::unknown("no source of power on this host"),
            session_connected: Signal::unknown("no source of sessions on this host"),
            user_present: Signal::unknown("no source of user presence on this host"),
            work_cost: Signal::unknown("no source of work cost on this host"),
            time_zone: Signal::unknown("the time zone has not been looked up yet"),
            data_plans: Vec::new(),
        }
    }
}

/// The signals that an administrator may set by hand, for tests and for odd hosts (`longhaul host set`).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum HostSignal {
    /// `None`, `Local`, `ConstrainedInternet` or `Internet`.
    NetworkLevel,
    /// `unmetered`, `metered`, `approaching`, `roaming`, `over` or `restricted`.
    NetworkCost,
    /// `true` or `false`.
    EnergySaver,
    /// `external`, or `battery` with an optional charge: `battery:40`.
    Power,
    /// `true` or `false`.
    SessionConnected,
    /// `true` or `false`.
    UserPresent,
    /// `Low`, `Medium` or `High`.
    WorkCost,
    /// An IANA name.
    TimeZone,
}

impl HostSignal {
    pub const ALL: &'static [Self] = &[
        Self::NetworkLevel,
        Self::NetworkCost,
        Self::EnergySaver,
        Self::Power,
        Self::SessionConnected,
        Self::UserPresent,
        Self::WorkCost,
        Self::TimeZone,
    ];

    /// The word in paths and on the command line.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::NetworkLevel => "networkLevel",
            Self::NetworkCost => "networkCost",
            Self::EnergySaver => "energySaver",
            Self::Power => "power",
            Self::SessionConnected => "sessionConnected",
            Self::UserPresent => "userPresent",
            Self::WorkCost => "workCost",
            Self::TimeZone => "timeZone",
        }
    }

    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|signal| signal.word().eq_ignore_ascii_case(word))
    }
}

/// Body of `PUT /host/{signal}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutHostSignal {
    /// What the signal is from now on, as [`HostSignal`] says; `DELETE` gives it back to its source.
    pub value: String,
}
