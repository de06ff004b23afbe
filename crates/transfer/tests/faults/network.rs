//! Names, addresses, statuses and servers that want to be left alone: rows 54 to 60.

use std::time::Duration;

use longhaul_contract::{Cause, Remedy, WebErrorStatus};
use longhaul_lab::hostile::Cut;
use longhaul_lab::service::free_address;
use longhaul_lab::{Content, Gate, Resource, Response, Server};
use longhaul_transfer::Settings;

use crate::support::{Outcome, World, settings, stalling_first};

const SIZE: u64 = 300_000;
const KEPT: u64 = 200_000;

fn file() -> Resource {
    Resource::new(Content::new(1, SIZE))
}

fn one_answer(response: impl Fn() -> Response + Send + Sync + 'static) -> Outcome {
    let world = World::new();
    let server = Server::start(move |exchange| exchange.respond(response()));
    let outcome = world.run(&world.job(&server.url("/f")));
    world.assert_nothing_published();
    outcome
}

#[test]
fn fault_054_alt_svc_is_not_followed_blindly() {
    let elsewhere = Server::of(Resource::new(Content::new(2, SIZE)));
    let port = elsewhere.address().port();
    let world = World::new();
    let server = Server::start(move |exchange| {
        let response = file().answer(&exchange.request);
        let response =
            response.header("Alt-Svc", format!("h3=\":{port}\", h2=\":{port}\", http/1.1=\":{port}\""));
        exchange.respond(if exchange.request.number == 0 {
            response.cut_after(KEPT, Cut::Close)
        } else {
            response
        });
    });
    world.finish(&world.job(&server.url("/f"))).assert_published(&world, file().content);
    assert_eq!(elsewhere.connections(), 0);
}

#[test]
fn fault_055_a_name_that_does_not_exist_is_named_as_such() {
    let world = World::new();
    let outcome = world.run(&world.job("http://no-such-host.invalid/f"));
    let failure = outcome.failure();
    assert_eq!(failure.cause, Cause::NameNotResolved);
    assert_eq!(failure.web_error_status, WebErrorStatus::HostNameNotResolved);
    assert_ne!(failure.remedy, Remedy::Permanent, "the caller may give another name");
    assert!(failure.detail.contains("no-such-host.invalid"), "{}", failure.detail);
}

#[test]
fn fault_055_a_dead_address_of_several_does_not_matter() {
    // The machine's own name has an IPv6 address on which nobody listens here.
    let world = World::new();
    let server = Server::of(file());
    let url = server.url("/f").replace("127.0.0.1", "localhost");
    world.run(&world.job(&url)).assert_published(&world, file().content);
}

#[test]
fn fault_055_a_port_nobody_listens_on_cannot_be_connected() {
    let world = World::new();
    let outcome = world.run(&world.job(&format!("http://{}/f", free_address())));
    assert_eq!(outcome.why(), (Cause::CannotConnect, Remedy::Transient));
    assert_eq!(outcome.failure().web_error_status, WebErrorStatus::CannotConnect);
}

#[test]
fn fault_056_a_change_of_the_network_ends_silent_connections_at_once() {
    let world = World::with(Settings { stall_timeout: Duration::from_mins(5), ..settings() });
    let server = stalling_first(file(), KEPT, |exchange| exchange.respond(file().answer(&exchange.request)));
    let job = world.job(&server.url("/f"));
    let attempt = world.start(&job);
    attempt.wait_for_bytes(KEPT);
    world.transfers.network_changed();
    let outcome = attempt.end();
    let outcome = match outcome.end {
        longhaul_transfer::TransferEnd::Failed { ref failure, .. } => {
            assert_eq!(failure.remedy, Remedy::Transient);
            world.finish(&world.next(&job))
        }
        _ => outcome,
    };
    outcome.assert_published(&world, file().content);
    assert!(!outcome.has_restarted());
}

