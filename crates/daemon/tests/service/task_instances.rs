//! Running instances: what the task says, how it is cancelled, what is left.

use std::time::Instant;

use longhaul_lab::wait_until;
use serde_json::json;

use crate::rig::{PATIENCE, Rig, id_of};
use crate::tasks::{APP, TASKS, fire, get, on_request, register, wait_for_instance};

#[test]
fn a_task_tells_its_progress() {
    let rig = Rig::start();
    let api = rig.app_with_script(APP, "sleep 60");
    let task = register(&api, &on_request("a"));
    let mut events = api.stream("GET", "/events?kinds=instanceProgress", None).unwrap();
    fire(&api, &task);
    let instance = wait_for_instance(&api, &task, "Running");
    let path = format!("{task}/instances/{}", id_of(&instance));
    let put = |progress: u64| {
        let body = json!({ "progress": progress }).to_string();
        api.call("PUT", &format!("{path}/progress"), Some(("application/json", body.as_bytes()))).unwrap()
    };
    let _ = put(250).expect_status(204);
    let _ = put(u64::from(u32::MAX) + 1).expect_status(400);
    assert_eq!(get(&api, &path)["progress"], 250);
    assert_eq!(get(&api, &task)["progress"], 100, "what others see is a per cent");
    let (kind, event) = events.next_event().unwrap().unwrap();
    assert_eq!(kind, "instanceProgress");
    assert!(event.contains("250") && event.contains(id_of(&instance)), "{event}");
    let none = get(&api, &format!("{path}/cancellation?wait=0"));
    assert!(none.get("reason").is_none(), "{none}");
    let _ = api.get(&format!("{path}/cancellation?wait=9999")).unwrap().expect_status(400);
    let _ = api.call("DELETE", &path, None).unwrap().expect_status(204);
    let over = wait_for_instance(&api, &task, "Canceled");
    assert_eq!((over["progress"].as_u64(), over["cancelReason"].as_str()), (Some(250), Some("Abort")));
    let refused = put(1).expect_status(409).json();
    assert_eq!(refused["code"], "instance-over");
    let refused = api.call("DELETE", &path, None).unwrap().expect_status(409).json();
    assert_eq!(refused["code"], "instance-over");
}

#[test]
fn a_task_that_ignores_its_cancellation_is_killed() {
    let rig = Rig::start_with(|configuration| configuration.engine.tasks.grace_ms = 300);
    let api = rig.app_with_script(APP, "trap '' TERM; echo ready; while true; do sleep 1; done");
    let task = register(&api, &on_request("a"));
    fire(&api, &task);
    let instance = wait_for_instance(&api, &task, "Running");
    let path = format!("{task}/instances/{}", id_of(&instance));
    wait_until("the trap of the task", PATIENCE, || {
        get(&api, &format!("{path}/output"))["text"].as_str().unwrap().contains("ready").then_some(())
    });
    let began = Instant::now();
    let cancellation = std::thread::scope(|scope| {
        let asking = scope.spawn(|| get(&api, &format!("{path}/cancellation?wait=30")));
        let _ = api.call("DELETE", &path, None).unwrap().expect_status(204);
        asking.join().unwrap()
    });
    assert_eq!(cancellation["reason"], "Abort");
    let over = wait_for_instance(&api, &task, "Canceled");
    assert_eq!(over["wasKilled"], true, "{over}");
    assert_eq!(over["result"], "Canceled:Abort");
    assert!(began.elapsed() < PATIENCE);
}

#[test]
fn unregistering_cancels_or_lets_finish() {
    let rig = Rig::start();
    let marks = rig.path("marks");
    let script = format!("sleep 1; echo done >> {}", marks.display());
    let api = rig.app_with_script(APP, &script);
    let task = register(&api, &on_request("a"));
    fire(&api, &task);
    wait_for_instance(&api, &task, "Running");
    for bad in ["yes", "1", ""] {
        let refused = api.call("DELETE", &format!("{task}?cancelRunningTask={bad}"), None).unwrap();
        assert_eq!(refused.expect_status(400).json()["field"], "cancelRunningTask");
    }
    let _ = api.call("DELETE", &format!("{task}?cancelRunningTask=false"), None).unwrap().expect_status(204);
    let _ = api.get(&task).unwrap().expect_status(404);
    wait_until("the end of what was left running", PATIENCE, || marks.exists().then_some(()));
    let task = register(&api, &on_request("a"));
    fire(&api, &task);
    wait_for_instance(&api, &task, "Running");
    let _ = api.call("DELETE", &task, None).unwrap().expect_status(204);
    let _ = api.call("DELETE", &task, None).unwrap().expect_status(404);
    assert_eq!(get(&api, TASKS), json!([]));
}

