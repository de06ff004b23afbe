//! Reading a file while it is incomplete: scenarios 5a to 5e of the platform's samples, on the mover itself.

use std::time::{Duration, Instant};

use longhaul_contract::{ByteRange, Cause, Remedy, WebErrorStatus};
use longhaul_lab::hostile::Cut;
use longhaul_lab::{Content, Gate, Resource, Server};
use longhaul_transfer::{Job, Report, Settings, StopMode, TransferEnd};

use crate::support::{Attempt, DEADLINE, World, segmented, settings};

const SIZE: u64 = 4 << 20;
/// The whole file takes four seconds.
const PACE: u64 = 1 << 20;

fn file() -> Resource {
    Resource::new(Content::new(1, SIZE))
}

fn random_access_job(world: &World, server: &Server) -> Job {
    Job { is_random_access: true, ..world.job(&server.url("/film")) }
}

fn paced() -> Server {
    Server::build().pace(PACE).start(|exchange| exchange.respond(file().answer(&exchange.request)))
}

/// Reads `length` bytes at `offset`, in as many pieces as they come.
#[track_caller]
fn read(world: &World, attempt: &Attempt<'_>, offset: u64, length: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < length {
        let next = attempt.handle.read_at(offset + bytes.len() as u64, length - bytes.len());
        let piece = world.block_on(async { tokio::time::timeout(DEADLINE, next).await });
        let piece = piece.expect("bytes come before the deadline").expect("the worker lives");
        assert!(!piece.is_empty(), "a read never yields nothing");
        bytes.extend_from_slice(&piece);
    }
    bytes
}

#[test]
fn a_wanted_range_comes_first_and_the_hole_is_filled_later() {
    for settings in [settings(), segmented()] {
        let world = World::with(settings);
        let server = paced();
        let attempt = world.start(&random_access_job(&world, &server));
        attempt.wait_for_bytes(100_000);
        let offset = SIZE * 6 / 10;
        let begun = Instant::now();
        attempt.handle.want(ByteRange::new(offset, 50_000));
        assert_eq!(read(&world, &attempt, offset, 50_000), file().content.bytes(offset, 50_000));
        assert!(begun.elapsed() < Duration::from_millis(1_800), "waited for its turn: {:?}", begun.elapsed());
        let ranges = attempt.handle.ranges();
        assert!(ranges.as_slice().len() >= 2, "{ranges:?}");
        let outcome = attempt.end();
        outcome.assert_published(&world, file().content);
        assert!(!outcome.has_restarted());
    }
}

#[test]
fn the_end_of_a_file_can_be_had_first() {
    let world = World::new();
    let server = paced();
    let attempt = world.start(&random_access_job(&world, &server));
    attempt.wait_for_bytes(100_000);
    let begun = Instant::now();
    attempt.handle.want(ByteRange::new(SIZE - 1_000, 1_000));
    assert_eq!(read(&world, &attempt, SIZE - 1_000, 1_000), file().content.bytes(SIZE - 1_000, 1_000));
    assert!(begun.elapsed() < Duration::from_millis(1_800), "{:?}", begun.elapsed());
    attempt.end().assert_published(&world, file().content);
}

#[test]
fn readable_ranges_are_reported_as_they_grow() {
    let world = World::new();
    let server = paced();
    let attempt = world.start(&random_access_job(&world, &server));
    attempt.wait_for_bytes(100_000);
    attempt.handle.want(ByteRange::new(SIZE / 2, 10_000));
    let outcome = attempt.end();
    let added: longhaul_contract::RangeSet = outcome
        .reports
        .iter()
        .filter_map(|report| match report {
            Report::RangesAdded { ranges, was_restarted } => {
                assert!(!was_restarted);
                Some(ranges.clone())
            }
            _ => None,
        })
        .flatten()
        .collect();
    assert_eq!(added.as_slice(), [ByteRange::new(0, SIZE)], "all bytes were announced");
}