#[test]
fn fault_056_a_change_of_the_network_leaves_living_connections_alone() {
    let world = World::new();
    let server =
        Server::build().pace(300_000).start(|exchange| exchange.respond(file().answer(&exchange.request)));
    let attempt = world.start(&world.job(&server.url("/f")));
    attempt.wait_for_bytes(50_000);
    world.transfers.network_changed();
    attempt.end().assert_published(&world, file().content);
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn fault_057_retry_after_is_obeyed_within_bounds() {
    for status in [429, 503] {
        for (value, least, most) in [
            ("120", 120, 120),
            ("0", 1, 1),
            ("1000000000", 1_800, 7 * 86_400),
            ("Mon, 05 Jan 2015 10:00:00 GMT", 1, 1),
        ] {
            let outcome =
                one_answer(move || Response::new(status).header("Retry-After", value).text("later"));
            let failure = outcome.failure();
            assert_eq!((failure.cause, failure.remedy), (Cause::RateLimitedByServer, Remedy::Transient));
            let seconds = failure.retry_after_seconds.unwrap_or_default();
            assert!((least..=most).contains(&seconds), "{status} with {value}: {seconds} s");
        }
    }
}

#[test]
fn fault_057_a_nonsensical_retry_after_is_no_wish() {
    for value in ["soon", "-5", "", "1.5", "Mon, 99 Jan"] {
        let outcome = one_answer(move || Response::new(429).header("Retry-After", value).text("later"));
        assert_eq!(outcome.failure().retry_after_seconds, None, "{value:?}");
        assert_eq!(outcome.why().1, Remedy::Transient);
    }
}

#[test]
fn fault_059_trouble_of_the_server_is_transient() {
    for status in [408, 425, 500, 502, 503, 504, 522, 524] {
        let outcome = one_answer(move || Response::new(status).text("not now"));
        assert_eq!(outcome.why(), (Cause::HttpStatus, Remedy::Transient), "{status}");
        assert_eq!(outcome.failure().http_status, Some(status));
    }
}

#[test]
fn fault_060_a_refusal_in_the_middle_keeps_the_bytes() {
    for status in [401, 403, 404, 410, 451] {
        let world = World::new();
        let is_renewed = Gate::new();
        let server = stalling_first(file(), KEPT, {
            let is_renewed = is_renewed.clone();
            move |exchange| {
                let answer = if is_renewed.is_open() {
                    file().answer(&exchange.request)
                } else {
                    Response::new(status)
                };
                exchange.respond(answer);
            }
        });
        let job = world.interrupted(&server, KEPT);
        let outcome = world.run(&job);
        assert_eq!(outcome.why(), (Cause::HttpStatus, Remedy::NeedsInput), "{status}");
        assert_eq!(outcome.failure().web_error_status, WebErrorStatus::from_http(status));
        let asked = server.requests().len() - 1;
        assert!((1..=4).contains(&asked), "status {status} was tried {asked} times");
        // The caller renews what has expired, and the download goes on.
        is_renewed.open();
        let outcome = world.finish(&world.next(&job));
        outcome.assert_published(&world, file().content);
        assert!(!outcome.has_restarted(), "{status}");
        assert!(server.requests().last().unwrap().range_start() > 0);
    }
}

#[test]
fn other_refusals_are_permanent() {
    for status in [400, 405, 406, 414, 431] {
        let outcome = one_answer(move || Response::new(status).text("never"));
        assert_eq!(outcome.why(), (Cause::HttpStatus, Remedy::Permanent), "{status}");
    }
}

#[test]
fn a_renewed_address_continues_where_the_old_one_expired() {
    let world = World::new();
    let server = stalling_first(file(), KEPT, |exchange| {
        let is_renewed = exchange.request.query("signature") == Some("new");
        let answer =
            if is_renewed { file().answer(&exchange.request) } else { Response::new(403).text("expired") };
        exchange.respond(answer);
    });
    let job = world.interrupt(&world.job(&server.url("/f?signature=old")), KEPT);
    assert_eq!(world.run(&job).why().1, Remedy::NeedsInput);
    let mut job = world.next(&job);
    job.url = server.url("/f?signature=new").parse().unwrap();
    let outcome = world.finish(&job);
    outcome.assert_published(&world, file().content);
    assert!(!outcome.has_restarted());
}

#[test]
fn a_renewed_address_of_another_file_restarts() {
    for other in [
        Resource::new(Content::new(2, SIZE)).etag(None),
        Resource::new(Content::new(2, SIZE)).etag(Some("\"v1\"")),
    ] {
        let content = other.content;
        let world = World::new();
        let server =
            stalling_first(file(), KEPT, move |exchange| exchange.respond(other.answer(&exchange.request)));
        let mut job = world.interrupted(&server, KEPT);
        job.url = server.url("/other").parse().unwrap();
        let outcome = world.finish(&job);
        outcome.assert_published(&world, content);
        assert_eq!(outcome.restarts(), 1);
    }
}
