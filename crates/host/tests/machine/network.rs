//! NetworkManager and ModemManager by their mocks: cost, roaming, and the verdict about the Internet. The kernel's own
//! tables are those of this machine, so levels are only compared where they cannot matter.

use longhaul_contract::{NetworkCost, SystemTriggerType};
use longhaul_host::HostChange;
use longhaul_lab::process::Guarded;

use crate::rig::{MANAGER, MANAGER_PATH, Rig, Watch, is, source};

const MODEMS: &str = "org.freedesktop.ModemManager1";
const MODEMS_PATH: &str = "/org/freedesktop/ModemManager1";
const MODEM: &str = "/org/freedesktop/ModemManager1/Modem/0";
const MODEM_CELLULAR: &str = "org.freedesktop.ModemManager1.Modem.Modem3gpp";
const MODEM_MESSAGING: &str = "org.freedesktop.ModemManager1.Modem.Messaging";
const SMS: &str = "org.freedesktop.ModemManager1.Sms";

fn set(rig: &Rig, properties: &str) {
    rig.bus.set(MANAGER, MANAGER_PATH, MANAGER, properties);
}

fn modem(rig: &Rig, registration: u32) -> Guarded {
    let daemon = rig.bus.start_empty(MODEMS, MODEMS_PATH, MODEMS);
    let cellular = format!("{{'RegistrationState': <uint32 {registration}>}}");
    add(rig, MODEM, MODEM_CELLULAR, &cellular);
    daemon
}

fn add(rig: &Rig, path: &str, interface: &str, properties: &str) {
    let arguments = [&format!("'{path}'"), &format!("'{interface}'"), properties, "@a(ssss) []"];
    rig.bus.call(MODEMS, MODEMS_PATH, "org.freedesktop.DBus.Mock.AddObject", &arguments);
    let added = format!("[<objectpath '{path}'>, <@a{{sa{{sv}}}} {{}}>]");
    let signal = ("org.freedesktop.DBus.ObjectManager", "InterfacesAdded");
    rig.bus.emit(MODEMS, MODEMS_PATH, signal, "oa{sa{sv}}", &added);
}

fn metered(is_metered: bool) -> NetworkCost {
    NetworkCost { is_metered, ..NetworkCost::default() }
}

async fn until_cost(watch: &mut Watch, cost: NetworkCost, from: &str) {
    watch.until(from, |state| is(&state.network.cost, &cost) && source(&state.network.cost) == from).await;
}

#[tokio::test]
async fn what_the_connection_costs_is_told_as_it_changes() {
    let rig = Rig::with_bus();
    let mut watch = rig.watch().await;
    assert!(source(&watch.state().network.cost).contains("NetworkManager is not running"));
    let mut daemon = rig.manager("802-3-ethernet");
    until_cost(&mut watch, metered(false), "NetworkManager (guessed)").await;
    for (value, is_metered, from) in
        [(1, true, "NetworkManager"), (2, false, "NetworkManager"), (3, true, "NetworkManager (guessed)")]
    {
        set(&rig, &format!("{{'Metered': <uint32 {value}>}}"));
        until_cost(&mut watch, metered(is_metered), from).await;
    }
    set(&rig, "{'Metered': <uint32 0>}");
    watch.until("unknown", |state| source(&state.network.cost).contains("does not know")).await;
    set(&rig, "{'Metered': <uint32 1>}");
    until_cost(&mut watch, metered(true), "NetworkManager").await;
    // Nobody left to ask is no reason to spend the owner's money.
    daemon.kill();
    until_cost(&mut watch, metered(true), "NetworkManager (gone since)").await;
    let _again = rig.manager("802-3-ethernet");
    until_cost(&mut watch, metered(false), "NetworkManager (guessed)").await;
}

