//! Registrations that break a rule: each a clear problem that names the field and what to do.

use serde_json::{Value, json};

use crate::rig::Rig;
use crate::tasks::{APP, TASKS, body, on_request, register};

const TIMED: &str = "TimeTrigger";

fn trigger(kind: &str, more: Value) -> Value {
    let mut trigger = json!({ "type": kind });
    for (name, value) in more.as_object().unwrap() {
        trigger[name] = value.clone();
    }
    trigger
}

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
    let fence = |text: &str| parameters("LocationTrigger", json!({ "geofences": text }));
    let filter = |text: &str| {
        parameters("BluetoothLEAdvertisementWatcherTrigger", json!({ "advertisementFilter": text }))
    };
    for (trigger, code, field) in [
        (trigger(TIMED, json!({ "freshnessTime": 14 })), "invalid-trigger", "/trigger/freshnessTime"),
        (trigger(TIMED, json!({ "freshnessTime": 43201 })), "invalid-trigger", "/trigger/freshnessTime"),
        (trigger(TIMED, json!({})), "invalid-trigger", "/trigger/freshnessTime"),
        (trigger("MaintenanceTrigger", json!({})), "invalid-trigger", "/trigger/freshnessTime"),
        (
            trigger("ApplicationTrigger", json!({ "freshnessTime": 15 })),
            "invalid-trigger",
            "/trigger/freshnessTime",
        ),
        (trigger(TIMED, json!({ "freshnessTime": -1 })), "invalid-field", "/trigger/freshnessTime"),
        (trigger(TIMED, json!({ "freshnessTime": 15.5 })), "invalid-field", "/trigger/freshnessTime"),
        (trigger(TIMED, json!({ "freshnessTime": "15" })), "invalid-field", "/trigger/freshnessTime"),
        (trigger(TIMED, json!({ "freshnessTime": 15, "colour": 1 })), "unknown-field", "/trigger/colour"),
        (trigger("NoTrigger", json!({})), "invalid-field", "/trigger/type"),
        (trigger("SystemTrigger", json!({})), "invalid-trigger", "/trigger/systemTriggerType"),
        (
            trigger("SystemTrigger", json!({ "systemTriggerType": "Invalid" })),
            "invalid-field",
            "/trigger/systemTriggerType",
        ),
        (
            trigger(TIMED, json!({ "freshnessTime": 15, "systemTriggerType": "UserAway" })),
            "invalid-trigger",
            "/trigger/systemTriggerType",
        ),
        (
            trigger("SystemTrigger", json!({ "systemTriggerType": "ControlChannelReset", "oneShot": true })),
            "invalid-trigger",
            "/trigger/oneShot",
        ),
        (trigger("ApplicationTrigger", json!({ "oneShot": true })), "invalid-trigger", "/trigger/oneShot"),
        (parameters("ApplicationTrigger", json!({ "a": "b" })), "invalid-trigger", "/trigger/parameters/a"),
        (
            parameters(TIMED, json!({ "schedule": "61 * * * *" })),
            "invalid-trigger",
            "/trigger/parameters/schedule",
        ),
        (
            parameters(TIMED, json!({ "schedule": "0 0 30 2 *" })),
            "invalid-trigger",
            "/trigger/parameters/schedule",
        ),
        (
            parameters(TIMED, json!({ "schedule": "0 3 * * *", "timeZone": "Mars/Base" })),
            "invalid-trigger",
            "/trigger/parameters/timeZone",
        ),
        (
            parameters(TIMED, json!({ "schedule": "0 3 * * *", "missed": "never" })),
            "invalid-trigger",
            "/trigger/parameters/missed",
        ),
        (parameters("DeviceUseTrigger", json!({})), "invalid-trigger", "/trigger/parameters/deviceId"),
        (
            parameters("PushNotificationTrigger", json!({ "channel": "a/b" })),
            "invalid-trigger",
            "/trigger/parameters/channel",
        ),
        (
            parameters("PushNotificationTrigger", json!({ "channel": "push_1" })),
            "invalid-trigger",
            "/trigger/parameters/channel",
        ),
        (fence("nonsense"), "invalid-trigger", "/trigger/parameters/geofences"),
        (fence("[]"), "invalid-trigger", "/trigger/parameters/geofences"),
        (
            fence(r#"[{"id":"a","latitude":91,"longitude":0,"radius":5}]"#),
            "invalid-trigger",
            "/trigger/parameters/geofences",
        ),
        (
            fence(r#"[{"id":"a","latitude":1,"longitude":0,"radius":5,"monitoredStates":["Removed"]}]"#),
            "invalid-trigger",
            "/trigger/parameters/geofences",
        ),
        (
            filter(r#"{"dataType":1,"data":"00"}"#),
            "invalid-trigger",
            "/trigger/parameters/advertisementFilter",
        ),
        (
            filter(r#"{"dataType":255,"offset":1,"data":"00"}"#),
            "invalid-trigger",
            "/trigger/parameters/advertisementFilter",
        ),
        (
            fence(r#"[{"id":"a","latitude":1,"longitude":0,"radius":5}]"#),
            "trigger-unsupported",
            "/trigger/type",
        ),
        (filter(r#"{"dataType":255,"data":"4c00"}"#), "trigger-unsupported", "/trigger/type"),
        (
            trigger("SystemTrigger", json!({ "systemTriggerType": "SmsReceived" })),
            "trigger-unsupported",
            "/trigger/systemTriggerType",
        ),
    ] {
        expect(&rig, &body("a", trigger), code, field);
    }
}

#[test]
fn registrations_that_break_a_rule() {
    let rig = Rig::start();
    rig.install(
        APP,
        "[[entry-point]]\nclass = \"Test.Task\"\nexec = [\"/bin/true\"]\ntime-limit = \"10s\"\n\
         [[entry-point]]\nclass = \"Test.Timed\"\nexec = [\"/bin/true\"]\ntriggers = [\"TimeTrigger\"]\n\
         [[entry-point]]\nclass = \"Test.Bus\"\ndbus = \"org.example.Tasks\"\n",
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
        (with("entryPoint", json!("Test.Bus")), "unknown-entry-point", "/entryPoint"),
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
