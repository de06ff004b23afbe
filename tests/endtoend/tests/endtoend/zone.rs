//! Scheduled rates without a zone follow the machine's, or the one that is set.

use std::time::{SystemTime, UNIX_EPOCH};

use longhaul_endtoend::{DEADLINE, House, QUICK, shown};
use longhaul_lab::{Content, Resource, Server, ServiceOptions, wait_until};
use serde_json::json;

/// Twelve hours ahead of UTC, all year.
const AHEAD: &str = "Etc/GMT-12";

fn house(config: &str, environment: &[(&str, &str)]) -> House {
    House::with(ServiceOptions {
        config: config.to_owned(),
        environment: environment.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        ..ServiceOptions::default()
    })
}

/// Nothing may move from an hour before to an hour after what the clock shows twelve hours ahead of UTC.
fn close_window(house: &House) {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let minutes = seconds / 60 + 12 * 60;
    let show = |minutes: u64| format!("{:02}:{:02}", minutes / 60 % 24, minutes % 60);
    let mut limits = house.call("GET", "/limits").expect_status(200).json();
    limits["schedule"] = json!([{ "weekdays": [], "from": show(minutes - 60), "to": show(minutes + 60), "bytesPerSecond": 0 }]);
    let _ = house.send("PUT", "/limits", &limits).expect_status(200);
}

#[test]
fn a_window_without_a_zone_follows_the_machine_or_the_setting() {
    let set = format!("{}\n", QUICK.replace("[engine]", &format!("[engine]\ntime-zone = {AHEAD:?}")));
    for (config, environment, is_closed, origin) in [
        (set.as_str(), [("TZ", "UTC")], true, "longhaul.toml"),
        (QUICK, [("TZ", AHEAD)], true, "machine, TZ"),
        (QUICK, [("TZ", "UTC")], false, "machine, TZ"),
    ] {
        let content = Content::new(1, 10_000);
        let server = Server::of(Resource::new(content));
        let house = house(config, &environment);
        let output = shown(&house.run(&["config", "show"]));
        let line = output.lines().find(|line| line.contains("engine.time-zone")).unwrap();
        assert!(line.contains(origin), "{line}");
        close_window(&house);
        let id = house.get(&server.url("/f"), "f");
        if is_closed {
            let explained = wait_until("a reason", DEADLINE, || {
                let explained = house.of(&id, "explain");
                (explained["decision"] == "Wait").then_some(explained)
            });
            assert_eq!(explained["blocking"][0]["code"], "rateLimitZero", "{explained:#}");
        } else {
            house.complete(&id);
        }
    }
}
