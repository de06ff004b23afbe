//! What is only watched while somebody wants to know it, because watching costs something: radio, positions, sensors.
//!
//! Whoever wants something is a number here; who that is, is the caller's business.

use std::collections::BTreeMap;
use std::time::Duration;

use longhaul_contract::Timestamp;

pub use crate::activity::Activity;
pub use crate::bluetooth::{AdvertisementFilter, RangeRule};
pub use crate::location::Fence;

/// Who wants something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WantId(pub [u8; 16]);

/// All that is wanted now.
pub type Wants = BTreeMap<WantId, Want>;

#[derive(Debug, Clone, PartialEq)]
pub enum Want {
    /// Bluetooth LE advertisements that a filter lets through.
    Advertisements { filter: AdvertisementFilter, range: RangeRule },
    /// Notifications of a characteristic of a Bluetooth LE device.
    Characteristic(Characteristic),
    /// Entering and leaving places.
    Fences(Fences),
    /// Messages that the user's push distributor brings.
    Push { channel: String },
    /// Changes of what the user's body does.
    Activity {
        /// All that can be told when empty.
        activities: Vec<Activity>,
        interval: Duration,
        /// As [`crate::HostChange::Kept`] gave it before.
        kept: Option<serde_json::Value>,
    },
}

/// Names a characteristic (GATT, Bluetooth Core Specification volume 3 part G).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Characteristic {
    /// Address of the device, such as `AA:BB:CC:DD:EE:FF`.
    pub device: String,
    /// UUIDs in lower case, of 128 bits.
    pub service: String,
    pub characteristic: String,
    /// Whether the details list all values that came before a run, or only the newest.
    pub lists_values: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Fences {
    pub fences: Vec<Fence>,
    /// From when the duration of a fence without a time of its own counts.
    pub since: Timestamp,
    /// As [`crate::HostChange::Kept`] gave it before.
    pub kept: Option<serde_json::Value>,
}
