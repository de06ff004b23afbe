//! Push channels.

use longhaul_lab::wait_until;
use serde_json::json;

use crate::rig::{PATIENCE, Rig};
use crate::tasks::{APP, body, get, register, wait_for_instance};

const TEXT: &str = "text/plain";

#[test]
fn a_message_fires_the_task_of_its_channel() {
    let rig = Rig::start();
    let api = rig.app_with_script(APP, "cat");
    let task = register(&api, &body("a", json!({ "type": "PushNotificationTrigger" })));
    let detail = get(&api, &task);
    let channel = detail["trigger"]["parameters"]["channel"].as_str().unwrap().to_owned();
    assert!(channel.len() > 40, "nobody can guess it: {channel}");
    let sender = rig.api_of("org.example.Sender").with_header("TTL", "60").with_header("Topic", "news");
    let path = format!("/push/{channel}");
    let sent = sender.call("POST", &path, Some((TEXT, b"hello"))).unwrap().expect_status(201);
    assert!(sent.header("location").unwrap().starts_with(&path));
    assert_eq!(sent.header("ttl"), Some("60"));
    let instance = wait_for_instance(&api, &task, "Completed");
    let details = &instance["triggerDetails"];
    assert_eq!(
        (details["content"].as_str(), details["channelId"].as_str()),
        (Some("hello"), Some(channel.as_str()))
    );
    assert_eq!(details["headers"]["topic"], "news");
    let _ = api.call("DELETE", &task, None).unwrap().expect_status(204);
    let _ = sender.call("POST", &path, Some((TEXT, b"hello"))).unwrap().expect_status(404);
}

#[test]
fn messages_are_checked() {
    let rig = Rig::start();
    let api = rig.app_with_script(APP, "true");
    let trigger = json!({ "type": "PushNotificationTrigger", "parameters": { "channel": "mine" } });
    register(&api, &body("a", trigger));
    let send = |headers: &[(&str, &str)], content: &[u8]| {
        let api = headers.iter().fold(api.clone(), |api, (name, value)| api.with_header(name, value));
        api.call("POST", "/push/mine", Some((TEXT, content))).unwrap()
    };
    let ttl = ("TTL", "0");
    let _ = send(&[ttl], &[b'x'; 5119]).expect_status(201);
    let _ = send(&[ttl], &[b'x'; 5120]).expect_status(413);
    let _ = send(&[ttl], b"").expect_status(400);
    assert_eq!(send(&[], b"x").expect_status(400).json()["field"], "ttl");
    assert_eq!(send(&[ttl, ("Urgency", "now")], b"x").expect_status(400).json()["field"], "urgency");
    let stranger = rig.api_of("org.example.Other").with_header("TTL", "0");
    let answer = stranger.call("POST", "/push/mine", Some((TEXT, b"x"))).unwrap();
    let _ = answer.expect_status(404);
}

#[test]
fn the_newest_message_is_kept_until_it_can_run() {
    let mut rig = Rig::start();
    let api = rig.app_with_script(APP, "cat");
    rig.set_host("networkLevel", "None");
    let trigger = json!({ "type": "PushNotificationTrigger", "parameters": { "channel": "mine" } });
    let mut request = body("a", trigger);
    request["conditions"] = json!(["InternetAvailable"]);
    let task = register(&api, &request);
    for content in ["old", "new"] {
        let sender = api.clone().with_header("TTL", "60");
        let _ =
            sender.call("POST", "/push/mine", Some((TEXT, content.as_bytes()))).unwrap().expect_status(201);
    }
    rig.restart();
    let api = rig.api_of(APP);
    assert!(get(&api, &task)["pendingSince"].is_string());
    rig.set_host("networkLevel", "Internet");
    let instance = wait_for_instance(&api, &task, "Completed");
    assert_eq!(instance["triggerDetails"]["content"], "new");
    assert_eq!(get(&api, &format!("{task}/instances"))["items"].as_array().unwrap().len(), 1);
}

#[test]
fn a_message_is_kept_no_longer_than_its_time() {
    let mut rig = Rig::start();
    let api = rig.app_with_script(APP, "cat");
    rig.set_host("networkLevel", "None");
    let register_for = |channel: &str| {
        let trigger = json!({ "type": "PushNotificationTrigger", "parameters": { "channel": channel } });
        let mut request = body(channel, trigger);
        request["conditions"] = json!(["InternetAvailable"]);
        register(&api, &request)
    };
    let (now, soon, later) = (register_for("now"), register_for("soon"), register_for("later"));
    for (channel, ttl) in [("now", "0"), ("soon", "1"), ("later", "600")] {
        let sender = api.clone().with_header("TTL", ttl);
        let sent = sender.call("POST", &format!("/push/{channel}"), Some((TEXT, b"x"))).unwrap();
        assert_eq!(sent.expect_status(201).header("ttl"), Some(ttl));
    }
    assert!(get(&api, &now).get("pendingSince").is_none(), "one of 0 starts its task at once or never");
    wait_until("the end of a message's time", PATIENCE, || {
        get(&api, &soon).get("pendingSince").is_none().then_some(())
    });
    assert!(get(&api, &later)["pendingSince"].is_string());
    rig.restart();
    let api = rig.api_of(APP);
    let told = get(&api, &format!("{later}/explain"));
    assert!(told["satisfied"][0]["detail"].as_str().unwrap().contains("is kept until"), "{told:#}");
    rig.set_host("networkLevel", "Internet");
    wait_for_instance(&api, &later, "Completed");
    for task in [now, soon] {
        assert_eq!(get(&api, &format!("{task}/instances"))["items"], json!([]));
    }
    let sender = api.clone().with_header("TTL", "0");
    let _ = sender.call("POST", "/push/now", Some((TEXT, b"x"))).unwrap().expect_status(201);
}
