//! Bad input: each a clear problem by HTTP and a clear line by the command line, with the documented code.

use longhaul_endtoend::{DOWNLOADS, House, QUICK, assert_exit, shown};
use longhaul_lab::{Answer, ServiceOptions};
use serde_json::{Value, json};

/// Asserts the form of RFC 9457 and the code.
#[track_caller]
fn assert_problem(answer: &Answer, status: u16, code: &str) -> Value {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    let problem = answer.json();
    assert_eq!(problem["code"], code, "{problem:#}");
    assert_eq!(problem["status"], status);
    for field in ["type", "title", "detail", "remedy"] {
        assert!(problem[field].as_str().is_some_and(|text| !text.is_empty()), "{field} in {problem:#}");
    }
    problem
}

#[test]
fn malformed_requests_are_refused_by_name() {
    let house = House::new();
    let file = house.result("f");
    let with = |key: &str, value: Value| {
        let mut spec = house.spec("http://127.0.0.1:9/f", "f");
        spec[key] = value;
        spec
    };
    for (spec, code, field) in [
        (with("requestedUri", "not a uri".into()), "invalid-uri", "requestedUri"),
        (with("requestedUri", "http://".into()), "invalid-uri", "requestedUri"),
        (with("requestedUri", "sftp://127.0.0.1/f".into()), "unsupported-scheme", "requestedUri"),
        (with("requestedUri", "file:///etc/passwd".into()), "unsupported-scheme", "requestedUri"),
        (with("resultFile", "relative/name".into()), "invalid-path", "resultFile"),
        (
            with("resultFile", format!("{}/../../etc/x", house.results().display()).into()),
            "invalid-path",
            "resultFile",
        ),
        (with("resultFile", "".into()), "invalid-path", "resultFile"),
        (with("colour", 1.into()), "unknown-field", "colour"),
        (with("priority", "Urgent".into()), "invalid-field", "priority"),
        (with("checksum", "sha256:abc".into()), "invalid-field", "checksum"),
        (
            with("requestHeaders", json!([{ "name": "X", "value": "a\r\nInjected: 1" }])),
            "invalid-header",
            "requestHeaders",
        ),
        (
            with("requestHeaders", json!([{ "name": "X Y", "value": "a" }])),
            "invalid-header",
            "requestHeaders",
        ),
        (
            with("requestHeaders", json!([{ "name": "X", "value": "a\u{0}b" }])),
            "invalid-header",
            "requestHeaders",
        ),
        (json!({ "resultFile": file }), "invalid-field", "requestedUri"),
        (json!([]), "invalid-field", ""),
    ] {
        let problem = assert_problem(&house.send("POST", DOWNLOADS, &spec), 400, code);
        let named = format!("{} {}", problem["field"], problem["detail"]);
        assert!(named.contains(field), "{field} is named: {problem:#}");
    }
    assert!(house.list("").is_empty());
    assert!(!file.exists());
}

#[test]
fn bodies_that_are_no_json_or_too_large_are_refused() {
    let house = House::new();
    let post = |media: &str, body: &[u8]| house.api().call("POST", DOWNLOADS, Some((media, body))).unwrap();
    assert_problem(&post("application/json", b"{\"requestedUri\":"), 400, "malformed-json");
    assert_problem(&post("application/json", b""), 400, "malformed-json");
    let deep = [b"{\"mirrors\":".as_slice(), &b"[".repeat(100_000)].concat();
    assert_problem(&post("application/json", &deep), 400, "invalid-field");
    assert_problem(&post("application/json", b"[]"), 400, "invalid-field");
    assert_problem(&post("text/plain", b"{}"), 415, "unsupported-media-type");
    assert_problem(
        &post("application/json", b"{\"requestedUri\":\"a\",\"requestedUri\":\"b\"}"),
        400,
        "malformed-json",
    );
    // A gigabyte is refused by its announced length: nobody has to send it.
    let head = format!(
        "POST {DOWNLOADS} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: 1073741824\r\nConnection: close\r\n\r\n{{"
    );
    assert_problem(
        &house.api().exchange(head.as_bytes()).unwrap().finish().unwrap(),
        413,
        "payload-too-large",
    );
    let large = format!("{{\"label\":\"{}\"}}", "a".repeat(20 << 20));
    let answer = house.api().call("POST", DOWNLOADS, Some(("application/json", large.as_bytes()))).unwrap();
    assert_problem(&answer, 413, "payload-too-large");
}

#[test]
fn places_that_cannot_be_written_are_refused() {
    let house = House::new();
    let create = |file: &std::path::Path| {
        house.send("POST", DOWNLOADS, &json!({ "requestedUri": "http://127.0.0.1:9/f", "resultFile": file }))
    };
    assert_problem(&create(&house.results().join("none/f")), 400, "invalid-path");
    std::fs::write(house.result("taken"), b"mine").unwrap();
    assert_problem(&create(&house.result("taken")), 409, "file-exists");
    let mut first = house.spec("http://127.0.0.1:9/f", "once");
    first["start"] = false.into();
    let _ = house.create(&first);
    assert_problem(&create(&house.result("once")), 409, "target-in-use");
    assert_eq!(std::fs::read(house.result("taken")).unwrap(), b"mine");
    // Whoever runs this, root included: no file can be made in the kernel's own file systems.
    for folder in ["/proc", "/proc/self", "/sys"] {
        let problem =
            assert_problem(&create(&std::path::Path::new(folder).join("f")), 400, "folder-not-writable");
        assert_eq!(problem["field"], "/resultFile");
        let output = house.run(&["get", "http://127.0.0.1:9/f", "-d", folder]);
        assert_exit(&output, 5);
        assert!(shown(&output).contains("cannot be written"), "{}", shown(&output));
    }
}

