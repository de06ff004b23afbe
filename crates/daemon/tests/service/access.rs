//! Access: what an application asks for, and what the owner decides.

use serde_json::json;

use crate::rig::Rig;
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
