//! tus 1.0 against a server that says what it should, except where a test wants otherwise.

use std::sync::{Arc, Mutex};

use longhaul_contract::{Cause, Remedy};
use longhaul_lab::{Content, Exchange, Response, Server};
use longhaul_transfer::{Settings, StopMode, UploadEnd, UploadJob, UploadProtocol, UsedProtocol};

use crate::support::{World, settings};

const CONTENT: Content = Content::new(31, 400_000);

/// A tus server that keeps uploads in memory.
#[derive(Default)]
struct Tus {
    uploads: Mutex<Vec<Vec<u8>>>,
    extensions: &'static str,
    algorithms: &'static str,
}

impl Tus {
    fn answer(&self, exchange: &mut Exchange<'_>) {
        let request = exchange.request.clone();
        let plain = |status| Response::new(status).header("Tus-Resumable", "1.0.0");
        let place: Option<usize> =
            request.path().strip_prefix("/files/").and_then(|number| number.parse().ok());
        let mut uploads = self.uploads.lock().unwrap();
        let response = match (request.method.as_str(), place) {
            ("OPTIONS", _) => plain(204)
                .header("Tus-Version", "1.0.0")
                .header("Tus-Extension", self.extensions)
                .header("Tus-Checksum-Algorithm", self.algorithms),
            ("POST", _) => {
                let mut bytes = Vec::new();
                let joined = request.header("upload-concat").and_then(|value| value.strip_prefix("final;"));
                for url in joined.into_iter().flat_map(|urls| urls.split(' ')) {
                    let number: usize = url.rsplit('/').next().unwrap().parse().unwrap();
                    bytes.extend_from_slice(&uploads[number]);
                }
                uploads.push(bytes);
                plain(201).header("Location", format!("/files/{}", uploads.len() - 1))
            }
            ("HEAD", Some(number)) => plain(200).header("Upload-Offset", uploads[number].len().to_string()),
            ("PATCH", Some(number)) => {
                let have = uploads[number].len().to_string();
                if request.header("upload-offset") == Some(&have) {
                    uploads[number].extend_from_slice(&request.body);
                    plain(204).header("Upload-Offset", uploads[number].len().to_string())
                } else {
                    plain(409)
                }
            }
            ("DELETE", Some(_)) => plain(204),
            _ => plain(404),
        };
        drop(uploads);
        exchange.respond(response);
    }
}

