//! Where bytes of two responses meet, without a digest of the whole: rows 30 and 133. Also what each of several
//! servers calls the version at hand.

use longhaul_lab::hostile::Cut;
use longhaul_lab::{Content, Exchange, Gate, Resource, Server};
use longhaul_transfer::StopMode;

use crate::support::{DEADLINE, World, segmented};

const SIZE: u64 = 8 << 20;
/// Slow enough that a further connection pays.
const PACE: u64 = 4 << 20;

fn file() -> Resource {
    Resource::new(Content::new(1, SIZE))
}

/// Other bytes of the same length under the same name.
fn look_alike() -> Resource {
    Resource { content: Content::new(2, SIZE), ..file() }
}

/// A server that answers the first request with the first part of the file and no more, and everything from
/// `from` on out of `upper`, as long as `requests` are not over.
fn divided(from: u64, requests: usize, upper: fn() -> Resource) -> Server {
    Server::build().pace(PACE).start(move |exchange: &mut Exchange<'_>| {
        let request = &exchange.request;
        let is_upper = request.number < requests && request.range_start() >= from;
        let response = if is_upper { upper() } else { file() }.answer(request);
        let is_first = exchange.request.number == 0;
        exchange.respond(if is_first { response.cut_after(3 << 20, Cut::Stall) } else { response });
    })
}

#[test]
fn fault_133_a_hole_between_two_pieces_is_compared_on_both_sides() {
    let world = World::with(segmented());
    let server = divided(4 << 20, 3, look_alike);
    let outcome = world.finish(&world.job(&server.url("/f")));
    outcome.assert_published(&world, file().content);
    assert!(outcome.restarts() >= 1, "two versions met");
    let asked: Vec<_> =
        server.requests().iter().map(|request| request.header("range").map(str::to_owned)).collect();
    assert!(asked.len() > 2, "{asked:?}");
}

#[test]
fn pieces_of_one_version_are_compared_without_a_restart() {
    let world = World::with(segmented());
    let server = divided(4 << 20, 3, file);
    let outcome = world.finish(&world.job(&server.url("/f")));
    outcome.assert_published(&world, file().content);
    assert_eq!(outcome.restarts(), 0);
    let twice = outcome.receipt().bytes_fetched - SIZE;
    assert!(twice < 256 << 10, "{twice} bytes came twice");
}

/// Runs a download whose first connection has passed the seam before the others have brought a byte. Answers the
/// download's restarts, and how many requests there were that cross a seam.
fn late_pieces(upper: fn() -> Resource) -> (u32, usize) {
    let world = World::with(segmented());
    let gate = Gate::new();
    let server = Server::build().pace(PACE).start({
        let gate = gate.clone();
        move |exchange: &mut Exchange<'_>| {
            let is_late = !gate.is_open();
            let request = &exchange.request;
            let is_upper = is_late && request.number > 0;
            let response = if is_upper { upper() } else { file() }.answer(request);
            exchange.respond(if is_late && exchange.request.number > 0 {
                response.hold_at(0, &gate)
            } else {
                response
            });
        }
    });
    let job = world.job(&server.url("/f"));
    let attempt = world.start(&job);
    server.wait_for_requests(2, DEADLINE);
    attempt.wait_for_bytes(server.requests()[1].range_start());
    longhaul_lab::wait_until("the first connection's end", DEADLINE, || {
        let first = server.requests()[0].body_sent();
        // It reads no further than to the seam: what the kernel holds stays where it is.
        (first >= server.requests()[1].range_start()).then_some(())
    });
    gate.open();
    let outcome = attempt.end();
    let outcome = match &outcome.end {
        longhaul_transfer::TransferEnd::Finished { .. } => outcome,
        _ => world.finish(&world.next(&job)),
    };
    outcome.assert_published(&world, file().content);
    let crossing = server.requests().into_iter().filter(|request| {
        let range = request.header("range").and_then(|range| range.strip_prefix("bytes="));
        let bounds = range.and_then(|range| range.split_once('-'));
        let number = |text: &str| text.parse::<u64>().ok();
        bounds.is_some_and(
            |(from, to)| matches!((number(from), number(to)), (Some(from), Some(to)) if to - from < 4096),
        )
    });
    (outcome.restarts(), crossing.count())
}

#[test]
fn fault_133_a_seam_that_nobody_crossed_is_fetched_again_before_publishing() {
    let (restarts, crossing) = late_pieces(file);
    assert_eq!(restarts, 0);
    assert!(crossing >= 1, "no request crosses the seam");
    let (restarts, _) = late_pieces(look_alike);
    assert!(restarts >= 1, "two versions met");
}

#[test]
fn open_seams_survive_the_attempt_that_made_them() {
    let world = World::with(segmented());
    let server = divided(4 << 20, usize::MAX, look_alike);
    let job = world.job(&server.url("/f"));
    let attempt = world.start(&job);
    server.wait_for_requests(2, DEADLINE);
    longhaul_lab::wait_until("a record of both pieces", DEADLINE, || {
        world.journal.record(job.id).filter(|record| record.ranges.iter().count() > 1)
    });
    attempt.handle.stop(StopMode::Keep);
    attempt.end();
    let record = world.journal.record(job.id).unwrap();
    let upper = record.ranges.iter().nth(1).unwrap().offset;
    assert!(record.seams.contains(&upper), "{:?} of {:?}", record.seams, record.ranges);
}

#[test]
fn each_server_is_asked_by_its_own_name_for_the_version() {
    let world = World::with(segmented());
    let paced = |etag: &'static str| {
        Server::build().pace(PACE).start(move |exchange: &mut Exchange<'_>| {
            exchange.respond(file().etag(Some(etag)).answer(&exchange.request));
        })
    };
    let (first, second) = (paced("\"first\""), paced("\"second\""));
    let mut job = world.job(&first.url("/f"));
    job.mirrors = vec![second.url("/copy").parse().unwrap()];
    let attempt = world.start(&job);
    let kept = longhaul_lab::wait_until("a record with bytes of both", DEADLINE, || {
        world.journal.record(job.id).filter(|record| !record.others.is_empty())
    });
    attempt.handle.stop(StopMode::Keep);
    attempt.end();
    let names: Vec<_> = kept.others.iter().map(|(_, version)| version.etag.as_deref()).collect();
    assert_eq!(names, [Some("\"second\"")]);
    assert_eq!(kept.validators.etag.as_deref(), Some("\"first\""));
    drop(first);
    let before = second.requests().len();
    let outcome = world.finish(&world.next(&job));
    outcome.assert_published(&world, file().content);
    assert_eq!(outcome.restarts(), 0);
    let resumed = &second.requests()[before..];
    let bound: Vec<_> = resumed.iter().map(|request| request.header("if-range").map(str::to_owned)).collect();
    assert!(!bound.is_empty() && bound.iter().all(|name| name.as_deref() == Some("\"second\"")), "{bound:?}");
}
