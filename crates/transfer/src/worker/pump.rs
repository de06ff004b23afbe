//! Moves one response's bytes into the part file.

use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use longhaul_contract::{ByteRange, Cause, Failure};
use tokio::sync::watch;
use tokio::time::{Instant, Sleep};

use super::desk::{Desk, PieceIndex};
use super::plan::LeaseId;
use super::rein::Rein;
use crate::digest::{DigestField, MultiHasher};
use crate::files::{Buffer, PartFile};
use crate::http::body::{Body, BodyError};
use crate::http::client::ONE_SLEEP;
use crate::http::failure::transient;
use crate::http::stall::StallWatch;

/// What is received goes to disk at the latest after this time, or when so much has gathered.
const LINGER: Duration = Duration::from_millis(500);
const GATHER_BYTES: usize = 256 << 10;
/// Buffers grow and shrink with the speed of the connection between these sizes.
const BUFFER_BYTES_MIN: usize = 16 << 10;
const BUFFER_BYTES_FIRST: usize = 64 << 10;
const BUFFER_BYTES_MAX: usize = 1 << 20;
/// How often the kernel is asked how the connection is doing.
const PATH_INTERVAL: Duration = Duration::from_millis(50);
/// After a change of the network a connection has this long to show that it is alive.
const PROOF_OF_LIFE: Duration = Duration::from_secs(10);
/// So many equal bytes on one side of a seam show that both sides are of one version.
pub(super) const SEAM_BYTES: u64 = 1024;

/// A response that was accepted, and what of it is wanted.
pub(crate) struct Flow {
    pub(crate) body: Body,
    pub(crate) lease: LeaseId,
    /// Where the body begins: at the lease's position, or before it.
    pub(crate) start: u64,
    /// Where the body has to end, if its head told.
    pub(crate) end: Option<u64>,
    pub(crate) host: String,
    /// As receipts show it.
    pub(crate) url: String,
    pub(crate) remote: SocketAddr,
    pub(crate) local: SocketAddr,
    /// Digests of this very message (RFC 9530 section 2).
    pub(crate) content_digests: Vec<DigestField>,
    pub(crate) rein: Rein,
}

/// How a flow ended.
#[derive(Debug)]
pub(crate) enum FlowEnd {
    /// All that was wanted of it came.
    Done { trailers: Option<http::HeaderMap> },
    /// A body without announced length came to its end.
    EndOfFile { total: u64, trailers: Option<http::HeaderMap> },
    /// The connection did not bring what it promised.
    Broken(Failure),
    /// Another worker waits for the seat.
    Recalled,
    /// The worker was asked to stop; what had come is written.
    Stopped,
    /// Its bytes differ from those at hand, or from their own digest.
    Mismatch(String),
    /// It belongs to another version than the bytes at hand.
    Changed(String),
    /// No further request may be made now.
    NoSeat,
    /// The server would not have a further request.
    Unwelcome(String),
    /// The file cannot be written or read.
    File(Failure),
}

struct Pump {
    desk: Arc<Desk>,
    part: PartFile,
    flow: Flow,
    piece: Option<PieceIndex>,
    stall: StallWatch,
    network: watch::Receiver<u64>,
    /// How often the machine had slept when the flow began.
    sleeps: u64,
    /// Resolves when the flow is to end soon, and how.
    let_go: Pin<Box<dyn Future<Output = FlowEnd> + Send>>,
    is_let_go: Option<FlowEnd>,
    linger: Pin<Box<Sleep>>,
    wanted: usize,
    /// Bytes the rate limit has granted and that were not read yet.
    granted: usize,
    /// Why the body broke off; told after what came before it is written.
    failed: Option<Break>,
    is_doubted: bool,
    hasher: Option<MultiHasher>,
    /// When the kernel is asked for the path next; never where nobody wants to know.
    path_due: Option<Instant>,
    /// When something last came, and the longest pause since the path was looked at.
    arrived: Instant,
    gap: Duration,
}

