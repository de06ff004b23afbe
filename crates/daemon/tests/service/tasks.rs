//! Registering tasks, looking at them, and having them run.

use longhaul_lab::{Endpoint, wait_until};
use serde_json::{Value, json};

use crate::rig::{PATIENCE, Rig, id_of};

pub(crate) const TASKS: &str = "/background-tasks";
pub(crate) const APP: &str = "org.example.Tasks";

#[expect(clippy::needless_pass_by_value, reason = "callers write the value in place")]
pub(crate) fn body(name: &str, trigger: Value) -> Value {
    json!({ "name": name, "entryPoint": "Test.Task", "trigger": trigger })
}

pub(crate) fn on_request(name: &str) -> Value {
    body(name, json!({ "type": "ApplicationTrigger" }))
}

/// Registers a task; gives its path.
#[track_caller]
pub(crate) fn register(api: &Endpoint, body: &Value) -> String {
    let made = api.post(TASKS, body).unwrap().expect_status(201);
    made.header("location").unwrap().to_owned()
}

#[track_caller]
pub(crate) fn get(api: &Endpoint, path: &str) -> Value {
    api.get(path).unwrap().expect_status(200).json()
}

/// Fires a task that waits for a request.
#[track_caller]
pub(crate) fn fire(api: &Endpoint, task: &str) {
    let answer = api.call("POST", &format!("{task}/request"), None).unwrap().expect_status(200).json();
    assert_eq!(answer, json!({ "result": "Allowed" }));
}

/// The newest instance, once it is so.
#[track_caller]
pub(crate) fn wait_for_instance(api: &Endpoint, task: &str, state: &str) -> Value {
    wait_until(&format!("an instance that is {state}"), PATIENCE, || {
        let newest = get(api, &format!("{task}/instances"))["items"].get(0).cloned()?;
        Some(newest).filter(|instance| instance["state"] == state)
    })
}

#[track_caller]
pub(crate) fn output(api: &Endpoint, task: &str, instance: &Value) -> String {
    let output = get(api, &format!("{task}/instances/{}/output", id_of(instance)));
    assert_eq!(output["isRunning"], false);
    output["text"].as_str().unwrap().to_owned()
}

#[test]
fn a_registration_is_answered_listed_and_shown() {
    let rig = Rig::start();
    let api = rig.app_with_script(APP, "true");
    let mut request = body("n\u{e4}htly", json!({ "type": "TimeTrigger", "freshnessTime": 15 }));
    request["conditions"] = json!(["FreeNetworkAvailable", "UserNotPresent", "FreeNetworkAvailable"]);
    request["isNetworkRequested"] = json!(true);
    request["unknownMember"] = json!(7);
    request["env"] = json!({ "TOKEN": "hush-hush" });
    let made = api.post(TASKS, &request).unwrap().expect_status(201);
    let task = made.json();
    let path = made.header("location").unwrap().to_owned();
    assert_eq!(path, format!("{TASKS}/{}", id_of(&task)));
    assert_eq!(task["name"], "n\u{e4}htly");
    assert_eq!(task["triggerType"], "TimeTrigger");
    assert_eq!(task["isActive"], false);
    assert_eq!(task["conditions"], json!(["UserNotPresent", "FreeNetworkAvailable"]));
    let other = register(&api, &on_request("second"));
    let listed = get(&api, TASKS);
    assert_eq!(listed.as_array().unwrap().len(), 2, "a plain array, in the order of registration: {listed}");
    assert_eq!(listed[0], task);
    assert_eq!(id_of(&listed[1]), other.rsplit('/').next().unwrap());
    let detail = get(&api, &path);
    assert_eq!(detail["trigger"]["type"], "TimeTrigger");
    assert_eq!(detail["trigger"]["parameters"], json!({ "freshnessTime": "15", "oneShot": "false" }));
    assert_eq!(detail["entryPoint"], "Test.Task");
    assert_eq!(detail["isNetworkRequested"], true);
    assert!(detail["nextFireTime"].is_string(), "{detail}");
    assert!(detail.get("lastRunResult").is_none() && detail.get("progress").is_none(), "{detail}");
    assert!(!format!("{listed}{detail}").contains("hush"), "a secret is never shown");
    let mut rig = rig;
    rig.restart();
    assert_eq!(get(&rig.api_of(APP), &path)["name"], "n\u{e4}htly");
    assert!(!format!("{}", get(&rig.api_of(APP), TASKS)).contains("hush"));
}

