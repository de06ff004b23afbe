//! Each condition, from a daemon on the bus or the kernel to a task that waits for it, runs while it holds, and is ended when
//! it is lost.

use longhaul_endtoend::DEADLINE;
use longhaul_lab::wait_until;
use serde_json::json;

use crate::machine_events::{LOGIND, Scene, TASKS, UPOWER};

/// Sees a task wait while the condition does not hold, start when it does, and end when it is lost.
#[track_caller]
fn follows(scene: &Scene, condition: &str, set: &dyn Fn(bool)) {
    let begun = scene.house.result("begun");
    let _ = std::fs::remove_file(&begun);
    set(false);
    let body = json!({
        "name": condition, "entryPoint": "Long", "trigger": { "type": "ApplicationTrigger" },
        "conditions": [condition], "cancelOnConditionLoss": true
    });
    let task = format!("{TASKS}/{}", scene.call("POST", TASKS, Some(&body))["id"].as_str().unwrap());
    // What the condition says reaches the service by way of the daemon: the request comes after it.
    wait_until(&format!("{condition} not holding"), DEADLINE, || {
        let explained = scene.call("GET", &format!("{task}/explain"), None);
        let blocking = explained["blocking"].as_array()?.clone();
        blocking
            .iter()
            .any(|entry| entry["code"].as_str().is_some_and(|code| code.eq_ignore_ascii_case(condition)))
            .then_some(())
    });
    let answer = scene.call("POST", &format!("{task}/request"), None);
    assert_eq!(answer["result"], "Allowed", "{condition}");
    let explained = scene.call("GET", &format!("{task}/explain"), None);
    assert_eq!(explained["decision"], "Wait", "{condition}: {explained:#}");
    assert!(!begun.exists(), "{condition}");
    set(true);
    wait_until(&format!("a start when {condition} holds"), DEADLINE, || begun.exists().then_some(()));
    set(false);
    let result = wait_until(&format!("an end when {condition} is lost"), DEADLINE, || {
        let detail = scene.call("GET", &task, None);
        detail["history"][0]["result"].as_str().map(str::to_owned)
    });
    assert_eq!(result, "Canceled:ConditionLoss", "{condition}");
    // An application has one task of this trigger at a time.
    scene.call("DELETE", &task, None);
}

#[test]
fn a_task_waits_for_each_condition_and_goes_when_it_is_lost() {
    let scene = Scene::new(&[]);
    let _logind = scene.bus.start_template("logind", LOGIND, "{}");
    let _upower = scene.bus.start_template("upower", UPOWER, "{}");
    scene.log_in();
    let present = |is_present: bool| {
        scene.session(&format!("{{'Active': <true>, 'State': <'active'>, 'LockedHint': <{}>}}", !is_present));
    };
    let connected = |is_connected: bool| {
        let state = if is_connected { "active" } else { "online" };
        scene.session(&format!("{{'Active': <{is_connected}>, 'State': <'{state}'>}}"));
    };
    let discharging = |is_discharging: bool| scene.discharge(is_discharging);
    follows(&scene, "UserPresent", &present);
    follows(&scene, "UserNotPresent", &|holds| present(!holds));
    follows(&scene, "SessionConnected", &connected);
    follows(&scene, "SessionDisconnected", &|holds| connected(!holds));
    follows(&scene, "BatteryPower", &discharging);
    follows(&scene, "ExternalPower", &|holds| discharging(!holds));
    // Nobody is there: on a battery work is dear.
    connected(false);
    follows(&scene, "BackgroundWorkCostNotHigh", &|holds| discharging(!holds));
    follows(&scene, "InternetAvailable", &|holds| scene.cable.set_plugged(holds));
    follows(&scene, "InternetNotAvailable", &|holds| scene.cable.set_plugged(!holds));
    scene.cable.set_plugged(true);
    let _manager = scene.bus.start_network_manager("802-3-ethernet", 1);
    follows(&scene, "FreeNetworkAvailable", &|holds| scene.bus.set_metered(if holds { 2 } else { 1 }));
}
