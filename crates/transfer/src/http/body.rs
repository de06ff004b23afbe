//! The bytes of one response, however they are framed.
//!
//! A body of known length, or one that ends with the connection, is read straight from the stream that was taken
//! back from the HTTP engine; chunked and HTTP/2 bodies come as the engine's frames.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use longhaul_contract::{Cause, Failure};
use tokio::io::{AsyncRead, ReadBuf};

use super::failure::{of_hyper, of_socket, transient};
use super::outgoing::Outgoing;
use super::path::Path;
use super::pool::Seat;
use super::stream::Stream;
use crate::ftp::Retrieval;

/// A body that is not wanted is read to its end, for the sake of its connection, only up to this size.
const DISCARD_BYTES_MAX: usize = 16 << 10;

pub(crate) type Http1Connection = http1::Connection<TokioIo<Stream>, Outgoing>;
pub(crate) type Http1Sender = http1::SendRequest<Outgoing>;

pub(crate) struct Body {
    source: Source,
    /// Rest of the last frame.
    frame: Bytes,
    trailers: Option<HeaderMap>,
    is_ended: bool,
    /// Whether the connection may carry another request once the body has ended.
    is_reusable: bool,
    /// Given up last, when the connection has been kept.
    seat: Option<Seat>,
}

enum Source {
    /// Exactly so many more bytes.
    Fixed {
        stream: Stream,
        remaining: u64,
    },
    /// All until the peer closes.
    UntilClose(Stream),
    Chunked(Box<Chunked>),
    Http2(Incoming),
    Ftp(Box<Retrieval>),
    Gone,
}

pub(crate) struct Chunked {
    pub(crate) incoming: Incoming,
    pub(crate) connection: Http1Connection,
    /// Keeps the engine from winding the connection up.
    pub(crate) _sender: Http1Sender,
}

/// Why a body broke off.
#[derive(Debug)]
pub(crate) enum BodyError {
    /// The connection ended before the announced length.
    Truncated,
    /// A body without a length ended, but not by the peer's announcement: it may be incomplete.
    Unannounced,
    Socket(io::Error),
    Engine(hyper::Error),
    /// The peer told why, or what it did tells enough.
    Told(Box<Failure>),
}

impl BodyError {
    pub(crate) fn failure(&self, host: &str) -> Failure {
        let doing = format!("receiving from {host}");
        match self {
            Self::Truncated => transient(
                Cause::Truncated,
                format!("{host} closed the connection before the end of the file"),
            ),
            Self::Unannounced => transient(
                Cause::Truncated,
                format!("{host} gave no length and the connection broke: the file may be incomplete"),
            ),
            Self::Socket(error) => of_socket(error, &doing),
            Self::Engine(error) => of_hyper(error, &doing),
            Self::Told(failure) => (**failure).clone(),
        }
    }
}

impl Body {
    pub(crate) const fn fixed(stream: Stream, length: u64, is_reusable: bool) -> Self {
        Self::new(Source::Fixed { stream, remaining: length }, is_reusable)
    }

    pub(crate) const fn until_close(stream: Stream) -> Self {
        Self::new(Source::UntilClose(stream), false)
    }

    pub(crate) fn chunked(chunked: Chunked, is_reusable: bool) -> Self {
        Self::new(Source::Chunked(Box::new(chunked)), is_reusable)
    }

    pub(crate) const fn http2(incoming: Incoming) -> Self {
        Self::new(Source::Http2(incoming), false)
    }

    pub(crate) fn ftp(retrieval: Retrieval) -> Self {
        Self::new(Source::Ftp(Box::new(retrieval)), false)
    }

    /// Of an answer that brings no bytes.
    pub(crate) const fn none() -> Self {
        Self::new(Source::Gone, false)
    }

    const fn new(source: Source, is_reusable: bool) -> Self {
        Self { source, frame: Bytes::new(), trailers: None, is_ended: false, is_reusable, seat: None }
    }

    /// The seat the exchange was made in; it is free again when the body is gone.
    pub(crate) fn sit(&mut self, seat: Seat) {
        self.seat = Some(seat);
    }

    /// Fields behind the body; complete once it has ended.
    pub(crate) const fn trailers(&self) -> Option<&HeaderMap> {
        self.trailers.as_ref()
    }

    /// What is known of the way the bytes come; nothing where other requests share it.
    pub(crate) fn path(&self) -> Option<Path> {
        match &self.source {
            Source::Fixed { stream, .. } | Source::UntilClose(stream) => stream.path(),
            Source::Ftp(retrieval) => retrieval.path(),
            Source::Chunked(_) | Source::Http2(_) | Source::Gone => None,
        }
    }

