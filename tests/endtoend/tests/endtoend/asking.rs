//! Links that expire: a webhook or a task of the application is asked for a fresh one, and the bytes are kept.

use longhaul_endtoend::{House, shown};
use longhaul_lab::hostile::Cut;
use longhaul_lab::service::binary;
use longhaul_lab::{Content, Resource, Response, Server};
use serde_json::{Value, json};

const SIZE: u64 = 6_000_000;

/// Gives the first half for the key `old` once and refuses it from then on; the key `new` gets everything.
fn server(content: Content) -> Server {
    let resource = Resource::new(content);
    Server::start(move |exchange| {
        let request = &exchange.request;
        let answer = match (request.query("key"), request.range_start()) {
            (Some("new"), _) => resource.answer(request),
            (Some("old"), 0) => resource.answer(request).cut_after(SIZE / 2, Cut::Close),
            _ => Response::new(403).text("the link has expired"),
        };
        exchange.respond(answer);
    })
}

/// The fresh link is first asked for what the old one had not given.
fn assert_bytes_were_kept(server: &Server) {
    let requests = server.requests();
    let fresh = requests.iter().find(|request| request.query("key") == Some("new"));
    let start = fresh.expect("the fresh link was used").range_start();
    assert!(start > SIZE / 4, "it began again at byte {start}");
}

#[test]
fn a_webhook_is_asked_for_a_fresh_link() {
    let content = Content::new(9, SIZE);
    let server = server(content);
    let fresh = server.url("/film?key=new");
    let webhook = Server::start(move |exchange| {
        assert_eq!(exchange.request.method, "POST");
        let answer = Response::new(200).header("content-type", "application/json");
        exchange.respond(answer.text(&json!({ "requestedUri": fresh }).to_string()));
    });
    let house = House::new();
    let mut spec = house.spec(&server.url("/film?key=old"), "film");
    spec["inputCallback"] = json!({ "webhook": webhook.url("/renew") });
    let id = house.create(&spec);
    house.complete(&id);
    content.assert_file(&house.result("film"));
    assert_bytes_were_kept(&server);
    assert_eq!(webhook.requests().len(), 1);
}

#[test]
fn an_answer_that_does_not_help_is_no_storm() {
    let server = Server::start(|exchange| exchange.respond(Response::new(403)));
    let same = server.url("/film");
    let webhook = Server::start(move |exchange| {
        exchange.respond(Response::new(200).text(&json!({ "requestedUri": same }).to_string()));
    });
    let house = House::new();
    let mut spec = house.spec(&server.url("/film"), "film");
    spec["inputCallback"] = json!({ "webhook": webhook.url("/renew") });
    let id = house.create(&spec);
    let _ = webhook.wait_for_requests(3, longhaul_endtoend::DEADLINE);
    let _ = server.wait_for_requests(4, longhaul_endtoend::DEADLINE);
    house.wait_for_status(&id, "PausedRecoverableWebErrorStatus");
    // A barrier: what follows the fourth refusal has been decided by then.
    house.patch(&id, &json!({ "priority": "High" }));
    assert_eq!(webhook.requests().len(), 3);
}

#[test]
fn a_task_is_asked_for_a_fresh_link() {
    let content = Content::new(11, SIZE);
    let server = server(content);
    let house = House::new();
    let program = binary().display().to_string();
    let fresh = server.url("/film?key=new");
    let script = format!(
        "for id in $(grep -o '[0-9a-f]\\{{8\\}}-[0-9a-f-]*'); do \
         {program} set $id requestedUri={fresh} && {program} resume $id && echo $id >> asked; done"
    );
    let added = house.run(&["task", "add", "renew", "--trigger", "app", "--", "sh", "-c", &script]);
    assert!(added.status.success(), "{}", shown(&added));
    let task = String::from_utf8(added.stdout).unwrap().trim().to_owned();
    let url = server.url("/film?key=old");
    let got = house.run(&["--json", "get", &url, "-o", "film", "--ask-task", &task, "--detach"]);
    assert!(got.status.success(), "{}", shown(&got));
    let id = house.list("")[0]["id"].as_str().map(str::to_owned).unwrap();
    house.complete(&id);
    content.assert_file(&house.result("film"));
    assert_bytes_were_kept(&server);
    assert_eq!(std::fs::read_to_string(house.result("asked")).unwrap(), format!("{id}\n"));
    let shown: Value =
        serde_json::from_slice(&house.run(&["--json", "task", "show", "renew"]).stdout).unwrap();
    assert_eq!(shown["history"][0]["triggerDetails"]["needsInput"], json!([id]));
}

#[test]
fn a_task_that_is_not_there_cannot_be_asked() {
    let house = House::new();
    let mut spec = house.spec("http://127.0.0.1:9/film", "film");
    let nobody = "0195c1a0-0000-7000-8000-000000000000";
    spec["inputCallback"] = json!({ "task": nobody });
    let refused = house.send("POST", "/background-transfers/downloads", &spec);
    assert_eq!(refused.status, 400);
    let problem: Value = serde_json::from_slice(&refused.body).unwrap();
    assert_eq!(problem["field"], "/inputCallback/task");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains(nobody) && detail.contains("register it first"), "{detail}");
    let good = house.spec("http://127.0.0.1:9/other", "other");
    let batch = json!({ "operations": [good, spec] });
    let refused = house.send("POST", "/background-transfers/downloads/batch", &batch);
    let problem: Value = serde_json::from_slice(&refused.body).unwrap();
    assert_eq!(problem["field"], "/operations/1/inputCallback/task");
    assert!(house.list("").is_empty());
    let got = house.run(&["get", "http://127.0.0.1:9/film", "-o", "film", "--ask-task", nobody]);
    assert_eq!(got.status.code(), Some(2), "{}", shown(&got));
}
