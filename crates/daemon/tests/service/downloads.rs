//! Make, list, look at, forget.

use serde_json::json;

use crate::rig::{DOWNLOADS, Rig, id_of};

#[test]
fn what_was_made_is_there_and_survives_a_restart() {
    let mut rig = Rig::start();
    let made = rig.api().post(DOWNLOADS, &rig.idle("a")).unwrap().expect_status(201);
    let location = made.header("location").unwrap().to_owned();
    let made = made.json();
    assert_eq!(location, format!("{DOWNLOADS}/{}", id_of(&made)));
    assert_eq!(made["status"], "Idle");
    assert_eq!(made["statusCode"], 0);
    let seen = rig.api().get(&location).unwrap().expect_status(200).json();
    assert_eq!(seen, made);
    rig.restart();
    let after = rig.api().get(&location).unwrap().expect_status(200).json();
    assert_eq!(after, made);
    let list = rig.api().get(DOWNLOADS).unwrap().expect_status(200).json();
    assert_eq!(list, json!({ "items": [made] }));
    rig.api().call("DELETE", &location, None).unwrap().expect_status(204);
    rig.api().get(&location).unwrap().expect_status(404);
}

#[test]
fn health_and_contract_need_nothing() {
    let rig = Rig::start();
    let health = rig.api().get("/healthz").unwrap().expect_status(200).json();
    assert_eq!(health["status"], "ok");
    let contract = rig.api().get("/openapi.json").unwrap().expect_status(200).json();
    assert!(contract["openapi"].as_str().unwrap().starts_with("3.1"));
}
