//! From an event on the bus or of the kernel to the process of the task that waits for it; and the table that names, for
//! each trigger and condition, the tests of its four cases.

use std::path::Path;
use std::time::Instant;

use longhaul_endtoend::{DEADLINE, House, QUICK};
use longhaul_lab::netns::Cable;
use longhaul_lab::service::calm_wrapper;
use longhaul_lab::{Bus, ServiceOptions, wait_until};
use serde_json::{Value, json};

const TASKS: &str = "/background-tasks";
const APP: &str = "org.example.Machine";

const LOGIND: &str = "org.freedesktop.login1";
const LOGIND_PATH: &str = "/org/freedesktop/login1";
const SESSION_PATH: &str = "/org/freedesktop/login1/session/c1";
const SESSION: &str = "org.freedesktop.login1.Session";
const UPOWER: &str = "org.freedesktop.UPower";
const DISPLAY: &str = "/org/freedesktop/UPower/devices/DisplayDevice";
const DEVICE: &str = "org.freedesktop.UPower.Device";

/// A service at the left end of a cable, with a bus on which nobody is yet, and a task for each kind of event.
struct Scene {
    house: House,
    cable: Cable,
    bus: Bus,
    _folder: tempfile::TempDir,
}

impl Scene {
    fn new(events: &[&str]) -> Self {
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
        house.install(APP, &entries);
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
    fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let text = body.map(Value::to_string);
        let body = text.as_ref().map(|text| ("application/json", text.as_bytes()));
        let api = self.house.api().with_header("Longhaul-App", APP);
        let answer = api.call(method, path, body).expect("the service answers");
        assert!((200..300).contains(&answer.status), "{}", answer.json());
        answer.json()
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

    fn host(&self, signal: &str) -> Value {
        self.call("GET", "/host", None)[signal].clone()
    }

    fn session(&self, properties: &str) {
        self.bus.set(LOGIND, SESSION_PATH, SESSION, properties);
    }

    fn log_in(&self) {
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
    scene.bus.set(
        UPOWER,
        DISPLAY,
        DEVICE,
        "{'IsPresent': <true>, 'State': <uint32 2>, 'Percentage': <41.0>}",
    );
    scene.bus.set(UPOWER, "/org/freedesktop/UPower", UPOWER, "{'OnBattery': <true>}");
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

/// Which tests show each case of a row; a case that cannot be, says why in brackets.
struct Row {
    what: &'static str,
    fires: &'static [&'static str],
    does_not: &'static [&'static str],
    absent: &'static [&'static str],
    restarts: &'static [&'static str],
}

