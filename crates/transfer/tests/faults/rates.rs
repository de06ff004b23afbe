//! Limits of bytes per second, with real sockets. How they share is tested beside the code, on a clock by hand.

use std::time::{Duration, Instant};

use longhaul_lab::{Content, Resource, Server};
use longhaul_transfer::TransferEnd;

use crate::support::World;

const SIZE: u64 = 600_000;

fn file() -> Resource {
    Resource::new(Content::new(1, SIZE))
}

#[test]
fn a_limited_download_takes_its_time() {
    let world = World::new();
    let server = Server::of(file());
    let mut job = world.job(&server.url("/f"));
    job.rate_limit = Some(400_000);
    let started = Instant::now();
    world.run(&job).assert_published(&world, file().content);
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(1_450), "{took:?}");
}

#[test]
fn downloads_share_the_limit_of_the_machine_evenly() {
    let world = World::new();
    world.transfers.set_rate(Some(600_000));
    let server = Server::of(file());
    let started = Instant::now();
    let jobs: Vec<_> = (0..2)
        .map(|number| {
            let mut job = world.job(&server.url("/f"));
            job.result_file = format!("{}.{number}", world.result().display());
            job
        })
        .collect();
    let [one, other] = [world.start(&jobs[0]), world.start(&jobs[1])];
    one.wait_for_bytes(SIZE / 2);
    let seen = other.handle.progress().bytes_received;
    assert!(seen >= SIZE / 4, "{seen} bytes where the other has had {}", SIZE / 2);
    for (job, attempt) in jobs.iter().zip([one, other]) {
        assert!(matches!(attempt.end().end, TransferEnd::Finished { .. }));
        file().content.assert_file(job.result_file.as_ref());
    }
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(1_900), "{took:?}");
}

#[test]
fn a_limit_that_is_lifted_lets_the_rest_through() {
    let world = World::new();
    let server = Server::of(file());
    let mut job = world.job(&server.url("/f"));
    job.rate_limit = Some(1);
    let attempt = world.start(&job);
    attempt.wait_for_bytes(1);
    assert!(attempt.handle.progress().bytes_received < SIZE);
    attempt.handle.set_rate(None);
    attempt.end().assert_published(&world, file().content);
}
