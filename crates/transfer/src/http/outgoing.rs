//! The body of a request: a few bytes at hand, or a stream whose course others can watch.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::task::AtomicWaker;
use http::{HeaderMap, StatusCode};
use http_body::{Frame, SizeHint};
use http_body_util::Full;
use longhaul_contract::{Cause, Failure};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::failure::transient;
use super::stall::StallWatch;

/// How long the server may take to say 100 before the body is sent all the same (RFC 9110 section 10.1.1 names no time).
const CONTINUE_MAX: Duration = Duration::from_secs(1);
/// So many bytes of a body earn the server one more interim response.
const BYTES_PER_INTERIM: u64 = 64 << 10;

/// What a request carries.
pub(crate) enum Outgoing {
    Whole(Full<Bytes>),
    Streamed(Streamed),
}

/// A body that comes piece by piece.
pub(crate) struct Streamed {
    /// Never locked: it makes the body shareable, as what holds it has to be.
    pieces: Mutex<BoxStream<'static, io::Result<Bytes>>>,
    course: Arc<Course>,
}

/// How far a streamed body has come, shared by the body and by those who watch it.
pub(crate) struct Course {
    length: u64,
    handed: AtomicU64,
    /// Whether bytes may be sent; false while the server is to say 100 first.
    is_open: AtomicBool,
    /// The server did not say it, so that bytes were sent all the same.
    was_forced_open: AtomicBool,
    is_abandoned: AtomicBool,
    /// The engine has let go of the body.
    is_dropped: AtomicBool,
    body: AtomicWaker,
    changed: Notify,
    interims: AtomicU64,
    own: Mutex<OwnTime>,
    failure: Mutex<Option<Failure>>,
}

/// Time that this side did not want to send, because of a rate limit or a busy disk.
#[derive(Default)]
struct OwnTime {
    past: Duration,
    since: Option<Instant>,
}

/// While it lives, this side does not want to send.
pub(crate) struct Holding<'c>(&'c Course);

/// How long a server may let us wait.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// From the last byte of the request to the first of the response.
    pub(crate) response: Duration,
    pub(crate) stall: Duration,
    pub(crate) stall_bytes_per_second: u64,
}

/// Called with the status and the fields of each interim response.
#[derive(Clone)]
pub(crate) struct Interim(pub(crate) Arc<InterimHook>);

type InterimHook = dyn Fn(StatusCode, &HeaderMap) + Send + Sync;

impl Course {
    /// `waits_for_continue`: nothing is sent before [`Self::heard`] was told of a 100, or a while has passed.
    pub(crate) fn new(length: u64, waits_for_continue: bool) -> Arc<Self> {
        Arc::new(Self {
            length,
            handed: AtomicU64::new(0),
            is_open: AtomicBool::new(!waits_for_continue),
            was_forced_open: AtomicBool::new(false),
            is_abandoned: AtomicBool::new(false),
            is_dropped: AtomicBool::new(false),
            body: AtomicWaker::new(),
            changed: Notify::new(),
            interims: AtomicU64::new(0),
            own: Mutex::default(),
            failure: Mutex::new(None),
        })
    }

    /// Bytes the engine has taken.
    pub(crate) fn handed(&self) -> u64 {
        self.handed.load(Ordering::Acquire)
    }

    /// Whether the engine has taken all bytes.
    pub(crate) fn is_done(&self) -> bool {
        self.handed() >= self.length
    }

    pub(crate) fn was_forced_open(&self) -> bool {
        self.was_forced_open.load(Ordering::Relaxed)
    }

    fn open(&self) {
        self.is_open.store(true, Ordering::Release);
        self.body.wake();
        self.changed.notify_waiters();
    }

    /// An interim response came.
    pub(crate) fn heard(&self, status: StatusCode) {
        self.interims.fetch_add(1, Ordering::Relaxed);
        if matches!(status.as_u16(), 100 | 104) {
            self.open();
        }
    }

    /// Interim responses the server may send by now beside those of any request.
    pub(crate) fn interims_earned(&self) -> u32 {
        u32::try_from(self.handed() / BYTES_PER_INTERIM).unwrap_or(u32::MAX)
    }

    /// The body ends in an error at once.
    pub(crate) fn abandon(&self) {
        self.is_abandoned.store(true, Ordering::Release);
        self.body.wake();
    }

    /// Why the bytes could not be had.
    pub(crate) fn fail(&self, failure: Failure) {
        self.failure_slot().get_or_insert(failure);
    }

    pub(crate) fn failure(&self) -> Option<Failure> {
        self.failure_slot().clone()
    }

