//! What sources of the machine tell, from the bus to the standard input of a task's process: by the real daemons where they
//! run without hardware, else by daemons that are played.

mod quiet;
mod session;

use std::path::Path;
use std::time::Duration;

use longhaul_endtoend::{DEADLINE, House, QUICK};
use longhaul_lab::{Answer, Bluez, Bus, Endpoint, Geoclue, Receiver, ServiceOptions, wait_until};
use serde_json::{Value, json};
use tempfile::TempDir;

const TASKS: &str = "/background-tasks";
const APP: &str = "org.example.Sensed";
const DEVICE: &str = "AA:BB:CC:DD:EE:01";

/// A bus for the machine and one for its user, and a service that finds both.
struct Scene {
    house: House,
    api: Endpoint,
    system: Bus,
    session: Bus,
    folder: TempDir,
}

impl Scene {
    fn new() -> Self {
        Self::wrapped(Vec::new())
    }

    /// A service whose application has one class, which writes down what it is given.
    fn wrapped(wrapper: Vec<String>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bus = |name: &str| {
            let place = folder.path().join(name);
            std::fs::create_dir(&place).unwrap();
            let mut bus = Bus::in_folder(&place);
            bus.start();
            bus
        };
        let (system, session) = (bus("system"), bus("session"));
        let mut house = House::prepared(ServiceOptions {
            config: QUICK.to_owned(),
            environment: vec![
                ("DBUS_SYSTEM_BUS_ADDRESS".to_owned(), system.address()),
                ("DBUS_SESSION_BUS_ADDRESS".to_owned(), session.address()),
            ],
            wrapper,
            ..ServiceOptions::default()
        });
        let manifest = format!(
            "[[entry-point]]\nclass = \"Task\"\nexec = [\"/bin/sh\", \"-c\", \"(cat; echo) >> details\"]\n\
             working-directory = {:?}\n",
            house.results().display().to_string()
        );
        house.install(APP, &manifest);
        house.launch();
        let api = house.api().with_header("Longhaul-App", APP);
        let scene = Self { house, api, system, session, folder };
        let _ = scene.call("POST", "/background-tasks/access", None).expect_status(200);
        scene
    }

    #[track_caller]
    fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let text = body.map(Value::to_string);
        let body = text.as_ref().map(|text| ("application/json", text.as_bytes()));
        self.api.call(method, path, body).expect("the service answers")
    }

    /// Registers a task, as soon as its trigger has a source.
    #[track_caller]
    fn register(&self, trigger: &Value) -> Value {
        let kind = trigger["type"].as_str().unwrap();
        let body = json!({ "name": kind, "entryPoint": "Task", "trigger": trigger });
        wait_until("a registration", DEADLINE, || {
            let answer = self.call("POST", TASKS, Some(&body));
            (answer.status == 201).then(|| answer.json())
        })
    }

    /// The details that the process was given at its `count`th run.
    #[track_caller]
    fn details(&self, count: usize) -> Value {
        wait_until(&format!("run {count}"), DEADLINE, || {
            let text = std::fs::read_to_string(self.house.result("details")).unwrap_or_default();
            let line = text.lines().filter(|line| !line.is_empty()).nth(count - 1)?;
            serde_json::from_str(line).ok()
        })
    }

    fn runs(&self) -> usize {
        let text = std::fs::read_to_string(self.house.result("details")).unwrap_or_default();
        text.lines().filter(|line| !line.is_empty()).count()
    }

    /// What the list of triggers says of one.
    #[track_caller]
    fn support(&self, kind: &str) -> Value {
        let all = self.call("GET", "/background-tasks/triggers", None).expect_status(200).json();
        let of_kind = |entry: &&Value| entry["type"] == kind;
        all.as_array().unwrap().iter().find(of_kind).cloned().unwrap()
    }

    /// A registration that can never fire is refused, with the reason.
    #[track_caller]
    fn assert_refused(&self, trigger: &Value, reason: &str) {
        let body = json!({ "name": "never", "entryPoint": "Task", "trigger": trigger });
        let problem = self.call("POST", TASKS, Some(&body)).expect_status(400).json();
        assert_eq!(problem["code"], "trigger-unsupported", "{problem:#}");
        assert!(problem["detail"].as_str().unwrap().contains(reason), "{problem:#}");
    }
}

