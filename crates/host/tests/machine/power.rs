//! UPower, power-profiles-daemon, and what follows from them.

use longhaul_contract::{BatteryStatus, Power, WorkCost};
use longhaul_lab::process::Guarded;

use crate::rig::{Rig, is, source};

const UPOWER: &str = "org.freedesktop.UPower";
const UPOWER_PATH: &str = "/org/freedesktop/UPower";
const DISPLAY: &str = "/org/freedesktop/UPower/devices/DisplayDevice";
const DEVICE: &str = "org.freedesktop.UPower.Device";
const PROFILES: &str = "net.hadess.PowerProfiles";
const PROFILES_PATH: &str = "/net/hadess/PowerProfiles";

fn upower(rig: &Rig) -> Guarded {
    rig.bus.start_template("upower", UPOWER, "{}")
}

fn set_display(rig: &Rig, properties: &str) {
    rig.bus.set(UPOWER, DISPLAY, DEVICE, properties);
}

const MAINS: Power = Power { is_external: true, battery: BatteryStatus::NotPresent, percent: None };

#[tokio::test]
async fn a_battery_discharges_and_is_charged() {
    let rig = Rig::with_bus();
    let mut daemon = upower(&rig);
    let mut watch = rig.watch().await;
    assert!(is(&watch.state().power, &MAINS));
    assert_eq!(source(&watch.state().power), "UPower");
    assert!(is(&watch.state().work_cost, &WorkCost::Low));
    set_display(&rig, "{'IsPresent': <true>, 'State': <uint32 2>, 'Percentage': <41.6>}");
    rig.bus.set(UPOWER, UPOWER_PATH, UPOWER, "{'OnBattery': <true>}");
    let battery = Power { is_external: false, battery: BatteryStatus::Discharging, percent: Some(42) };
    watch.until("discharging", |state| is(&state.power, &battery)).await;
    assert!(is(&watch.state().work_cost, &WorkCost::High), "nobody is there");
    for (state, expected) in
        [(1, BatteryStatus::Charging), (4, BatteryStatus::Idle), (3, BatteryStatus::Discharging)]
    {
        set_display(&rig, &format!("{{'State': <uint32 {state}>}}"));
        watch
            .until("its state", |host| host.power.value().is_some_and(|power| power.battery == expected))
            .await;
    }
    // Without the daemon the kernel's files tell; this machine has none about a battery.
    daemon.kill();
    watch.until("the files", |state| is(&state.power, &MAINS)).await;
    assert_eq!(source(&watch.state().power), "power_supply");
    let _again = upower(&rig);
    watch.until("the daemon", |state| source(&state.power) == "UPower").await;
}

#[tokio::test]
async fn a_daemon_that_says_nonsense_is_none() {
    let rig = Rig::with_bus();
    let _nonsense = rig.bus.start_empty(UPOWER, "/nowhere", "x.y");
    let watch = rig.watch().await;
    assert_eq!(source(&watch.state().power), "power_supply");
}

#[tokio::test]
async fn the_profile_that_saves_power_is_energy_saver() {
    let rig = Rig::with_bus();
    let mut watch = rig.watch().await;
    assert!(source(&watch.state().energy_saver).contains("power-profiles-daemon"));
    let mut daemon = rig.bus.start_template("power_profiles_daemon", PROFILES, "{}");
    watch.until("the daemon", |state| is(&state.energy_saver, &false)).await;
    rig.bus.set(PROFILES, PROFILES_PATH, PROFILES, "{'ActiveProfile': <'power-saver'>}");
    watch.until("saving", |state| is(&state.energy_saver, &true)).await;
    assert!(is(&watch.state().work_cost, &WorkCost::High));
    rig.bus.set(PROFILES, PROFILES_PATH, PROFILES, "{'ActiveProfile': <'balanced'>}");
    watch.until("balanced", |state| is(&state.energy_saver, &false)).await;
    daemon.kill();
    watch.until("gone", |state| state.energy_saver.value().is_none()).await;
}

#[tokio::test]
async fn the_new_name_of_the_profiles_counts_first() {
    const NEW: &str = "org.freedesktop.UPower.PowerProfiles";
    const NEW_PATH: &str = "/org/freedesktop/UPower/PowerProfiles";
    let rig = Rig::with_bus();
    let _old = rig.bus.start_template("power_profiles_daemon", PROFILES, "{}");
    let mut watch = rig.watch().await;
    watch.until("the old name", |state| is(&state.energy_saver, &false)).await;
    let _new = rig.bus.start_empty(NEW, NEW_PATH, NEW);
    let property = [&format!("'{NEW}'"), "'ActiveProfile'", "<'power-saver'>"];
    rig.bus.call(NEW, NEW_PATH, "org.freedesktop.DBus.Mock.AddProperty", &property);
    rig.bus.set(NEW, NEW_PATH, NEW, "{'ActiveProfile': <'power-saver'>}");
    watch.until("the new name", |state| is(&state.energy_saver, &true)).await;
}
