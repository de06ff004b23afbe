//! The scenarios of the platform's own background-transfer samples, by their numbers.
//!
//! The servers are scaled down; what has to be seen is not.

use longhaul_endtoend::{DEADLINE, DOWNLOADS, House, QUICK, assert_exit, id_of, received, status_of};
use longhaul_lab::samples::{download, notification, notifications, random_access, recoverable_errors};
use longhaul_lab::{Request, Resource, Server, ServiceOptions, wait_until};
use serde_json::{Value, json};

/// Sizes are divided by this.
const SCALE: u64 = 5;

fn one_at_a_time() -> House {
    House::configured("[limits]\nrunning-at-once = 1")
}

/// Paths in the order of the requests that began a file.
fn beginnings(server: &Server) -> Vec<String> {
    server
        .requests()
        .iter()
        .filter(|request| request.range_start() == 0)
        .map(|request| request.path().to_owned())
        .collect()
}

#[test]
fn scenario_1a_a_file_is_downloaded_with_progress() {
    let (server, content) = download(SCALE);
    let house = House::new();
    let mut events = house.api().stream("GET", "/events", None).unwrap();
    let id = house.get(&server.url("/download.aspx"), "download");
    house.wait_for_bytes(&id, 1);
    let running = house.operation(&id);
    assert_eq!((status_of(&running).as_str(), &running["statusCode"]), ("Running", &json!(1)));
    assert_eq!(running["progress"]["totalBytesToReceive"], content.length);
    let response = house.of(&id, "response");
    assert_eq!(response["statusCode"], 200);
    assert_eq!(response["isResumable"], true);
    assert!(!response["headers"].as_array().unwrap().is_empty());
    house.complete(&id);
    content.assert_file(&house.result("download"));
    let mut grown = Vec::new();
    loop {
        let (kind, data) = events.next_event().unwrap().expect("the stream stays open");
        let data: Value = serde_json::from_str(&data).unwrap();
        if kind == "progress" && data["id"] == id.as_str() {
            grown.push(data["progress"]["bytesReceived"].as_u64().unwrap());
        }
        if kind == "operation" && data["operation"]["status"] == "Completed" {
            break;
        }
    }
    assert!(grown.is_sorted() && !grown.is_empty(), "{grown:?}");
    let attached = house.command(&id, "attach");
    assert_eq!(status_of(&attached), "Completed");
    assert!(house.list("").is_empty(), "a consumed result is no longer listed");
}

#[test]
fn scenario_1b_high_priority_is_taken_before_waiting_default() {
    let (server, _) = download(SCALE);
    let house = one_at_a_time();
    let mut ids = vec![house.get(&server.url("/first"), "first")];
    house.wait_for_bytes(&ids[0], 1);
    ids.push(house.get(&server.url("/second"), "second"));
    let mut urgent = house.spec(&server.url("/urgent"), "urgent");
    urgent["priority"] = "High".into();
    ids.push(house.create(&urgent));
    ids.iter().for_each(|id| drop(house.complete(id)));
    assert_eq!(beginnings(&server), ["/first", "/urgent", "/second"]);
}

#[test]
fn scenario_1c_1d_pause_all_and_resume_all_touch_only_what_they_should() {
    let (server, content) = download(SCALE);
    let house = House::new();
    let done = house.get(&server.url("/done"), "done");
    house.complete(&done);
    let mut idle = house.spec(&server.url("/idle"), "idle");
    idle["start"] = false.into();
    let idle = house.create(&idle);
    let running: Vec<_> =
        ["a", "b"].iter().map(|name| house.get(&server.url(&format!("/{name}")), name)).collect();
    running.iter().for_each(|id| house.wait_for_bytes(id, 100_000));
    for id in &running {
        house.command(id, "pause");
    }
    for id in &running {
        house.wait_for_status(id, "PausedByApplication");
    }
    assert_eq!(status_of(&house.operation(&done)), "Completed");
    assert_eq!(status_of(&house.operation(&idle)), "Idle");
    let before = server.requests().len();
    assert_exit(&house.run(&["resume", "--all"]), 0);
    for (id, name) in running.iter().zip(["a", "b"]) {
        let operation = house.complete(id);
        assert_eq!(operation["progress"]["hasRestarted"], false, "{operation:#}");
        content.assert_file(&house.result(name));
    }
    let resumed = &server.requests()[before..];
    assert!(resumed.iter().all(|request| request.range_start() > 0 && request.header("if-range").is_some()));
    assert_eq!(status_of(&house.operation(&idle)), "Idle", "resume starts nothing that was never started");
}

