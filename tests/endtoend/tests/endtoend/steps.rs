//! The service dies at the n-th file or store call of a download, for every n, and always recovers.

use std::time::Duration;

use longhaul_endtoend::{DEADLINE, DOWNLOADS, House, id_of, is_full};
use longhaul_lab::{Content, Resource, Server};

/// A few checkpoints long.
const SIZE: u64 = 600_000;
/// Steps looked at in the short version, spread over all.
const SHORT_STEPS: u64 = 24;

struct Download {
    server: Server,
    content: Content,
}

impl Download {
    fn new() -> Self {
        let content = Content::new(5, SIZE);
        let resource = Resource::new(content);
        // Slow enough that the checkpoints of before the end happen.
        let server = Server::build()
            .pace(SIZE * 2)
            .start(move |exchange| exchange.respond(resource.answer(&exchange.request)));
        Self { server, content }
    }

    /// Creates the download; `None` when the service died before its answer.
    fn create(&self, house: &House) -> Option<String> {
        let mut spec = house.spec(&self.server.url("/film"), "film");
        spec["checksum"] = format!("sha256:{}", self.content.sha256()).into();
        let answer = house.api().post(DOWNLOADS, &spec).ok()?;
        Some(id_of(&answer.expect_status(201).json()))
    }
}

/// Runs a whole download under the tracer; returns the number of its calls.
fn count_steps(download: &Download) -> u64 {
    let house = House::empty();
    let mut traced = house.launch_traced();
    traced.arm(None);
    let id = download.create(&house).unwrap();
    house.complete(&id);
    let steps = traced.count();
    traced.kill();
    steps
}

/// Dies at this step, starts again, and expects the right file and nothing else.
fn die_and_recover(download: &Download, step: u64) {
    let mut house = House::empty();
    let mut traced = house.launch_traced();
    traced.arm(Some(step));
    let promised = download.create(&house);
    let ended = traced.wait_or(DEADLINE, || {
        promised.as_ref().is_some_and(|id| {
            let operation = house.api().get(&format!("{DOWNLOADS}/{id}"));
            operation.is_ok_and(|answer| answer.status == 200 && answer.json()["status"] == "Completed")
        })
    });
    let at = ended.and_then(|ended| ended.killed_at).unwrap_or_else(|| "the end".to_owned());
    println!("step {step}: died at {at}");
    traced.kill();
    house.launch();
    let survivors = house.list("");
    let id = match &promised {
        Some(id) => {
            assert!(
                survivors.iter().any(|operation| id_of(operation) == *id),
                "step {step} ({at}): the 201 is broken"
            );
            id.clone()
        }
        // What nobody was promised may exist or not.
        None => survivors.first().map(id_of).or_else(|| download.create(&house)).unwrap(),
    };
    house.complete(&id);
    download.content.assert_file(&house.result("film"));
    let left: Vec<_> =
        std::fs::read_dir(house.results()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["film"], "step {step} ({at}): something is left over");
    let verified = house.call("POST", &format!("{DOWNLOADS}/{id}/verify"));
    assert_eq!(verified.status, 200, "step {step} ({at}): {}", verified.text());
}

#[test]
fn the_service_recovers_from_a_death_at_every_step() {
    let download = Download::new();
    let steps = count_steps(&download);
    assert!(steps >= 10, "only {steps} calls were seen");
    println!("{steps} steps");
    // Timing changes the number of steps a little: look a few behind the end too.
    let last = steps + 3;
    let stride = if is_full() { 1 } else { last.div_ceil(SHORT_STEPS).max(1) };
    let chosen: Vec<u64> = (1..=last).step_by(usize::try_from(stride).unwrap()).collect();
    std::thread::scope(|scope| {
        for half in chosen.chunks(chosen.len().div_ceil(2)) {
            let download = &download;
            scope.spawn(move || half.iter().for_each(|step| die_and_recover(download, *step)));
        }
    });
}

/// A death while a paused download is resumed, and while a canceled one is cleared away.
#[test]
fn the_service_recovers_from_a_death_within_pause_resume_and_cancel() {
    let download = Download::new();
    for step in [1, 2, 3, 5, 8, 12] {
        let mut house = House::empty();
        let mut traced = house.launch_traced();
        let id = download.create(&house).unwrap();
        house.wait_for_bytes(&id, SIZE / 3);
        house.command(&id, "pause");
        house.wait_for_status(&id, "PausedByApplication");
        traced.arm(Some(step));
        let resumed = house.api().call("POST", &format!("{DOWNLOADS}/{id}/resume"), None).is_ok();
        let canceled = house.api().call("POST", &format!("{DOWNLOADS}/{id}/cancel"), None);
        let canceled = canceled.is_ok_and(|answer| answer.status == 200);
        let _ = traced.wait_or(Duration::from_secs(2), || false);
        traced.kill();
        house.launch();
        if canceled {
            house.wait_for_status(&id, "Canceled");
            longhaul_lab::wait_until("an empty folder", DEADLINE, || {
                (std::fs::read_dir(house.results()).unwrap().count() == 0).then_some(())
            });
            continue;
        }
        let status = longhaul_endtoend::status_of(&house.operation(&id));
        if status == "PausedByApplication" {
            assert!(!resumed, "step {step}: the resume was acknowledged and forgotten");
            house.command(&id, "resume");
        }
        if status != "Canceled" {
            house.complete(&id);
            download.content.assert_file(&house.result("film"));
        }
    }
}
