//! One request with the whole body: what leaves, what comes back, and what may be done again.

use std::time::Duration;

use longhaul_contract::{Cause, Remedy};
use longhaul_lab::hostile::{Body, Cut};
use longhaul_lab::{Content, Response, Server};
use longhaul_transfer::{
    StopMode, UploadContent, UploadEnd, UploadJob, UploadPart, UploadReport, UploadSource, UsedProtocol,
};

use crate::support::{World, assert_body, settings};

const SMALL: Content = Content::new(1, 100_000);
const LARGE: Content = Content::new(2, 3_000_001);

#[test]
fn a_file_arrives_as_it_is_and_the_answer_is_kept() {
    let world = World::new();
    let server = Server::start(|exchange| {
        exchange.respond(Response::new(201).header("ETag", "\"v1\"").text("stored"));
    });
    let job =
        UploadJob { content_type: Some("image/png".to_owned()), ..world.job(&server.url("/a/b"), SMALL) };
    let outcome = world.run(&job);
    let receipt = outcome.receipt();
    assert_eq!((receipt.size, receipt.bytes_sent, receipt.requests), (SMALL.length, SMALL.length, 1));
    assert_eq!((receipt.protocol, receipt.etag.as_deref()), (UsedProtocol::Plain, Some("\"v1\"")));
    assert_eq!(outcome.body().bytes.as_ref(), b"stored");
    let request = &server.requests()[0];
    assert_eq!((request.method.as_str(), request.target.as_str()), ("PUT", "/a/b"));
    assert_eq!(request.header("content-type"), Some("image/png"));
    assert_eq!(request.header("upload-complete"), None, "nobody asked for the draft");
    assert_body(request, SMALL);
    let UploadReport::Response(response) = &outcome.reports[0] else { panic!("{:?}", outcome.reports) };
    assert_eq!(response.status_code, 201);
}

#[test]
fn an_empty_file_and_any_method_can_be_sent() {
    let world = World::new();
    let server = Server::start(|exchange| exchange.respond(Response::new(204)));
    for method in ["POST", "PUT", "PATCH", "PROPPATCH"] {
        let job = UploadJob {
            method: method.parse().unwrap(),
            ..world.job(&server.url("/empty"), Content::new(1, 0))
        };
        world.run(&job).receipt();
        let requests = server.requests();
        let request = requests.last().unwrap();
        assert_eq!(request.method, method);
        if method != "PROPPATCH" {
            assert_eq!(request.header("content-length"), Some("0"), "{method}");
        }
    }
}

#[test]
fn progress_is_seen_while_the_bytes_go_and_the_rate_is_kept() {
    let world = World::new();
    let server = Server::start(|exchange| exchange.respond(Response::new(200)));
    let job = UploadJob { rate_limit: Some(2_000_000), ..world.job(&server.url("/slow"), LARGE) };
    let begun = std::time::Instant::now();
    let attempt = world.start(&job);
    attempt.wait_for_bytes(500_000);
    let seen = attempt.handle.progress();
    assert_eq!(seen.total_bytes_to_send, LARGE.length);
    assert!(seen.bytes_sent < LARGE.length && seen.seconds_left.is_some(), "{seen:?}");
    world.end(attempt).receipt();
    assert!(begun.elapsed() > Duration::from_millis(1_200), "{:?}", begun.elapsed());
    assert_body(&server.requests()[0], LARGE);
}

#[test]
fn a_multipart_body_is_put_together_on_the_way() {
    let world = World::new();
    let server = Server::start(|exchange| exchange.respond(Response::new(200)));
    let job = world.job(&server.url("/form"), LARGE);
    let source = UploadSource::Multipart {
        sub_type: "form-data".to_owned(),
        boundary: "longhaul-boundary".to_owned(),
        parts: vec![
            UploadPart {
                headers: vec![("Content-Disposition".to_owned(), "form-data; name=\"title\"".to_owned())],
                content: UploadContent::Text("a title".to_owned()),
            },
            UploadPart {
                headers: vec![
                    (
                        "Content-Disposition".to_owned(),
                        "form-data; name=\"file\"; filename=\"a.bin\"".to_owned(),
                    ),
                    ("Content-Type".to_owned(), "application/octet-stream".to_owned()),
                ],
                content: UploadContent::File(world.source()),
            },
        ],
    };
    let job = UploadJob { method: http::Method::POST, source, ..job };
    world.run(&job).receipt();
    let request = &server.requests()[0];
    assert_eq!(request.header("content-type"), Some("multipart/form-data; boundary=\"longhaul-boundary\""));
    let mut expected =
        b"--longhaul-boundary\r\nContent-Disposition: form-data; name=\"title\"\r\n\r\na title\r\n\
        --longhaul-boundary\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.bin\"\r\n\
        Content-Type: application/octet-stream\r\n\r\n"
            .to_vec();
    expected.extend(LARGE.all());
    expected.extend_from_slice(b"\r\n--longhaul-boundary--\r\n");
    assert!(request.body == expected, "the body is another");
}

