//! `GET …/content`: the bytes of a download, also while they still come (GetResultStreamAt,
//! GetResultRandomAccessStreamReference).
//!
//! What is there is sent, what is not is waited for and fetched first. A reader outlives pauses, retries and the
//! publication; it is cut off when the file on the server changed, because it would get bytes of two versions.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use longhaul_contract::{ByteRange, ErrorCode, OperationId, Receipt, ResponseInformation, TransferStatus};
use longhaul_store::StoredOperation;
use longhaul_transfer::Handle;
use longhaul_transfer::transfers::ReadError;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::content_range::{Asked, parse_range};
use super::details::newest_response;
use super::extract::{Id, Target};
use super::problems::Problems;
use super::refused::{Answer, Refused};
use super::rooms::Rooms;
use crate::identity::Caller;
use crate::metrics::Counted;
use crate::news::Bell;
use crate::view;

/// Bytes handed on at one time.
const CHUNK: usize = 256 << 10;

/// What is asked for ahead of the reader.
const AHEAD: u64 = 4 << 20;

/// How long the head of the answer waits for the size to become known.
const SIZE_WAIT: Duration = Duration::from_secs(30);

/// The bytes of the file, from `Range` or from the start. A range that has not come yet is waited for and fetched next.
#[utoipa::path(
    get,
    path = "/background-transfers/downloads/{id}/content",
    tag = "downloads",
    operation_id = "getDownloadContent",
    params(
        ("id" = OperationId, Path, description = "Id of the operation"),
        ("Range" = Option<String>, Header, description = "One range of bytes (RFC 9110 section 14.2)")
    ),
    responses(
        (status = 200, description = "The whole file", content_type = "application/octet-stream"),
        (status = 206, description = "The range", content_type = "application/octet-stream"),
        Problems
    )
)]
pub(crate) async fn content(
    State(rooms): State<Arc<Rooms>>,
    caller: Caller,
    Id(target): Id,
    headers: HeaderMap,
) -> Answer<Response> {
    let permit = Arc::clone(&rooms.streams).try_acquire_owned().map_err(|_| {
        Refused::new(ErrorCode::TooManyRequests, "too many readers of events and content at one time")
    })?;
    let bell = rooms.news.watch(target.id);
    let mut reader = Reader {
        _counted: Counted::new(&rooms.metrics.streams),
        rooms: Arc::clone(&rooms),
        caller,
        target,
        bell,
        version: None,
        file: None,
        position: 0,
        end: None,
        _room: permit,
    };
    let total = reader.total().await?;
    let response = reader.known_response().await?;
    let asked = headers.get(header::RANGE).filter(|_| !headers.contains_key(header::IF_RANGE));
    let asked = match (asked, total) {
        (Some(range), Some(total)) => parse_range(range, total),
        _ => Asked::Whole,
    };
    let (status, length) = match asked {
        Asked::Whole => (StatusCode::OK, total),
        Asked::Part { first, last } => {
            reader.position = first;
            (StatusCode::PARTIAL_CONTENT, Some(last - first + 1))
        }
        Asked::Unsatisfiable => return Ok(unsatisfiable(total)),
    };
    reader.end = length.map(|length| reader.position + length);
    let first = reader.position;
    let body = if length == Some(0) { Body::empty() } else { Body::from_stream(reader.into_stream()) };
    let mut answer = (status, body).into_response();
    let headers = answer.headers_mut();
    fill_headers(headers, response.as_ref())?;
    if let Some(length) = length {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        if let (StatusCode::PARTIAL_CONTENT, Some(total)) = (status, total) {
            let range = format!("bytes {first}-{}/{total}", first + length - 1);
            headers.insert(header::CONTENT_RANGE, value(range)?);
        }
    }
    Ok(answer)
}

fn value(text: String) -> Answer<HeaderValue> {
    HeaderValue::try_from(text).map_err(|error| Refused::internal(&error))
}

