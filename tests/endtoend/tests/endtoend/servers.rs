//! The same file from nginx, Apache, lighttpd and Caddy: resume after a kill, and files that change on the server.

use std::fs::File;
use std::time::{Duration, SystemTime};

use longhaul_endtoend::{House, QUICK, assert_exit};
use longhaul_lab::relay::{Link, Relay};
use longhaul_lab::servers::{ServerKind, WebServer};
use longhaul_lab::{Content, ServiceOptions};

const SIZE: u64 = 4_000_000;
const HALF: u64 = SIZE / 2;

/// A server behind a link of two seconds for the whole file.
struct Far {
    server: WebServer,
    relay: Relay,
    modified: SystemTime,
}

impl Far {
    fn new(kind: ServerKind) -> Self {
        let server = WebServer::start(kind);
        let address = server.url("").trim_start_matches("http://").parse().unwrap();
        let link = Link { delay: Duration::from_millis(5), rate: Some(SIZE / 2) };
        // Old enough to be a strong validator.
        let modified = SystemTime::now() - Duration::from_secs(86_400);
        let far = Self { relay: Relay::start(address, link), server, modified };
        far.serve(Content::new(1, SIZE));
        far
    }

    /// Replaces the file as a deployment does, with the same modification time.
    fn serve(&self, content: Content) {
        let (fresh, file) = (self.server.root().join("fresh"), self.server.root().join("file"));
        content.write_to(&fresh);
        File::options().write(true).open(&fresh).unwrap().set_modified(self.modified).unwrap();
        std::fs::rename(fresh, file).unwrap();
    }

    fn url(&self) -> String {
        self.relay.url("/file")
    }
}

/// Kills the service in the middle, starts it again, and expects the file without a restart.
fn resumes_after_a_kill(kind: ServerKind) {
    let far = Far::new(kind);
    let mut house = House::new();
    let id = house.get(&far.url(), "file");
    house.wait_for_bytes(&id, HALF);
    let _ = house.completes_over_a_kill(&id);
    Content::new(1, SIZE).assert_file(&house.result("file"));
}

/// Pauses in the middle, replaces the file, and expects the new one, whole.
fn notices_a_change(kind: ServerKind, replacement: Content) {
    let far = Far::new(kind);
    let house = House::new();
    let id = house.get(&far.url(), "file");
    house.wait_for_bytes(&id, HALF);
    house.command(&id, "pause");
    house.wait_for_status(&id, "PausedByApplication");
    far.serve(replacement);
    house.command(&id, "resume");
    house.complete(&id);
    replacement.assert_file(&house.result("file"));
    let receipt = house.of(&id, "receipt");
    assert_eq!(receipt["restarts"], 1, "{receipt:#}");
}

fn serves_over_tls(kind: ServerKind) -> WebServer {
    let server = WebServer::start(kind);
    let content = Content::new(1, SIZE);
    content.write_to(&server.root().join("file"));
    let house = House::with(ServiceOptions {
        config: QUICK.to_owned(),
        arguments: vec![
            "--ca-certificate".to_owned(),
            server.root_certificate().to_str().unwrap().to_owned(),
        ],
        ..ServiceOptions::default()
    });
    let file = house.result("file");
    assert_exit(&house.run(&["get", &server.https_url("/file"), "-o", file.to_str().unwrap()]), 0);
    content.assert_file(&file);
    server
}

macro_rules! of_each_server {
    ($($module:ident $kind:ident),+) => {$(
        mod $module {
            use super::*;

            #[test]
            fn a_kill_in_the_middle_is_resumed() {
                resumes_after_a_kill(ServerKind::$kind);
            }

            #[test]
            fn a_file_of_another_length_is_noticed() {
                notices_a_change(ServerKind::$kind, Content::new(2, SIZE + 1));
            }

            #[test]
            fn fault_133_a_file_of_the_same_length_and_time_is_noticed() {
                notices_a_change(ServerKind::$kind, Content::new(2, SIZE));
            }

            #[test]
            fn https_serves_the_same_bytes() {
                serves_over_tls(ServerKind::$kind);
            }
        }
    )+};
}

of_each_server!(nginx Nginx, apache Apache, lighttpd Lighttpd, caddy Caddy);

#[test]
fn tls_servers_that_offer_http2_are_spoken_to_in_it() {
    let server = serves_over_tls(ServerKind::Nginx);
    let log = server.access_log();
    assert!(log.iter().any(|line| line.contains("HTTP/2.0 200")), "{log:?}");
}
