//! Uploads to nginx and Apache, over kills and breaks; what is repeated and what is not.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use longhaul_endtoend::{House, UPLOADS, assert_exit, is_full, sent};
use longhaul_lab::relay::{Link, Relay};
use longhaul_lab::resumable::{DraftOptions, DraftServer};
use longhaul_lab::servers::{ServerKind, WebServer};
use longhaul_lab::tus::{TusKind, TusServer};
use longhaul_lab::{Content, Request, Response, Server};
use serde_json::json;

const SIZE: u64 = 4_000_000;

fn taken() -> Response {
    Response::new(201)
}

fn is_put_by_the_command_line(kind: ServerKind) {
    let server = WebServer::start(kind);
    let house = House::new();
    let content = Content::new(1, SIZE);
    content.write_to(&house.result("film"));
    let file = house.result("film");
    let output = house.run(&["put", file.to_str().unwrap(), &server.url("/uploads/")]);
    assert_exit(&output, 0);
    content.assert_file(&server.root().join("uploads/film"));
    // A second time the file is replaced: PUT may be repeated.
    let newer = Content::new(2, SIZE / 2);
    newer.write_to(&file);
    assert_exit(&house.run(&["put", "--quiet", file.to_str().unwrap(), &server.url("/uploads/film")]), 0);
    newer.assert_file(&server.root().join("uploads/film"));
}

fn is_put_again_after_kills(kind: ServerKind) {
    let server = WebServer::start(kind);
    let mut house = House::new();
    let content = Content::new(1, SIZE);
    let mut spec = house.upload_spec("PUT", &server.url("/uploads/film"), "film", content);
    spec["rateLimit"] = (SIZE / 2).into();
    let id = house.create_upload(&spec);
    for part in [4, 2] {
        house.wait_for_sent(&id, SIZE / part);
        house.kill();
        house.launch();
    }
    house.wait_for_upload(&id, "Completed");
    content.assert_file(&server.root().join("uploads/film"));
    let receipt = house.of_upload(&id, "receipt");
    assert_eq!(
        (&receipt["size"], &receipt["upload"]["protocol"]),
        (&json!(SIZE), &json!("plain")),
        "{receipt:#}"
    );
}

macro_rules! of_each_server {
    ($($module:ident $kind:ident),+) => {$(
        mod $module {
            use super::*;

            #[test]
            fn a_file_is_put() {
                is_put_by_the_command_line(ServerKind::$kind);
            }

            #[test]
            fn a_put_that_was_killed_is_made_again() {
                is_put_again_after_kills(ServerKind::$kind);
            }
        }
    )+};
}

of_each_server!(nginx Nginx, apache Apache);

/// Kills the service while a POST, of which so many bytes have left, waits for its answer. The server answers the next.
fn killed_post(sent: u64, key: Option<&str>) -> (House, Server, String) {
    let has_stalled = AtomicBool::new(false);
    let server = Server::start(move |exchange| {
        if exchange.request.method == "POST" && !has_stalled.swap(true, Ordering::SeqCst) {
            exchange.stall();
        } else {
            exchange.respond(taken());
        }
    });
    let mut house = House::new();
    let mut spec = house.upload_spec("POST", &server.url("/f"), "film", Content::new(1, SIZE));
    spec["rateLimit"] = SIZE.into();
    if let Some(key) = key {
        spec["idempotencyKey"] = key.into();
    }
    let id = house.create_upload(&spec);
    house.wait_for_sent(&id, sent);
    house.kill();
    house.launch();
    (house, server, id)
}

fn posts(server: &Server) -> Vec<Request> {
    server.requests().into_iter().filter(|request| request.method == "POST").collect()
}

#[test]
fn fault_102_a_post_that_was_cut_off_cannot_have_been_done_and_is_made_again() {
    let (house, server, id) = killed_post(SIZE / 4, None);
    house.wait_for_upload(&id, "Completed");
    assert!(posts(&server).last().unwrap().body == Content::new(1, SIZE).all());
}

