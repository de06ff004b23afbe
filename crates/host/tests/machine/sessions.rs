//! logind: sessions, presence, sleep and shutdown.

use longhaul_host::HostChange;
use longhaul_lab::process::Guarded;

use crate::rig::{Rig, UID, is, source};

const NAME: &str = "org.freedesktop.login1";
const PATH: &str = "/org/freedesktop/login1";
const SESSION: &str = "org.freedesktop.login1.Session";
const MANAGER: &str = "org.freedesktop.login1.Manager";

fn logind(rig: &Rig) -> Guarded {
    rig.bus.start_template("logind", NAME, "{}")
}

/// Adds a session as logind does, which also tells of it.
fn log_in(rig: &Rig, id: &str, uid: u32, is_active: bool) {
    let arguments =
        [format!("'{id}'"), "'seat0'".into(), uid.to_string(), "'somebody'".into(), is_active.to_string()];
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    rig.bus.call(NAME, PATH, "org.freedesktop.DBus.Mock.AddSession", &arguments);
    let arguments = format!("[<'{id}'>, <objectpath '{PATH}/session/{id}'>]");
    rig.bus.emit(NAME, PATH, (MANAGER, "SessionNew"), "so", &arguments);
}

fn set(rig: &Rig, id: &str, properties: &str) {
    rig.bus.set(NAME, &format!("{PATH}/session/{id}"), SESSION, properties);
}

fn prepare(rig: &Rig, what: &str, begins: bool) {
    rig.bus.emit(NAME, PATH, (MANAGER, what), "b", &format!("[<{begins}>]"));
}

/// How many locks somebody holds that delay `what`.
fn delays(rig: &Rig, what: &str) -> usize {
    let listed = rig.bus.call(NAME, PATH, "org.freedesktop.login1.Manager.ListInhibitors", &[]);
    listed.matches(&format!("'{what}', 'Longhaul'")).count()
}

#[tokio::test]
async fn sessions_come_go_lock_and_idle() {
    let rig = Rig::with_bus();
    let _logind = logind(&rig);
    let mut watch = rig.watch().await;
    assert!(is(&watch.state().session_connected, &false));
    assert_eq!(source(&watch.state().user_present), "logind");
    log_in(&rig, "other", 4711, true);
    log_in(&rig, "c1", UID, true);
    watch
        .until("connected", |state| is(&state.session_connected, &true) && is(&state.user_present, &true))
        .await;
    set(&rig, "c1", "{'LockedHint': <true>}");
    watch.until("locked", |state| is(&state.user_present, &false)).await;
    assert!(is(&watch.state().session_connected, &true));
    set(&rig, "c1", "{'LockedHint': <false>}");
    watch.until("unlocked", |state| is(&state.user_present, &true)).await;
    set(&rig, "c1", "{'IdleHint': <true>}");
    watch.until("idle", |state| is(&state.user_present, &false)).await;
    set(&rig, "c1", "{'IdleHint': <false>, 'Active': <false>, 'State': <'online'>}");
    watch.until("another in front", |state| is(&state.session_connected, &false)).await;
    set(&rig, "c1", "{'Active': <true>, 'State': <'active'>}");
    watch.until("in front again", |state| is(&state.session_connected, &true)).await;
    set(&rig, "c1", "{'State': <'closing'>}");
    watch.until("logged out", |state| is(&state.session_connected, &false)).await;
}

#[tokio::test]
async fn a_service_of_the_system_counts_everybody_but_the_greeter() {
    let rig = Rig::with_bus();
    let _logind = logind(&rig);
    log_in(&rig, "greeter", 115, true);
    set(&rig, "greeter", "{'Class': <'greeter'>}");
    let machine = longhaul_host::Machine { uid: 0, ..rig.machine() };
    let mut watch = crate::rig::Watch(longhaul_host::HostWatch::open(machine).await);
    assert!(is(&watch.state().session_connected, &false));
    log_in(&rig, "other", 4711, true);
    watch.until("connected", |state| is(&state.session_connected, &true)).await;
}

#[tokio::test]
async fn sleep_waits_until_it_is_let_go() {
    let rig = Rig::with_bus();
    let _logind = logind(&rig);
    let mut watch = rig.watch().await;
    assert_eq!((delays(&rig, "sleep"), delays(&rig, "shutdown")), (1, 1));
    for _ in 0..2 {
        prepare(&rig, "PrepareForSleep", true);
        let HostChange::Suspending(delay) = watch.event().await else { panic!("not suspending") };
        assert!(delay.is_held());
        assert_eq!(delays(&rig, "sleep"), 1);
        drop(delay);
        longhaul_lab::wait_until("the lock let go", crate::rig::DEADLINE, || {
            (delays(&rig, "sleep") == 0).then_some(())
        });
        prepare(&rig, "PrepareForSleep", false);
        assert!(matches!(watch.event().await, HostChange::Resumed));
        assert_eq!(delays(&rig, "sleep"), 1);
    }
    prepare(&rig, "PrepareForShutdown", true);
    assert!(matches!(watch.event().await, HostChange::ShuttingDown(delay) if delay.is_held()));
}

#[tokio::test]
async fn a_logind_that_restarts_is_asked_anew() {
    let rig = Rig::with_bus();
    let mut watch = rig.watch().await;
    assert!(source(&watch.state().session_connected).contains("systemd-logind is not running"));
    let mut first = logind(&rig);
    watch.until("there", |state| is(&state.session_connected, &false)).await;
    first.kill();
    watch.until("gone", |state| state.session_connected.value().is_none()).await;
    let _second = logind(&rig);
    log_in(&rig, "c1", UID, true);
    watch.until("back", |state| is(&state.session_connected, &true)).await;
    // What the first had given was taken again from the second.
    longhaul_lab::wait_until("a new lock", crate::rig::DEADLINE, || {
        (delays(&rig, "sleep") == 1).then_some(())
    });
}
