//! Ranges and resume, rows 1 to 25 and 133.

use longhaul_contract::{Cause, Remedy};
use longhaul_lab::hostile::{Body, Cut};
use longhaul_lab::{Content, Gate, Resource, Response, Server};
use longhaul_transfer::{Settings, StopMode, TransferEnd};

use crate::support::{DEADLINE, NOW, OLD_DATE, OTHER_DATE, World, resumes_at, settings, stalling_first};

const SIZE: u64 = 300_000;
const KEPT: u64 = 200_000;

fn old() -> Resource {
    Resource::new(Content::new(1, SIZE))
}

fn new() -> Resource {
    Resource::new(Content::new(2, SIZE))
}

#[test]
fn fault_001_resume_with_the_same_strong_etag_appends() {
    let world = World::new();
    let server = stalling_first(old(), KEPT, |exchange| exchange.respond(old().answer(&exchange.request)));
    let job = world.interrupted(&server, KEPT);
    let outcome = world.run(&job);
    outcome.assert_published(&world, old().content);
    assert!(!outcome.has_restarted());
    let requests = server.requests();
    assert_eq!(requests.len(), 2);
    assert!(resumes_at(&requests[1], KEPT), "{:?}", requests[1]);
    assert_eq!(requests[1].header("if-range"), Some("\"v1\""));
    assert_eq!(requests[1].header("accept-encoding"), Some("identity"));
    assert!(requests[1].body_sent() <= SIZE - KEPT + Settings::default().overlap_bytes);
}

#[test]
fn fault_002_resume_with_a_changed_etag_restarts() {
    let world = World::new();
    let server = stalling_first(old(), KEPT, |exchange| exchange.respond(new().answer(&exchange.request)));
    let job = world.interrupted(&server, KEPT);
    let outcome = world.finish(&job);
    outcome.assert_published(&world, new().content);
    assert_eq!(outcome.restarts(), 1);
    assert_eq!(outcome.receipt().etag.as_deref(), Some("\"v2\""));
}

#[test]
fn fault_002_a_changed_file_of_another_length_restarts() {
    for length in [KEPT / 2, SIZE * 2] {
        let other = Resource::new(Content::new(2, length));
        let world = World::new();
        let server = stalling_first(old(), KEPT, {
            let other = other.clone();
            move |exchange| exchange.respond(other.answer(&exchange.request))
        });
        let job = world.interrupted(&server, KEPT);
        let outcome = world.finish(&job);
        outcome.assert_published(&world, other.content);
        assert_eq!(outcome.restarts(), 1);
    }
}

#[test]
fn fault_003_a_206_of_another_version_is_dropped() {
    let changed_etag = new().ignoring_if_range();
    let changed_date = new().ignoring_if_range().etag(None).last_modified(OTHER_DATE).date(NOW);
    for (first, later) in
        [(old(), changed_etag), (old().etag(None).last_modified(OLD_DATE).date(NOW), changed_date)]
    {
        let world = World::new();
        let server =
            stalling_first(first, KEPT, move |exchange| exchange.respond(later.answer(&exchange.request)));
        let job = world.interrupted(&server, KEPT);
        let outcome = world.finish(&job);
        outcome.assert_published(&world, new().content);
        assert_eq!(outcome.restarts(), 1);
    }
}

#[test]
fn fault_004_a_weak_etag_is_never_sent_in_if_range() {
    let weak = || old().etag(Some("W/\"v1\""));
    let world = World::new();
    let server =
        stalling_first(weak(), KEPT, move |exchange| exchange.respond(weak().answer(&exchange.request)));
    let job = world.interrupted(&server, KEPT);
    world.finish(&job).assert_published(&world, old().content);
    assert!(server.requests().iter().all(|request| request.header("if-range").is_none()));
}

#[test]
fn fault_004_a_weak_etag_of_a_changed_file_restarts() {
    let world = World::new();
    let server = stalling_first(old().etag(Some("W/\"v1\"")), KEPT, move |exchange| {
        exchange.respond(new().etag(Some("W/\"v2\"")).answer(&exchange.request));
    });
    let job = world.interrupted(&server, KEPT);
    let outcome = world.finish(&job);
    outcome.assert_published(&world, new().content);
    assert_eq!(outcome.restarts(), 1);
}