#[test]
fn a_run_that_takes_too_long_is_ended() {
    let rig = Rig::start();
    let api = rig.app_with_script(APP, "exec sleep 60");
    let mut request = on_request("a");
    request["timeLimit"] = json!(1);
    let task = register(&api, &request);
    fire(&api, &task);
    let over = wait_for_instance(&api, &task, "Canceled");
    assert_eq!(over["cancelReason"], "ExecutionTimeExceeded");
}

#[test]
fn a_stop_of_the_service_ends_what_runs() {
    let mut rig = Rig::start();
    let api = rig.app_with_script(APP, "exec sleep 60");
    let task = register(&api, &on_request("a"));
    fire(&api, &task);
    wait_for_instance(&api, &task, "Running");
    let refused = api.call("POST", &format!("{task}/request"), None).unwrap().expect_status(200).json();
    assert_eq!(refused["result"], "CurrentlyRunning");
    rig.restart();
    let api = rig.api_of(APP);
    let over = wait_for_instance(&api, &task, "Canceled");
    assert_eq!(over["cancelReason"], "Terminating");
    assert_eq!(get(&api, &format!("{task}/instances"))["items"].as_array().unwrap().len(), 1);
}

#[test]
fn the_history_comes_in_pages() {
    let rig = Rig::start();
    let api = rig.app_with_script(APP, "true");
    let task = register(&api, &on_request("a"));
    for _ in 0..3 {
        fire(&api, &task);
        wait_for_instance(&api, &task, "Completed");
        wait_until("the task to be idle", PATIENCE, || (get(&api, &task)["isActive"] == false).then_some(()));
    }
    let first = get(&api, &format!("{task}/instances?limit=2"));
    let cursor = first["nextCursor"].as_str().unwrap();
    let second = get(&api, &format!("{task}/instances?limit=2&cursor={cursor}"));
    assert_eq!((first["items"].as_array().unwrap().len(), second["items"].as_array().unwrap().len()), (2, 1));
    assert!(second.get("nextCursor").is_none());
    for bad in ["limit=0", "limit=51", "limit=x", "cursor=x", "colour=red"] {
        let _ = api.get(&format!("{task}/instances?{bad}")).unwrap().expect_status(400);
    }
}

#[test]
fn an_instance_tells_which_of_its_limits_hold() {
    let rig = Rig::start();
    let entry_point = "[[entry-point]]\nclass = \"Test.Task\"\nexec = [\"/bin/sh\", \"-c\", \"sleep 60\"]\n\
                       memory-max = \"256MiB\"\ncpu-max = 50\n";
    rig.install(APP, entry_point);
    let api = rig.api_with_access(APP);
    let task = register(&api, &on_request("a"));
    fire(&api, &task);
    let running = wait_for_instance(&api, &task, "Running");
    let limits = running["limits"].as_array().expect("limits while it runs").clone();
    let told: Vec<&str> = limits.iter().filter_map(|limit| limit["limit"].as_str()).collect();
    assert!(told.len() == 2 && told.contains(&"memory") && told.contains(&"cpu"), "{running:#}");
    for limit in &limits {
        // Which means there are is the machine's; memory can be held by some means everywhere.
        let is_enforced = limit["isEnforced"].as_bool().unwrap();
        assert_eq!(limit["means"].is_string(), is_enforced, "{limit}");
        assert!(is_enforced || limit["detail"].is_string(), "{limit}");
        assert!(is_enforced || limit["limit"] == "cpu", "{limit}");
    }
    let path = format!("{task}/instances/{}", id_of(&running));
    let _ = api.call("DELETE", &path, None).unwrap().expect_status(204);
    let over = wait_for_instance(&api, &task, "Canceled");
    assert_eq!((over["limits"].as_array(), &over["ranOutOfMemory"]), (Some(&limits), &json!(false)), "kept");
}
