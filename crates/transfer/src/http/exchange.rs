//! One request and the head of its response on one HTTP/1.1 connection.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
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
use super::outgoing::{Course, Interim};
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
    if let Some(word) = stream.last_word() {
        let failure = match word {
            Ok(()) => transient(Cause::ConnectionClosed, format!("{host} had closed the connection")),
            Err(error) => of_socket(&error, &format!("the request to {host}")),
        };
        return Err(ExchangeError { failure, is_unanswered: true });
    }
    let course = ask.extensions_mut().remove::<Arc<Course>>();
    let interim = watch_interims(&mut ask, course.clone());
    let blocked = stream.write_blocked();
    if course.is_some() {
        stream.limit_unsent();
    }
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
    let is_sent = match &course {
        None => true,
        Some(course) if response.status().is_success() => {
            send_rest(&mut connection, course, &blocked, host).await?;
            true
        }
        // Whatever the rest is, it would be in vain.
        Some(course) => course.is_done(),
    };
    let (parts, incoming) = response.into_parts();
    let mut framing = framing(&parts.headers, parts.version, &incoming).map_err(|problem| ExchangeError {
        failure: transient(Cause::InvalidResponse, format!("{host} {problem}")),
        is_unanswered: false,
    })?;
    framing.is_reusable &= is_sent;
    let head = Head { status: parts.status.as_u16(), headers: parts.headers, length: framing.length };
    Ok((head, body(framing, incoming, connection, sender)))
}

/// The interim responses of one request.
struct Interims {
    count: Arc<AtomicU32>,
    course: Option<Arc<Course>>,
}

impl Interims {
    fn are_too_many(&self) -> bool {
        let earned = self.course.as_ref().map_or(0, |course| course.interims_earned());
        self.count.load(Ordering::Relaxed) > INTERIM_MAX.saturating_add(earned)
    }
}

fn watch_interims(ask: &mut Ask, course: Option<Arc<Course>>) -> Interims {
    let count = Arc::new(AtomicU32::new(0));
    let hook = ask.extensions_mut().remove::<Interim>();
    let (counted, watched) = (Arc::clone(&count), course.clone());
    hyper::ext::on_informational(ask, move |response| {
        counted.fetch_add(1, Ordering::Relaxed);
        if let Some(course) = &watched {
            course.heard(response.status());
        }
        if let Some(Interim(hook)) = &hook {
            hook(response.status(), response.headers());
        }
    });
    Interims { count, course }
}

/// Goes on with a body that the server has answered before its end, until the socket has all of it.
async fn send_rest(
    connection: &mut Http1Connection,
    course: &Course,
    blocked: &AtomicBool,
    host: &str,
) -> Result<(), ExchangeError> {
    std::future::poll_fn(|context| {
        let is_sent = || course.is_done() && !blocked.load(Ordering::Relaxed);
        match connection.poll_without_shutdown(context) {
            Poll::Pending if is_sent() => Poll::Ready(Ok(())),
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(())) if is_sent() => Poll::Ready(Ok(())),
            Poll::Ready(Ok(())) => Poll::Ready(Err(ExchangeError {
                failure: of_socket(&io::ErrorKind::UnexpectedEof.into(), &format!("sending to {host}")),
                is_unanswered: false,
            })),
            Poll::Ready(Err(error)) => Poll::Ready(Err(broken(&error, host))),
        }
    })
    .await
}

fn poll_head(
    answer: Pin<&mut impl Future<Output = hyper::Result<Response<Incoming>>>>,
    connection: &mut Http1Connection,
    interim: &Interims,
    host: &str,
    context: &mut Context<'_>,
) -> Poll<Result<Response<Incoming>, ExchangeError>> {
    let driven = connection.poll_without_shutdown(context);
    if interim.are_too_many() {
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
