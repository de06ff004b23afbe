//! One request and the head of its response on one HTTP/1.1 connection.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Response, Version, header};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use longhaul_contract::{Cause, Failure};

use super::body::{Body, Chunked, Http1Connection, Http1Sender};
use super::failure::{of_hyper, of_socket, transient};
use super::head::Head;
use super::request::Ask;
use super::stream::Stream;

/// Bytes of a response's header section.
pub(crate) const HEAD_BYTES_MAX: usize = 300 << 10;
/// Interim (1xx) responses before the final one.
const INTERIM_MAX: u32 = 20;

pub(crate) struct ExchangeError {
    pub(crate) failure: Failure,
    /// The connection ended before anything of a response came: the peer may never have seen the request.
    pub(crate) is_unanswered: bool,
}

/// Sends `ask` and waits for the final response's head. No timeout of its own.
pub(crate) async fn exchange(
    mut stream: Stream,
    mut ask: Ask,
    host: &str,
) -> Result<(Head, Body), ExchangeError> {
    if !stream.is_quiet() {
        return Err(ExchangeError {
            failure: transient(Cause::ConnectionClosed, format!("{host} had closed the connection")),
            is_unanswered: true,
        });
    }
    let interim = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&interim);
    hyper::ext::on_informational(&mut ask, move |_| {
        seen.fetch_add(1, Ordering::Relaxed);
    });
    let (mut sender, mut connection) = http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| broken(&error, host))?;
    let response = {
        let mut answer = pin!(sender.send_request(ask));
        std::future::poll_fn(|context| poll_head(answer.as_mut(), &mut connection, &interim, host, context))
            .await?
    };
    let (parts, incoming) = response.into_parts();
    let framing = framing(&parts.headers, parts.version, &incoming).map_err(|problem| ExchangeError {
        failure: transient(Cause::InvalidResponse, format!("{host} {problem}")),
        is_unanswered: false,
    })?;
    let head = Head { status: parts.status.as_u16(), headers: parts.headers, length: framing.length };
    Ok((head, body(framing, incoming, connection, sender)))
}

fn poll_head(
    answer: Pin<&mut impl Future<Output = hyper::Result<Response<Incoming>>>>,
    connection: &mut Http1Connection,
    interim: &AtomicU32,
    host: &str,
    context: &mut Context<'_>,
) -> Poll<Result<Response<Incoming>, ExchangeError>> {
    let driven = connection.poll_without_shutdown(context);
    if interim.load(Ordering::Relaxed) > INTERIM_MAX {
        let detail = format!("{host} sent more than {INTERIM_MAX} interim responses");
        return Poll::Ready(Err(ExchangeError {
            failure: transient(Cause::InvalidResponse, detail),
            is_unanswered: false,
        }));
    }
    match (answer.poll(context), driven) {
        (Poll::Ready(response), _) => Poll::Ready(response.map_err(|error| broken(&error, host))),
        (Poll::Pending, Poll::Pending) => Poll::Pending,
        (Poll::Pending, Poll::Ready(Err(error))) => Poll::Ready(Err(broken(&error, host))),
        (Poll::Pending, Poll::Ready(Ok(()))) => Poll::Ready(Err(ExchangeError {
            failure: of_socket(&io::ErrorKind::UnexpectedEof.into(), &format!("waiting for {host}")),
            is_unanswered: true,
        })),
    }
}

fn broken(error: &hyper::Error, host: &str) -> ExchangeError {
    ExchangeError {
        failure: of_hyper(error, &format!("the request to {host}")),
        is_unanswered: !error.is_parse(),
    }
}

#[derive(Clone, Copy)]
struct Framing {
    is_chunked: bool,
    length: Option<u64>,
    is_reusable: bool,
}

fn framing(headers: &HeaderMap, version: Version, incoming: &Incoming) -> Result<Framing, &'static str> {
    let codings = header_tokens(headers, &header::TRANSFER_ENCODING);
    let is_chunked = match codings.as_slice() {
        [] => false,
        [only] if only == "chunked" => true,
        // No other coding was offered (TE), so what it holds is not what was asked for.
        _ => return Err("used a transfer coding that was not asked for"),
    };
    let connection = header_tokens(headers, &header::CONNECTION);
    let has = |token: &str| connection.iter().any(|have| have == token);
    let keeps_alive = if version == Version::HTTP_10 { has("keep-alive") } else { !has("close") };
    let is_ambiguous = is_chunked && headers.contains_key(header::CONTENT_LENGTH);
    let length = if is_chunked { None } else { incoming.size_hint().exact() };
    Ok(Framing {
        is_chunked,
        length,
        is_reusable: keeps_alive && !is_ambiguous && (is_chunked || length.is_some()),
    })
}

fn header_tokens(headers: &HeaderMap, name: &header::HeaderName) -> Vec<String> {
    headers
        .get_all(name)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(|token| String::from_utf8_lossy(token.trim_ascii()).to_ascii_lowercase())
        .filter(|token| !token.is_empty())
        .collect()
}

/// Takes the stream back from the engine wherever its framing is simple enough to be followed here.
fn body(framing: Framing, mut incoming: Incoming, connection: Http1Connection, sender: Http1Sender) -> Body {
    if framing.is_chunked {
        let chunked = Chunked { incoming, connection, _sender: sender };
        return Body::chunked(chunked, framing.is_reusable);
    }
    let mut early = BytesMut::new();
    let mut context = Context::from_waker(Waker::noop());
    while let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut incoming).poll_frame(&mut context) {
        early.extend_from_slice(frame.data_ref().map_or(&[], Bytes::as_ref));
    }
    drop(incoming);
    let parts = connection.into_parts();
    let mut stream = parts.io.into_inner();
    if early.is_empty() {
        stream.unread(parts.read_buf);
    } else {
        early.extend_from_slice(&parts.read_buf);
        stream.unread(early.freeze());
    }
    match framing.length {
        Some(length) => Body::fixed(stream, length, framing.is_reusable),
        None => Body::until_close(stream),
    }
}