#[test]
fn ranges_survive_a_pause() {
    let world = World::new();
    let server = paced();
    let job = random_access_job(&world, &server);
    let attempt = world.start(&job);
    attempt.wait_for_bytes(100_000);
    attempt.handle.want(ByteRange::new(SIZE / 2, 100_000));
    read(&world, &attempt, SIZE / 2, 100_000);
    attempt.handle.stop(StopMode::Keep);
    assert!(matches!(attempt.end().end, TransferEnd::Stopped));
    let job = world.next(&job);
    let held = job.journal.as_ref().unwrap().ranges.clone();
    assert!(held.contains(ByteRange::new(SIZE / 2, 100_000)), "{held:?}");
    let attempt = world.start(&job);
    assert_eq!(read(&world, &attempt, SIZE / 2, 1_000), file().content.bytes(SIZE / 2, 1_000));
    let outcome = attempt.end();
    outcome.assert_published(&world, file().content);
    let fetched = outcome.receipt().bytes_fetched;
    assert!(fetched <= SIZE + SIZE / 5, "{fetched} bytes were fetched");
}

#[test]
fn reading_behind_the_end_is_an_error_and_not_a_wait() {
    let world = World::new();
    let server = paced();
    let attempt = world.start(&random_access_job(&world, &server));
    attempt.wait_for_bytes(1);
    let read = attempt.handle.read_at(SIZE + 1, 10);
    let outcome = world.block_on(async { tokio::time::timeout(DEADLINE, read).await });
    assert!(outcome.expect("no wait").is_err());
    attempt.handle.stop(StopMode::Discard);
    assert!(matches!(attempt.end().end, TransferEnd::Stopped));
}

#[test]
fn a_wait_for_bytes_ends_with_the_worker() {
    let gate = Gate::new();
    let world = World::with(Settings { stall_timeout: Duration::from_mins(1), ..settings() });
    let server = Server::start({
        let gate = gate.clone();
        move |exchange| exchange.respond(file().answer(&exchange.request).hold_at(0, &gate))
    });
    let attempt = world.start(&random_access_job(&world, &server));
    server.wait_for_requests(1, DEADLINE);
    let handle = attempt.handle.clone();
    let outcome = world.block_on(async {
        let read = tokio::spawn(async move { handle.read_at(0, 10).await });
        tokio::task::yield_now().await;
        attempt.handle.stop(StopMode::Keep);
        tokio::time::timeout(DEADLINE, read).await
    });
    assert!(outcome.expect("no wait").expect("no panic").is_err());
}

#[test]
fn a_server_without_ranges_or_length_is_refused_up_front() {
    for (resource, is_chunked, cause, status) in [
        (file().without_ranges(), false, Cause::RangesUnsupported, WebErrorStatus::InsufficientRangeSupport),
        (file(), true, Cause::LengthMissing, WebErrorStatus::MissingContentLengthSupport),
    ] {
        let world = World::new();
        let server = Server::build().pace(PACE).start(move |exchange| {
            let response = if is_chunked { resource.full().chunked() } else { resource.full() };
            exchange.respond(response);
        });
        let outcome = world.run(&random_access_job(&world, &server));
        assert_eq!(outcome.why(), (cause, Remedy::Permanent));
        assert_eq!(outcome.failure().web_error_status, status);
        assert!(server.body_bytes_sent() < SIZE / 2, "it failed at once");
        world.assert_nothing_published();
    }
}

#[test]
fn a_file_that_changes_under_a_reader_says_so() {
    let world = World::new();
    let server = Server::build().pace(PACE).start(|exchange| {
        let other = Resource::new(Content::new(2, SIZE));
        match exchange.request.number {
            0 => exchange.respond(file().full().cut_after(SIZE / 4, Cut::Reset)),
            _ => exchange.respond(other.answer(&exchange.request)),
        }
    });
    let mut job = random_access_job(&world, &server);
    let mut reports = Vec::new();
    loop {
        let outcome = world.run(&job);
        reports.extend(outcome.reports);
        match outcome.end {
            TransferEnd::Finished { .. } => break,
            TransferEnd::Failed { failure, .. } => {
                assert_ne!(failure.remedy, Remedy::Permanent, "{failure:?}");
            }
            TransferEnd::Stopped => panic!("nobody asked it to stop"),
        }
        job = world.next(&job);
    }
    Content::new(2, SIZE).assert_file(&world.result());
    let was_told =
        reports.iter().any(|report| matches!(report, Report::RangesAdded { was_restarted: true, .. }));
    assert!(was_told, "readers were not told that earlier bytes are void");
}
