//! Bad input of every kind: each a clear problem with its documented code.

use std::io::Write as _;

use longhaul_contract::ErrorCode;
use longhaul_lab::Answer;
use serde_json::{Value, json};

use crate::rig::{DOWNLOADS, Rig};

#[track_caller]
fn expect(answer: Answer, code: &str, field: Option<&str>) {
    let known = ErrorCode::ALL.iter().find(|known| known.word() == code).unwrap();
    let answer = answer.expect_status(known.http_status());
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    let problem = answer.json();
    assert_eq!(problem["code"], code);
    assert_eq!(problem["status"], known.http_status());
    assert_eq!(problem["type"], format!("urn:longhaul:problem:{code}"));
    assert_eq!(problem["title"], known.title());
    assert_eq!(problem["remedy"], known.remedy());
    assert!(!problem["detail"].as_str().unwrap().is_empty());
    assert_eq!(problem["field"].as_str(), field, "{problem}");
}

#[test]
fn bodies_that_are_wrong() {
    let rig = Rig::start();
    std::fs::write(rig.path("there"), "x").unwrap();
    let with = |name: &str, value: Value| {
        let mut body = rig.idle("a");
        body[name] = value;
        body
    };
    let path = |name: &str| json!(rig.path(name));
    for (body, code, field) in [
        (with("requestedUri", json!("not a uri")), "invalid-uri", Some("/requestedUri")),
        (with("requestedUri", json!("http://")), "invalid-uri", Some("/requestedUri")),
        (with("requestedUri", json!("sftp://a/b")), "unsupported-scheme", Some("/requestedUri")),
        (with("mirrors", json!(["file:///etc/passwd"])), "unsupported-scheme", Some("/mirrors/0")),
        (with("resultFile", json!("relative")), "invalid-path", Some("/resultFile")),
        (with("resultFile", path("missing/a")), "invalid-path", Some("/resultFile")),
        (with("resultFile", path("../a")), "invalid-path", Some("/resultFile")),
        (with("resultFile", path("there")), "file-exists", Some("/resultFile")),
        (
            with("requestHeaders", json!([{"name": "A", "value": "b\r\nC: d"}])),
            "invalid-header",
            Some("/requestHeaders/0/value"),
        ),
        (
            with("requestHeaders", json!([{"name": "A:", "value": "b"}])),
            "invalid-header",
            Some("/requestHeaders/0/name"),
        ),
        (with("method", json!("G T")), "invalid-field", Some("/method")),
        (with("label", json!("x".repeat(257))), "invalid-field", Some("/label")),
        (with("checksum", json!("sha256:abc")), "invalid-field", Some("/checksum")),
        (with("priority", json!("Urgent")), "invalid-field", Some("/priority")),
        (with("transferGroup", json!("")), "invalid-field", Some("/transferGroup")),
        (with("colour", json!("red")), "unknown-field", Some("/colour")),
        (with("serverCredential", json!({"user": "a"})), "invalid-field", Some("/serverCredential")),
        (json!([]), "invalid-field", None),
    ] {
        expect(rig.api().post(DOWNLOADS, &body).unwrap(), code, field);
    }
    for (body, code, field) in [
        (r#"{"requestedUri":"#, "malformed-json", None),
        (r#"{"requestedUri":NaN}"#, "malformed-json", None),
        (r#"{"label":"a","label":"b"}"#, "malformed-json", Some("/label")),
        ("", "malformed-json", None),
    ] {
        let answer = rig.api().call("POST", DOWNLOADS, Some(("application/json", body.as_bytes()))).unwrap();
        expect(answer, code, field);
    }
    assert_eq!(rig.get(DOWNLOADS)["items"], json!([]), "nothing was made");
}

#[test]
fn a_folder_that_cannot_be_written_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    if rustix::process::geteuid().is_root() {
        // Permissions do not bind root; /proc cannot be written by anybody.
        let rig = Rig::start();
        let mut body = rig.idle("a");
        body["resultFile"] = json!("/proc/sys/a");
        let answer = rig.api().post(DOWNLOADS, &body).unwrap();
        let code = answer.json()["code"].clone();
        assert!(code == "folder-not-writable" || answer.status == 201, "{}", answer.text());
        return;
    }
    let rig = Rig::start();
    let folder = rig.path("locked");
    std::fs::create_dir(&folder).unwrap();
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o500)).unwrap();
    expect(
        rig.api().post(DOWNLOADS, &rig.idle("locked/a")).unwrap(),
        "folder-not-writable",
        Some("/resultFile"),
    );
}

