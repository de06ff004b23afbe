//! The queue between a worker that receives and the disk: bytes are written while the next ones arrive.
//!
//! No thread belongs to a file: while its queue holds something, threads of the blocking pool empty it. A disk is fast only
//! with several requests at once, so there may be more than one; what was queued later for the same place is written later.

use std::collections::VecDeque;
use std::sync::{Arc, MutexGuard};

use longhaul_contract::{ByteRange, Failure};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::buffer::{Buffer, PAGE};
use super::shared::Shared;

/// Pages that may be queued for one file, those included that are being written.
pub(super) const QUEUE_PAGES: usize = (3 << 20) / PAGE;

/// Threads that may write one file at once.
const WRITERS_MAX: usize = 3;

/// Files up to this size are written at once, without a thread of their own.
const INLINE_BYTES_MAX: u64 = 1 << 20;

#[derive(Debug, Default)]
pub(super) struct Queue {
    items: VecDeque<Item>,
    /// Threads at work on it; while there are items there is one at least.
    threads: usize,
    /// What is being written just now, in whole pages.
    writing: Vec<ByteRange>,
}

impl Queue {
    /// The next thing to do, for a thread that ends when there is none: what has to wait for a write is left to whoever
    /// ends that one.
    fn next(&mut self) -> Option<Item> {
        let must_wait = match self.items.front()? {
            Item::Barrier(_) => !self.writing.is_empty(),
            Item::Write { offset, data, .. } => {
                let wanted = pages_of(*offset, data.len());
                self.writing.iter().any(|range| range.offset < wanted.end() && wanted.offset < range.end())
            }
        };
        if must_wait { None } else { self.items.pop_front() }
    }
}

fn pages_of(offset: u64, length: usize) -> ByteRange {
    let page = PAGE as u64;
    ByteRange::from_bounds(offset / page * page, (offset + length as u64).next_multiple_of(page))
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
        if self.queue().threads == 0 {
            return;
        }
        let (done, all_done) = oneshot::channel();
        self.push(Item::Barrier(done));
        all_done.await.expect("a queue is emptied to its end");
    }

    fn is_inline(&self, offset: u64, data: &Buffer) -> bool {
        let end = offset + data.len() as u64;
        let is_small = self.state().reserved.map_or(end, |total| total.max(end)) <= INLINE_BYTES_MAX;
        is_small && self.queue().threads == 0
    }

    fn push(self: &Arc<Self>, item: Item) {
        let must_start = {
            let mut queue = self.queue();
            let is_write = matches!(item, Item::Write { .. });
            queue.items.push_back(item);
            // A thread that does not write is about to take an item.
            let is_left = queue.items.len() > queue.threads - queue.writing.len();
            let must_start = queue.threads == 0 || (is_write && is_left && queue.threads < WRITERS_MAX);
            queue.threads += usize::from(must_start);
            must_start
        };
        if must_start {
            let shared = Arc::clone(self);
            tokio::task::spawn_blocking(move || shared.drain());
        }
    }

    fn drain(self: &Arc<Self>) {
        let mut queue = self.queue();
        while let Some(item) = queue.next() {
            match item {
                Item::Write { offset, data, _room } => {
                    let pages = pages_of(offset, data.len());
                    queue.writing.push(pages);
                    drop(queue);
                    self.write_buffer(offset, &data, WriteWay::Fastest);
                    drop(data);
                    queue = self.queue();
                    queue.writing.retain(|range| *range != pages);
                }
                Item::Barrier(done) => {
                    // Whoever waited may have gone.
                    let _ = done.send(());
                }
            }
        }
        queue.threads -= 1;
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
