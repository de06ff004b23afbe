//! What a run writes, while it runs; and runs that outlive their program by a deferral.

use longhaul_lab::{Endpoint, wait_until};
use serde_json::Value;

use crate::rig::{PATIENCE, Rig, id_of};
use crate::tasks::{APP, fire, get, on_request, register, wait_for_instance};

/// A task that runs this script, and its running instance.
fn running(rig: &Rig, script: &str) -> (Endpoint, String, String) {
    let api = rig.app_with_script(APP, script);
    let task = register(&api, &on_request("a"));
    fire(&api, &task);
    let instance = wait_for_instance(&api, &task, "Running");
    let path = format!("{task}/instances/{}", id_of(&instance));
    (api, task, path)
}

fn post(api: &Endpoint, path: &str) -> Value {
    api.call("POST", path, None).unwrap().expect_status(201).json()
}

#[test]
fn output_is_followed_until_the_run_is_over() {
    let rig = Rig::start();
    let go = rig.path("go");
    let script = format!(
        "printf 'one \\303'; while ! test -e {}; do sleep 0.02; done; printf '\\244 two'; exit 3",
        go.display()
    );
    let (api, task, path) = running(&rig, &script);
    let mut stream = api.stream("GET", &format!("{path}/output?follow=true"), None).unwrap();
    let mut text = String::new();
    let mut buffer = [0; 64];
    while text != "one " {
        let count = stream.read(&mut buffer).unwrap();
        assert!(count > 0, "it ended with {text:?}");
        text.push_str(std::str::from_utf8(&buffer[..count]).expect("whole letters"));
    }
    std::fs::write(&go, "").unwrap();
    let rest = stream.finish().unwrap();
    assert_eq!(rest.header("content-type"), Some("text/plain; charset=utf-8"));
    text.push_str(&rest.text());
    assert_eq!(text, "one \u{e4} two");
    assert_eq!(get(&api, &path)["exitCode"], 3, "with the end of the stream the result is known");
    let again = api.get(&format!("{path}/output?follow=true")).unwrap().expect_status(200);
    assert_eq!(again.text(), text, "one that is over is answered at once");
    let refused = api.get(&format!("{path}/output?follow=maybe")).unwrap().expect_status(400).json();
    assert_eq!(refused["field"], "follow");
    let _ = api.get(&format!("{task}/instances/{}/output?follow=true", uuid())).unwrap().expect_status(404);
}

fn uuid() -> &'static str {
    "019c8a3b-7f2e-7001-9000-000000000000"
}

#[test]
fn a_run_outlives_its_program_until_its_deferrals_are_completed() {
    let rig = Rig::start();
    let (go, late) = (rig.path("go"), rig.path("late"));
    let (go, late) = (go.display(), late.display());
    let script = format!(
        "(while ! test -e {go}; do sleep 0.02; done; echo late; touch {late}; exec sleep 60) & \
         while ! test -e {go}.deferred; do sleep 0.02; done"
    );
    let (api, task, path) = running(&rig, &script);
    let first = post(&api, &format!("{path}/deferrals"));
    let second = post(&api, &format!("{path}/deferrals"));
    std::fs::write(format!("{go}.deferred"), "").unwrap();
    std::fs::write(go.to_string(), "").unwrap();
    wait_until("what was left in the background", PATIENCE, || rig.path("late").exists().then_some(()));
    let complete = |deferral: &Value| {
        let path = format!("{path}/deferrals/{}", deferral["deferralId"].as_str().unwrap());
        api.call("DELETE", &path, None).unwrap()
    };
    let _ = complete(&first).expect_status(204);
    let _ = complete(&first).expect_status(404);
    assert_eq!(get(&api, &task)["isActive"], true, "one is still open");
    let _ = complete(&second).expect_status(204);
    let over = wait_for_instance(&api, &task, "Completed");
    assert_eq!((&over["exitCode"], &over["wasKilled"]), (&0.into(), &false.into()));
    assert!(get(&api, &format!("{path}/output"))["text"].as_str().unwrap().contains("late"));
    let refused = api.call("POST", &format!("{path}/deferrals"), None).unwrap().expect_status(409).json();
    assert_eq!(refused["code"], "instance-over");
}

#[test]
fn a_deferral_that_is_never_completed_ends_with_the_time_limit() {
    let rig = Rig::start_with(|configuration| configuration.engine.tasks.grace_ms = 300);
    let go = rig.path("go");
    let api = rig.app_with_script(APP, &format!("while ! test -e {}; do sleep 0.02; done", go.display()));
    let mut request = on_request("a");
    request["timeLimit"] = 2.into();
    let task = register(&api, &request);
    fire(&api, &task);
    let instance = wait_for_instance(&api, &task, "Running");
    let path = format!("{task}/instances/{}", id_of(&instance));
    post(&api, &format!("{path}/deferrals"));
    std::fs::write(&go, "").unwrap();
    let over = wait_for_instance(&api, &task, "Canceled");
    assert_eq!(over["cancelReason"], "ExecutionTimeExceeded");
}

#[test]
fn a_program_that_fails_takes_its_deferrals_with_it() {
    let rig = Rig::start();
    let go = rig.path("go");
    let script = format!("sleep 60 & while ! test -e {}; do sleep 0.02; done; exit 4", go.display());
    let (api, task, path) = running(&rig, &script);
    post(&api, &format!("{path}/deferrals"));
    std::fs::write(&go, "").unwrap();
    let over = wait_for_instance(&api, &task, "Failed");
    assert_eq!(over["exitCode"], 4);
}
