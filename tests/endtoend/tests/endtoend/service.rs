//! The service itself: one per state folder, orderly stops, events that can be resumed, its own description.

use std::time::Duration;

use longhaul_endtoend::{DEADLINE, DOWNLOADS, House, assert_exit, id_of, received, shown, status_of};
use longhaul_lab::relay::{Link, Relay};
use longhaul_lab::{Content, Resource, Server, wait_until};
use serde_json::{Value, json};

#[test]
fn a_second_service_on_the_same_state_is_refused() {
    let house = House::new();
    let state = house.state();
    let output = house.run(&["daemon", "--state", state.to_str().unwrap()]);
    assert_exit(&output, 11);
    assert!(shown(&output).contains("another service"), "{}", shown(&output));
    assert_eq!(house.call("GET", "/healthz").status, 200, "the first one goes on");
}

#[test]
fn a_service_that_was_killed_leaves_no_lock_behind() {
    let mut house = House::new();
    house.kill();
    house.launch();
    assert_eq!(house.call("GET", "/healthz").status, 200);
}

#[test]
fn an_orderly_stop_keeps_every_byte() {
    let content = Content::new(1, 2_000_000);
    let server = Server::build()
        .pace(1_000_000)
        .start(move |exchange| exchange.respond(Resource::new(content).answer(&exchange.request)));
    let mut house = House::new();
    let id = house.get(&server.url("/f"), "f");
    house.wait_for_bytes(&id, 700_000);
    let before = received(&house.operation(&id));
    assert!(house.stop().success(), "{}", house.log());
    house.launch();
    house.complete(&id);
    content.assert_file(&house.result("f"));
    let resumed = server.requests()[1].range_start();
    assert!(resumed + 8_192 >= before, "stopped at {before}, resumed at {resumed}");
}

#[test]
fn events_go_on_behind_the_last_one_that_was_seen() {
    let server = Server::of(Resource::new(Content::new(1, 1_000)));
    let house = House::new();
    let read = |after: Option<&str>, until: &str| {
        let mut api = house.api();
        if let Some(number) = after {
            api = api.with_header("Last-Event-ID", number);
        }
        let mut stream = api.stream("GET", "/events", None).unwrap();
        let (mut last, mut statuses) = (String::new(), Vec::new());
        loop {
            let event = stream.next_numbered_event().unwrap().expect("the stream stays open");
            let data: Value = serde_json::from_str(&event.data).unwrap();
            if let Some(number) = event.number {
                last = number;
            }
            let operation = &data["operation"];
            if event.kind == "operation" {
                statuses.push((id_of(operation), status_of(operation)));
            }
            if event.kind == "operation" && operation["label"] == until && operation["status"] == "Completed"
            {
                return (last, statuses);
            }
        }
    };
    let labelled = |name: &str| {
        let mut spec = house.spec(&server.url("/f"), name);
        spec["label"] = name.into();
        house.create(&spec)
    };
    let reader = std::thread::scope(|scope| {
        let reader = scope.spawn(|| read(None, "first"));
        wait_until("the reader", DEADLINE, || (!house.call("GET", "/healthz").body.is_empty()).then_some(()));
        labelled("first");
        reader.join().unwrap()
    });
    let second = labelled("second");
    house.complete(&second);
    let (_, statuses) = read(Some(&reader.0), "second");
    assert!(statuses.iter().all(|(id, _)| *id == second), "nothing twice, nothing else: {statuses:?}");
}

#[test]
fn the_service_describes_itself() {
    let house = House::new();
    let document = house.call("GET", "/openapi.json").expect_status(200).json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{}", document["openapi"]);
    for path in [DOWNLOADS, "/events", "/limits", "/healthz"] {
        assert!(document["paths"][path].is_object(), "{path} is described");
    }
    let metrics = house.call("GET", "/metrics").expect_status(200).text();
    assert!(metrics.contains("# TYPE"), "{metrics}");
}

#[test]
fn limits_of_zero_stop_and_lifting_them_starts() {
    let content = Content::new(1, 300_000);
    let server = Server::of(Resource::new(content));
    let house = House::new();
    let limits = house.call("GET", "/limits").expect_status(200).json();
    let mut none = limits.clone();
    none["bytesPerSecond"] = 0.into();
    let _ = house.send("PUT", "/limits", &none).expect_status(200);
    let id = house.get(&server.url("/f"), "f");
    let explained = wait_until("a reason", DEADLINE, || {
        let explained = house.of(&id, "explain");
        (explained["decision"] == "Wait").then_some(explained)
    });
    assert_eq!(explained["blocking"][0]["code"], "rateLimitZero", "{explained:#}");
    let _ = house.send("PUT", "/limits", &limits).expect_status(200);
    house.complete(&id);
    content.assert_file(&house.result("f"));
}

#[test]
fn a_link_that_goes_away_for_a_while_costs_no_restart() {
    let content = Content::new(1, 3_000_000);
    let server = Server::of(Resource::new(content));
    let link = Link { delay: Duration::from_millis(5), rate: Some(1_500_000) };
    let relay = Relay::start(server.address(), link);
    let house = House::configured("");
    let id = house.get(&relay.url("/f"), "f");
    for part in 1..=3 {
        house.wait_for_bytes(&id, part * 700_000);
        relay.cut();
        wait_until("the broken connection", DEADLINE, || {
            let operation = house.operation(&id);
            (!operation["waiting"].as_array().is_none_or(Vec::is_empty)).then_some(())
        });
        relay.join();
    }
    house.complete(&id);
    content.assert_file(&house.result("f"));
    assert_eq!(house.of(&id, "receipt")["restarts"], 0);
}

#[test]
fn a_full_disk_waits_and_goes_on_by_itself() {
    let content = Content::new(1, 3_000_000);
    let server = Server::of(Resource::new(content));
    let disk = longhaul_lab::disk::Disk::tmpfs(6 << 20);
    let filler = disk.fill(1_000_000);
    let house = House::new();
    let file = disk.path().join("film");
    let id = house.create(&json!({ "requestedUri": server.url("/f"), "resultFile": file }));
    let waiting = house.wait_for_status(&id, "PausedSystemPolicy");
    assert_eq!(waiting["waiting"][0]["code"], "diskSpace", "{waiting:#}");
    std::fs::remove_file(filler).unwrap();
    house.complete(&id);
    content.assert_file(&file);
}

#[test]
fn deleting_a_download_forgets_it_and_not_its_file() {
    let content = Content::new(1, 10_000);
    let server = Server::of(Resource::new(content));
    let house = House::new();
    let id = house.get(&server.url("/f"), "f");
    house.complete(&id);
    assert_eq!(house.call("DELETE", &format!("{DOWNLOADS}/{id}")).status, 204);
    assert_eq!(house.call("GET", &format!("{DOWNLOADS}/{id}")).status, 404);
    content.assert_file(&house.result("f"));
}
