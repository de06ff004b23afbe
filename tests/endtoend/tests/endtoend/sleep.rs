//! The machine is about to sleep, by logind's signals: what has arrived is durable before it does, and the download goes on
//! afterwards.

use std::time::{Duration, Instant};

use longhaul_endtoend::{DEADLINE, House, QUICK, received};
use longhaul_lab::{Bus, Content, Resource, Server, ServiceOptions, wait_until};

const LOGIND: &str = "org.freedesktop.login1";
const PATH: &str = "/org/freedesktop/login1";
const MANAGER: &str = "org.freedesktop.login1.Manager";

const SIZE: u64 = 4_000_000;
const PACE: u64 = 1_000_000;

/// What logind waits for at most (InhibitDelayMaxSec).
const WAIT_MAX: Duration = Duration::from_secs(5);

/// How many locks of the service delay sleep.
fn locks(bus: &Bus) -> usize {
    let listed = bus.call(LOGIND, PATH, "org.freedesktop.login1.Manager.ListInhibitors", &[]);
    listed.matches("'sleep', 'Longhaul'").count()
}

fn prepare_for_sleep(bus: &Bus, begins: bool) {
    bus.emit(LOGIND, PATH, (MANAGER, "PrepareForSleep"), "b", &format!("[<{begins}>]"));
}

#[test]
fn bytes_are_durable_before_the_machine_sleeps() {
    let folder = tempfile::tempdir().unwrap();
    let mut bus = Bus::in_folder(folder.path());
    bus.start();
    let _logind = bus.start_template("logind", LOGIND, "{}");
    let content = Content::new(1, SIZE);
    let server = Server::build()
        .pace(PACE)
        .start(move |exchange| exchange.respond(Resource::new(content).answer(&exchange.request)));
    let mut house = House::with(ServiceOptions {
        config: QUICK.to_owned(),
        environment: vec![("DBUS_SYSTEM_BUS_ADDRESS".to_owned(), bus.address())],
        ..ServiceOptions::default()
    });
    wait_until("the lock", DEADLINE, || (locks(&bus) == 1).then_some(()));
    let id = house.get(&format!("http://{}/f", server.address()), "f");
    house.wait_for_bytes(&id, SIZE / 8);
    let before = received(&house.operation(&id));
    prepare_for_sleep(&bus, true);
    let told = Instant::now();
    wait_until("the lock let go", DEADLINE, || (locks(&bus) == 0).then_some(()));
    assert!(told.elapsed() < WAIT_MAX, "{:?}", told.elapsed());
    // The battery runs empty while the machine sleeps. What had arrived by then is not fetched again.
    house.kill();
    house.launch();
    house.complete(&id);
    content.assert_file(&house.result("f"));
    let starts: Vec<u64> = server.requests().iter().map(longhaul_lab::Request::range_start).collect();
    assert!(starts[1..].iter().all(|start| *start + 10_000 > before), "{starts:?}, had {before}");
}

#[test]
fn no_connection_from_before_a_sleep_is_used_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut bus = Bus::in_folder(folder.path());
    bus.start();
    let _logind = bus.start_template("logind", LOGIND, "{}");
    let content = Content::new(1, 4 * SIZE);
    let server = Server::build()
        .pace(PACE)
        .start(move |exchange| exchange.respond(Resource::new(content).answer(&exchange.request)));
    let house = House::with(ServiceOptions {
        config: format!("{}\nsegments-max = 1\n[limits]\nrunning-at-once = 2\n", QUICK.trim_end()),
        environment: vec![("DBUS_SYSTEM_BUS_ADDRESS".to_owned(), bus.address())],
        ..ServiceOptions::default()
    });
    wait_until("the lock", DEADLINE, || (locks(&bus) == 1).then_some(()));
    let id = house.get(&format!("http://{}/f", server.address()), "f");
    house.wait_for_bytes(&id, SIZE / 8);
    assert_eq!(server.requests().len(), 1);
    for sleep in 1..=2 {
        prepare_for_sleep(&bus, true);
        wait_until("the lock let go", DEADLINE, || (locks(&bus) == 0).then_some(()));
        let before = received(&house.operation(&id));
        let woke = Instant::now();
        prepare_for_sleep(&bus, false);
        // The server has nothing wrong with it: only the sleep can be the reason for another connection.
        wait_until("a connection of after the sleep", DEADLINE, || {
            (server.requests().len() == 1 + sleep).then_some(())
        });
        println!("sleep {sleep}: another connection {:?} after waking up", woke.elapsed());
        assert!(woke.elapsed() >= Duration::from_secs(1), "the network has time to come back");
        let begins = server.requests()[sleep].range_start();
        assert!(begins > 0 && begins + 1_000_000 > before, "{begins} {before}");
        house.wait_for_bytes(&id, begins + SIZE / 8);
        wait_until("the lock", DEADLINE, || (locks(&bus) == 1).then_some(()));
    }
    house.complete(&id);
    content.assert_file(&house.result("f"));
    assert_eq!(server.requests().len(), 3);
    let receipt = house.of(&id, "receipt");
    assert_eq!(receipt["restarts"], 0, "{receipt:#}");
}

#[test]
fn the_lock_is_taken_again_after_each_sleep() {
    let folder = tempfile::tempdir().unwrap();
    let mut bus = Bus::in_folder(folder.path());
    bus.start();
    let _logind = bus.start_template("logind", LOGIND, "{}");
    let house = House::with(ServiceOptions {
        config: QUICK.to_owned(),
        environment: vec![("DBUS_SYSTEM_BUS_ADDRESS".to_owned(), bus.address())],
        ..ServiceOptions::default()
    });
    for _ in 0..2 {
        wait_until("the lock", DEADLINE, || (locks(&bus) == 1).then_some(()));
        prepare_for_sleep(&bus, true);
        wait_until("the lock let go", DEADLINE, || (locks(&bus) == 0).then_some(()));
        prepare_for_sleep(&bus, false);
    }
    wait_until("the lock", DEADLINE, || (locks(&bus) == 1).then_some(()));
    let host = house.call("GET", "/host").expect_status(200).json();
    assert_eq!(host["sessionConnected"]["source"], "logind", "{host:#}");
}
