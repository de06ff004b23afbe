//! Digests of a part file, made while its bytes pass.
//!
//! Bytes that arrive in order are hashed from the buffer they are written from. What arrived out of order, or in an
//! earlier attempt, is read back as soon as the gap before it closes, so that little is left to do at the end.

use std::collections::VecDeque;
use std::fmt;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use longhaul_contract::{Cause, ChecksumAlgorithm, Failure, Remedy};
use rustix::io::Errno;
use tokio::sync::Notify;

use super::buffer::Buffer;
use super::failure::failure;
use super::shared::Shared;
use super::sink::read_full;
use crate::digest::MultiHasher;

/// Bytes that may wait to be hashed.
const WAITING_BYTES_MAX: usize = 4 << 20;
/// A buffer this far ahead is kept for when the bytes before it, already queued for writing, are there.
const AHEAD_BYTES_MAX: u64 = 8 << 20;
const READ_BYTES: usize = 256 << 10;

#[derive(Debug, Default)]
pub(super) struct Hashing {
    progress: Mutex<Option<Progress>>,
    /// Counts new starts.
    starts: AtomicU64,
    /// Whenever bytes were hashed, or hashing paused.
    moved: Notify,
}

struct Progress {
    algorithms: Vec<ChecksumAlgorithm>,
    /// Away while a thread uses it.
    hasher: Option<MultiHasher>,
    /// The first byte that is neither hashed nor just being hashed.
    position: u64,
    waiting: VecDeque<(u64, Arc<Buffer>)>,
    waiting_bytes: usize,
    /// Which start this is: what a thread brings back from an earlier one is dropped.
    start: u64,
    error: Option<Errno>,
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Progress").field("position", &self.position).finish_non_exhaustive()
    }
}

/// The next piece of work for the hashing thread.
enum Step {
    Hash(Arc<Buffer>),
    ReadBack { offset: u64, length: usize },
}

enum Verdict {
    Keep,
    Wait,
    Skip,
}

impl Hashing {
    pub(super) fn start(&self, algorithms: Vec<ChecksumAlgorithm>) {
        let mut progress = self.progress();
        *progress = (!algorithms.is_empty()).then(|| Progress {
            hasher: Some(MultiHasher::new(&algorithms)),
            algorithms,
            position: 0,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            start: self.starts.fetch_add(1, Ordering::Relaxed),
            error: None,
        });
    }

    /// Begins at byte 0 again.
    pub(super) fn start_over(&self) {
        let algorithms = self.progress().as_ref().map(|progress| progress.algorithms.clone());
        if let Some(algorithms) = algorithms {
            self.start(algorithms);
            self.moved.notify_waiters();
        }
    }

    /// Begins again if any byte from `offset` on was hashed.
    pub(super) fn forget_from(&self, offset: u64) {
        let is_touched = self.progress().as_ref().is_some_and(|progress| {
            progress.position > offset
                || progress.waiting.iter().any(|(start, data)| start + data.len() as u64 > offset)
        });
        if is_touched {
            self.start_over();
        }
    }

    fn progress(&self) -> MutexGuard<'_, Option<Progress>> {
        self.progress.lock().expect("no holder of this lock panics")
    }
}

impl Progress {
    /// Whether a buffer for `offset` is worth keeping, which may need waiting first.
    fn judge(&mut self, offset: u64, length: usize) -> Verdict {
        let end = self.waiting.back().map(|(start, data)| start + data.len() as u64);
        let is_full = self.waiting_bytes > 0 && self.waiting_bytes + length > WAITING_BYTES_MAX;
        let has_gap = self.waiting.front().is_some_and(|(start, _)| *start > self.position);
        match end {
            None if offset == self.position => Verdict::Keep,
            None if offset > self.position && offset - self.position <= AHEAD_BYTES_MAX => Verdict::Keep,
            Some(_) if has_gap && offset == self.position => {
                self.drop_waiting();
                Verdict::Keep
            }
            Some(end) if end == offset && !is_full => Verdict::Keep,
            Some(end) if end == offset && !has_gap => Verdict::Wait,
            Some(end) if end == offset => {
                self.drop_waiting();
                Verdict::Skip
            }
            _ => Verdict::Skip,
        }
    }

    fn drop_waiting(&mut self) {
        self.waiting.clear();
        self.waiting_bytes = 0;
    }