#[test]
fn fault_004_last_modified_is_sent_only_where_it_is_strong() {
    let dated = |date: &'static str| move || old().etag(None).last_modified(OLD_DATE).date(date);
    for (date, expected) in [(NOW, Some(OLD_DATE)), ("Mon, 05 Jan 2026 10:00:30 GMT", None)] {
        let resource = dated(date);
        let world = World::new();
        let server = stalling_first(resource(), KEPT, move |exchange| {
            exchange.respond(resource().answer(&exchange.request));
        });
        let job = world.interrupted(&server, KEPT);
        world.finish(&job).assert_published(&world, old().content);
        assert_eq!(server.requests()[1].header("if-range"), expected, "Date: {date}");
    }
}

fn without_validators(seed: u64) -> Resource {
    Resource::new(Content::new(seed, SIZE)).etag(None)
}

#[test]
fn fault_005_without_a_validator_an_equal_overlap_resumes() {
    let world = World::new();
    let server = stalling_first(without_validators(1), KEPT, |exchange| {
        exchange.respond(without_validators(1).answer(&exchange.request));
    });
    let job = world.interrupted(&server, KEPT);
    let outcome = world.finish(&job);
    outcome.assert_published(&world, old().content);
    assert!(!outcome.has_restarted());
    let resumed = &server.requests()[1];
    assert!(resumed.range_start() < KEPT && resumes_at(resumed, KEPT), "the overlap is fetched: {resumed:?}");
}

#[test]
fn fault_005_without_a_validator_another_overlap_restarts() {
    let world = World::new();
    let server = stalling_first(without_validators(1), KEPT, |exchange| {
        exchange.respond(without_validators(2).answer(&exchange.request));
    });
    let job = world.interrupted(&server, KEPT);
    let outcome = world.finish(&job);
    outcome.assert_published(&world, new().content);
    assert_eq!(outcome.restarts(), 1);
}

#[test]
fn fault_005_without_a_validator_and_without_leave_it_restarts() {
    let world = World::with(Settings { allow_unvalidated_resume: false, ..settings() });
    let server = stalling_first(without_validators(1), KEPT, |exchange| {
        exchange.respond(without_validators(1).answer(&exchange.request));
    });
    let job = world.interrupted(&server, KEPT);
    let outcome = world.finish(&job);
    outcome.assert_published(&world, old().content);
    assert_eq!(outcome.restarts(), 1);
    assert_eq!(server.requests()[1].range_start(), 0);
}

#[test]
fn fault_006_a_200_to_a_resume_never_lands_at_the_offset() {
    for resource in [old(), without_validators(1), without_validators(2)] {
        let content = resource.content;
        let world = World::new();
        let server = stalling_first(old(), KEPT, move |exchange| exchange.respond(resource.full()));
        let job = world.interrupted(&server, KEPT);
        world.finish(&job).assert_published(&world, content);
    }
}

#[test]
fn fault_006_a_200_cut_short_is_not_taken_for_the_rest() {
    let world = World::new();
    let server = stalling_first(old(), KEPT, |exchange| {
        let response = old().full();
        exchange.respond(match exchange.request.number {
            1 => response.cut_after(SIZE - KEPT, Cut::Close),
            _ => response,
        });
    });
    let job = world.interrupted(&server, KEPT);
    world.finish(&job).assert_published(&world, old().content);
}

/// Answers the first resume with a 206 of exactly this range, and everything else as it should be.
fn odd_part(start: impl Fn(u64) -> u64 + Send + Sync + 'static, last: u64, seed: u64) -> Server {
    let odd = Resource { content: Content::new(seed, SIZE), ..old() };
    stalling_first(old(), KEPT, move |exchange| {
        let response = match exchange.request.number {
            1 => odd.part(start(exchange.request.range_start()), last),
            _ => old().answer(&exchange.request),
        };
        exchange.respond(response);
    })
}

#[test]
fn fault_008_a_206_that_starts_earlier_is_taken_or_asked_again() {
    let world = World::new();
    let server = odd_part(|asked| asked - 50_000, SIZE - 1, 1);
    let job = world.interrupted(&server, KEPT);
    world.finish(&job).assert_published(&world, old().content);
}

#[test]
fn fault_008_a_206_that_starts_earlier_with_other_bytes_restarts() {
    let world = World::new();
    let server = odd_part(|asked| asked - 50_000, SIZE - 1, 2);
    let job = world.interrupted(&server, KEPT);
    // The server goes back to the first version afterwards, so that is what must come out whole.
    world.finish(&job).assert_published(&world, old().content);
}

#[test]
fn fault_009_a_206_that_starts_later_leaves_no_hole() {
    let world = World::new();
    let server = odd_part(|asked| asked + 10_000, SIZE - 1, 1);
    let job = world.interrupted(&server, KEPT);
    world.finish(&job).assert_published(&world, old().content);
}