#[test]
fn fault_102_a_post_without_an_answer_is_not_made_again_unless_its_caller_says_so() {
    let (house, server, id) = killed_post(SIZE, None);
    let waiting = house.wait_for_upload(&id, "PausedRecoverableWebErrorStatus");
    assert_eq!(waiting["error"]["cause"], "unconfirmed", "{waiting:#}");
    assert_eq!(waiting["waiting"][0]["code"], "needsInput", "{waiting:#}");
    let before = posts(&server).len();
    house.command_upload(&id, "resume");
    house.wait_for_upload(&id, "Completed");
    assert_eq!(posts(&server).len(), before + 1);
    assert!(posts(&server).last().unwrap().body == Content::new(1, SIZE).all());
}

#[test]
fn fault_102_a_post_with_an_idempotency_key_is_made_again() {
    let (house, server, id) = killed_post(SIZE, Some("8e03978e-40d5-43dd-bc93-6894a57f9324"));
    house.wait_for_upload(&id, "Completed");
    let requests = posts(&server);
    let last = requests.last().unwrap();
    assert!(last.header("idempotency-key").unwrap().contains("8e03978e-40d5-43dd-bc93-6894a57f9324"));
    assert!(last.body == Content::new(1, SIZE).all());
}

/// Ten kills while a file is on its way, at a rate that leaves room for them; the share of the size that left is
/// counted by `received` where the bytes arrive, so that what a kill cut off counts too. Returns the content.
fn survives_ten_kills(url: &str, method: &str, protocol: &str, received: impl Fn() -> u64) -> Content {
    let (size, rate) = if is_full() { (1 << 30, 64 << 20) } else { (48 << 20, 8 << 20) };
    let mut house = House::new();
    let content = Content::new(7, size);
    let mut spec = house.upload_spec(method, url, "film", content);
    spec["rateLimit"] = rate.into();
    let id = house.create_upload(&spec);
    for kill in 1..=10 {
        house.wait_for_sent(&id, kill * size / 11);
        house.kill();
        house.launch();
    }
    let done = house.wait_for_upload(&id, "Completed");
    assert_eq!(sent(&done), size);
    let receipt = house.of_upload(&id, "receipt");
    assert_eq!(
        (&receipt["upload"]["protocol"], &receipt["restarts"]),
        (&json!(protocol), &json!(0)),
        "{receipt:#}"
    );
    let share = received() as f64 / size as f64;
    println!("{share:.3} times the size was sent over ten kills");
    assert!(share <= 1.1, "{share}");
    content
}

#[test]
fn ten_kills_of_a_resumable_upload_cost_little_and_harm_nothing() {
    let server = DraftServer::start(DraftOptions::default());
    let content = survives_ten_kills(&server.url("/film"), "PUT", "resumable", || server.received());
    assert!(server.stored("/film").expect("it is there") == content.all());
}

fn tus_survives_ten_kills(kind: TusKind) {
    let server = TusServer::start(kind);
    let url = server.url();
    let path = url.strip_prefix(&format!("http://{}", server.address())).expect("its own address");
    let relay = Relay::start(server.address(), Link { delay: Duration::ZERO, rate: None });
    let content = survives_ten_kills(&relay.url(path), "POST", "tus", || relay.received());
    let [file] = &server.files()[..] else { panic!("one upload, one file: {:?}", server.files()) };
    content.assert_file(file);
}

#[test]
fn ten_kills_of_an_upload_to_the_tus_server_of_node_cost_little_and_harm_nothing() {
    tus_survives_ten_kills(TusKind::Node);
}

#[test]
fn ten_kills_of_an_upload_to_the_tus_server_of_python_cost_little_and_harm_nothing() {
    tus_survives_ten_kills(TusKind::Python);
}

#[test]
fn an_expired_address_is_renewed_and_the_upload_goes_on() {
    let server = Server::start(|exchange| {
        let is_expired = exchange.request.query("signature") == Some("old");
        exchange.respond(if is_expired { Response::new(403).text("expired") } else { taken() });
    });
    let house = House::new();
    let content = Content::new(1, SIZE);
    let mut spec = house.upload_spec("PUT", &server.url("/f?signature=old"), "film", content);
    spec["recoverableWebErrorStatuses"] = json!(["Forbidden"]);
    let id = house.create_upload(&spec);
    let waiting = house.wait_for_upload(&id, "PausedRecoverableWebErrorStatus");
    assert_eq!(waiting["currentWebErrorStatus"], "Forbidden", "{waiting:#}");
    let body = house.call("GET", &format!("{UPLOADS}/{id}/response/body")).expect_status(200);
    assert_eq!(body.text(), "expired");
    let patch = json!({ "requestedUri": server.url("/f?signature=new") });
    let _ = house.send("PATCH", &format!("{UPLOADS}/{id}"), &patch).expect_status(200);
    house.command_upload(&id, "resume");
    house.wait_for_upload(&id, "Completed");
    assert!(server.requests().last().unwrap().body == content.all());
}

