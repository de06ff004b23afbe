//! The service is killed at random moments and goes on by itself.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use longhaul_endtoend::{DOWNLOADS, House, QUICK, is_full};
use longhaul_lab::{Content, Resource, Server, ServiceOptions, wait_until};
use serde_json::json;

/// Numbers that look random and follow from the seed, which every failure prints.
struct Dice {
    seed: u64,
    state: u64,
}

impl Dice {
    fn new() -> Self {
        let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos();
        let chosen = std::env::var("LONGHAUL_SEED").ok().and_then(|text| text.parse().ok());
        let seed = chosen.unwrap_or(u64::try_from(clock % 1_000_000_007).unwrap());
        println!("LONGHAUL_SEED={seed}");
        Self { seed, state: seed }
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.state =
            self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 33) % limit
    }
}

#[test]
fn fault_097_ten_kills_cost_little_and_harm_nothing() {
    let mut dice = Dice::new();
    // At this rate a checkpoint a second may lose up to 8 MiB a kill; the short version checkpoints more often.
    let (size, rate, interval_millis) =
        if is_full() { (2 << 30, 8 << 20, 1_000) } else { (48 << 20, 8 << 20, 200) };
    let content = Content::new(dice.seed, size);
    let resource = Resource::new(content);
    let server = Server::build()
        .pace(rate)
        .start(move |exchange| exchange.respond(resource.answer(&exchange.request)));
    let config = QUICK.replace(
        "checkpoint-interval = \"200ms\"",
        &format!("checkpoint-interval = \"{interval_millis}ms\""),
    );
    let mut house = House::with(ServiceOptions { config, ..ServiceOptions::default() });
    let id = house.get(&server.url("/film"), "film");
    for kill in 1..=10 {
        let moment = (kill - 1) * size / 11 + dice.below(size / 11);
        house.wait_for_bytes(&id, moment);
        house.kill();
        house.launch();
    }
    house.complete(&id);
    content.assert_file(&house.result("film"));
    // Counted where the bytes leave, so that what was lost between kernel and disk counts too.
    let twice = server.body_bytes_sent() - size;
    let share = twice as f64 / size as f64;
    println!("{twice} bytes were fetched twice, {:.1} %", share * 100.0);
    let fetched = house.of(&id, "receipt")["bytesFetched"].as_u64().unwrap();
    println!(
        "the receipt counts {fetched} bytes of {size}; what came after the last record before a kill it cannot know"
    );
    let bound = if is_full() { size / 20 } else { 10 * rate * (interval_millis + 300) / 1_000 };
    assert!(twice <= bound, "{twice} bytes were fetched twice, seed {}", dice.seed);
}

#[test]
fn every_acknowledged_creation_survives_a_kill() {
    const CREATIONS: usize = 1_000;
    const CALLERS: usize = 8;
    let mut dice = Dice::new();
    let mut house = House::new();
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    let next = Arc::new(AtomicUsize::new(0));
    for round in 1..=4 {
        let until = CREATIONS * round / 4;
        // The last round is not disturbed, so that it can finish.
        let kill_at =
            (round < 4).then(|| CREATIONS * (round - 1) / 4 + usize::try_from(dice.below(150)).unwrap() + 50);
        let callers: Vec<_> = (0..CALLERS)
            .map(|_| {
                let (api, folder) = (house.api(), house.results());
                let (acknowledged, next) = (Arc::clone(&acknowledged), Arc::clone(&next));
                std::thread::spawn(move || {
                    while acknowledged.lock().unwrap().len() < until {
                        let number = next.fetch_add(1, Ordering::SeqCst);
                        let spec = json!({
                            "requestedUri": format!("http://127.0.0.1:9/{number}"),
                            "resultFile": folder.join(format!("f{number}")),
                            "start": false,
                        });
                        // A call that breaks off promises nothing.
                        let Ok(answer) = api.post(DOWNLOADS, &spec) else { return };
                        if answer.status == 201 {
                            acknowledged.lock().unwrap().push(longhaul_endtoend::id_of(&answer.json()));
                        }
                    }
                })
            })
            .collect();
        if let Some(count) = kill_at {
            wait_until("so many creations", Duration::from_secs(60), || {
                (acknowledged.lock().unwrap().len() >= count).then_some(())
            });
            house.kill();
        }
        for caller in callers {
            caller.join().unwrap();
        }
        if kill_at.is_some() {
            house.launch();
        }
    }
    let known: std::collections::HashSet<String> =
        house.list("").iter().map(longhaul_endtoend::id_of).collect();
    let acknowledged = acknowledged.lock().unwrap();
    assert!(acknowledged.len() >= CREATIONS * 3 / 4, "{} were acknowledged", acknowledged.len());
    let lost: Vec<_> = acknowledged.iter().filter(|id| !known.contains(*id)).collect();
    assert!(
        lost.is_empty(),
        "{} of {} are lost, seed {}: {lost:?}",
        lost.len(),
        acknowledged.len(),
        dice.seed
    );
}

#[test]
fn a_reboot_in_a_queue_of_many_finishes_all() {
    let server = Server::start(|exchange| {
        let number = exchange.request.path().trim_start_matches('/').parse().unwrap();
        exchange.respond(Resource::new(Content::new(number, 50_000)).answer(&exchange.request));
    });
    let mut house = House::new();
    let ids: Vec<_> =
        (0..60).map(|number| house.get(&server.url(&format!("/{number}")), &format!("f{number}"))).collect();
    house.kill();
    house.launch();
    for (number, id) in ids.iter().enumerate() {
        house.complete(id);
        Content::new(number as u64, 50_000).assert_file(&house.result(&format!("f{number}")));
    }
    let left: Vec<_> =
        std::fs::read_dir(house.results()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 60, "{left:?}");
}
