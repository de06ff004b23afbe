//! What the machine is like right now, as one value.

use serde::{Deserialize, Serialize};

use crate::Timestamp;

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

/// Every signal the deciding code may look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HostState {
    pub network: Network,
    /// Whether energy saver is on (EnergySaverStatus).
    pub energy_saver: Signal<bool>,
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
        }
    }
}
