//! Trigger parameters that are documents or numbers of their own: geofences, Bluetooth LE filters, sensor intervals,
//! characteristics [W 2.11].

use longhaul_contract::{CompletionGroupId, ErrorCode, Timestamp, TriggerKind, TriggerSpec};
use longhaul_host::devices::DeviceId;
use longhaul_host::wants::{Activity, AdvertisementFilter, Characteristic, Fence, Fences, RangeRule, Want};
use serde::Deserialize;
use std::time::Duration;

use crate::http::{Answer, Refused};
use crate::push;

/// Geofences of one registration.
const GEOFENCES_MAX: usize = 1000;

/// Advertising data types that a filter may not name: flags and the like, which all devices send.
const FORBIDDEN_DATA_TYPES: [u8; 5] = [0x01, 0x0d, 0x11, 0x19, 0x1c];

/// From here on, sampling is off [W 2.11].
const SAMPLING_OFF: f64 = 25.5;

/// Where a registration does not say how often activity is looked at.
const REPORT_INTERVAL: Duration = Duration::from_mins(1);

/// Activities of Windows that no sensor here can tell.
const UNTOLD: [(&str, &str); 5] = [
    ("Unknown", "it is the absence of all others, which is no event"),
    ("Idle", "a person at rest who carries the machine looks like a machine at rest: ask for Stationary"),
    ("Fidgeting", "one accelerometer cannot tell it from the shaking of a desk"),
    ("InVehicle", "one accelerometer cannot tell it from other shaking"),
    ("Biking", "one accelerometer cannot tell it from other shaking"),
];

fn refuse(name: &str, detail: impl Into<String>) -> Refused {
    Refused::new(ErrorCode::InvalidTrigger, detail).with_field(format!("/trigger/parameters/{name}"))
}

/// Checks the values of the parameters that the type takes.
pub(super) fn check_parameters(spec: &TriggerSpec) -> Answer<()> {
    match spec.kind {
        TriggerKind::PushNotificationTrigger => check_channel(spec),
        TriggerKind::LocationTrigger => check_geofences(&document::<Vec<Geofence>>(spec, "geofences")?),
        TriggerKind::BluetoothLEAdvertisementWatcherTrigger => check_advertisements(spec).map(drop),
        TriggerKind::DeviceUseTrigger
        | TriggerKind::DeviceServicingTrigger
        | TriggerKind::DeviceConnectionChangeTrigger => check_device(spec),
        TriggerKind::ActivitySensorTrigger => check_activities(spec).map(drop),
        TriggerKind::GattCharacteristicNotificationTrigger => check_characteristic(spec).map(drop),
        TriggerKind::CompletionGroupTrigger => completion_group(spec).map(drop),
        TriggerKind::SystemTrigger
        | TriggerKind::TimeTrigger
        | TriggerKind::MaintenanceTrigger
        | TriggerKind::MediaProcessingTrigger
        | TriggerKind::ApplicationTrigger => Ok(()),
    }
}

/// Whether the host watches for a trigger only while it is registered.
pub(crate) const fn is_watched_for(kind: TriggerKind) -> bool {
    matches!(
        kind,
        TriggerKind::PushNotificationTrigger
            | TriggerKind::LocationTrigger
            | TriggerKind::BluetoothLEAdvertisementWatcherTrigger
            | TriggerKind::ActivitySensorTrigger
            | TriggerKind::GattCharacteristicNotificationTrigger
    )
}

/// What the host is to watch for. `since` is the registration's time, `kept` what the host has given to be kept.
pub(crate) fn want(
    spec: &TriggerSpec,
    since: Timestamp,
    kept: Option<serde_json::Value>,
) -> Answer<Option<Want>> {
    Ok(match spec.kind {
        TriggerKind::PushNotificationTrigger => match spec.parameters.get("channel") {
            Some(channel) if is_distributed(spec) => Some(Want::Push { channel: channel.clone() }),
            _ => None,
        },
        TriggerKind::LocationTrigger => {
            let fences: Vec<Geofence> = document(spec, "geofences")?;
            let fences = fences.into_iter().map(Fence::from).collect();
            Some(Want::Fences(Fences { fences, since, kept }))
        }
        TriggerKind::BluetoothLEAdvertisementWatcherTrigger => {
            let (filter, range) = check_advertisements(spec)?;
            Some(Want::Advertisements { filter, range })
        }
        TriggerKind::ActivitySensorTrigger => {
            let (activities, interval) = check_activities(spec)?;
            Some(Want::Activity { activities, interval, kept })
        }
        TriggerKind::GattCharacteristicNotificationTrigger => {
            Some(Want::Characteristic(check_characteristic(spec)?))
        }
        _ => None,
    })
}

