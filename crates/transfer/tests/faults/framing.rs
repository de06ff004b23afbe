//! Framing of messages: rows 40 to 50 and 61 over HTTP/1.1.

use std::time::{Duration, Instant};

use longhaul_contract::{Cause, Remedy};
use longhaul_lab::hostile::{Body, Cut};
use longhaul_lab::tls::{Authority, Flaw};
use longhaul_lab::{Content, Exchange, Resource, Response, Server};
use longhaul_transfer::{Settings, TransferEnd};

use crate::support::{Outcome, World, settings};

const SIZE: u64 = 300_000;

fn file() -> Resource {
    Resource::new(Content::new(1, SIZE))
}

fn download(script: impl Fn(&mut Exchange<'_>) + Send + Sync + 'static) -> (World, Server, Outcome) {
    let world = World::new();
    let server = Server::start(script);
    let outcome = world.finish(&world.job(&server.url("/f")));
    (world, server, outcome)
}

#[test]
fn fault_040_a_short_body_is_never_complete() {
    let world = World::new();
    let server = Server::start(|exchange| exchange.respond(file().full().cut_after(SIZE - 1, Cut::Close)));
    let job = world.job(&server.url("/f"));
    let outcome = world.run(&job);
    assert_eq!(outcome.why(), (Cause::Truncated, Remedy::Transient));
    world.assert_nothing_published();
}

#[test]
fn fault_040_the_rest_of_a_short_body_is_fetched() {
    let (world, server, outcome) = download(|exchange| {
        let response = file().answer(&exchange.request);
        exchange.respond(match exchange.request.number {
            0 => response.cut_after(SIZE - 1, Cut::Close),
            _ => response,
        });
    });
    outcome.assert_published(&world, file().content);
    assert!(server.requests()[1].body_sent() <= 4_097);
}

#[test]
fn fault_041_bytes_behind_the_announced_length_are_not_taken() {
    let longer = Content::new(1, SIZE + 5_000);
    let (world, _server, outcome) = download(move |exchange| {
        let response = file().full().body(Body::Part { content: longer, offset: 0, length: SIZE + 5_000 });
        exchange.respond(response.announce_length(SIZE));
    });
    outcome.assert_published(&world, file().content);
}

#[test]
fn fault_042_a_clean_close_ends_a_body_without_length() {
    let (world, _server, outcome) = download(|exchange| exchange.respond(file().full().until_close()));
    outcome.assert_published(&world, file().content);
}

#[test]
fn fault_042_a_reset_does_not_end_a_body_without_length() {
    let world = World::new();
    let server = Server::start(|exchange| {
        exchange.respond(file().full().until_close().cut_after(SIZE / 2, Cut::Reset));
    });
    let outcome = world.run(&world.job(&server.url("/f")));
    assert_eq!(outcome.why(), (Cause::ConnectionReset, Remedy::Transient));
    world.assert_nothing_published();
}

#[test]
fn fault_042_tls_without_close_notify_does_not_end_a_body_without_length() {
    let authority = Authority::new();
    let world = World::with(Settings { ca_certificates: vec![authority.root_file()], ..settings() });
    let server = Server::build().tls(&authority.issue(Flaw::None)).start(|exchange| {
        exchange.respond(file().full().until_close().cut_after(SIZE / 2, Cut::CloseWithoutNotify));
    });
    let outcome = world.run(&world.job(&server.url("/f")));
    assert_eq!(outcome.why().1, Remedy::Transient, "{:?}", outcome.end);
    world.assert_nothing_published();
}

#[test]
fn a_body_with_a_length_needs_no_close_notify() {
    let authority = Authority::new();
    let world = World::with(Settings { ca_certificates: vec![authority.root_file()], ..settings() });
    let server = Server::build().tls(&authority.issue(Flaw::None)).start(|exchange| {
        exchange.respond(file().full());
        exchange.close_without_notify();
    });
    world.run(&world.job(&server.url("/f"))).assert_published(&world, file().content);
}

fn refused_head(head: impl Into<String>) -> Outcome {
    let head = head.into();
    let world = World::new();
    let server = Server::start(move |exchange| {
        exchange.send(&head);
        exchange.send_body(vec![b'x'; 100]);
        exchange.close();
    });
    let outcome = world.run(&world.job(&server.url("/f")));
    world.assert_nothing_published();
    outcome
}

#[test]
fn fault_043_two_lengths_are_refused() {
    for lines in
        ["Content-Length: 50\r\nContent-Length: 100", "Content-Length: 50, 100", "Content-Length: +100"]
    {
        let outcome = refused_head(format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n"));
        assert_eq!(outcome.why().0, Cause::InvalidResponse, "{lines}");
    }
}

#[test]
fn fault_045_chunks_win_over_a_length() {
    let (world, server, outcome) = download(|exchange| {
        exchange.respond(file().full().chunked().header("Content-Length", "10"));
    });
    match &outcome.end {
        TransferEnd::Finished { .. } => outcome.assert_published(&world, file().content),
        _ => {
            assert_eq!(outcome.why().0, Cause::InvalidResponse);
            world.assert_nothing_published();
        }
    }
    // A message that smuggles poisons its connection.
    let _ = world.run(&world.job(&server.url("/g")));
    let requests = server.requests();
    assert_ne!(requests[0].connection, requests.last().unwrap().connection);
}

#[test]
fn fault_047_headers_have_a_limit() {
    let wide = format!("HTTP/1.1 200 OK\r\nX-Wide: {}\r\n\r\n", "a".repeat(2 << 20));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X-Many: 1\r\n".repeat(100_000));
    for head in [wide, many] {
        let outcome = refused_head(head);
        assert!(matches!(outcome.why().0, Cause::HeadersTooLarge), "{:?}", outcome.end);
    }
}

#[test]
fn fault_047_endless_headers_are_let_go() {
    let world = World::new();
    let server = Server::start(|exchange| {
        exchange.send("HTTP/1.1 200 OK\r\n");
        while !exchange.is_broken() {
            exchange.send("X-More: and more and more and more\r\n".repeat(100));
        }
    });
    let outcome = world.run(&world.job(&server.url("/f")));
    assert_eq!(outcome.why().0, Cause::HeadersTooLarge);
}

#[test]
fn fault_048_a_trickle_is_broken_off() {
    let world = World::new();
    let server = Server::start(|exchange| {
        exchange.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n"));
        exchange.send_body(file().content.bytes(0, 1_000));
        for offset in 1_000.. {
            exchange.pause(Duration::from_millis(100));
            if exchange.is_broken() {
                return;
            }
            exchange.send_body(file().content.bytes(offset, 1));
        }
    });
    let begun = Instant::now();
    let outcome = world.run(&world.job(&server.url("/f")));
    assert_eq!(outcome.why(), (Cause::Stalled, Remedy::Transient));
    assert!(begun.elapsed() < Duration::from_secs(15));
    world.assert_nothing_published();
}

#[test]
fn fault_049_a_silent_peer_is_given_up_and_the_rest_fetched_elsewhere() {
    let (world, server, outcome) = download(|exchange| {
        let response = file().answer(&exchange.request);
        exchange.respond(match exchange.request.number {
            0 => response.cut_after(100_000, Cut::Stall),
            _ => response,
        });
    });
    outcome.assert_published(&world, file().content);
    assert_eq!(server.connections(), 2);
    assert!(server.requests()[1].range_start() > 0);
}

#[test]
fn fault_049_a_server_that_never_answers_times_out() {
    let world = World::new();
    let server = Server::start(|exchange| {
        exchange.stall();
    });
    let outcome = world.run(&world.job(&server.url("/f")));
    assert_eq!(outcome.why(), (Cause::ResponseTimeout, Remedy::Transient));
}

#[test]
fn fault_049_a_server_that_stops_within_the_headers_times_out() {
    let world = World::new();
    let server = Server::start(|exchange| {
        exchange.send("HTTP/1.1 200 OK\r\nContent-Le");
        exchange.stall();
    });
    let outcome = world.run(&world.job(&server.url("/f")));
    assert_eq!(outcome.why(), (Cause::ResponseTimeout, Remedy::Transient));
}

#[test]
fn fault_050_a_reset_in_the_middle_is_resumed_on_a_new_connection() {
    let (world, server, outcome) = download(|exchange| {
        let response = file().answer(&exchange.request);
        exchange.respond(match exchange.request.number {
            0 => response.cut_after(SIZE / 2, Cut::Reset),
            _ => response,
        });
    });
    outcome.assert_published(&world, file().content);
    assert_eq!(server.connections(), 2);
}

#[test]
fn a_kept_connection_that_died_meanwhile_costs_no_attempt() {
    let world = World::new();
    let server = Server::start(|exchange| exchange.respond(file().answer(&exchange.request)));
    world.run(&world.job(&server.url("/f"))).assert_published(&world, file().content);
    std::fs::remove_file(world.result()).unwrap();
    server.drop_connections();
    world.run(&world.job(&server.url("/f"))).assert_published(&world, file().content);
}

#[test]
fn fault_061_a_few_interim_answers_are_skipped() {
    let (world, _server, outcome) = download(|exchange| {
        for status in [100, 102, 103, 104] {
            exchange.respond(Response::new(status).header("Link", "</style.css>; rel=preload"));
        }
        exchange.respond(file().full());
    });
    outcome.assert_published(&world, file().content);
}

#[test]
fn fault_061_endless_interim_answers_are_let_go() {
    let world = World::new();
    let server = Server::start(|exchange| {
        while !exchange.is_broken() {
            exchange.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(50));
            exchange.pause(Duration::from_millis(1));
        }
    });
    let outcome = world.run(&world.job(&server.url("/f")));
    assert!(
        matches!(outcome.why().0, Cause::InvalidResponse | Cause::HeadersTooLarge | Cause::ResponseTimeout),
        "{:?}",
        outcome.end
    );
}

#[test]
fn garbage_in_place_of_http_is_an_invalid_response() {
    for bytes in [
        "SSH-2.0-OpenSSH_9.2\r\n\r\n",
        "\0\0\0\0\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/3.7 200 OK\r\n\r\n",
    ] {
        let outcome = refused_head(bytes);
        assert_eq!(outcome.why().0, Cause::InvalidResponse, "{bytes:?}");
    }
}

#[test]
fn an_answer_that_ends_before_its_head_is_a_closed_connection() {
    let world = World::new();
    let server = Server::start(|exchange| {
        exchange.close();
    });
    let outcome = world.run(&world.job(&server.url("/f")));
    assert_eq!(outcome.why(), (Cause::ConnectionClosed, Remedy::Transient));
}

#[test]
fn chunks_that_break_off_are_not_the_end() {
    let world = World::new();
    let server = Server::start(|exchange| {
        let response = file().answer(&exchange.request).chunked();
        exchange.respond(match exchange.request.number {
            0 => response.cut_after(SIZE / 2, Cut::Close),
            _ => response,
        });
    });
    world.finish(&world.job(&server.url("/f"))).assert_published(&world, file().content);
    assert!(server.requests().len() > 1);
}

#[test]
fn malformed_chunks_are_an_invalid_response() {
    for bytes in ["zz\r\nabc\r\n", "ffffffffffffffffff\r\nabc", "3\r\nabcde\r\n0\r\n\r\n", "-3\r\nabc\r\n"] {
        let world = World::new();
        let server = Server::start(move |exchange| {
            exchange.send(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{bytes}"));
            exchange.close();
        });
        let outcome = world.run(&world.job(&server.url("/f")));
        let cause = outcome.why().0;
        assert!(matches!(cause, Cause::InvalidResponse | Cause::Truncated), "{bytes:?}: {cause:?}");
        world.assert_nothing_published();
    }
}
