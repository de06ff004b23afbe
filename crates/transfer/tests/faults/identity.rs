//! Who the caller is, told to servers that ask: Digest beside Basic, and what cannot be told.

use std::sync::Arc;

use longhaul_contract::{Cause, Credential, Remedy, Secret, WebErrorStatus};
use longhaul_lab::hostile::Cut;
use longhaul_lab::servers::{BASIC, DIGEST, PASSWORD, ServerKind, USER, WebServer};
use longhaul_lab::{Content, DigestDesk, Resource, Response, Server};
use longhaul_transfer::{Job, Settings};

use crate::support::{World, segmented, settings};

const CONTENT: Content = Content::new(31, 100_000);

fn as_ann(job: Job) -> Job {
    let credential = Credential { user: USER.to_owned(), password: Secret::new(PASSWORD) };
    Job { credential: Some(credential), ..job }
}

fn refusal(challenge: &str) -> Response {
    Response::new(401).header("WWW-Authenticate", challenge).text("who are you?")
}

fn is_basic(value: Option<&str>) -> bool {
    value.is_some_and(|value| value.starts_with("Basic "))
}

#[test]
fn apache_gives_the_file_to_whoever_answers_its_challenge() {
    let server = WebServer::start(ServerKind::Apache);
    let large = Content::new(32, 3_000_000);
    for folder in [DIGEST, BASIC] {
        large.write_to(&server.root().join(folder).join("f"));
    }
    for (folder, is_https) in [(DIGEST, false), (DIGEST, true), (BASIC, false)] {
        let trusting = Settings { ca_certificates: vec![server.root_certificate()], ..segmented() };
        let world = World::with(trusting);
        let path = format!("/{folder}/f?a=1,2&b=\"");
        let url = if is_https { server.https_url(&path) } else { server.url(&path) };
        let job = as_ann(world.job(&url));
        world.run(&job).assert_published(&world, large);
    }
    let world = World::new();
    let wrong = Credential { user: USER.to_owned(), password: Secret::new("wrong") };
    let job = Job { credential: Some(wrong), ..world.job(&server.url(&format!("/{DIGEST}/f"))) };
    let outcome = world.run(&job);
    let failure = outcome.failure();
    assert_eq!((failure.http_status, failure.remedy), (Some(401), Remedy::NeedsInput));
    assert_eq!(failure.web_error_status, WebErrorStatus::Unauthorized);
}

#[test]
fn the_strongest_hash_is_chosen_and_the_password_not_sent_again() {
    for is_session in [false, true] {
        let desk = Arc::new(DigestDesk::new(USER, PASSWORD, is_session));
        let judge = Arc::clone(&desk);
        let server = Server::start(move |exchange| {
            let answer = if judge.accepts(&exchange.request, "authorization") {
                Resource::new(CONTENT).answer(&exchange.request)
            } else {
                refusal("Basic realm=\"lab\", Digest realm=\"lab\", nonce=\"weak\"")
                    .header("WWW-Authenticate", judge.challenge())
            };
            exchange.respond(answer);
        });
        let world = World::new();
        world.run(&as_ann(world.job(&server.url("/f?q=1")))).assert_published(&world, CONTENT);
        let requests = server.requests();
        assert_eq!(requests.len(), 2);
        assert!(is_basic(requests[0].header("authorization")));
        // The next download knows what the server wants, and waits for its challenge.
        std::fs::remove_file(world.result()).unwrap();
        world.run(&as_ann(world.job(&server.url("/f?q=2")))).assert_published(&world, CONTENT);
        let requests = server.requests();
        assert_eq!(requests.len(), 4);
        assert_eq!(requests[2].header("authorization"), None);
    }
}

#[test]
fn nonces_are_renewed_as_the_server_says() {
    let desk = Arc::new(DigestDesk::new(USER, PASSWORD, false));
    let judge = Arc::clone(&desk);
    let pieces = Content::new(33, 400_000);
    let server = Server::build().start(move |exchange| {
        let request = &exchange.request;
        if judge.accepts(request, "authorization") {
            let next = format!("next-{}", request.number);
            let mut answer = Resource::new(pieces).answer(request);
            if request.number % 2 == 0 {
                answer = answer.header("Authentication-Info", format!("qop=auth, nextnonce=\"{next}\""));
            }
            judge.set_nonce(&next);
            // Each request brings a part, so that there have to be several.
            let is_first = request.range_start() == 0;
            exchange.respond(if is_first { answer.cut_after(150_000, Cut::Close) } else { answer });
        } else {
            let challenge = format!("{}, stale=true", judge.challenge());
            exchange.respond(refusal(&challenge));
        }
    });
    let world = World::new();
    world.finish(&as_ann(world.job(&server.url("/f")))).assert_published(&world, pieces);
    let unguarded =
        server.requests().iter().filter(|request| is_basic(request.header("authorization"))).count();
    assert_eq!(unguarded, 1, "the password was sent as it is, though the server wants Digest");
}

#[test]
fn a_server_that_is_never_content_is_not_asked_for_ever() {
    for challenge in [
        "Digest realm=\"lab\", nonce=\"n\", qop=auth, stale=true",
        "Digest realm=\"lab\", nonce=\"n\", qop=auth",
        "Basic realm=\"lab\"",
    ] {
        let server = Server::start(move |exchange| exchange.respond(refusal(challenge)));
        let world = World::new();
        let outcome = world.run(&as_ann(world.job(&server.url("/f"))));
        assert_eq!(outcome.why(), (Cause::HttpStatus, Remedy::NeedsInput));
        assert_eq!(outcome.failure().web_error_status, WebErrorStatus::Unauthorized);
        assert!(server.requests().len() <= 4, "{} requests", server.requests().len());
        assert!(!format!("{outcome:?}").contains(PASSWORD));
    }
}

#[test]
fn schemes_that_are_not_supported_are_named() {
    let server = Server::start(move |exchange| {
        exchange.respond(refusal("Negotiate").header("WWW-Authenticate", "NTLM"));
    });
    let world = World::new();
    for job in [as_ann(world.job(&server.url("/f"))), world.job(&server.url("/f"))] {
        let outcome = world.run(&job);
        let detail = &outcome.failure().detail;
        assert!(detail.contains("Negotiate, NTLM only, which is not supported"), "{detail}");
        assert_eq!(outcome.failure().web_error_status, WebErrorStatus::Unauthorized);
    }
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn fault_063_a_challenge_of_another_origin_gets_no_answer() {
    let other = Server::start(|exchange| {
        exchange.respond(refusal("Digest realm=\"lab\", nonce=\"n\", qop=auth").header("X-Asks", "1"));
    });
    let target = other.url("/there");
    let home = Server::start(move |exchange| {
        exchange.respond(Response::new(302).header("Location", target.clone()));
    });
    let world = World::new();
    let outcome = world.run(&as_ann(world.job(&home.url("/f"))));
    assert_eq!(outcome.failure().http_status, Some(401));
    let requests = other.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].header("authorization"), None);
}

#[test]
fn a_field_of_the_callers_own_is_left_alone() {
    let server = Server::start(|exchange| {
        exchange.respond(refusal("Digest realm=\"lab\", nonce=\"n\", qop=auth"));
    });
    let world = World::with(settings());
    let mut job = as_ann(world.job(&server.url("/f")));
    job.headers = vec![(http::header::AUTHORIZATION, Secret::new("Bearer t"))];
    let outcome = world.run(&job);
    assert_eq!(outcome.failure().http_status, Some(401));
    assert_eq!(server.requests().len(), 1);
    assert_eq!(server.requests()[0].header("authorization"), Some("Bearer t"));
}
