//! The bus itself comes, goes, and comes back.

use crate::rig::{Rig, is, source};

#[tokio::test]
async fn a_machine_without_a_bus_says_so_for_each_signal() {
    let rig = Rig::bare();
    let watch = rig.watch().await;
    let state = watch.state();
    for reason in [
        source(&state.session_connected),
        source(&state.user_present),
        source(&state.energy_saver),
        source(&state.network.cost),
    ] {
        assert!(reason.contains("there is no system bus at unix:path="), "{reason}");
    }
    // What needs no daemon is known.
    assert!(state.time_zone.value().is_some() && state.power.value().is_some());
    assert!(state.network.level.value().is_some());
}

#[tokio::test]
async fn a_bus_that_comes_later_or_restarts_is_found() {
    let mut rig = Rig::bare();
    let folder = rig.root().join("run");
    std::fs::remove_dir(&folder).unwrap();
    let mut watch = rig.watch().await;
    std::fs::create_dir(&folder).unwrap();
    for _ in 0..2 {
        rig.bus.start();
        let daemon = rig.bus.start_template("upower", "org.freedesktop.UPower", "{}");
        watch.until("the daemon", |state| source(&state.power) == "UPower").await;
        drop(daemon);
        rig.bus.stop();
        watch.until("gone", |state| source(&state.power) == "power_supply").await;
        watch.until("no bus", |state| source(&state.energy_saver).contains("bus")).await;
    }
}

#[tokio::test]
async fn values_keep_the_time_since_when_they_hold() {
    let rig = Rig::with_bus();
    let mut daemon = rig.bus.start_template("upower", "org.freedesktop.UPower", "{}");
    let mut watch = rig.watch().await;
    let before = watch.state().power.clone();
    daemon.kill();
    watch.until("the files", |state| source(&state.power) == "power_supply").await;
    let since = |signal: &longhaul_contract::Signal<_>| match signal {
        longhaul_contract::Signal::Known { since, .. } => Some(*since),
        longhaul_contract::Signal::Unknown { .. } => None,
    };
    assert_eq!(since(&watch.state().power), since(&before));
    assert!(is(&watch.state().power, before.value().unwrap()));
}
