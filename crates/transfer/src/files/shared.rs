//! What all handles of one part file share: the file, which bytes it holds, and the first error not yet told.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard};

use longhaul_contract::{ByteRange, Cause, Failure, RangeSet, Remedy};
use rustix::io::Errno;
use tokio::sync::{Semaphore, watch};

use super::buffer::{BufferPool, Lease};
use super::failure::{failure, io_failure};
use super::folder::{Folder, OpenFolder};
use super::hashing::Hashing;
use super::sink::{Place, Sink};
use super::space::{SpaceClaim, SpaceLedger};
use super::writer::{QUEUE_PAGES, Queue};
use crate::journal::PartIdentity;

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) folder: Folder,
    /// The name it was created for.
    pub(super) name: String,
    pub(super) part_name: String,
    pub(super) identity: PartIdentity,
    pub(super) sink: Sink,
    pub(super) pool: BufferPool,
    pub(super) ledger: SpaceLedger,
    pub(super) growth: watch::Sender<u64>,
    /// No [`super::PartFile`] is left.
    pub(super) is_closed: AtomicBool,
    pub(super) queue: Mutex<Queue>,
    pub(super) room: Arc<Semaphore>,
    pub(super) hashing: Hashing,
    state: Mutex<State>,
    _lease: Lease,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) written: RangeSet,
    pub(super) durable: RangeSet,
    /// Counts the times bytes were declared void: what was read before may no longer hold.
    pub(super) voided: u64,
    pub(super) error: Option<Failure>,
    pub(super) claim: Option<SpaceClaim>,
    /// Size that was reserved, if any.
    pub(super) reserved: Option<u64>,
}

/// What a part file is made of.
pub(super) struct Parts {
    pub(super) folder: Folder,
    pub(super) name: String,
    pub(super) part_name: String,
    pub(super) identity: PartIdentity,
    pub(super) descriptor: std::os::fd::OwnedFd,
    pub(super) pool: BufferPool,
    pub(super) ledger: SpaceLedger,
    /// What it holds already, durably.
    pub(super) durable: RangeSet,
}

impl Shared {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { folder, name, part_name, identity, descriptor, pool, ledger, durable } = parts;
        let state = State { written: durable.clone(), durable, ..State::default() };
        Self {
            folder,
            name,
            part_name,
            identity,
            sink: Sink::new(descriptor),
            _lease: pool.lease(),
            pool,
            ledger,
            growth: watch::Sender::new(0),
            is_closed: AtomicBool::new(false),
            queue: Mutex::default(),
            room: Arc::new(Semaphore::new(QUEUE_PAGES)),
            hashing: Hashing::default(),
            state: Mutex::new(state),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }

    /// Path of the part file, for people.
    pub(super) fn path(&self) -> String {
        self.open_folder().path_of(&self.part_name)
    }

    pub(super) fn open_folder(&self) -> &OpenFolder {
        &self.folder.shared
    }

    pub(super) fn place(&self) -> Place<'_> {
        Place { folder: self.open_folder(), name: &self.part_name, identity: self.identity }
    }

    pub(super) fn failed(&self, action: &str, errno: Errno) -> Failure {
        io_failure(action, &self.path(), errno)
    }

    /// Somebody else touched the file: only a new start can be right.
    pub(super) fn replaced(&self, how: &str) -> Failure {
        failure(Remedy::Stale, Cause::FileReplaced, format!("{} {how}", self.path()))
    }

    /// The error of an earlier write, told once.
    pub(super) fn tell_error(&self) -> Result<(), Failure> {
        self.state().error.take().map_or(Ok(()), Err)
    }

    pub(super) fn keep_error(&self, failure: Failure) {
        self.state().error.get_or_insert(failure);
    }

    /// `range` is in the file now.
    pub(super) fn mark_written(&self, range: ByteRange) {
        {
            let mut state = self.state();
            state.written.insert(range);
            if let Some(claim) = &state.claim {
                claim.shrink(range.length);
            }
        }
        self.growth.send_modify(|generation| *generation = generation.wrapping_add(1));
    }

    pub(super) fn available_from(&self, offset: u64) -> u64 {
        self.state().written.available_from(offset)
    }

    /// Makes durable what is written, and returns all that is durable. When that fails the kernel may have dropped
    /// pages and calls them clean: then all that was not durable before is void (row 95 of the faults).
    pub(super) fn sync_written(&self) -> Result<RangeSet, Failure> {
        loop {
            let (written, voided) = {
                let state = self.state();
                if state.written == state.durable {
                    return Ok(state.durable.clone());
                }
                (state.written.clone(), state.voided)
            };
            let synced = rustix::fs::fdatasync(self.sink.descriptor());
            match synced {
                Ok(()) => {
                    let mut state = self.state();
                    if state.voided == voided {
                        state.durable = written;
                        return Ok(state.durable.clone());
                    }
                }
                Err(errno) => {
                    self.lose_undurable();
                    return Err(self.failed("make durable", errno));
                }
            }
        }
    }

    /// All that was written is known to be durable, by other means than [`Self::sync_written`].
    pub(super) fn mark_all_durable(&self) {
        let mut state = self.state();
        state.durable = state.written.clone();
    }

    pub(super) fn lose_undurable(&self) {
        {
            let mut state = self.state();
            state.written = state.durable.clone();
            state.voided += 1;
        }
        self.hashing.start_over();
    }
}