#[test]
fn fault_010_a_206_that_ends_later_than_the_file_is_not_written_past_it() {
    let world = World::new();
    let longer = Content::new(1, SIZE + 5_000);
    let server = stalling_first(old(), KEPT, move |exchange| {
        let start = exchange.request.range_start();
        let response = match exchange.request.number {
            1 => old()
                .part(start, SIZE - 1)
                .with_header("Content-Range", format!("bytes {start}-{}/{SIZE}", SIZE + 4_999))
                .body(Body::Part { content: longer, offset: start, length: SIZE + 5_000 - start }),
            _ => old().answer(&exchange.request),
        };
        exchange.respond(response);
    });
    let job = world.interrupted(&server, KEPT);
    world.finish(&job).assert_published(&world, old().content);
}

#[test]
fn fault_012_a_206_without_content_range_restarts_without_a_range() {
    let world = World::new();
    let server = stalling_first(old(), KEPT, |exchange| {
        let response = match exchange.request.number {
            1 => old().answer(&exchange.request).without_header("Content-Range"),
            _ => old().answer(&exchange.request),
        };
        exchange.respond(response);
    });
    let job = world.interrupted(&server, KEPT);
    world.finish(&job).assert_published(&world, old().content);
    assert_eq!(server.requests()[2].header("range"), None);
}

#[test]
fn fault_014_another_total_in_content_range_is_another_version() {
    let world = World::new();
    let longer = Resource { content: Content::new(2, SIZE + 100), ..old() };
    let server = stalling_first(old(), KEPT, {
        let longer = longer.clone();
        move |exchange| exchange.respond(longer.answer(&exchange.request))
    });
    let job = world.interrupted(&server, KEPT);
    let outcome = world.finish(&job);
    outcome.assert_published(&world, longer.content);
    assert_eq!(outcome.restarts(), 1);
}

#[test]
fn fault_015_other_units_than_bytes_are_not_understood() {
    for value in ["items 5-9/10", "lines */10", "bytes", "bytes abc-def/ghi", "bytes 5-4/10", "bytes 0-9/*/3"]
    {
        let world = World::new();
        let server = stalling_first(old(), KEPT, move |exchange| {
            let response = match exchange.request.number {
                1 => old().answer(&exchange.request).with_header("Content-Range", value),
                _ => old().answer(&exchange.request),
            };
            exchange.respond(response);
        });
        let job = world.interrupted(&server, KEPT);
        world.finish(&job).assert_published(&world, old().content);
    }
}

#[test]
fn fault_016_an_unknown_total_is_learnt_at_the_end() {
    let world = World::new();
    let server = stalling_first(old(), KEPT, |exchange| {
        let start = exchange.request.range_start();
        let part = old().part(start, SIZE - 1);
        exchange.respond(part.with_header("Content-Range", format!("bytes {start}-{}/*", SIZE - 1)));
    });
    let job = world.interrupted(&server, KEPT);
    world.finish(&job).assert_published(&world, old().content);
}

#[test]
fn fault_018_several_parts_for_one_range_are_refused() {
    let world = World::new();
    let server = stalling_first(old(), KEPT, |exchange| {
        if exchange.request.number > 1 {
            exchange.respond(old().answer(&exchange.request));
            return;
        }
        exchange.respond(
            old()
                .part(0, 0)
                .without_header("Content-Range")
                .with_header("Content-Type", "multipart/byteranges; boundary=x")
                .body(Body::Endless(b'-'))
                .chunked(),
        );
    });
    let job = world.interrupted(&server, KEPT);
    world.finish(&job).assert_published(&world, old().content);
    assert!(server.body_bytes_sent() < 64 << 20, "the endless answer was let go");
}

#[test]
fn fault_019_416_with_exactly_our_size_is_the_end() {
    // Everything arrived without a length, so that only the 416 tells that nothing is missing.
    let world = World::new();
    let server = Server::start(|exchange| match exchange.request.number {
        0 => exchange.respond(old().full().chunked().cut_after(SIZE, Cut::Stall)),
        _ if exchange.request.range().is_some() => exchange.respond(old().unsatisfiable()),
        _ => exchange.respond(old().full()),
    });
    let job = world.interrupted(&server, SIZE);
    let outcome = world.finish(&job);
    outcome.assert_published(&world, old().content);
    assert!(!outcome.has_restarted());
}

#[test]
fn fault_020_416_with_less_than_our_size_restarts() {
    let world = World::new();
    let shorter = Resource { content: Content::new(2, KEPT / 2), ..new() }.ignoring_if_range();
    let server = stalling_first(old(), KEPT, {
        let shorter = shorter.clone();
        move |exchange| exchange.respond(shorter.answer(&exchange.request))
    });
    let job = world.interrupted(&server, KEPT);
    let outcome = world.finish(&job);
    outcome.assert_published(&world, shorter.content);
    assert_eq!(outcome.restarts(), 1);
}