enum Break {
    Body(BodyError),
    Stalled,
}

/// Receives until the lease is fulfilled or the body ends.
pub(crate) async fn pump(desk: Arc<Desk>, flow: Flow) -> FlowEnd {
    let part = desk.part().expect("a response is accepted with a part file at hand").clone();
    let under_way = Arc::clone(&desk);
    let _guard = under_way.begin_flow();
    let mut pump = Pump::new(desk, part, flow);
    let end = match pump.run().await {
        Ok(end) | Err(end) => end,
    };
    pump.finish(end)
}

impl Pump {
    fn new(desk: Arc<Desk>, part: PartFile, flow: Flow) -> Self {
        let stall = stall_watch(&desk, desk.settings.stall_timeout);
        let (position, _) = desk.plan().room(flow.lease);
        let piece = desk.begin_piece(position, &flow.url, &flow.remote.to_string());
        let algorithms: Vec<_> = flow.content_digests.iter().map(|digest| digest.algorithm).collect();
        let network = desk.client.network();
        let sleeps = *network.borrow() / ONE_SLEEP;
        Self {
            network,
            sleeps,
            let_go: let_go(&desk, &flow),
            is_let_go: None,
            linger: Box::pin(tokio::time::sleep(Duration::ZERO)),
            wanted: BUFFER_BYTES_FIRST,
            granted: 0,
            failed: None,
            is_doubted: false,
            hasher: (!algorithms.is_empty()).then(|| MultiHasher::new(&algorithms)),
            path_due: (desk.settings.segments_max > 1).then(Instant::now),
            arrived: Instant::now(),
            gap: Duration::ZERO,
            desk,
            part,
            flow,
            piece,
            stall,
        }
    }

    async fn run(&mut self) -> Result<FlowEnd, FlowEnd> {
        let (position, _) = self.desk.plan().room(self.flow.lease);
        let compared = self.compare(self.flow.start, position).await?;
        // Whoever switched comparing off has no seam to prove.
        if self.desk.settings.overlap_bytes > 0 {
            let is_proved = self.is_proof(compared, position);
            self.desk.plan().note_seams(self.flow.lease, is_proved);
        }
        loop {
            let (position, room) = self.desk.plan().room(self.flow.lease);
            if room == Some(0) {
                return self.fulfilled(position).await;
            }
            if let Some(end) = self.is_let_go.take() {
                return Ok(end);
            }
            self.await_bytes().await?;
            let room = room.map_or(usize::MAX, |room| usize::try_from(room).unwrap_or(usize::MAX));
            let wanted = self.wanted.min(room);
            // Leave to read comes before the memory, which others may need meanwhile.
            if self.granted == 0 && self.desk.live.rate.is_limited() {
                self.granted = self.desk.live.rate.acquire(wanted).await;
            }
            let mut buffer = self.part.buffer(position, wanted).await;
            let is_ended = self.fill(&mut buffer, room).await;
            self.adapt(&buffer);
            let count = buffer.len() as u64;
            if count > 0 {
                if let Some(hasher) = &mut self.hasher {
                    hasher.update(buffer.filled());
                }
                self.part.write(position, buffer).await.map_err(FlowEnd::File)?;
                self.desk.written(self.flow.lease, self.piece, ByteRange::new(position, count));
            }
            match self.failed.take() {
                // A body whose only end is that of its connection is as complete as other evidence says.
                Some(Break::Body(BodyError::Unannounced)) if self.desk.is_verifiable => {
                    return self.ended(position + count);
                }
                Some(error) => return Err(self.broken(&error)),
                None if is_ended => return self.ended(position + count),
                None => {}
            }
        }
    }

    /// Whether so many equal bytes next to a seam are enough; on that side of it there are `most`.
    fn is_proof(&self, compared: u64, most: u64) -> bool {
        compared >= self.desk.settings.overlap_bytes.min(SEAM_BYTES).min(most)
    }

