//! From an event on the bus or of the kernel to the process of the task that waits for it.

use std::time::Instant;

use longhaul_endtoend::{DEADLINE, House, QUICK};
use longhaul_lab::netns::Cable;
use longhaul_lab::service::calm_wrapper;
use longhaul_lab::{Bus, ServiceOptions, wait_until};
use serde_json::{Value, json};

pub(crate) const TASKS: &str = "/background-tasks";
const APP: &str = "org.example.Machine";

pub(crate) const LOGIND: &str = "org.freedesktop.login1";
const LOGIND_PATH: &str = "/org/freedesktop/login1";
const SESSION_PATH: &str = "/org/freedesktop/login1/session/c1";
const SESSION: &str = "org.freedesktop.login1.Session";
pub(crate) const UPOWER: &str = "org.freedesktop.UPower";
const DISPLAY: &str = "/org/freedesktop/UPower/devices/DisplayDevice";
const DEVICE: &str = "org.freedesktop.UPower.Device";

/// A service at the left end of a cable, with a bus on which nobody is yet, a task for each kind of event, and a class
/// "Long" that goes on until it is told to end.
pub(crate) struct Scene {
    pub(crate) house: House,
    pub(crate) cable: Cable,
    pub(crate) bus: Bus,
    _folder: tempfile::TempDir,
}

impl Scene {
    pub(crate) fn new(events: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut bus = Bus::in_folder(folder.path());
        bus.start();
        let cable = Cable::new();
        cable.left_ip(&format!("route add default via {}", Cable::RIGHT_ADDRESS));
        let mut house = House::prepared(ServiceOptions {
            config: format!("{QUICK}\n[tasks]\nflap-interval = \"1ms\"\n"),
            // Whether this machine is busy with other tests is no matter here.
            wrapper: [cable.left_wrapper(), calm_wrapper()].concat(),
            environment: vec![("DBUS_SYSTEM_BUS_ADDRESS".to_owned(), bus.address())],
            ..ServiceOptions::default()
        });
        let results = house.results().display().to_string();
        let entries: String = events
            .iter()
            .map(|event| {
                format!(
                    "[[entry-point]]\nclass = {event:?}\nexec = [\"/bin/sh\", \"-c\", \"echo ran >> {event}\"]\n\
                     working-directory = {results:?}\n\n"
                )
            })
            .collect();
        let waits = format!(
            "[[entry-point]]\nclass = \"Long\"\nexec = [\"/bin/sh\", \"-c\", \"echo begun >> begun; exec sleep 600\"]\n\
             working-directory = {results:?}\n"
        );
        house.install(APP, &(entries + &waits));
        house.launch();
        let scene = Self { house, cable, bus, _folder: folder };
        let _ = scene.call("POST", "/background-tasks/access", None);
        for event in events {
            let trigger = json!({ "type": "SystemTrigger", "systemTriggerType": event });
            let body = json!({ "name": event, "entryPoint": event, "trigger": trigger });
            let made = scene.call("POST", TASKS, Some(&body));
            assert!(made["id"].is_string(), "{made:#}");
        }
        scene
    }

