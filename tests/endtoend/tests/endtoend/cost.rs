//! What the connection costs, told by daemons on a bus of the test's own, while real downloads go on beyond loopback.

use std::time::{Duration, Instant};

use longhaul_endtoend::{DEADLINE, Far, House, QUICK};
use longhaul_lab::process::Guarded;
use longhaul_lab::{Bus, ServiceOptions, wait_until};
use serde_json::Value;

const MANAGER: &str = "org.freedesktop.NetworkManager";
const MANAGER_PATH: &str = "/org/freedesktop/NetworkManager";
const MODEMS: &str = "org.freedesktop.ModemManager1";
const MODEMS_PATH: &str = "/org/freedesktop/ModemManager1";
const MODEM: &str = "/org/freedesktop/ModemManager1/Modem/0";
const CELLULAR: &str = "org.freedesktop.ModemManager1.Modem.Modem3gpp";

/// Long enough for all that happens here.
const SIZE: u64 = 200_000_000;
const PACE: u64 = 500_000;

/// From the daemon's word to the download's status, for somebody who looks from outside.
const REACTION_MAX: Duration = Duration::from_secs(1);

/// NetworkManager with a connection through a modem, and ModemManager with that modem.
fn start_daemons(bus: &Bus) -> [Guarded; 2] {
    let manager = bus.start_template("networkmanager", MANAGER, "{}");
    for (property, value) in [
        ("Metered", "<uint32 2>"),
        ("PrimaryConnection", "<objectpath '/org/freedesktop/NetworkManager/ActiveConnection/1'>"),
        ("PrimaryConnectionType", "<'gsm'>"),
    ] {
        let arguments = [&format!("'{MANAGER}'"), &format!("'{property}'"), value];
        bus.call(MANAGER, MANAGER_PATH, "org.freedesktop.DBus.Mock.AddProperty", &arguments);
    }
    let modems = bus.start_empty(MODEMS, MODEMS_PATH, MODEMS);
    let modem =
        [&format!("'{MODEM}'"), &format!("'{CELLULAR}'"), "{'RegistrationState': <uint32 1>}", "@a(ssss) []"];
    bus.call(MODEMS, MODEMS_PATH, "org.freedesktop.DBus.Mock.AddObject", &modem);
    [manager, modems]
}

/// The states of the network that daemons tell; data limits are the owner's own plan.
#[derive(Debug, Clone, Copy)]
enum Cost {
    Unmetered,
    Metered,
    Roaming,
}

impl Cost {
    fn tell(self, bus: &Bus) {
        let (metered, registration) = match self {
            Self::Unmetered => (2, 1),
            Self::Metered => (1, 1),
            Self::Roaming => (1, 5),
        };
        let registration = format!("{{'RegistrationState': <uint32 {registration}>}}");
        bus.set(MANAGER, MANAGER_PATH, MANAGER, &format!("{{'Metered': <uint32 {metered}>}}"));
        bus.set(MODEMS, MODEM, CELLULAR, &registration);
    }

    /// Whether downloads of UnrestrictedOnly, Default and Always run.
    fn runs(self) -> [bool; 3] {
        match self {
            Self::Unmetered => [true, true, true],
            Self::Metered => [false, true, true],
            Self::Roaming => [false, false, true],
        }
    }
}

