//! The bytes of a download or of a task's output, while they arrive.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::Stream;
use http::{Method, Response, StatusCode, header};
use hyper::body::{Body, Incoming};

use crate::calls::Client;
use crate::connections::{Connection, Outgoing};
use crate::{ClientError, Endpoint};

/// The bytes from one position on, in order: a [`Stream`] of chunks. Dropping it ends the request; whatever
/// brings them is not affected.
#[derive(Debug)]
pub struct ContentReader {
    endpoint: Endpoint,
    /// `None` once the end is reached.
    open: Option<(Incoming, Connection)>,
    position: u64,
    total: Option<u64>,
}

impl ContentReader {
    pub(crate) async fn open(
        client: &Client,
        target: String,
        offset: u64,
        length: Option<u64>,
    ) -> Result<Self, ClientError> {
        let endpoint = client.endpoint().clone();
        if length == Some(0) {
            return Ok(Self { endpoint, open: None, position: offset, total: None });
        }
        let mut outgoing = client.outgoing(Method::GET, target);
        let range = match length {
            Some(length) => Some(format!("bytes={offset}-{}", offset.saturating_add(length - 1))),
            None if offset > 0 => Some(format!("bytes={offset}-")),
            None => None,
        };
        let is_ranged = range.is_some();
        outgoing.headers.extend(range.map(|range| (header::RANGE, range)));
        let (response, connection) = client.open(&outgoing).await?;
        let total = if is_ranged {
            check_range(&outgoing, &response, offset)?
        } else {
            response.body().size_hint().exact()
        };
        Ok(Self { endpoint, open: Some((response.into_body(), connection)), position: offset, total })
    }

    /// Offset of the next byte.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Bytes of the whole file, where the server of the file has told them.
    #[must_use]
    pub fn total(&self) -> Option<u64> {
        self.total
    }

    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`] when the connection breaks; a new reader may go on at
    /// [`ContentReader::position`].
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, ClientError> {
        std::future::poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await.transpose()
    }
}

impl Stream for ContentReader {
    type Item = Result<Bytes, ClientError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let Some((body, _)) = &mut self.open else { return Poll::Ready(None) };
            match ready!(Pin::new(body).poll_frame(context)) {
                Some(Ok(frame)) => {
                    let Ok(bytes) = frame.into_data() else { continue };
                    self.position += bytes.len() as u64;
                    return Poll::Ready(Some(Ok(bytes)));
                }
                Some(Err(error)) => {
                    self.open = None;
                    let endpoint = self.endpoint.to_string();
                    let source = io::Error::other(error);
                    return Poll::Ready(Some(Err(ClientError::Unreachable { endpoint, source })));
                }
                None => {
                    self.open = None;
                    return Poll::Ready(None);
                }
            }
        }
    }
}

/// A ranged answer has to begin at the asked offset (RFC 9110 section 15.3.7). Answers the file's size where it is told.
fn check_range(
    outgoing: &Outgoing,
    response: &Response<Incoming>,
    offset: u64,
) -> Result<Option<u64>, ClientError> {
    let told = response.headers().get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
    let parsed = told.and_then(|value| value.strip_prefix("bytes ")).and_then(|value| {
        let (range, total) = value.split_once('/')?;
        let (first, _) = range.split_once('-')?;
        Some((first.parse::<u64>().ok()?, total.parse::<u64>().ok()))
    });
    match parsed {
        Some((first, total)) if response.status() == StatusCode::PARTIAL_CONTENT && first == offset => {
            Ok(total)
        }
        _ => Err(ClientError::Protocol {
            call: outgoing.name(),
            detail: format!(
                "asked for bytes from {offset} on, the answer is {} with Content-Range {told:?}",
                response.status()
            ),
        }),
    }
}
