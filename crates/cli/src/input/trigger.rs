//! Triggers as a person writes them: `time:60,once`, `system:TimeZoneChange`, or a JSON file.

use std::path::Path;

use longhaul_contract::{SystemTriggerType, TriggerKind, TriggerSpec};
use serde_json::Value;

use crate::trouble::Trouble;

/// How each trigger is written, for `longhaul triggers`.
pub(crate) const fn syntax(kind: TriggerKind) -> &'static str {
    match kind {
        TriggerKind::TimeTrigger => "time:MINUTES or time:CRON@ZONE [,once,now,skip]",
        TriggerKind::MaintenanceTrigger => "maintenance:MINUTES [,once,now,skip]",
        TriggerKind::SystemTrigger => "system:TYPE [,once]",
        TriggerKind::PushNotificationTrigger => "push:CHANNEL [,unifiedpush]",
        TriggerKind::LocationTrigger => "location:FILE.json",
        TriggerKind::BluetoothLEAdvertisementWatcherTrigger => "ble:FILE.json",
        TriggerKind::DeviceUseTrigger => "device:ID",
        TriggerKind::ActivitySensorTrigger => "activity:NAME,NAME… [@MILLISECONDS]",
        TriggerKind::GattCharacteristicNotificationTrigger => "gatt:DEVICE/SERVICE/CHARACTERISTIC [,MODE]",
        TriggerKind::MediaProcessingTrigger => "media",
        TriggerKind::ApplicationTrigger => "app",
        TriggerKind::CompletionGroupTrigger => "completion:ID",
        TriggerKind::DeviceConnectionChangeTrigger => "device-change:ID",
        TriggerKind::DeviceServicingTrigger => "device-servicing:ID",
    }
}

pub(crate) const HELP: &str = "time:60 (every 60 minutes), time:60,once, time:60,now (and at once the first time), \
    \"time:30 2 * * *@Europe/Berlin\" (minute, hour, day, month, weekday), maintenance:1440 (on mains only), \
    system:TimeZoneChange, push:CHANNEL, location:FILE.json, ble:FILE.json, gatt:DEVICE/SERVICE/CHARACTERISTIC, \
    activity:Walking,Running, device:usb:VENDOR:PRODUCT, device-change:usb:VENDOR:PRODUCT, device-servicing:ID, media, app, completion:ID, or FILE.json with a trigger of the API. A word \
    ,skip leaves out what fell into a time when the machine was off";

/// Reads a trigger; files are read here.
pub(crate) fn parse(text: &str) -> Result<TriggerSpec, Trouble> {
    let (word, rest) = text.split_once(':').unwrap_or((text, ""));
    let needed = |what: &str| {
        if rest.is_empty() {
            return Err(Trouble::usage(format!("the trigger {word:?} needs {what}")).advise(example(word)));
        }
        Ok(rest)
    };
    let with = |kind, parameters: &[(&str, &str)]| {
        let mut spec = TriggerSpec::new(kind);
        spec.parameters
            .extend(parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        spec
    };
    match word {
        "time" => periodic(TriggerKind::TimeTrigger, needed("minutes or a cron expression")?),
        "maintenance" => periodic(TriggerKind::MaintenanceTrigger, needed("minutes")?),
        "system" => system(needed("a type")?),
        "push" => {
            let channel = needed("a channel")?;
            let kind = TriggerKind::PushNotificationTrigger;
            Ok(match channel.strip_suffix(",unifiedpush") {
                Some(channel) => with(kind, &[("channel", channel), ("distributor", "unifiedpush")]),
                None => with(kind, &[("channel", channel)]),
            })
        }
        "location" => location(Path::new(needed("a JSON file of geofences")?)),
        "ble" => {
            let file = Path::new(needed("a JSON file of filters")?);
            from_members(TriggerKind::BluetoothLEAdvertisementWatcherTrigger, file, document(file)?)
        }
        "gatt" => gatt(needed("a device, a service and a characteristic")?),
        "activity" => activity(needed("activities")?),
        "device" => Ok(with(TriggerKind::DeviceUseTrigger, &[("deviceId", needed("a device")?)])),
        "device-change" => {
            Ok(with(TriggerKind::DeviceConnectionChangeTrigger, &[("deviceId", needed("a device")?)]))
        }
        "device-servicing" => {
            Ok(with(TriggerKind::DeviceServicingTrigger, &[("deviceId", needed("a device")?)]))
        }
        "completion" => {
            Ok(with(TriggerKind::CompletionGroupTrigger, &[("completionGroup", needed("a group")?)]))
        }
        "media" if rest.is_empty() => Ok(TriggerSpec::new(TriggerKind::MediaProcessingTrigger)),
        "app" if rest.is_empty() => Ok(TriggerSpec::new(TriggerKind::ApplicationTrigger)),
        "media" | "app" => Err(Trouble::usage(format!("the trigger {word:?} takes nothing behind it"))),
        _ if Path::new(text).extension().is_some_and(|extension| extension == "json") => {
            let file = Path::new(text);
            serde_json::from_value(document(file)?)
                .map_err(|error| Trouble::usage(format!("{text} is not a trigger: {error}")))
        }
        _ => Err(Trouble::usage(format!("{text:?} is not a trigger")).advise(format!("Write {HELP}."))),
    }
}

fn example(word: &str) -> String {
    let kind = match word {
        "time" => TriggerKind::TimeTrigger,
        "maintenance" => TriggerKind::MaintenanceTrigger,
        "system" => TriggerKind::SystemTrigger,
        "push" => TriggerKind::PushNotificationTrigger,
        "location" => TriggerKind::LocationTrigger,
        "ble" => TriggerKind::BluetoothLEAdvertisementWatcherTrigger,
        "gatt" => TriggerKind::GattCharacteristicNotificationTrigger,
        "activity" => TriggerKind::ActivitySensorTrigger,
        "device" => TriggerKind::DeviceUseTrigger,
        "device-change" => TriggerKind::DeviceConnectionChangeTrigger,
        "device-servicing" => TriggerKind::DeviceServicingTrigger,
        _ => TriggerKind::CompletionGroupTrigger,
    };
    format!("Write {}.", syntax(kind))
}

/// The words at the end that say how often it fires.
struct Repetition<'a> {
    rest: &'a str,
    is_once: bool,
    is_now: bool,
    is_skipping: bool,
}