/// The whole table [W 1.12], in both directions, by signals that an administrator sets.
#[test]
fn the_table_of_costs_holds_for_running_downloads_in_both_directions() {
    let far = Far::new(SIZE, PACE);
    let limits =
        "[limits]\nrunning-at-once = 3\nrunning-at-once-per-application = 3\nconnections-per-host = 6\n";
    let house = House::with(ServiceOptions {
        config: format!("{QUICK}\n{limits}"),
        wrapper: far.cable.left_wrapper(),
        ..ServiceOptions::default()
    });
    // Worst first: a gate opens once and closes once, and more than that within a minute would be damped.
    let rows = [
        ("over", [false, false, false]),
        ("approaching", [false, false, true]),
        ("roaming", [false, false, true]),
        ("metered", [false, true, true]),
        ("unmetered", [true, true, true]),
        ("metered", [false, true, true]),
        ("roaming", [false, false, true]),
        ("approaching", [false, false, true]),
        ("over", [false, false, false]),
    ];
    let set = |cost: &str| {
        let value = serde_json::json!({ "value": cost });
        let _ = house.send("PUT", "/host/networkCost", &value).expect_status(200);
    };
    set("over");
    let ids = ["UnrestrictedOnly", "Default", "Always"].map(|policy| {
        let mut spec = house.spec(&format!("http://{}/{policy}", far.address()), policy);
        spec["costPolicy"] = policy.into();
        house.create(&spec)
    });
    let status = |id: &String| house.operation(id)["status"].clone();
    let mut running_before = 0;
    for (cost, runs) in rows {
        set(cost);
        let told = Instant::now();
        let expected = runs.map(|runs| if runs { "Running" } else { "PausedCostedNetwork" });
        wait_until(&format!("{expected:?} while {cost}"), DEADLINE, || {
            (ids.each_ref().map(status) == expected).then_some(())
        });
        println!("{cost} took effect within {:?}", told.elapsed());
        // What may not go on stops at once; what may is begun anew, with a connection of its own.
        let running = runs.iter().filter(|runs| **runs).count();
        let reaction_max = if running > running_before { REACTION_MAX * 3 } else { REACTION_MAX };
        running_before = running;
        assert!(told.elapsed() < reaction_max, "{cost} {:?}", told.elapsed());
        for (id, _) in ids.iter().zip(runs).filter(|(_, runs)| *runs) {
            let before = longhaul_endtoend::received(&house.operation(id));
            house.wait_for_bytes(id, before + 1);
        }
    }
}

#[test]
fn running_downloads_follow_the_cost_of_the_network_both_ways() {
    let folder = tempfile::tempdir().unwrap();
    let mut bus = Bus::in_folder(folder.path());
    bus.start();
    let _daemons = start_daemons(&bus);
    Cost::Roaming.tell(&bus);
    let far = Far::new(SIZE, PACE);
    let limits =
        "[limits]\nrunning-at-once = 3\nrunning-at-once-per-application = 3\nconnections-per-host = 6\n";
    let house = House::with(ServiceOptions {
        config: format!("{QUICK}\n{limits}"),
        wrapper: far.cable.left_wrapper(),
        environment: vec![("DBUS_SYSTEM_BUS_ADDRESS".to_owned(), bus.address())],
        ..ServiceOptions::default()
    });
    let ids = ["UnrestrictedOnly", "Default", "Always"].map(|policy| {
        let mut spec = house.spec(&format!("http://{}/{policy}", far.address()), policy);
        spec["costPolicy"] = policy.into();
        house.create(&spec)
    });
    house.wait_for_bytes(&ids[2], 1);
    let status = |id: &String| house.operation(id)["status"].clone();
    // Each gate opens once and closes once: more than that within a minute is damped.
    for cost in [Cost::Roaming, Cost::Unmetered, Cost::Metered, Cost::Roaming] {
        cost.tell(&bus);
        let told = Instant::now();
        let expected = cost.runs().map(|runs| if runs { "Running" } else { "PausedCostedNetwork" });
        wait_until(&format!("{expected:?} while {cost:?}"), DEADLINE, || {
            (ids.each_ref().map(status) == expected).then_some(())
        });
        println!("{cost:?} took effect within {:?}", told.elapsed());
        assert!(told.elapsed() < REACTION_MAX, "{cost:?} {:?}", told.elapsed());
    }
    let host = house.call("GET", "/host").expect_status(200).json();
    assert_eq!(host["network"]["cost"]["source"], "NetworkManager", "{host:#}");
    let explained = house.of(&ids[0], "explain");
    assert_eq!(explained["blocking"][0]["code"], Value::from("networkCost"), "{explained:#}");
}
