//! HTTP/2: rows 50 and 51.

use std::sync::Arc;

use h2::Reason;
use longhaul_contract::{Cause, Remedy};
use longhaul_lab::hostile::http2::{Begun, Exchange2, Server2};
use longhaul_lab::tls::{Authority, Flaw};
use longhaul_lab::{Content, Gate, Resource, Response, Server};
use longhaul_transfer::{Settings, TransferEnd};

use crate::support::{DEADLINE, World, settings};

const SIZE: u64 = 300_000;
const HALF: u64 = SIZE / 2;

fn file() -> Resource {
    Resource::new(Content::new(1, SIZE))
}

struct Trusting {
    authority: Authority,
    world: World,
}

fn trusting() -> Trusting {
    let authority = Authority::new();
    let world = World::with(Settings { ca_certificates: vec![authority.root_file()], ..settings() });
    Trusting { authority, world }
}

impl Trusting {
    fn server<F, A>(&self, script: F) -> Server2
    where
        F: Fn(Exchange2) -> A + Send + Sync + 'static,
        A: Future<Output = ()> + Send + 'static,
    {
        Server2::start(Some(&self.authority.issue(Flaw::None)), script)
    }
}

async fn answer(exchange: Exchange2) {
    let response = file().answer(&exchange.request);
    exchange.respond(response).await;
}

/// Runs a download of which the server sends half, does `what` once that has arrived, and answers all later requests
/// as it should.
fn half_then(lab: &Trusting, what: impl Fn(Begun) + Send + Sync + 'static) -> Server2 {
    let arrived = Gate::new();
    let what = Arc::new(what);
    let server = lab.server({
        let arrived = arrived.clone();
        move |exchange| {
            let (arrived, what) = (arrived.clone(), Arc::clone(&what));
            async move {
                if exchange.request.number > 0 {
                    return answer(exchange).await;
                }
                let response = file().answer(&exchange.request);
                let begun = exchange.begin(&response, HALF).await;
                tokio::task::spawn_blocking(move || arrived.wait_for(DEADLINE)).await.unwrap();
                what(begun.unwrap());
            }
        }
    });
    let job = lab.world.job(&server.url("/f"));
    let attempt = lab.world.start(&job);
    attempt.wait_for_bytes(HALF);
    arrived.open();
    let outcome = attempt.end();
    let outcome = match outcome.end {
        TransferEnd::Finished { .. } => outcome,
        _ => lab.world.finish(&lab.world.next(&job)),
    };
    outcome.assert_published(&lab.world, file().content);
    assert!(!outcome.has_restarted());
    assert!(server.requests()[1].range_start() > 0, "{:?}", server.requests()[1]);
    server
}

#[test]
fn a_file_comes_over_http2() {
    let lab = trusting();
    let server = lab.server(answer);
    lab.world.run(&lab.world.job(&server.url("/f"))).assert_published(&lab.world, file().content);
    assert_eq!(server.requests().len(), 1, "the server speaks nothing but HTTP/2");
}

#[test]
fn fault_050_a_stream_reset_in_the_middle_is_resumed() {
    for reason in [Reason::INTERNAL_ERROR, Reason::CANCEL, Reason::REFUSED_STREAM] {
        half_then(&trusting(), move |begun| begun.reset(reason));
    }
}

#[test]
fn fault_050_goaway_in_the_middle_is_resumed_on_a_new_connection() {
    for reason in [Reason::NO_ERROR, Reason::INTERNAL_ERROR] {
        let server = half_then(&trusting(), move |begun| begun.go_away(reason));
        assert_eq!(server.connections(), 2, "{reason:?}");
    }
}

#[test]
fn fault_050_a_lost_connection_is_resumed() {
    let server = half_then(&trusting(), Begun::break_connection);
    assert_eq!(server.connections(), 2);
}

#[test]
fn fault_040_an_early_end_of_stream_is_never_complete() {
    half_then(&trusting(), Begun::end);
}

#[test]
fn fault_050_a_refused_stream_was_not_processed_and_is_asked_again() {
    let lab = trusting();
    let server = lab.server(|exchange| async move {
        if exchange.request.number == 0 {
            exchange.reset(Reason::REFUSED_STREAM);
        } else {
            answer(exchange).await;
        }
    });
    lab.world.finish(&lab.world.job(&server.url("/f"))).assert_published(&lab.world, file().content);
}

