//! The IETF draft against a server written from its text, and against one that says what it should not.

use std::time::Duration;

use longhaul_contract::{Cause, Remedy};
use longhaul_lab::hostile::Wire;
use longhaul_lab::resumable::{DraftOptions, DraftServer};
use longhaul_lab::{Content, Response, Server};
use longhaul_transfer::{StopMode, UploadEnd, UploadJob, UploadProtocol, UsedProtocol};

use crate::support::{World, settings};

const CONTENT: Content = Content::new(41, 3_000_000);

fn job(world: &World, url: &str, protocol: UploadProtocol) -> UploadJob {
    UploadJob { method: http::Method::POST, protocol, ..world.job(url, CONTENT) }
}

fn say(wire: &mut Wire, text: &str) {
    wire.write(text.as_bytes(), |_| {});
}

fn methods(server: &DraftServer) -> Vec<String> {
    server.requests().iter().map(|request| request.method.clone()).collect()
}

#[test]
fn a_plain_request_is_one_with_a_server_that_knows_the_draft_too() {
    let world = World::new();
    let server = DraftServer::start(DraftOptions::default());
    let outcome = world.run(&UploadJob {
        method: http::Method::PUT,
        ..job(&world, &server.url("/f"), UploadProtocol::Auto)
    });
    assert_eq!(outcome.receipt().bytes_sent, CONTENT.length);
    assert_eq!(outcome.receipt().protocol, UsedProtocol::Resumable);
    assert_eq!(outcome.body().bytes.as_ref(), b"stored 3000000 bytes");
    let request = &server.requests()[0];
    assert_eq!(request.header("upload-complete"), Some("?1"));
    assert_eq!(request.header("upload-length"), Some("3000000"));
    assert_eq!(request.header("upload-draft-interop-version"), Some("8"));
    assert!(server.stored("/f").unwrap() == CONTENT.all());
}

#[test]
fn a_request_upgraded_by_104_goes_on_where_it_broke_off() {
    let world = World::new();
    let server =
        DraftServer::start(DraftOptions { reads_per_second: Some(4_000_000), ..DraftOptions::default() });
    let job = job(&world, &server.url("/f"), UploadProtocol::Auto);
    let attempt = world.start(&job);
    longhaul_lab::wait_until("half of the bytes", crate::support::DEADLINE, || {
        (server.received() > CONTENT.length / 2).then_some(())
    });
    server.drop_connections();
    let outcome = world.end(attempt);
    assert_eq!(outcome.why().1, Remedy::Transient);
    assert_eq!(outcome.repeat(), (true, true), "a POST, but a resumable one");
    let outcome = world.finish(&world.next(&job));
    assert_eq!(outcome.receipt().restarts, 0);
    assert!(server.stored("/f").unwrap() == CONTENT.all());
    // What was still in the old connection's buffers is counted although it came too late.
    assert!(server.received() <= CONTENT.length * 11 / 10, "{} bytes came", server.received());
    assert_eq!(methods(&server), ["OPTIONS", "POST", "HEAD", "PATCH"]);
}

#[test]
fn a_named_protocol_gets_its_url_before_a_byte_goes_there() {
    let mut world = World::new();
    let server =
        DraftServer::start(DraftOptions { reads_per_second: Some(4_000_000), ..DraftOptions::default() });
    let job = job(&world, &server.url("/f"), UploadProtocol::Resumable);
    let attempt = world.start(&job);
    longhaul_lab::wait_until("some bytes", crate::support::DEADLINE, || {
        (server.received() > 500_000).then_some(())
    });
    world.crash();
    drop(attempt);
    let outcome = world.finish(&world.next(&job));
    assert_eq!(outcome.receipt().restarts, 0);
    assert!(server.stored("/f").unwrap() == CONTENT.all());
    assert_eq!(methods(&server), ["POST", "PATCH", "HEAD", "PATCH"]);
    assert_eq!(server.requests()[0].header("upload-complete"), Some("?0"));
}

#[test]
fn ten_crashes_cost_less_than_a_tenth() {
    let mut world = World::new();
    let content = Content::new(42, 20_000_000);
    let server =
        DraftServer::start(DraftOptions { reads_per_second: Some(20_000_000), ..DraftOptions::default() });
    let first = UploadJob {
        method: http::Method::PUT,
        protocol: UploadProtocol::Auto,
        ..world.job(&server.url("/f"), content)
    };
    let mut job = first.clone();
    for crash in 1..=10 {
        let attempt = world.start(&job);
        longhaul_lab::wait_until("some more bytes", crate::support::DEADLINE, || {
            (server.received() > crash * content.length / 12).then_some(())
        });
        world.crash();
        drop(attempt);
        job = world.next(&first);
    }
    let outcome = world.finish(&job);
    assert_eq!(outcome.receipt().restarts, 0);
    assert!(server.stored("/f").unwrap() == content.all());
    let share = server.received() as f64 / content.length as f64;
    assert!(share <= 1.1, "{share}");
}

