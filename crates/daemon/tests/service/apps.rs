//! Manifests: what they allow, and what follows when they change.

use longhaul_lab::wait_until;
use serde_json::json;

use crate::rig::{PATIENCE, Rig};
use crate::tasks::{APP, TASKS, body, fire, get, on_request, register, wait_for_instance};

fn entry(program: &std::path::Path) -> String {
    format!("[[entry-point]]\nclass = \"Test.Task\"\nexec = [{:?}]\n", program.display().to_string())
}

fn write_program(path: &std::path::Path, text: &str) {
    let beside = path.with_extension("new");
    std::fs::write(&beside, text).unwrap();
    std::fs::set_permissions(&beside, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::rename(beside, path).unwrap();
}

fn servicing(name: &str) -> serde_json::Value {
    body(name, json!({ "type": "SystemTrigger", "systemTriggerType": "ServicingComplete" }))
}

#[test]
fn an_update_ends_what_runs_and_fires_once() {
    let mut rig = Rig::start();
    let program = rig.path("program");
    write_program(&program, "#!/bin/sh\ncase $(cat) in *arguments*) exec sleep 60;; esac\n");
    rig.install(APP, &entry(&program));
    // What is there at the start has been seen when the start is over.
    rig.restart();
    let api = rig.api_with_access(APP);
    let complete = register(&api, &servicing("serviced"));
    let running = register(&api, &on_request("running"));
    fire(&api, &running);
    wait_for_instance(&api, &running, "Running");
    write_program(&program, "#!/bin/sh\nexit 0\n# another\n");
    let over = wait_for_instance(&api, &running, "Canceled");
    assert_eq!(over["cancelReason"], "ServicingUpdate");
    wait_for_instance(&api, &complete, "Completed");
    assert_eq!(get(&api, &format!("{complete}/instances"))["items"].as_array().unwrap().len(), 1);
}

#[test]
fn an_update_while_the_service_is_down_is_noticed() {
    let mut rig = Rig::start();
    let program = rig.path("program");
    write_program(&program, "#!/bin/sh\nexit 0\n");
    rig.install(APP, &entry(&program));
    let api = rig.api_with_access(APP);
    let task = register(&api, &servicing("serviced"));
    rig.restart();
    rig.stop();
    write_program(&program, "#!/bin/sh\nexit 0\n# another\n");
    rig.launch().unwrap();
    wait_for_instance(&rig.api_of(APP), &task, "Completed");
    rig.restart();
    let count = get(&rig.api_of(APP), &format!("{task}/instances"))["items"].as_array().unwrap().len();
    assert_eq!(count, 1, "once");
}

#[test]
fn an_application_that_is_gone_takes_its_tasks_along() {
    let rig = Rig::start();
    let api = rig.app_with_script(APP, "true");
    register(&api, &on_request("a"));
    let shown = rig.get(&format!("/apps/{APP}"));
    assert_eq!(shown["entryPoints"][0], json!({ "class": "Test.Task", "kind": "process", "triggers": [] }));
    assert_eq!(shown["tasks"], 1);
    assert!(rig.get("/apps")["items"].as_array().unwrap().iter().any(|app| app["id"] == APP));
    std::fs::rename(rig.manifest(APP), rig.path("away")).unwrap();
    wait_until("the manifest to be missed", PATIENCE, || (get(&api, TASKS) == json!([])).then_some(()));
    assert_eq!(get(&api, "/background-tasks/access")["status"], "Unspecified");
}

#[test]
fn a_manifest_that_does_not_count_is_told() {
    let rig = Rig::start();
    rig.install(APP, "[[entry-point]]\nclass = \"Test.Task\"\n");
    let refused = rig.api_of(APP).post(TASKS, &on_request("a")).unwrap().expect_status(400).json();
    assert_eq!(refused["code"], "unknown-entry-point");
    assert!(refused["detail"].as_str().unwrap().contains("needs one of"), "{refused}");
    let shown = rig.get(&format!("/apps/{APP}"));
    assert!(shown["manifestProblem"].as_str().unwrap().contains("needs one of"), "{shown}");
}