    /// What can be done now, given how many bytes the file holds from `position` on.
    fn next_step(&mut self, available: u64) -> Option<Step> {
        while self.waiting.front().is_some_and(|(offset, _)| *offset < self.position) {
            self.drop_waiting();
        }
        let gap = match self.waiting.front() {
            Some((offset, _)) => *offset - self.position,
            None => u64::MAX,
        };
        let offset = self.position;
        if gap == 0 {
            let (_, data) = self.waiting.pop_front()?;
            self.waiting_bytes -= data.len();
            self.position += data.len() as u64;
            return Some(Step::Hash(data));
        }
        let length = usize::try_from(available.min(gap)).unwrap_or(READ_BYTES).min(READ_BYTES);
        self.position += length as u64;
        (length > 0).then_some(Step::ReadBack { offset, length })
    }
}

impl Shared {
    /// Offers a buffer on its way to disk; waits while hashing is behind.
    pub(super) async fn offer_to_hashing(self: &Arc<Self>, offset: u64, data: &Arc<Buffer>) {
        loop {
            let mut moved = pin!(self.hashing.moved.notified());
            moved.as_mut().enable();
            {
                let mut progress = self.hashing.progress();
                let Some(progress) = progress.as_mut() else { return };
                match progress.judge(offset, data.len()) {
                    Verdict::Keep => {
                        progress.waiting.push_back((offset, Arc::clone(data)));
                        progress.waiting_bytes += data.len();
                        break;
                    }
                    Verdict::Skip => return,
                    Verdict::Wait => {}
                }
            }
            moved.await;
        }
        self.continue_hashing();
    }

    /// Gives a thread to hashing if there is something to hash and none is at it.
    pub(super) fn continue_hashing(self: &Arc<Self>) {
        let begun = {
            let mut progress = self.hashing.progress();
            let Some(progress) = progress.as_mut().filter(|progress| progress.error.is_none()) else {
                return;
            };
            let Some(hasher) = progress.hasher.take() else { return };
            match progress.next_step(self.available_from(progress.position)) {
                Some(step) => (hasher, step, progress.start),
                None => {
                    progress.hasher = Some(hasher);
                    return;
                }
            }
        };
        let shared = Arc::clone(self);
        tokio::task::spawn_blocking(move || shared.hash(begun.0, begun.1, begun.2));
    }

    fn hash(&self, mut hasher: MultiHasher, mut step: Step, start: u64) {
        let mut read = Vec::new();
        loop {
            let result = match step {
                Step::Hash(data) => {
                    hasher.update(data.filled());
                    Ok(())
                }
                Step::ReadBack { offset, length } => {
                    read.resize(length, 0);
                    match read_full(self.sink.descriptor(), offset, &mut read) {
                        Ok(count) if count == length => {
                            hasher.update(&read);
                            Ok(())
                        }
                        Ok(_) => Err(Errno::IO),
                        Err(errno) => Err(errno),
                    }
                }
            };
            let next = {
                let mut progress = self.hashing.progress();
                let Some(progress) = progress.as_mut().filter(|progress| progress.start == start) else {
                    break;
                };
                progress.error = result.err();
                let next = match progress.error {
                    None => progress.next_step(self.available_from(progress.position)),
                    Some(_) => None,
                };
                match next {
                    Some(next) => next,
                    None => {
                        progress.hasher = Some(hasher);
                        break;
                    }
                }
            };
            step = next;
            self.hashing.moved.notify_waiters();
        }
        self.hashing.moved.notify_waiters();
    }

    /// The digests of bytes `0..total`, once all of them are hashed; hashing ends with that.
    pub(super) async fn finish_hashing(
        self: &Arc<Self>,
        total: u64,
    ) -> Result<Vec<(ChecksumAlgorithm, Vec<u8>)>, Failure> {
        loop {
            let mut moved = pin!(self.hashing.moved.notified());
            moved.as_mut().enable();
            self.continue_hashing();
            if let Some(errno) = self.hashing.progress().as_mut().and_then(|progress| progress.error.take()) {
                self.hashing.start_over();
                return Err(self.failed("read back", errno));
            }
            {
                let mut progress = self.hashing.progress();
                let Some(now) = progress.as_mut() else { return Ok(Vec::new()) };
                if let Some(hasher) = now.hasher.take() {
                    if now.position == total && now.waiting.is_empty() {
                        *progress = None;
                        return Ok(hasher.finish());
                    }
                    let at = now.position;
                    now.hasher = Some(hasher);
                    return Err(self.cannot_hash(at, total));
                }
            }
            moved.await;
        }
    }

    fn cannot_hash(&self, at: u64, total: u64) -> Failure {
        let detail = format!("{} was to be hashed up to byte {total}, but that ended at {at}", self.path());
        failure(Remedy::Permanent, Cause::Internal, detail)
    }
}