    /// Reads bytes from `from` to `to` that came unasked or for comparison; where they are at hand they must be equal.
    /// Answers how many were compared.
    async fn compare(&mut self, from: u64, to: u64) -> Result<u64, FlowEnd> {
        let mut compared = 0;
        let mut position = from;
        let mut scratch = vec![0; BUFFER_BYTES_FIRST.min(usize::try_from(to - from).unwrap_or(usize::MAX))];
        while position < to {
            self.ready().await?;
            if let Some(error) = self.failed.take() {
                return Err(self.broken(&error));
            }
            let most = scratch.len().min(usize::try_from(to - position).unwrap_or(usize::MAX));
            let read =
                std::future::poll_fn(|context| self.flow.body.poll_read(context, &mut scratch[..most]));
            let count = read.await.map_err(|error| self.broken(&Break::Body(error)))?;
            if count == 0 {
                return Err(FlowEnd::Broken(transient(
                    Cause::Truncated,
                    format!("{} ended its answer early", self.flow.host),
                )));
            }
            self.stall.arrived(count as u64);
            self.desk.count_fetched(count as u64);
            let came = &scratch[..count];
            if let Some(hasher) = &mut self.hasher {
                hasher.update(came);
            }
            compared += compare_with_file(&self.part, &self.flow.host, position, came).await?;
            position += count as u64;
        }
        Ok(compared)
    }

    /// The lease is fulfilled. If others hold what follows and it is flowing in anyway, their bytes are compared.
    async fn fulfilled(&mut self, position: u64) -> Result<FlowEnd, FlowEnd> {
        let at_hand = self.part.readable().available_from(position);
        let mut reached = position;
        if self.flow.end != Some(position) {
            let left = self.flow.end.map_or(u64::MAX, |end| end.saturating_sub(position));
            reached += at_hand.min(self.desk.settings.overlap_bytes).min(left);
            let behind = self.desk.plan().total().map_or(u64::MAX, |total| total.saturating_sub(position));
            match self.compare(position, reached).await {
                Err(FlowEnd::Mismatch(what)) => return Err(FlowEnd::Mismatch(what)),
                Err(_) => return Ok(FlowEnd::Done { trailers: None }),
                Ok(compared) if self.is_proof(compared, behind) => self.desk.plan().prove_seam(position),
                Ok(_) => {}
            }
        }
        if self.flow.end != Some(reached) {
            return Ok(FlowEnd::Done { trailers: None });
        }
        // Reading the end frees the connection for the next request and brings the trailers.
        let mut byte = [0; 1];
        let end = std::future::poll_fn(|context| self.flow.body.poll_read(context, &mut byte));
        match tokio::time::timeout(LINGER, end).await {
            Ok(Ok(0)) => self.ended(reached),
            Ok(Ok(_) | Err(_)) | Err(_) => Ok(FlowEnd::Done { trailers: None }),
        }
    }

    /// The body came to its own end at `position`.
    fn ended(&mut self, position: u64) -> Result<FlowEnd, FlowEnd> {
        if self.flow.end.is_some_and(|end| position < end) {
            return Err(self.broken(&Break::Body(BodyError::Truncated)));
        }
        if let Some(hasher) = self.hasher.take() {
            let seen = hasher.finish();
            let is_other = |digest: &DigestField| {
                seen.iter().any(|(algorithm, value)| *algorithm == digest.algorithm && *value != digest.value)
            };
            if self.flow.content_digests.iter().any(is_other) {
                return Err(FlowEnd::Mismatch(format!(
                    "what {} sent does not have the Content-Digest it announced",
                    self.flow.host
                )));
            }
        }
        let trailers = self.flow.body.trailers().cloned();
        Ok(match self.desk.plan().total() {
            None => FlowEnd::EndOfFile { total: position, trailers },
            Some(_) => FlowEnd::Done { trailers },
        })
    }

