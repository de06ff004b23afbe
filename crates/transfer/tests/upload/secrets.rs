//! What of the caller's secrets goes to whom, and what of the server's is shown.

use longhaul_contract::{Cause, Credential, Remedy, Secret};
use longhaul_lab::tls::Flaw;
use longhaul_lab::{Authority, Content, Response, Server};
use longhaul_transfer::{Settings, UploadJob, UploadProtocol};

use crate::support::{World, settings};

const CONTENT: Content = Content::new(21, 50_000);
const SECRETS: [&str; 3] = ["authorization", "x-api-key", "cookie"];

fn with_secrets(job: UploadJob) -> UploadJob {
    UploadJob {
        headers: vec![
            (http::HeaderName::from_static("x-api-key"), Secret::new("k-secret")),
            (http::HeaderName::from_static("cookie"), Secret::new("c=secret")),
        ],
        credential: Some(Credential { user: "u".to_owned(), password: Secret::new("p-secret") }),
        ..job
    }
}

#[test]
fn fault_063_064_065_another_origin_gets_the_body_and_no_secret() {
    let world = World::new();
    let other = Server::start(|exchange| exchange.respond(Response::new(201)));
    let target = other.url("/there");
    let home = Server::start(move |exchange| {
        exchange.respond(Response::new(307).header("Location", target.clone()));
    });
    let job = with_secrets(world.job(&home.url("/f"), CONTENT));
    world.run(&job).receipt();
    for name in SECRETS {
        assert!(home.requests()[0].header(name).is_some(), "{name} is missing at home");
        assert!(other.requests()[0].header(name).is_none(), "{name} went to another origin");
    }
    assert_eq!(other.requests()[0].body.len() as u64, CONTENT.length);
}

#[test]
fn fault_111_an_upload_url_at_another_origin_gets_no_secret() {
    let world = World::new();
    let other = Server::start(|exchange| match exchange.request.method.as_str() {
        "PATCH" => exchange.respond(
            Response::new(204)
                .header("Upload-Offset", CONTENT.length.to_string())
                .header("Tus-Resumable", "1.0.0"),
        ),
        _ => exchange.respond(Response::new(404)),
    });
    let place = other.url("/files/capability-7");
    let home = Server::start(move |exchange| match exchange.request.method.as_str() {
        "OPTIONS" => exchange.respond(Response::new(204).header("Tus-Version", "1.0.0")),
        _ => exchange.respond(Response::new(201).header("Location", place.clone())),
    });
    let job = UploadJob {
        method: http::Method::POST,
        protocol: UploadProtocol::Tus,
        ..with_secrets(world.job(&home.url("/files"), CONTENT))
    };
    let outcome = world.run(&job);
    let shown = format!("{outcome:?}");
    assert!(!shown.contains("capability-7"), "the upload URL is shown: {shown}");
    outcome.receipt();
    for name in SECRETS {
        assert!(home.requests()[1].header(name).is_some(), "{name} is missing at home");
        assert!(other.requests()[0].header(name).is_none(), "{name} went to another origin");
    }
}

#[test]
fn fault_070_a_signed_query_is_not_shown() {
    let world = World::new();
    let server = Server::start(|exchange| exchange.respond(Response::new(403)));
    let job = world.job(&server.url("/f?X-Amz-Signature=0123456789abcdef0123"), CONTENT);
    let outcome = world.run(&job);
    assert!(!format!("{outcome:?}").contains("0123456789abcdef0123"), "{outcome:?}");
    assert!(server.requests()[0].target.contains("0123456789abcdef0123"));
}

#[test]
fn fault_067_a_named_credential_is_not_mixed_with_the_one_in_the_url() {
    let world = World::new();
    let server = Server::start(|exchange| exchange.respond(Response::new(200)));
    let url = server.url("/f").replace("http://", "http://other@");
    let credential = Some(Credential { user: "u".to_owned(), password: Secret::new("p") });
    let outcome = world.run(&UploadJob { credential, ..world.job(&url, CONTENT) });
    assert_eq!(outcome.receipt().chain[0].url, server.url("/f"));
    assert_eq!(server.requests()[0].header("authorization"), Some("Basic dTpw"));
}

#[test]
fn fault_071_neither_a_redirect_nor_an_upload_url_falls_back_to_http() {
    let authority = Authority::new();
    let world = World::with(Settings { ca_certificates: vec![authority.root_file()], ..settings() });
    let target = Server::start(|exchange| exchange.respond(Response::new(204)));
    for (status, protocol) in [(307, UploadProtocol::Plain), (201, UploadProtocol::Tus)] {
        let place = target.url("/there");
        let server = Server::build().tls(&authority.issue(Flaw::None)).start(move |exchange| {
            let response = match exchange.request.method.as_str() {
                "OPTIONS" => Response::new(204).header("Tus-Version", "1.0.0"),
                _ => Response::new(status).header("Location", place.clone()),
            };
            exchange.respond(response);
        });
        let job = UploadJob { protocol, ..world.job(&server.url("/f"), CONTENT) };
        assert_eq!(world.run(&job).why(), (Cause::RedirectToHttp, Remedy::NeedsInput), "{protocol:?}");
    }
    assert_eq!(target.connections(), 0);
}

#[test]
fn fault_072_a_redirect_to_another_scheme_is_refused() {
    for target in ["file:///etc/passwd", "ftp://127.0.0.1/f", "data:,x"] {
        let world = World::new();
        let server =
            Server::start(move |exchange| exchange.respond(Response::new(307).header("Location", target)));
        let outcome = world.run(&world.job(&server.url("/f"), CONTENT));
        assert_eq!(outcome.why(), (Cause::UnsupportedScheme, Remedy::NeedsInput), "{target}");
    }
}

#[test]
fn fault_077_private_addresses_can_be_forbidden() {
    let world = World::new();
    let server = Server::start(|exchange| exchange.respond(Response::new(200)));
    let job = UploadJob { public_addresses_only: true, ..world.job(&server.url("/f"), CONTENT) };
    assert_eq!(world.run(&job).why(), (Cause::AddressForbidden, Remedy::NeedsInput));
    assert_eq!(server.connections(), 0);
}

#[test]
fn fault_078_control_characters_in_a_header_are_refused() {
    let world = World::new();
    let server = Server::start(|exchange| exchange.respond(Response::new(200)));
    let headers = vec![(http::HeaderName::from_static("x-a"), Secret::new("a\r\nb: c"))];
    let job = UploadJob { headers, ..world.job(&server.url("/f"), CONTENT) };
    assert_eq!(world.run(&job).why().1, Remedy::NeedsInput);
    let job = UploadJob {
        content_type: Some("text/plain\r\nx: y".to_owned()),
        ..world.job(&server.url("/f"), CONTENT)
    };
    assert_eq!(world.run(&job).why().1, Remedy::NeedsInput);
    assert_eq!(server.requests().len(), 0);
}