#[test]
fn fault_101_a_source_that_is_gone_or_grows_is_told() {
    let server = Server::start(|exchange| exchange.respond(taken()));
    let house = House::new();
    let mut gone = house.upload_spec("PUT", &server.url("/gone"), "gone", Content::new(1, SIZE));
    gone["start"] = false.into();
    let gone = house.create_upload(&gone);
    std::fs::remove_file(house.result("gone")).unwrap();
    house.command_upload(&gone, "start");
    let failed = house.wait_for_upload(&gone, "Error");
    assert_eq!(failed["error"]["cause"], "sourceUnreadable", "{failed:#}");
    let mut growing = house.upload_spec("PUT", &server.url("/growing"), "growing", Content::new(1, SIZE));
    growing["rateLimit"] = SIZE.into();
    let id = house.create_upload(&growing);
    house.wait_for_sent(&id, SIZE / 4);
    let longer = Content::new(2, SIZE + 10);
    longer.write_to(&house.result("growing"));
    let done = house.wait_for_upload(&id, "Completed");
    assert_eq!(sent(&done), SIZE + 10, "{done:#}");
    assert!(server.requests().last().unwrap().body == longer.all(), "never a mixture of two versions");
}

#[test]
fn pieces_with_signed_addresses_are_put_each_to_its_own() {
    let server = Server::start(|exchange| {
        let tag = format!("\"tag-{}\"", exchange.request.query("part").unwrap_or("none"));
        exchange.respond(Response::new(200).header("ETag", tag));
    });
    let house = House::new();
    let content = Content::new(1, SIZE);
    let mut spec = house.upload_spec("PUT", &server.url("/f"), "film", content);
    let piece = SIZE / 3 + 1;
    let signed: Vec<String> =
        (1..=3).map(|part| server.url(&format!("/f?part={part}&signature=SECRET"))).collect();
    spec["partUris"] = json!(signed);
    spec["partSize"] = piece.into();
    let id = house.create_upload(&spec);
    let done = house.wait_for_upload(&id, "Completed");
    assert!(!done.to_string().contains("SECRET"), "{done:#}");
    let mut pieces: Vec<_> = server.requests();
    pieces.sort_by_key(|request| request.query("part").map(str::to_owned));
    let whole: Vec<u8> = pieces.iter().flat_map(|request| request.body.clone()).collect();
    assert!(whole == content.all());
    let receipt = house.of_upload(&id, "receipt");
    assert_eq!(receipt["upload"]["partEtags"], json!(["\"tag-1\"", "\"tag-2\"", "\"tag-3\""]), "{receipt:#}");
}

#[test]
fn what_cannot_be_sent_is_refused() {
    let house = House::new();
    let file = house.result("film");
    Content::new(1, 10).write_to(&file);
    for (body, status, code, field) in [
        (
            json!({ "requestedUri": "ftp://h/f", "sourceFile": file }),
            400,
            "unsupported-scheme",
            "/requestedUri",
        ),
        (json!({ "requestedUri": "http://h/f" }), 400, "invalid-field", "/sourceFile"),
        (
            json!({ "requestedUri": "http://h/f", "sourceFile": house.result("gone") }),
            400,
            "invalid-source",
            "/sourceFile",
        ),
        (
            json!({ "requestedUri": "http://h/f", "sourceFile": house.results() }),
            400,
            "invalid-source",
            "/sourceFile",
        ),
        (
            json!({ "requestedUri": "http://h/f", "sourceFile": file, "resultFile": "/x" }),
            400,
            "unknown-field",
            "/resultFile",
        ),
        (
            json!({ "requestedUri": "http://h/f", "parts": [{ "text": "a" }], "boundary": "a " }),
            400,
            "invalid-field",
            "/boundary",
        ),
    ] {
        let problem = house.send("POST", UPLOADS, &body).expect_status(status).json();
        assert_eq!(
            (&problem["code"], &problem["field"]),
            (&json!(code), &json!(field)),
            "{body}: {problem:#}"
        );
    }
}
