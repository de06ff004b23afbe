//! The network goes away and comes back, in a network namespace of the service's own. No retry is allowed in these
//! tests: an attempt that counts against the limit is the end of the download.

use std::time::Duration;

use longhaul_endtoend::{DEADLINE, Far, House, QUICK, assert_exit, is_full, received, shown};
use longhaul_lab::names::NameServer;
use longhaul_lab::netns::Cable;
use longhaul_lab::{Bus, ServiceOptions, wait_until};
use serde_json::Value;

const SIZE: u64 = 6_000_000;
const PACE: u64 = 2_000_000;

/// A service at the left end of a cable and a server at its right end.
struct Scene {
    house: House,
    far: Far,
}

impl Scene {
    fn new() -> Self {
        Self::with(Far::new(SIZE, PACE), ServiceOptions::default())
    }

    fn with(far: Far, options: ServiceOptions) -> Self {
        let config = QUICK.replace("[engine]", "[engine]\nretries-max = 0");
        let wrapper = [far.cable.left_wrapper(), options.wrapper].concat();
        Self { house: House::with(ServiceOptions { config, wrapper, ..options }), far }
    }

    fn begin(&self) -> String {
        self.begin_at(&self.far.address().to_string())
    }

    fn begin_at(&self, authority: &str) -> String {
        let id = self.house.get(&format!("http://{authority}/f"), "f");
        self.house.wait_for_bytes(&id, SIZE / 6);
        id
    }

    /// Connections from the old one are dead.
    fn give_another_address(&self) {
        self.far.cable.left_ip("address add 10.77.0.9/24 dev cable");
        self.far.cable.left_ip(&format!("address delete {}/24 dev cable", Cable::LEFT_ADDRESS));
        // The kernel has taken the other address along, which was a secondary one, and the routes.
        self.far.cable.left_ip("address replace 10.77.0.9/24 dev cable");
        self.far.cable.left_ip(&format!("route replace default via {}", Cable::RIGHT_ADDRESS));
    }

    #[track_caller]
    fn level(&self) -> Value {
        self.house.call("GET", "/host").expect_status(200).json()["network"]["level"]["value"].clone()
    }

    #[track_caller]
    fn ends_well(&self, id: &str) {
        self.house.complete(id);
        self.far.content.assert_file(&self.house.result("f"));
        let receipt = self.house.of(id, "receipt");
        assert_eq!(receipt["restarts"], 0, "{receipt:#}");
        let fetched = receipt["bytesFetched"].as_u64().unwrap();
        assert!(fetched < SIZE + SIZE / 4, "{fetched} of {SIZE} bytes were fetched");
        assert!(self.far.server().requests()[1..].iter().all(|request| request.range_start() > 0));
    }
}

#[test]
fn a_pulled_cable_is_waited_for_and_told() {
    let scene = Scene::new();
    assert_eq!(scene.level(), "Internet");
    let id = scene.begin();
    // The second time within a minute counts as flapping, and the network is believed again a minute later.
    let rounds = if is_full() { 2 } else { 1 };
    for _ in 0..rounds {
        scene.far.cable.set_plugged(false);
        scene.house.wait_for_status(&id, "PausedNoNetwork");
        // The worker lets go, and then nothing else is in the way.
        wait_until("the one reason", DEADLINE, || {
            let waiting = scene.house.operation(&id)["waiting"].clone();
            let codes: Vec<_> = waiting.as_array()?.iter().map(|reason| reason["code"].clone()).collect();
            (codes == ["networkLevel"]).then_some(())
        });
        let explained = scene.house.of(&id, "explain");
        assert_eq!(
            (&explained["decision"], &explained["blocking"][0]["code"]),
            (&"Wait".into(), &"networkLevel".into())
        );
        let why = scene.house.run(&["why", &id]);
        assert_exit(&why, 0);
        assert!(shown(&why).contains("networkLevel"), "{}", shown(&why));
        assert_eq!(scene.level(), "None");
        // Longer than all retries together would take.
        let before = received(&scene.house.operation(&id));
        std::thread::sleep(Duration::from_secs(2));
        assert_eq!(received(&scene.house.operation(&id)), before);
        scene.far.cable.set_plugged(true);
        scene.house.wait_for_bytes(&id, before + 300_000);
    }
    scene.ends_well(&id);
    let explained = scene.house.of(&id, "explain");
    let waited = explained["totals"].as_array().unwrap().iter().find(|total| total["code"] == "networkLevel");
    assert!(waited.is_some_and(|total| total["seconds"].as_u64().unwrap() >= 2), "{explained:#}");
}