    /// Fills `buffer` with at most `room` bytes, until enough has gathered; tells whether the body ended.
    async fn fill(&mut self, buffer: &mut Buffer, room: usize) -> bool {
        let mut lingering: Option<Instant> = None;
        let started = Instant::now();
        loop {
            let space = room.saturating_sub(buffer.len()).min(buffer.capacity() - buffer.len());
            if space == 0 || self.failed.is_some() {
                return false;
            }
            let is_limited = self.desk.live.rate.is_limited();
            if is_limited && self.granted == 0 {
                let rest = LINGER.saturating_sub(started.elapsed());
                match tokio::time::timeout(rest, self.desk.live.rate.acquire(space)).await {
                    Ok(granted) => self.granted = granted,
                    Err(_) => return false,
                }
            }
            let most = if is_limited { space.min(self.granted) } else { space };
            let is_enough = self.desk.is_random_access || buffer.len() >= GATHER_BYTES;
            let (body, linger) = (&mut self.flow.body, &mut self.linger);
            let (asked, is_asked) = (&mut self.let_go, &mut self.is_let_go);
            let read = std::future::poll_fn(|context| {
                let read = body.poll_read(context, &mut buffer.spare_mut()[..most]);
                if read.is_ready() || buffer.is_empty() {
                    return read.map(Some);
                }
                if let Poll::Ready(end) = asked.as_mut().poll(context) {
                    *is_asked = Some(end);
                }
                let is_over = is_enough || is_asked.is_some() || poll_linger(linger, &mut lingering, context);
                if is_over { Poll::Ready(None) } else { Poll::Pending }
            });
            match read.await {
                None => {
                    let waited = lingering.map_or(Duration::ZERO, |since| since.elapsed());
                    if self.stall.is_stalled(waited) {
                        self.failed = Some(Break::Stalled);
                    }
                    return false;
                }
                Some(Ok(0)) => return true,
                Some(Ok(count)) => {
                    buffer.advance(count);
                    self.granted = self.granted.saturating_sub(count);
                    self.arrived(count as u64);
                }
                Some(Err(error)) => self.failed = Some(Break::Body(error)),
            }
        }
    }

    fn arrived(&mut self, count: u64) {
        if std::mem::take(&mut self.is_doubted) {
            self.stall = stall_watch(&self.desk, self.desk.settings.stall_timeout);
        }
        self.stall.arrived(count);
        self.desk.arrived(count);
        self.desk.count_fetched(count);
        self.flow.rein.arrived(count);
        let Some(due) = self.path_due else { return };
        let now = Instant::now();
        self.gap = self.gap.max(now - std::mem::replace(&mut self.arrived, now));
        if now >= due {
            let path = self.flow.body.path();
            path.inspect(|path| self.flow.rein.note_path(*path, std::mem::take(&mut self.gap)));
            self.path_due = path.map(|_| now + PATH_INTERVAL);
        }
    }

    /// Lets the next buffer follow the speed of the connection.
    fn adapt(&mut self, buffer: &Buffer) {
        if buffer.len() == buffer.capacity() {
            self.wanted = (self.wanted * 2).min(BUFFER_BYTES_MAX);
        } else if buffer.len() < self.wanted / 4 {
            self.wanted = (self.wanted / 2).max(BUFFER_BYTES_MIN);
        }
    }

    /// Waits until the body can be read; meanwhile what the rate limit has granted is for others.
    async fn await_bytes(&mut self) -> Result<(), FlowEnd> {
        if self.granted > 0 {
            let is_ready =
                std::future::poll_fn(|context| Poll::Ready(self.flow.body.poll_ready(context).is_ready()));
            if !is_ready.await {
                self.give_back();
            }
        }
        self.ready().await
    }

    fn give_back(&mut self) {
        self.desk.live.rate.give_back(std::mem::take(&mut self.granted));
    }