/// Commas also stand inside cron expressions; these words never do.
fn repetition(text: &str) -> Repetition<'_> {
    let mut found = Repetition { rest: text, is_once: false, is_now: false, is_skipping: false };
    while let Some((rest, word)) = found.rest.rsplit_once(',') {
        match word {
            "once" => found.is_once = true,
            "now" => found.is_now = true,
            "skip" => found.is_skipping = true,
            _ => break,
        }
        found.rest = rest;
    }
    found
}

fn periodic(kind: TriggerKind, text: &str) -> Result<TriggerSpec, Trouble> {
    let repetition = repetition(text);
    let mut spec = TriggerSpec { one_shot: repetition.is_once, ..TriggerSpec::new(kind) };
    let mut set = |name: &str, value: &str| spec.parameters.insert(name.to_owned(), value.to_owned());
    if repetition.is_now {
        set("first", "now");
    }
    if repetition.is_skipping {
        set("missed", "skip");
    }
    if kind == TriggerKind::TimeTrigger && repetition.rest.contains(' ') {
        let (schedule, zone) = match repetition.rest.rsplit_once('@') {
            Some((schedule, zone)) => (schedule, Some(zone)),
            None => (repetition.rest, None),
        };
        set("schedule", schedule.trim());
        if let Some(zone) = zone {
            set("timeZone", zone);
        }
        return Ok(spec);
    }
    let minutes = repetition.rest.parse().map_err(|_| {
        Trouble::usage(format!("{:?} is not a number of minutes", repetition.rest))
            .advise(format!("Write {}.", syntax(kind)))
    })?;
    spec.freshness_time = Some(minutes);
    Ok(spec)
}

fn system(text: &str) -> Result<TriggerSpec, Trouble> {
    let (word, one_shot) = match text.strip_suffix(",once") {
        Some(word) => (word, true),
        None => (text, false),
    };
    let event: SystemTriggerType = word.parse().map_err(Trouble::usage)?;
    Ok(TriggerSpec {
        system_trigger_type: Some(event),
        one_shot,
        ..TriggerSpec::new(TriggerKind::SystemTrigger)
    })
}

fn gatt(text: &str) -> Result<TriggerSpec, Trouble> {
    let kind = TriggerKind::GattCharacteristicNotificationTrigger;
    let file = Path::new(text);
    if file.extension().is_some_and(|extension| extension == "json") {
        return from_members(kind, file, document(file)?);
    }
    let (path, mode) = match text.rsplit_once(',') {
        Some((path, mode)) => (path, Some(mode)),
        None => (text, None),
    };
    let parts: Vec<&str> = path.split('/').collect();
    let [device, service, characteristic] = parts[..] else {
        return Err(Trouble::usage(format!("{text:?} does not name one characteristic"))
            .advise(format!("Write {}.", syntax(kind))));
    };
    let mut spec = TriggerSpec::new(kind);
    let named = [("deviceId", device), ("service", service), ("characteristic", characteristic)];
    let named = named.into_iter().chain(mode.map(|mode| ("mode", mode)));
    spec.parameters.extend(named.map(|(name, value)| (name.to_owned(), value.to_owned())));
    Ok(spec)
}

