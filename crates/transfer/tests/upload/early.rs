//! Answers that come before the body has left: expectations, refusals, redirects.

use longhaul_contract::{Cause, Remedy};
use longhaul_lab::hostile::Wire;
use longhaul_lab::{Content, Gate, Response, Server};
use longhaul_transfer::UploadJob;

use crate::support::{World, assert_body};

const LARGE: Content = Content::new(11, 20_000_000);

fn say(wire: &mut Wire, text: &str) {
    wire.write(text.as_bytes(), |_| {});
}

#[test]
fn a_large_body_waits_for_the_servers_word() {
    let world = World::new();
    let server = Server::build().start_raw(|wire| {
        let head = String::from_utf8(wire.read_head().unwrap()).unwrap().to_ascii_lowercase();
        assert!(head.contains("expect: 100-continue"), "{head}");
        say(wire, "HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\nno");
        let rest = wire.read();
        assert!(rest.is_empty(), "{} bytes came although they were refused", rest.len());
    });
    let outcome = world.run(&world.job(&server.url("/f"), LARGE));
    assert_eq!(outcome.failure().http_status, Some(401));
    assert_eq!(outcome.body().bytes.as_ref(), b"no");
    assert_eq!(outcome.repeat(), (false, true));
}

#[test]
fn a_server_that_says_100_gets_the_body_and_is_not_asked_again() {
    let world = World::new();
    let server = Server::build().start_raw(|wire| {
        for has_expected in [true, false] {
            let Some(head) = wire.read_head() else { return };
            let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
            assert_eq!(head.contains("expect:"), has_expected, "{head}");
            if has_expected {
                say(wire, "HTTP/1.1 100 Continue\r\n\r\n");
            }
            assert_eq!(wire.read_exactly(LARGE.length as usize).len() as u64, LARGE.length);
            say(wire, "HTTP/1.1 204 Done\r\n\r\n");
        }
    });
    for _ in 0..2 {
        world.run(&world.job(&server.url("/f"), LARGE)).receipt();
    }
}

#[test]
fn a_server_that_knows_no_expectations_gets_the_body_all_the_same() {
    let world = World::new();
    // Silent until the body is there.
    let silent = Server::start(|exchange| exchange.respond(Response::new(200)));
    world.run(&world.job(&silent.url("/f"), LARGE)).receipt();
    assert_body(&silent.requests()[0], LARGE);
    // Refuses the expectation itself (RFC 9110 section 15.5.18).
    let refusing = Server::build().start_raw(|wire| {
        let head = String::from_utf8(wire.read_head().unwrap()).unwrap().to_ascii_lowercase();
        if head.contains("expect:") {
            say(wire, "HTTP/1.1 417 What\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            return;
        }
        assert_eq!(wire.read_exactly(LARGE.length as usize).len() as u64, LARGE.length);
        say(wire, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    });
    world.run(&world.job(&refusing.url("/f"), LARGE)).receipt();
    assert_eq!(refusing.connections(), 2);
}

#[test]
fn a_refusal_in_the_middle_of_the_body_is_read_however_the_server_closes() {
    for is_reset in [false, true] {
        let world = World::new();
        let server = Server::build().start_raw(move |wire| {
            wire.read_head();
            say(wire, "HTTP/1.1 100 Continue\r\n\r\n");
            assert_eq!(wire.read_exactly(1_000_000).len(), 1_000_000);
            say(wire, "HTTP/1.1 413 Too much\r\nContent-Length: 7\r\nConnection: close\r\n\r\nenough!");
            if is_reset {
                wire.reset();
            } else {
                wire.close();
            }
        });
        let outcome = world.run(&world.job(&server.url("/f"), LARGE));
        let failure = outcome.failure();
        if is_reset && failure.http_status.is_none() {
            // The reset may have overtaken the answer in the kernel: then the connection is what failed.
            assert_eq!(failure.remedy, Remedy::Transient, "{failure:?}");
            continue;
        }
        assert_eq!(failure.http_status, Some(413), "{failure:?}");
        assert_eq!(failure.remedy, Remedy::NeedsInput);
        assert_eq!(outcome.body().bytes.as_ref(), b"enough!");
        assert!(outcome.repeat().0, "bytes had left");
    }
}

#[test]
fn an_early_success_counts_only_when_the_whole_body_has_left() {
    let world = World::new();
    let gate = Gate::new();
    let server = Server::build().start_raw({
        let gate = gate.clone();
        move |wire| {
            wire.read_head();
            say(wire, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
            if gate.is_open() {
                wire.close();
                return;
            }
            let body = wire.read_exactly(LARGE.length as usize);
            assert!(body == LARGE.all(), "{} bytes came", body.len());
        }
    });
    world.run(&world.job(&server.url("/f"), LARGE)).receipt();
    gate.open();
    let outcome = world.run(&world.job(&server.url("/f"), LARGE));
    assert_eq!(outcome.why().1, Remedy::Transient, "{:?}", outcome.failure());
}

#[test]
fn fault_074_a_redirect_that_keeps_the_method_keeps_the_body() {
    for status in [307, 308] {
        let world = World::new();
        let server = Server::start(move |exchange| match exchange.request.path() {
            "/old" => exchange.respond(Response::new(status).header("Location", "/new")),
            _ => exchange.respond(Response::new(201)),
        });
        let content = Content::new(12, 300_000);
        let job = UploadJob { method: http::Method::POST, ..world.job(&server.url("/old"), content) };
        let outcome = world.run(&job);
        let chain: Vec<_> = outcome.receipt().chain.iter().map(|hop| hop.status).collect();
        assert_eq!(chain, [status, 201]);
        let requests = server.requests();
        assert_eq!((requests[1].method.as_str(), requests[1].path()), ("POST", "/new"));
        assert_body(&requests[1], content);
    }
}

#[test]
fn fault_074_a_redirect_that_drops_the_body_is_no_success() {
    for status in [301, 302] {
        let world = World::new();
        let server = Server::start(move |exchange| {
            exchange.respond(Response::new(status).header("Location", "/elsewhere"));
        });
        let outcome = world.run(&world.job(&server.url("/f"), Content::new(13, 1_000)));
        assert_eq!(outcome.why(), (Cause::Redirect, Remedy::NeedsInput));
        assert_eq!(server.requests().len(), 1, "{status} was followed");
    }
}

#[test]
fn fault_074_see_other_leads_to_the_answer() {
    let world = World::new();
    let server = Server::start(|exchange| match exchange.request.method.as_str() {
        "POST" => exchange.respond(Response::new(303).header("Location", "/result")),
        _ => exchange.respond(Response::new(200).text("the result")),
    });
    let job =
        UploadJob { method: http::Method::POST, ..world.job(&server.url("/form"), Content::new(14, 1_000)) };
    let outcome = world.run(&job);
    outcome.receipt();
    assert_eq!(outcome.body().bytes.as_ref(), b"the result");
    let requests = server.requests();
    assert_eq!((requests[1].method.as_str(), requests[1].path()), ("GET", "/result"));
    assert!(requests[1].body.is_empty() && requests[1].header("content-type").is_none());
}

#[test]
fn fault_061_interim_responses_without_end_are_cut_off() {
    let world = World::new();
    let server = Server::build().start_raw(|wire| {
        wire.read_head();
        for _ in 0..1_000 {
            say(wire, "HTTP/1.1 102 Processing\r\n\r\n");
        }
        wire.hold(&Gate::new());
    });
    let outcome = world.run(&world.job(&server.url("/f"), Content::new(15, 1_000)));
    assert_eq!(outcome.why(), (Cause::InvalidResponse, Remedy::Transient));
}
