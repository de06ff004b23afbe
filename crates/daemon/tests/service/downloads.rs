//! Make, list, look at, change, forget.

use longhaul_lab::{Content, Resource, Server};
use serde_json::{Value, json};

use crate::rig::{DOWNLOADS, Rig, id_in, id_of};

#[test]
fn what_was_made_is_there_and_survives_a_restart() {
    let mut rig = Rig::start();
    let made = rig.api().post(DOWNLOADS, &rig.idle("a")).unwrap().expect_status(201);
    let location = made.header("location").unwrap().to_owned();
    let made = made.json();
    assert_eq!(location, format!("{DOWNLOADS}/{}", id_of(&made)));
    assert_eq!(made["status"], "Idle");
    assert_eq!(made["statusCode"], 0);
    assert_eq!(rig.get(&location), made);
    rig.restart();
    assert_eq!(rig.get(&location), made);
    assert_eq!(rig.get(DOWNLOADS), json!({ "items": [made] }));
    let _ = rig.api().call("DELETE", &location, None).unwrap().expect_status(204);
    let _ = rig.api().get(&location).unwrap().expect_status(404);
}

#[test]
fn a_file_is_downloaded_checked_and_taken() {
    let content = Content::new(1, 3 << 20);
    let server = Server::of(Resource::new(content));
    let rig = Rig::start();
    let mut body = rig.download(&server.url("/film"), "film");
    body["checksum"] = json!(format!("sha256:{}", content.sha256()));
    let path = rig.create(&body);
    let done = rig.wait_for_status(&path, "Completed");
    assert_eq!(done["progress"]["bytesReceived"], 3 << 20);
    assert_eq!(done["progress"]["totalBytesToReceive"], 3 << 20);
    content.assert_file(&rig.path("film"));
    let response = rig.get(&format!("{path}/response"));
    assert_eq!(response["statusCode"], 200);
    assert_eq!(rig.get(&format!("{path}/ranges"))["items"], json!([{ "offset": 0, "length": 3 << 20 }]));
    let receipt = rig.get(&format!("{path}/receipt"));
    assert_eq!(receipt["size"], 3 << 20);
    assert_eq!(receipt["digests"][0]["verdict"], "equal");
    let verified = rig.command(&path, "verify");
    assert_eq!((&verified["isIntact"], &verified["size"]), (&json!(true), &json!(3 << 20)));
    let explained = rig.get(&format!("{path}/explain"));
    assert_eq!(explained["decision"], "Done");
    let taken = rig.command(&path, "attach?wait=0");
    assert!(taken["consumedTime"].is_string());
    assert_eq!(rig.get(DOWNLOADS)["items"], json!([]));
    assert_eq!(rig.get(&format!("{DOWNLOADS}?consumed=true"))["items"], json!([taken]));
    assert_eq!(rig.command(&path, "attach?wait=0"), taken);
    std::fs::write(rig.path("film"), b"changed").unwrap();
    assert_eq!(rig.command(&path, "verify")["isIntact"], false);
}

#[test]
fn userinfo_and_secrets_are_never_shown() {
    let rig = Rig::start();
    let mut body = rig.idle("a");
    body["requestedUri"] = json!("http://somebody:opensesame@127.0.0.1:9/file?x=1");
    body["requestHeaders"] = json!([{ "name": "X-Key", "value": "opensesame" }]);
    let made = rig.api().post(DOWNLOADS, &body).unwrap().expect_status(201);
    assert!(!made.text().contains("opensesame") && !made.text().contains("somebody"), "{}", made.text());
    assert_eq!(made.json()["requestedUri"], "http://127.0.0.1:9/file?x=1");
    for path in ["", "/explain", "/receipt", "/ranges"] {
        let path = format!("{DOWNLOADS}/{}{path}", id_of(&made.json()));
        assert!(!rig.api().get(&path).unwrap().text().contains("opensesame"), "{path}");
    }
}

