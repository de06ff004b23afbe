//! Addresses that are not for everybody, headers that must not be sent, and secrets: rows 77 to 81.

use longhaul_contract::{Cause, Remedy, Secret};
use longhaul_lab::hostile::Cut;
use longhaul_lab::{Content, Resource, Server};

use crate::support::World;

fn file() -> Resource {
    Resource::new(Content::new(1, 100_000))
}

#[test]
fn fault_077_confined_jobs_reach_public_addresses_only() {
    let server = Server::of(file());
    let port = server.address().port();
    for host in [
        "127.0.0.1",
        "localhost",
        "2130706433",
        "0x7f.1",
        "0.0.0.0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::]",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "[fe80::1]",
        "[fd00::1]",
    ] {
        let world = World::new();
        let mut job = world.job(&format!("http://{host}:{port}/f"));
        job.public_addresses_only = true;
        let outcome = world.run(&job);
        assert_eq!(outcome.why().0, Cause::AddressForbidden, "{host}: {:?}", outcome.end);
        assert_ne!(outcome.why().1, Remedy::Transient);
    }
    assert_eq!(server.connections(), 0);
}

#[test]
fn fault_078_headers_that_would_split_are_not_sent() {
    let server = Server::of(file());
    for value in ["a\r\nX-Injected: 1", "a\nb", "a\0b", "\r"] {
        let world = World::new();
        let mut job = world.job(&server.url("/f"));
        job.headers = vec![(http::HeaderName::from_static("x-note"), Secret::new(value))];
        let outcome = world.run(&job);
        assert_ne!(outcome.why().1, Remedy::Transient, "{value:?}");
    }
    assert!(server.requests().is_empty());
}

#[test]
fn fault_079_cookies_of_servers_are_neither_kept_nor_shown() {
    let world = World::new();
    let server = Server::start(|exchange| {
        let response = (0..50).fold(file().answer(&exchange.request), |response, number| {
            response.header("Set-Cookie", format!("c{number}=s3cret; Domain=com"))
        });
        exchange.respond(if exchange.request.number == 0 {
            response.cut_after(50_000, Cut::Close)
        } else {
            response
        });
    });
    let job = world.job(&server.url("/f"));
    let outcome = world.finish(&job);
    outcome.assert_published(&world, file().content);
    assert!(server.requests().iter().all(|request| request.header("cookie").is_none()));
    assert!(!format!("{outcome:?}").contains("s3cret"), "{outcome:?}");
    let record = serde_json::to_string(&world.journal.record(job.id)).unwrap();
    assert!(!record.contains("s3cret"), "{record}");
}

#[test]
fn fault_079_ten_thousand_cookies_are_too_many() {
    let world = World::new();
    let server = Server::start(|exchange| {
        let response = (0..10_000)
            .fold(file().full(), |response, number| response.header("Set-Cookie", format!("c{number}=1")));
        exchange.respond(response);
    });
    assert_eq!(world.run(&world.job(&server.url("/f"))).why().0, Cause::HeadersTooLarge);
}

#[test]
fn fault_081_secrets_of_a_job_are_in_none_of_its_outputs() {
    let world = World::new();
    let server = Server::start(|exchange| {
        let response = file().answer(&exchange.request);
        exchange.respond(if exchange.request.number == 0 {
            response.cut_after(50_000, Cut::Close)
        } else {
            response
        });
    });
    let mut job = world.job(&server.url("/f").replace("//", "//ann:s3cret-a@"));
    job.headers = vec![(http::HeaderName::from_static("x-api-key"), Secret::new("s3cret-b"))];
    job.body = Some(Secret::new("s3cret-c"));
    let first = world.run(&job);
    let job = world.next(&job);
    let last = world.finish(&job);
    last.assert_published(&world, file().content);
    assert_eq!(server.requests()[0].header("x-api-key"), Some("s3cret-b"));
    for text in [
        format!("{first:?}"),
        format!("{last:?}"),
        serde_json::to_string(&world.journal.record(job.id)).unwrap(),
    ] {
        assert!(!text.contains("s3cret"), "{text}");
    }
    assert!(attributes(&world).is_empty(), "no address lies beside the file");
}

/// Names of the extended attributes of the published file.
fn attributes(world: &World) -> String {
    let mut names = vec![0_u8; 4096];
    let length = rustix::fs::listxattr(world.result(), &mut names).unwrap_or(0);
    let text = String::from_utf8_lossy(&names[..length]).into_owned();
    text.split('\0').filter(|name| name.starts_with("user.")).collect()
}
