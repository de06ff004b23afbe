//! The hostile server does to a client exactly what the script says.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use longhaul_lab::hostile::{Body, Cut};
use longhaul_lab::{Content, Endpoint, Gate, Resource, Response, Server, wait_until};

fn get(server: &Server, range: Option<&str>) -> std::io::Result<longhaul_lab::Answer> {
    let mut endpoint = Endpoint::tcp(server.address());
    if let Some(range) = range {
        endpoint = endpoint.with_header("Range", range);
    }
    endpoint.get("/file?x=1")
}

/// The server counts a piece after it has sent it, which the client may see first.
fn sends(server: &Server, bytes: u64) {
    let counted = || (server.body_bytes_sent() >= bytes).then_some(());
    wait_until("all that was sent is counted", Duration::from_secs(5), counted);
    assert_eq!(server.body_bytes_sent(), bytes);
}

#[test]
fn a_resource_answers_whole_parts_and_refusals() {
    let content = Content::new(1, 200_000);
    let server = Server::of(Resource::new(content));
    assert_eq!(get(&server, None).unwrap().body, content.all());
    let part = get(&server, Some("bytes=70000-70009")).unwrap();
    assert_eq!((part.status, part.body), (206, content.bytes(70_000, 10)));
    assert_eq!(
        part.headers.iter().find(|(name, _)| name == "content-range").unwrap().1,
        "bytes 70000-70009/200000"
    );
    let behind = get(&server, Some("bytes=200000-")).unwrap();
    assert_eq!((behind.status, behind.body), (416, Vec::new()));
    let requests = server.requests();
    assert_eq!(requests.len(), 3);
    assert_eq!(requests[1].range_start(), 70_000);
    assert_eq!(requests[2].query("x"), Some("1"));
    sends(&server, 200_010);
}

#[test]
fn if_range_decides_between_the_part_and_the_whole() {
    let server = Server::of(Resource::new(Content::new(1, 100)));
    let ask = |tag: &str| {
        let endpoint =
            Endpoint::tcp(server.address()).with_header("Range", "bytes=10-").with_header("If-Range", tag);
        endpoint.get("/").unwrap().status
    };
    assert_eq!((ask("\"v1\""), ask("\"v2\""), ask("W/\"v1\"")), (206, 200, 200));
}

#[test]
fn answers_break_off_where_they_are_cut() {
    let content = Content::new(1, 100_000);
    for cut in [Cut::Close, Cut::Reset] {
        let server = Server::start(move |exchange| {
            exchange.respond(Resource::new(content).full().cut_after(1_000, cut));
        });
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut all = Vec::new();
        let outcome = stream.read_to_end(&mut all);
        assert_eq!(outcome.is_err(), cut == Cut::Reset, "{cut:?}: {outcome:?}");
        assert_eq!(server.requests()[0].body_sent(), 1_000);
    }
}

#[test]
fn a_gate_holds_the_body_until_it_opens() {
    let content = Content::new(1, 1_000);
    let gate = Gate::new();
    let server = Server::start({
        let gate = gate.clone();
        move |exchange| exchange.respond(Resource::new(content).full().hold_at(400, &gate))
    });
    let mut answer = Endpoint::tcp(server.address()).stream("GET", "/", None).unwrap();
    let mut seen = vec![0; 400];
    let mut count = 0;
    while count < 400 {
        count += answer.read(&mut seen[count..]).unwrap();
    }
    sends(&server, 400);
    gate.open();
    assert_eq!(answer.finish().unwrap().body, content.bytes(400, 600));
}

#[test]
fn chunks_carry_trailers_and_lengths_may_lie() {
    let server = Server::start(|exchange| {
        let response = Response::new(200).body(Body::Bytes(b"hello".to_vec()));
        exchange.respond(match exchange.request.path() {
            "/chunked" => response.trailer("X-Sum", "1"),
            "/long" => response.announce_length(3),
            _ => response.announce_length(10).cut_after(5, Cut::Close),
        });
    });
    let raw = |path: &str| {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    };
    assert!(raw("/chunked").ends_with("5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"));
    assert!(raw("/long").contains("Content-Length: 3\r\n\r\nhello"));
    assert!(raw("/short").contains("Content-Length: 10\r\n\r\nhello"));
}

#[test]
fn the_pace_of_a_server_is_kept() {
    let content = Content::new(1, 100_000);
    let resource = Resource::new(content);
    let server = Server::build().pace(400_000).start(move |exchange| exchange.respond(resource.full()));
    let begun = Instant::now();
    assert_eq!(get(&server, None).unwrap().body.len(), 100_000);
    assert!(begun.elapsed() > Duration::from_millis(200), "{:?}", begun.elapsed());
}