#[test]
fn a_batch_is_made_whole_or_not_at_all() {
    let rig = Rig::start();
    let batch = |bodies: Vec<Value>| json!({ "operations": bodies });
    let path = format!("{DOWNLOADS}/batch");
    let bodies: Vec<Value> = (0..1000).map(|number| rig.idle(&format!("f{number}"))).collect();
    let made = rig.api().post(&path, &batch(bodies)).unwrap().expect_status(201).json();
    let ids: Vec<&str> = made["ids"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
    assert_eq!(ids.len(), 1000);
    assert!(ids.is_sorted(), "ids are in the order of creation");
    let refused = rig.api().post(&path, &batch(vec![rig.idle("new"), rig.idle("f7")])).unwrap();
    let problem = refused.expect_status(409).json();
    assert_eq!((&problem["code"], &problem["field"]), (&json!("target-in-use"), &json!("/operations/1")));
    let mut bad = rig.idle("b");
    bad["label"] = json!("x".repeat(257));
    let refused = rig.api().post(&path, &batch(vec![rig.idle("new"), bad])).unwrap();
    assert_eq!(refused.expect_status(400).json()["field"], "/operations/1/label");
    let refused = rig.api().post(&path, &batch(vec![])).unwrap();
    assert_eq!(refused.expect_status(400).json()["field"], "/operations");
    let list = rig.get(&format!("{DOWNLOADS}?limit=1000"));
    assert_eq!(list["items"].as_array().unwrap().len(), 1000);
    assert!(list["nextCursor"].is_null());
}

#[test]
fn lists_go_page_by_page_and_filter() {
    let rig = Rig::start();
    let paths: Vec<String> = (0..7)
        .map(|number| {
            let mut body = rig.idle(&format!("file-{number}"));
            body["label"] = json!(if number % 2 == 0 { "even" } else { "odd" });
            if number > 4 {
                body["transferGroup"] = json!("late");
            }
            rig.create(&body)
        })
        .collect();
    let ids = |query: &str| -> (Vec<String>, Option<String>) {
        let page = rig.get(&format!("{DOWNLOADS}?{query}"));
        let items = page["items"].as_array().unwrap();
        let ids = items.iter().map(|item| id_of(item).to_owned()).collect();
        (ids, page["nextCursor"].as_str().map(str::to_owned))
    };
    let all: Vec<String> = paths.iter().map(|path| id_in(path).to_owned()).collect();
    let mut seen = Vec::new();
    let mut cursor = None;
    loop {
        let behind = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
        let (page, next) = ids(&format!("limit=3{behind}"));
        seen.extend(page);
        cursor = next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, all);
    let reversed: Vec<String> = all.iter().rev().cloned().collect();
    assert_eq!(ids("sort=-created").0, reversed);
    assert_eq!(ids("label=odd").0, [all[1].clone(), all[3].clone(), all[5].clone()]);
    assert_eq!(ids("group=late").0, all[5..]);
    assert_eq!(ids("q=FILE-3").0, all[3..4]);
    assert_eq!(ids(&format!("idPrefix={}", &all[2])).0, all[2..3]);
    assert_eq!(ids("status=Idle").0, all);
    assert_eq!(ids("status=Completed,Running").0, [""; 0]);
    let _ = rig.command(&paths[0], "cancel");
    assert_eq!(ids("status=Canceled").0, all[..1]);
    assert_eq!(ids("status=Idle&limit=2").0, all[1..3]);
    for (query, field) in [
        ("limit=0", "limit"),
        ("limit=many", "limit"),
        ("status=Sleeping", "status"),
        ("cursor=x", "cursor"),
        ("sort=size", "sort"),
        ("idPrefix=xyz", "idPrefix"),
        ("colour=red", "colour"),
        ("app=org.other", "app"),
    ] {
        let problem = rig.api().get(&format!("{DOWNLOADS}?{query}")).unwrap().expect_status(400).json();
        assert_eq!(
            (&problem["code"], &problem["field"]),
            (&json!("invalid-parameter"), &json!(field)),
            "{query}"
        );
    }
}

#[test]
fn settings_of_a_live_download_change() {
    let rig = Rig::start();
    let path = rig.create(&rig.idle("a"));
    let patch = json!({
        "requestedUri": "http://127.0.0.1:9/other", "priority": "High", "costPolicy": "Always", "rateLimit": 5,
        "requestHeaders": [{ "name": "X", "value": "y" }],
    });
    let body = serde_json::to_vec(&patch).unwrap();
    let call = |body: &[u8]| rig.api().call("PATCH", &path, Some(("application/json", body))).unwrap();
    let changed = call(&body).expect_status(200).json();
    assert_eq!(changed["requestedUri"], "http://127.0.0.1:9/other");
    assert_eq!((&changed["priority"], &changed["costPolicy"]), (&json!("High"), &json!("Always")));
    assert_eq!(changed["rateLimit"], 5);
    let lifted = call(br#"{"rateLimit":null}"#).expect_status(200).json();
    assert!(lifted["rateLimit"].is_null());
    let refused = call(br#"{"requestedUri":"sftp://a/"}"#).expect_status(400).json();
    assert_eq!(refused["code"], "unsupported-scheme");
    let _ = rig.command(&path, "cancel");
    assert_eq!(call(br#"{"priority":"Low"}"#).expect_status(409).json()["code"], "invalid-state");
}

#[test]
fn groups_are_set_and_counted() {
    let rig = Rig::start();
    let mut body = rig.idle("a");
    body["transferGroup"] = json!("my photos");
    rig.create(&body);
    let path = "/background-transfers/groups/my%20photos";
    let group = rig.get(path);
    assert_eq!(group, json!({ "name": "my photos", "transferBehavior": "Parallel", "liveOperations": 1 }));
    let put = br#"{"transferBehavior":"Serialized"}"#;
    let group =
        rig.api().call("PUT", path, Some(("application/json", put))).unwrap().expect_status(200).json();
    assert_eq!(group["transferBehavior"], "Serialized");
    assert_eq!(rig.get("/background-transfers/groups")["items"], json!([group]));
    let _ = rig.api().get("/background-transfers/groups/other").unwrap().expect_status(404);
}