#[test]
fn scenario_1c_pausing_what_is_paused_is_refused() {
    let (server, _) = download(SCALE);
    let house = House::new();
    let id = house.get(&server.url("/f"), "f");
    house.wait_for_bytes(&id, 1);
    house.command(&id, "pause");
    house.wait_for_status(&id, "PausedByApplication");
    let refused = house.call("POST", &format!("{DOWNLOADS}/{id}/pause")).expect_status(409);
    assert_eq!(refused.json()["code"], "invalid-state");
}

#[test]
fn scenario_1e_cancel_all_ends_all_and_leaves_nothing() {
    let (server, _) = download(SCALE);
    let house = House::new();
    let ids: Vec<_> = ["a", "b", "c"].iter().map(|name| house.get(&server.url("/f"), name)).collect();
    house.wait_for_bytes(&ids[0], 100_000);
    assert_exit(&house.run(&["cancel", "--all"]), 0);
    for id in &ids {
        let operation = house.wait_for_status(id, "Canceled");
        assert_eq!(operation["error"], Value::Null, "{operation:#}");
    }
    wait_until("an empty folder", DEADLINE, || {
        (std::fs::read_dir(house.results()).unwrap().count() == 0).then_some(())
    });
}

#[test]
fn scenario_1f_a_restart_finds_the_same_downloads_and_attaches_to_all() {
    let (server, content) = download(SCALE);
    let mut house = House::new();
    let mut ids: Vec<_> =
        ["a", "b", "c"].iter().map(|name| house.get(&server.url(&format!("/{name}")), name)).collect();
    ids.iter().for_each(|id| house.wait_for_bytes(id, 50_000));
    assert!(house.stop().success(), "a stop is in order: {}", house.log());
    house.launch();
    let mut found: Vec<_> = house.list("").iter().map(id_of).collect();
    found.sort();
    ids.sort();
    assert_eq!(found, ids);
    // All at once, each waiting for its own end.
    let attached: Vec<_> = ids
        .iter()
        .map(|id| {
            let (api, path) = (house.api(), format!("{DOWNLOADS}/{id}/attach?wait=50"));
            std::thread::spawn(move || api.call("POST", &path, None).unwrap().expect_status(200).json())
        })
        .collect();
    for attaching in attached {
        assert_eq!(status_of(&attaching.join().unwrap()), "Completed");
    }
    ["a", "b", "c"].iter().for_each(|name| content.assert_file(&house.result(name)));
}

#[test]
fn scenario_1g_failures_have_the_names_of_windows() {
    let server = Server::start(|exchange| exchange.respond(longhaul_lab::Response::new(404).text("none")));
    let house = House::new();
    for (url, word) in
        [(server.url("/none"), "NotFound"), ("http://no-such.invalid/".to_owned(), "HostNameNotResolved")]
    {
        let id = house.get(&url, "none");
        let operation = house.wait_for_status(&id, "Error");
        assert_eq!(operation["error"]["webErrorStatus"], word, "{operation:#}");
        house.command(&id, "attach");
    }
}

fn film(house: &House, url: &str) -> String {
    let mut spec = house.spec(url, "film");
    spec["isRandomAccessRequired"] = true.into();
    house.create(&spec)
}

fn ranges(house: &House, id: &str) -> Vec<(u64, u64)> {
    let page = house.of(id, "ranges");
    let items = page["items"].as_array().unwrap();
    items.iter().map(|range| (range["offset"].as_u64().unwrap(), range["length"].as_u64().unwrap())).collect()
}

/// Reads `length` bytes at `offset` of the unfinished file.
fn read(house: &House, id: &str, offset: u64, length: u64) -> Vec<u8> {
    let api = house.api().with_header("Range", &format!("bytes={offset}-{}", offset + length - 1));
    api.get(&format!("{DOWNLOADS}/{id}/content")).unwrap().expect_status(206).body
}

