//! Registrations that break a rule: each a clear problem that names the field and what to do.

use serde_json::{Value, json};

use crate::rig::Rig;
use crate::tasks::{APP, TASKS, body, on_request, register};

const TIMED: &str = "TimeTrigger";

#[expect(clippy::needless_pass_by_value, reason = "callers write the value in place")]
fn trigger(kind: &str, more: Value) -> Value {
    let mut trigger = json!({ "type": kind });
    for (name, value) in more.as_object().unwrap() {
        trigger[name] = value.clone();
    }
    trigger
}

#[expect(clippy::needless_pass_by_value, reason = "callers write the value in place")]
fn parameters(kind: &str, parameters: Value) -> Value {
    trigger(kind, json!({ "parameters": parameters }))
}

#[track_caller]
fn expect(rig: &Rig, body: &Value, code: &str, field: &str) {
    let answer = rig.api_of(APP).post(TASKS, body).unwrap();
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{body}");
    let status = answer.status;
    let problem = answer.json();
    assert_eq!(
        (problem["code"].as_str(), problem["field"].as_str()),
        (Some(code), Some(field)),
        "{body}: {problem}"
    );
    assert_eq!(problem["status"], status);
    assert!(problem["detail"].as_str().unwrap().len() > 10, "{problem}");
    assert!(!problem["remedy"].as_str().unwrap().is_empty(), "{problem}");
}

#[test]
fn triggers_that_break_a_rule() {
    let rig = Rig::start();
    let _ = rig.app_with_script(APP, "true");
    let system = |event: &str| json!({ "systemTriggerType": event });
    for (kind, more, code, field) in [
        (TIMED, json!({ "freshnessTime": 14 }), "invalid-trigger", "freshnessTime"),
        (TIMED, json!({ "freshnessTime": 43201 }), "invalid-trigger", "freshnessTime"),
        (TIMED, json!({}), "invalid-trigger", "freshnessTime"),
        ("MaintenanceTrigger", json!({}), "invalid-trigger", "freshnessTime"),
        ("ApplicationTrigger", json!({ "freshnessTime": 15 }), "invalid-trigger", "freshnessTime"),
        (TIMED, json!({ "freshnessTime": -1 }), "invalid-field", "freshnessTime"),
        (TIMED, json!({ "freshnessTime": 15.5 }), "invalid-field", "freshnessTime"),
        (TIMED, json!({ "freshnessTime": "15" }), "invalid-field", "freshnessTime"),
        (TIMED, json!({ "freshnessTime": 15, "colour": 1 }), "unknown-field", "colour"),
        ("NoTrigger", json!({}), "invalid-field", "type"),
        ("SystemTrigger", json!({}), "invalid-trigger", "systemTriggerType"),
        ("SystemTrigger", system("Invalid"), "invalid-field", "systemTriggerType"),
        ("ApplicationTrigger", system("UserAway"), "invalid-trigger", "systemTriggerType"),
        (
            "SystemTrigger",
            json!({ "systemTriggerType": "ControlChannelReset", "oneShot": true }),
            "invalid-trigger",
            "oneShot",
        ),
        ("ApplicationTrigger", json!({ "oneShot": true }), "invalid-trigger", "oneShot"),
        ("SystemTrigger", system("ControlChannelReset"), "trigger-unsupported", "systemTriggerType"),
    ] {
        expect(&rig, &body("a", trigger(kind, more)), code, &format!("/trigger/{field}"));
    }
}

