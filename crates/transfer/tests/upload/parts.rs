//! Parts with presigned addresses.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use longhaul_contract::{Cause, Credential, Remedy, Secret};
use longhaul_lab::{Content, Response, Server};
use longhaul_transfer::{Settings, UploadJob, UsedProtocol};

use crate::support::{World, settings};

const CONTENT: Content = Content::new(61, 1_050_000);
const SIZE: u64 = 200_000;

fn job(world: &World, server: &Server) -> UploadJob {
    let job = world.job(&server.url("/bucket/key"), CONTENT);
    let urls = (1..=6).map(|number| server.url(&format!("/part?partNumber={number}&X-Amz-Signature=s")));
    UploadJob { part_urls: urls.map(|url| url.parse().unwrap()).collect(), part_size: SIZE, ..job }
}

fn number(exchange: &longhaul_lab::Exchange<'_>) -> usize {
    exchange.request.query("partNumber").unwrap().parse().unwrap()
}

#[test]
fn each_part_goes_to_its_address_and_the_etags_are_kept() {
    let world = World::with(Settings { segments_max: 4, ..settings() });
    let busiest = Arc::new(AtomicUsize::new(0));
    let server = Server::start({
        let (now, busiest) = (AtomicUsize::new(0), Arc::clone(&busiest));
        move |exchange| {
            busiest.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            exchange.pause(std::time::Duration::from_millis(50));
            now.fetch_sub(1, Ordering::SeqCst);
            exchange.respond(Response::new(200).header("ETag", format!("\"e{}\"", number(exchange))));
        }
    });
    let credential = Some(Credential { user: "u".to_owned(), password: Secret::new("p") });
    let outcome = world.run(&UploadJob { credential, ..job(&world, &server) });
    let receipt = outcome.receipt();
    assert_eq!(receipt.part_etags, ["\"e1\"", "\"e2\"", "\"e3\"", "\"e4\"", "\"e5\"", "\"e6\""]);
    assert_eq!((receipt.protocol, receipt.bytes_sent), (UsedProtocol::Parts, CONTENT.length));
    let mut whole = vec![Vec::new(); 6];
    for request in server.requests() {
        let number: usize = request.query("partNumber").unwrap().parse().unwrap();
        assert_eq!(request.method, "PUT");
        assert_eq!(request.header("authorization"), None, "the address is the credential");
        whole[number - 1] = request.body;
    }
    assert!(whole.concat() == CONTENT.all());
    assert!(busiest.load(Ordering::SeqCst) > 1, "they go side by side");
    assert!(!format!("{outcome:?}").contains("Signature=s\""));
}

#[test]
fn a_part_that_arrived_is_not_sent_again() {
    let world = World::new();
    let seen = Arc::new(Mutex::new(BTreeSet::new()));
    let server = Server::start({
        let seen = Arc::clone(&seen);
        move |exchange| {
            let number = number(exchange);
            if number == 4 && seen.lock().unwrap().insert(number) {
                exchange.respond(Response::new(500));
                return;
            }
            exchange.respond(Response::new(200).header("ETag", format!("\"e{number}\"")));
        }
    });
    let job = job(&world, &server);
    let outcome = world.run(&job);
    assert_eq!(outcome.why().1, Remedy::Transient);
    let outcome = world.run(&world.next(&job));
    assert_eq!(outcome.receipt().bytes_sent, CONTENT.length + SIZE);
    assert_eq!(outcome.receipt().part_etags.len(), 6);
}

#[test]
fn an_address_that_has_expired_needs_a_new_one_and_costs_nothing() {
    let world = World::new();
    let server = Server::start(|exchange| {
        let is_expired = number(exchange) == 3 && exchange.request.query("renewed").is_none();
        exchange.respond(if is_expired {
            Response::new(403).text("expired")
        } else {
            Response::new(200).header("ETag", "\"e\"")
        });
    });
    let job = job(&world, &server);
    let outcome = world.run(&job);
    assert_eq!(outcome.why(), (Cause::HttpStatus, Remedy::NeedsInput));
    let mut renewed = world.next(&job);
    for url in &mut renewed.part_urls {
        url.query_pairs_mut().append_pair("renewed", "yes");
    }
    assert_eq!(world.run(&renewed).receipt().bytes_sent, CONTENT.length + SIZE);
}

#[test]
fn addresses_that_do_not_fit_the_file_are_refused() {
    let world = World::new();
    let server = Server::start(|exchange| exchange.respond(Response::new(200)));
    let job = UploadJob { part_size: SIZE * 2, ..job(&world, &server) };
    assert_eq!(world.run(&job).why(), (Cause::SizeMismatch, Remedy::Permanent));
    assert_eq!(server.requests().len(), 0);
}
