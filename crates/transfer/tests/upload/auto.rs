//! Which protocol is used where nobody names one.

use longhaul_lab::{Content, Response, Server};
use longhaul_transfer::{UploadJob, UploadProtocol, UsedProtocol};

use crate::support::{World, assert_body};

const CONTENT: Content = Content::new(51, 200_000);

fn job(world: &World, server: &Server, method: http::Method) -> UploadJob {
    UploadJob { method, protocol: UploadProtocol::Auto, ..world.job(&server.url("/files?u=1"), CONTENT) }
}

#[test]
fn a_post_goes_by_tus_where_the_address_speaks_it_and_that_is_asked_once() {
    let world = World::new();
    let server = Server::start(|exchange| match exchange.request.method.as_str() {
        "OPTIONS" => exchange.respond(Response::new(204).header("Tus-Version", "0.2.2,1.0.0")),
        "POST" => exchange.respond(Response::new(201).header("Location", "/files/1")),
        _ => exchange.respond(Response::new(204).header("Upload-Offset", CONTENT.length.to_string())),
    });
    for _ in 0..2 {
        let outcome = world.run(&job(&world, &server, http::Method::POST));
        assert_eq!(outcome.receipt().protocol, UsedProtocol::Tus);
    }
    let methods: Vec<_> = server.requests().iter().map(|request| request.method.clone()).collect();
    assert_eq!(methods, ["OPTIONS", "POST", "PATCH", "POST", "PATCH"]);
}

#[test]
fn a_post_is_a_post_where_the_address_says_nothing_of_tus() {
    for status in [200, 204, 401, 404, 405, 500] {
        let world = World::new();
        let server = Server::start(move |exchange| match exchange.request.method.as_str() {
            "OPTIONS" => exchange.respond(Response::new(status).header("Allow", "POST")),
            _ => exchange.respond(Response::new(201)),
        });
        let outcome = world.run(&job(&world, &server, http::Method::POST));
        assert_eq!(outcome.receipt().protocol, UsedProtocol::Plain, "{status}");
        let requests = server.requests();
        assert_eq!(requests.len(), 2, "{status}");
        assert_body(&requests[1], CONTENT);
    }
}

#[test]
fn a_server_that_breaks_off_at_the_question_gets_the_post() {
    let world = World::new();
    let server = Server::start(|exchange| match exchange.request.method.as_str() {
        "OPTIONS" => exchange.reset(),
        _ => exchange.respond(Response::new(201)),
    });
    let outcome = world.run(&job(&world, &server, http::Method::POST));
    assert_eq!(outcome.receipt().protocol, UsedProtocol::Plain);
}

#[test]
fn a_put_asks_nothing_beforehand() {
    let world = World::new();
    let server = Server::start(|exchange| exchange.respond(Response::new(201)));
    world.run(&job(&world, &server, http::Method::PUT)).receipt();
    let requests = server.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].header("upload-complete"), Some("?1"));
}
