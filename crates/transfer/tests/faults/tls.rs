//! TLS: rows 52 and 53.

use std::time::{Duration, Instant};

use longhaul_contract::{Cause, Remedy, WebErrorStatus};
use longhaul_lab::tls::{Authority, Flaw, Identity};
use longhaul_lab::{Content, Resource, Server};
use longhaul_transfer::Settings;

use crate::support::{Outcome, World, settings};

fn file() -> Resource {
    Resource::new(Content::new(1, 100_000))
}

fn download_from(authority: &Authority, identity: &Identity) -> (World, Outcome) {
    let world = World::with(Settings { ca_certificates: vec![authority.root_file()], ..settings() });
    let server =
        Server::build().tls(identity).start(|exchange| exchange.respond(file().answer(&exchange.request)));
    let outcome = world.run(&world.job(&server.url("/f")));
    (world, outcome)
}

#[test]
fn a_certificate_of_a_named_authority_is_accepted() {
    let authority = Authority::new();
    let (world, outcome) = download_from(&authority, &authority.issue(Flaw::None));
    outcome.assert_published(&world, file().content);
}

#[test]
fn fault_052_each_flaw_of_a_certificate_has_its_own_cause() {
    let authority = Authority::new();
    for (identity, status, word) in [
        (authority.issue(Flaw::Expired), WebErrorStatus::CertificateExpired, "expired"),
        (authority.issue(Flaw::NotYetValid), WebErrorStatus::CertificateExpired, "clock"),
        (authority.issue(Flaw::WrongHost), WebErrorStatus::CertificateCommonNameIsIncorrect, "name"),
        (Identity::self_signed(), WebErrorStatus::CertificateIsInvalid, "trust"),
        (Authority::new().issue(Flaw::None), WebErrorStatus::CertificateIsInvalid, "trust"),
    ] {
        let (world, outcome) = download_from(&authority, &identity);
        let failure = outcome.failure();
        assert_eq!((failure.cause, failure.remedy), (Cause::TlsCertificate, Remedy::NeedsInput));
        assert_eq!(failure.web_error_status, status, "{}", failure.detail);
        assert!(failure.detail.contains(word), "{}", failure.detail);
        world.assert_nothing_published();
    }
}

#[test]
fn fault_053_a_close_notify_in_the_handshake_does_not_spin() {
    // A TLS alert record: warning, close_notify.
    let world = World::new();
    let server = Server::build().start_raw(|wire| {
        let _hello = wire.read();
        wire.write(&[21, 3, 3, 0, 2, 1, 0], |_| {});
        wire.wait_for_disconnect(Duration::from_secs(10));
    });
    let (begun, spent) = (Instant::now(), processor_time());
    let url = server.url("/f").replace("http:", "https:");
    let outcome = world.run(&world.job(&url));
    let cause = outcome.why().0;
    assert!(
        matches!(cause, Cause::ConnectionClosed | Cause::TlsProtocol | Cause::ConnectTimeout),
        "{cause:?}"
    );
    assert!(begun.elapsed() < Duration::from_secs(8));
    assert!(processor_time() - spent < Duration::from_secs(2), "it spun");
}

/// What this process has computed so far.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), u32::try_from(time.tv_nsec).unwrap())
}

#[test]
fn plain_http_on_the_tls_port_is_named() {
    let world = World::new();
    let server = Server::build().start_raw(|wire| {
        let _hello = wire.read();
        wire.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", |_| {});
    });
    let url = server.url("/f").replace("http:", "https:");
    let outcome = world.run(&world.job(&url));
    assert!(matches!(outcome.why().0, Cause::TlsProtocol), "{:?}", outcome.end);
}

#[test]
fn a_handshake_that_never_ends_times_out() {
    let world = World::with(Settings { connect_timeout: Duration::from_secs(1), ..settings() });
    let server = Server::build().start_raw(|wire| {
        wire.wait_for_disconnect(Duration::from_secs(20));
    });
    let url = server.url("/f").replace("http:", "https:");
    let outcome = world.run(&world.job(&url));
    assert_eq!(outcome.why(), (Cause::ConnectTimeout, Remedy::Transient));
}
