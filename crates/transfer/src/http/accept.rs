//! How a response is judged: pure functions from what was asked and what came back to what it is good for.

use std::time::SystemTime;

use longhaul_contract::{Blocker, Cause, Expectation, Failure, Remedy, WebErrorStatus};
use url::Url;

use super::auth::{Peer, advice};
use super::failure::{blocked, needs_input, permanent, transient};
use super::head::{AcceptRanges, ContentRange, Head, difference, strong_validator};
use crate::journal::Validators;

/// What the request asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asked<'a> {
    /// First byte of the Range field, if one was sent.
    pub(crate) start: Option<u64>,
    /// The version the bytes at hand, if any, belong to.
    pub(crate) known: Option<&'a Validators>,
    /// Bytes at hand without a gap from byte 0.
    pub(crate) held: u64,
    /// Whether bytes are at hand that did not come as a page.
    pub(crate) holds_no_page: bool,
}

/// What the caller demands of the file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Demand<'a> {
    pub(crate) url: &'a Url,
    pub(crate) expect: Option<&'a Expectation>,
    pub(crate) has_checksum: bool,
    pub(crate) is_random_access: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The body is the whole file from byte 0.
    Whole {
        total: Option<u64>,
        is_resumable: bool,
        versus_known: Version,
    },
    /// The body holds `start..end`, of the version that was asked for as far as its head tells.
    Part {
        start: u64,
        end: u64,
        total: Option<u64>,
        is_resumable: bool,
    },
    /// Every byte is at hand already.
    Complete,
    /// The bytes at hand are of another version: ask again for the whole.
    Changed(String),
    /// The server cannot serve this range: ask again for the whole.
    NoRange(String),
    Refused(Failure),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Version {
    /// There was nothing to compare with.
    Unknown,
    Same,
    Other(String),
}

/// Judges a response that is not a redirect.
pub(crate) fn judge(asked: &Asked<'_>, demand: &Demand<'_>, head: &Head, now: SystemTime) -> Verdict {
    match head.status {
        200 | 203 => judge_whole(asked, demand, head),
        206 => judge_part(asked, demand, head),
        416 => judge_unsatisfied(asked, head),
        status => Verdict::Refused(refusal(status, demand.url, head, now)),
    }
}

fn judge_whole(asked: &Asked<'_>, demand: &Demand<'_>, head: &Head) -> Verdict {
    let total = head.length;
    if let Some(failure) = unexpected(asked, demand, head, total) {
        return Verdict::Refused(failure);
    }
    let seen = head.validators(total);
    let is_resumable = is_resumable(head, &seen, head.accept_ranges() == AcceptRanges::Bytes);
    if demand.is_random_access
        && let Some(failure) = unfit_for_random_access(demand.url, total, is_resumable)
    {
        return Verdict::Refused(failure);
    }
    let versus_known = match asked.known {
        None => Version::Unknown,
        Some(known) => difference(known, &seen).map_or(Version::Same, Version::Other),
    };
    Verdict::Whole { total, is_resumable, versus_known }
}

fn judge_part(asked: &Asked<'_>, demand: &Demand<'_>, head: &Head) -> Verdict {
    let Some(asked_start) = asked.start else {
        return Verdict::Refused(invalid(demand.url, "answered 206 to a request without a range"));
    };
    if head.media_type().is_some_and(|media| media == "multipart/byteranges") {
        return Verdict::NoRange("the server answered one range with several".to_owned());
    }
    if head.is_encoded() {
        return Verdict::NoRange("the server encoded a range (Content-Encoding)".to_owned());
    }
    let Some(ContentRange::Part { start, end, total }) = head.content_range() else {
        return Verdict::NoRange("the server sent 206 without a usable Content-Range".to_owned());
    };
    if start > asked_start || end <= asked_start {
        return Verdict::NoRange(format!(
            "the server sent bytes {start}-{end} where {asked_start} was asked for"
        ));
    }
    if head.length.is_some_and(|length| length != end - start) {
        return Verdict::NoRange("Content-Range and Content-Length disagree".to_owned());
    }
    let seen = head.validators(total);
    if let Some(known) = asked.known
        && let Some(change) = difference(known, &seen)
    {
        return Verdict::Changed(change);
    }
    if let Some(failure) = unexpected(asked, demand, head, total) {
        return Verdict::Refused(failure);
    }
    let is_resumable = is_resumable(head, &seen, true);
    if demand.is_random_access
        && asked.known.is_none()
        && let Some(failure) = unfit_for_random_access(demand.url, total.and(head.length), is_resumable)
    {
        return Verdict::Refused(failure);
    }
    Verdict::Part { start, end, total, is_resumable }
}

fn judge_unsatisfied(asked: &Asked<'_>, head: &Head) -> Verdict {
    match head.content_range() {
        Some(ContentRange::Unsatisfied { total }) if total == asked.held && asked.held > 0 => {
            match asked.known.and_then(|known| difference(known, &head.validators(Some(total)))) {
                Some(change) => Verdict::Changed(change),
                None => Verdict::Complete,
            }
        }
        Some(ContentRange::Unsatisfied { total }) if total < asked.held => {
            Verdict::Changed(format!("{} bytes are at hand, the file has {total}", asked.held))
        }
        _ => Verdict::NoRange("the server refused the range (416)".to_owned()),
    }
}