fn given<'a>(spec: &'a TriggerSpec, name: &str) -> Answer<&'a str> {
    let value = spec.parameters.get(name).map(String::as_str).unwrap_or_default();
    if value.is_empty() {
        return Err(refuse(name, format!("{} needs the parameter {name}", spec.kind)));
    }
    Ok(value)
}

/// The group that a CompletionGroupTrigger names.
pub(super) fn completion_group(spec: &TriggerSpec) -> Answer<CompletionGroupId> {
    let id = given(spec, "completionGroup")?;
    id.parse().map_err(|_| refuse("completionGroup", format!("{id:?} is no id of a completion group")))
}

fn document<T: for<'a> Deserialize<'a>>(spec: &TriggerSpec, name: &str) -> Answer<T> {
    parse(name, given(spec, name)?)
}

fn parse<T: for<'a> Deserialize<'a>>(name: &str, text: &str) -> Answer<T> {
    serde_json::from_str(text)
        .map_err(|error| refuse(name, format!("{name} is not the JSON text it must be: {error}")))
}

/// Whether messages are to come by way of the user's distributor.
pub(super) fn is_distributed(spec: &TriggerSpec) -> bool {
    spec.parameters.contains_key("distributor")
}

fn check_channel(spec: &TriggerSpec) -> Answer<()> {
    if let Some(other) = spec.parameters.get("distributor").filter(|word| *word != "unifiedpush") {
        return Err(refuse("distributor", format!("{other:?} is not unifiedpush")));
    }
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
    #[serde(default)]
    single_use: bool,
    #[serde(default)]
    start_time: Option<Timestamp>,
    /// Seconds; 0 is for ever.
    #[serde(default)]
    duration: f64,
}

impl From<Geofence> for Fence {
    fn from(fence: Geofence) -> Self {
        let tells = |state: &str| fence.monitored_states.iter().any(|known| known == state);
        Self {
            tells_entered: tells("Entered"),
            tells_exited: tells("Exited"),
            id: fence.id,
            latitude: fence.latitude,
            longitude: fence.longitude,
            radius: fence.radius,
            dwell: seconds(fence.dwell_time),
            is_single_use: fence.single_use,
            starts: fence.start_time,
            duration: (fence.duration > 0.0).then(|| seconds(fence.duration)),
        }
    }
}

/// What has been checked not to be negative; longer than can be counted is for ever.
fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
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

