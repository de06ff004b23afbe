//! The event stream: snapshot, numbered changes, going on, resync.

use longhaul_lab::http_client::Streaming;
use longhaul_lab::{Content, Gate, Resource, Server};
use serde_json::{Value, json};

use crate::rig::{DOWNLOADS, Rig, id_in, id_of};

fn next(events: &mut Streaming) -> (String, Value) {
    let (kind, data) = events.next_event().unwrap().expect("the stream goes on");
    (kind, serde_json::from_str(&data).unwrap())
}

/// The next event of this kind.
fn next_of(events: &mut Streaming, kind: &str) -> Value {
    loop {
        let (found, data) = next(events);
        if found == kind {
            return data;
        }
    }
}

#[test]
fn a_snapshot_and_then_what_changes() {
    let rig = Rig::start();
    let first = rig.create(&rig.idle("a"));
    let mut events = rig.api().stream("GET", "/events", None).unwrap();
    let (kind, snapshot) = next(&mut events);
    assert_eq!(kind, "snapshot");
    assert_eq!(snapshot["isLast"], true);
    assert_eq!(id_of(&snapshot["operations"][0]), id_in(&first));
    let second = rig.create(&rig.idle("b"));
    let (kind, event) = next(&mut events);
    assert_eq!((kind.as_str(), id_of(&event["operation"])), ("operation", id_in(&second)));
    let _ = rig.command(&second, "cancel");
    let event = next_of(&mut events, "operation");
    assert_eq!(event["operation"]["status"], "Canceled");
    let _ = rig.api().call("DELETE", &second, None).unwrap().expect_status(204);
    let event = next_of(&mut events, "removed");
    assert_eq!(event["id"], id_in(&second));
}

#[test]
fn a_long_snapshot_comes_in_parts() {
    let rig = Rig::start();
    for batch in 0..2 {
        let bodies: Vec<Value> = (0..600).map(|number| rig.idle(&format!("{batch}-{number}"))).collect();
        let body = json!({ "operations": bodies });
        let _ = rig.api().post(&format!("{DOWNLOADS}/batch"), &body).unwrap().expect_status(201);
    }
    let mut events = rig.api().stream("GET", "/events?kinds=snapshot", None).unwrap();
    let mut count = 0;
    loop {
        let (kind, part) = next(&mut events);
        assert_eq!(kind, "snapshot");
        count += part["operations"].as_array().unwrap().len();
        if part["isLast"] == true {
            break;
        }
    }
    assert_eq!(count, 1200);
}

#[test]
fn kinds_are_chosen() {
    let rig = Rig::start();
    rig.create(&rig.idle("a"));
    let mut events = rig.api().stream("GET", "/events?kinds=removed", None).unwrap();
    let path = rig.create(&rig.idle("b"));
    let _ = rig.api().call("DELETE", &path, None).unwrap().expect_status(204);
    let (kind, event) = next(&mut events);
    assert_eq!((kind.as_str(), event["id"].as_str()), ("removed", Some(id_in(&path))));
    let answer = rig.api().get("/events?kinds=colour").unwrap().expect_status(400).json();
    assert_eq!(answer["field"], "kinds");
}

/// Reads the raw stream up to the first event, for its `id:`.
fn first_id(rig: &Rig, last: Option<&str>) -> (String, String) {
    let mut api = rig.api();
    if let Some(last) = last {
        api = api.with_header("Last-Event-ID", last);
    }
    let mut events = api.stream("GET", "/events", None).unwrap();
    let mut text = String::new();
    let mut buffer = [0; 4096];
    while !text.contains("\n\n") {
        let count = events.read(&mut buffer).unwrap();
        assert!(count > 0, "the stream ended early: {text}");
        text.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
    }
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name}:")));
        line.unwrap_or_default().trim().to_owned()
    };
    (field("event"), field("id"))
}

#[test]
fn a_reader_that_comes_back_goes_on_where_it_was() {
    let mut rig = Rig::start_with(|configuration| configuration.service.events_kept = 4);
    let (kind, id) = first_id(&rig, None);
    assert_eq!(kind, "snapshot");
    let path = rig.create(&rig.idle("a"));
    let (kind, next) = first_id(&rig, Some(&id));
    assert_eq!(kind, "operation", "nothing but what it has missed");
    for number in 0..5 {
        rig.create(&rig.idle(&format!("b{number}")));
    }
    assert_eq!(first_id(&rig, Some(&id)).0, "resync", "too old");
    assert_eq!(first_id(&rig, Some("nonsense")).0, "resync");
    let _ = rig.api().call("DELETE", &path, None).unwrap().expect_status(204);
    rig.restart();
    assert_eq!(first_id(&rig, Some(&next)).0, "resync", "another life of the service");
}

#[test]
fn after_a_resync_comes_a_snapshot() {
    let rig = Rig::start();
    rig.create(&rig.idle("a"));
    let api = rig.api().with_header("Last-Event-ID", "other-1");
    let mut events = api.stream("GET", "/events", None).unwrap();
    assert_eq!(next(&mut events).0, "resync");
    let (kind, snapshot) = next(&mut events);
    assert_eq!((kind.as_str(), snapshot["operations"].as_array().unwrap().len()), ("snapshot", 1));
}

#[test]
fn progress_is_sampled_while_something_runs() {
    let content = Content::new(1, 8 << 20);
    let server = Server::build().pace(4 << 20).start({
        let resource = Resource::new(content);
        move |exchange| {
            let response = resource.answer(&exchange.request);
            exchange.respond(response);
        }
    });
    let rig = Rig::start();
    let mut events = rig.api().stream("GET", "/events", None).unwrap();
    let path = rig.create(&rig.download(&server.url("/film"), "film"));
    let first = next_of(&mut events, "progress");
    assert_eq!(first["id"], id_in(&path));
    let mut received = 0;
    loop {
        let (kind, event) = next(&mut events);
        if kind == "progress" {
            received = received.max(event["progress"]["bytesReceived"].as_u64().unwrap());
        }
        if kind == "operation" && event["operation"]["status"] == "Completed" {
            break;
        }
    }
    assert!(received > 0);
}

#[test]
fn new_ranges_of_a_random_access_download_are_told() {
    let content = Content::new(2, 4 << 20);
    let gate = Gate::new();
    let resource = Resource::new(content);
    let server = Server::start({
        let gate = gate.clone();
        move |exchange| {
            let response = resource.answer(&exchange.request);
            exchange.respond(response.hold_at(1 << 20, &gate));
        }
    });
    let rig = Rig::start();
    let mut events = rig.api().stream("GET", "/events?kinds=rangesAdded", None).unwrap();
    let mut body = rig.download(&server.url("/film"), "film");
    body["isRandomAccessRequired"] = json!(true);
    let path = rig.create(&body);
    let (kind, event) = next(&mut events);
    assert_eq!((kind.as_str(), event["id"].as_str()), ("rangesAdded", Some(id_in(&path))));
    assert_eq!(event["wasDownloadRestarted"], false);
    assert!(!event["addedRanges"].as_array().unwrap().is_empty());
    gate.open();
    rig.wait_for_status(&path, "Completed");
    content.assert_file(&rig.path("film"));
}
