//! Start, pause, resume, cancel, attach, limits, and a service that stops in the middle.

use longhaul_lab::{Content, Gate, Resource, Server, wait_until};
use serde_json::json;

use crate::rig::{DOWNLOADS, PATIENCE, Rig, id_in};

/// A server that sends half of the file, and the rest once the gate is open.
fn held(content: Content, gate: &Gate) -> Server {
    let (resource, gate) = (Resource::new(content), gate.clone());
    Server::start(move |exchange| {
        let response = resource.answer(&exchange.request);
        exchange.respond(response.hold_at(content.length / 2, &gate));
    })
}

#[test]
fn pause_lets_go_and_resume_goes_on() {
    let content = Content::new(2, 4 << 20);
    let gate = Gate::new();
    let server = held(content, &gate);
    let rig = Rig::start();
    let path = rig.create(&rig.download(&server.url("/film"), "film"));
    wait_until("half of the file", PATIENCE, || {
        (rig.get(&path)["progress"]["bytesReceived"].as_u64()? >= 1 << 20).then_some(())
    });
    let paused = rig.command(&path, "pause");
    assert_eq!(paused["status"], "PausedByApplication");
    assert!(paused["progress"]["bytesReceived"].as_u64().unwrap() > 0);
    assert_eq!(rig.get(&format!("{path}/explain"))["blocking"][0]["code"], "pausedByApplication");
    let again = rig.api().call("POST", &format!("{path}/pause"), None).unwrap();
    assert_eq!(again.expect_status(409).json()["code"], "invalid-state");
    gate.open();
    let _ = rig.command(&path, "resume");
    rig.wait_for_status(&path, "Completed");
    content.assert_file(&rig.path("film"));
    let requests = server.requests();
    assert!(requests.last().unwrap().range_start() > 0, "it went on where it was");
}

#[test]
fn a_stop_keeps_the_bytes_and_the_next_start_goes_on_by_itself() {
    let content = Content::new(3, 4 << 20);
    let gate = Gate::new();
    let server = held(content, &gate);
    let mut rig = Rig::start();
    let path = rig.create(&rig.download(&server.url("/film"), "film"));
    wait_until("half of the file", PATIENCE, || {
        (rig.get(&path)["progress"]["bytesReceived"].as_u64()? >= 1 << 20).then_some(())
    });
    rig.stop();
    assert!(!std::path::Path::new(&rig.configuration.service.socket).exists(), "the socket is gone");
    gate.open();
    rig.launch().unwrap();
    rig.wait_for_status(&path, "Completed");
    content.assert_file(&rig.path("film"));
    assert!(server.requests().last().unwrap().range_start() > 0, "it went on where it was");
}

#[test]
fn cancel_removes_the_part_file() {
    let content = Content::new(4, 4 << 20);
    let gate = Gate::new();
    let server = held(content, &gate);
    let rig = Rig::start();
    let path = rig.create(&rig.download(&server.url("/film"), "film"));
    wait_until("the part file", PATIENCE, || std::fs::read_dir(rig.path("")).unwrap().next().map(drop));
    let canceled = rig.command(&path, "cancel");
    assert_eq!(canceled["status"], "Canceled");
    wait_until("the part file to go", PATIENCE, || {
        std::fs::read_dir(rig.path("")).unwrap().next().is_none().then_some(())
    });
    let refused = rig.api().call("POST", &format!("{path}/resume"), None).unwrap();
    assert_eq!(refused.expect_status(409).json()["code"], "invalid-state");
    let taken = rig.command(&path, "attach?wait=0");
    assert_eq!(taken["status"], "Canceled");
    wait_until("the result to be noted as taken", PATIENCE, || {
        rig.get(&path)["consumedTime"].is_string().then_some(())
    });
}