    #[track_caller]
    pub(crate) fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let text = body.map(Value::to_string);
        let body = text.as_ref().map(|text| ("application/json", text.as_bytes()));
        let api = self.house.api().with_header("Longhaul-App", APP);
        let answer = api.call(method, path, body).expect("the service answers");
        assert!((200..300).contains(&answer.status), "{}", answer.text());
        if answer.status == 204 { Value::Null } else { answer.json() }
    }

    fn runs(&self, event: &str) -> usize {
        std::fs::read_to_string(self.house.result(event)).unwrap_or_default().lines().count()
    }

    /// Waits until the task of `event` has had so many runs in all.
    #[track_caller]
    fn until(&self, event: &str, count: usize) {
        let began = Instant::now();
        wait_until(&format!("run {count} of {event}"), DEADLINE, || {
            (self.runs(event) == count).then_some(())
        });
        println!("{event}: run {count} after {:?}", began.elapsed());
    }

    pub(crate) fn host(&self, signal: &str) -> Value {
        self.call("GET", "/host", None)[signal].clone()
    }

    /// Whether the machine draws on its battery.
    pub(crate) fn discharge(&self, is_discharging: bool) {
        let state = if is_discharging { 2 } else { 1 };
        let battery = format!("{{'IsPresent': <true>, 'State': <uint32 {state}>, 'Percentage': <41.0>}}");
        self.bus.set(UPOWER, DISPLAY, DEVICE, &battery);
        let source = format!("{{'OnBattery': <{is_discharging}>}}");
        self.bus.set(UPOWER, "/org/freedesktop/UPower", UPOWER, &source);
    }

    pub(crate) fn session(&self, properties: &str) {
        self.bus.set(LOGIND, SESSION_PATH, SESSION, properties);
    }

    pub(crate) fn log_in(&self) {
        let arguments = ["'c1'", "'seat0'", "0", "'somebody'", "false"];
        self.bus.call(LOGIND, LOGIND_PATH, "org.freedesktop.DBus.Mock.AddSession", &arguments);
        let told = format!("[<'c1'>, <objectpath '{SESSION_PATH}'>]");
        let signal = ("org.freedesktop.login1.Manager", "SessionNew");
        self.bus.emit(LOGIND, LOGIND_PATH, signal, "so", &told);
    }
}

#[test]
fn sessions_and_presence_on_the_bus_run_their_tasks() {
    let scene = Scene::new(&["SessionConnected", "UserPresent", "UserAway"]);
    assert_eq!(scene.host("userPresent")["state"], "unknown", "nobody tells yet");
    let mut logind = scene.bus.start_template("logind", LOGIND, "{}");
    wait_until("the first word", DEADLINE, || (scene.host("userPresent")["value"] == false).then_some(()));
    scene.log_in();
    scene.session("{'Active': <true>, 'State': <'active'>}");
    scene.until("SessionConnected", 1);
    scene.until("UserPresent", 1);
    // The first word ever was no change.
    assert_eq!(scene.runs("UserAway"), 0);
    scene.session("{'LockedHint': <true>}");
    scene.until("UserAway", 1);
    // Gone and back as it was: nothing has changed. Back with somebody who is there: that is the change.
    logind.kill();
    wait_until("nobody tells", DEADLINE, || (scene.host("userPresent")["state"] == "unknown").then_some(()));
    let _again = scene.bus.start_template("logind", LOGIND, "{}");
    scene.log_in();
    scene.session("{'Active': <true>, 'State': <'active'>}");
    scene.until("UserPresent", 2);
    assert_eq!(scene.runs("UserAway"), 1);
}

#[test]
fn power_on_the_bus_runs_its_tasks() {
    let scene = Scene::new(&["PowerStateChange", "BackgroundWorkCostChange"]);
    let _upower = scene.bus.start_template("upower", UPOWER, "{}");
    wait_until("its word", DEADLINE, || (scene.host("power")["source"] == "UPower").then_some(()));
    assert_eq!(scene.runs("PowerStateChange"), 0);
    scene.discharge(true);
    scene.until("PowerStateChange", 1);
    scene.until("BackgroundWorkCostChange", 1);
    assert_eq!(scene.host("workCost")["value"], "High", "nobody is there");
    // The charge alone is no other state.
    scene.bus.set(UPOWER, DISPLAY, DEVICE, "{'Percentage': <40.0>}");
    scene.bus.set(UPOWER, DISPLAY, DEVICE, "{'State': <uint32 1>}");
    scene.until("PowerStateChange", 2);
}

#[test]
fn a_cable_that_is_pulled_and_plugged_runs_its_tasks() {
    let scene = Scene::new(&["NetworkStateChange", "InternetAvailable"]);
    scene.cable.set_plugged(false);
    scene.until("NetworkStateChange", 1);
    assert_eq!(scene.runs("InternetAvailable"), 0);
    scene.cable.set_plugged(true);
    scene.until("InternetAvailable", 1);
    scene.until("NetworkStateChange", 2);
}