#[test]
fn fault_050_http_1_1_required_is_obeyed() {
    let lab = trusting();
    let identity = lab.authority.issue(Flaw::None);
    // One port that offers both, resets HTTP/2 streams with HTTP_1_1_REQUIRED and serves HTTP/1.1.
    let server = Server::build().tls_with(identity.server_config(&["h2", "http/1.1"])).start_raw(|wire| {
        if wire.protocol().as_deref() == Some("h2") {
            let _preface = wire.read();
            let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
            let reset = [0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 0xd];
            wire.write(&settings, |_| {});
            while !wire.is_broken() {
                let frames = wire.read();
                if frames.windows(9).any(|head| head[3] == 1 && head[8] == 1) {
                    wire.write(&reset, |_| {});
                }
            }
            return;
        }
        while let Some(head) = wire.read_head() {
            let text = String::from_utf8_lossy(&head).into_owned();
            assert!(text.starts_with("GET "), "{text}");
            let body = file().content.all();
            wire.write(
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes(),
                |_| {},
            );
            wire.write(&body, |_| {});
        }
    });
    lab.world.finish(&lab.world.job(&server.url("/f"))).assert_published(&lab.world, file().content);
}

#[test]
fn fault_050_enhance_your_calm_backs_off() {
    let lab = trusting();
    let server = lab.server(|exchange| async move { exchange.go_away(Reason::ENHANCE_YOUR_CALM) });
    let outcome = lab.world.run(&lab.world.job(&server.url("/f")));
    assert_eq!(outcome.why(), (Cause::RateLimitedByServer, Remedy::Transient));
    assert!(outcome.failure().retry_after_seconds.is_some_and(|seconds| seconds > 0));
    assert!(server.requests().len() <= 2, "{} requests", server.requests().len());
}

#[test]
fn a_digest_in_http2_trailers_counts() {
    use base64::Engine as _;
    let lab = trusting();
    let server = lab.server(|exchange| async move {
        let digest = base64::engine::general_purpose::STANDARD.encode(file().content.sha256_bytes());
        exchange.respond(file().full().trailer("Repr-Digest", format!("sha-256=:{digest}:"))).await;
    });
    let outcome = lab.world.run(&lab.world.job(&server.url("/f")));
    outcome.assert_published(&lab.world, file().content);
    assert!(outcome.receipt().digests.iter().any(|digest| digest.source == "Repr-Digest"));
}

#[test]
fn statuses_of_http2_are_the_same_failures() {
    let lab = trusting();
    let server = lab.server(|exchange| exchange.respond(Response::new(404).text("gone")));
    let outcome = lab.world.run(&lab.world.job(&server.url("/f")));
    assert_eq!(outcome.failure().http_status, Some(404));
}

/// A connection that floods with `frame` after the client's preface.
fn flooding(lab: &Trusting, frame: Vec<u8>, is_head_first: bool) -> Server {
    let identity = lab.authority.issue(Flaw::None);
    Server::build().tls_with(identity.server_config(&["h2"])).start_raw(move |wire| {
        let _preface = wire.read();
        wire.write(&[0, 0, 0, 4, 0, 0, 0, 0, 0], |_| {});
        if is_head_first {
            // HEADERS of stream 1 without END_HEADERS, holding one indexed field (:status 200).
            let _request = wire.read();
            wire.write(&[0, 0, 1, 1, 0, 0, 0, 0, 1, 0x88], |_| {});
        }
        let many = frame.repeat(200);
        let mut sent = 0_usize;
        while !wire.is_broken() && sent < 256 << 20 {
            wire.write(&many, |count| sent += count);
        }
        assert!(sent < 256 << 20, "the flood was taken for ever");
    })
}

#[test]
fn fault_051_a_continuation_flood_is_bounded() {
    let lab = trusting();
    // CONTINUATION of stream 1 without END_HEADERS: a literal field of 100 bytes, never indexed.
    let mut frame = vec![0, 0, 104, 9, 0, 0, 0, 0, 1, 0x10, 0x01, b'a', 100];
    frame.extend([b'x'; 100]);
    let server = flooding(&lab, frame, true);
    let outcome = lab.world.run(&lab.world.job(&server.url("/f")));
    let _ = outcome.failure();
}

#[test]
fn fault_051_floods_of_pings_and_settings_end() {
    let ping = vec![0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    let settings = vec![0, 0, 0, 4, 0, 0, 0, 0, 0];
    for frame in [ping, settings] {
        let lab = trusting();
        let server = flooding(&lab, frame, false);
        let outcome = lab.world.run(&lab.world.job(&server.url("/f")));
        let _ = outcome.failure();
    }
}

#[test]
fn fault_051_a_stream_that_never_sends_stalls_and_is_given_up() {
    let lab = trusting();
    let server = lab.server(|exchange| async move {
        let response = file().full();
        let begun = exchange.begin(&response, 1_000).await;
        std::future::pending::<()>().await;
        drop(begun);
    });
    let outcome = lab.world.run(&lab.world.job(&server.url("/f")));
    assert_eq!(outcome.why(), (Cause::Stalled, Remedy::Transient));
}