    /// Resolves when another worker waits for this body's seat and it may be called back.
    pub(crate) fn recalled(&self) -> impl Future<Output = ()> + Send + 'static + use<> {
        let recalled = self.seat.as_ref().map(Seat::recalled);
        async move {
            match recalled {
                Some(recalled) => recalled.await,
                None => std::future::pending().await,
            }
        }
    }

    /// Resolves when a read would not wait. Costs no memory meanwhile, unlike a read, which needs a buffer.
    pub(crate) fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        if self.is_ended || !self.frame.is_empty() {
            return Poll::Ready(Ok(()));
        }
        match &mut self.source {
            Source::Fixed { remaining: 0, .. } | Source::Gone => Poll::Ready(Ok(())),
            Source::Fixed { stream, .. } => match ready!(stream.poll_ready(context)) {
                Ok(()) => Poll::Ready(Ok(())),
                Err(error) => Poll::Ready(Err(broken(error, BodyError::Truncated))),
            },
            Source::UntilClose(stream) => match ready!(stream.poll_ready(context)) {
                Ok(()) => Poll::Ready(Ok(())),
                Err(error) => Poll::Ready(Err(broken(error, BodyError::Unannounced))),
            },
            Source::Ftp(retrieval) => retrieval.poll_ready(context),
            Source::Chunked(_) | Source::Http2(_) => self.poll_frame(context),
        }
    }

    /// Reads into `buffer`. Ready without a byte means the end of the body.
    pub(crate) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<Result<usize, BodyError>> {
        debug_assert!(!buffer.is_empty(), "an empty read cannot be told from the end");
        match &mut self.source {
            Source::Fixed { stream, remaining } => {
                let wanted = buffer.len().min(usize::try_from(*remaining).unwrap_or(usize::MAX));
                if wanted == 0 {
                    self.is_ended = true;
                    return Poll::Ready(Ok(0));
                }
                let mut target = ReadBuf::new(&mut buffer[..wanted]);
                match ready!(Pin::new(stream).poll_read(context, &mut target)) {
                    Ok(()) if target.filled().is_empty() => Poll::Ready(Err(BodyError::Truncated)),
                    Ok(()) => {
                        *remaining -= target.filled().len() as u64;
                        Poll::Ready(Ok(target.filled().len()))
                    }
                    Err(error) => Poll::Ready(Err(broken(error, BodyError::Truncated))),
                }
            }
            Source::UntilClose(stream) => {
                let mut target = ReadBuf::new(buffer);
                match ready!(Pin::new(stream).poll_read(context, &mut target)) {
                    Ok(()) => {
                        self.is_ended = target.filled().is_empty();
                        Poll::Ready(Ok(target.filled().len()))
                    }
                    Err(error) => Poll::Ready(Err(broken(error, BodyError::Unannounced))),
                }
            }
            Source::Chunked(_) | Source::Http2(_) => {
                if self.frame.is_empty() && !self.is_ended {
                    ready!(self.poll_frame(context))?;
                }
                let count = self.frame.len().min(buffer.len());
                buffer[..count].copy_from_slice(&self.frame[..count]);
                self.frame.advance(count);
                Poll::Ready(Ok(count))
            }
            Source::Ftp(retrieval) => retrieval.poll_read(context, buffer),
            Source::Gone => Poll::Ready(Ok(0)),
        }
    }

    /// Fetches the next frame that holds bytes, or notes the end.
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        loop {
            let next = match &mut self.source {
                Source::Http2(incoming) => ready!(Pin::new(incoming).poll_frame(context)),
                Source::Chunked(chunked) => ready!(chunked.poll_frame(context)),
                Source::Fixed { .. } | Source::UntilClose(_) | Source::Ftp(_) | Source::Gone => None,
            };
            match next {
                None => {
                    self.is_ended = true;
                    return Poll::Ready(Ok(()));
                }
                Some(Err(error)) if error.is_incomplete_message() => {
                    return Poll::Ready(Err(BodyError::Truncated));
                }
                Some(Err(error)) => return Poll::Ready(Err(BodyError::Engine(error))),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if data.is_empty() => {}
                    Ok(data) => {
                        self.frame = data;
                        return Poll::Ready(Ok(()));
                    }
                    Err(other) => self.trailers = other.into_trailers().ok().or(self.trailers.take()),
                },
            }
        }
    }

    /// Lets go of the body: after its end the connection is kept for the next request, else it is closed.
    pub(crate) fn finish(mut self) {
        let Some(seat) = self.seat.take() else { return };
        match std::mem::replace(&mut self.source, Source::Gone) {
            Source::Fixed { stream, remaining: 0 } if self.is_reusable && !stream.has_early_bytes() => {
                seat.keep(stream);
            }
            Source::Chunked(chunked) if self.is_reusable && self.is_ended => {
                let parts = chunked.connection.into_parts();
                if parts.read_buf.is_empty() {
                    seat.keep(parts.io.into_inner());
                }
            }
            _ => {}
        }
    }

    /// Lets go of a body nobody wants, keeping the connection if the rest has arrived already and is small.
    pub(crate) fn discard(mut self) {
        let mut waste = vec![0; DISCARD_BYTES_MAX];
        let mut context = Context::from_waker(Waker::noop());
        let mut count = 0;
        while count < DISCARD_BYTES_MAX {
            match self.poll_read(&mut context, &mut waste) {
                Poll::Ready(Ok(0)) => return self.finish(),
                Poll::Ready(Ok(read)) => count += read,
                Poll::Ready(Err(_)) | Poll::Pending => return,
            }
        }
    }
}

/// TLS tells a connection that ended without announcement as an unexpected end of file.
fn broken(error: io::Error, at_end: BodyError) -> BodyError {
    if error.kind() == io::ErrorKind::UnexpectedEof { at_end } else { BodyError::Socket(error) }
}

impl Chunked {
    fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, hyper::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(context) {
            return Poll::Ready(frame);
        }
        let driven = self.connection.poll_without_shutdown(context);
        match (Pin::new(&mut self.incoming).poll_frame(context), driven) {
            (Poll::Ready(frame), _) => Poll::Ready(frame),
            (Poll::Pending, Poll::Ready(Err(error))) => Poll::Ready(Some(Err(error))),
            (Poll::Pending, Poll::Ready(Ok(()))) => Poll::Ready(None),
            (Poll::Pending, Poll::Pending) => Poll::Pending,
        }
    }
}
