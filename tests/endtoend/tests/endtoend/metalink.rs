//! Metalink documents at addresses.

use longhaul_endtoend::{House, assert_exit, shown};
use longhaul_lab::servers::{ServerKind, WebServer};
use longhaul_lab::{Content, Resource, Response, Server};

const SIZE: u64 = 300_000;

fn content() -> Content {
    Content::new(1, SIZE)
}

fn document(files: &[(&str, &str, &[String])]) -> String {
    let files: String = files
        .iter()
        .map(|(name, hash, urls)| {
            let urls: String = urls.iter().map(|url| format!("<url>{url}</url>")).collect();
            format!(
                "<file name=\"{name}\"><size>{SIZE}</size><hash type=\"sha-256\">{hash}</hash>{urls}</file>"
            )
        })
        .collect();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><metalink xmlns=\"urn:ietf:params:xml:ns:metalink\">{files}</metalink>"
    )
}

fn names(house: &House) -> Vec<String> {
    let entries = std::fs::read_dir(house.results()).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[track_caller]
fn get(house: &House, code: i32, arguments: &[&str]) -> String {
    let folder = house.results();
    let mut words = vec!["get", "-d", folder.to_str().unwrap()];
    words.extend(arguments);
    let output = house.run(&words);
    assert_exit(&output, code);
    shown(&output)
}

#[test]
fn a_document_at_an_address_is_read_and_gone_afterwards() {
    let server = WebServer::start(ServerKind::Nginx);
    content().write_to(&server.root().join("copy"));
    let listed = document(&[
        ("../../first.iso", &content().sha256(), &[server.url("/gone"), server.url("/copy")]),
        ("second.iso", &content().sha256(), &[server.url("/copy")]),
    ]);
    std::fs::write(server.root().join("files.meta4"), listed).unwrap();
    let house = House::new();
    get(&house, 0, &[&server.url("/files.meta4")]);
    assert_eq!(names(&house), ["first.iso", "second.iso"], "sanitised, and no document");
    content().assert_file(&house.result("first.iso"));
    content().assert_file(&house.result("second.iso"));
    assert_eq!(house.list("&consumed=true").len(), 2, "the document's download is forgotten");
    get(&house, 0, &["--as-is", &server.url("/files.meta4")]);
    assert_eq!(names(&house), ["files.meta4", "first.iso", "second.iso"]);
}

#[test]
fn a_document_is_known_by_its_media_type_as_well() {
    let files = Server::of(Resource::new(content()));
    let listed = document(&[("film.mkv", &content().sha256(), &[files.url("/copy")])]);
    let server = Server::start(move |exchange| {
        let response = Response::new(200).header("Content-Type", "application/metalink4+xml; charset=utf-8");
        exchange.respond(response.text(&listed));
    });
    let house = House::new();
    let told = get(&house, 0, &["--json", &server.url("/download?id=7")]);
    assert!(told.contains("film.mkv"), "{told}");
    assert_eq!(names(&house), ["film.mkv"]);
    content().assert_file(&house.result("film.mkv"));
    get(&house, 0, &[&server.url("/download?id=7"), "-o", "kept"]);
    assert_eq!(names(&house), ["film.mkv", "kept"], "what was given a name is a file");
}

#[test]
fn the_hash_that_a_document_lists_is_held_to() {
    let files = Server::of(Resource::new(content()));
    let server = WebServer::start(ServerKind::Nginx);
    let listed = document(&[("film.mkv", &Content::new(2, SIZE).sha256(), &[files.url("/copy")])]);
    std::fs::write(server.root().join("film.meta4"), listed).unwrap();
    std::fs::write(server.root().join("page.meta4"), "<html>").unwrap();
    let house = House::new();
    get(&house, 9, &[&server.url("/film.meta4")]);
    let told = get(&house, 9, &[&server.url("/none.meta4")]);
    assert!(told.contains("404"), "{told}");
    let told = get(&house, 2, &[&server.url("/page.meta4")]);
    assert!(told.contains("Metalink"), "{told}");
    assert!(names(&house).is_empty(), "{:?}", names(&house));
}

#[test]
fn credentials_stay_with_the_origin_of_the_document() {
    let elsewhere = Server::of(Resource::new(content()));
    let foreign = elsewhere.url("/copy");
    let server = Server::start(move |exchange| {
        if exchange.request.path() == "/files.meta4" {
            let own = format!("http://{}/own", exchange.request.header("host").unwrap());
            let hash = content().sha256();
            let foreign = [foreign.clone()];
            let listed = document(&[("own", &hash, &[own]), ("foreign", &hash, &foreign)]);
            exchange.respond(Response::new(200).text(&listed));
        } else {
            exchange.respond(Resource::new(content()).answer(&exchange.request));
        }
    });
    let house = House::new();
    get(&house, 0, &["-H", "X-Token: secret", &server.url("/files.meta4")]);
    assert_eq!(names(&house), ["foreign", "own"]);
    assert!(server.requests().iter().all(|request| request.header("x-token") == Some("secret")));
    assert!(elsewhere.requests().iter().all(|request| request.header("x-token").is_none()));
}