#[tokio::test]
async fn the_connection_in_use_has_the_name_its_owner_gave_it() {
    let rig = Rig::with_bus();
    let mut daemon = rig.manager("802-11-wireless");
    let active = "org.freedesktop.NetworkManager.Connection.Active";
    let object = format!("'{MANAGER_PATH}/ActiveConnection/1'");
    let arguments = [&object, &format!("'{active}'"), "{'Id': <'My phone'>}", "@a(ssss) []"];
    rig.bus.call(MANAGER, MANAGER_PATH, "org.freedesktop.DBus.Mock.AddObject", &arguments);
    let mut watch = rig.watch().await;
    set(&rig, "{'Metered': <uint32 1>}");
    let named = |watch: &Watch| watch.0.connection() == Some("My phone");
    while !named(&watch) {
        watch.next().await;
    }
    let none = [&format!("'{MANAGER}'"), "'PrimaryConnection'", "<objectpath '/'>"];
    rig.bus.call(MANAGER, MANAGER_PATH, "org.freedesktop.DBus.Properties.Set", &none);
    while named(&watch) {
        watch.next().await;
    }
    daemon.kill();
}

#[tokio::test]
async fn a_foreign_network_counts_for_a_mobile_connection() {
    let rig = Rig::with_bus();
    let _manager = rig.manager("gsm");
    let mut watch = rig.watch().await;
    until_cost(&mut watch, metered(false), "NetworkManager (guessed)").await;
    let mut daemon = modem(&rig, 1);
    rig.bus.set(MODEMS, MODEM, MODEM_CELLULAR, "{'RegistrationState': <uint32 5>}");
    let roaming = NetworkCost { is_roaming: true, ..metered(false) };
    until_cost(&mut watch, roaming, "NetworkManager (guessed)").await;
    rig.bus.set(MODEMS, MODEM, MODEM_CELLULAR, "{'RegistrationState': <uint32 1>}");
    until_cost(&mut watch, metered(false), "NetworkManager (guessed)").await;
    rig.bus.set(MODEMS, MODEM, MODEM_CELLULAR, "{'RegistrationState': <uint32 10>}");
    until_cost(&mut watch, roaming, "NetworkManager (guessed)").await;
    // The modem that roams is not the way out any more.
    set(&rig, "{'PrimaryConnectionType': <'802-11-wireless'>}");
    until_cost(&mut watch, metered(false), "NetworkManager (guessed)").await;
    daemon.kill();
}

#[tokio::test]
async fn a_message_is_told_once_when_it_is_whole() {
    let rig = Rig::with_bus();
    let _modem = modem(&rig, 1);
    let messaging = [&format!("'{MODEM_MESSAGING}'"), "{'Messages': <@ao []>}"];
    rig.bus.call(MODEMS, MODEM, "org.freedesktop.DBus.Mock.AddProperties", &messaging);
    let mut watch = rig.watch().await;
    for (number, state) in [(1, 3), (2, 2)] {
        let path = format!("/org/freedesktop/ModemManager1/SMS/{number}");
        let sms = format!(
            "{{'State': <uint32 {state}>, 'Number': <'+49151'>, 'Text': <'part {number}'>, \
             'Timestamp': <'2026-01-31T12:00:00+01'>}}"
        );
        add(&rig, &path, SMS, &sms);
        let added = format!("[<objectpath '{path}'>, <true>]");
        rig.bus.emit(MODEMS, MODEM, (MODEM_MESSAGING, "Added"), "ob", &added);
    }
    let HostChange::Event(SystemTriggerType::SmsReceived, first) = watch.event().await else {
        panic!("no SMS")
    };
    assert_eq!((&first["from"], &first["body"]), (&"+49151".into(), &"part 1".into()));
    let second = "/org/freedesktop/ModemManager1/SMS/2";
    rig.bus.set(MODEMS, second, SMS, "{'State': <uint32 3>, 'Text': <'part 2 and more'>}");
    let HostChange::Event(SystemTriggerType::SmsReceived, second) = watch.event().await else {
        panic!("no SMS")
    };
    assert_eq!(second["body"], "part 2 and more");
}
