//! Memory for bytes on their way to disk: page-aligned buffers out of one budget for the whole service.
//!
//! Buffers are mapped on their own and kept for reuse while a part file is open: fresh pages are what costs most when
//! bytes arrive fast. With no part file open everything goes back to the system.

use std::fmt;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard};

use rustix::mm::{MapFlags, ProtFlags};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Unit of alignment of direct writes, in bytes; every file system that has them takes this one.
pub(crate) const PAGE: usize = 4096;
/// The largest buffer, in bytes.
pub const BUFFER_BYTES_MAX: usize = CLASSES[CLASSES.len() - 1];
/// All buffers of the service together, in bytes.
const BUDGET_BYTES: usize = 8 << 20;
/// The sizes that are handed out, in bytes.
const CLASSES: [usize; 4] = [16 << 10, 64 << 10, 256 << 10, 1 << 20];

/// The budget and what is kept for reuse. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct BufferPool {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Permits for pages that are not handed out.
    budget: Arc<Semaphore>,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    free: [Vec<Memory>; CLASSES.len()],
    /// Bytes mapped, handed out or free.
    mapped: usize,
    leases: usize,
}

/// As long as one lives, freed buffers are kept for reuse.
#[derive(Debug)]
pub(crate) struct Lease(BufferPool);

impl BufferPool {
    pub(crate) fn new() -> Self {
        let budget = Arc::new(Semaphore::new(BUDGET_BYTES / PAGE));
        Self { shared: Arc::new(Shared { budget, kept: Mutex::default() }) }
    }

    pub(crate) fn lease(&self) -> Lease {
        self.shared.kept().leases += 1;
        Lease(self.clone())
    }

    /// A buffer for at most `wanted` bytes (at least one), of which the first comes to lie `lead` bytes behind a page
    /// boundary. Scarcity makes it smaller, down to 16 KiB, before it makes anybody wait.
    pub(crate) async fn take(&self, lead: usize, wanted: usize) -> Buffer {
        debug_assert!(lead < PAGE, "the lead is part of one page");
        let left = self.shared.budget.available_permits() * PAGE;
        let largest = if left * 2 > BUDGET_BYTES {
            BUFFER_BYTES_MAX
        } else if left * 4 > BUDGET_BYTES {
            CLASSES[2]
        } else {
            CLASSES[1]
        };
        let wanted_end = lead.saturating_add(wanted.max(1));
        let needed = wanted_end.min(largest);
        let class = CLASSES.iter().position(|size| *size >= needed).unwrap_or(CLASSES.len() - 1);
        let pages = u32::try_from(CLASSES[class] / PAGE).expect("a class has few pages");
        let permit = Arc::clone(&self.shared.budget)
            .acquire_many_owned(pages)
            .await
            .expect("the budget is never closed");
        Buffer {
            start: lead,
            filled: lead,
            end: wanted_end.min(CLASSES[class]),
            class,
            memory: Some(self.shared.memory(class)),
            shared: Arc::clone(&self.shared),
            _permit: permit,
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut kept = self.0.shared.kept();
        kept.leases -= 1;
        if kept.leases == 0 {
            kept.shrink_to(0);
        }
    }
}

impl Shared {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().expect("no holder of this lock panics")
    }

    fn memory(&self, class: usize) -> Memory {
        let mut kept = self.kept();
        if let Some(memory) = kept.free[class].pop() {
            return memory;
        }
        kept.shrink_to(BUDGET_BYTES - CLASSES[class]);
        kept.mapped += CLASSES[class];
        drop(kept);
        Memory::map(CLASSES[class])
    }
}

impl Kept {
    /// Unmaps free buffers until at most `bytes` are mapped, or none is free.
    fn shrink_to(&mut self, bytes: usize) {
        for class in (0..CLASSES.len()).rev() {
            while self.mapped > bytes && self.free[class].pop().is_some() {
                self.mapped -= CLASSES[class];
            }
        }
    }
}

/// Anonymous memory of whole pages.
struct Memory {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: a `Memory` owns its mapping alone, as a `Box<[u8]>` would.
unsafe impl Send for Memory {}
// SAFETY: as above; shared access only reads.
unsafe impl Sync for Memory {}

impl Memory {
    fn map(length: usize) -> Self {
        // SAFETY: a new private anonymous mapping at an address the kernel chooses aliases nothing.
        let mapped = unsafe {
            rustix::mm::mmap_anonymous(
                std::ptr::null_mut(),
                length,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )
        };
        match mapped.ok().and_then(|start| NonNull::new(start.cast::<u8>())) {
            Some(start) => Self { start, length },
            None => std::alloc::handle_alloc_error(
                std::alloc::Layout::from_size_align(length, PAGE).expect("a class is a valid layout"),
            ),
        }
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: the mapping is `length` bytes long, initialised by the kernel, and lives as long as `self`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and `&mut self` makes this the only access.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.length) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `map` with this length, and nothing refers to it any more.
        let unmapped = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.length) };
        debug_assert!(unmapped.is_ok(), "a mapping of our own can be unmapped");
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Memory({})", self.length)
    }
}