    /// Waits until the body can be read, as long as there is hope.
    async fn ready(&mut self) -> Result<(), FlowEnd> {
        loop {
            let started = Instant::now();
            let patience = self.stall.patience();
            tokio::select! {
                biased;
                end = &mut self.let_go => return Err(end),
                ready = std::future::poll_fn(|context| self.flow.body.poll_ready(context)) => {
                    self.stall.is_stalled(started.elapsed());
                    self.failed = ready.err().map(Break::Body);
                    return Ok(());
                }
                changed = self.network.changed() => {
                    if changed.is_ok() {
                        self.doubt()?;
                    }
                }
                () = tokio::time::sleep(patience) => {
                    if self.stall.is_stalled(started.elapsed()) {
                        return Err(self.broken(&Break::Stalled));
                    }
                }
            }
        }
    }

    /// The network changed: a connection whose own address is gone is dead, any other has to show that it lives.
    fn doubt(&mut self) -> Result<(), FlowEnd> {
        if *self.network.borrow() / ONE_SLEEP != self.sleeps {
            let detail = "the connection is from before the machine slept";
            return Err(FlowEnd::Broken(transient(Cause::ConnectionReset, detail.to_owned())));
        }
        if UdpSocket::bind((self.flow.local.ip(), 0)).is_err() {
            return Err(FlowEnd::Broken(transient(
                Cause::ConnectionReset,
                format!("the address {} of this machine is gone", self.flow.local.ip()),
            )));
        }
        self.stall = stall_watch(&self.desk, PROOF_OF_LIFE.min(self.desk.settings.stall_timeout));
        self.is_doubted = true;
        Ok(())
    }

    fn broken(&self, why: &Break) -> FlowEnd {
        let host = &self.flow.host;
        FlowEnd::Broken(match why {
            Break::Body(error) => error.failure(host),
            Break::Stalled => transient(Cause::Stalled, format!("{host} has all but stopped sending")),
        })
    }

    fn finish(mut self, end: FlowEnd) -> FlowEnd {
        self.give_back();
        if matches!(end, FlowEnd::Done { .. } | FlowEnd::EndOfFile { .. }) {
            self.flow.body.finish();
        }
        end
    }
}

/// Bytes that are at hand must be equal to those that came for the same place. Answers how many were at hand.
pub(super) async fn compare_with_file(
    part: &PartFile,
    host: &str,
    position: u64,
    came: &[u8],
) -> Result<u64, FlowEnd> {
    let mut offset = 0;
    while offset < came.len() {
        let at = position + offset as u64;
        let held = part.read_at(at, came.len() - offset).await.map_err(FlowEnd::File)?;
        if held.is_empty() {
            // Not at hand, and not this lease's business.
            break;
        }
        if held != came[offset..offset + held.len()] {
            return Err(FlowEnd::Mismatch(format!(
                "the bytes at {at} from {host} differ from those received before"
            )));
        }
        offset += held.len();
    }
    Ok(offset as u64)
}

/// A flow ends early when its worker is asked to stop, when its crew gives it up, or when another worker waits for
/// its seat.
fn let_go(desk: &Desk, flow: &Flow) -> Pin<Box<dyn Future<Output = FlowEnd> + Send>> {
    let (live, recall, recalled) = (Arc::clone(&desk.live), flow.rein.recall.clone(), flow.body.recalled());
    // Fused: it is polled on after it has resolved.
    let first = async move {
        tokio::select! {
            _ = live.stopped() => FlowEnd::Stopped,
            () = recall.cancelled() => FlowEnd::Recalled,
            () = recalled => FlowEnd::Recalled,
        }
    };
    Box::pin(first.fuse())
}

fn stall_watch(desk: &Desk, window: Duration) -> StallWatch {
    StallWatch::new(window, desk.settings.stall_bytes_per_second)
}

/// Polls the time for which a partly filled buffer is held back, which starts with the first poll.
fn poll_linger(linger: &mut Pin<Box<Sleep>>, since: &mut Option<Instant>, context: &mut Context<'_>) -> bool {
    if since.is_none() {
        let now = Instant::now();
        *since = Some(now);
        linger.as_mut().reset(now + LINGER);
    }
    linger.as_mut().poll(context).is_ready()
}
