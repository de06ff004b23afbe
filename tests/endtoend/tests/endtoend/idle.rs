//! Idle means idle.

use std::time::Duration;

use longhaul_endtoend::{DOWNLOADS, House, QUICK, is_full, switches};
use longhaul_lab::service::calm_wrapper;
use longhaul_lab::{ServiceOptions, wait_until};
use serde_json::{Value, json};

#[test]
fn ten_thousand_waiting_downloads_cause_no_wake_up() {
    let options =
        ServiceOptions { config: QUICK.to_owned(), wrapper: calm_wrapper(), ..ServiceOptions::default() };
    let house = House::with(options);
    let specs: Vec<Value> = (0..10_000)
        .map(|number| {
            let mut spec = house.spec("http://127.0.0.1:9/f", &format!("f{number}"));
            // Some wait to be started, some for their time.
            if number % 2 == 0 {
                spec["start"] = false.into();
            } else {
                spec["notBefore"] = "2100-01-01T00:00:00Z".into();
            }
            spec
        })
        .collect();
    for batch in specs.chunks(1_000) {
        let created = house.send("POST", &format!("{DOWNLOADS}/batch"), &json!({ "operations": batch }));
        let _ = created.expect_status(201);
    }
    // What was begun by the creations (checkpoints of the store, idle threads of a pool) comes to its end first.
    let quiet = Duration::from_secs(if is_full() { 60 } else { 10 });
    wait_until("a stretch without any wake-up", quiet * 4 + Duration::from_secs(30), || {
        let before = switches(house.pid());
        std::thread::sleep(quiet);
        let after = switches(house.pid());
        if before != after {
            println!("{before:?}\n{after:?}");
        }
        (before == after).then_some(())
    });
}