#[test]
fn the_limit_of_one_request_is_kept() {
    let world = World::new();
    let server = DraftServer::start(DraftOptions {
        limits: "max-append-size=1000000, max-size=5000000, max-age=3600".to_owned(),
        max_append_size: Some(1_000_000),
        ..DraftOptions::default()
    });
    for protocol in [UploadProtocol::Resumable, UploadProtocol::Auto] {
        let outcome = world.run(&job(&world, &server.url("/f"), protocol));
        outcome.receipt();
        assert!(server.stored("/f").unwrap() == CONTENT.all());
    }
    let expected = "POST PATCH PATCH PATCH OPTIONS POST POST PATCH PATCH PATCH";
    assert_eq!(methods(&server).join(" "), expected);
}

#[test]
fn fault_110_a_server_that_takes_less_than_it_said_gets_less() {
    let world = World::new();
    let server =
        DraftServer::start(DraftOptions { max_append_size: Some(800_000), ..DraftOptions::default() });
    let outcome = world.run(&job(&world, &server.url("/f"), UploadProtocol::Resumable));
    outcome.receipt();
    assert!(server.stored("/f").unwrap() == CONTENT.all());
}

#[test]
fn fault_109_a_file_that_does_not_fit_is_not_sent() {
    let world = World::new();
    let server =
        DraftServer::start(DraftOptions { limits: "max-size=1000".to_owned(), ..DraftOptions::default() });
    let outcome = world.run(&job(&world, &server.url("/f"), UploadProtocol::Resumable));
    assert_eq!(outcome.why(), (Cause::SizeMismatch, Remedy::Permanent));
    assert_eq!((server.received(), server.uploads()), (0, 0), "and the upload is cancelled");
}

#[test]
fn fault_106_a_104_of_another_version_means_nothing() {
    for version in ["", "Upload-Draft-Interop-Version: 7\r\n", "Upload-Draft-Interop-Version: eight\r\n"] {
        let world = World::new();
        let server = Server::build().start_raw(move |wire| {
            let head = wire.read_head().unwrap();
            let head = String::from_utf8(head).unwrap();
            if head.starts_with("POST") {
                say(wire, &format!("HTTP/1.1 104 Yes\r\nLocation: /uploads/1\r\n{version}\r\n"));
                wire.read_exactly(1_000_000);
                wire.reset();
            } else {
                panic!("{head}");
            }
        });
        // More than the buffers between both take: when all has left, nobody knows what became of it.
        let url = server.url("/f");
        let large = world.job(&url, Content::new(106, 64 << 20));
        let job = UploadJob { method: http::Method::POST, protocol: UploadProtocol::Auto, ..large };
        assert_eq!(world.run(&job).why().1, Remedy::Transient);
        assert_eq!(world.next(&job).journal.unwrap().upload_url, None);
    }
}

#[test]
fn fault_107_a_conflict_says_where_to_go_on() {
    let world = World::new();
    let server =
        Server::start(|exchange| match (exchange.request.method.as_str(), exchange.request.number) {
            ("POST", _) => exchange
                .respond(Response::new(201).header("Location", "/uploads/1").header("Upload-Complete", "?0")),
            ("PATCH", 1) => exchange.respond(
                Response::new(409).header("Upload-Offset", "1234567").header("Upload-Complete", "?0"),
            ),
            _ => exchange.respond(Response::new(200).header("Upload-Complete", "?1").text("done")),
        });
    let outcome = world.run(&job(&world, &server.url("/f"), UploadProtocol::Resumable));
    outcome.receipt();
    let requests = server.requests();
    assert_eq!(requests[2].header("upload-offset"), Some("1234567"));
    assert!(requests[2].body == CONTENT.bytes(1_234_567, CONTENT.length));
}

#[test]
fn fault_104_an_offset_that_cannot_be_is_the_end() {
    for offset in ["3000001", "x", "-1"] {
        let world = World::new();
        let server = Server::start(move |exchange| match exchange.request.method.as_str() {
            "POST" => exchange
                .respond(Response::new(201).header("Location", "/uploads/1").header("Upload-Complete", "?0")),
            "PATCH" => exchange.reset(),
            _ => exchange.respond(Response::new(204).header("Upload-Offset", offset)),
        });
        let job = job(&world, &server.url("/f"), UploadProtocol::Resumable);
        world.run(&job);
        assert_eq!(world.run(&world.next(&job)).why(), (Cause::SizeMismatch, Remedy::NeedsInput), "{offset}");
    }
}

