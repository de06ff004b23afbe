//! Several connections for one file, and several servers: rows 7, 22, 23 and 30.

use std::time::Duration;

use longhaul_contract::Remedy;
use longhaul_lab::hostile::Cut;
use longhaul_lab::{Content, Gate, Resource, Response, Server};
use longhaul_transfer::{Settings, TransferEnd};

use crate::support::{World, segmented};

const SIZE: u64 = 8 << 20;
/// Slow enough that a further connection pays.
const PACE: u64 = 4 << 20;

fn file() -> Resource {
    Resource::new(Content::new(1, SIZE))
}

#[test]
fn a_slow_server_is_asked_for_parts_on_further_connections() {
    let world = World::with(segmented());
    let server =
        Server::build().pace(PACE).start(|exchange| exchange.respond(file().answer(&exchange.request)));
    let outcome = world.finish(&world.job(&server.url("/f")));
    outcome.assert_published(&world, file().content);
    let requests = server.requests();
    assert!(requests.len() > 1, "one connection was all that was tried");
    assert_eq!(requests[0].header("range"), None, "the first request asks for the whole file");
    assert!(requests[1..].iter().all(|request| request.header("if-range") == Some("\"v1\"")));
    assert!(server.connections() <= 4);
    let twice = outcome.receipt().bytes_fetched - SIZE;
    assert!(twice <= SIZE / 10, "{twice} bytes came twice");
}

#[test]
fn fault_007_200_to_one_segment_ends_segmentation() {
    let world = World::with(segmented());
    let server = Server::build().pace(PACE).start(|exchange| exchange.respond(file().full()));
    let outcome = world.finish(&world.job(&server.url("/f")));
    outcome.assert_published(&world, file().content);
    assert!(!outcome.has_restarted(), "the first connection had the whole file all the time");
    assert!(server.requests().len() <= 3, "a server that sends everything is not asked for parts for ever");
}

#[test]
fn fault_007_200_to_a_later_segment_ends_segmentation() {
    let world = World::with(segmented());
    let server = Server::build().pace(PACE).start(|exchange| {
        let response =
            if exchange.request.number < 2 { file().answer(&exchange.request) } else { file().full() };
        exchange.respond(response);
    });
    world.finish(&world.job(&server.url("/f"))).assert_published(&world, file().content);
}

#[test]
fn fault_007_a_segment_of_another_version_never_mixes() {
    let world = World::with(segmented());
    let other = || Resource::new(Content::new(2, SIZE)).ignoring_if_range();
    let server = Server::build().pace(PACE).start(move |exchange| {
        let response =
            if exchange.request.number == 0 { file().full() } else { other().answer(&exchange.request) };
        exchange.respond(response);
    });
    let outcome = world.finish(&world.job(&server.url("/f")));
    let seen = std::fs::read(world.result()).unwrap();
    assert!(seen == file().content.all() || seen == other().content.all(), "two versions were mixed");
    assert_eq!(outcome.receipt().size, Some(SIZE));
}

#[test]
fn a_segment_that_breaks_is_resumed_and_the_others_go_on() {
    let world = World::with(segmented());
    let server = Server::build().pace(PACE).start(|exchange| {
        let response = file().answer(&exchange.request);
        let is_cut = exchange.request.number > 0 && exchange.request.number % 2 == 1;
        exchange.respond(if is_cut { response.cut_after(100_000, Cut::Reset) } else { response });
    });
    world.finish(&world.job(&server.url("/f"))).assert_published(&world, file().content);
}

#[test]
fn a_server_that_minds_further_connections_is_left_alone() {
    for status in [429, 503, 403] {
        let world = World::with(segmented());
        let server = Server::build().pace(PACE).start(move |exchange| {
            let response = if exchange.request.number == 0 {
                file().full()
            } else {
                Response::new(status).text("one at a time")
            };
            exchange.respond(response);
        });
        let outcome = world.run(&world.job(&server.url("/f")));
        outcome.assert_published(&world, file().content);
        assert!(server.requests().len() <= 4, "status {status}: {} requests", server.requests().len());
    }
}