/// Bytes to be written at one offset. Holds its share of the service's budget until it is dropped.
pub struct Buffer {
    start: usize,
    filled: usize,
    end: usize,
    class: usize,
    memory: Option<Memory>,
    shared: Arc<Shared>,
    _permit: OwnedSemaphorePermit,
}

impl Buffer {
    /// The part that is not filled yet; it holds arbitrary initialised bytes.
    pub fn spare_mut(&mut self) -> &mut [u8] {
        let spare = self.filled..self.end;
        &mut self.memory.as_mut().expect("only taken by drop").bytes_mut()[spare]
    }

    /// Counts the first `count` bytes of [`Self::spare_mut`] as filled.
    ///
    /// # Panics
    /// `count` exceeds the spare part.
    pub fn advance(&mut self, count: usize) {
        assert!(count <= self.end - self.filled, "advanced behind the end of a buffer");
        self.filled += count;
    }

    #[must_use]
    pub fn filled(&self) -> &[u8] {
        &self.memory.as_ref().expect("only taken by drop").bytes()[self.start..self.filled]
    }

    /// Filled bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.filled - self.start
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.filled == self.start
    }

    #[must_use]
    pub fn is_full(&self) -> bool {
        self.filled == self.end
    }

    /// Bytes it can hold.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.end - self.start
    }

    pub fn clear(&mut self) {
        self.filled = self.start;
    }

    /// Keeps the first `length` filled bytes.
    pub fn truncate(&mut self, length: usize) {
        self.filled = self.filled.min(self.start.saturating_add(length));
    }

    /// Takes as much of `bytes` as fits and tells how much that was.
    pub fn put_slice(&mut self, bytes: &[u8]) -> usize {
        let spare = self.spare_mut();
        let count = bytes.len().min(spare.len());
        spare[..count].copy_from_slice(&bytes[..count]);
        self.filled += count;
        count
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let Some(memory) = self.memory.take() else { return };
        let mut kept = self.shared.kept();
        if kept.leases > 0 {
            kept.free[self.class].push(memory);
        } else {
            kept.mapped -= memory.length;
        }
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} of {})", self.len(), self.capacity())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn buffers_end_where_asked_and_start_behind_the_lead() {
        let pool = BufferPool::new();
        let mut buffer = pool.take(100, 5000).await;
        assert_eq!(buffer.capacity(), 5000);
        assert_eq!(buffer.spare_mut().as_ptr() as usize % PAGE, 100);
        assert_eq!(buffer.put_slice(&[7; 6000]), 5000);
        assert!(buffer.is_full());
        buffer.truncate(10);
        assert_eq!(buffer.filled(), [7; 10]);
        let large = pool.take(100, usize::MAX).await;
        assert_eq!(large.capacity(), BUFFER_BYTES_MAX - 100);
    }

    #[tokio::test]
    async fn scarcity_makes_buffers_small_before_it_makes_them_wait() {
        let pool = BufferPool::new();
        let mut held = Vec::new();
        let mut capacities = Vec::new();
        while pool.shared.budget.available_permits() * PAGE >= CLASSES[1] {
            held.push(pool.take(0, BUFFER_BYTES_MAX).await);
            capacities.push(held.last().unwrap().capacity());
        }
        assert!(capacities.is_sorted_by(|a, b| a >= b), "{capacities:?}");
        assert!(capacities.len() > 40, "many small ones follow a few large ones: {}", capacities.len());
        let waiting = tokio::spawn({
            let pool = pool.clone();
            async move { pool.take(0, CLASSES[1]).await.capacity() }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        held.pop();
        assert_eq!(waiting.await.unwrap(), CLASSES[1]);
    }

    #[tokio::test]
    async fn memory_is_reused_while_leased_within_the_budget_and_given_back_after() {
        let pool = BufferPool::new();
        let lease = pool.lease();
        let small: Vec<_> = futures_util::future::join_all((0..100).map(|_| pool.take(0, 1))).await;
        drop(small);
        assert_eq!(pool.shared.kept().mapped, 100 * CLASSES[0]);
        let mut large = Vec::new();
        for _ in 0..6 {
            large.push(pool.take(0, BUFFER_BYTES_MAX).await);
        }
        let first = large[0].filled().as_ptr();
        drop(large);
        assert!(pool.shared.kept().mapped <= BUDGET_BYTES);
        let again: Vec<_> =
            futures_util::future::join_all((0..6).map(|_| pool.take(0, BUFFER_BYTES_MAX))).await;
        assert!(again.iter().any(|buffer| buffer.filled().as_ptr() == first));
        drop(lease);
        drop(again);
        assert_eq!(pool.shared.kept().mapped, 0);
    }
}
