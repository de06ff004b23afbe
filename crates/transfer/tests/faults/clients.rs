//! Client certificates: who is shown one, and what comes of it.

use longhaul_contract::{Cause, Remedy};
use longhaul_lab::hostile::Response;
use longhaul_lab::servers::{CLIENTS, ServerKind, WebServer};
use longhaul_lab::tls::{Authority, Flaw, Identity};
use longhaul_lab::{Content, Resource, Server};
use longhaul_transfer::{ClientIdentity, Settings};

use crate::support::{World, settings};

fn content() -> Content {
    Content::new(1, 300_000)
}

fn identity(client: &Identity) -> ClientIdentity {
    ClientIdentity::parse(client.chain_pem(), client.key_pem()).unwrap()
}

fn nginx() -> WebServer {
    let server = WebServer::start(ServerKind::Nginx);
    content().write_to(&server.root().join(CLIENTS).join("f"));
    server
}

#[test]
fn nginx_opens_to_the_certificate_and_to_nobody_without() {
    let server = nginx();
    let world = World::with(Settings { ca_certificates: vec![server.root_certificate()], ..settings() });
    let mut job = world.job(&server.https_url(&format!("/{CLIENTS}/f")));
    let refused = world.run(&job);
    assert_eq!(refused.failure().http_status, Some(403));
    // A connection that is open already was made by somebody else.
    job.identity = Some(identity(&server.client()));
    world.run(&job).assert_published(&world, content());
    job.identity = None;
    assert_eq!(world.run(&job).failure().http_status, Some(403));
}

#[test]
fn a_redirect_shows_it_to_no_other_origin() {
    let (other, authority) = (nginx(), Authority::new());
    let there = other.https_url(&format!("/{CLIENTS}/f"));
    let away = there.clone();
    let home = Server::build()
        .tls(&authority.issue(Flaw::None))
        .start(move |exchange| exchange.respond(Response::new(302).header("Location", &away)));
    let ca_certificates = vec![authority.root_file(), other.root_certificate()];
    let world = World::with(Settings { ca_certificates, ..settings() });
    // It would be good there: only that it is another origin keeps it back.
    let mut job = world.job(&home.url("/f"));
    job.identity = Some(identity(&other.client()));
    let refused = world.run(&job);
    assert_eq!(refused.failure().http_status, Some(403), "{:?}", refused.failure());
    job.url = there.parse().unwrap();
    world.run(&job).assert_published(&world, content());
}

#[test]
fn a_server_that_insists_says_what_it_lacks() {
    let (authority, strangers) = (Authority::new(), Authority::new());
    let config = authority.issue(Flaw::None).server_config_for_clients_of(&authority);
    let file = Resource::new(content());
    let server = Server::build()
        .tls_with(config)
        .start(move |exchange| exchange.respond(file.answer(&exchange.request)));
    let world = World::with(Settings { ca_certificates: vec![authority.root_file()], ..settings() });
    let mut job = world.job(&server.url("/f"));
    for given in [None, Some(identity(&strangers.issue(Flaw::None)))] {
        job.identity = given;
        let outcome = world.run(&job);
        let failure = outcome.failure();
        assert_eq!(
            (failure.cause, failure.remedy),
            (Cause::TlsCertificate, Remedy::NeedsInput),
            "{}",
            failure.detail
        );
        assert!(failure.detail.contains("--cert"), "{}", failure.detail);
    }
    assert_eq!(server.requests().len(), 0);
    job.identity = Some(identity(&authority.issue(Flaw::None)));
    world.run(&job).assert_published(&world, content());
}