#[test]
fn the_answer_is_kept_up_to_its_limit() {
    let world = World::new();
    let server = Server::start(|exchange| match exchange.request.number {
        0 => exchange.respond(Response::new(200).body(Body::Bytes(vec![b'x'; 5_000]))),
        1 => exchange.respond(Response::new(200).body(Body::Bytes(vec![b'x'; 5_000])).chunked()),
        _ => exchange
            .respond(Response::new(200).body(Body::Bytes(vec![b'x'; 5_000])).cut_after(70, Cut::Close)),
    });
    for (most, kept, is_truncated) in [(5_000, 5_000, false), (100, 100, true), (5_000, 70, true)] {
        let job = UploadJob { response_body_max: most, ..world.job(&server.url("/f"), SMALL) };
        let outcome = world.run(&job);
        outcome.receipt();
        assert_eq!((outcome.body().bytes.len(), outcome.body().is_truncated), (kept, is_truncated));
    }
}

#[test]
fn fault_102_a_put_is_repeated_from_its_first_byte() {
    let world = World::new();
    let server = Server::start(|exchange| {
        if exchange.request.number == 0 {
            // All is stored, and nobody hears of it.
            exchange.reset();
        } else {
            exchange.respond(Response::new(204));
        }
    });
    let job = world.job(&server.url("/f"), SMALL);
    let outcome = world.run(&job);
    assert_eq!(outcome.why().1, Remedy::Transient);
    assert_eq!(outcome.repeat(), (true, true));
    let receipt_of = world.run(&world.next(&job));
    assert_eq!(receipt_of.receipt().bytes_sent, 2 * SMALL.length);
    assert_body(&server.requests()[1], SMALL);
}

#[test]
fn fault_102_a_post_whose_answer_was_lost_is_not_repeated_blindly() {
    let world = World::new();
    let server = Server::start(|exchange| {
        // All of it has come.
        assert_eq!(exchange.request.body.len() as u64, SMALL.length);
        exchange.reset();
    });
    let post = UploadJob { method: http::Method::POST, ..world.job(&server.url("/f"), SMALL) };
    let outcome = world.run(&post);
    assert_eq!(outcome.why(), (Cause::Unconfirmed, Remedy::NeedsInput), "{:?}", outcome.failure());
    assert_eq!(outcome.repeat(), (true, false));
    // Nor after a crash, whoever asks.
    let outcome = world.run(&world.next(&post));
    assert_eq!(outcome.why(), (Cause::Unconfirmed, Remedy::NeedsInput));
    assert_eq!(server.requests().len(), 1);
    // With a key the server tells a repetition from a second wish.
    let keyed = UploadJob { idempotency_key: Some("\"k-1\"".to_owned()), ..world.next(&post) };
    let outcome = world.run(&keyed);
    assert_eq!(outcome.why().1, Remedy::Transient);
    assert_eq!(outcome.repeat(), (true, true));
    assert_eq!(server.requests()[1].header("idempotency-key"), Some("\"k-1\""));
}

#[test]
fn fault_102_a_post_that_never_was_whole_may_begin_again() {
    let world = World::new();
    let server = Server::build().start_raw(|wire| {
        wire.read_head();
        let mut seen = 0;
        while seen < 100_000 {
            let more = wire.read();
            if more.is_empty() {
                return;
            }
            seen += more.len();
        }
        wire.reset();
    });
    let content = Content::new(3, 40_000_000);
    let post = UploadJob { method: http::Method::POST, ..world.job(&server.url("/f"), content) };
    let outcome = world.run(&post);
    assert_eq!(outcome.why().1, Remedy::Transient, "{:?}", outcome.failure());
    assert_eq!(outcome.repeat(), (true, true));
}

