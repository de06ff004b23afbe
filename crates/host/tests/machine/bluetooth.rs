//! Advertisements and notifications, from a BlueZ that is played.

use std::time::Duration;

use longhaul_contract::TriggerKind;
use longhaul_host::HostChange;
use longhaul_host::wants::{AdvertisementFilter, Characteristic, RangeRule, Want, WantId};
use longhaul_host::whole_uuid;
use longhaul_lab::{Bluez, wait_until};
use serde_json::Value;

use crate::rig::{DEADLINE, Rig, Watch};

const DEVICE: &str = "AA:BB:CC:DD:EE:01";
const OTHER: &str = "AA:BB:CC:DD:EE:02";
const ID: WantId = WantId([7; 16]);

fn beacons(leaves_after: Duration) -> Want {
    Want::Advertisements {
        filter: AdvertisementFilter::manufacturer(0x004c, &[0x02]),
        range: RangeRule { enters_at: -60, leaves_at: -80, leaves_after, sampling: None },
    }
}

fn heart_rate() -> Want {
    Want::Characteristic(Characteristic {
        device: DEVICE.to_ascii_lowercase(),
        service: whole_uuid("180d"),
        characteristic: whole_uuid("2a37"),
        lists_values: true,
    })
}

fn want(watch: &Watch, want: Want) {
    watch.0.wants().send_modify(|wants| drop(wants.insert(ID, want)));
}

/// The next thing that is wanted.
async fn wanted(watch: &mut Watch) -> Value {
    loop {
        if let HostChange::Wanted(id, details) = watch.event().await {
            assert_eq!(id, ID);
            return details;
        }
    }
}

async fn until_listening(bluez: &Bluez<'_>, is_listening: bool) {
    // The mock answers from a process of its own; the watch runs on in this runtime meanwhile.
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while bluez.is_listening() != is_listening {
        assert!(tokio::time::Instant::now() < deadline, "listening {is_listening}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bluetooth_listens_only_while_wanted_and_tells_what_the_filter_lets_through() {
    let rig = Rig::with_bus();
    let bluez = Bluez::start(&rig.bus);
    let mut watch = rig.watch().await;
    let support = watch.0.support();
    let reason = || support.borrow().trigger(TriggerKind::BluetoothLEAdvertisementWatcherTrigger).reason;
    assert_eq!(reason().as_deref(), Some("no Bluetooth adapter is plugged in now"));
    bluez.plug_adapter();
    want(&watch, beacons(Duration::from_secs(60)));
    until_listening(&bluez, true).await;
    bluez.appear(OTHER, -50, 0x0059, &[0x02]);
    bluez.appear(DEVICE, -70, 0x004c, &[0x02, 0x15]);
    bluez.hear(DEVICE, -55);
    let told = wanted(&mut watch).await;
    let advertisement = &told["advertisements"][0];
    assert_eq!(
        (&advertisement["address"], &advertisement["rawSignalStrengthInDBm"]),
        (&DEVICE.into(), &(-55).into())
    );
    assert_eq!(advertisement["manufacturerData"][0]["data"], "0215", "{told:#}");
    assert_eq!(advertisement["isInRange"], true);
    assert_eq!(reason(), None);
    watch.0.wants().send_modify(std::collections::BTreeMap::clear);
    until_listening(&bluez, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bluetooth_devices_leave_when_nothing_is_heard_of_them() {
    let rig = Rig::with_bus();
    let bluez = Bluez::start(&rig.bus);
    bluez.plug_adapter();
    let mut watch = rig.watch().await;
    want(&watch, beacons(Duration::from_secs(1)));
    until_listening(&bluez, true).await;
    bluez.appear(DEVICE, -50, 0x004c, &[0x02]);
    assert_eq!(wanted(&mut watch).await["advertisements"][0]["isInRange"], true);
    let told = wanted(&mut watch).await;
    assert_eq!(told["advertisements"][0]["isInRange"], false);
    assert_eq!(told["advertisements"][0]["rawSignalStrengthInDBm"], -127);
}

#[tokio::test(flavor = "multi_thread")]
async fn bluetooth_survives_restarts_of_its_daemon_and_an_adapter_switched_off() {
    let rig = Rig::with_bus();
    let bluez = Bluez::start(&rig.bus);
    bluez.plug_adapter();
    let mut watch = rig.watch().await;
    want(&watch, beacons(Duration::from_secs(60)));
    until_listening(&bluez, true).await;
    bluez.appear(DEVICE, -50, 0x004c, &[0x02]);
    wanted(&mut watch).await;
    bluez.power(false);
    bluez.power(true);
    until_listening(&bluez, true).await;
    drop(bluez);
    let bluez = Bluez::start(&rig.bus);
    bluez.plug_adapter();
    until_listening(&bluez, true).await;
    // One that was near before the restart has not come again; another one has.
    bluez.appear(DEVICE, -50, 0x004c, &[0x02]);
    bluez.appear(OTHER, -50, 0x004c, &[0x02]);
    assert_eq!(wanted(&mut watch).await["advertisements"][0]["address"], OTHER);
}

#[tokio::test(flavor = "multi_thread")]
async fn bluetooth_notifications_come_from_devices_that_are_connected_to_again() {
    let rig = Rig::with_bus();
    let bluez = Bluez::start(&rig.bus);
    bluez.plug_adapter();
    let mut watch = rig.watch().await;
    want(&watch, heart_rate());
    // The device has to be found first.
    until_listening(&bluez, true).await;
    bluez.appear(DEVICE, -50, 0x004c, &[0x02]);
    bluez.add_heart_rate(DEVICE);
    let until_notifying = |bluez: &Bluez<'_>, notifies: bool| {
        wait_until("notifications", DEADLINE, || (bluez.is_notifying(DEVICE) == notifies).then_some(()));
    };
    until_notifying(&bluez, true);
    bluez.notify(DEVICE, &[0x06, 0x48]);
    let told = wanted(&mut watch).await;
    assert_eq!(
        (&told["value"], &told["valueChangedEvents"][0]["value"]),
        (&"0648".into(), &"0648".into()),
        "{told:#}"
    );
    until_listening(&bluez, false).await;
    bluez.disconnect(DEVICE);
    until_notifying(&bluez, true);
    bluez.notify(DEVICE, &[0x06, 0x50]);
    assert_eq!(wanted(&mut watch).await["value"], "0650");
    drop(bluez);
    let bluez = Bluez::start(&rig.bus);
    bluez.plug_adapter();
    bluez.appear(DEVICE, -50, 0x004c, &[0x02]);
    bluez.add_heart_rate(DEVICE);
    until_notifying(&bluez, true);
    bluez.notify(DEVICE, &[0x06, 0x60]);
    assert_eq!(wanted(&mut watch).await["value"], "0660");
    watch.0.wants().send_modify(std::collections::BTreeMap::clear);
    until_notifying(&bluez, false);
}