#[test]
fn fault_020_416_without_a_length_restarts() {
    let world = World::new();
    let server = stalling_first(old(), KEPT, |exchange| {
        let response = match exchange.request.range() {
            Some(_) => Response::new(416),
            None => old().full(),
        };
        exchange.respond(response);
    });
    let job = world.interrupted(&server, KEPT);
    world.finish(&job).assert_published(&world, old().content);
}

#[test]
fn fault_024_what_head_says_does_not_matter() {
    let world = World::new();
    let server = Server::start(|exchange| {
        let response = match exchange.request.method.as_str() {
            "HEAD" => Resource::new(Content::new(9, 5)).full(),
            _ => old().answer(&exchange.request),
        };
        exchange.respond(response);
    });
    world.finish(&world.job(&server.url("/f"))).assert_published(&world, old().content);
}

#[test]
fn fault_025_no_head_is_needed() {
    let world = World::new();
    let server = stalling_first(old(), KEPT, |exchange| match exchange.request.method.as_str() {
        "HEAD" => exchange.stall(),
        _ => exchange.respond(old().answer(&exchange.request)),
    });
    let job = world.interrupted(&server, KEPT);
    world.finish(&job).assert_published(&world, old().content);
    assert!(server.requests().iter().all(|request| request.method == "GET"));
}

#[test]
fn fault_133_the_same_validators_over_other_bytes_are_noticed() {
    // nginx and Apache make the ETag of length and time: a replaced file can have both.
    let look_alike = || Resource { content: Content::new(2, SIZE), ..old() };
    let world = World::new();
    let server =
        stalling_first(old(), KEPT, move |exchange| exchange.respond(look_alike().answer(&exchange.request)));
    let job = world.interrupted(&server, KEPT);
    let outcome = world.finish(&job);
    outcome.assert_published(&world, new().content);
    assert_eq!(outcome.restarts(), 1);
}

#[test]
fn a_connection_lost_in_the_middle_is_resumed_where_it_broke() {
    for cut in [Cut::Close, Cut::Reset] {
        let world = World::new();
        let server = Server::start(move |exchange| {
            let response = old().answer(&exchange.request);
            exchange.respond(if exchange.request.number < 3 {
                response.cut_after(70_000, cut)
            } else {
                response
            });
        });
        let outcome = world.finish(&world.job(&server.url("/f")));
        outcome.assert_published(&world, old().content);
        assert!(!outcome.has_restarted());
        let twice = outcome.receipt().bytes_fetched - SIZE;
        assert!(twice <= 3 * 70_000, "{twice} bytes came twice");
    }
}

#[test]
fn a_file_that_changes_with_every_request_is_given_up() {
    let world = World::new();
    let server = Server::start(|exchange| {
        let seed = exchange.request.number as u64;
        let resource = Resource::new(Content::new(seed, SIZE));
        exchange.respond(resource.answer(&exchange.request).cut_after(KEPT, Cut::Close));
    });
    let mut job = world.job(&server.url("/f"));
    for _ in 0..4 {
        let outcome = world.run(&job);
        let (cause, remedy) = outcome.why();
        assert!(matches!(remedy, Remedy::Transient | Remedy::Stale), "{cause:?} {remedy:?}");
        assert!(
            matches!(cause, Cause::Truncated | Cause::SourceChanged | Cause::OverlapMismatch),
            "{cause:?}"
        );
        job = world.next(&job);
    }
    world.assert_nothing_published();
}

#[test]
fn a_stopped_download_lets_go_of_its_connection() {
    let has_gone = Gate::new();
    let world = World::new();
    let server = Server::start({
        let has_gone = has_gone.clone();
        move |exchange| {
            exchange.respond(old().full().cut_after(KEPT, Cut::Stall));
            has_gone.open();
        }
    });
    let _ = world.interrupted(&server, KEPT);
    assert!(has_gone.wait_for(DEADLINE), "the connection is still open");
    world.assert_nothing_published();
}

#[test]
fn a_discarded_download_leaves_nothing() {
    let world = World::new();
    let server = stalling_first(old(), KEPT, |_| {});
    let attempt = world.start(&world.job(&server.url("/f")));
    attempt.wait_for_bytes(KEPT);
    attempt.handle.stop(StopMode::Discard);
    assert!(matches!(attempt.end().end, TransferEnd::Stopped));
    assert_eq!(world.files(), Vec::<String>::new());
}
