//! Failures of connections and requests in the terms of the contract.

use std::error::Error;
use std::io;

use longhaul_contract::{Blocker, Cause, Failure, Remedy, WebErrorStatus};

/// A failure whose Windows number follows from its cause.
pub(crate) fn failure(remedy: Remedy, cause: Cause, detail: impl Into<String>) -> Failure {
    Failure {
        remedy,
        cause,
        web_error_status: web_error_status(cause),
        http_status: None,
        detail: detail.into(),
        retry_after_seconds: None,
    }
}

pub(crate) fn transient(cause: Cause, detail: impl Into<String>) -> Failure {
    failure(Remedy::Transient, cause, detail)
}

pub(crate) fn needs_input(cause: Cause, detail: impl Into<String>) -> Failure {
    failure(Remedy::NeedsInput, cause, detail)
}

pub(crate) fn permanent(cause: Cause, detail: impl Into<String>) -> Failure {
    failure(Remedy::Permanent, cause, detail)
}

pub(crate) fn blocked(on: Blocker, cause: Cause, detail: impl Into<String>) -> Failure {
    failure(Remedy::Blocked { on }, cause, detail)
}

const fn web_error_status(cause: Cause) -> WebErrorStatus {
    match cause {
        Cause::NameNotResolved => WebErrorStatus::HostNameNotResolved,
        Cause::CannotConnect | Cause::AddressForbidden | Cause::TlsProtocol => WebErrorStatus::CannotConnect,
        Cause::ConnectTimeout | Cause::ResponseTimeout | Cause::Stalled => WebErrorStatus::Timeout,
        Cause::ConnectionReset => WebErrorStatus::ConnectionReset,
        Cause::ConnectionClosed | Cause::Truncated => WebErrorStatus::ConnectionAborted,
        Cause::TlsCertificate => WebErrorStatus::CertificateIsInvalid,
        Cause::InvalidResponse | Cause::HeadersTooLarge | Cause::ContentEncoding => {
            WebErrorStatus::ErrorHttpInvalidServerResponse
        }
        Cause::Redirect | Cause::RedirectLoop | Cause::UnsupportedScheme => WebErrorStatus::RedirectFailed,
        Cause::RedirectToHttp => WebErrorStatus::HttpsToHttpOnRedirection,
        Cause::RangesUnsupported => WebErrorStatus::InsufficientRangeSupport,
        Cause::LengthMissing => WebErrorStatus::MissingContentLengthSupport,
        Cause::NoNetwork => WebErrorStatus::ServerUnreachable,
        Cause::CaptivePortal => WebErrorStatus::UnexpectedStatusCode,
        Cause::Canceled => WebErrorStatus::OperationCanceled,
        _ => WebErrorStatus::Unknown,
    }
}

/// What an input or output error of a socket means. `doing` completes "… failed: …".
pub(crate) fn of_socket(error: &io::Error, doing: &str) -> Failure {
    if let Some(tls) = find::<rustls::Error>(error) {
        return super::tls::failure_of(tls, doing);
    }
    let detail = format!("{doing} failed: {error}");
    match error.raw_os_error() {
        Some(libc::ENETUNREACH | libc::ENETDOWN | libc::EADDRNOTAVAIL | libc::ENONET) => {
            return blocked(Blocker::Network, Cause::NoNetwork, detail);
        }
        Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::ENOBUFS) => {
            return blocked(Blocker::Resources, Cause::Resources, detail);
        }
        Some(libc::EHOSTUNREACH | libc::EHOSTDOWN) => {
            return Failure {
                web_error_status: WebErrorStatus::ServerUnreachable,
                ..transient(Cause::CannotConnect, detail)
            };
        }
        _ => {}
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused => transient(Cause::CannotConnect, detail),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            transient(Cause::ConnectionReset, detail)
        }
        io::ErrorKind::TimedOut => transient(Cause::Stalled, detail),
        _ => transient(Cause::ConnectionClosed, detail),
    }
}

/// What an error of the HTTP engine means.
pub(crate) fn of_hyper(error: &hyper::Error, doing: &str) -> Failure {
    if error.is_parse_too_large() {
        return permanent(Cause::HeadersTooLarge, format!("{doing} failed: the header section is too large"));
    }
    if error.is_parse() {
        let detail = error.source().map_or_else(|| error.to_string(), |source| format!("{error} ({source})"));
        return permanent(Cause::InvalidResponse, format!("{doing} failed: {detail}"));
    }
    if let Some(io) = find::<io::Error>(error) {
        if matches!(io.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput)
            && find::<rustls::Error>(io).is_none()
        {
            // The framing of the body makes no sense.
            return transient(Cause::InvalidResponse, format!("{doing} failed: {io}"));
        }
        return of_socket(io, doing);
    }
    if let Some(h2) = find::<h2::Error>(error) {
        return of_h2(h2, doing);
    }
    transient(Cause::ConnectionClosed, format!("{doing} failed: {error}"))
}

fn of_h2(error: &h2::Error, doing: &str) -> Failure {
    let detail = format!("{doing} failed: {error}");
    if let Some(io) = error.get_io() {
        return of_socket(io, doing);
    }
    match error.reason() {
        Some(h2::Reason::ENHANCE_YOUR_CALM) => calm(detail),
        Some(h2::Reason::PROTOCOL_ERROR | h2::Reason::FRAME_SIZE_ERROR | h2::Reason::COMPRESSION_ERROR) => {
            transient(Cause::InvalidResponse, detail)
        }
        Some(_) => transient(Cause::ConnectionReset, detail),
        None => transient(Cause::ConnectionClosed, detail),
    }
}

/// The server wants to be asked less.
pub(crate) fn calm(detail: String) -> Failure {
    Failure { retry_after_seconds: Some(CALM_SECONDS), ..transient(Cause::RateLimitedByServer, detail) }
}

/// How long to leave a server alone that answered ENHANCE_YOUR_CALM (RFC 9113 section 7 names no time).
const CALM_SECONDS: u32 = 30;

/// The reason of an HTTP/2 error, if it is one.
pub(crate) fn h2_reason(error: &hyper::Error) -> Option<h2::Reason> {
    find::<h2::Error>(error)?.reason()
}

/// Whether an HTTP/2 error is the peer's farewell to the whole connection.
pub(crate) fn is_go_away(error: &hyper::Error) -> bool {
    find::<h2::Error>(error).is_some_and(h2::Error::is_go_away)
}

/// The first error of type `E` in the chain, looking into wrapped input and output errors too.
fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next: Option<&'a (dyn Error + 'static)> = Some(error);
    while let Some(current) = next {
        if let Some(found) = current.downcast_ref::<E>() {
            return Some(found);
        }
        next = match current.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => current.source(),
        };
    }
    None
}