#[test]
fn what_belongs_to_another_application_is_not_there() {
    let rig = Rig::start();
    let api = rig.app_with_script(APP, "true");
    let path = register(&api, &on_request("mine"));
    let other = rig.api_of("org.example.Other");
    assert_eq!(get(&other, TASKS), json!([]));
    for (method, path) in [
        ("GET", path.clone()),
        ("DELETE", path.clone()),
        ("POST", format!("{path}/run")),
        ("POST", format!("{path}/request")),
        ("GET", format!("{path}/instances")),
        ("GET", format!("{path}/explain")),
    ] {
        let _ = other.call(method, &path, None).unwrap().expect_status(404);
    }
    assert_eq!(get(&api, &path)["name"], "mine");
}

#[test]
fn names_are_unique_unless_the_caller_says_otherwise() {
    let rig = Rig::start();
    let api = rig.app_with_script(APP, "true");
    let timed = body("twice", json!({ "type": "MaintenanceTrigger", "freshnessTime": 60 }));
    let first = register(&api, &timed);
    let refused = api.post(TASKS, &timed).unwrap().expect_status(409).json();
    assert_eq!(
        (refused["code"].as_str(), refused["field"].as_str()),
        (Some("task-name-taken"), Some("/name"))
    );
    let mut grouped = timed.clone();
    grouped["taskGroup"] = json!("org.example.sync");
    register(&api, &grouped);
    let both = api.post(&format!("{TASKS}?onConflict=allow"), &timed).unwrap().expect_status(201).json();
    assert_eq!(get(&api, TASKS).as_array().unwrap().len(), 2);
    let new = api.post(&format!("{TASKS}?onConflict=replace"), &timed).unwrap().expect_status(201).json();
    let listed = get(&api, TASKS);
    assert_eq!(listed.as_array().unwrap().len(), 1);
    assert_eq!(listed[0]["id"], new["id"]);
    assert_ne!(new["id"], both["id"]);
    let _ = api.get(&first).unwrap().expect_status(404);
    let groups = get(&api, &format!("{TASKS}/groups"));
    assert_eq!(groups["items"][0]["id"], "org.example.sync");
    assert_eq!(groups["items"][0]["tasks"][0]["name"], "twice");
    assert_eq!(get(&api, &format!("{TASKS}/groups/org.example.sync")), groups["items"][0]);
    let _ = api.get(&format!("{TASKS}/groups/none")).unwrap().expect_status(404);
}