#[test]
fn trigger_parameters_that_break_a_rule() {
    let rig = Rig::start();
    let _ = rig.app_with_script(APP, "true");
    let fence = |more: &str| {
        let text = format!("[{{\"id\":\"a\",\"latitude\":1,\"longitude\":0,\"radius\":5{more}}}]");
        json!({ "geofences": text })
    };
    let far = json!({ "geofences": r#"[{"id":"a","latitude":91,"longitude":0,"radius":5}]"# });
    let filter = |text: &str| json!({ "advertisementFilter": text });
    let (place, bluetooth) = ("LocationTrigger", "BluetoothLEAdvertisementWatcherTrigger");
    for (kind, given, name) in [
        ("ApplicationTrigger", json!({ "a": "b" }), "a"),
        (TIMED, json!({ "schedule": "61 * * * *" }), "schedule"),
        (TIMED, json!({ "schedule": "0 0 30 2 *" }), "schedule"),
        (TIMED, json!({ "schedule": "0 3 * * *", "timeZone": "Mars/Base" }), "timeZone"),
        (TIMED, json!({ "schedule": "0 3 * * *", "missed": "never" }), "missed"),
        (TIMED, json!({ "schedule": "0 3 * * *", "first": "later" }), "first"),
        ("DeviceUseTrigger", json!({}), "deviceId"),
        ("PushNotificationTrigger", json!({ "channel": "a/b" }), "channel"),
        ("PushNotificationTrigger", json!({ "channel": "push_1" }), "channel"),
        (place, json!({ "geofences": "nonsense" }), "geofences"),
        (place, json!({ "geofences": "[]" }), "geofences"),
        (place, far, "geofences"),
        (place, fence(r#","monitoredStates":["Removed"]"#), "geofences"),
        (bluetooth, filter(r#"{"dataType":1,"data":"00"}"#), "advertisementFilter"),
        (bluetooth, filter(r#"{"dataType":255,"offset":1,"data":"00"}"#), "advertisementFilter"),
    ] {
        let field = format!("/trigger/parameters/{name}");
        expect(&rig, &body("a", parameters(kind, given)), "invalid-trigger", &field);
    }
    for (kind, given) in [(place, fence("")), (bluetooth, filter(r#"{"dataType":255,"data":"4c00"}"#))] {
        expect(&rig, &body("a", parameters(kind, given)), "trigger-unsupported", "/trigger/type");
    }
}

#[test]
fn registrations_that_break_a_rule() {
    let rig = Rig::start();
    rig.install(
        APP,
        "[[entry-point]]\nclass = \"Test.Task\"\nexec = [\"/bin/true\"]\ntime-limit = \"10s\"\n\
         [[entry-point]]\nclass = \"Test.Timed\"\nexec = [\"/bin/true\"]\ntriggers = [\"TimeTrigger\"]\n\
         [[entry-point]]\nclass = \"Test.Component\"\nwasm = \"/opt/task.wasm\"\n",
    );
    let with = |name: &str, value: Value| {
        let mut body = on_request("a");
        body[name] = value;
        body
    };
    let device = json!({ "type": "DeviceUseTrigger", "parameters": { "deviceId": "usb:1" } });
    let mut device = body("a", device);
    device["conditions"] = json!(["UserPresent"]);
    for (body, code, field) in [
        (with("name", json!("")), "invalid-field", "/name"),
        (with("name", json!("x".repeat(257))), "invalid-field", "/name"),
        (with("name", json!("a\nb")), "invalid-field", "/name"),
        (with("name", json!(7)), "invalid-field", "/name"),
        (with("entryPoint", json!("")), "invalid-field", "/entryPoint"),
        (with("entryPoint", json!("test.task")), "unknown-entry-point", "/entryPoint"),
        (with("entryPoint", json!("Test.Timed")), "unknown-entry-point", "/entryPoint"),
        (with("entryPoint", json!("Test.Component")), "unknown-entry-point", "/entryPoint"),
        (with("conditions", json!(["Sunshine"])), "invalid-field", "/conditions/0"),
        (with("taskGroup", json!("")), "invalid-field", "/taskGroup"),
        (with("timeLimit", json!(0)), "invalid-field", "/timeLimit"),
        (with("timeLimit", json!(11)), "invalid-field", "/timeLimit"),
        (with("retry", json!({ "max": 0, "delaySeconds": 1 })), "invalid-field", "/retry/max"),
        (with("retry", json!({ "max": 1, "delaySeconds": 0 })), "invalid-field", "/retry/delaySeconds"),
        (with("env", json!({ "A=B": "c" })), "invalid-field", "/env"),
        (with("env", json!({ "LONGHAUL_SOCKET": "c" })), "invalid-field", "/env"),
        (device, "invalid-condition", "/conditions"),
    ] {
        expect(&rig, &body, code, field);
    }
    let no_manifest = rig.api_of("org.example.None").post(TASKS, &on_request("a")).unwrap();
    let problem = no_manifest.expect_status(400).json();
    assert_eq!(problem["code"], "unknown-entry-point");
    assert!(problem["detail"].as_str().unwrap().contains("no manifest"), "{problem}");
}

#[test]
fn an_application_has_one_task_of_some_kinds() {
    let rig = Rig::start();
    let api = rig.app_with_script(APP, "true");
    register(&api, &on_request("a"));
    let refused = api.post(TASKS, &on_request("b")).unwrap().expect_status(409).json();
    assert_eq!(
        (refused["code"].as_str(), refused["field"].as_str()),
        (Some("task-quota"), Some("/trigger/type"))
    );
}

#[test]
fn contradictions_are_taken_with_a_warning() {
    let rig = Rig::start();
    let api = rig.app_with_script(APP, "true");
    let mut request = on_request("a");
    request["conditions"] = json!(["InternetAvailable", "InternetNotAvailable"]);
    let made = api.post(TASKS, &request).unwrap().expect_status(201).json();
    assert!(made["warnings"][0].as_str().unwrap().contains("never hold together"), "{made}");
}

#[test]
fn paths_and_methods_are_those_of_the_contract() {
    let rig = Rig::start();
    let api = rig.api();
    for (method, path, status) in [
        ("GET", "/background-tasks/no-id", 404),
        ("DELETE", "/background-tasks/no-id", 404),
        ("GET", "/background-tasks/0193a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b", 404),
        ("DELETE", "/background-tasks/triggers", 405),
        ("PUT", "/background-tasks", 405),
        ("PATCH", "/background-tasks/access", 405),
        ("POST", "/background-tasks?onConflict=maybe", 400),
        ("GET", "/background-tasks/access/more", 404),
        ("PUT", "/host/weather", 415),
        ("DELETE", "/host/weather", 404),
    ] {
        let answer = api.call(method, path, None).unwrap();
        assert_eq!(answer.status, status, "{method} {path}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{method} {path}");
    }
    for bad in ["{", "[]", "{}", "null", "\"x\""] {
        let answer = api.call("POST", TASKS, Some(("application/json", bad.as_bytes()))).unwrap();
        let _ = answer.expect_status(400);
    }
    let _ = api.call("POST", TASKS, Some(("text/plain", b"{}"))).unwrap().expect_status(415);
}