#[test]
fn attach_waits_for_the_end() {
    let content = Content::new(5, 1 << 20);
    let gate = Gate::new();
    let server = held(content, &gate);
    let rig = Rig::start();
    let path = rig.create(&rig.download(&server.url("/film"), "film"));
    let early = rig.command(&path, "attach?wait=0");
    assert!(early["consumedTime"].is_null());
    let waiting = {
        let (api, path) = (rig.api(), format!("{path}/attach?wait=60"));
        std::thread::spawn(move || api.call("POST", &path, None).unwrap().expect_status(200).json())
    };
    gate.open();
    let done = waiting.join().unwrap();
    assert_eq!(done["status"], "Completed");
    assert!(done["consumedTime"].is_string());
    let refused = rig.api().call("POST", &format!("{path}/attach?wait=3601"), None).unwrap();
    assert_eq!(refused.expect_status(400).json()["field"], "wait");
}

#[test]
fn many_results_are_taken_by_one_call() {
    const ATTACH: &str = "/background-transfers/downloads/attach";
    let content = Content::new(8, 1000);
    let server = Server::of(Resource::new(content));
    let rig = Rig::start();
    let done: Vec<String> = (0..3)
        .map(|number| rig.create(&rig.download(&server.url("/small"), &format!("small-{number}"))))
        .collect();
    let stranger = rig.api_of("org.example.Other").post(DOWNLOADS, &rig.idle("theirs")).unwrap();
    let stranger = stranger.expect_status(201).json()["id"].as_str().unwrap().to_owned();
    let idle = rig.create(&rig.idle("idle"));
    for path in &done {
        rig.wait_for_status(path, "Completed");
    }
    let ids: Vec<&str> =
        done.iter().chain([&idle]).map(|path| id_in(path)).chain([stranger.as_str()]).collect();
    let take = || rig.api().post(ATTACH, &json!({ "ids": ids })).unwrap().expect_status(200).json();
    assert_eq!(take()["ids"], json!(&ids[..3]));
    assert_eq!(take()["ids"], json!([]), "each result is taken once");
    for path in &done {
        assert!(rig.get(path)["consumedTime"].is_string());
    }
    rig.api_of("org.example.Other").call("POST", &format!("{DOWNLOADS}/{stranger}/cancel"), None).unwrap();
    assert_eq!(take()["ids"], json!([]), "not that of another application");
    let refused = rig.api().post(ATTACH, &json!({ "ids": vec![ids[0]; 1001] })).unwrap();
    assert_eq!(refused.expect_status(400).json()["field"], "/ids");
}

#[test]
fn idle_operations_start_when_told() {
    let content = Content::new(6, 1000);
    let server = Server::of(Resource::new(content));
    let rig = Rig::start();
    let mut body = rig.download(&server.url("/small"), "small");
    body["start"] = json!(false);
    let path = rig.create(&body);
    assert_eq!(rig.get(&path)["status"], "Idle");
    assert!(server.requests().is_empty());
    let _ = rig.command(&path, "start");
    rig.wait_for_status(&path, "Completed");
    content.assert_file(&rig.path("small"));
}

#[test]
fn limits_hold_at_once_and_are_kept() {
    let mut rig = Rig::start();
    let mut limits = rig.get("/limits");
    limits["bytesPerSecond"] = json!(0);
    let put = |rig: &Rig, limits: &serde_json::Value| {
        let body = serde_json::to_vec(limits).unwrap();
        rig.api().call("PUT", "/limits", Some(("application/json", &body))).unwrap()
    };
    assert_eq!(put(&rig, &limits).expect_status(200).json(), limits);
    rig.restart();
    assert_eq!(rig.get("/limits"), limits);
    let server = Server::of(Resource::new(Content::new(7, 1000)));
    let path = rig.create(&rig.download(&server.url("/small"), "small"));
    let explained = rig.get(&format!("{path}/explain"));
    assert_eq!(explained["decision"], "Wait");
    assert_eq!(explained["blocking"][0]["code"], "rateLimitZero");
    limits["bytesPerSecond"] = json!(null);
    let _ = put(&rig, &limits).expect_status(200);
    rig.wait_for_status(&path, "Completed");
    limits["runningAtOnce"] = json!(0);
    assert_eq!(put(&rig, &limits).expect_status(400).json()["field"], "/runningAtOnce");
    limits["runningAtOnce"] = json!(1);
    limits["schedule"] = json!([{ "from": "25:00", "to": "26:00", "bytesPerSecond": 1 }]);
    assert_eq!(put(&rig, &limits).expect_status(400).json()["code"], "invalid-field");
}

