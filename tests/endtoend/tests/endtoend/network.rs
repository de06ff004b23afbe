//! The network goes away and comes back, in a network namespace of the service's own. No retry is allowed in these
//! tests: an attempt that counts against the limit is the end of the download.

use std::time::Duration;

use longhaul_endtoend::{DEADLINE, Far, House, QUICK, assert_exit, is_full, received, shown};
use longhaul_lab::netns::Cable;
use longhaul_lab::{ServiceOptions, wait_until};
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
        let far = Far::new(SIZE, PACE);
        let config = QUICK.replace("[engine]", "[engine]\nretries-max = 0");
        let options =
            ServiceOptions { config, wrapper: far.cable.left_wrapper(), ..ServiceOptions::default() };
        Self { house: House::with(options), far }
    }

    fn begin(&self) -> String {
        let id = self.house.get(&format!("http://{}/f", self.far.server().address()), "f");
        self.house.wait_for_bytes(&id, SIZE / 6);
        id
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
    scene.far.cable.left_ip("address add 10.77.0.9/24 dev cable");
    scene.far.cable.left_ip(&format!("address delete {}/24 dev cable", Cable::LEFT_ADDRESS));
    // The kernel has taken the other address along, which was a secondary one, and the routes.
    scene.far.cable.left_ip("address replace 10.77.0.9/24 dev cable");
    scene.far.cable.left_ip(&format!("route replace default via {}", Cable::RIGHT_ADDRESS));
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