#[test]
fn a_request_runs_the_code_with_its_details() {
    let rig = Rig::start();
    let script = "cat; echo; echo $LONGHAUL_TASK_ID $LONGHAUL_INSTANCE_ID $GIVEN $SECRET; echo to-stderr >&2";
    let exec = json!(["/bin/sh", "-c", script]);
    rig.install(
        APP,
        &format!(
            "[[entry-point]]\nclass = \"Test.Task\"\nexec = {exec}\nenvironment = {{ GIVEN = \"by the manifest\" }}\n"
        ),
    );
    let api = rig.api_with_access(APP);
    let mut request = on_request("a");
    request["env"] = json!({ "SECRET": "by the caller" });
    let task = register(&api, &request);
    let arguments = json!({ "arguments": { "album": "1" } });
    let answer = api.post(&format!("{task}/request"), &arguments).unwrap().expect_status(200).json();
    assert_eq!(answer["result"], "Allowed");
    let instance = wait_for_instance(&api, &task, "Completed");
    assert_eq!(instance["cause"], "Trigger");
    assert_eq!(instance["exitCode"], 0);
    assert_eq!(instance["result"], "Completed");
    assert_eq!(instance["triggerDetails"], arguments);
    let text = output(&api, &task, &instance);
    let ids = format!("{} {}", task.rsplit('/').next().unwrap(), id_of(&instance));
    assert!(text.contains(r#"{"arguments":{"album":"1"}}"#), "{text}");
    assert!(text.contains(&format!("{ids} by the manifest by the caller")), "{text}");
    assert!(text.contains("to-stderr"), "{text}");
    let detail = get(&api, &task);
    assert_eq!(detail["lastRunResult"], "Completed");
    assert_eq!(detail["isActive"], false);
    assert_eq!(detail["history"][0]["id"], instance["id"]);
    assert_eq!(get(&api, TASKS)[0]["lastRunResult"], "Completed");
}

#[test]
fn a_failure_is_told_with_its_cause() {
    let rig = Rig::start();
    let api = rig.app_with_script(APP, "exit 7");
    let task = register(&api, &on_request("a"));
    fire(&api, &task);
    let instance = wait_for_instance(&api, &task, "Failed");
    assert_eq!(instance["exitCode"], 7);
    assert!(instance["result"].as_str().unwrap().starts_with("Failed:"), "{instance}");
    assert!(get(&api, &task)["lastRunResult"].as_str().unwrap().contains('7'));
}

#[test]
fn run_needs_no_firing() {
    let rig = Rig::start();
    let api = rig.app_with_script(APP, "echo ran");
    let task =
        register(&api, &body("a", json!({ "type": "TimeTrigger", "freshnessTime": 43200, "oneShot": true })));
    let answer = api.call("POST", &format!("{task}/run"), None).unwrap().expect_status(200).json();
    let instance = wait_for_instance(&api, &task, "Completed");
    assert_eq!((&answer["instanceId"], &instance["cause"]), (&instance["id"], &json!("Manual")));
    assert_eq!(get(&api, &task)["isConsumed"], false, "it spends no one-shot registration");
    let refused = api.call("POST", &format!("{task}/request"), None).unwrap().expect_status(400).json();
    assert_eq!(refused["code"], "invalid-trigger");
}

#[test]
fn a_firing_waits_for_its_condition_and_says_so() {
    let rig = Rig::start();
    let api = rig.app_with_script(APP, "true");
    rig.set_host("sessionConnected", "false");
    let mut request = on_request("a");
    request["conditions"] = json!(["SessionConnected"]);
    let task = register(&api, &request);
    fire(&api, &task);
    let explained = get(&api, &format!("{task}/explain"));
    assert_eq!(explained["decision"], "Wait");
    let blocking = &explained["blocking"][0];
    assert_eq!(
        (blocking["code"].as_str(), blocking["setBy"].as_str()),
        (Some("sessionConnected"), Some("administrator"))
    );
    let supposed = get(&api, &format!("{task}/explain?if=connected"));
    assert_eq!(supposed["decision"], "Run", "{supposed}");
    let _ = api.get(&format!("{task}/explain?if=magic")).unwrap().expect_status(400);
    let detail = get(&api, &task);
    assert!(
        detail["pendingSince"].is_string() && detail["waiting"][0]["code"] == "sessionConnected",
        "{detail}"
    );
    let mut rig = rig;
    rig.restart();
    let api = rig.api_of(APP);
    assert_eq!(get(&api, &format!("{task}/explain"))["decision"], "Wait", "both outlive a restart");
    rig.set_host("sessionConnected", "true");
    wait_for_instance(&api, &task, "Completed");
    let _ = rig.api().call("DELETE", "/host/sessionConnected", None).unwrap().expect_status(200);
    assert_eq!(rig.get("/host")["sessionConnected"]["state"], "unknown");
}

#[test]
fn watchers_hear_of_tasks_and_instances() {
    let rig = Rig::start();
    let api = rig.app_with_script(APP, "true");
    let first = register(&api, &on_request("a"));
    let mut events = api.stream("GET", "/events", None).unwrap();
    let mut next = || {
        let (kind, data) = events.next_event().unwrap().expect("the stream goes on");
        (kind, serde_json::from_str::<Value>(&data).unwrap())
    };
    let (kind, snapshot) = next();
    assert_eq!((kind.as_str(), snapshot["tasks"][0]["name"].as_str()), ("snapshot", Some("a")));
    fire(&api, &first);
    let instance = std::iter::from_fn(|| Some(next()))
        .filter(|(kind, _)| kind == "instance")
        .find(|(_, event)| event["instance"]["state"] == "Completed")
        .unwrap();
    assert_eq!(format!("{TASKS}/{}", instance.1["instance"]["taskId"].as_str().unwrap()), first);
    let _ = std::iter::from_fn(|| Some(next()))
        .find(|(kind, event)| kind == "task" && event["task"]["lastRunResult"] == "Completed");
    let _ = api.call("DELETE", &first, None).unwrap().expect_status(204);
    let removed = std::iter::from_fn(|| Some(next())).find(|(kind, _)| kind == "taskRemoved").unwrap();
    assert_eq!(format!("{TASKS}/{}", removed.1["taskId"].as_str().unwrap()), first);
}