#[test]
fn explain_answers_what_if() {
    let rig = Rig::start();
    let mut body = rig.download("http://192.0.2.1/file", "a");
    body["notBefore"] = json!("2100-01-01T00:00:00Z");
    let path = rig.create(&body);
    let explain = |query: &str| rig.get(&format!("{path}/explain{query}"));
    let codes = |explained: &serde_json::Value| -> Vec<String> {
        let blocking = explained["blocking"].as_array().unwrap();
        blocking.iter().map(|reason| reason["code"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(codes(&explain("")), ["notBefore"]);
    assert_eq!(codes(&explain("?at=2100-01-02T00:00:00Z&if=online,unmetered")), [""; 0]);
    assert_eq!(codes(&explain("?at=2100-01-02T00:00:00Z&if=offline")), ["networkLevel"]);
    assert_eq!(codes(&explain("?at=2100-01-02T00:00:00Z&if=online,roaming")), ["networkCost"]);
    for (query, field) in [("?at=tomorrow", "at"), ("?if=sunny", "if")] {
        let problem = rig.api().get(&format!("{path}/explain{query}")).unwrap().expect_status(400).json();
        assert_eq!(problem["field"], field);
    }
}

#[test]
fn a_deleted_download_is_gone_with_its_bytes() {
    let content = Content::new(8, 4 << 20);
    let gate = Gate::new();
    let server = held(content, &gate);
    let rig = Rig::start();
    let path = rig.create(&rig.download(&server.url("/film"), "film"));
    wait_until("the part file", PATIENCE, || std::fs::read_dir(rig.path("")).unwrap().next().map(drop));
    let _ = rig.api().call("DELETE", &path, None).unwrap().expect_status(204);
    let _ = rig.api().get(&path).unwrap().expect_status(404);
    assert_eq!(rig.get(&format!("{DOWNLOADS}?idPrefix={}", id_in(&path)))["items"], json!([]));
    wait_until("the part file to go", PATIENCE, || {
        std::fs::read_dir(rig.path("")).unwrap().next().is_none().then_some(())
    });
    let server = Server::of(Resource::new(content));
    let body = rig.download(&server.url("/film"), "film");
    let made = wait_until("the name to be free", PATIENCE, || {
        rig.api().post(DOWNLOADS, &body).ok().filter(|answer| answer.status == 201)
    });
    let path = made.header("location").unwrap().to_owned();
    rig.wait_for_status(&path, "Completed");
    let _ = rig.api().call("DELETE", &path, None).unwrap().expect_status(204);
    assert!(rig.path("film").exists(), "a published file stays");
}

#[test]
fn nothing_is_left_behind_when_a_pause_comes_early() {
    let content = Content::new(9, 4 << 20);
    let server = Server::of(Resource::new(content));
    let rig = Rig::start();
    for round in 0..20 {
        let name = format!("film{round}");
        let path = rig.create(&rig.download(&server.url("/film"), &name));
        let paused = rig.api().call("POST", &format!("{path}/pause"), None).unwrap();
        if paused.status == 200 {
            assert!(
                ["PausedByApplication", "Completed"].contains(&paused.json()["status"].as_str().unwrap())
            );
            if paused.json()["status"] == "PausedByApplication" {
                let _ = rig.command(&path, "resume");
            }
        }
        let done = rig.command(&path, "attach?wait=30");
        assert_eq!(done["status"], "Completed");
        content.assert_file(&rig.path(&name));
    }
    let parts = std::fs::read_dir(rig.path("")).unwrap().count();
    assert_eq!(parts, 20, "only published files are left");
}
