//! Programs that serve entry points themselves.

use longhaul_lab::http_client::Streaming;
use serde_json::{Value, json};

use crate::rig::Rig;
use crate::tasks::{APP, fire, get, on_request, register, wait_for_instance};

const SERVE: &str = "/background-tasks/activations?entryPoint=Test.Task";

fn next(stream: &mut Streaming) -> Value {
    let (kind, data) = stream.next_event().unwrap().expect("the stream goes on");
    assert_eq!(kind, "activation");
    serde_json::from_str(&data).unwrap()
}

fn rig() -> (Rig, longhaul_lab::Endpoint) {
    let rig = Rig::start();
    rig.install(APP, "[[entry-point]]\nclass = \"Test.Task\"\nin-process = true\n");
    let api = rig.api_with_access(APP);
    (rig, api)
}

#[test]
fn a_connected_program_is_given_its_runs() {
    let (_rig, api) = rig();
    let task = register(&api, &on_request("a"));
    fire(&api, &task);
    let explained = get(&api, &format!("{task}/explain"));
    assert_eq!(explained["blocking"][0]["code"], "programNotConnected", "{explained}");
    let mut program = api.stream("GET", SERVE, None).unwrap();
    let activation = next(&mut program);
    assert_eq!(
        (activation["entryPoint"].as_str(), activation["taskName"].as_str()),
        (Some("Test.Task"), Some("a"))
    );
    let path = format!("{task}/instances/{}", activation["instanceId"].as_str().unwrap());
    let deferral = api.call("POST", &format!("{path}/deferrals"), None).unwrap().expect_status(201).json();
    let _ = api.call("POST", &format!("{path}/complete"), None).unwrap().expect_status(204);
    assert_eq!(get(&api, &path)["state"], "Running", "a deferral is open");
    let deferral = format!("{path}/deferrals/{}", deferral["deferralId"].as_str().unwrap());
    let _ = api.call("DELETE", &deferral, None).unwrap().expect_status(204);
    wait_for_instance(&api, &task, "Completed");
    let _ = api.call("DELETE", &deferral, None).unwrap().expect_status(409);
}

#[test]
fn a_program_hears_that_its_run_has_to_end_and_tells_how_it_went() {
    let (_rig, api) = rig();
    let mut program = api.stream("GET", SERVE, None).unwrap();
    let task = register(&api, &on_request("a"));
    fire(&api, &task);
    let activation = next(&mut program);
    let path = format!("{task}/instances/{}", activation["instanceId"].as_str().unwrap());
    let _ = api.call("DELETE", &path, None).unwrap().expect_status(204);
    let again = next(&mut program);
    assert_eq!((&again["instanceId"], &again["cancelReason"]), (&activation["instanceId"], &json!("Abort")));
    let _ =
        api.post(&format!("{path}/complete"), &json!({ "failure": "half done" })).unwrap().expect_status(204);
    assert_eq!(wait_for_instance(&api, &task, "Canceled")["result"], "Canceled:Abort");
}

#[test]
fn a_program_that_comes_back_is_given_what_still_runs() {
    let (_rig, api) = rig();
    let mut program = api.stream("GET", SERVE, None).unwrap();
    let task = register(&api, &on_request("a"));
    fire(&api, &task);
    let activation = next(&mut program);
    drop(program);
    let mut program = api.stream("GET", SERVE, None).unwrap();
    assert_eq!(next(&mut program), activation);
    let path = format!("{task}/instances/{}", activation["instanceId"].as_str().unwrap());
    let failure = json!({ "failure": "no film in the camera" });
    let _ = api.post(&format!("{path}/complete"), &failure).unwrap().expect_status(204);
    assert_eq!(wait_for_instance(&api, &task, "Failed")["result"], "Failed:no film in the camera");
}

#[test]
fn a_stream_names_its_classes() {
    let (_rig, api) = rig();
    for bad in ["", "?entryPoint=", "?colour=red"] {
        let answer =
            api.get(&format!("/background-tasks/activations{bad}")).unwrap().expect_status(400).json();
        assert_eq!(answer["code"], "invalid-parameter");
    }
}