#[test]
fn another_address_of_this_machine_costs_neither_a_retry_nor_a_restart() {
    let scene = Scene::new();
    let id = scene.begin();
    scene.give_another_address();
    // Far below the ten seconds after which silence is noticed.
    wait_until("a connection from the new address", Duration::from_secs(5), || {
        (scene.far.server().requests().len() > 1).then_some(())
    });
    scene.ends_well(&id);
}

#[test]
fn a_download_that_begins_without_a_network_waits_for_it() {
    let scene = Scene::new();
    scene.far.cable.set_plugged(false);
    wait_until("the news", DEADLINE, || (scene.level() == "None").then_some(()));
    let id = scene.house.get(&format!("http://{}/f", scene.far.server().address()), "f");
    scene.house.wait_for_status(&id, "PausedNoNetwork");
    assert!(scene.far.server().requests().is_empty());
    scene.far.cable.set_plugged(true);
    scene.ends_well(&id);
}

/// Words that a command has to be put behind, to have only the name server at the right end of the cable.
fn with_names_from_the_right(folder: &std::path::Path) -> Vec<String> {
    let write = |name: &str, text: &str| {
        let file = folder.join(name);
        std::fs::write(&file, text).unwrap();
        format!("mount --bind {} /etc/{name}", file.display())
    };
    let server = write("resolv.conf", &format!("nameserver {}\n", Cable::RIGHT_ADDRESS));
    let order = write("nsswitch.conf", "hosts: files dns\n");
    let script = format!("{server} && {order} && exec \"$0\" \"$@\"");
    ["unshare", "--mount", "sh", "-c", &script].map(str::to_owned).to_vec()
}

#[test]
fn a_name_service_that_is_away_is_waited_for_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let wrapper = with_names_from_the_right(folder.path());
    let scene = Scene::with(Far::new(SIZE, PACE), ServiceOptions { wrapper, ..ServiceOptions::default() });
    let right = Cable::RIGHT_ADDRESS.parse().unwrap();
    let name_server = || scene.far.cable.on_right(|| NameServer::start(right, "far.test", right));
    let names = name_server();
    let id = scene.begin_at(&format!("far.test:{}", scene.far.address().port()));
    drop(names);
    scene.give_another_address();
    wait_until("the reason", DEADLINE, || {
        let why = scene.house.run(&["why", &id]);
        shown(&why).contains("the name service does not answer").then_some(())
    });
    scene.house.wait_for_status(&id, "PausedNoNetwork");
    let _names = name_server();
    scene.ends_well(&id);
}

#[test]
fn a_default_route_that_moves_to_a_metered_link_holds_back_what_must_be_free() {
    const LARGE: u64 = 20_000_000;
    let cable = Cable::new();
    cable.lay_second();
    let far = Far::at(cable, Cable::FAR_ADDRESS, LARGE, PACE);
    let folder = tempfile::tempdir().unwrap();
    let mut bus = Bus::in_folder(folder.path());
    bus.start();
    let _manager = bus.start_network_manager("802-3-ethernet", 1);
    let environment = vec![("DBUS_SYSTEM_BUS_ADDRESS".to_owned(), bus.address())];
    let scene = Scene::with(far, ServiceOptions { environment, ..ServiceOptions::default() });
    let go_by = |is_metered: bool| {
        let gateway = if is_metered { Cable::SECOND_ADDRESS } else { Cable::RIGHT_ADDRESS };
        scene.far.cable.left_ip(&format!("route replace default via {gateway}"));
        bus.set_metered(if is_metered { 1 } else { 2 });
    };
    go_by(true);
    let [strict, easy] = ["UnrestrictedOnly", "Default"].map(|policy| {
        let url = format!("http://{}/{policy}", scene.far.address());
        let mut spec = scene.house.spec(&url, policy);
        spec["costPolicy"] = policy.into();
        scene.house.create(&spec)
    });
    scene.house.wait_for_status(&strict, "PausedCostedNetwork");
    scene.house.wait_for_bytes(&easy, PACE / 2);
    go_by(false);
    scene.house.wait_for_bytes(&strict, PACE / 2);
    go_by(true);
    scene.house.wait_for_status(&strict, "PausedCostedNetwork");
    let why = scene.house.run(&["why", &strict]);
    assert!(shown(&why).contains("networkCost"), "{}", shown(&why));
    scene.house.complete(&easy);
    scene.far.content.assert_file(&scene.house.result("Default"));
    let receipt = scene.house.of(&easy, "receipt");
    assert_eq!(receipt["restarts"], 0, "{receipt:#}");
    let fetched = receipt["bytesFetched"].as_u64().unwrap();
    assert!(fetched < LARGE + LARGE / 4, "{fetched} of {LARGE} bytes were fetched");
}