/// Whether an interrupted download of this response could go on where it stopped.
fn is_resumable(head: &Head, seen: &Validators, has_ranges: bool) -> bool {
    has_ranges && !head.is_encoded() && strong_validator(seen).is_some()
}

fn unfit_for_random_access(url: &Url, total: Option<u64>, is_resumable: bool) -> Option<Failure> {
    let host = url.host_str().unwrap_or_default();
    if total.is_none() {
        return Some(permanent(
            Cause::LengthMissing,
            format!("{host} does not tell the length of the file, which random access needs"),
        ));
    }
    (!is_resumable).then(|| {
        permanent(
            Cause::RangesUnsupported,
            format!("{host} does not offer byte ranges with a strong validator, which random access needs"),
        )
    })
}

/// Compares with what the caller knows beforehand.
fn unexpected(asked: &Asked<'_>, demand: &Demand<'_>, head: &Head, total: Option<u64>) -> Option<Failure> {
    let media_type = head.media_type();
    let is_html =
        media_type.as_deref().is_some_and(|media| media == "text/html" || media == "application/xhtml+xml");
    let wanted_type = demand.expect.and_then(|expect| expect.content_type.as_deref());
    let wanted_size = demand.expect.and_then(|expect| expect.size);
    let is_other_type = wanted_type
        .is_some_and(|wanted| !media_type.as_deref().is_some_and(|media| media_type_matches(wanted, media)));
    let is_other_size =
        matches!((wanted_size, total), (Some(wanted), Some(total)) if wanted != total) && !head.is_encoded();
    let is_known_otherwise = asked.holds_no_page || (demand.has_checksum && !may_be_html(demand.url));
    if is_html && (is_other_type || is_other_size || is_known_otherwise) && demand.url.scheme() == "http" {
        return Some(blocked(
            Blocker::Portal,
            Cause::CaptivePortal,
            format!("a page came from {} in place of the file: a captive portal?", host_of(demand.url)),
        ));
    }
    if let Some(wanted) = wanted_type.filter(|_| is_other_type) {
        let got = media_type.unwrap_or_else(|| "no type".to_owned());
        return Some(needs_input(
            Cause::ContentTypeMismatch,
            format!("{} sent {got} where {wanted} is expected", host_of(demand.url)),
        ));
    }
    is_other_size.then(|| {
        needs_input(
            Cause::SizeMismatch,
            format!(
                "{} has {} bytes where {} are expected",
                host_of(demand.url),
                total.unwrap_or_default(),
                wanted_size.unwrap_or_default()
            ),
        )
    })
}

fn media_type_matches(wanted: &str, media: &str) -> bool {
    let wanted = wanted.trim().to_ascii_lowercase();
    if wanted == "*/*" {
        return true;
    }
    match wanted.strip_suffix("/*") {
        Some(kind) => media.split('/').next() == Some(kind),
        None => wanted == media,
    }
}

/// Whether the path looks as if a page could be behind it.
fn may_be_html(url: &Url) -> bool {
    let last = url.path().rsplit('/').next().unwrap_or_default();
    match last.rsplit_once('.') {
        None => true,
        Some((_, extension)) => ["html", "htm", "xhtml", "php", "asp", "aspx", "jsp", "cgi"]
            .contains(&extension.to_ascii_lowercase().as_str()),
    }
}

fn host_of(url: &Url) -> &str {
    url.host_str().unwrap_or_default()
}

fn invalid(url: &Url, what: &str) -> Failure {
    transient(Cause::InvalidResponse, format!("{} {what}", host_of(url)))
}

/// A status that brings no bytes of the file.
pub(crate) fn refusal(status: u16, url: &Url, head: &Head, now: SystemTime) -> Failure {
    let retry_after_seconds = head.retry_after(now);
    let (remedy, cause) = match status {
        401 | 403 | 404 | 407 | 410 | 451 => (Remedy::NeedsInput, Cause::HttpStatus),
        429 => (Remedy::Transient, Cause::RateLimitedByServer),
        503 if retry_after_seconds.is_some() => (Remedy::Transient, Cause::RateLimitedByServer),
        511 => (Remedy::Blocked { on: Blocker::Portal }, Cause::CaptivePortal),
        408 | 425 | 500..=599 => (Remedy::Transient, Cause::HttpStatus),
        _ => (Remedy::Permanent, Cause::HttpStatus),
    };
    let reason = http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    let mut detail = format!("{} answered {status} {}", host_of(url), reason.unwrap_or_default());
    detail.truncate(detail.trim_end().len());
    if let Some(advice) = (status == 401).then(|| advice(head, Peer::Server)).flatten() {
        detail = format!("{detail}; {advice}");
    }
    Failure {
        remedy,
        cause,
        web_error_status: WebErrorStatus::from_http(status),
        http_status: Some(status),
        detail,
        retry_after_seconds,
    }
}

#[cfg(test)]
#[path = "accept_tests.rs"]
mod tests;