fn advertisements() -> Value {
    let filter = json!({ "companyId": 76, "dataPrefix": "02" }).to_string();
    let strength = json!({ "inRangeThreshold": -60, "outOfRangeThreshold": -80 }).to_string();
    let parameters = json!({ "advertisementFilter": filter, "signalStrengthFilter": strength });
    json!({ "type": "BluetoothLEAdvertisementWatcherTrigger", "parameters": parameters })
}

fn notifications() -> Value {
    let parameters =
        json!({ "deviceId": DEVICE, "service": "180d", "characteristic": "2a37", "mode": "Batch" });
    json!({ "type": "GattCharacteristicNotificationTrigger", "parameters": parameters })
}

fn places() -> Value {
    let home =
        json!([{ "id": "home", "latitude": 52.5, "longitude": 13.4, "radius": 200, "dwellTime": 0.5 }]);
    json!({ "type": "LocationTrigger", "parameters": { "geofences": home.to_string() } })
}

fn walking() -> Value {
    let parameters = json!({ "subscribedActivities": "Walking", "reportInterval": "1000" });
    json!({ "type": "ActivitySensorTrigger", "parameters": parameters })
}

fn event(event: &str) -> Value {
    json!({ "type": "SystemTrigger", "systemTriggerType": event })
}

#[test]
fn bluetooth_an_advertisement_starts_a_task_with_what_was_heard() {
    let scene = Scene::new();
    scene.assert_refused(&advertisements(), "install the package bluez");
    let bluez = Bluez::start(&scene.system);
    let task = scene.register(&advertisements());
    let warning = task["warnings"][0].as_str().unwrap();
    assert!(warning.contains("no Bluetooth adapter"), "what is missing for the moment is told: {warning}");
    bluez.plug_adapter();
    wait_until("the radio listening", DEADLINE, || bluez.is_listening().then_some(()));
    bluez.appear("AA:BB:CC:DD:EE:02", -50, 89, &[0x02]);
    bluez.appear(DEVICE, -50, 76, &[0x02, 0x15]);
    let details = scene.details(1);
    let advertisement = &details["advertisements"][0];
    assert_eq!(
        (&advertisement["address"], &advertisement["rawSignalStrengthInDBm"], &details["error"]),
        (&DEVICE.into(), &(-50).into(), &"Success".into()),
        "{details:#}"
    );
    assert_eq!(advertisement["manufacturerData"], json!([{ "companyId": 76, "data": "0215" }]));
    // Strength that goes up and down between the thresholds starts nothing.
    for strength in [-59, -61, -79, -59] {
        bluez.hear(DEVICE, strength);
    }
    let id = task["id"].as_str().unwrap();
    let _ = scene.call("DELETE", &format!("{TASKS}/{id}"), None).expect_status(204);
    wait_until("the radio at rest", DEADLINE, || (!bluez.is_listening()).then_some(()));
    assert_eq!(scene.runs(), 1);
}

#[test]
fn bluetooth_a_notification_starts_a_task_with_its_value() {
    let scene = Scene::new();
    scene.assert_refused(&notifications(), "install the package bluez");
    let bluez = Bluez::start(&scene.system);
    bluez.plug_adapter();
    let _task = scene.register(&notifications());
    wait_until("the radio listening", DEADLINE, || bluez.is_listening().then_some(()));
    bluez.appear(DEVICE, -50, 76, &[0x02]);
    bluez.add_heart_rate(DEVICE);
    wait_until("notifications", DEADLINE, || bluez.is_notifying(DEVICE).then_some(()));
    bluez.notify(DEVICE, &[0x06, 0x48]);
    let details = scene.details(1);
    assert_eq!((&details["value"], &details["deviceId"]), (&"0648".into(), &DEVICE.into()), "{details:#}");
    assert_eq!(details["valueChangedEvents"][0]["value"], "0648");
}

