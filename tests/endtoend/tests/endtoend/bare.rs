//! A bare server: no bus, no daemon, nobody at a screen.

use longhaul_endtoend::{DEADLINE, House, QUICK, assert_exit, ok, shown};
use longhaul_lab::{Content, Resource, Server, ServiceOptions, wait_until};

#[test]
fn a_bare_server_says_what_it_cannot_know_and_runs_what_needs_nothing() {
    let nowhere = || "unix:path=/nowhere".to_owned();
    let house = House::with(ServiceOptions {
        config: QUICK.to_owned(),
        environment: vec![
            ("DBUS_SYSTEM_BUS_ADDRESS".to_owned(), nowhere()),
            ("DBUS_SESSION_BUS_ADDRESS".to_owned(), nowhere()),
        ],
        ..ServiceOptions::default()
    });
    let told = house.run(&["host"]);
    assert_exit(&told, 0);
    let host = house.call("GET", "/host").expect_status(200).json();
    let cost = &host["network"]["cost"];
    assert_eq!(cost["state"], "unknown", "{host:#}");
    let reason = cost["reason"].as_str().unwrap();
    assert!(reason.contains("bus") && shown(&told).contains(reason), "{reason}\n{}", shown(&told));
    assert_exit(&house.run(&["doctor"]), 0);

    let server = Server::of(Resource::new(Content::new(1, 100_000)));
    let set = ok(&house, &["completion", "new"]);
    let triggers = ["time:15,now", "app", "push:news", &format!("completion:{set}")];
    for (number, trigger) in triggers.iter().enumerate() {
        let (name, script) = (format!("t{number}"), format!("echo ran >> t{number}"));
        ok(&house, &["task", "add", &name, "--trigger", trigger, "--", "sh", "-c", &script]);
    }
    ok(&house, &["task", "request", "t1"]);
    let pushed = house
        .api()
        .with_header("TTL", "60")
        .call("POST", "/push/news", Some(("text/plain", b"hello")))
        .unwrap();
    assert!((200..300).contains(&pushed.status), "{}", pushed.text());
    ok(&house, &["get", &server.url("/f"), "-o", "f", "--completion", &set]);
    ok(&house, &["completion", "enable", &set]);
    for (number, trigger) in triggers.iter().enumerate() {
        wait_until(&format!("the run of {trigger}"), DEADLINE, || {
            house.result(&format!("t{number}")).exists().then_some(())
        });
    }
}
