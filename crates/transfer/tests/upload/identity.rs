//! Servers that want to know who sends: the body goes once, and only to whom it is welcome.

use longhaul_contract::{Credential, Secret, WebErrorStatus};
use longhaul_lab::hostile::Wire;
use longhaul_lab::servers::{BASIC, DIGEST, PASSWORD, ServerKind, USER, WebServer};
use longhaul_lab::{Content, Server};
use longhaul_transfer::{Settings, UploadJob, UploadProtocol};

use crate::support::{World, settings};

const CONTENT: Content = Content::new(81, 5_000_000);

/// What HTTP/2 lets out before anything is said about it, with room for what is read ahead.
const WINDOW_BYTES: u64 = 1 << 20;

fn as_ann(job: UploadJob) -> UploadJob {
    let credential = Credential { user: USER.to_owned(), password: Secret::new(PASSWORD) };
    UploadJob { credential: Some(credential), ..job }
}

#[test]
fn apache_takes_the_file_from_whoever_answers_its_challenge() {
    let server = WebServer::start(ServerKind::Apache);
    let world = World::with(Settings { ca_certificates: vec![server.root_certificate()], ..settings() });
    for folder in [DIGEST, BASIC] {
        let path = format!("/{folder}/f.bin");
        for url in [server.url(&path), server.https_url(&path)] {
            for protocol in [UploadProtocol::Plain, UploadProtocol::Auto] {
                let outcome = world.run(&as_ann(UploadJob { protocol, ..world.job(&url, CONTENT) }));
                let in_vain = outcome.receipt().bytes_sent - CONTENT.length;
                let is_http2 = url.starts_with("https") && protocol == UploadProtocol::Plain;
                assert!(in_vain <= if is_http2 { WINDOW_BYTES } else { 0 }, "{in_vain} {url} {protocol:?}");
                let file = server.root().join(folder).join("f.bin");
                CONTENT.assert_file(&file);
                std::fs::remove_file(file).unwrap();
            }
        }
        let wrong = Credential { user: USER.to_owned(), password: Secret::new("wrong") };
        let job = UploadJob { credential: Some(wrong), ..world.job(&server.url(&path), CONTENT) };
        let outcome = world.run(&job);
        assert_eq!(outcome.failure().web_error_status, WebErrorStatus::Unauthorized);
        assert_eq!(outcome.repeat(), (false, true), "bytes left although nobody had let us in");
    }
}

fn say(wire: &mut Wire, text: &str) {
    wire.write(text.as_bytes(), |_| {});
}

#[test]
fn a_body_waits_until_the_challenge_is_answered() {
    let server = Server::build().start_raw(|wire| {
        let Some(head) = wire.read_head() else { return };
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        assert!(head.contains("expect: 100-continue"), "{head}");
        if head.contains("authorization: digest") {
            assert!(head.contains("nc=00000001") && head.contains("uri=\"/f\""), "{head}");
            say(wire, "HTTP/1.1 100 Continue\r\n\r\n");
            assert_eq!(wire.read_exactly(CONTENT.length as usize).len() as u64, CONTENT.length);
            say(wire, "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n");
            return;
        }
        say(
            wire,
            "HTTP/1.1 401 Who\r\nWWW-Authenticate: Digest realm=\"r\", nonce=\"n\", qop=\"auth\"\r\n\
             Content-Length: 0\r\nConnection: close\r\n\r\n",
        );
        let rest = wire.read();
        assert!(rest.is_empty(), "{} bytes came although they were refused", rest.len());
    });
    let world = World::new();
    // A POST without a key must not be repeated blindly, and this is not blind: the server said what it had not done.
    let job = UploadJob { method: http::Method::POST, ..world.job(&server.url("/f"), CONTENT) };
    let outcome = world.run(&as_ann(job));
    assert_eq!(outcome.receipt().bytes_sent, CONTENT.length);
    assert_eq!(server.connections(), 2);
}