#[test]
fn places_that_are_entered_start_a_task_also_after_a_restart_of_the_service() {
    let mut scene = Scene::new();
    scene.assert_refused(&places(), "install the package geoclue-2.0");
    let receiver = Receiver::default();
    receiver.go_to(52.51, 13.4);
    let _geoclue = Geoclue::start(&scene.system, scene.folder.path(), &receiver);
    let _task = scene.register(&places());
    receiver.go_to(52.5, 13.4);
    let details = scene.details(1);
    let report = &details["reports"][0];
    assert_eq!(
        (&report["geofenceId"], &report["newState"]),
        (&"home".into(), &"Entered".into()),
        "{details:#}"
    );
    let latitude = report["geoposition"]["latitude"].as_f64().unwrap();
    assert!((latitude - 52.5).abs() < 0.001, "{details:#}");
    scene.house.kill();
    receiver.go_to(52.51, 13.4);
    scene.house.launch();
    assert_eq!(scene.details(2)["reports"][0]["newState"], "Exited", "what happened meanwhile is found");
}

/// A folder of sensors in the place of the kernel's, for whatever is started with these words.
fn with_sensors(folder: &Path) -> Vec<String> {
    let script = "mount --make-rprivate / && mount -t tmpfs none /sys/bus && mkdir -p /sys/bus/iio/devices && \
                  mount --bind \"$0\" /sys/bus/iio/devices && exec \"$@\"";
    ["unshare", "--mount", "sh", "-c", script, &folder.display().to_string()].map(str::to_owned).to_vec()
}

#[test]
fn activity_that_changes_starts_a_task() {
    let sensors = tempfile::tempdir().unwrap();
    let sensor = sensors.path().join("iio:device0");
    std::fs::create_dir(&sensor).unwrap();
    let set = |word: &str, certainty: &str| {
        std::fs::write(sensor.join(format!("in_activity_{word}_input")), certainty).unwrap();
    };
    set("still", "95");
    set("walking", "5");
    let scene = Scene::wrapped(with_sensors(sensors.path()));
    let _task = scene.register(&walking());
    for (word, reason) in [("Biking", "cannot be told"), ("Running", "no sensor of this machine")] {
        let mut other = walking();
        other["parameters"]["subscribedActivities"] = word.into();
        scene.assert_refused(&other, reason);
    }
    set("still", "5");
    set("walking", "95");
    let details = scene.details(1);
    assert_eq!(details["reports"][0]["activity"], "Walking", "{details:#}");
}

#[test]
fn activity_without_a_sensor_is_refused() {
    Scene::new().assert_refused(&walking(), "no sensor of activity and no accelerometer");
}

const MODEMS: &str = "org.freedesktop.ModemManager1";
const MODEMS_PATH: &str = "/org/freedesktop/ModemManager1";
const MODEM: &str = "/org/freedesktop/ModemManager1/Modem/0";
const MESSAGING: &str = "org.freedesktop.ModemManager1.Modem.Messaging";

/// A modem with messages on it, by their numbers.
fn start_modem(bus: &Bus, messages: &[u8]) -> longhaul_lab::process::Guarded {
    let daemon = bus.start_empty(MODEMS, MODEMS_PATH, MODEMS);
    let paths: Vec<String> =
        messages.iter().map(|number| format!("objectpath '{MODEMS_PATH}/SMS/{number}'")).collect();
    for number in messages {
        add_message(bus, *number);
    }
    let properties = format!("{{'Messages': <@ao [{}]>}}", paths.join(", "));
    let words = [MODEM, MESSAGING].map(|word| format!("'{word}'"));
    let add = "org.freedesktop.DBus.Mock.AddObject";
    bus.call(MODEMS, MODEMS_PATH, add, &[&words[0], &words[1], &properties, "@a(ssss) []"]);
    let arguments = format!("[<objectpath '{MODEM}'>, <{{'{MESSAGING}': {properties}}}>]");
    let signal = ("org.freedesktop.DBus.ObjectManager", "InterfacesAdded");
    bus.emit(MODEMS, MODEMS_PATH, signal, "oa{sa{sv}}", &arguments);
    daemon
}

