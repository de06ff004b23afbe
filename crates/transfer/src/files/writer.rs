//! The queue between a worker that receives and the disk: bytes are written while the next ones arrive.
//!
//! No thread belongs to a file: while its queue holds something, one thread of the blocking pool empties it.

use std::collections::VecDeque;
use std::sync::{Arc, MutexGuard};

use longhaul_contract::Failure;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::buffer::{Buffer, PAGE};
use super::shared::Shared;

/// Pages that may be queued for one file.
pub(super) const QUEUE_PAGES: usize = (2 << 20) / PAGE;

/// Files up to this size are written at once, without a thread of their own.
const INLINE_BYTES_MAX: u64 = 1 << 20;

#[derive(Debug, Default)]
pub(super) struct Queue {
    items: VecDeque<Item>,
    is_draining: bool,
}

#[derive(Debug)]
enum Item {
    Write {
        offset: u64,
        data: Arc<Buffer>,
        _room: OwnedSemaphorePermit,
    },
    /// Told when all items before it are done.
    Barrier(oneshot::Sender<()>),
}

impl Shared {
    /// Writes `data` now if it is small, else queues it and waits while the queue is full.
    pub(super) async fn enqueue(self: &Arc<Self>, offset: u64, data: Arc<Buffer>) {
        if self.is_inline(offset, &data) {
            self.write_buffer(offset, &data, WriteWay::Cached);
            return;
        }
        let pages = u32::try_from(data.len().div_ceil(PAGE).max(1)).expect("a buffer has few pages");
        let room = Arc::clone(&self.room).acquire_many_owned(pages).await.expect("never closed");
        self.push(Item::Write { offset, data, _room: room });
    }

    /// Waits until everything that was queued before is written.
    pub(super) async fn settle(self: &Arc<Self>) {
        if !self.queue().is_draining {
            return;
        }
        let (done, all_done) = oneshot::channel();
        self.push(Item::Barrier(done));
        all_done.await.expect("a queue is emptied to its end");
    }

    fn is_inline(&self, offset: u64, data: &Buffer) -> bool {
        let end = offset + data.len() as u64;
        let is_small = self.state().reserved.map_or(end, |total| total.max(end)) <= INLINE_BYTES_MAX;
        is_small && !self.queue().is_draining
    }

    fn push(self: &Arc<Self>, item: Item) {
        let must_start = {
            let mut queue = self.queue();
            queue.items.push_back(item);
            !std::mem::replace(&mut queue.is_draining, true)
        };
        if must_start {
            let shared = Arc::clone(self);
            tokio::task::spawn_blocking(move || shared.drain());
        }
    }

    fn drain(self: &Arc<Self>) {
        loop {
            let item = {
                let mut queue = self.queue();
                let Some(item) = queue.items.pop_front() else {
                    queue.is_draining = false;
                    return;
                };
                item
            };
            match item {
                Item::Write { offset, data, _room } => self.write_buffer(offset, &data, WriteWay::Fastest),
                Item::Barrier(done) => {
                    // Whoever waited may have gone.
                    let _ = done.send(());
                }
            }
        }
    }

    fn write_buffer(self: &Arc<Self>, offset: u64, data: &Buffer, way: WriteWay) {
        let mut mark = |range| self.mark_written(range);
        let result = match way {
            WriteWay::Cached => self.sink.write_buffered(offset, data.filled(), &mut mark),
            WriteWay::Fastest => self.sink.write(offset, data.filled(), &self.place(), &mut mark),
        };
        if let Err(errno) = result {
            self.keep_error(self.write_failure(errno));
        }
        self.continue_hashing();
    }

    fn write_failure(&self, errno: rustix::io::Errno) -> Failure {
        self.failed("write", errno)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().expect("no holder of this lock panics")
    }
}

#[derive(Debug, Clone, Copy)]
enum WriteWay {
    Cached,
    Fastest,
}
