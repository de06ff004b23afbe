//! Completion groups over HTTP: their life, their refusals, and requests to run unconstrained.

use serde_json::{Value, json};

use crate::rig::{DOWNLOADS, Rig, id_in};
use crate::tasks::{APP, body};

const GROUPS: &str = "/background-transfers/completion-groups";
const UNCONSTRAINED: &str = "/background-transfers/unconstrained";

fn trigger(group: &str) -> Value {
    json!({ "type": "CompletionGroupTrigger", "parameters": { "completionGroup": group } })
}

#[test]
fn a_group_is_made_joined_enabled_and_over() {
    let mut rig = Rig::start();
    let api = rig.app_with_script(APP, "true");
    let made = api.call("POST", GROUPS, None).unwrap().expect_status(201);
    let path = made.header("location").unwrap().to_owned();
    let group = made.json();
    let id = id_in(&path).to_owned();
    assert_eq!(
        (&group["id"], &group["isEnabled"], &group["isOver"]),
        (&json!(id), &json!(false), &json!(false))
    );
    let mut spec = rig.idle("a");
    spec["completionGroup"] = json!(id);
    let download = api.post(DOWNLOADS, &spec).unwrap().expect_status(201).json();
    assert_eq!(download["completionGroup"], json!(id));
    let _ = api.post("/background-tasks", &body("after", trigger(&id))).unwrap().expect_status(201);
    rig.restart();
    let kept = api.get(&path).unwrap().expect_status(200).json();
    assert_eq!(
        (kept["liveOperations"].as_u64(), kept["downloads"][0]["id"].clone()),
        (Some(1), download["id"].clone())
    );
    assert!(kept["taskId"].is_string());
    let enabled = api.call("POST", &format!("{path}/enable"), None).unwrap().expect_status(200).json();
    assert_eq!((&enabled["isEnabled"], &enabled["isOver"]), (&json!(true), &json!(false)));
    let cancel = format!("{DOWNLOADS}/{}/cancel", download["id"].as_str().unwrap());
    let _ = api.call("POST", &cancel, None).unwrap().expect_status(200);
    let over = api.get(&path).unwrap().expect_status(200).json();
    assert_eq!((&over["isOver"], &over["liveOperations"]), (&json!(true), &json!(0)), "{over:#}");
    assert!(over["taskId"].is_null() && over["endedTime"].is_string(), "{over:#}");
    let listed = api.get(GROUPS).unwrap().expect_status(200).json();
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    let stranger = rig.api_of("org.example.Other");
    let _ = stranger.get(&path).unwrap().expect_status(404);
    let _ = stranger.call("POST", &format!("{path}/enable"), None).unwrap().expect_status(404);
}

#[test]
fn what_groups_do_not_take() {
    let rig = Rig::start();
    let api = rig.app_with_script(APP, "true");
    let new = || {
        id_in(api.call("POST", GROUPS, None).unwrap().expect_status(201).header("location").unwrap())
            .to_owned()
    };
    let (open, closed) = (new(), new());
    let _ = api.call("POST", &format!("{GROUPS}/{closed}/enable"), None).unwrap().expect_status(200);
    let mut number = 0;
    let mut join = |group: &str| {
        number += 1;
        let mut spec = rig.idle(&format!("file{number}"));
        spec["completionGroup"] = json!(group);
        api.post(DOWNLOADS, &spec).unwrap()
    };
    let unknown = "019c8a3b-7f2e-7000-8000-000000000001";
    let refusals = [
        (join(&closed), 409, "completion-group-enabled", "/completionGroup"),
        (join(unknown), 400, "invalid-field", "/completionGroup"),
        (
            api.call("POST", &format!("{GROUPS}/{closed}/enable"), None).unwrap(),
            409,
            "completion-group-enabled",
            "",
        ),
        (api.call("POST", &format!("{GROUPS}/{unknown}/enable"), None).unwrap(), 404, "not-found", ""),
        (api.get(&format!("{GROUPS}/nonsense")).unwrap(), 404, "not-found", ""),
        (
            api.post(GROUPS, &json!({ "successNotification": { "title": "" } })).unwrap(),
            400,
            "invalid-field",
            "/successNotification",
        ),
    ];
    for (answer, status, code, field) in refusals {
        let problem = answer.expect_status(status).json();
        assert_eq!((problem["code"].as_str(), problem["field"].as_str().unwrap_or("")), (Some(code), field));
    }
    let mut batch = rig.idle("b");
    batch["completionGroup"] = json!(closed);
    let batch = json!({ "operations": [rig.idle("c"), batch] });
    let problem = api.post(&format!("{DOWNLOADS}/batch"), &batch).unwrap().expect_status(409).json();
    assert_eq!(problem["field"], "/operations/1/completionGroup");
    let register =
        |name: &str, group: &str| api.post("/background-tasks", &body(name, trigger(group))).unwrap();
    let field = "/trigger/parameters/completionGroup";
    let _ = register("one", &open).expect_status(201);
    for (group, status, code) in [
        (open.as_str(), 409, "completion-group-taken"),
        (closed.as_str(), 409, "completion-group-enabled"),
        (unknown, 400, "invalid-trigger"),
        ("nonsense", 400, "invalid-trigger"),
    ] {
        let problem = register("two", group).expect_status(status).json();
        assert_eq!(
            (problem["code"].as_str(), problem["field"].as_str()),
            (Some(code), Some(field)),
            "{problem:#}"
        );
    }
}

#[test]
fn unconstrained_needs_the_consent_of_the_owner() {
    let rig = Rig::start();
    let api = rig.app_with_script(APP, "true");
    let made = api.post(DOWNLOADS, &rig.idle("a")).unwrap().expect_status(201).json();
    let wish = json!({ "operations": [made["id"]] });
    let ask = || api.post(UNCONSTRAINED, &wish).unwrap().expect_status(200).json()["isUnconstrained"].clone();
    assert_eq!(ask(), json!(false));
    let grant = json!({ "status": "AlwaysAllowed" }).to_string();
    let grant = Some(("application/json", grant.as_bytes()));
    let _ = rig.api().call("PUT", &format!("/apps/{APP}/access"), grant).unwrap().expect_status(200);
    assert_eq!(ask(), json!(true));
    let stranger = rig.api_of("org.example.Other");
    let problem = stranger.post(UNCONSTRAINED, &wish).unwrap().expect_status(404).json();
    assert_eq!(problem["field"], "/operations/0");
    let _ = api.post(UNCONSTRAINED, &json!({ "operations": [] })).unwrap().expect_status(400);
}
