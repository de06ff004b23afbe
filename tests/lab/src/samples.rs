//! The test servers of the platform's own background-transfer samples, rebuilt from their described behaviour.
//!
//! `scale` divides sizes and leaves rates alone, so that a scenario of seconds can also run in a fraction of one.

use std::time::Duration;

use crate::content::Content;
use crate::hostile::{Cut, Exchange, Resource, Response, Server};

/// 1 MB/s.
pub const SAMPLE_RATE: u64 = 1_000_000;
const MEGABYTE: u64 = 1_000_000;

/// `download`: 5,000,000 bytes at 1 MB/s with an ETag; 206 only when If-Range equals the ETag.
#[must_use]
pub fn download(scale: u64) -> (Server, Content) {
    let content = Content::new(31, 5_000_000 / scale);
    let resource = Resource::new(content);
    let server = Server::build().pace(SAMPLE_RATE).start(move |exchange| {
        let is_resume = exchange.request.range_start() > 0;
        let is_same = exchange.request.header("if-range") == resource.etag.as_deref();
        let response =
            if is_resume && is_same { resource.answer(&exchange.request) } else { resource.full() };
        exchange.respond(response);
    });
    (server, content)
}

/// `notifications?delay=n`: n MB at 1 MB/s without ranges; a bad query is 400.
#[must_use]
pub fn notifications(scale: u64) -> Server {
    Server::build().pace(SAMPLE_RATE).start(move |exchange| {
        let delay = exchange.request.query("delay").and_then(|text| text.parse::<u64>().ok());
        let response = match delay {
            None => Response::new(400).text("delay must be a number"),
            Some(delay) => notification(delay, scale).full(),
        };
        exchange.respond(response);
    })
}

/// What `notifications?delay=n` sends.
#[must_use]
pub fn notification(delay: u64, scale: u64) -> Resource {
    Resource::new(Content::new(32 + delay, delay * MEGABYTE / scale)).etag(None).without_ranges()
}

/// `randomAccess`: ranges, Last-Modified and no ETag; a bad range is 500. `Content::length` bytes at `rate`.
#[must_use]
pub fn random_access(length: u64, rate: u64) -> (Server, Content) {
    let content = Content::new(33, length);
    let resource = Resource::new(content)
        .etag(None)
        .last_modified("Mon, 05 Jan 2026 10:00:00 GMT")
        .date("Mon, 05 Oct 2026 10:00:00 GMT");
    let server = Server::build().pace(rate).start(move |exchange| {
        let is_bad = exchange.request.header("range").is_some()
            && (exchange.request.range().is_none() || exchange.request.range_start() >= length);
        let response = if is_bad {
            Response::new(500).text("the range is not understood")
        } else {
            resource.answer(&exchange.request)
        };
        exchange.respond(response);
    });
    (server, content)
}

/// `recoverableErrors?shouldExpire=yes`: 10 MB at `rate`; the first answer is cut after 6 MB, and any later range is
/// refused with 403. Without the query the file is served as it should be.
#[must_use]
pub fn recoverable_errors(scale: u64, rate: u64) -> (Server, Content) {
    let content = Content::new(34, 10 * MEGABYTE / scale);
    let resource = Resource::new(content);
    let server = Server::build().pace(rate).start(move |exchange| {
        let response = if exchange.request.query("shouldExpire") != Some("yes") {
            resource.answer(&exchange.request)
        } else if exchange.request.range_start() > 0 {
            Response::new(403).text("this link has expired")
        } else {
            resource.full().cut_after(6 * MEGABYTE / scale, Cut::Close)
        };
        exchange.respond(response);
    });
    (server, content)
}

/// `bitmap?id=n`: waits, then a picture for even ids and 400 for odd ones.
#[must_use]
pub fn bitmap(wait: Duration) -> Server {
    Server::start(move |exchange: &mut Exchange<'_>| {
        let id = exchange.request.query("id").and_then(|text| text.parse::<u64>().ok());
        exchange.pause(wait);
        let response = match id {
            Some(id) if id % 2 == 0 => Resource::new(Content::new(100 + id, 40_000)).full(),
            Some(_) | None => Response::new(400).text("no picture this time"),
        };
        exchange.respond(response);
    })
}