#[test]
fn unknown_and_foreign_ids_are_not_found() {
    let house = House::new();
    let mut spec = house.spec("http://127.0.0.1:9/f", "f");
    spec["start"] = false.into();
    let id = house.create(&spec);
    for path in [
        format!("{DOWNLOADS}/01890000-0000-7000-8000-000000000000"),
        format!("{DOWNLOADS}/nonsense"),
        "/nowhere".to_owned(),
    ] {
        assert_problem(&house.call("GET", &path), 404, "not-found");
    }
    let stranger = house.api().with_header("Longhaul-App", "org.example.Other");
    assert_problem(&stranger.get(&format!("{DOWNLOADS}/{id}")).unwrap(), 404, "not-found");
    let canceled = stranger.call("POST", &format!("{DOWNLOADS}/{id}/cancel"), None).unwrap();
    assert_problem(&canceled, 404, "not-found");
    assert_problem(&house.call("DELETE", "/limits"), 405, "method-not-allowed");
    assert_problem(&house.call("GET", &format!("{DOWNLOADS}?limit=many")), 400, "invalid-parameter");
    assert_problem(&house.call("GET", &format!("{DOWNLOADS}?colour=red")), 400, "invalid-parameter");
}

#[test]
fn one_operation_over_the_quota_is_refused() {
    let config = QUICK.replace("[engine]", "[engine]\noperations-per-application = 3");
    let house = House::with(ServiceOptions { config, ..ServiceOptions::default() });
    let create = |number: u32| {
        let mut spec = house.spec("http://127.0.0.1:9/f", &format!("f{number}"));
        spec["start"] = false.into();
        house.send("POST", DOWNLOADS, &spec)
    };
    for number in 0..3 {
        let _ = create(number).expect_status(201);
    }
    assert_problem(&create(3), 409, "quota");
    let output =
        house.run(&["get", "--hold", "http://127.0.0.1:9/f", "-o", house.result("x").to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(7), "{}", shown(&output));
}

#[test]
fn callers_over_tcp_need_the_right_token_and_address() {
    let house = House::with(ServiceOptions {
        config: QUICK.to_owned(),
        is_listening: true,
        ..ServiceOptions::default()
    });
    let api = house.tcp_api();
    assert_eq!(api.get("/healthz").unwrap().status, 200);
    assert_problem(&api.get(DOWNLOADS).unwrap(), 401, "unauthorized");
    let wrong = api.clone().with_header("Authorization", "Bearer longhaul_AAAA");
    assert_problem(&wrong.get(DOWNLOADS).unwrap(), 401, "unauthorized");
    let token = |scope: &str| {
        let output = house.run(&["app", "token", "org.example.Photos", "--scope", scope]);
        assert!(output.status.success(), "{}", shown(&output));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let reader = api.clone().with_header("Authorization", &format!("Bearer {}", token("read")));
    assert_eq!(reader.get(DOWNLOADS).unwrap().status, 200);
    assert_problem(&reader.post(DOWNLOADS, &json!({})).unwrap(), 403, "forbidden");
    // A page that was led here by somebody else's name (DNS rebinding), or that comes from elsewhere.
    let rebound = reader.clone().with_header("Host", "evil.example");
    assert_problem(&rebound.get(DOWNLOADS).unwrap(), 421, "misdirected-request");
    let foreign = reader.clone().with_header("Origin", "https://evil.example");
    assert_problem(&foreign.get(DOWNLOADS).unwrap(), 421, "misdirected-request");
    // A token is confined to its own folders and to public addresses.
    let submitter = api.with_header("Authorization", &format!("Bearer {}", token("submit,read")));
    let spec = house.spec("http://127.0.0.1:9/f", "f");
    let refused = submitter.post(DOWNLOADS, &spec).unwrap();
    assert!((400..500).contains(&refused.status), "{}", refused.text());
}

#[test]
fn the_command_line_says_what_is_wrong_in_one_line() {
    let house = House::new();
    std::fs::write(house.result("taken"), b"mine").unwrap();
    let taken = house.result("taken");
    let (taken, free) = (taken.to_str().unwrap(), house.result("free"));
    let free = free.to_str().unwrap();
    for (arguments, code, word) in [
        (vec!["get", "not a uri", "-o", free], 2, "uri"),
        (vec!["get", "sftp://127.0.0.1/f", "-o", free], 2, "sftp"),
        (vec!["get", "http://127.0.0.1:9/f", "-o", taken], 5, "exists"),
        (vec!["get", "http://127.0.0.1:9/f", "--checksum", "sha256:1", "-o", free], 2, "sha256"),
        (vec!["get", "http://127.0.0.1:9/f", "-H", "X: a\nb", "-o", free], 2, "header"),
        (vec!["show", "01890000-0000-7000-8000-000000000000"], 4, "no operation"),
        (vec!["pause", "nonsense"], 2, "nonsense"),
        (vec!["fly"], 2, "fly"),
    ] {
        let output = house.run(&arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", shown(&output));
        let said = String::from_utf8_lossy(&output.stderr).to_lowercase();
        assert!(said.contains(word), "{arguments:?}: {said}");
        assert!(!said.contains("panicked"), "{said}");
    }
    assert_eq!(std::fs::read(taken).unwrap(), b"mine");
}
