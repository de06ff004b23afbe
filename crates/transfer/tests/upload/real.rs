//! Real servers: nginx and Apache as WebDAV stores, and two implementations of tus.

use std::path::Path;

use longhaul_contract::Remedy;
use longhaul_lab::Content;
use longhaul_lab::servers::{ServerKind, UPLOADS, WebServer};
use longhaul_lab::tus::{TusKind, TusServer};
use longhaul_transfer::{Settings, UploadJob, UploadProtocol, UsedProtocol};

use crate::support::{DEADLINE, World, settings};

const CONTENT: Content = Content::new(71, 8_000_003);

#[test]
fn a_put_reaches_nginx_and_apache_plain_and_over_tls() {
    for kind in [ServerKind::Nginx, ServerKind::Apache] {
        let server = WebServer::start(kind);
        let world = World::with(Settings { ca_certificates: vec![server.root_certificate()], ..settings() });
        let path = format!("/{UPLOADS}/plain.bin");
        let tls_path = format!("/{UPLOADS}/tls.bin");
        for (url, name) in [(server.url(&path), "plain.bin"), (server.https_url(&tls_path), "tls.bin")] {
            for protocol in [UploadProtocol::Plain, UploadProtocol::Auto] {
                let outcome = world.run(&UploadJob { protocol, ..world.job(&url, CONTENT) });
                assert_eq!(outcome.receipt().bytes_sent, CONTENT.length, "{kind:?} {url} {protocol:?}");
                CONTENT.assert_file(&server.uploads().join(name));
                std::fs::remove_file(server.uploads().join(name)).unwrap();
            }
        }
        if kind == ServerKind::Nginx {
            let log = server.access_log();
            assert!(log.iter().any(|line| line.contains("HTTP/2.0")), "nothing went over HTTP/2: {log:?}");
        }
    }
}

#[test]
fn what_nginx_finds_too_large_is_told_as_it_says_it() {
    let server = WebServer::start(ServerKind::Nginx);
    let world = World::with(Settings { ca_certificates: vec![server.root_certificate()], ..settings() });
    for url in [server.url("/small/f.bin"), server.https_url("/small/f.bin")] {
        let outcome = world.run(&world.job(&url, CONTENT));
        let failure = outcome.failure();
        assert_eq!(
            (failure.http_status, failure.remedy),
            (Some(413), Remedy::NeedsInput),
            "{url} {failure:?}"
        );
        assert!(outcome.body().bytes.starts_with(b"<html>"), "{url}");
    }
}

fn is_equal(path: &Path, content: Content) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.len() == content.length)
        && std::fs::read(path).unwrap() == content.all()
}

#[test]
fn both_tus_servers_get_the_file_over_broken_connections_and_crashes() {
    for kind in [TusKind::Node, TusKind::Python] {
        let server = TusServer::start(kind);
        let mut world = World::new();
        let first = UploadJob {
            method: http::Method::POST,
            protocol: UploadProtocol::Auto,
            rate_limit: Some(4_000_000),
            content_type: Some("application/octet-stream".to_owned()),
            ..world.job(&server.url(), CONTENT)
        };
        let mut job = first.clone();
        let mut sent = 0;
        for crash in 1..=4 {
            let attempt = world.start(&job);
            attempt.wait_for_bytes(crash * CONTENT.length / 6);
            sent = world.journal.record(first.id).unwrap().receipt.bytes_sent;
            world.crash();
            drop(attempt);
            job = world.next(&first);
        }
        assert!(sent > 0, "what left is recorded while it leaves");
        let outcome = world.finish(&UploadJob { rate_limit: None, ..job });
        let receipt = outcome.receipt();
        assert_eq!((receipt.protocol, receipt.restarts), (UsedProtocol::Tus, 0), "{kind:?}");
        let share = receipt.bytes_sent as f64 / CONTENT.length as f64;
        assert!(share <= 1.3, "{kind:?}: {share} of the file were sent");
        assert!(server.files().iter().any(|path| is_equal(path, CONTENT)), "{kind:?}: the file is another");
        let names = server.files();
        assert_eq!(names.len(), 1, "{kind:?}: one upload was made: {names:?}");
    }
}

#[test]
fn the_python_server_joins_parts_that_came_side_by_side() {
    let server = TusServer::start(TusKind::Python);
    let world = World::with(Settings { segments_max: 3, response_timeout: DEADLINE, ..settings() });
    let content = Content::new(72, 40_000_000);
    let job = UploadJob {
        method: http::Method::POST,
        protocol: UploadProtocol::Tus,
        ..world.job(&server.url(), content)
    };
    let outcome = world.run(&job);
    assert_eq!(outcome.receipt().bytes_sent, content.length);
    assert!(outcome.receipt().requests > 1, "it went in parts");
    assert!(server.files().iter().any(|path| is_equal(path, content)), "the file is another");
}

#[test]
fn a_discarded_upload_leaves_nothing_at_the_node_server() {
    let server = TusServer::start(TusKind::Node);
    let world = World::new();
    let job = UploadJob {
        method: http::Method::POST,
        protocol: UploadProtocol::Tus,
        rate_limit: Some(2_000_000),
        ..world.job(&server.url(), CONTENT)
    };
    let attempt = world.start(&job);
    attempt.wait_for_bytes(1_000_000);
    attempt.handle.stop(longhaul_transfer::StopMode::Keep);
    world.end(attempt);
    assert_eq!(server.files().len(), 1);
    world.block_on(world.transfers.discard_upload(&world.next(&job))).unwrap();
    assert_eq!(server.files().len(), 0);
}
