//! Completion groups and notifications: the real program, real processes, and python-dbusmock's notification daemon in the
//! place of a desktop.

use longhaul_endtoend::{DEADLINE, House, QUICK, assert_exit, ok, status_of};
use longhaul_lab::bus::Bus;
use longhaul_lab::service::binary;
use longhaul_lab::{Content, Resource, Response, Server, ServiceOptions, wait_until};
use serde_json::{Value, json};

const NOTIFICATIONS: &str = "org.freedesktop.Notifications";
const NOTIFICATIONS_PATH: &str = "/org/freedesktop/Notifications";

/// Has `/good`, and nothing else.
fn server() -> Server {
    let resource = Resource::new(Content::new(5, 300_000));
    Server::start(move |exchange| {
        let answer = match exchange.request.path() {
            "/good" => resource.answer(&exchange.request),
            _ => Response::new(404).text("there is no such file"),
        };
        exchange.respond(answer);
    })
}

#[track_caller]
fn wait_for_line(house: &House, name: &str) -> String {
    wait_until(&format!("the file {name}"), DEADLINE, || {
        std::fs::read_to_string(house.result(name)).ok().filter(|text| text.ends_with('\n'))
    })
}

#[track_caller]
fn group(house: &House, id: &str) -> Value {
    serde_json::from_str(&ok(house, &["--json", "completion", "show", id])).unwrap()
}

#[test]
fn a_task_runs_once_when_its_completion_group_has_ended_over_kills() {
    let server = server();
    let mut house = House::new();
    ok(&house, &["host", "set", "power", "battery"]);
    let id = ok(&house, &["completion", "new"]);
    let trigger = format!("completion:{id}");
    let script = "cat > details; echo told; echo ran >> ran";
    let add = ["task", "add", "after", "--trigger", &trigger, "--condition", "ac", "--", "sh", "-c", script];
    ok(&house, &add);
    let get = |path: &str, name: &str, more: &[&str]| {
        let url = server.url(path);
        ok(&house, &[&["get", &url, "-o", name, "--completion", &id, "--detach"][..], more].concat())
    };
    let bad = get("/bad", "bad", &[]);
    let good = get("/good", "good", &["--hold"]);
    house.wait_for_status(&bad, "Error");
    ok(&house, &["completion", "enable", &id[..20]]);
    assert_exit(&house.run(&["completion", "enable", &id]), 6);
    assert_exit(&house.run(&["get", &server.url("/good"), "-o", "late", "--completion", &id]), 6);
    assert!(!house.result("late").exists());
    let shown_group = group(&house, &id);
    assert_eq!((&shown_group["isEnabled"], &shown_group["isOver"]), (&true.into(), &false.into()));
    house.kill();
    house.launch();
    ok(&house, &["start", &good]);
    house.complete(&good);
    wait_until("the end of the set", DEADLINE, || group(&house, &id)["isOver"].as_bool().filter(|is| *is));

    // Between the last end and the run.
    house.kill();
    house.launch();
    let task: Value = serde_json::from_str(&ok(&house, &["--json", "task", "show", "after"])).unwrap();
    assert!(task["pendingSince"].is_string(), "{task:#}");
    assert!(!house.result("ran").exists());
    ok(&house, &["host", "set", "power", "external"]);
    assert_eq!(wait_for_line(&house, "ran"), "ran\n");
    let details: Value =
        serde_json::from_str(&std::fs::read_to_string(house.result("details")).unwrap()).unwrap();
    assert_eq!((&details["completionGroup"], &details["uploads"]), (&json!(id), &json!([])));
    let downloads = details["downloads"].as_array().unwrap();
    let told: Vec<_> =
        downloads.iter().map(|download| (download["id"].as_str().unwrap(), status_of(download))).collect();
    assert_eq!(told, [(bad.as_str(), "Error".to_owned()), (good.as_str(), "Completed".to_owned())]);
    assert_eq!(downloads[0]["error"]["httpStatus"], 404, "{details:#}");
    assert_eq!(downloads[0]["requestedUri"], server.url("/bad").as_str());
    assert_exit(&house.run(&["task", "show", "after"]), 4);
    assert_past(&house);

    // Whatever a restart had to make up for has come before another task that is registered later.
    house.kill();
    house.launch();
    ok(&house, &["task", "add", "later", "--trigger", "app", "--", "true"]);
    assert_exit(&house.run(&["task", "run", "later", "--follow"]), 0);
    assert_eq!(std::fs::read_to_string(house.result("ran")).unwrap(), "ran\n");
    assert_past(&house);
}

