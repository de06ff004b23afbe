//! Access: what an application asks for, and what the owner decides.

use longhaul_lab::wait_until;
use serde_json::json;

use crate::rig::{PATIENCE, Rig};
use crate::tasks::{APP, body, get, on_request, register, wait_for_instance};

const ACCESS: &str = "/background-tasks/access";

#[test]
fn access_is_asked_for_and_given_back() {
    let rig = Rig::start();
    let api = rig.api_of(APP);
    assert_eq!(get(&api, ACCESS), json!({ "status": "Unspecified" }));
    let allowed = json!({ "status": "AllowedSubjectToSystemPolicy" });
    assert_eq!(api.call("POST", ACCESS, None).unwrap().expect_status(200).json(), allowed);
    let kind = json!({ "kind": "AlwaysAllowed", "reason": "to be there at night" });
    let answer = api.post(ACCESS, &kind).unwrap().expect_status(200).json();
    assert_eq!(answer, allowed, "that is the owner's to give");
    for bad in
        [json!({ "kind": "Everything" }), json!({ "colour": 1 }), json!({ "reason": "x".repeat(1025) })]
    {
        let _ = api.post(ACCESS, &bad).unwrap().expect_status(400);
    }
    let _ = api.call("DELETE", ACCESS, None).unwrap().expect_status(204);
    assert_eq!(get(&api, ACCESS), json!({ "status": "Unspecified" }));
    assert_eq!(get(&rig.api_of("org.example.Other"), ACCESS), json!({ "status": "Unspecified" }));
}

#[test]
fn a_firing_of_a_denied_application_waits_and_says_why() {
    let rig = Rig::start();
    let api = rig.app_with_script(APP, "true");
    let decide = |status: &str| {
        let body = json!({ "status": status }).to_string();
        let path = format!("/apps/{APP}/access");
        rig.api()
            .call("PUT", &path, Some(("application/json", body.as_bytes())))
            .unwrap()
            .expect_status(200)
            .json()
    };
    assert_eq!(decide("DeniedByUser"), json!({ "status": "DeniedByUser" }));
    assert_eq!(rig.get(&format!("/apps/{APP}"))["access"], "DeniedByUser");
    let push = body("a", json!({ "type": "PushNotificationTrigger", "parameters": { "channel": "mine" } }));
    let task = register(&api, &push);
    let message = api.clone().with_header("TTL", "60");
    let _ = message.call("POST", "/push/mine", Some(("text/plain", b"x"))).unwrap().expect_status(201);
    let explained = get(&api, &format!("{task}/explain"));
    assert_eq!(explained["blocking"][0]["code"], "accessDenied", "{explained}");
    let refused = api.call("POST", &format!("{task}/run"), None).unwrap().expect_status(403).json();
    assert_eq!(refused["code"], "access-denied");
    let asked = register(&api, &on_request("b"));
    let answer = api.call("POST", &format!("{asked}/request"), None).unwrap().expect_status(200).json();
    assert_eq!(answer["result"], "DisabledByPolicy");
    decide("AlwaysAllowed");
    wait_for_instance(&api, &task, "Completed");
}

#[test]
fn decisions_are_the_owners() {
    let rig = Rig::start();
    let body = json!({ "status": "AlwaysAllowed" }).to_string();
    let body = Some(("application/json", body.as_bytes()));
    let path = format!("/apps/{APP}/access");
    let _ = rig.tcp_of(APP, &["submit", "read"]).call("PUT", &path, body).unwrap().expect_status(403);
    let _ =
        rig.tcp_of(APP, &["submit", "read"]).call("DELETE", "/host/power", None).unwrap().expect_status(403);
    let _ = rig.tcp_of(APP, &["read"]).call("POST", ACCESS, None).unwrap().expect_status(403);
    let _ = rig.tcp_of(APP, &["admin"]).call("PUT", &path, body).unwrap().expect_status(200);
}

#[test]
fn a_policy_file_denies_what_the_owner_allows_and_is_watched() {
    let mut rig = Rig::prepare(|_| {});
    let file = rig.path("policy.toml");
    rig.configuration.policy_files = vec![file.display().to_string()];
    // In one step, as administrators' tools do; nobody else may write it.
    let write = |text: &str| {
        let beside = file.with_extension("new");
        std::fs::write(&beside, text).unwrap();
        std::fs::set_permissions(&beside, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        std::fs::rename(beside, &file).unwrap();
    };
    let status = |rig: &Rig| get(&rig.api_of(APP), ACCESS)["status"].as_str().unwrap().to_owned();
    let wait_for = |rig: &Rig, expected: &str| {
        wait_until(&format!("status {expected}"), PATIENCE, || (status(rig) == expected).then_some(()));
    };
    write(&format!("[background-access]\ndeny = [\"{APP}\"]\n"));
    rig.launch().unwrap();
    let api = rig.app_with_script(APP, "cat");
    assert_eq!(status(&rig), "DeniedBySystemPolicy", "read before anything is answered");
    assert_eq!(rig.get(&format!("/apps/{APP}"))["access"], "DeniedBySystemPolicy");
    assert_eq!(status_of_other(&rig), "Unspecified");
    let push = body("a", json!({ "type": "PushNotificationTrigger", "parameters": { "channel": "mine" } }));
    let task = register(&api, &push);
    let message = api.clone().with_header("TTL", "600");
    let _ = message.call("POST", "/push/mine", Some(("text/plain", b"x"))).unwrap().expect_status(201);
    let told = get(&api, &format!("{task}/explain"));
    let blocking = &told["blocking"][0];
    assert_eq!(
        (blocking["code"].as_str(), blocking["setBy"].as_str()),
        (Some("accessDenied"), Some("policy"))
    );
    assert!(blocking["detail"].as_str().unwrap().contains("policy.toml"), "{told:#}");
    let decision = json!({ "status": "AlwaysAllowed" }).to_string();
    let put = rig.api().call(
        "PUT",
        &format!("/apps/{APP}/access"),
        Some(("application/json", decision.as_bytes())),
    );
    assert_eq!(put.unwrap().expect_status(200).json()["status"], "DeniedBySystemPolicy");
    // What nobody can read allows nothing, to anybody.
    write("[background-access\n");
    wait_until("everybody being denied", PATIENCE, || {
        (status_of_other(&rig) == "DeniedBySystemPolicy").then_some(())
    });
    rig.restart();
    assert_eq!(status_of_other(&rig), "DeniedBySystemPolicy");
    assert!(get(&rig.api_of(APP), &task)["pendingSince"].is_string(), "the firing is kept");
    std::fs::remove_file(&file).unwrap();
    wait_for(&rig, "AlwaysAllowed");
    wait_for_instance(&rig.api_of(APP), &task, "Completed");
}

fn status_of_other(rig: &Rig) -> String {
    get(&rig.api_of("org.example.Other"), ACCESS)["status"].as_str().unwrap().to_owned()
}
