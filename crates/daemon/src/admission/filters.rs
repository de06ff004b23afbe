//! Trigger parameters that are documents or numbers of their own: geofences, Bluetooth LE filters, sensor intervals,
//! characteristics [W 2.11].

use longhaul_contract::{ErrorCode, TriggerKind, TriggerSpec};
use longhaul_host::devices::DeviceId;
use serde::Deserialize;

use crate::http::{Answer, Refused};
use crate::push;

/// Geofences of one registration.
const GEOFENCES_MAX: usize = 1000;

/// Advertising data types that a filter may not name: flags and the like, which all devices send.
const FORBIDDEN_DATA_TYPES: [u8; 5] = [0x01, 0x0d, 0x11, 0x19, 0x1c];

const ACTIVITIES: [&str; 8] =
    ["Unknown", "Idle", "Stationary", "Fidgeting", "Walking", "Running", "InVehicle", "Biking"];

fn refuse(name: &str, detail: impl Into<String>) -> Refused {
    Refused::new(ErrorCode::InvalidTrigger, detail).with_field(format!("/trigger/parameters/{name}"))
}

/// Checks the values of the parameters that the type takes.
pub(super) fn check_parameters(spec: &TriggerSpec) -> Answer<()> {
    match spec.kind {
        TriggerKind::PushNotificationTrigger => check_channel(spec),
        TriggerKind::LocationTrigger => check_geofences(&document::<Vec<Geofence>>(spec, "geofences")?),
        TriggerKind::BluetoothLEAdvertisementWatcherTrigger => check_advertisements(spec),
        TriggerKind::DeviceUseTrigger
        | TriggerKind::DeviceServicingTrigger
        | TriggerKind::DeviceConnectionChangeTrigger => check_device(spec),
        TriggerKind::ActivitySensorTrigger => check_activities(spec),
        TriggerKind::GattCharacteristicNotificationTrigger => check_characteristic(spec),
        TriggerKind::CompletionGroupTrigger => given(spec, "completionGroup").map(drop),
        TriggerKind::SystemTrigger
        | TriggerKind::TimeTrigger
        | TriggerKind::MaintenanceTrigger
        | TriggerKind::MediaProcessingTrigger
        | TriggerKind::ApplicationTrigger => Ok(()),
    }
}

fn given<'a>(spec: &'a TriggerSpec, name: &str) -> Answer<&'a str> {
    let value = spec.parameters.get(name).map(String::as_str).unwrap_or_default();
    if value.is_empty() {
        return Err(refuse(name, format!("{} needs the parameter {name}", spec.kind)));
    }
    Ok(value)
}

fn document<T: for<'a> Deserialize<'a>>(spec: &TriggerSpec, name: &str) -> Answer<T> {
    parse(name, given(spec, name)?)
}

fn parse<T: for<'a> Deserialize<'a>>(name: &str, text: &str) -> Answer<T> {
    serde_json::from_str(text)
        .map_err(|error| refuse(name, format!("{name} is not the JSON text it must be: {error}")))
}