#[test]
fn fault_059_060_statuses_are_sorted_by_what_remedies_them() {
    let world = World::new();
    for (status, put, post) in [
        (400, Remedy::Permanent, Remedy::Permanent),
        (401, Remedy::NeedsInput, Remedy::NeedsInput),
        (403, Remedy::NeedsInput, Remedy::NeedsInput),
        (404, Remedy::NeedsInput, Remedy::NeedsInput),
        (409, Remedy::NeedsInput, Remedy::NeedsInput),
        (413, Remedy::NeedsInput, Remedy::NeedsInput),
        (408, Remedy::Transient, Remedy::Transient),
        (423, Remedy::Transient, Remedy::Transient),
        (429, Remedy::Transient, Remedy::Transient),
        (500, Remedy::Transient, Remedy::NeedsInput),
        (502, Remedy::Transient, Remedy::NeedsInput),
        (503, Remedy::Transient, Remedy::Transient),
        (507, Remedy::Transient, Remedy::Transient),
    ] {
        let server = Server::start(move |exchange| {
            exchange.respond(Response::new(status).header("Retry-After", "7").text("why"));
        });
        for (method, expected) in [(http::Method::PUT, put), (http::Method::POST, post)] {
            let job = UploadJob { method: method.clone(), ..world.job(&server.url("/f"), SMALL) };
            let outcome = world.run(&job);
            let failure = outcome.failure();
            assert_eq!(failure.remedy, expected, "{method} {status}: {failure:?}");
            assert_eq!((failure.http_status, failure.retry_after_seconds), (Some(status), Some(7)));
            assert_eq!(outcome.body().bytes.as_ref(), b"why", "{method} {status}");
        }
    }
}

#[test]
fn fault_101_a_source_that_changes_on_the_way_is_never_called_finished() {
    let world = World::new();
    let server = Server::start(|exchange| exchange.respond(Response::new(200)));
    let content = Content::new(4, 8_000_000);
    let job = UploadJob { rate_limit: Some(4_000_000), ..world.job(&server.url("/f"), content) };
    let attempt = world.start(&job);
    attempt.wait_for_bytes(2_000_000);
    let changed = Content::new(5, content.length);
    changed.write_to(&world.source());
    let outcome = world.end(attempt);
    assert_eq!(outcome.why(), (Cause::SourceChanged, Remedy::Stale), "{:?}", outcome.failure());
    assert!(server.requests().iter().all(|request| request.body.len() < content.length as usize));
    // The next attempt sends what is there now, from its first byte.
    let next = UploadJob { rate_limit: None, ..world.next(&job) };
    let outcome = world.run(&next);
    assert_eq!(outcome.receipt().restarts, 1);
    assert_body(server.requests().last().unwrap(), changed);
}

#[test]
fn a_server_that_takes_nothing_more_is_a_stall_and_a_limit_of_our_own_is_not() {
    let world = World::new();
    let server = Server::build().start_raw(|wire| {
        wire.read_head();
        wire.hold(&longhaul_lab::Gate::new());
    });
    let job = world.job(&server.url("/f"), Content::new(6, 60_000_000));
    assert_eq!(world.run(&job).why(), (Cause::Stalled, Remedy::Transient));
    let server = Server::start(|exchange| exchange.respond(Response::new(200)));
    // Slower than what counts as a stall, by our own wish.
    let world = World::with(longhaul_transfer::Settings { stall_bytes_per_second: 1_000_000, ..settings() });
    let job = UploadJob { rate_limit: Some(50_000), ..world.job(&server.url("/f"), SMALL) };
    world.run(&job).receipt();
}

#[test]
fn a_server_that_does_not_answer_is_left() {
    let world = World::new();
    let server = Server::start(|exchange| {
        assert_eq!(exchange.request.body.len() as u64, SMALL.length);
        exchange.stall();
    });
    let job = world.job(&server.url("/f"), SMALL);
    let outcome = world.run(&job);
    assert_eq!(outcome.why(), (Cause::ResponseTimeout, Remedy::Transient));
    assert_eq!(outcome.repeat(), (true, true));
}

#[test]
fn what_is_finished_is_told_again_and_not_done_again() {
    let world = World::new();
    let server = Server::start(|exchange| exchange.respond(Response::new(200).text("number 7")));
    let job = UploadJob { method: http::Method::POST, ..world.job(&server.url("/f"), SMALL) };
    let first = world.run(&job);
    std::fs::remove_file(world.source()).unwrap();
    let again = world.run(&world.next(&job));
    assert_eq!(again.receipt(), first.receipt());
    assert_eq!(again.body().bytes.as_ref(), b"number 7");
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_stopped_upload_lets_go_and_goes_on_when_it_is_asked_to() {
    let world = World::new();
    let server = Server::start(|exchange| exchange.respond(Response::new(200)));
    let job = UploadJob { rate_limit: Some(500_000), ..world.job(&server.url("/f"), LARGE) };
    let attempt = world.start(&job);
    attempt.wait_for_bytes(100_000);
    attempt.handle.stop(StopMode::Keep);
    let outcome = world.end(attempt);
    assert!(matches!(outcome.end, UploadEnd::Stopped), "{:?}", outcome.end);
    let next = UploadJob { rate_limit: None, ..world.next(&job) };
    assert!(world.run(&next).receipt().bytes_sent > LARGE.length);
}
