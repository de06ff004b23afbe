//! Downloads by proxies: real ones, and one that writes everything down.

use longhaul_contract::{Cause, Credential, Remedy, Secret, WebErrorStatus};
use longhaul_lab::hostile::http2::Server2;
use longhaul_lab::proxies::{ProxyKind, RealProxy};
use longhaul_lab::recorder::{Entry, Recorder};
use longhaul_lab::servers::{DIGEST, PASSWORD, ServerKind, USER, WebServer};
use longhaul_lab::tls::Flaw;
use longhaul_lab::{Authority, Content, DigestDesk, Request, Resource, Response, Server};
use longhaul_transfer::{Job, ProxyAddress, ProxyRules, Settings};

use crate::support::{World, segmented, settings};

const CONTENT: Content = Content::new(41, 300_000);

fn by(url: &str) -> ProxyRules {
    ProxyRules::all(ProxyAddress::parse(url).unwrap())
}

/// As [`USER`] with `password`.
fn known(url: &str, password: &str) -> ProxyRules {
    let credential = Credential { user: USER.to_owned(), password: Secret::new(password) };
    by(url).with_credential(&credential)
}

fn trusting(authority: &Authority) -> Settings {
    Settings { ca_certificates: vec![authority.root_file()], ..settings() }
}

#[test]
fn squid_brings_the_file_to_whoever_it_lets_in() {
    let server = WebServer::start(ServerKind::Apache);
    let large = Content::new(42, 3_000_000);
    large.write_to(&server.root().join("f"));
    large.write_to(&server.root().join(DIGEST).join("f"));
    for kind in [ProxyKind::Squid, ProxyKind::SquidBasic, ProxyKind::SquidDigest] {
        let squid = RealProxy::start(kind);
        for (url, wants_login) in [
            (server.url("/f"), false),
            (server.https_url("/f"), false),
            (server.url(&format!("/{DIGEST}/f?a=b")), true),
        ] {
            let world =
                World::with(Settings { ca_certificates: vec![server.root_certificate()], ..segmented() });
            let mut job = Job { proxy: known(&squid.url(), PASSWORD), ..world.job(&url) };
            if wants_login {
                job.credential = Some(Credential { user: USER.to_owned(), password: Secret::new(PASSWORD) });
            }
            world.run(&job).assert_published(&world, large);
        }
        assert!(squid.log().contains("CONNECT localhost:"), "{}", squid.log());
        if kind == ProxyKind::Squid {
            continue;
        }
        let world = World::with(Settings { ca_certificates: vec![server.root_certificate()], ..settings() });
        for url in [server.url("/f"), server.https_url("/f")] {
            for (rules, word) in
                [(known(&squid.url(), "wrong"), "does not accept"), (by(&squid.url()), "give a credential")]
            {
                let outcome = world.run(&Job { proxy: rules, ..world.job(&url) });
                let failure = outcome.failure();
                assert_eq!(failure.web_error_status, WebErrorStatus::ProxyAuthenticationRequired);
                assert_eq!((failure.http_status, failure.remedy), (Some(407), Remedy::NeedsInput));
                let proxy = squid.url();
                assert!(failure.detail.contains(word) && failure.detail.contains(&proxy), "{failure:?}");
            }
        }
    }
}

#[test]
fn squid_tells_what_it_cannot_reach() {
    let squid = RealProxy::start(ProxyKind::Squid);
    let world = World::new();
    let gone = longhaul_lab::service::free_address();
    let outcome = world.run(&Job { proxy: by(&squid.url()), ..world.job(&format!("https://{gone}/f")) });
    let failure = outcome.failure();
    assert_eq!((failure.cause, failure.remedy), (Cause::CannotConnect, Remedy::Transient));
    assert_eq!(failure.web_error_status, WebErrorStatus::CannotConnect);
    assert!(failure.detail.contains(&squid.url()), "{}", failure.detail);
}

#[test]
fn dante_brings_the_file_with_names_looked_up_here_or_there() {
    let dante = RealProxy::start(ProxyKind::Dante);
    let server = WebServer::start(ServerKind::Nginx);
    CONTENT.write_to(&server.root().join("f"));
    let local = dante.url().replace("socks5h", "socks5");
    for proxy in [dante.url(), local] {
        for url in [server.url("/f"), server.https_url("/f")] {
            let url = url.replace("127.0.0.1", "localhost");
            let world =
                World::with(Settings { ca_certificates: vec![server.root_certificate()], ..settings() });
            world.run(&Job { proxy: by(&proxy), ..world.job(&url) }).assert_published(&world, CONTENT);
        }
    }
    assert!(server.access_log().iter().any(|line| line.contains("HTTP/2.0")), "HTTP/2 goes through");
    let world = World::new();
    let refused = world.run(&Job { proxy: by(&dante.url()), ..world.job("http://127.0.0.1:1/f") });
    let failure = refused.failure();
    assert_eq!((failure.remedy, failure.web_error_status), (Remedy::NeedsInput, WebErrorStatus::Forbidden));
    assert!(failure.detail.contains("rules"), "{}", failure.detail);
    let gone = longhaul_lab::service::free_address();
    let refused = world.run(&Job { proxy: by(&dante.url()), ..world.job(&format!("http://{gone}/f")) });
    assert_eq!(refused.why(), (Cause::CannotConnect, Remedy::Transient));
}