fn serve(
    tus: Tus,
    odd: impl Fn(&mut Exchange<'_>, &Tus) -> bool + Send + Sync + 'static,
) -> (Server, Arc<Tus>) {
    let tus = Arc::new(tus);
    let server = Server::start({
        let tus = Arc::clone(&tus);
        move |exchange| {
            if !odd(exchange, &tus) {
                tus.answer(exchange);
            }
        }
    });
    (server, tus)
}

fn job(world: &World, server: &Server, content: Content) -> UploadJob {
    UploadJob {
        method: http::Method::POST,
        protocol: UploadProtocol::Tus,
        ..world.job(&server.url("/files"), content)
    }
}

fn methods(server: &Server) -> Vec<String> {
    server.requests().iter().map(|request| request.method.clone()).collect()
}

#[test]
fn an_upload_is_made_named_and_filled() {
    let world = World::new();
    let (server, tus) = serve(Tus::default(), |_, _| false);
    let outcome = world.run(&job(&world, &server, CONTENT));
    assert_eq!(outcome.receipt().protocol, UsedProtocol::Tus);
    assert_eq!(outcome.receipt().bytes_sent, CONTENT.length);
    assert!(tus.uploads.lock().unwrap()[0] == CONTENT.all());
    assert_eq!(methods(&server), ["OPTIONS", "POST", "PATCH"]);
    let requests = server.requests();
    assert_eq!(requests[1].header("upload-length"), Some("400000"));
    assert_eq!(requests[1].header("upload-metadata"), Some("filename c291cmNlLmJpbg=="));
    assert_eq!(requests[2].header("content-type"), Some("application/offset+octet-stream"));
    // What the address speaks is remembered.
    world.run(&job(&world, &server, CONTENT)).receipt();
    assert_eq!(methods(&server)[3..], ["POST", "PATCH"]);
}

#[test]
fn an_empty_file_is_whole_when_it_is_made() {
    let world = World::new();
    let (server, _) = serve(Tus::default(), |_, _| false);
    world.run(&job(&world, &server, Content::new(1, 0))).receipt();
    assert_eq!(methods(&server), ["OPTIONS", "POST"]);
}

#[test]
fn what_the_server_has_is_not_sent_again() {
    let world = World::new();
    let (server, tus) = serve(Tus::default(), |exchange, tus| {
        let is_first = exchange.request.method == "PATCH" && exchange.request.number == 2;
        if is_first {
            tus.uploads.lock().unwrap()[0].extend_from_slice(&exchange.request.body[..300_000]);
            exchange.reset();
        }
        is_first
    });
    let job = job(&world, &server, CONTENT);
    assert_eq!(world.run(&job).why().1, Remedy::Transient);
    let outcome = world.run(&world.next(&job));
    outcome.receipt();
    assert!(tus.uploads.lock().unwrap()[0] == CONTENT.all());
    let requests = server.requests();
    assert_eq!(methods(&server), ["OPTIONS", "POST", "PATCH", "HEAD", "PATCH"]);
    assert_eq!(requests[4].header("upload-offset"), Some("300000"));
    assert_eq!(requests[4].body.len(), 100_000);
}

#[test]
fn the_upload_url_is_recorded_before_a_byte_goes_there() {
    let mut world = World::new();
    let (server, _) = serve(Tus::default(), |exchange, _| {
        let is_patch = exchange.request.method == "PATCH" && exchange.request.number == 2;
        if is_patch {
            exchange.stall();
        }
        is_patch
    });
    let job = job(&world, &server, CONTENT);
    let attempt = world.start(&job);
    server.wait_for_requests(3, crate::support::DEADLINE);
    world.crash();
    drop(attempt);
    world.run(&world.next(&job)).receipt();
    assert_eq!(methods(&server)[3..], ["OPTIONS", "HEAD", "PATCH"], "no second upload was made");
}

#[test]
fn fault_104_an_offset_that_cannot_be_is_the_end() {
    for offset in [Some("400001"), Some("many"), Some("-1"), None] {
        let world = World::new();
        let (server, _) = serve(Tus::default(), move |exchange, _| match exchange.request.method.as_str() {
            "PATCH" => {
                exchange.reset();
                true
            }
            "HEAD" => {
                let response = Response::new(200);
                exchange.respond(match offset {
                    Some(offset) => response.header("Upload-Offset", offset),
                    None => response,
                });
                true
            }
            _ => false,
        });
        let job = job(&world, &server, CONTENT);
        world.run(&job);
        let outcome = world.run(&world.next(&job));
        assert_eq!(outcome.why(), (Cause::SizeMismatch, Remedy::NeedsInput), "{offset:?}");
        assert_eq!(methods(&server).iter().filter(|method| *method == "POST").count(), 1, "{offset:?}");
    }
}

#[test]
fn fault_105_a_conflict_is_settled_by_asking() {
    let world = World::new();
    let (server, tus) = serve(Tus::default(), |exchange, tus| {
        // The server has more than this side knows: an earlier answer was lost.
        if exchange.request.method == "PATCH" && exchange.request.number == 2 {
            tus.uploads.lock().unwrap()[0].extend_from_slice(&exchange.request.body[..123_456]);
            exchange.respond(Response::new(409));
            return true;
        }
        false
    });
    world.run(&job(&world, &server, CONTENT)).receipt();
    assert_eq!(methods(&server), ["OPTIONS", "POST", "PATCH", "HEAD", "PATCH"]);
    assert!(tus.uploads.lock().unwrap()[0] == CONTENT.all());
}

#[test]
fn fault_105_a_lock_is_waited_for_and_no_second_upload_is_made() {
    let world = World::new();
    let (server, _) = serve(Tus::default(), |exchange, _| {
        let is_locked = matches!(exchange.request.number, 2..=4);
        if is_locked {
            exchange.respond(Response::new(423));
        }
        is_locked
    });
    world.run(&job(&world, &server, CONTENT)).receipt();
    assert_eq!(methods(&server), ["OPTIONS", "POST", "PATCH", "HEAD", "HEAD", "HEAD", "PATCH"]);
}

#[test]
fn fault_105_an_upload_that_is_gone_is_made_once_more_and_not_for_ever() {
    for (status, times) in [(404, 1), (410, 1), (404, 9)] {
        let world = World::new();
        let (server, _) = serve(Tus::default(), move |exchange, _| {
            let seen = exchange.request.method == "PATCH" && exchange.request.number < 2 + 2 * times;
            if seen {
                exchange.respond(Response::new(status));
            }
            seen
        });
        let outcome = world.run(&job(&world, &server, CONTENT));
        if times == 1 {
            assert_eq!(outcome.receipt().restarts, 1, "{status}");
        } else {
            assert_eq!(outcome.why(), (Cause::HttpStatus, Remedy::NeedsInput));
        }
        assert_eq!(methods(&server), ["OPTIONS", "POST", "PATCH", "POST", "PATCH"], "{status}");
    }
}

#[test]
fn fault_105_a_chunk_that_was_changed_on_its_way_is_sent_again() {
    let world = World::new();
    let tus = Tus { extensions: "creation,checksum", algorithms: "md5,sha1,sha256", ..Tus::default() };
    let (server, tus) = serve(tus, |exchange, _| {
        let is_first = exchange.request.number == 2;
        if is_first {
            exchange.respond(Response::new(460));
        }
        is_first
    });
    world.run(&job(&world, &server, CONTENT)).receipt();
    assert!(tus.uploads.lock().unwrap()[0] == CONTENT.all());
    use base64::Engine as _;
    let digest = base64::engine::general_purpose::STANDARD.encode(CONTENT.sha256_bytes());
    let sent: Vec<_> = server.requests()[2..]
        .iter()
        .map(|request| request.header("upload-checksum").map(str::to_owned))
        .collect();
    assert_eq!(sent, vec![Some(format!("sha256 {digest}")); 2]);
}

#[test]
fn fault_105_another_version_of_the_protocol_is_the_end() {
    let world = World::new();
    let (server, _) = serve(Tus::default(), |exchange, _| {
        let is_patch = exchange.request.method == "PATCH";
        if is_patch {
            exchange.respond(Response::new(412).header("Tus-Version", "2.0.0"));
        }
        is_patch
    });
    assert_eq!(world.run(&job(&world, &server, CONTENT)).why(), (Cause::HttpStatus, Remedy::Permanent));
}

#[test]
fn an_upload_whose_time_is_over_is_not_asked_for() {
    let world = World::new();
    let (server, _) = serve(Tus::default(), |exchange, tus| {
        if exchange.request.number == 1 {
            tus.uploads.lock().unwrap().push(Vec::new());
            exchange.respond(
                Response::new(201)
                    .header("Location", "/files/0")
                    .header("Upload-Expires", "Mon, 05 Jan 2026 10:00:00 GMT"),
            );
            return true;
        }
        if exchange.request.number == 2 {
            exchange.reset();
            return true;
        }
        false
    });
    let job = job(&world, &server, CONTENT);
    world.run(&job);
    world.run(&world.next(&job)).receipt();
    assert_eq!(methods(&server), ["OPTIONS", "POST", "PATCH", "POST", "PATCH"]);
}

#[test]
fn a_discarded_upload_is_forgotten_by_the_server_too() {
    let world = World::new();
    let (server, _) = serve(Tus::default(), |exchange, _| {
        let is_patch = exchange.request.method == "PATCH";
        if is_patch {
            exchange.stall();
        }
        is_patch
    });
    let first = job(&world, &server, CONTENT);
    let attempt = world.start(&first);
    server.wait_for_requests(3, crate::support::DEADLINE);
    attempt.handle.stop(StopMode::Discard);
    assert!(matches!(world.end(attempt).end, UploadEnd::Stopped));
    assert_eq!(methods(&server), ["OPTIONS", "POST", "PATCH", "DELETE"]);
    // The same for one that nobody works at.
    let second = job(&world, &server, CONTENT);
    let attempt = world.start(&second);
    server.wait_for_requests(6, crate::support::DEADLINE);
    attempt.handle.stop(StopMode::Keep);
    world.end(attempt);
    world.block_on(world.transfers.discard_upload(&world.next(&second))).unwrap();
    let requests = server.requests();
    let last = requests.last().unwrap();
    assert_eq!((last.method.as_str(), last.path()), ("DELETE", "/files/1"));
    assert_eq!(last.header("tus-resumable"), Some("1.0.0"));
}

#[test]
fn a_source_that_changed_between_attempts_begins_anew() {
    let world = World::new();
    let (server, tus) = serve(Tus::default(), |exchange, tus| {
        let is_first = exchange.request.number == 2;
        if is_first {
            tus.uploads.lock().unwrap()[0].extend_from_slice(&exchange.request.body[..100_000]);
            exchange.reset();
        }
        is_first
    });
    let job = job(&world, &server, CONTENT);
    world.run(&job);
    let other = Content::new(32, CONTENT.length);
    other.write_to(&world.source());
    let outcome = world.run(&world.next(&job));
    assert_eq!(outcome.receipt().restarts, 1);
    assert!(tus.uploads.lock().unwrap()[1] == other.all());
    assert_eq!(methods(&server)[3..], ["DELETE", "POST", "PATCH"]);
}

#[test]
fn a_large_file_goes_in_parts_side_by_side_where_the_server_joins_them() {
    let world = World::with(Settings { segments_max: 3, ..settings() });
    let content = Content::new(33, 34_000_000);
    let tus = Tus { extensions: "creation,concatenation", ..Tus::default() };
    let (server, tus) = serve(tus, |exchange, tus| {
        // One part breaks off once.
        let mut uploads = tus.uploads.lock().unwrap();
        let is_broken = exchange.request.method == "PATCH"
            && exchange.request.path() == "/files/1"
            && uploads[1].is_empty();
        if is_broken {
            uploads[1].extend_from_slice(&exchange.request.body[..1_000_000]);
            drop(uploads);
            exchange.reset();
        }
        is_broken
    });
    let job = job(&world, &server, content);
    let outcome = world.finish(&job);
    assert_eq!(outcome.receipt().restarts, 0);
    let uploads = tus.uploads.lock().unwrap();
    assert_eq!(uploads.len(), 3, "two parts and the whole");
    assert!(uploads[2] == content.all());
}
