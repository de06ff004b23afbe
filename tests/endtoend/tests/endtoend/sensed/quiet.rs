//! Nothing happens while nothing happens, however much is listened to.

use std::time::Duration;

use longhaul_endtoend::{is_full, switches};
use longhaul_lab::service::calm_wrapper;
use longhaul_lab::{Bluez, wait_until};
use serde_json::json;

use super::session::{start_accounts, start_distributor};
use super::{Scene, TASKS, UPOWER, advertisements, event, notifications, start_modem};

/// Daemons for every signal that a bus tells, and a task for every event of the machine. Sensors of activity and positions
/// are left out: what is read or sent at an interval wakes by its nature, and only while a task asks for it.
#[test]
fn a_service_that_listens_to_everything_sleeps() {
    let scene = Scene::wrapped(calm_wrapper());
    let templates = [
        ("logind", "org.freedesktop.login1"),
        ("upower", UPOWER),
        ("power_profiles_daemon", "net.hadess.PowerProfiles"),
        ("networkmanager", "org.freedesktop.NetworkManager"),
    ];
    let _daemons = templates.map(|(template, name)| scene.system.start_template(template, name, "{}"));
    let _modem = start_modem(&scene.system, &[]);
    let bluez = Bluez::start(&scene.system);
    bluez.plug_adapter();
    let _accounts = start_accounts(&scene, &["me"]);
    let _distributor = start_distributor(&scene);
    let push = json!({ "type": "PushNotificationTrigger", "parameters": { "distributor": "unifiedpush" } });
    let device = json!({ "type": "DeviceConnectionChangeTrigger", "parameters": { "deviceId": "net:none" } });
    let period = |kind: &str| json!({ "type": kind, "freshnessTime": 43_200 });
    let mut triggers = vec![
        advertisements(),
        notifications(),
        push,
        device,
        period("TimeTrigger"),
        period("MaintenanceTrigger"),
    ];
    let told = scene.support("SystemTrigger")["systemTriggerTypes"].clone();
    for entry in told.as_array().unwrap() {
        let name = entry["systemTriggerType"].as_str().unwrap();
        if !["ControlChannelReset", "DefaultSignInAccountChange"].contains(&name) {
            triggers.push(event(name));
        }
    }
    assert!(triggers.len() >= 19, "{told:#}");
    for (number, trigger) in triggers.iter().enumerate() {
        let body = json!({ "name": format!("task {number}"), "entryPoint": "Task", "trigger": trigger });
        wait_until(&format!("a registration of {trigger}"), super::DEADLINE, || {
            (scene.call("POST", TASKS, Some(&body)).status == 201).then_some(())
        });
    }
    wait_until("the radio listening", super::DEADLINE, || bluez.is_listening().then_some(()));
    let quiet = Duration::from_secs(if is_full() { 60 } else { 8 });
    wait_until("a stretch without any wake-up", quiet * 6 + Duration::from_secs(30), || {
        let before = switches(scene.house.pid());
        std::thread::sleep(quiet);
        let after = switches(scene.house.pid());
        println!("{before:?}\n{after:?}");
        (before == after).then_some(())
    });
}