const FILM: u64 = 6_000_000;
const FILM_RATE: u64 = 1_500_000;

#[test]
fn scenario_5a_5b_5d_seeking_fetches_the_wanted_place_first_and_fills_the_hole() {
    let (server, content) = random_access(FILM, FILM_RATE);
    let house = House::new();
    let mut events = house.api().stream("GET", "/events?kinds=rangesAdded", None).unwrap();
    let id = film(&house, &server.url("/randomAccess.aspx"));
    house.wait_for_bytes(&id, 200_000);
    let place = FILM * 6 / 10;
    let begun = std::time::Instant::now();
    assert_eq!(read(&house, &id, place, 100_000), content.bytes(place, 100_000));
    assert!(begun.elapsed().as_secs_f64() < 1.8, "the read waited for its turn: {:?}", begun.elapsed());
    let seen = ranges(&house, &id);
    assert!(seen.len() >= 2, "two ranges: {seen:?}");
    house.complete(&id);
    content.assert_file(&house.result("film"));
    let mut bytes = 0;
    while bytes < FILM {
        let (_, data) = events.next_event().unwrap().expect("the stream stays open");
        let data: Value = serde_json::from_str(&data).unwrap();
        assert_eq!(data["wasDownloadRestarted"], false);
        let added = data["addedRanges"].as_array().unwrap();
        bytes += added.iter().map(|range| range["length"].as_u64().unwrap()).sum::<u64>();
    }
    assert_eq!(bytes, FILM, "every byte was announced once");
}

#[test]
fn scenario_5c_ranges_survive_a_pause_without_a_restart() {
    let (server, content) = random_access(FILM, FILM_RATE);
    let house = House::new();
    let id = film(&house, &server.url("/randomAccess.aspx"));
    house.wait_for_bytes(&id, 100_000);
    read(&house, &id, FILM / 2, 50_000);
    house.command(&id, "pause");
    house.wait_for_status(&id, "PausedByApplication");
    let seen = ranges(&house, &id);
    let holds = |offset: u64| seen.iter().any(|(start, length)| *start <= offset && offset < start + length);
    assert!(holds(0) && holds(FILM / 2 + 49_999), "{seen:?}");
    let before: u64 = seen.iter().map(|(_, length)| length).sum();
    house.command(&id, "resume");
    house.complete(&id);
    content.assert_file(&house.result("film"));
    let receipt = house.of(&id, "receipt");
    assert_eq!(receipt["restarts"], 0);
    assert!(receipt["bytesFetched"].as_u64().unwrap() < FILM + before / 2, "{receipt:#}");
}

#[test]
fn scenario_5e_a_server_without_ranges_or_length_fails_at_once() {
    let server = notifications(1);
    let house = House::new();
    let id = film(&house, &server.url("/notifications.aspx?delay=5"));
    let operation = house.wait_for_status(&id, "Error");
    assert_eq!(operation["error"]["webErrorStatus"], "InsufficientRangeSupport", "{operation:#}");
    let endless = Server::start(|exchange| exchange.respond(notification(1, 1).full().chunked()));
    let mut spec = house.spec(&endless.url("/f"), "other");
    spec["isRandomAccessRequired"] = true.into();
    let id = house.create(&spec);
    let operation = house.wait_for_status(&id, "Error");
    assert_eq!(operation["error"]["webErrorStatus"], "MissingContentLengthSupport", "{operation:#}");
}

/// Runs into the expired link of the sample; returns the house, the server and the id.
fn expired(recoverable: bool) -> (House, Server, longhaul_lab::Content, String) {
    let (server, content) = recoverable_errors(SCALE, 4_000_000);
    let house = House::new();
    let mut spec = house.spec(&server.url("/recoverableErrors.aspx?shouldExpire=yes"), "f");
    if recoverable {
        spec["recoverableWebErrorStatuses"] = json!(["Forbidden"]);
    }
    let id = house.create(&spec);
    (house, server, content, id)
}