    fn failure_slot(&self) -> MutexGuard<'_, Option<Failure>> {
        self.failure.lock().expect("no holder of this lock panics")
    }

    fn own(&self) -> MutexGuard<'_, OwnTime> {
        self.own.lock().expect("no holder of this lock panics")
    }

    pub(crate) fn hold(&self) -> Holding<'_> {
        self.own().since = Some(Instant::now());
        Holding(self)
    }

    fn own_time(&self) -> Duration {
        let own = self.own();
        own.past + own.since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Resolves when all bytes were taken; false if the engine has let go before.
    pub(crate) async fn done(&self) -> bool {
        loop {
            let changed = self.changed.notified();
            if self.is_done() {
                return true;
            }
            if self.is_dropped.load(Ordering::Acquire) {
                return false;
            }
            changed.await;
        }
    }

    async fn opened(&self) {
        loop {
            let changed = self.changed.notified();
            if self.is_open.load(Ordering::Acquire) {
                return;
            }
            changed.await;
        }
    }

    /// Resolves when the server has let us wait for too long.
    pub(crate) async fn overdue(&self, patience: Patience, host: &str) -> Failure {
        if tokio::time::timeout(CONTINUE_MAX, self.opened()).await.is_err() {
            self.was_forced_open.store(true, Ordering::Relaxed);
            self.open();
        }
        let mut watch = StallWatch::new(patience.stall, patience.stall_bytes_per_second);
        while !self.is_done() {
            let (handed, own, begun) = (self.handed(), self.own_time(), Instant::now());
            let wait = watch.patience().max(Duration::from_millis(1));
            let is_whole = tokio::time::timeout(wait, self.done()).await;
            if is_whole == Ok(false) {
                break;
            }
            watch.arrived(self.handed() - handed);
            let waited = begun.elapsed().saturating_sub(self.own_time() - own);
            if is_whole.is_err() && watch.is_stalled(waited) {
                return transient(
                    Cause::Stalled,
                    format!(
                        "{host} took fewer than {} bytes a second over {} s",
                        patience.stall_bytes_per_second,
                        patience.stall.as_secs_f32()
                    ),
                );
            }
        }
        let mut heard = self.interims.load(Ordering::Relaxed);
        loop {
            tokio::time::sleep(patience.response).await;
            // A server that speaks is at work on it.
            let now = self.interims.load(Ordering::Relaxed);
            if std::mem::replace(&mut heard, now) == now {
                return transient(
                    Cause::ResponseTimeout,
                    format!("{host} did not answer within {} s", patience.response.as_secs_f32()),
                );
            }
        }
    }
}

impl Drop for Holding<'_> {
    fn drop(&mut self) {
        let mut own = self.0.own();
        if let Some(since) = own.since.take() {
            own.past += since.elapsed();
        }
    }
}

impl Outgoing {
    pub(crate) fn whole(bytes: Bytes) -> Self {
        Self::Whole(Full::new(bytes))
    }

    /// `pieces` hold exactly as many bytes as the course is long.
    pub(crate) fn streamed(pieces: BoxStream<'static, io::Result<Bytes>>, course: Arc<Course>) -> Self {
        Self::Streamed(Streamed { pieces: Mutex::new(pieces), course })
    }
}

impl Streamed {
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let course = &self.course;
        course.body.register(context.waker());
        if course.is_abandoned.load(Ordering::Acquire) {
            return Poll::Ready(Some(Err(io::ErrorKind::Interrupted.into())));
        }
        if !course.is_open.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        let pieces = self.pieces.get_mut().expect("no holder of this lock panics");
        let piece = ready!(pieces.as_mut().poll_next(context));
        if let Some(Ok(piece)) = &piece {
            course.handed.fetch_add(piece.len() as u64, Ordering::AcqRel);
            course.changed.notify_waiters();
        }
        Poll::Ready(piece)
    }
}

impl Drop for Streamed {
    fn drop(&mut self) {
        self.course.is_dropped.store(true, Ordering::Release);
        self.course.changed.notify_waiters();
    }
}

impl http_body::Body for Outgoing {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match self.get_mut() {
            Self::Whole(body) => Pin::new(body).poll_frame(context).map_err(|never| match never {}),
            Self::Streamed(body) => {
                body.poll_piece(context).map(|piece| piece.map(|piece| piece.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.is_end_stream(),
            Self::Streamed(body) => body.course.is_done(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => body.size_hint(),
            Self::Streamed(body) => {
                SizeHint::with_exact(body.course.length.saturating_sub(body.course.handed()))
            }
        }
    }
}