/// A SOCKS proxy and the server behind it in one: notes how it was greeted.
fn socks(reply: u8, accepts: bool) -> Server {
    Server::build().start_raw(move |wire| {
        let greeting = wire.read_exactly(2);
        let methods = wire.read_exactly(usize::from(*greeting.last().unwrap_or(&0)));
        if !methods.contains(&2) {
            wire.write(&[5, 0xff], |_| {});
            return;
        }
        wire.write(&[5, 2], |_| {});
        let user = wire.read_exactly(2);
        let user = wire.read_exactly(usize::from(user[1]));
        let length = wire.read_exactly(1);
        let password = wire.read_exactly(usize::from(length[0]));
        assert_eq!((user.as_slice(), password.as_slice()), (USER.as_bytes(), PASSWORD.as_bytes()));
        wire.write(&[1, u8::from(!accepts)], |_| {});
        if !accepts {
            return;
        }
        let request = wire.read_exactly(5);
        assert_eq!(request[..4], [5, 1, 0, 3], "the name goes to the proxy");
        let name = wire.read_exactly(usize::from(request[4]));
        assert_eq!(
            (name.as_slice(), wire.read_exactly(2).as_slice()),
            (&b"no-such-name.invalid"[..], &[0, 80][..])
        );
        wire.write(&[5, reply, 0, 1, 0, 0, 0, 0, 0, 0], |_| {});
        let Some(head) = wire.read_head() else { return };
        assert!(!String::from_utf8_lossy(&head).to_ascii_lowercase().contains("proxy-"));
        let text = "HTTP/1.1 200 Yes\r\nContent-Length: 300000\r\n\r\n";
        wire.write(text.as_bytes(), |_| {});
        wire.write(&CONTENT.all(), |_| {});
    })
}

#[test]
fn socks_with_a_password_and_a_name_that_only_the_proxy_knows() {
    let url = "http://no-such-name.invalid/f";
    let proxy = |server: &Server| format!("socks5h://{}", server.address());
    let good = socks(0, true);
    let world = World::new();
    let job = Job { proxy: known(&proxy(&good), PASSWORD), ..world.job(url) };
    world.run(&job).assert_published(&world, CONTENT);
    let expectations = [
        (1, WebErrorStatus::CannotConnect, Remedy::Transient),
        (2, WebErrorStatus::Forbidden, Remedy::NeedsInput),
        (3, WebErrorStatus::ServerUnreachable, Remedy::Transient),
        (5, WebErrorStatus::CannotConnect, Remedy::Transient),
        (6, WebErrorStatus::Timeout, Remedy::Transient),
    ];
    for (reply, web_error_status, remedy) in expectations {
        let refusing = socks(reply, true);
        let world = World::new();
        let outcome = world.run(&Job { proxy: known(&proxy(&refusing), PASSWORD), ..world.job(url) });
        let failure = outcome.failure();
        assert_eq!((failure.web_error_status, failure.remedy), (web_error_status, remedy), "{reply}");
        assert!(failure.detail.contains(&proxy(&refusing)), "{}", failure.detail);
    }
    let strict = socks(0, false);
    for rules in [known(&proxy(&strict), PASSWORD), by(&proxy(&strict))] {
        let world = World::new();
        let outcome = world.run(&Job { proxy: rules, ..world.job(url) });
        assert_eq!(outcome.failure().web_error_status, WebErrorStatus::ProxyAuthenticationRequired);
        assert!(!format!("{outcome:?}").contains(PASSWORD));
    }
}

const BASIC_ANN: &str = "Basic YW5uOm9wZW4gc2VzYW1l";