/// What came from elsewhere is never run: no sniffing, no scripts, no access to our origin.
pub(super) fn fill_headers(headers: &mut HeaderMap, response: Option<&ResponseInformation>) -> Answer<()> {
    let media_type = response
        .and_then(|response| response.headers.iter().find(|(name, _)| name == "content-type"))
        .and_then(|(_, value)| HeaderValue::try_from(value).ok());
    let media_type = media_type.unwrap_or_else(|| HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CONTENT_TYPE, media_type);
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CONTENT_SECURITY_POLICY, value("sandbox; default-src 'none'".to_owned())?);
    Ok(())
}

pub(super) fn unsatisfiable(total: Option<u64>) -> Response {
    let total = total.unwrap_or_default();
    let detail = format!("the file has {total} bytes");
    let mut response = Refused::new(ErrorCode::RangeNotSatisfiable, detail).into_response();
    if let Ok(range) = HeaderValue::try_from(format!("bytes */{total}")) {
        response.headers_mut().insert(header::CONTENT_RANGE, range);
    }
    response
}

/// What tells one version of the remote file from another.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Version {
    restarts: u32,
    validators: Vec<(String, String)>,
}

impl Version {
    fn new(restarts: u32, response: Option<&ResponseInformation>) -> Self {
        let headers = response.map(|response| response.headers.as_slice()).unwrap_or_default();
        let names = ["etag", "last-modified"];
        let validators = headers.iter().filter(|(name, _)| names.contains(&name.as_str())).cloned().collect();
        Self { restarts, validators }
    }

    fn of_worker(handle: &Handle) -> Self {
        Self::new(handle.restarts(), handle.response().as_ref())
    }

    fn of_file(receipt: &Receipt, response: Option<&ResponseInformation>) -> Self {
        Self::new(receipt.restarts, response)
    }
}

struct Reader {
    rooms: Arc<Rooms>,
    caller: Caller,
    target: Target,
    bell: Bell,
    /// Of the bytes that were handed on.
    version: Option<Version>,
    /// The published file, once it is there.
    file: Option<Arc<File>>,
    position: u64,
    /// Where to end; unknown for a body of unknown length.
    end: Option<u64>,
    _room: OwnedSemaphorePermit,
    _counted: Counted,
}

impl Reader {
    /// The size of the file: waits a while until the server has told it; `None` when it does not.
    async fn total(&mut self) -> Answer<Option<u64>> {
        let deadline = Instant::now() + SIZE_WAIT;
        loop {
            let record = self.record().await?;
            if let Some(size) = record.finished.as_ref().and_then(|finished| finished.receipt.size) {
                return Ok(Some(size));
            }
            if record.total > 0 {
                return Ok(Some(record.total));
            }
            if let Some(handle) = self.rooms.workers.handle(self.target.id) {
                let total = handle.progress().total_bytes_to_receive;
                if total > 0 {
                    return Ok(Some(total));
                }
                if handle.response().is_some() {
                    return Ok(None);
                }
            }
            if tokio::time::timeout_at(deadline, self.bell.rang()).await.is_err() {
                return Ok(None);
            }
        }
    }

    async fn record(&self) -> Answer<StoredOperation> {
        let record = self.rooms.record(&self.caller, self.target).await?;
        match view::final_state(&record.row.phase) {
            Some(state) if state.status != TransferStatus::Completed => {
                let detail = format!("the operation is {}: it has no content", state.status);
                Err(Refused::new(ErrorCode::InvalidState, detail))
            }
            _ => Ok(record),
        }
    }

    async fn known_response(&self) -> Answer<Option<ResponseInformation>> {
        let record = self.record().await?;
        newest_response(&self.rooms, self.target.id, record).await
    }