#[test]
fn connections_to_one_host_are_capped_over_all_downloads() {
    let world = World::with(Settings { connections_per_host: 2, ..segmented() });
    let gate = Gate::new();
    let server = Server::start({
        let gate = gate.clone();
        move |exchange| exchange.respond(file().full().hold_at(1_000, &gate))
    });
    let jobs: Vec<_> = (0..4)
        .map(|number| {
            let mut job = world.job(&server.url("/f"));
            job.result_file = format!("{}.{number}", world.result().display());
            job
        })
        .collect();
    let attempts: Vec<_> = jobs.iter().map(|job| world.start(job)).collect();
    server.wait_for_requests(2, crate::support::DEADLINE);
    // A third connection would come at once if it came at all.
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(server.connections(), 2);
    gate.open();
    for (job, attempt) in jobs.iter().zip(attempts) {
        assert!(matches!(attempt.end().end, TransferEnd::Finished { .. }));
        file().content.assert_file(job.result_file.as_ref());
    }
    assert!(server.connections() >= 2);
}

#[test]
fn fault_022_accept_ranges_none_means_one_connection() {
    let world = World::with(segmented());
    let resource = || Resource { accept_ranges: Some("none".to_owned()), has_ranges: false, ..file() };
    let server = Server::build().pace(PACE).start(move |exchange| {
        let response = resource().full();
        exchange.respond(if exchange.request.number == 0 {
            response.cut_after(SIZE / 2, Cut::Close)
        } else {
            response
        });
    });
    world.finish(&world.job(&server.url("/f"))).assert_published(&world, file().content);
    assert!(server.requests().len() <= 3, "at most one try to resume: {}", server.requests().len());
}

#[test]
fn fault_023_ranges_are_learnt_from_the_first_206() {
    let world = World::new();
    let silent = || Resource { accept_ranges: None, ..Resource::new(Content::new(1, 300_000)) };
    let server = Server::start(move |exchange| {
        let response = silent().answer(&exchange.request);
        exchange.respond(if exchange.request.number == 0 {
            response.cut_after(200_000, Cut::Close)
        } else {
            response
        });
    });
    let outcome = world.finish(&world.job(&server.url("/f")));
    outcome.assert_published(&world, silent().content);
    assert!(!outcome.has_restarted());
    let requests = server.requests();
    assert!(requests.iter().all(|request| request.header("range") != Some("bytes=0-0")), "no probe");
    assert!(requests[1].range_start() > 0, "the resume was tried");
}

fn two_servers(mirror: Resource) -> (Server, Server) {
    let first =
        Server::build().pace(PACE).start(|exchange| exchange.respond(file().answer(&exchange.request)));
    let second =
        Server::build().pace(PACE).start(move |exchange| exchange.respond(mirror.answer(&exchange.request)));
    (first, second)
}

#[test]
fn mirrors_of_equal_bytes_share_the_work() {
    let world = World::with(segmented());
    let (first, second) = two_servers(file());
    let mut job = world.job(&first.url("/f"));
    job.mirrors = vec![second.url("/copy").parse().unwrap()];
    world.finish(&job).assert_published(&world, file().content);
}

#[test]
fn a_mirror_takes_over_from_a_dead_server() {
    let world = World::new();
    let dead = longhaul_lab::service::free_address();
    let second = Server::of(file());
    let mut job = world.job(&format!("http://{dead}/f"));
    job.mirrors = vec![second.url("/copy").parse().unwrap()];
    world.finish(&job).assert_published(&world, file().content);
}

#[test]
fn fault_030_a_mirror_with_other_bytes_of_the_same_length_is_found_out() {
    let world = World::with(segmented());
    let (first, second) = two_servers(Resource::new(Content::new(2, SIZE)));
    let mut job = world.job(&first.url("/f"));
    job.mirrors = vec![second.url("/copy").parse().unwrap()];
    job.checksum = Some(format!("sha256:{}", file().content.sha256()).parse().unwrap());
    let outcome = world.finish(&job);
    match &outcome.end {
        TransferEnd::Finished { .. } => outcome.assert_published(&world, file().content),
        _ => {
            assert_eq!(outcome.why().1, Remedy::Permanent);
            world.assert_nothing_published();
        }
    }
}

#[test]
fn fault_030_without_a_digest_versions_of_two_mirrors_never_mix() {
    let world = World::with(segmented());
    let (first, second) = two_servers(Resource::new(Content::new(2, SIZE)).etag(Some("\"v1\"")));
    let mut job = world.job(&first.url("/f"));
    job.mirrors = vec![second.url("/copy").parse().unwrap()];
    world.finish(&job);
    let seen = std::fs::read(world.result()).unwrap();
    assert!(
        seen == file().content.all() || seen == Content::new(2, SIZE).all(),
        "bytes of two mirrors were mixed"
    );
}
