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