#[test]
fn fault_111_two_upload_urls_for_one_request_are_none() {
    let world = World::new();
    let server = Server::build().start_raw(|wire| {
        while let Some(head) = wire.read_head() {
            if head.starts_with(b"DELETE") {
                say(wire, "HTTP/1.1 204 Gone\r\n\r\n");
                continue;
            }
            for number in 1..=2 {
                say(
                    wire,
                    &format!(
                        "HTTP/1.1 104 Yes\r\nLocation: /uploads/{number}\r\nUpload-Draft-Interop-Version: 8\r\n\r\n"
                    ),
                );
            }
            while !wire.read().is_empty() {}
        }
    });
    let put = UploadJob { method: http::Method::PUT, ..job(&world, &server.url("/f"), UploadProtocol::Auto) };
    let outcome = world.run(&put);
    assert_eq!(outcome.why(), (Cause::InvalidResponse, Remedy::Permanent));
}

#[test]
fn fault_113_the_offset_is_asked_for_only_when_nothing_is_under_way() {
    let world = World::new();
    let server =
        DraftServer::start(DraftOptions { reads_per_second: Some(6_000_000), ..DraftOptions::default() });
    let job = job(&world, &server.url("/f"), UploadProtocol::Resumable);
    for _ in 0..3 {
        let attempt = world.start(&world.next(&job));
        attempt.wait_for_bytes(600_000);
        attempt.handle.stop(StopMode::Keep);
        assert!(matches!(world.end(attempt).end, UploadEnd::Stopped | UploadEnd::Finished { .. }));
    }
    world.finish(&world.next(&job)).receipt();
    // A question during an append of ours would have ended it with a loss of bytes and a second answer.
    assert!(server.stored("/f").unwrap() == CONTENT.all());
}

#[test]
fn an_upload_the_server_has_lost_begins_anew_once() {
    let world = World::new();
    let server =
        DraftServer::start(DraftOptions { reads_per_second: Some(4_000_000), ..DraftOptions::default() });
    let job = job(&world, &server.url("/f"), UploadProtocol::Resumable);
    let attempt = world.start(&job);
    attempt.wait_for_bytes(1_000_000);
    server.forget();
    let outcome = world.end(attempt);
    assert!(matches!(outcome.end, UploadEnd::Failed { .. }), "{:?}", outcome.end);
    let outcome = world.finish(&world.next(&job));
    assert_eq!(outcome.receipt().restarts, 1);
    assert!(server.stored("/f").unwrap() == CONTENT.all());
}

#[test]
fn a_final_answer_that_was_lost_is_said_again() {
    let world = World::new();
    let server =
        Server::start(|exchange| match (exchange.request.method.as_str(), exchange.request.number) {
            ("POST", _) => exchange
                .respond(Response::new(201).header("Location", "/uploads/1").header("Upload-Complete", "?0")),
            ("PATCH", 1) => exchange.reset(),
            ("HEAD", _) => exchange.respond(
                Response::new(204).header("Upload-Offset", "3000000").header("Upload-Complete", "?1"),
            ),
            _ => exchange.respond(Response::new(200).header("Upload-Complete", "?1").text("attachment 7")),
        });
    let job = job(&world, &server.url("/f"), UploadProtocol::Resumable);
    assert_eq!(world.run(&job).why().1, Remedy::Transient);
    let outcome = world.run(&world.next(&job));
    outcome.receipt();
    assert_eq!(outcome.body().bytes.as_ref(), b"attachment 7");
    assert!(server.requests()[3].body.is_empty());
}

#[test]
fn a_discarded_upload_is_cancelled_at_the_server() {
    let world =
        World::with(longhaul_transfer::Settings { stall_timeout: Duration::from_secs(5), ..settings() });
    let server =
        DraftServer::start(DraftOptions { reads_per_second: Some(2_000_000), ..DraftOptions::default() });
    let attempt = world.start(&job(&world, &server.url("/f"), UploadProtocol::Auto));
    longhaul_lab::wait_until("some bytes", crate::support::DEADLINE, || {
        (server.received() > 300_000).then_some(())
    });
    attempt.handle.stop(StopMode::Discard);
    assert!(matches!(world.end(attempt).end, UploadEnd::Stopped));
    assert_eq!(methods(&server).last().map(String::as_str), Some("DELETE"));
    assert_eq!(server.uploads(), 0);
}
