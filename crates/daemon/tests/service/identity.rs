//! Applications do not see each other; tokens, names and origins are checked.

use longhaul_lab::Endpoint;
use serde_json::json;

use crate::rig::{DOWNLOADS, Rig, id_in};

const PHOTOS: &str = "org.example.Photos";
const OTHER: &str = "org.example.Other";

#[test]
fn fault_127_what_belongs_to_another_application_does_not_exist() {
    let rig = Rig::start();
    let made = rig.api_of(PHOTOS).post(DOWNLOADS, &rig.idle("a")).unwrap().expect_status(201);
    let path = made.header("location").unwrap().to_owned();
    let other = rig.api_of(OTHER);
    for (method, suffix, body) in [
        ("GET", "", None),
        ("PATCH", "", Some(br#"{"priority":"High"}"#.as_slice())),
        ("DELETE", "", None),
        ("POST", "/start", None),
        ("POST", "/pause", None),
        ("POST", "/resume", None),
        ("POST", "/cancel", None),
        ("POST", "/make-current", None),
        ("POST", "/attach?wait=0", None),
        ("POST", "/verify", None),
        ("GET", "/response", None),
        ("GET", "/ranges", None),
        ("GET", "/content", None),
        ("GET", "/explain", None),
        ("GET", "/receipt", None),
    ] {
        let body = body.map(|body| ("application/json", body));
        let answer = other.call(method, &format!("{path}{suffix}"), body).unwrap();
        assert_eq!(answer.status, 404, "{method} {suffix}: {}", answer.text());
        assert_eq!(answer.json()["code"], "not-found");
    }
    for query in ["", "?q=a", "?status=Idle", &format!("?idPrefix={}", id_in(&path)), "?consumed=true"] {
        let list = other.get(&format!("{DOWNLOADS}{query}")).unwrap().expect_status(200).json();
        assert_eq!(list["items"], json!([]), "{query}");
    }
    let mut events = other.stream("GET", "/events", None).unwrap();
    let (kind, data) = events.next_event().unwrap().unwrap();
    assert_eq!(kind, "snapshot");
    assert_eq!(serde_json::from_str::<serde_json::Value>(&data).unwrap()["operations"], json!([]));
    assert_eq!(rig.api_of(PHOTOS).get(&path).unwrap().expect_status(200).json()["status"], "Idle");
    let all = rig.get(&format!("{DOWNLOADS}?app=*"));
    assert_eq!(all["items"].as_array().unwrap().len(), 1, "the owner may see all");
}

#[test]
fn tokens_speak_for_one_application_in_its_scopes() {
    let mut rig = Rig::start();
    let submit = rig.tcp_of(PHOTOS, &["submit", "read"]);
    let own = rig.state().join("apps").join(PHOTOS).join("a");
    let body = json!({ "requestedUri": "http://192.0.2.1/a", "resultFile": own, "start": false });
    let made = submit.post(DOWNLOADS, &body).unwrap().expect_status(201);
    let path = made.header("location").unwrap().to_owned();
    let mine = rig.api_of(PHOTOS).get(&path).unwrap().expect_status(200).json();
    assert_eq!(mine, made.json());
    let _ = rig.tcp_of(OTHER, &["read"]).get(&path).unwrap().expect_status(404);
    let outside = json!({ "requestedUri": "http://192.0.2.1/a", "resultFile": rig.path("a") });
    let refused = submit.post(DOWNLOADS, &outside).unwrap().expect_status(403).json();
    assert_eq!((&refused["code"], &refused["field"]), (&json!("forbidden"), &json!("/resultFile")));
    let all = submit.get(&format!("{DOWNLOADS}?app=*")).unwrap();
    assert_eq!(all.status, 403);
    let read = rig.tcp_of(PHOTOS, &["read"]);
    let _ = read.get(&path).unwrap().expect_status(200);
    assert_eq!(read.post(DOWNLOADS, &body).unwrap().expect_status(403).json()["code"], "forbidden");
    let _ = read.get("/apps").unwrap().expect_status(403);
    let _ = read.call("PUT", "/limits", Some(("application/json", b"{}"))).unwrap().expect_status(403);
    let admin = rig.tcp_of(PHOTOS, &["admin"]);
    let apps = admin.get("/apps").unwrap().expect_status(200).json();
    let photos = json!({
        "id": PHOTOS, "liveOperations": 1, "tokens": 3, "scopes": ["submit", "read", "admin"], "tasks": 0,
        "access": "Unspecified", "foregroundOnly": false,
    });
    assert!(apps["items"].as_array().unwrap().contains(&photos), "{apps}");
    assert_eq!(admin.get(&format!("/apps/{PHOTOS}")).unwrap().expect_status(200).json(), photos);
    let _ = admin.get("/apps/org.example.Unknown").unwrap().expect_status(404);
    let more = admin.post(&format!("/apps/{OTHER}/tokens"), &json!({ "scopes": ["read"] })).unwrap();
    assert_eq!(more.status, 403, "tokens are made on the Unix socket only");
    let named = admin.with_header("Longhaul-App", OTHER);
    assert_eq!(named.get("/apps").unwrap().status, 403);
    rig.configuration.service.listen = vec![rig.address()];
    rig.restart();
    let _ = submit.get(&path).unwrap().expect_status(200);
}

#[test]
fn over_tcp_everything_but_health_and_contract_needs_a_token() {
    let rig = Rig::start();
    let bare = Endpoint::tcp(rig.address());
    let _ = bare.get("/healthz").unwrap().expect_status(200);
    let _ = bare.get("/openapi.json").unwrap().expect_status(200);
    for path in [DOWNLOADS, "/events", "/host", "/limits", "/metrics", "/apps", "/nowhere"] {
        let answer = bare.get(path).unwrap();
        assert_eq!(answer.status, 401, "{path}");
        assert!(answer.header("www-authenticate").unwrap().starts_with("Bearer"));
    }
    let wrong = Endpoint::tcp(rig.address()).with_header("Authorization", "Bearer longhaul_0000");
    assert_eq!(wrong.get(DOWNLOADS).unwrap().expect_status(401).json()["code"], "unauthorized");
    let basic = Endpoint::tcp(rig.address()).with_header("Authorization", "Basic YTpi");
    let _ = basic.get(DOWNLOADS).unwrap().expect_status(401);
    let empty = rig.api().post(&format!("/apps/{PHOTOS}/tokens"), &json!({ "scopes": [] })).unwrap();
    assert_eq!(empty.expect_status(400).json()["field"], "/scopes");
}

#[test]
fn fault_121_and_122_other_names_and_origins_are_misdirected() {
    let rig = Rig::start();
    let address = rig.address();
    let raw = |head: &str| {
        let request = format!("GET /healthz HTTP/1.1\r\n{head}Connection: close\r\n\r\n");
        Endpoint::tcp(address).exchange(request.as_bytes()).unwrap().finish().unwrap()
    };
    let port = address.port();
    let good = format!("Host: 127.0.0.1:{port}\r\n");
    assert_eq!(raw(&good).status, 200);
    assert_eq!(raw(&format!("Host: localhost:{port}\r\n")).status, 200);
    for head in [
        format!("Host: evil.example:{port}\r\n"),
        "Host: 127.0.0.1\r\n".to_owned(),
        format!("{good}Origin: http://evil.example\r\n"),
        format!("{good}Origin: null\r\n"),
        format!("{good}Sec-Fetch-Site: cross-site\r\n"),
    ] {
        let answer = raw(&head);
        assert_eq!(answer.status, 421, "{head}");
        assert_eq!(answer.json()["code"], "misdirected-request");
    }
}

#[test]
fn secrets_are_not_in_the_store_as_tokens() {
    let rig = Rig::start();
    let body = json!({ "scopes": ["read"] });
    let made = rig.api().post(&format!("/apps/{PHOTOS}/tokens"), &body).unwrap().expect_status(201).json();
    let token = made["token"].as_str().unwrap().as_bytes();
    for entry in std::fs::read_dir(rig.state()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            assert!(!bytes.windows(token.len()).any(|window| window == token), "{}", path.display());
        }
    }
}