fn add_message(bus: &Bus, number: u8) {
    let path = format!("'{MODEMS_PATH}/SMS/{number}'");
    let message = format!(
        "{{'State': <uint32 3>, 'Number': <'+4912345'>, 'Text': <'Message {number}'>, \
          'Timestamp': <'2026-01-31T12:00:0{number}+01'>, 'SMSC': <'+491770000'>, 'Class': <-1>, 'Data': <@ay []>}}"
    );
    let interface = "'org.freedesktop.ModemManager1.Sms'";
    let add = "org.freedesktop.DBus.Mock.AddObject";
    bus.call(MODEMS, MODEMS_PATH, add, &[&path, interface, &message, "@a(ssss) []"]);
}

#[test]
fn messages_start_a_task_with_their_text_also_those_that_came_while_the_daemon_restarted() {
    let scene = Scene::new();
    scene.assert_refused(&event("SmsReceived"), "install the package modemmanager");
    let daemon = start_modem(&scene.system, &[1]);
    let _task = scene.register(&event("SmsReceived"));
    wait_until("a modem", DEADLINE, || {
        let all = scene.support("SystemTrigger")["systemTriggerTypes"].clone();
        let sms = all.as_array()?.iter().find(|entry| entry["systemTriggerType"] == "SmsReceived")?.clone();
        sms["reason"].is_null().then_some(())
    });
    add_message(&scene.system, 2);
    let added = format!("[<objectpath '{MODEMS_PATH}/SMS/2'>, <true>]");
    scene.system.emit(MODEMS, MODEM, (MESSAGING, "Added"), "ob", &added);
    let details = scene.details(1);
    assert_eq!(
        (&details["from"], &details["body"], &details["messages"][0]["serviceCenter"]),
        (&"+4912345".into(), &"Message 2".into(), &"+491770000".into()),
        "{details:#}"
    );
    drop(daemon);
    let _daemon = start_modem(&scene.system, &[2, 3]);
    // The next start of an event of the machine may be a minute away; that it has fired is seen at once.
    let explained = wait_until("a further firing", DEADLINE, || {
        let all = scene.call("GET", TASKS, None).expect_status(200).json();
        let task = format!("{TASKS}/{}/explain", all[0]["id"].as_str()?);
        let explained = scene.call("GET", &task, None).expect_status(200).json();
        (explained["blocking"][0]["code"] == "flapping").then_some(explained)
    });
    assert_eq!(explained["decision"], "Wait", "{explained:#}");
}

const UPOWER: &str = "org.freedesktop.UPower";

#[test]
fn a_signal_that_flaps_every_second_starts_a_task_once_a_minute_at_most() {
    let scene = Scene::new();
    let _daemon = scene.system.start_template("upower", UPOWER, "{}");
    let set = |properties: &str| {
        let display = "/org/freedesktop/UPower/devices/DisplayDevice";
        scene.system.set(UPOWER, display, "org.freedesktop.UPower.Device", properties);
    };
    set("{'IsPresent': <true>, 'State': <uint32 2>, 'Percentage': <41.0>}");
    wait_until("the battery", DEADLINE, || {
        let host = scene.call("GET", "/host", None).expect_status(200).json();
        (host["power"]["value"]["battery"] == "Discharging").then_some(())
    });
    let _task = scene.register(&event("PowerStateChange"));
    for second in 0..6 {
        set(if second % 2 == 0 { "{'State': <uint32 1>}" } else { "{'State': <uint32 2>}" });
        // This is the pace of what flaps.
        std::thread::sleep(Duration::from_secs(1));
    }
    assert_eq!(scene.runs(), 1, "{}", scene.house.log());
    let all = scene.call("GET", TASKS, None).expect_status(200).json();
    let explained = format!("{TASKS}/{}/explain", all[0]["id"].as_str().unwrap());
    let explained = scene.call("GET", &explained, None).expect_status(200).json();
    assert_eq!(explained["blocking"][0]["code"], "flapping", "{explained:#}");
}