const TABLE: &[Row] = &[
    Row {
        what: "SystemTrigger NetworkStateChange, InternetAvailable; conditions InternetAvailable, InternetNotAvailable",
        fires: &[
            "a_cable_that_is_pulled_and_plugged_runs_its_tasks",
            "cost_portal_and_cable_are_told_by_the_real_daemon",
        ],
        does_not: &["an_unchanged_network_is_no_news", "the_table_of_edges"],
        absent: &[
            "a_machine_without_a_bus_says_so_for_each_signal",
            "links_and_leases_are_told_by_the_real_daemon",
        ],
        restarts: &[
            "cost_portal_and_cable_are_told_by_the_real_daemon",
            "links_and_leases_are_told_by_the_real_daemon",
        ],
    },
    Row {
        what: "condition FreeNetworkAvailable; cost policies of transfers",
        fires: &[
            "running_downloads_follow_the_cost_of_the_network_both_ways",
            "the_table_of_costs_holds_for_running_downloads_in_both_directions",
        ],
        does_not: &["what_the_connection_costs_is_told_as_it_changes"],
        absent: &["a_machine_without_a_bus_says_so_for_each_signal"],
        restarts: &["cost_portal_and_cable_are_told_by_the_real_daemon"],
    },
    Row {
        what: "data plans",
        fires: &["default_stops_at_the_forecast_and_always_goes_on_to_the_limit"],
        does_not: &["the_forecast_and_the_limit", "nothing_is_looked_at_while_nothing_moves"],
        absent: &["counters_that_begin_again_are_counted_from_nothing"],
        restarts: &["a_count_survives_kill_and_the_interface_being_made_anew"],
    },
    Row {
        what: "SystemTrigger SessionConnected, UserPresent, UserAway; conditions of sessions and presence",
        fires: &[
            "sessions_and_presence_on_the_bus_run_their_tasks",
            "the_real_daemon_tells_of_sessions_and_sleep",
        ],
        does_not: &["sessions_and_presence_on_the_bus_run_their_tasks", "the_table_of_edges"],
        absent: &["logins_and_touches_stand_in_for_logind"],
        restarts: &[
            "sessions_and_presence_on_the_bus_run_their_tasks",
            "a_logind_that_restarts_is_asked_anew",
        ],
    },
    Row {
        what: "SystemTrigger PowerStateChange; MaintenanceTrigger; conditions ExternalPower, BatteryPower",
        fires: &["power_on_the_bus_runs_its_tasks", "the_real_daemon_tells_of_mains_and_battery"],
        does_not: &[
            "power_on_the_bus_runs_its_tasks",
            "scenario_3_3_e_maintenance_ends_when_the_plug_is_pulled",
        ],
        absent: &["a_battery_discharges_and_is_charged", "a_kernel_without_supplies_runs_on_mains"],
        restarts: &["a_battery_discharges_and_is_charged"],
    },
    Row {
        what: "SystemTrigger BackgroundWorkCostChange; condition BackgroundWorkCostNotHigh",
        fires: &[
            "power_on_the_bus_runs_its_tasks",
            "more_work_than_the_machine_can_do_makes_work_dear_for_as_long_as_it_lasts",
        ],
        does_not: &["every_row"],
        absent: &["a_machine_without_a_bus_says_so_for_each_signal"],
        restarts: &["(the kernel does not)"],
    },
    Row {
        what: "SystemTrigger TimeZoneChange",
        fires: &[
            "scenario_3_2_1_a_change_of_the_time_zone_runs_it_once",
            "a_zone_that_is_set_is_told_at_once",
        ],
        does_not: &["scenario_3_2_1_a_change_of_the_time_zone_runs_it_once"],
        absent: &["a_zone_by_variable_never_changes"],
        restarts: &["a_folder_that_is_replaced_is_watched_anew"],
    },
    Row {
        what: "SystemTrigger SmsReceived; roaming",
        fires: &["the_real_daemon_tells_of_messages_and_foreign_networks"],
        does_not: &["a_message_is_told_once_when_it_is_whole"],
        absent: &["a_modem_manager_without_a_modem_says_so"],
        restarts: &["a_foreign_network_counts_for_a_mobile_connection"],
    },
    Row {
        what: "SystemTrigger ServicingComplete",
        fires: &[
            "another_version_of_a_package_is_an_update_and_others_are_none",
            "scenario_3_2_3_an_update_of_the_application_runs_it_once",
        ],
        does_not: &["another_version_of_a_package_is_an_update_and_others_are_none"],
        absent: &["versions_are_those_of_what_is_installed_as_a_whole"],
        restarts: &["(files do not)"],
    },
    Row {
        what: "DeviceUseTrigger, DeviceServicingTrigger",
        fires: &[
            "scenario_3_2_7_a_task_works_with_a_device_for_as_long_as_it_is_there",
            "the_table_of_requests",
        ],
        does_not: &["scenario_3_2_7_a_task_works_with_a_device_for_as_long_as_it_is_there"],
        absent: &["what_is_no_device_is_refused_and_the_rest_is_told_to_be_supported"],
        restarts: &["(the kernel does not)"],
    },
    Row {
        what: "DeviceConnectionChangeTrigger",
        fires: &["a_device_that_comes_and_one_that_goes_run_the_task_that_waits_for_it"],
        does_not: &[
            "a_device_that_comes_and_one_that_goes_run_the_task_that_waits_for_it",
            "events_are_about_whole_devices",
        ],
        absent: &["what_is_no_device_is_refused_and_the_rest_is_told_to_be_supported"],
        restarts: &["(the kernel does not)"],
    },
    Row {
        what: "sleep and shutdown",
        fires: &[
            "bytes_are_durable_before_the_machine_sleeps",
            "no_connection_from_before_a_sleep_is_used_after_it",
        ],
        does_not: &["sleep_waits_until_it_is_let_go"],
        absent: &["a_machine_without_a_bus_says_so_for_each_signal"],
        restarts: &["a_logind_that_restarts_is_asked_anew"],
    },
];

/// The text of all Rust files below a folder.
fn sources(folder: &Path, text: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn every_case_of_the_table_has_a_test() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut text = String::new();
    for folder in ["crates", "tests/endtoend/tests"] {
        sources(&workspace.join(folder), &mut text);
    }
    for row in TABLE {
        for (case, tests) in [
            ("fires", row.fires),
            ("does not", row.does_not),
            ("absent", row.absent),
            ("restarts", row.restarts),
        ] {
            assert!(!tests.is_empty(), "{}: {case}", row.what);
            for test in tests.iter().filter(|test| !test.starts_with('(')) {
                assert!(text.contains(&format!("fn {test}(")), "{}: {case}: {test}", row.what);
            }
        }
    }
}