#[test]
fn scenario_6a_a_renewed_link_continues_where_the_old_one_expired() {
    let (house, server, content, id) = expired(true);
    let operation = house.wait_for_status(&id, "PausedRecoverableWebErrorStatus");
    assert_eq!(
        (&operation["statusCode"], &operation["currentWebErrorStatus"]),
        (&json!(8), &json!("Forbidden"))
    );
    let kept = received(&operation);
    assert!(kept >= 5_900_000 / SCALE, "{operation:#}");
    house.patch(&id, &json!({ "requestedUri": server.url("/recoverableErrors.aspx") }));
    house.command(&id, "resume");
    let operation = house.complete(&id);
    assert_eq!(operation["progress"]["hasRestarted"], false, "{operation:#}");
    content.assert_file(&house.result("f"));
    let last = server.requests().last().map(Request::range_start);
    assert!(last.is_some_and(|start| start > 0 && start <= kept), "{last:?}");
}

#[test]
fn scenario_6b_a_declined_renewal_ends_as_canceled() {
    let (house, _server, _, id) = expired(true);
    house.wait_for_status(&id, "PausedRecoverableWebErrorStatus");
    house.command(&id, "cancel");
    house.wait_for_status(&id, "Canceled");
    assert!(!house.result("f").exists());
}

#[test]
fn scenario_6c_an_unlisted_refusal_does_not_lose_the_bytes() {
    // On Windows this ends as Error; here the bytes are kept and the caller is asked, unless nothing had come.
    let (house, server, content, id) = expired(false);
    let operation = wait_until("the refusal", DEADLINE, || {
        let operation = house.operation(&id);
        (status_of(&operation) != "Running" && status_of(&operation) != "Idle").then_some(operation)
    });
    assert_eq!(operation["error"]["webErrorStatus"], "Forbidden", "{operation:#}");
    if status_of(&operation) == "Error" {
        return;
    }
    assert_eq!(operation["error"]["remedy"]["kind"], "needsInput", "{operation:#}");
    house.patch(&id, &json!({ "requestedUri": server.url("/recoverableErrors.aspx") }));
    house.command(&id, "resume");
    house.complete(&id);
    content.assert_file(&house.result("f"));
}

#[test]
fn scenario_7_make_current_reorders_a_serialized_group() {
    let (server, content) = download(SCALE);
    let house = House::new();
    let group = "/background-transfers/groups/row";
    let _ = house.send("PUT", group, &json!({ "transferBehavior": "Serialized" })).expect_status(200);
    let ids: Vec<_> = (1..=5)
        .map(|row| {
            let mut spec = house.spec(&server.url(&format!("/{row}")), &row.to_string());
            spec["transferGroup"] = "row".into();
            house.create(&spec)
        })
        .collect();
    house.wait_for_bytes(&ids[0], 300_000);
    let running = |operation: &&Value| status_of(operation) == "Running";
    assert_eq!(house.list("&group=row").iter().filter(running).count(), 1, "one runs at a time");
    house.command(&ids[3], "make-current");
    for (id, row) in ids.iter().zip(1..) {
        house.complete(id);
        content.assert_file(&house.result(&i32::to_string(&row)));
    }
    let order = beginnings(&server);
    assert_eq!(order[..3], ["/1", "/4", "/5"], "{order:?}");
    let again = server.requests().into_iter().find(|request| request.path() == "/1" && request.number > 0);
    assert!(again.is_some_and(|request| request.range_start() > 0), "the displaced one kept its bytes");
}

#[test]
fn a_group_of_ten_thousand_works() {
    let server = Server::of(Resource::new(longhaul_lab::Content::new(1, 100)));
    let house = House::with(ServiceOptions { config: QUICK.to_owned(), ..ServiceOptions::default() });
    let specs: Vec<Value> = (0..10_000)
        .map(|number| {
            let mut spec = house.spec(&server.url("/f"), &format!("f{number}"));
            spec["transferGroup"] = "many".into();
            spec["start"] = false.into();
            spec
        })
        .collect();
    let mut ids = Vec::new();
    for batch in specs.chunks(1_000) {
        let created = house.send("POST", &format!("{DOWNLOADS}/batch"), &json!({ "operations": batch }));
        let created = created.expect_status(201).json();
        ids.extend(created["ids"].as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()));
    }
    assert_eq!(house.list("&group=many").len(), 10_000);
    let last = ids.last().unwrap();
    house.command(last, "start");
    house.complete(last);
    house.command(last, "attach");
    assert_eq!(house.list("&group=many").len(), 9_999);
}