#[test]
fn one_file_is_made_by_one_operation() {
    let mut rig = Rig::start();
    rig.create(&rig.idle("a"));
    expect(rig.api().post(DOWNLOADS, &rig.idle("a")).unwrap(), "target-in-use", None);
    rig.restart();
    expect(rig.api().post(DOWNLOADS, &rig.idle("a")).unwrap(), "target-in-use", None);
    let mut renamed = rig.idle("a");
    renamed["ifExists"] = json!("rename");
    rig.create(&renamed);
}

#[test]
fn one_operation_over_the_quota() {
    let rig = Rig::start_with(|configuration| configuration.engine.operations_per_application = 2);
    rig.create(&rig.idle("a"));
    rig.create(&rig.idle("b"));
    expect(rig.api().post(DOWNLOADS, &rig.idle("c")).unwrap(), "quota", None);
    let other = rig.api_of("org.example.Other");
    let _ = other.post(DOWNLOADS, &rig.idle("c")).unwrap().expect_status(201);
}

#[test]
fn paths_methods_and_types_that_do_not_exist() {
    let rig = Rig::start();
    let api = rig.api();
    expect(api.get("/nowhere").unwrap(), "not-found", None);
    expect(api.get(&format!("{DOWNLOADS}/not-an-id")).unwrap(), "not-found", None);
    expect(api.get(&format!("{DOWNLOADS}/0199aaaa-0000-7000-8000-000000000000")).unwrap(), "not-found", None);
    let answer = api.call("PUT", DOWNLOADS, None).unwrap();
    let allowed = answer.header("allow").unwrap().to_owned();
    assert!(allowed.contains("GET") && allowed.contains("POST"), "{allowed}");
    expect(answer, "method-not-allowed", None);
    expect(api.call("POST", DOWNLOADS, Some(("text/plain", b"{}"))).unwrap(), "unsupported-media-type", None);
    expect(api.call("POST", DOWNLOADS, None).unwrap(), "unsupported-media-type", None);
    let picky = rig.api().with_header("Accept", "image/png");
    expect(picky.get("/limits").unwrap(), "not-acceptable", None);
    expect(api.get("/background-transfers/groups/%01").unwrap(), "invalid-parameter", Some("name"));
    let named = rig.api_of("nonsense");
    expect(named.get(DOWNLOADS).unwrap(), "invalid-parameter", Some("Longhaul-App"));
}

#[test]
fn a_gigabyte_is_refused_unread() {
    let rig = Rig::start();
    let request = format!(
        "POST {DOWNLOADS} HTTP/1.1\r\nHost: longhaul\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        1u64 << 30
    );
    let answer = rig.api().exchange(request.as_bytes()).unwrap().finish().unwrap();
    expect(answer, "payload-too-large", None);
    let mut chunked = Vec::new();
    write!(
        chunked,
        "POST {DOWNLOADS} HTTP/1.1\r\nHost: longhaul\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\n\r\n"
    )
    .unwrap();
    for _ in 0..40 {
        write!(chunked, "8000\r\n{}\r\n", " ".repeat(0x8000)).unwrap();
    }
    let answer = rig.api().exchange(&chunked).unwrap().finish().unwrap();
    expect(answer, "payload-too-large", None);
}

#[test]
fn slow_bodies_and_heads_are_cut_off() {
    let rig = Rig::start_with(|configuration| {
        configuration.service.request_timeout = std::time::Duration::from_millis(200);
    });
    let request = format!(
        "POST {DOWNLOADS} HTTP/1.1\r\nHost: longhaul\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{{"
    );
    let answer = rig.api().exchange(request.as_bytes()).unwrap().finish().unwrap();
    expect(answer, "malformed-json", None);
    let slow_head = rig.api().exchange(b"GET /healthz HTTP/1.1\r\nHost: long");
    assert!(slow_head.is_err() || slow_head.unwrap().finish().is_ok_and(|answer| answer.status >= 400));
}

#[test]
fn too_many_connections_are_told_so() {
    let rig = Rig::start_with(|configuration| configuration.service.connections_max = 2);
    let first = rig.api().stream("GET", "/events", None).unwrap();
    let second = rig.api().stream("GET", "/events", None).unwrap();
    expect(rig.api().get("/healthz").unwrap(), "too-many-requests", None);
    drop((first, second));
    longhaul_lab::wait_until("room for a connection", crate::rig::PATIENCE, || {
        rig.api().get("/healthz").ok().filter(|answer| answer.status == 200)
    });
}

#[test]
fn too_many_streams_are_told_so() {
    let rig = Rig::start_with(|configuration| configuration.service.event_streams_max = 1);
    let first = rig.api().stream("GET", "/events", None).unwrap();
    expect(rig.api().get("/events").unwrap(), "too-many-requests", None);
    drop(first);
}
