//! Encodings, digests and answers that are not the file: rows 26 to 39.

use longhaul_contract::{Blocker, Cause, DigestVerdict, Expectation, Remedy};
use longhaul_lab::hostile::{Body, Cut};
use longhaul_lab::{Content, Resource, Response, Server};
use longhaul_transfer::TransferEnd;

use crate::support::{Outcome, World, stalling_first};

const SIZE: u64 = 300_000;
const KEPT: u64 = 200_000;

fn file() -> Resource {
    Resource::new(Content::new(1, SIZE))
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn repr_digest(content: Content) -> String {
    format!("sha-256=:{}:", base64(&content.sha256_bytes()))
}

/// One download of what `answer` gives to every request.
fn download(answer: impl Fn() -> Response + Send + Sync + 'static) -> (World, Outcome) {
    let world = World::new();
    let server = Server::start(move |exchange| exchange.respond(answer()));
    let outcome = world.finish(&world.job(&server.url("/file.iso")));
    (world, outcome)
}

#[test]
fn fault_026_an_encoded_body_that_was_not_asked_for_is_kept_raw_or_refused() {
    // Identity is what is asked for, so nothing is ever decoded.
    let (world, outcome) = download(|| file().full().header("Content-Encoding", "gzip"));
    match &outcome.end {
        TransferEnd::Finished { response, .. } => {
            file().content.assert_file(&world.result());
            assert!(!response.as_ref().unwrap().is_resumable, "an encoded body cannot be resumed");
        }
        _ => {
            assert_eq!(outcome.why().0, Cause::ContentEncoding);
            world.assert_nothing_published();
        }
    }
}

#[test]
fn fault_026_an_encoded_body_is_never_resumed() {
    let world = World::new();
    let encoded = |response: Response| response.header("Content-Encoding", "gzip");
    let server = Server::start(move |exchange| {
        let response = encoded(file().answer(&exchange.request));
        exchange.respond(if exchange.request.number == 0 {
            response.cut_after(KEPT, Cut::Close)
        } else {
            response
        });
    });
    let outcome = world.finish(&world.job(&server.url("/f")));
    if matches!(outcome.end, TransferEnd::Finished { .. }) {
        file().content.assert_file(&world.result());
    } else {
        assert_eq!(outcome.why().0, Cause::ContentEncoding);
        world.assert_nothing_published();
    }
}

#[test]
fn fault_027_an_encoded_206_is_refused() {
    let world = World::new();
    let server = stalling_first(file(), KEPT, |exchange| {
        let response = file().answer(&exchange.request);
        let is_first_resume = exchange.request.number == 1;
        exchange.respond(if is_first_resume {
            response.header("Content-Encoding", "gzip")
        } else {
            response
        });
    });
    let job = world.interrupted(&server, KEPT);
    world.finish(&job).assert_published(&world, file().content);
}

#[test]
fn fault_028_a_bomb_is_not_unpacked() {
    for encoding in ["gzip", "br", "zstd", "deflate"] {
        let (world, outcome) = download(move || {
            Response::new(200).header("Content-Encoding", encoding).body(Body::Bytes(vec![0x1f; 1_000]))
        });
        match &outcome.end {
            TransferEnd::Finished { .. } => {
                assert_eq!(std::fs::read(world.result()).unwrap(), vec![0x1f; 1_000]);
            }
            _ => assert_eq!(outcome.why().0, Cause::ContentEncoding),
        }
    }
}

#[test]
fn fault_029_a_deep_list_of_encodings_is_not_followed() {
    let (world, outcome) =
        download(|| file().full().header("Content-Encoding", "gzip, ".repeat(1_000) + "gzip"));
    match &outcome.end {
        TransferEnd::Finished { .. } => file().content.assert_file(&world.result()),
        _ => assert!(matches!(outcome.why().0, Cause::ContentEncoding | Cause::HeadersTooLarge)),
    }
}

#[test]
fn fault_031_an_equal_repr_digest_is_recorded() {
    let (world, outcome) = download(|| file().full().header("Repr-Digest", repr_digest(file().content)));
    outcome.assert_published(&world, file().content);
    let digest = outcome.receipt().digests.iter().find(|digest| digest.source == "Repr-Digest").unwrap();
    assert_eq!(digest.verdict, DigestVerdict::Equal);
    assert_eq!(digest.value, file().content.sha256());
}

#[test]
fn fault_031_a_different_repr_digest_is_fetched_once_more_and_then_fails() {
    let world = World::new();
    let server = Server::start(|exchange| {
        exchange.respond(file().full().header("Repr-Digest", repr_digest(Content::new(2, SIZE))));
    });
    let outcome = world.finish(&world.job(&server.url("/f")));
    assert_eq!(outcome.why(), (Cause::DigestMismatch, Remedy::Permanent));
    world.assert_nothing_published();
    assert_eq!(server.requests().len(), 2, "once more from byte 0");
    assert!(server.requests().iter().all(|request| request.range_start() == 0));
}

#[test]
fn fault_031_bytes_damaged_on_the_way_are_mended_by_the_second_fetch() {
    let world = World::new();
    let server = Server::start(|exchange| {
        let response = file().full().header("Repr-Digest", repr_digest(file().content));
        let content = Content::new(2, SIZE);
        exchange.respond(match exchange.request.number {
            0 => response.body(Body::Part { content, offset: 0, length: SIZE }),
            _ => response,
        });
    });
    world.finish(&world.job(&server.url("/f"))).assert_published(&world, file().content);
}

#[test]
fn fault_031_unknown_and_malformed_digests_are_ignored() {
    for value in ["unixsum=:AAAA:", "sha-256=abc", "sha-256", ";;;", "sha-256=:!!!:", "sha-256=:AAAA:"] {
        let (world, outcome) = download(move || file().full().header("Repr-Digest", value));
        outcome.assert_published(&world, file().content);
    }
}

#[test]
fn fault_032_a_repr_digest_of_an_encoded_body_is_of_the_encoded_bytes() {
    let (world, outcome) = download(|| {
        file().full().header("Content-Encoding", "gzip").header("Repr-Digest", repr_digest(file().content))
    });
    match &outcome.end {
        TransferEnd::Finished { .. } => file().content.assert_file(&world.result()),
        _ => assert_eq!(outcome.why().0, Cause::ContentEncoding),
    }
}

#[test]
fn fault_033_a_content_digest_on_206_is_of_that_part() {
    for (is_right, restarts) in [(true, 0), (false, 1)] {
        let world = World::new();
        let server = stalling_first(file(), KEPT, move |exchange| {
            let response = file().answer(&exchange.request);
            if exchange.request.number > 1 {
                exchange.respond(response);
                return;
            }
            let start = exchange.request.range_start();
            let mut bytes = file().content.bytes(start, SIZE - start);
            if !is_right {
                bytes.push(0);
            }
            let hash = <sha2::Sha256 as sha2::Digest>::digest(&bytes);
            exchange.respond(response.header("Content-Digest", format!("sha-256=:{}:", base64(&hash))));
        });
        let job = world.interrupted(&server, KEPT);
        let outcome = world.finish(&job);
        outcome.assert_published(&world, file().content);
        if restarts > 0 {
            assert!(server.requests().len() > 2, "a part with a wrong digest is fetched again");
        }
    }
}

#[test]
fn fault_034_a_digest_in_a_trailer_counts_and_a_missing_one_is_no_mismatch() {
    let trailer = || file().full().header("Trailer", "Repr-Digest");
    let (world, outcome) = download(move || trailer().trailer("Repr-Digest", repr_digest(file().content)));
    outcome.assert_published(&world, file().content);
    let (world, outcome) =
        download(move || trailer().trailer("Repr-Digest", repr_digest(Content::new(2, SIZE))));
    assert_eq!(outcome.why().0, Cause::DigestMismatch);
    world.assert_nothing_published();
    let (world, outcome) = download(move || trailer().chunked());
    outcome.assert_published(&world, file().content);
}

#[test]
fn a_checksum_of_the_caller_decides() {
    for (seed, is_right) in [(1, true), (2, false)] {
        let world = World::new();
        let server = Server::of(file());
        let mut job = world.job(&server.url("/f"));
        job.checksum = Some(format!("sha256:{}", Content::new(seed, SIZE).sha256()).parse().unwrap());
        let outcome = world.finish(&job);
        if is_right {
            outcome.assert_published(&world, file().content);
        } else {
            assert_eq!(outcome.why().0, Cause::DigestMismatch);
            world.assert_nothing_published();
        }
    }
}

#[test]
fn a_checksum_holds_over_a_resume() {
    let world = World::new();
    let server = stalling_first(file(), KEPT, |exchange| exchange.respond(file().answer(&exchange.request)));
    let mut job = world.interrupted(&server, KEPT);
    job.checksum = Some(format!("sha256:{}", file().content.sha256()).parse().unwrap());
    let outcome = world.finish(&job);
    outcome.assert_published(&world, file().content);
    assert_eq!(outcome.receipt().digests[0].verdict, DigestVerdict::Equal);
}

#[test]
fn fault_035_304_is_answered_by_asking_without_the_condition() {
    let world = World::new();
    let server = Server::start(|exchange| {
        let is_conditional = exchange.request.header("if-none-match").is_some();
        exchange.respond(if is_conditional { Response::new(304) } else { file().full() });
    });
    let mut job = world.job(&server.url("/f"));
    job.headers = vec![(http::header::IF_NONE_MATCH, longhaul_contract::Secret::new("\"v1\""))];
    world.finish(&job).assert_published(&world, file().content);
}

#[test]
fn fault_036_204_and_205_are_no_empty_files() {
    for status in [204, 205] {
        let (world, outcome) = download(move || Response::new(status));
        assert_eq!(outcome.why().0, Cause::HttpStatus, "{status}");
        assert_eq!(outcome.failure().http_status, Some(status));
        world.assert_nothing_published();
    }
}

#[test]
fn an_empty_file_is_a_file() {
    let (world, outcome) = download(|| Resource::new(Content::new(1, 0)).full());
    outcome.assert_published(&world, Content::new(1, 0));
}

fn portal() -> Response {
    Response::new(200)
        .header("Content-Type", "text/html; charset=utf-8")
        .text("<!DOCTYPE html><html><body>Please log in to the Wi-Fi</body></html>")
}

#[test]
fn fault_038_a_login_page_is_not_the_file() {
    for expect in [
        Expectation { content_type: Some("application/octet-stream".to_owned()), size: None },
        Expectation { content_type: None, size: Some(SIZE) },
    ] {
        let world = World::new();
        let server = Server::start(|exchange| exchange.respond(portal()));
        let mut job = world.job(&server.url("/file.iso"));
        job.expect = Some(expect);
        let outcome = world.run(&job);
        assert_eq!(outcome.why(), (Cause::CaptivePortal, Remedy::Blocked { on: Blocker::Portal }));
        world.assert_nothing_published();
    }
}

#[test]
fn fault_038_a_login_page_in_place_of_the_rest_keeps_the_bytes() {
    let world = World::new();
    let server = stalling_first(file(), KEPT, |exchange| {
        exchange.respond(if exchange.request.number == 1 {
            portal()
        } else {
            file().answer(&exchange.request)
        });
    });
    let job = world.interrupted(&server, KEPT);
    let outcome = world.run(&job);
    assert_eq!(outcome.why(), (Cause::CaptivePortal, Remedy::Blocked { on: Blocker::Portal }));
    let job = world.next(&job);
    let outcome = world.finish(&job);
    outcome.assert_published(&world, file().content);
    assert!(!outcome.has_restarted(), "the bytes of before the portal were kept");
}

#[test]
fn fault_038_a_page_that_was_asked_for_is_a_page() {
    let world = World::new();
    let server = Server::start(|exchange| exchange.respond(portal()));
    let outcome = world.finish(&world.job(&server.url("/index.html")));
    assert!(matches!(outcome.end, TransferEnd::Finished { .. }), "{:?}", outcome.end);
}

#[test]
fn fault_038_another_size_or_type_than_expected_is_not_accepted() {
    for (expect, cause) in [
        (Expectation { content_type: Some("image/*".to_owned()), size: None }, Cause::ContentTypeMismatch),
        (Expectation { content_type: None, size: Some(SIZE + 1) }, Cause::SizeMismatch),
    ] {
        let world = World::new();
        let server = Server::of(file());
        let mut job = world.job(&server.url("/f"));
        job.expect = Some(expect);
        let outcome = world.finish(&job);
        assert_eq!(outcome.why().0, cause);
        world.assert_nothing_published();
    }
}

#[test]
fn fault_039_511_waits_for_the_portal() {
    let (world, outcome) = download(|| Response::new(511).text("log in first"));
    assert_eq!(outcome.why(), (Cause::CaptivePortal, Remedy::Blocked { on: Blocker::Portal }));
    world.assert_nothing_published();
}