fn check_channel(spec: &TriggerSpec) -> Answer<()> {
    let Some(channel) = spec.parameters.get("channel") else { return Ok(()) };
    if !push::is_name_free(channel) {
        return Err(refuse(
            "channel",
            "channels that begin so are made by the service: leave the parameter out",
        ));
    }
    let is_fit = (1..=64).contains(&channel.len())
        && channel.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    if is_fit {
        return Ok(());
    }
    Err(refuse("channel", "a channel has 1 to 64 characters of A-Z a-z 0-9 - _ ."))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Geofence {
    id: String,
    latitude: f64,
    longitude: f64,
    /// Metres.
    radius: f64,
    #[serde(default = "entered_and_exited")]
    monitored_states: Vec<String>,
    /// Seconds; for both directions.
    #[serde(default = "dwell_seconds")]
    dwell_time: f64,
    #[serde(default, rename = "singleUse")]
    _single_use: bool,
    #[serde(default, rename = "startTime")]
    _start_time: Option<longhaul_contract::Timestamp>,
    /// Seconds; 0 is for ever.
    #[serde(default)]
    duration: f64,
}

fn entered_and_exited() -> Vec<String> {
    vec!["Entered".to_owned(), "Exited".to_owned()]
}

const fn dwell_seconds() -> f64 {
    10.0
}

fn check_geofences(geofences: &[Geofence]) -> Answer<()> {
    let refuse = |detail: String| Err(refuse("geofences", detail));
    if geofences.is_empty() || geofences.len() > GEOFENCES_MAX {
        return refuse(format!("there must be 1 to {GEOFENCES_MAX} geofences"));
    }
    let mut seen = std::collections::BTreeSet::new();
    for Geofence { id, latitude, longitude, radius, monitored_states, dwell_time, duration, .. } in geofences
    {
        if id.is_empty() || id.chars().count() > 64 || !seen.insert(id) {
            return refuse(format!("the id {id:?} is empty, longer than 64 characters, or comes twice"));
        }
        if !(-90.0..=90.0).contains(latitude) || !(-180.0..=180.0).contains(longitude) {
            return refuse(format!(
                "{id}: the latitude must be -90 to 90, the longitude -180 to 180 degrees"
            ));
        }
        if !(*radius > 0.0 && *radius <= 1e7) {
            return refuse(format!("{id}: the radius must be more than 0 and at most 10,000,000 metres"));
        }
        if let Some(state) =
            monitored_states.iter().find(|state| !["Entered", "Exited", "Removed"].contains(&state.as_str()))
        {
            return refuse(format!("{id}: {state:?} is not one of Entered, Exited, Removed"));
        }
        if !monitored_states.iter().any(|state| state == "Entered" || state == "Exited") {
            return refuse(format!("{id}: monitoredStates must have Entered or Exited"));
        }
        let is_sound =
            *dwell_time > 0.0 && *duration >= 0.0 && dwell_time.is_finite() && duration.is_finite();
        if !is_sound {
            return refuse(format!("{id}: dwellTime must be more than 0 seconds, duration 0 or more"));
        }
    }
    Ok(())
}

/// Exactly one pattern.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AdvertisementFilter {
    data_type: u8,
    #[serde(default)]
    offset: u8,
    /// Hexadecimal.
    data: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct SignalStrengthFilter {
    /// dBm.
    in_range_threshold: i16,
    /// dBm.
    out_of_range_threshold: i16,
    /// Seconds.
    out_of_range_timeout: f64,
    /// Seconds; 25.5 and more report only coming and going.
    sampling_interval: Option<f64>,
}

impl Default for SignalStrengthFilter {
    fn default() -> Self {
        Self {
            in_range_threshold: -127,
            out_of_range_threshold: -127,
            out_of_range_timeout: 60.0,
            sampling_interval: None,
        }
    }
}

fn check_advertisements(spec: &TriggerSpec) -> Answer<()> {
    let filter: AdvertisementFilter = document(spec, "advertisementFilter")?;
    let refuse_filter = |detail: String| Err(refuse("advertisementFilter", detail));
    let Ok(data) = hex::decode(&filter.data) else {
        return refuse_filter(format!("data {:?} is not hexadecimal", filter.data));
    };
    if data.is_empty() || data.len() > 29 {
        return refuse_filter("data must be 1 to 29 bytes".to_owned());
    }
    if FORBIDDEN_DATA_TYPES.contains(&filter.data_type) {
        return refuse_filter(format!("the data type 0x{:02x} is not allowed", filter.data_type));
    }
    if filter.data_type == 0xff && filter.offset == 1 && data == [0] {
        return refuse_filter("a zero as second byte of manufacturer data is too little to match".to_owned());
    }
    if let Some(text) = spec.parameters.get("signalStrengthFilter") {
        let strength: SignalStrengthFilter = parse("signalStrengthFilter", text)?;
        check_signal_strength(&strength)?;
    }
    match spec.parameters.get("allowExtendedAdvertisements").map(String::as_str) {
        None | Some("true" | "false") => Ok(()),
        Some(other) => {
            Err(refuse("allowExtendedAdvertisements", format!("{other:?} is neither true nor false")))
        }
    }
}

fn check_signal_strength(filter: &SignalStrengthFilter) -> Answer<()> {
    let refuse = |detail: &str| Err(refuse("signalStrengthFilter", detail));
    let dbm = -127..=20;
    if !dbm.contains(&filter.in_range_threshold) || !dbm.contains(&filter.out_of_range_threshold) {
        return refuse("thresholds must be -127 to 20 dBm");
    }
    if filter.out_of_range_threshold > filter.in_range_threshold {
        return refuse("outOfRangeThreshold must not be above inRangeThreshold");
    }
    if !(1.0..=60.0).contains(&filter.out_of_range_timeout) {
        return refuse("outOfRangeTimeout must be 1 to 60 seconds");
    }
    if filter.sampling_interval.is_some_and(|seconds| !(seconds >= 1.0 && seconds.is_finite())) {
        return refuse("samplingInterval must be 1 second or more");
    }
    Ok(())
}

fn check_activities(spec: &TriggerSpec) -> Answer<()> {
    if given(spec, "reportInterval")?.parse::<u32>().is_err() {
        return Err(refuse("reportInterval", "reportInterval must be a number of milliseconds"));
    }
    let Some(activities) = spec.parameters.get("subscribedActivities") else { return Ok(()) };
    match activities.split(',').map(str::trim).find(|activity| !ACTIVITIES.contains(activity)) {
        Some(unknown) => {
            let detail = format!("{unknown:?} is not one of {}", ACTIVITIES.join(", "));
            Err(refuse("subscribedActivities", detail))
        }
        None => Ok(()),
    }
}

fn check_device(spec: &TriggerSpec) -> Answer<()> {
    let checked = given(spec, "deviceId")?.parse::<DeviceId>();
    checked.map(drop).map_err(|error| refuse("deviceId", error.to_string()))
}

fn check_characteristic(spec: &TriggerSpec) -> Answer<()> {
    given(spec, "deviceId")?;
    for name in ["service", "characteristic"] {
        let value = given(spec, name)?;
        let is_short = (1..=8).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_short && uuid::Uuid::try_parse(value).is_err() {
            return Err(refuse(name, format!("{value:?} is no Bluetooth UUID")));
        }
    }
    match spec.parameters.get("mode").map(String::as_str) {
        None | Some("Serial" | "Batch" | "KeepLatest") => Ok(()),
        Some(other) => Err(refuse("mode", format!("{other:?} is not one of Serial, Batch, KeepLatest"))),
    }
}