    fn into_stream(self) -> impl futures_util::Stream<Item = io::Result<Bytes>> {
        stream::unfold(Some(self), |reader| async move {
            let mut reader = reader?;
            match reader.next().await {
                Ok(Some(bytes)) => Some((Ok(bytes), Some(reader))),
                Ok(None) => None,
                // The error cuts the connection off, so that nobody takes what came for the whole.
                Err(error) => Some((Err(error), None)),
            }
        })
    }

    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        let mut stopping = self.rooms.stopping.clone();
        tokio::select! {
            bytes = self.read() => bytes,
            _ = stopping.wait_for(|stops| *stops) => Err(io::Error::other("the service is stopping")),
        }
    }

    /// Reads on from wherever the bytes are now; `None` at the end.
    async fn read(&mut self) -> io::Result<Option<Bytes>> {
        if self.end.is_some_and(|end| self.position >= end) {
            return Ok(None);
        }
        loop {
            if let Some(file) = self.file.clone() {
                return self.read_file(file).await;
            }
            if let Some(handle) = self.rooms.workers.handle(self.target.id)
                && let Some(read) = self.read_worker(&handle).await?
            {
                return Ok(read);
            }
            let record = self.record().await;
            let record = record.map_err(|refused| io::Error::other(refused.problem().to_string()))?;
            if let Some(finished) = record.finished {
                self.check_version(&Version::of_file(&finished.receipt, finished.response.as_ref()))?;
                let path =
                    finished.receipt.path.or_else(|| record.spec.files().first().map(ToString::to_string));
                let path = path.ok_or_else(|| io::Error::other("it has no file"))?;
                let file = blocking(move || open(&path)).await?;
                self.file = Some(Arc::new(file));
            } else if self.rooms.workers.handle(self.target.id).is_none() {
                self.bell.rang().await;
            }
        }
    }

    fn wanted(&self) -> u64 {
        self.end.map_or(CHUNK as u64, |end| (end - self.position).min(CHUNK as u64))
    }

    /// The outer `None` means that the worker has ended, the inner one that the file has.
    async fn read_worker(&mut self, handle: &Handle) -> io::Result<Option<Option<Bytes>>> {
        let ahead = self.end.map_or(AHEAD, |end| (end - self.position).min(AHEAD));
        if handle.ranges().available_from(self.position) == 0 {
            handle.want(ByteRange::new(self.position, ahead));
        }
        let length = usize::try_from(self.wanted()).unwrap_or(CHUNK);
        match handle.read_at(self.position, length).await {
            Ok(bytes) => {
                self.check_version(&Version::of_worker(handle))?;
                self.position += bytes.len() as u64;
                Ok(Some(Some(bytes)))
            }
            Err(ReadError::Ended) => Ok(None),
            Err(ReadError::BehindEnd { .. }) if self.end.is_none() => Ok(Some(None)),
            Err(error) => Err(io::Error::other(error)),
        }
    }

    async fn read_file(&mut self, file: Arc<File>) -> io::Result<Option<Bytes>> {
        let (position, length) = (self.position, usize::try_from(self.wanted()).unwrap_or(CHUNK));
        let bytes = blocking(move || {
            let mut buffer = vec![0; length];
            let count = file.read_at(&mut buffer, position)?;
            buffer.truncate(count);
            Ok(Bytes::from(buffer))
        })
        .await?;
        self.position += bytes.len() as u64;
        match (bytes.is_empty(), self.end) {
            (true, Some(_)) => {
                Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file has become shorter"))
            }
            (true, None) => Ok(None),
            (false, _) => Ok(Some(bytes)),
        }
    }

    fn check_version(&mut self, version: &Version) -> io::Result<()> {
        match &self.version {
            Some(known) if known != version => Err(io::Error::other("the file on the server has changed")),
            Some(_) => Ok(()),
            None => {
                self.version = Some(version.clone());
                Ok(())
            }
        }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// Never waits for a writer, should a pipe have come to have the name.
fn open(path: &str) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOFOLLOW;
    let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
    let file = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::other("it is no regular file any more"))
    }
}