#[test]
fn a_proxy_with_tls_of_its_own_asks_as_any_other() {
    let authority = Authority::new();
    let identity = authority.issue(Flaw::None);
    let plain = Server::of(Resource::new(CONTENT));
    let secure = Server::build().tls(&identity).start(|exchange| {
        exchange.respond(Resource::new(CONTENT).answer(&exchange.request));
    });
    let modern = Server2::start(Some(&identity), |exchange| async move {
        let response = Resource::new(CONTENT).answer(&exchange.request);
        exchange.respond(response).await;
    });
    for entry in [
        || Entry::Open,
        || Entry::Basic(BASIC_ANN.to_owned()),
        || Entry::Digest(DigestDesk::new(USER, PASSWORD, false)),
        || Entry::Digest(DigestDesk::new(USER, PASSWORD, true)),
    ] {
        let proxy = Recorder::start(entry(), Some(identity.server_config(&["http/1.1"])));
        for url in [plain.url("/f"), secure.url("/f"), modern.url("/f")] {
            let world = World::with(trusting(&authority));
            let job = Job { proxy: known(&proxy.url(), PASSWORD), ..world.job(&url) };
            world.run(&job).assert_published(&world, CONTENT);
        }
    }
    assert!(modern.requests().len() >= 4);
}

#[test]
fn a_proxy_that_refuses_is_named_with_its_reason() {
    let server = Server::build().tls(&Authority::new().issue(Flaw::None)).start(|_| {});
    for (answer, web_error_status, word) in [
        ("HTTP/1.1 403 No\r\n\r\n", WebErrorStatus::Forbidden, "403 Forbidden"),
        ("HTTP/1.1 504 Late\r\n\r\n", WebErrorStatus::Timeout, "504"),
        (
            "HTTP/1.1 407 No\r\nProxy-Authenticate: Negotiate\r\nProxy-Authenticate: NTLM\r\n\r\n",
            WebErrorStatus::ProxyAuthenticationRequired,
            "Negotiate, NTLM only, which is not supported",
        ),
        ("SSH-2.0-nothing\r\n", WebErrorStatus::ErrorHttpInvalidServerResponse, "not HTTP"),
        ("", WebErrorStatus::ConnectionAborted, "without an answer"),
    ] {
        let proxy = Recorder::start(Entry::Never(answer.to_owned()), None);
        let world = World::new();
        let outcome =
            world.run(&Job { proxy: known(&proxy.url(), PASSWORD), ..world.job(&server.url("/f")) });
        let failure = outcome.failure();
        assert_eq!(failure.web_error_status, web_error_status, "{failure:?}");
        assert!(failure.detail.contains(word) && failure.detail.contains(&proxy.url()), "{failure:?}");
        assert!(proxy.seen().len() <= 2);
    }
    assert_eq!(server.connections(), 0);
}

#[test]
fn what_is_exempt_or_named_wrongly_never_meets_the_proxy() {
    let proxy = Recorder::start(Entry::Open, None);
    let server = Server::of(Resource::new(CONTENT));
    let port = server.address().port();
    for (list, is_direct) in
        [("localhost", false), ("127.0.0.0/8", true), (&*format!("127.0.0.1:{port}"), true), ("*", true)]
    {
        let before = proxy.seen().len();
        let world = World::new();
        let job = Job { proxy: by(&proxy.url()).except(list), ..world.job(&server.url("/f")) };
        world.run(&job).assert_published(&world, CONTENT);
        assert_eq!(proxy.seen().len() == before, is_direct, "{list}");
    }
    let broken = ProxyRules::from_environment(|name| (name == "all_proxy").then(|| "socks://h".to_owned()));
    let world = World::new();
    let outcome = world.run(&Job { proxy: broken, ..world.job(&server.url("/f")) });
    assert_eq!(outcome.why(), (Cause::CannotConnect, Remedy::NeedsInput));
    assert!(outcome.failure().detail.contains("all_proxy"), "{}", outcome.failure().detail);
}

#[test]
fn fault_077_a_proxy_is_no_way_to_private_addresses() {
    let authority = Authority::new();
    let secure = Server::build().tls(&authority.issue(Flaw::None)).start(|_| {});
    let plain = Server::of(Resource::new(CONTENT));
    let proxy = Recorder::start(Entry::Open, None);
    let trusted = ProxyRules::all(ProxyAddress::parse(&proxy.url()).unwrap().trusted());
    let socks = format!("socks5h://127.0.0.1:{}", plain.address().port());
    let socks = ProxyRules::all(ProxyAddress::parse(&socks).unwrap().trusted());
    for rules in [trusted, by(&proxy.url()), socks] {
        for url in [plain.url("/f"), secure.url("/f"), secure.url("/f").replace("127.0.0.1", "localhost")] {
            let world = World::with(trusting(&authority));
            let job = Job { public_addresses_only: true, proxy: rules.clone(), ..world.job(&url) };
            let outcome = world.run(&job);
            assert_eq!(outcome.why().0, Cause::AddressForbidden, "{url}: {:?}", outcome.end);
        }
    }
    assert!(proxy.seen().is_empty());
    assert_eq!((plain.connections(), secure.connections()), (0, 0));
}

