//! Content while it comes, after it came, and when it changes under the reader.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use longhaul_lab::{Content, Endpoint, Gate, Resource, Server};
use serde_json::json;

use crate::rig::Rig;

fn ranged(rig: &Rig, range: &str) -> Endpoint {
    rig.api().with_header("Range", range)
}

fn film(rig: &Rig, server: &Server) -> String {
    let mut body = rig.download(&server.url("/film"), "film");
    body["isRandomAccessRequired"] = json!(true);
    rig.create(&body)
}

/// A server that holds back everything behind `limit` of a first whole answer until the gate opens.
fn stuck(content: Content, limit: u64, gate: &Gate) -> Server {
    let (resource, gate) = (Resource::new(content), gate.clone());
    Server::start(move |exchange| {
        let response = resource.answer(&exchange.request);
        let is_first = exchange.request.range_start() == 0;
        exchange.respond(if is_first { response.hold_at(limit, &gate) } else { response });
    })
}

#[test]
fn finished_files_are_served_in_ranges() {
    let content = Content::new(1, 1 << 20);
    let server = Server::of(Resource::new(content));
    let rig = Rig::start();
    let path = rig.create(&rig.download(&server.url("/film"), "film"));
    rig.wait_for_status(&path, "Completed");
    let path = format!("{path}/content");
    let whole = rig.api().get(&path).unwrap().expect_status(200);
    assert_eq!(whole.body, content.all());
    assert_eq!(whole.header("accept-ranges"), Some("bytes"));
    assert_eq!(whole.header("content-type"), Some("application/octet-stream"));
    assert_eq!(whole.header("x-content-type-options"), Some("nosniff"));
    let part = ranged(&rig, "bytes=1000-1999").get(&path).unwrap().expect_status(206);
    assert_eq!(part.body, content.bytes(1000, 1000));
    assert_eq!(part.header("content-range"), Some("bytes 1000-1999/1048576"));
    let last = ranged(&rig, "bytes=-10").get(&path).unwrap().expect_status(206);
    assert_eq!(last.body, content.bytes((1 << 20) - 10, 10));
    let behind = ranged(&rig, "bytes=1048576-").get(&path).unwrap().expect_status(416);
    assert_eq!(behind.header("content-range"), Some("bytes */1048576"));
    assert_eq!(behind.json()["code"], "range-not-satisfiable");
    let head = rig.api().stream("HEAD", &path, None).unwrap();
    assert_eq!(head.status, 200);
    assert!(head.headers.contains(&("content-length".to_owned(), "1048576".to_owned())));
}

#[test]
fn what_has_not_come_is_fetched_first() {
    let content = Content::new(2, 64 << 20);
    let gate = Gate::new();
    let server = stuck(content, 1 << 20, &gate);
    let rig = Rig::start();
    let path = film(&rig, &server);
    let range = format!("bytes={}-{}", 48 << 20, (48 << 20) + 99_999);
    let part = ranged(&rig, &range).get(&format!("{path}/content")).unwrap().expect_status(206);
    assert_eq!(part.body, content.bytes(48 << 20, 100_000), "while the start is still held back");
    assert_eq!(rig.get(&path)["status"], "Running");
    gate.open();
    rig.wait_for_status(&path, "Completed");
    content.assert_file(&rig.path("film"));
}

#[test]
fn a_reader_outlives_a_pause_and_the_publication() {
    let content = Content::new(3, 4 << 20);
    let gate = Gate::new();
    let server = stuck(content, 1 << 20, &gate);
    let rig = Rig::start();
    let path = film(&rig, &server);
    let reading = {
        let (api, path) = (rig.api(), format!("{path}/content"));
        std::thread::spawn(move || api.get(&path).unwrap().expect_status(200).body)
    };
    longhaul_lab::wait_until("first bytes", crate::rig::PATIENCE, || {
        (rig.get(&path)["progress"]["bytesReceived"].as_u64()? > 0).then_some(())
    });
    let _ = rig.command(&path, "pause");
    gate.open();
    let _ = rig.command(&path, "resume");
    assert_eq!(reading.join().unwrap(), content.all());
}

#[test]
fn a_reader_is_cut_off_when_the_file_changes() {
    let (old, new) = (Content::new(4, 4 << 20), Content::new(5, 4 << 20));
    let gate = Gate::new();
    let has_changed = Arc::new(AtomicBool::new(false));
    let server = Server::start({
        let (gate, has_changed) = (gate.clone(), Arc::clone(&has_changed));
        move |exchange| {
            let is_new = has_changed.load(Ordering::SeqCst);
            let resource = Resource::new(if is_new { new } else { old });
            let response = resource.answer(&exchange.request);
            exchange.respond(if is_new { response } else { response.hold_at(1 << 20, &gate) });
        }
    });
    let rig = Rig::start();
    let path = film(&rig, &server);
    let mut stream = rig.api().stream("GET", &format!("{path}/content"), None).unwrap();
    let mut seen = vec![0; 1000];
    let mut count = 0;
    while count < seen.len() {
        count += stream.read(&mut seen[count..]).unwrap();
    }
    assert_eq!(seen, old.bytes(0, 1000));
    let _ = rig.command(&path, "pause");
    has_changed.store(true, Ordering::SeqCst);
    gate.open();
    let _ = rig.command(&path, "resume");
    rig.wait_for_status(&path, "Completed");
    new.assert_file(&rig.path("film"));
    assert!(stream.finish().is_err(), "the rest would be of another version");
}

#[test]
fn what_is_over_without_a_file_has_no_content() {
    let rig = Rig::start();
    let path = rig.create(&rig.idle("a"));
    let _ = rig.command(&path, "cancel");
    let answer = rig.api().get(&format!("{path}/content")).unwrap().expect_status(409);
    assert_eq!(answer.json()["code"], "invalid-state");
}