fn activity(text: &str) -> Result<TriggerSpec, Trouble> {
    let (activities, interval) = match text.split_once('@') {
        Some((activities, interval)) => (activities, Some(interval)),
        None => (text, None),
    };
    let mut spec = TriggerSpec::new(TriggerKind::ActivitySensorTrigger);
    spec.parameters.insert("subscribedActivities".to_owned(), activities.to_owned());
    if let Some(interval) = interval {
        let milliseconds: u32 = interval
            .parse()
            .map_err(|_| Trouble::usage(format!("{interval:?} is not a number of milliseconds")))?;
        spec.parameters.insert("reportInterval".to_owned(), milliseconds.to_string());
    }
    Ok(spec)
}

/// A list of geofences, or an object that holds one.
fn location(file: &Path) -> Result<TriggerSpec, Trouble> {
    let document = document(file)?;
    if document.is_array() {
        let mut spec = TriggerSpec::new(TriggerKind::LocationTrigger);
        spec.parameters.insert("geofences".to_owned(), document.to_string());
        return Ok(spec);
    }
    from_members(TriggerKind::LocationTrigger, file, document)
}

/// Members of an object become parameters: text as it is, everything else as JSON.
fn from_members(kind: TriggerKind, file: &Path, document: Value) -> Result<TriggerSpec, Trouble> {
    let Value::Object(members) = document else {
        return Err(Trouble::usage(format!("{} does not hold a JSON object", file.display())));
    };
    let mut spec = TriggerSpec::new(kind);
    for (name, value) in members {
        if !kind.parameters().contains(&name.as_str()) {
            let message = format!("{} has a member {name:?} that {kind} does not take", file.display());
            return Err(Trouble::usage(message).advise(format!("It takes {}.", kind.parameters().join(", "))));
        }
        let text = match value {
            Value::String(text) => text,
            other => other.to_string(),
        };
        spec.parameters.insert(name, text);
    }
    Ok(spec)
}

fn document(file: &Path) -> Result<Value, Trouble> {
    let text = std::fs::read_to_string(file).map_err(|error| Trouble::file(file, &error))?;
    serde_json::from_str(&text)
        .map_err(|error| Trouble::usage(format!("{} is not JSON: {error}", file.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    fn read(text: &str) -> Value {
        serde_json::to_value(parse(text).unwrap_or_else(|trouble| panic!("{text}: {trouble}"))).unwrap()
    }

    #[test]
    fn triggers_are_written_in_a_word() {
        let lines: Vec<String> = [
            "time:60",
            "time:60,once",
            "time:15,once,now",
            "time:90,skip",
            "time:30 2 * * *@Europe/Berlin",
            "time:0 8,20 * * 1,5",
            "time:0 8,20 * * 1,5@Europe/Berlin,once",
            "maintenance:1440",
            "system:TimeZoneChange",
            "system:internetavailable,once",
            "push:news",
            "activity:Walking,Running",
            "activity:Walking@5000",
            "device:046d:c52b",
            "gatt:AA:BB:CC:DD:EE:FF/180d/2a37",
            "gatt:AA:BB:CC:DD:EE:FF/180d/2a37,Batch",
            "media",
            "app",
            "completion:019c8a3b-7f2e-7000-8000-000000000001",
        ]
        .into_iter()
        .map(|text| format!("{text}\n    {}", read(text)))
        .collect();
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn files_bring_what_is_too_long_for_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let fences = file("fences.json", r#"[{"id": "home"}]"#);
        assert_eq!(read(&format!("location:{fences}"))["parameters"]["geofences"], r#"[{"id":"home"}]"#);
        let filter =
            file("ble.json", r#"{"advertisementFilter": {"a": 1}, "allowExtendedAdvertisements": true}"#);
        let parameters = &read(&format!("ble:{filter}"))["parameters"];
        assert_eq!(parameters["advertisementFilter"], r#"{"a":1}"#);
        assert_eq!(parameters["allowExtendedAdvertisements"], "true");
        let whole =
            file("whole.json", r#"{"type": "PushNotificationTrigger", "parameters": {"channel": "a"}}"#);
        assert_eq!(read(&whole)["parameters"]["channel"], "a");
        for (text, exit) in [
            (format!("ble:{fences}"), Exit::Usage),
            (format!("location:{filter}"), Exit::Usage),
            (fences, Exit::Usage),
            (file("not.json", "{"), Exit::Usage),
            (folder.path().join("none.json").to_str().unwrap().to_owned(), Exit::LocalFile),
        ] {
            assert_eq!(parse(&text).unwrap_err().exit, exit, "{text}");
        }
    }

    #[test]
    fn mistakes_say_how_it_is_written() {
        for bad in [
            "",
            "time",
            "time:",
            "time:soon",
            "time:60,twice",
            "system:Sunrise",
            "gatt:a/b",
            "app:x",
            "cron:1",
        ] {
            let trouble = parse(bad).unwrap_err();
            assert_eq!(trouble.exit, Exit::Usage, "{bad}");
        }
        assert!(parse("push").unwrap_err().advice.unwrap().contains("push:CHANNEL"));
    }
}
