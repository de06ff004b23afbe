//! Redirects: rows 63 to 75, as far as they concern downloads without a proxy.

use http::header;
use longhaul_contract::{Cause, Credential, Remedy, Secret, WebErrorStatus};
use longhaul_lab::hostile::Cut;
use longhaul_lab::tls::{Authority, Flaw};
use longhaul_lab::{Content, Resource, Response, Server};
use longhaul_transfer::{Job, Settings};

use crate::support::{World, settings};

const SIZE: u64 = 100_000;

fn file() -> Resource {
    Resource::new(Content::new(1, SIZE))
}

fn redirect(status: u16, to: &str) -> Response {
    Response::new(status).header("Location", to).text("moved")
}

fn redirecting(status: u16, to: String) -> Server {
    Server::start(move |exchange| exchange.respond(redirect(status, &to)))
}

/// A job with every kind of secret a caller can give.
fn secretive(world: &World, url: &str) -> Job {
    let mut job = world.job(url);
    job.headers = vec![
        (header::AUTHORIZATION, Secret::new("Bearer s3cret")),
        (header::COOKIE, Secret::new("session=s3cret")),
        (http::HeaderName::from_static("x-api-key"), Secret::new("s3cret")),
    ];
    job
}

fn secrets_in(server: &Server) -> usize {
    let requests = server.requests();
    requests.iter().flat_map(|request| &request.headers).filter(|(_, value)| value.contains("s3cret")).count()
}

#[test]
fn all_redirects_of_a_download_are_followed() {
    for status in [301, 302, 303, 307, 308] {
        let world = World::new();
        let target = Server::of(file());
        let server = redirecting(status, target.url("/file"));
        let outcome = world.run(&world.job(&server.url("/f")));
        outcome.assert_published(&world, file().content);
        assert_eq!(outcome.response().actual_uri, target.url("/file"));
        let chain: Vec<_> = outcome.receipt().chain.iter().map(|hop| hop.status).collect();
        assert_eq!(chain, [status, 200]);
    }
}

#[test]
fn relative_targets_are_resolved() {
    for location in ["other", "/a/other", "//{host}/a/other", "?x=1"] {
        let world = World::new();
        let server = Server::start(move |exchange| {
            let host = exchange.request.header("host").unwrap().to_owned();
            let response = match exchange.request.target.as_str() {
                "/a/f" => redirect(302, &location.replace("{host}", &host)),
                "/a/other" | "/a/f?x=1" => file().full(),
                other => Response::new(400).text(other),
            };
            exchange.respond(response);
        });
        world.run(&world.job(&server.url("/a/f"))).assert_published(&world, file().content);
    }
}

#[test]
fn fault_063_064_065_no_secret_goes_to_another_origin() {
    let world = World::new();
    let target = Server::of(file());
    let server = redirecting(302, target.url("/file"));
    world.run(&secretive(&world, &server.url("/f"))).assert_published(&world, file().content);
    assert_eq!(secrets_in(&server), 3);
    assert_eq!(secrets_in(&target), 0, "{:?}", target.requests());
}

#[test]
fn fault_063_secrets_stay_within_their_origin() {
    let world = World::new();
    let server = Server::start(|exchange| {
        let is_first = exchange.request.number == 0;
        exchange.respond(if is_first { redirect(302, "/file") } else { file().full() });
    });
    world.run(&secretive(&world, &server.url("/f"))).assert_published(&world, file().content);
    assert_eq!(secrets_in(&server), 6);
}

#[test]
fn fault_063_secrets_come_back_with_their_origin_only() {
    // Home, away, and home again: what the last hop gets is its own.
    let world = World::new();
    let home = Server::start(|exchange| {
        let location = exchange.request.query("away").map(str::to_owned);
        exchange.respond(match location {
            Some(away) => redirect(302, &format!("http://{away}/")),
            None => file().full(),
        });
    });
    let away = redirecting(302, home.url("/file"));
    let url = home.url(&format!("/f?away={}", away.address()));
    world.run(&secretive(&world, &url)).assert_published(&world, file().content);
    assert_eq!(secrets_in(&away), 0);
}

#[test]
fn fault_067_userinfo_and_credentials_are_sent_to_their_origin_only() {
    let world = World::new();
    let target = Server::of(file());
    let server = redirecting(302, target.url("/file"));
    let mut job = world.job(&server.url("/f"));
    job.credential = Some(Credential { user: "ann".to_owned(), password: Secret::new("s3cret") });
    world.run(&job).assert_published(&world, file().content);
    assert_eq!(server.requests()[0].header("authorization"), Some("Basic YW5uOnMzY3JldA=="));
    assert_eq!(target.requests()[0].header("authorization"), None);
    std::fs::remove_file(world.result()).unwrap();
    let url = server.url("/f").replace("//", "//ann:s3cret@");
    let outcome = world.run(&world.job(&url));
    outcome.assert_published(&world, file().content);
    assert_eq!(server.requests()[1].header("authorization"), Some("Basic YW5uOnMzY3JldA=="));
    assert_eq!(target.requests()[1].header("authorization"), None);
    assert!(!format!("{:?}", outcome.receipt()).contains("s3cret"));
}