/// Every secret of [`secretive`] that a request has in it.
fn secrets_in(request: &Request) -> Vec<&'static str> {
    let text = format!("{request:?}");
    [
        "server-s3cret",
        "c2VydmVyLXMzY3JldA",
        "header-s3cret",
        "cookie-s3cret",
        "proxy-s3cret",
        "cHJveHktczNjcmV0",
        "Digest ",
    ]
    .into_iter()
    .filter(|secret| text.contains(secret))
    .collect()
}

/// Its base64 can be looked for: what is before the password takes three bytes.
fn account(password: &str) -> Credential {
    Credential { user: "ab".to_owned(), password: Secret::new(password) }
}

/// With every secret that a server may get.
fn secretive(job: Job) -> Job {
    Job {
        headers: vec![
            (http::HeaderName::from_static("x-api-key"), Secret::new("header-s3cret")),
            (http::HeaderName::from_static("cookie"), Secret::new("c=cookie-s3cret")),
        ],
        credential: Some(account("server-s3cret")),
        ..job
    }
}

/// Has the file at `/home`, and redirects from everywhere else, to there or to `target`.
fn redirecting(status: u16, target: Option<&str>) -> Server {
    let target = target.unwrap_or("/home").to_owned();
    Server::start(move |exchange| {
        exchange.respond(if exchange.request.path() == "/home" {
            Resource::new(CONTENT).answer(&exchange.request)
        } else {
            Response::new(status).header("Location", target.clone())
        });
    })
}

#[test]
fn fault_063_064_065_068_no_secret_reaches_another_origin_by_a_proxy() {
    let authority = Authority::new();
    let identity = authority.issue(Flaw::None);
    let end = || {
        |exchange: &mut longhaul_lab::Exchange<'_>| {
            let answer = if exchange.request.path() == "/elsewhere" {
                Response::new(401).header("WWW-Authenticate", "Digest realm=\"r\", nonce=\"n\", qop=auth")
            } else {
                Resource::new(CONTENT).answer(&exchange.request)
            };
            exchange.respond(answer);
        }
    };
    let other = Server::start(end());
    let secure = Server::build().tls(&identity).start(end());
    let proxies = [
        Recorder::start(Entry::Open, None),
        Recorder::start(Entry::Basic("Basic YWI6cHJveHktczNjcmV0".to_owned()), None),
        Recorder::start(Entry::Digest(DigestDesk::new("ab", "proxy-s3cret", false)), None),
    ];
    for proxy in &proxies {
        let other_host = other.url("/f").replace("127.0.0.1", "localhost");
        let targets = [
            None,
            Some(other.url("/f")),
            Some(other_host),
            Some(secure.url("/f")),
            Some(other.url("/elsewhere")),
        ];
        for target in targets {
            for status in [301, 302, 303, 307, 308] {
                let home = redirecting(status, target.as_deref());
                let world = World::with(trusting(&authority));
                let mut job = secretive(world.job(&home.url("/start")));
                job.proxy = by(&proxy.url()).with_credential(&account("proxy-s3cret"));
                let outcome = world.run(&job);
                if target.as_ref().is_none_or(|target| target.ends_with("/f")) {
                    outcome.assert_published(&world, CONTENT);
                }
                assert!(!format!("{outcome:?}").contains("s3cret"), "{outcome:?}");
                let at_home = home.requests();
                let seen: Vec<_> = at_home.iter().map(secrets_in).collect();
                for secrets in &seen {
                    assert_eq!(secrets, &["c2VydmVyLXMzY3JldA", "header-s3cret", "cookie-s3cret"]);
                }
            }
        }
        for request in proxy.seen() {
            let secrets = secrets_in(&request);
            if request.method == "CONNECT"
                || !request.target.contains("/start") && !request.target.contains("/home")
            {
                assert!(
                    secrets.iter().all(|secret| ["cHJveHktczNjcmV0", "Digest "].contains(secret)),
                    "{request:?}"
                );
            }
        }
    }
    for request in other.requests().iter().chain(&secure.requests()) {
        assert_eq!(secrets_in(request), Vec::<&str>::new(), "{request:?}");
    }
}

/// The server would learn what the proxy is there to keep from it.
#[test]
fn ftp_goes_by_no_proxy_and_not_without_it_either() {
    let world = World::new();
    let address = longhaul_lab::service::free_address();
    for scheme in ["ftp", "ftpes", "ftps"] {
        let url = format!("{scheme}://{address}/f");
        let outcome = world.run(&Job { proxy: by("socks5h://127.0.0.1:9"), ..world.job(&url) });
        let failure = outcome.failure();
        assert_eq!((failure.cause, failure.remedy), (Cause::UnsupportedScheme, Remedy::NeedsInput));
        assert!(
            failure.detail.contains("socks5h://127.0.0.1:9") && failure.detail.contains("noProxy"),
            "{failure:?}"
        );
        assert_eq!(world.run(&world.job(&url)).why(), (Cause::CannotConnect, Remedy::Transient));
    }
}