/// Exactly one pattern: a section of the advertisement, data of a manufacturer, or a service.
#[derive(Deserialize)]
#[serde(untagged, rename_all_fields = "camelCase", deny_unknown_fields)]
enum Pattern {
    Section {
        data_type: u8,
        #[serde(default)]
        offset: u8,
        /// Hexadecimal.
        data: String,
    },
    Manufacturer {
        company_id: u16,
        /// Hexadecimal.
        #[serde(default)]
        data_prefix: String,
    },
    Service {
        service_uuid: String,
    },
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

fn check_advertisements(spec: &TriggerSpec) -> Answer<(AdvertisementFilter, RangeRule)> {
    let filter = advertisement_filter(document(spec, "advertisementFilter")?)?;
    let strength = match spec.parameters.get("signalStrengthFilter") {
        Some(text) => parse("signalStrengthFilter", text)?,
        None => SignalStrengthFilter::default(),
    };
    check_signal_strength(&strength)?;
    match spec.parameters.get("allowExtendedAdvertisements").map(String::as_str) {
        None | Some("true" | "false") => Ok((filter, strength.into())),
        Some(other) => {
            Err(refuse("allowExtendedAdvertisements", format!("{other:?} is neither true nor false")))
        }
    }
}

fn advertisement_filter(pattern: Pattern) -> Answer<AdvertisementFilter> {
    let refuse_filter = |detail: String| Err(refuse("advertisementFilter", detail));
    let bytes = |text: &str| {
        hex::decode(text)
            .map_err(|_| refuse("advertisementFilter", format!("data {text:?} is not hexadecimal")))
    };
    let (data_type, offset, data) = match pattern {
        Pattern::Section { data_type, offset, data } => (data_type, offset, bytes(&data)?),
        Pattern::Manufacturer { company_id, data_prefix } => {
            return Ok(AdvertisementFilter::manufacturer(company_id, &bytes(&data_prefix)?));
        }
        Pattern::Service { service_uuid } => {
            return Ok(AdvertisementFilter::Service { uuid: uuid("advertisementFilter", &service_uuid)? });
        }
    };
    if data.is_empty() || data.len() > 29 {
        return refuse_filter("data must be 1 to 29 bytes".to_owned());
    }
    if FORBIDDEN_DATA_TYPES.contains(&data_type) {
        return refuse_filter(format!("the data type 0x{data_type:02x} is not allowed"));
    }
    if data_type == 0xff && offset == 1 && data == [0] {
        return refuse_filter("a zero as second byte of manufacturer data is too little to match".to_owned());
    }
    Ok(AdvertisementFilter::Section { data_type, offset: usize::from(offset), data })
}

impl From<SignalStrengthFilter> for RangeRule {
    fn from(filter: SignalStrengthFilter) -> Self {
        Self {
            enters_at: filter.in_range_threshold,
            leaves_at: filter.out_of_range_threshold,
            leaves_after: seconds(filter.out_of_range_timeout),
            sampling: filter.sampling_interval.filter(|interval| *interval < SAMPLING_OFF).map(seconds),
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

/// The activities that are asked for, and how often.
fn check_activities(spec: &TriggerSpec) -> Answer<(Vec<Activity>, Duration)> {
    let interval = match spec.parameters.get("reportInterval") {
        None => REPORT_INTERVAL,
        Some(text) => text
            .parse()
            .map(Duration::from_millis)
            .map_err(|_| refuse("reportInterval", "reportInterval must be a number of milliseconds"))?,
    };
    let Some(words) = spec.parameters.get("subscribedActivities") else { return Ok((Vec::new(), interval)) };
    let mut activities = Vec::new();
    for word in words.split(',').map(str::trim) {
        if let Some((_, reason)) = UNTOLD.iter().find(|(untold, _)| *untold == word) {
            return Err(Refused::new(
                ErrorCode::TriggerUnsupported,
                format!("{word} cannot be told: {reason}"),
            )
            .with_field("/trigger/parameters/subscribedActivities"));
        }
        let Some(activity) = Activity::ALL.into_iter().find(|activity| activity.word() == word) else {
            let known = Activity::ALL.map(Activity::word).join(", ");
            return Err(refuse("subscribedActivities", format!("{word:?} is not one of {known}")));
        };
        activities.push(activity);
    }
    Ok((activities, interval))
}

/// The activities that a registration asks for, all that can be told when empty.
pub(super) fn activities(spec: &TriggerSpec) -> Answer<Vec<Activity>> {
    check_activities(spec).map(|(activities, _)| activities)
}

fn uuid(name: &str, text: &str) -> Answer<String> {
    let is_short = (1..=8).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_short {
        return Ok(longhaul_host::whole_uuid(text));
    }
    match uuid::Uuid::try_parse(text) {
        Ok(uuid) => Ok(uuid.hyphenated().to_string()),
        Err(_) => Err(refuse(name, format!("{text:?} is no Bluetooth UUID"))),
    }
}

fn check_device(spec: &TriggerSpec) -> Answer<()> {
    let checked = given(spec, "deviceId")?.parse::<DeviceId>();
    checked.map(drop).map_err(|error| refuse("deviceId", error.to_string()))
}

fn check_characteristic(spec: &TriggerSpec) -> Answer<Characteristic> {
    let device = given(spec, "deviceId")?;
    let is_address = device.split(':').count() == 6
        && device.split(':').all(|part| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit()));
    if !is_address {
        return Err(refuse("deviceId", format!("{device:?} is no address such as AA:BB:CC:DD:EE:FF")));
    }
    let [service, characteristic] =
        ["service", "characteristic"].map(|name| given(spec, name).and_then(|text| uuid(name, text)));
    let (service, characteristic) = (service?, characteristic?);
    match spec.parameters.get("mode").map(String::as_str) {
        mode @ (None | Some("Serial" | "Batch" | "KeepLatest")) => Ok(Characteristic {
            device: device.to_owned(),
            service,
            characteristic,
            lists_values: mode != Some("KeepLatest"),
        }),
        Some(other) => Err(refuse("mode", format!("{other:?} is not one of Serial, Batch, KeepLatest"))),
    }
}