#[test]
fn fault_070_what_is_shown_of_addresses_has_no_userinfo() {
    let world = World::new();
    let server = Server::start(|exchange| {
        let host = exchange.request.header("host").unwrap().to_owned();
        let is_first = exchange.request.number == 0;
        let location = format!("http://bob:s3cret@{host}/file?X-Amz-Signature=s3cret");
        exchange.respond(if is_first { redirect(302, &location) } else { file().full() });
    });
    let job = world.job(&server.url("/f?token=s3cret").replace("//", "//ann:s3cret@"));
    let outcome = world.run(&job);
    outcome.assert_published(&world, file().content);
    assert!(!format!("{outcome:?}").contains("s3cret"), "{outcome:?}");
    let record = serde_json::to_string(&world.journal.record(job.id)).unwrap();
    assert!(!record.contains("s3cret"), "{record}");
}

fn https_server(authority: &Authority, location: String) -> Server {
    Server::build()
        .tls(&authority.issue(Flaw::None))
        .start(move |exchange| exchange.respond(redirect(302, &location)))
}

#[test]
fn fault_071_https_never_falls_back_to_http() {
    let authority = Authority::new();
    let target = Server::of(file());
    let world = World::with(Settings { ca_certificates: vec![authority.root_file()], ..settings() });
    let server = https_server(&authority, target.url("/file"));
    let outcome = world.run(&world.job(&server.url("/f")));
    let failure = outcome.failure();
    assert_eq!(failure.cause, Cause::RedirectToHttp);
    assert_eq!(failure.web_error_status, WebErrorStatus::HttpsToHttpOnRedirection);
    assert_ne!(failure.remedy, Remedy::Transient);
    assert_eq!(target.connections(), 0);
}

#[test]
fn fault_080_no_spelling_of_the_host_gets_around_that() {
    let authority = Authority::new();
    let target = Server::of(file());
    let port = target.address().port();
    for host in ["localhost.", "LOCALHOST", "127.0.0.1", "ｌｏｃａｌｈｏｓｔ"] {
        let world = World::with(Settings { ca_certificates: vec![authority.root_file()], ..settings() });
        let server = https_server(&authority, format!("http://{host}:{port}/file"));
        let outcome = world.run(&world.job(&server.url("/f")));
        // A target that is not ASCII is no valid URI reference (RFC 3986) and may be refused for that alone.
        assert!(
            matches!(outcome.why().0, Cause::RedirectToHttp | Cause::Redirect),
            "{host}: {:?}",
            outcome.end
        );
    }
    assert_eq!(target.connections(), 0);
}

#[test]
fn fault_072_other_schemes_are_refused() {
    for target in [
        "file:///etc/passwd",
        "ftp://127.0.0.1/f",
        "gopher://127.0.0.1/",
        "data:text/plain,x",
        "unix:/run/x",
        "javascript:1",
    ] {
        let world = World::new();
        let server = redirecting(302, target.to_owned());
        let outcome = world.run(&world.job(&server.url("/f")));
        assert_eq!(outcome.why().0, Cause::UnsupportedScheme, "{target}");
        assert_ne!(outcome.why().1, Remedy::Transient);
        world.assert_nothing_published();
    }
}

#[test]
fn redirects_in_a_circle_end() {
    let world = World::new();
    let server = redirecting(302, "/f".to_owned());
    let outcome = world.run(&world.job(&server.url("/f")));
    assert_eq!(outcome.why().0, Cause::RedirectLoop);
    assert_eq!(outcome.failure().web_error_status, WebErrorStatus::RedirectFailed);
    assert!(server.requests().len() <= 21);
}

#[test]
fn redirects_without_end_end() {
    let world = World::new();
    let server = Server::start(|exchange| {
        let next = format!("/{}", exchange.request.number);
        exchange.respond(redirect(302, &next));
    });
    let outcome = world.run(&world.job(&server.url("/f")));
    assert_eq!(outcome.why().0, Cause::RedirectLoop);
    assert!(server.requests().len() <= 21);
}

#[test]
fn redirects_to_nowhere_are_refused() {
    for location in [None, Some("http://"), Some("http://[::1"), Some("")] {
        let world = World::new();
        let server = Server::start(move |exchange| {
            let response = Response::new(302).text("moved");
            exchange.respond(match location {
                Some(location) => response.header("Location", location),
                None => response,
            });
        });
        let outcome = world.run(&world.job(&server.url("/f")));
        assert!(
            matches!(outcome.why().0, Cause::Redirect | Cause::RedirectLoop),
            "{location:?}: {:?}",
            outcome.end
        );
        world.assert_nothing_published();
    }
}

#[test]
fn fault_075_an_expired_target_is_asked_for_again_at_the_origin() {
    let world = World::new();
    let target = Server::start(|exchange| {
        let is_fresh =
            exchange.request.query("token") == Some("1") || exchange.request.query("token") == Some("2");
        let is_expired = exchange.request.query("token") == Some("1") && exchange.request.number > 0;
        let response = file().answer(&exchange.request);
        exchange.respond(match exchange.request.number {
            0 => response.cut_after(SIZE / 2, Cut::Close),
            _ if is_expired || !is_fresh => Response::new(403).text("expired"),
            _ => response,
        });
    });
    let server = Server::start({
        let to = target.url("/file?token=");
        move |exchange| exchange.respond(redirect(302, &format!("{to}{}", exchange.request.number + 1)))
    });
    let outcome = world.finish(&world.job(&server.url("/f")));
    outcome.assert_published(&world, file().content);
    assert!(!outcome.has_restarted());
    assert!(server.requests().len() >= 2, "the origin was asked again");
}
