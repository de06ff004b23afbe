//! What the connection costs, told by daemons on a bus of the test's own, while real downloads and uploads go on beyond
//! loopback.

use std::time::{Duration, Instant};

use longhaul_endtoend::{DEADLINE, Far, House, QUICK};
use longhaul_lab::process::Guarded;
use longhaul_lab::{Bus, Content, ServiceOptions, wait_until};
use serde_json::Value;

const MODEMS: &str = "org.freedesktop.ModemManager1";
const MODEMS_PATH: &str = "/org/freedesktop/ModemManager1";
const MODEM: &str = "/org/freedesktop/ModemManager1/Modem/0";
const CELLULAR: &str = "org.freedesktop.ModemManager1.Modem.Modem3gpp";

/// Long enough for all that happens here.
const SIZE: u64 = 200_000_000;
const PACE: u64 = 500_000;

/// Uploads are sent anew whenever they may go on, and are never through.
const UPLOAD_SIZE: u64 = 40_000_000;

const LIMITS: &str =
    "[limits]\nrunning-at-once = 6\nrunning-at-once-per-application = 6\nconnections-per-host = 12\n";

/// From the daemon's word to the download's status, for somebody who looks from outside.
const REACTION_MAX: Duration = Duration::from_secs(1);

/// NetworkManager with a connection through a modem, and ModemManager with that modem.
fn start_daemons(bus: &Bus) -> [Guarded; 2] {
    let manager = bus.start_network_manager("gsm", 2);
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
        bus.set_metered(metered);
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

/// A download and an upload of each policy: UnrestrictedOnly, Default, Always.
struct Transfers<'a> {
    house: &'a House,
    downloads: [String; 3],
    uploads: [String; 3],
}

impl<'a> Transfers<'a> {
    fn begin(house: &'a House, far: &Far) -> Self {
        let policies = ["UnrestrictedOnly", "Default", "Always"];
        let downloads = policies.map(|policy| {
            let mut spec = house.spec(&format!("http://{}/{policy}", far.address()), policy);
            spec["costPolicy"] = policy.into();
            house.create(&spec)
        });
        let uploads = policies.map(|policy| {
            let url = format!("http://{}/up/{policy}", far.address());
            let content = Content::new(1, UPLOAD_SIZE);
            let mut spec = house.upload_spec("PUT", &url, &format!("up-{policy}"), content);
            spec["costPolicy"] = policy.into();
            spec["rateLimit"] = PACE.into();
            house.create_upload(&spec)
        });
        Self { house, downloads, uploads }
    }

    /// Waits until those run that may, and the others are paused for the cost.
    #[track_caller]
    fn until(&self, runs: [bool; 3], what: &str) {
        let expected = runs.map(|runs| if runs { "Running" } else { "PausedCostedNetwork" });
        wait_until(&format!("{expected:?} while {what}"), DEADLINE, || {
            let downloads = self.downloads.each_ref().map(|id| self.house.operation(id)["status"].clone());
            let uploads = self.uploads.each_ref().map(|id| self.house.upload(id)["status"].clone());
            (downloads == expected && uploads == expected).then_some(())
        });
    }

    /// Waits until each of those that run has moved bytes.
    fn move_on(&self, runs: [bool; 3]) {
        let running = self.downloads.iter().zip(&self.uploads).zip(runs).filter(|(_, runs)| *runs);
        for ((download, upload), _) in running {
            let before = longhaul_endtoend::received(&self.house.operation(download));
            self.house.wait_for_bytes(download, before + 1);
            self.house.wait_for_sent(upload, 1);
        }
    }

    /// The cause that is told of a download and of an upload that wait for a network which costs less.
    fn assert_told(&self) {
        for explained in
            [self.house.of(&self.downloads[0], "explain"), self.house.of_upload(&self.uploads[0], "explain")]
        {
            assert_eq!(explained["blocking"][0]["code"], Value::from("networkCost"), "{explained:#}");
        }
    }
}

/// The whole table [W 1.12], in both directions, by signals that an administrator sets.
#[test]
fn the_table_of_costs_holds_for_running_transfers_in_both_directions() {
    let far = Far::new(SIZE, PACE);
    let house = House::with(ServiceOptions {
        config: format!("{QUICK}\n{LIMITS}"),
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
    let transfers = Transfers::begin(&house, &far);
    let mut running_before = 0;
    for (cost, runs) in rows {
        set(cost);
        let told = Instant::now();
        transfers.until(runs, cost);
        println!("{cost} took effect within {:?}", told.elapsed());
        // What may not go on stops at once; what may is begun anew, with a connection of its own.
        let running = runs.iter().filter(|runs| **runs).count();
        let reaction_max = if running > running_before { REACTION_MAX * 3 } else { REACTION_MAX };
        running_before = running;
        assert!(told.elapsed() < reaction_max, "{cost} {:?}", told.elapsed());
        transfers.move_on(runs);
    }
}

#[test]
fn running_transfers_follow_the_cost_of_the_network_both_ways() {
    let folder = tempfile::tempdir().unwrap();
    let mut bus = Bus::in_folder(folder.path());
    bus.start();
    let _daemons = start_daemons(&bus);
    Cost::Roaming.tell(&bus);
    let far = Far::new(SIZE, PACE);
    let house = House::with(ServiceOptions {
        config: format!("{QUICK}\n{LIMITS}"),
        wrapper: far.cable.left_wrapper(),
        environment: vec![("DBUS_SYSTEM_BUS_ADDRESS".to_owned(), bus.address())],
        ..ServiceOptions::default()
    });
    let transfers = Transfers::begin(&house, &far);
    transfers.move_on(Cost::Roaming.runs());
    // Each gate opens once and closes once: more than that within a minute is damped.
    for cost in [Cost::Roaming, Cost::Unmetered, Cost::Metered, Cost::Roaming] {
        cost.tell(&bus);
        let told = Instant::now();
        transfers.until(cost.runs(), &format!("{cost:?}"));
        println!("{cost:?} took effect within {:?}", told.elapsed());
        assert!(told.elapsed() < REACTION_MAX, "{cost:?} {:?}", told.elapsed());
    }
    let host = house.call("GET", "/host").expect_status(200).json();
    assert_eq!(host["network"]["cost"]["source"], "NetworkManager", "{host:#}");
    transfers.assert_told();
}
