//! What can start a background task: the trigger types, the system trigger types, the conditions, and how a
//! registration names them (Windows.ApplicationModel.Background).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::status::numbered_enum;

numbered_enum! {
    /// The trigger types. The numbers are Longhaul's own, for the store: Windows has classes here, and no numbers.
    TriggerKind {
        SystemTrigger = 0,
        TimeTrigger = 1,
        MaintenanceTrigger = 2,
        PushNotificationTrigger = 3,
        LocationTrigger = 4,
        BluetoothLEAdvertisementWatcherTrigger = 5,
        DeviceUseTrigger = 6,
        ActivitySensorTrigger = 7,
        GattCharacteristicNotificationTrigger = 8,
        MediaProcessingTrigger = 9,
        ApplicationTrigger = 10,
        CompletionGroupTrigger = 11,
        DeviceConnectionChangeTrigger = 12,
        DeviceServicingTrigger = 13,
    }
}

numbered_enum! {
    /// What a SystemTrigger waits for (SystemTriggerType).
    SystemTriggerType {
        SmsReceived = 1,
        UserPresent = 2,
        UserAway = 3,
        NetworkStateChange = 4,
        ControlChannelReset = 5,
        InternetAvailable = 6,
        SessionConnected = 7,
        ServicingComplete = 8,
        LockScreenApplicationAdded = 9,
        LockScreenApplicationRemoved = 10,
        TimeZoneChange = 11,
        OnlineIdConnectedStateChange = 12,
        BackgroundWorkCostChange = 13,
        PowerStateChange = 14,
        DefaultSignInAccountChange = 15,
    }
}

numbered_enum! {
    /// What must hold, besides the trigger having fired, for a task to start (SystemConditionType; the numbers from 9 on
    /// are Longhaul's own).
    Condition {
        UserPresent = 1,
        UserNotPresent = 2,
        InternetAvailable = 3,
        InternetNotAvailable = 4,
        SessionConnected = 5,
        SessionDisconnected = 6,
        FreeNetworkAvailable = 7,
        BackgroundWorkCostNotHigh = 8,
        /// Mains, or a machine without a battery.
        ExternalPower = 9,
        BatteryPower = 10,
    }
}

/// Shortest period of a TimeTrigger or MaintenanceTrigger, in minutes.
pub const FRESHNESS_MINUTES_MIN: u32 = 15;
/// Longest period, in minutes: 30 days.
pub const FRESHNESS_MINUTES_MAX: u32 = 43_200;

/// What a registration says of its trigger.
///
/// `parameters` says what its type needs beyond that, by type:
///
/// | type | parameters |
/// |---|---|
/// | TimeTrigger | `schedule` (a cron expression of five fields, in place of freshnessTime), `timeZone` (IANA name), `missed` (`once` or `skip`), `first` (`now`: the registration is a firing too, which is kept as any other) |
/// | MaintenanceTrigger | `missed`, `first`, as above |
/// | PushNotificationTrigger | `channel`, `distributor` (`unifiedpush`: messages come by way of the user's distributor too; the detail of the task then has `endpoint`, the address to send to) |
/// | LocationTrigger | `geofences` (JSON) |
/// | BluetoothLEAdvertisementWatcherTrigger | `advertisementFilter`, `signalStrengthFilter` (JSON), `allowExtendedAdvertisements` |
/// | DeviceUseTrigger, DeviceServicingTrigger, DeviceConnectionChangeTrigger | `deviceId`: `usb:VENDOR:PRODUCT` or `usb:VENDOR:PRODUCT:SERIAL`, or `SUBSYSTEM:NAME` as in `/sys/class` |
/// | ActivitySensorTrigger | `reportInterval` (milliseconds), `subscribedActivities` (comma-separated) |
/// | GattCharacteristicNotificationTrigger | `deviceId`, `service`, `characteristic`, `mode` (`Serial`, `Batch`, `KeepLatest`) |
/// | CompletionGroupTrigger | `completionGroup` |
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TriggerSpec {
    #[serde(rename = "type")]
    pub kind: TriggerKind,
    /// Required with SystemTrigger, and only there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_trigger_type: Option<SystemTriggerType>,
    /// Minutes between firings, 15 to 43,200; required with TimeTrigger (unless it has a schedule) and
    /// MaintenanceTrigger, and only there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freshness_time: Option<u32>,
    /// Whether it fires only once: TimeTrigger, MaintenanceTrigger and SystemTrigger (without ControlChannelReset).
    #[serde(default)]
    pub one_shot: bool,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, String>,
}

impl TriggerSpec {
    /// A trigger that says nothing beyond its type.
    #[must_use]
    pub fn new(kind: TriggerKind) -> Self {
        Self {
            kind,
            system_trigger_type: None,
            freshness_time: None,
            one_shot: false,
            parameters: BTreeMap::new(),
        }
    }
}

/// A trigger as answers show it: everything a registration said, as text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TriggerView {
    #[serde(rename = "type")]
    pub kind: TriggerKind,
    /// `systemTriggerType`, `freshnessTime` and `oneShot` stand here as well, numbers and booleans in their
    /// canonical form.
    pub parameters: BTreeMap<String, String>,
}