/// The task `after` has unregistered itself, and what it did can be read.
#[track_caller]
fn assert_past(house: &House) {
    let item = wait_until("the end of the run", DEADLINE, || {
        let past: Value = serde_json::from_str(&ok(house, &["--json", "task", "ls", "--past"])).unwrap();
        assert_eq!(past["items"].as_array().map(Vec::len), Some(1), "{past:#}");
        let item = past["items"][0].clone();
        item["lastRunResult"].is_string().then_some(item)
    });
    assert_eq!((&item["name"], &item["lastRunResult"]), (&json!("after"), &json!("Completed")), "{item:#}");
    assert_eq!(ok(house, &["task", "log", "after"]), "told");
    let id = item["id"].as_str().unwrap();
    assert_eq!(ok(house, &["task", "log", &id[..30]]), "told");
    let page: Value = house.call("GET", &format!("/background-tasks/{id}/instances")).json();
    assert_eq!(page["items"][0]["state"], "Completed", "{page:#}");
    assert_eq!(page["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(house.call("GET", &format!("/background-tasks/{id}")).status, 404);
}

#[test]
fn a_task_tries_what_failed_again_under_a_new_group() {
    let server = server();
    let house = House::new();
    let program = binary().display().to_string();
    let script = format!(
        "grep -q '\"status\":\"Error\"' && {{ again=$({program} completion new); \
         {program} get {} -o again --completion $again --detach; \
         {program} completion enable $again; echo $again > again-id; }}",
        server.url("/good")
    );
    let id = ok(&house, &["completion", "new"]);
    ok(
        &house,
        &["task", "add", "retry", "--trigger", &format!("completion:{id}"), "--", "sh", "-c", &script],
    );
    ok(&house, &["get", &server.url("/bad"), "-o", "bad", "--completion", &id, "--detach"]);
    ok(&house, &["completion", "enable", &id]);
    let again = wait_for_line(&house, "again-id");
    wait_until("the end of the second set", DEADLINE, || {
        group(&house, again.trim())["isOver"].as_bool().filter(|is| *is)
    });
    assert_eq!(std::fs::metadata(house.result("again")).unwrap().len(), 300_000);
    let groups = ok(&house, &["completion", "ls"]);
    assert_eq!(groups.lines().filter(|line| line.contains("over")).count(), 2, "{groups}");
}

#[test]
fn ends_are_shown_on_the_desktop_once_for_each_set() {
    let folder = tempfile::tempdir().unwrap();
    let mut bus = Bus::in_folder(folder.path());
    bus.start();
    let parameters = r#"{"capabilities": "body body-markup"}"#;
    let _daemon = bus.start_template("notification_daemon", NOTIFICATIONS, parameters);
    let server = server();
    let environment = vec![("DBUS_SESSION_BUS_ADDRESS".to_owned(), bus.address())];
    let mut house =
        House::with(ServiceOptions { config: QUICK.to_owned(), environment, ..ServiceOptions::default() });
    let calls = || {
        let method = "org.freedesktop.DBus.Mock.GetMethodCalls";
        bus.call(NOTIFICATIONS, NOTIFICATIONS_PATH, method, &["'Notify'"])
    };
    let shown_times = |text: &str| calls().matches(text).count();
    let wait_for = |text: &str| {
        wait_until(&format!("{text} on the desktop"), DEADLINE, || (shown_times(text) > 0).then_some(()));
    };
    let new = ["completion", "new", "--on-success", "All are there", "--on-failure", "One is missing"];
    let id = ok(&house, &new);
    for (path, name) in [("/good", "one"), ("/bad", "two")] {
        let _ = ok(&house, &["get", &server.url(path), "-o", name, "--completion", &id, "--detach"]);
    }
    ok(&house, &["completion", "enable", &id]);
    wait_for("One is missing");
    let mut spec = house.spec(&server.url("/good"), "three");
    spec["successNotification"] = json!({ "title": "It is there", "body": "a < b" });
    spec["failureNotification"] = json!({ "title": "It is not there" });
    let three = house.create(&spec);
    wait_for("It is there");
    assert!(calls().contains("a &lt; b"), "{}", calls());
    assert!(house.operation(&three)["completedTime"].is_string());
    house.kill();
    house.launch();
    spec["resultFile"] = json!(house.result("four"));
    spec["successNotification"] = json!({ "title": "Barrier" });
    let _ = house.create(&spec);
    wait_for("Barrier");
    for (text, times) in
        [("One is missing", 1), ("All are there", 0), ("It is there", 1), ("It is not there", 0)]
    {
        assert_eq!(shown_times(text), times, "{text}: {}", calls());
    }
}