impl From<&TriggerSpec> for TriggerView {
    fn from(spec: &TriggerSpec) -> Self {
        let mut parameters = spec.parameters.clone();
        if let Some(system) = spec.system_trigger_type {
            parameters.insert("systemTriggerType".to_owned(), system.to_string());
        }
        if let Some(minutes) = spec.freshness_time {
            parameters.insert("freshnessTime".to_owned(), minutes.to_string());
        }
        if spec.kind.supports_one_shot() {
            parameters.insert("oneShot".to_owned(), spec.one_shot.to_string());
        }
        Self { kind: spec.kind, parameters }
    }
}

impl TriggerKind {
    /// Whether a registration may ask to be started only once. (ControlChannelReset, a system trigger, may not.)
    #[must_use]
    pub const fn supports_one_shot(self) -> bool {
        matches!(self, Self::SystemTrigger | Self::TimeTrigger | Self::MaintenanceTrigger)
    }

    /// Whether `POST /background-tasks/{id}/request` fires it.
    #[must_use]
    pub const fn is_requested(self) -> bool {
        matches!(
            self,
            Self::ApplicationTrigger
                | Self::MediaProcessingTrigger
                | Self::DeviceUseTrigger
                | Self::DeviceServicingTrigger
        )
    }

    /// Whether the firing is about a device that `deviceId` names.
    #[must_use]
    pub const fn has_device(self) -> bool {
        matches!(
            self,
            Self::DeviceUseTrigger | Self::DeviceServicingTrigger | Self::DeviceConnectionChangeTrigger
        )
    }

    /// Whether one application may have only one registration of it [W 2.2].
    #[must_use]
    pub const fn is_single(self) -> bool {
        self.is_requested() || matches!(self, Self::LocationTrigger)
    }

    /// Names of the parameters a registration may give.
    #[must_use]
    pub const fn parameters(self) -> &'static [&'static str] {
        match self {
            Self::TimeTrigger => &["schedule", "timeZone", "missed", "first"],
            Self::MaintenanceTrigger => &["missed", "first"],
            Self::PushNotificationTrigger => &["channel", "distributor"],
            Self::LocationTrigger => &["geofences"],
            Self::BluetoothLEAdvertisementWatcherTrigger => {
                &["advertisementFilter", "signalStrengthFilter", "allowExtendedAdvertisements"]
            }
            Self::DeviceUseTrigger | Self::DeviceServicingTrigger | Self::DeviceConnectionChangeTrigger => {
                &["deviceId"]
            }
            Self::ActivitySensorTrigger => &["reportInterval", "subscribedActivities"],
            Self::GattCharacteristicNotificationTrigger => &["deviceId", "service", "characteristic", "mode"],
            Self::CompletionGroupTrigger => &["completionGroup"],
            Self::SystemTrigger | Self::MediaProcessingTrigger | Self::ApplicationTrigger => &[],
        }
    }

    /// For a person: what starts the task.
    #[must_use]
    pub const fn description(self) -> &'static str {
        match self {
            Self::SystemTrigger => "an event of the machine, named by systemTriggerType",
            Self::TimeTrigger => "a period in minutes, or a calendar expression with a time zone",
            Self::MaintenanceTrigger => "a period in minutes, on external power only",
            Self::PushNotificationTrigger => "a message to a push channel",
            Self::LocationTrigger => "entering or leaving a geofence",
            Self::BluetoothLEAdvertisementWatcherTrigger => {
                "a Bluetooth LE advertisement that matches a filter"
            }
            Self::DeviceUseTrigger => "a request to work with a device",
            Self::ActivitySensorTrigger => "a change of the user's physical activity",
            Self::GattCharacteristicNotificationTrigger => {
                "a notification from a Bluetooth LE characteristic"
            }
            Self::MediaProcessingTrigger => "a request to process media",
            Self::ApplicationTrigger => "a request of the application itself",
            Self::CompletionGroupTrigger => "the end of a set of transfers",
            Self::DeviceConnectionChangeTrigger => "a device that comes or goes",
            Self::DeviceServicingTrigger => "a request to service a device, such as to update its firmware",
        }
    }
}

/// One entry of `GET /background-tasks/triggers`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TriggerType {
    #[serde(rename = "type")]
    pub kind: TriggerKind,
    /// What starts the task.
    pub description: String,
    /// Always false: no trigger needs a place on a lock screen.
    pub requires_lock_screen: bool,
    pub supports_one_shot: bool,
    /// Whether this host can ever fire it.
    pub supported: bool,
    /// What would fire it here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Why it is not supported, and what would enable it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Of SystemTrigger: the same for each type.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub system_trigger_types: Vec<SystemTriggerSupport>,
}

/// Whether a condition holds now, by the code that starts tasks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConditionStanding {
    pub condition: Condition,
    /// Absent when its signal is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holds: Option<bool>,
    /// Whether it lets a task start; also where its signal is unknown.
    pub lets_start: bool,
    /// For a person, in one sentence; why its signal is unknown, where it is.
    pub detail: String,
    /// Value of the signal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Who told it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// Whether this host can fire a system trigger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SystemTriggerSupport {
    pub system_trigger_type: SystemTriggerType,
    pub supported: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}
