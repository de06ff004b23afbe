//! Memory for bytes on their way to disk: page-aligned buffers out of one budget for the whole service.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Unit of alignment for direct writes, in bytes.
pub(crate) const PAGE: usize = 4096;
/// The largest buffer, in bytes.
pub const BUFFER_BYTES_MAX: usize = 1 << 20;
/// All buffers of the service together, in bytes.
const BUDGET_BYTES: usize = 12 << 20;

#[derive(Debug, Clone)]
pub(crate) struct BufferPool {
    budget: Arc<Semaphore>,
}

impl BufferPool {
    pub(crate) fn new() -> Self {
        Self { budget: Arc::new(Semaphore::new(BUDGET_BYTES / PAGE)) }
    }

    pub(crate) async fn take(&self, capacity: usize) -> Buffer {
        let pages = u32::try_from(capacity.div_ceil(PAGE)).expect("a buffer has at most 256 pages");
        let permit = Arc::clone(&self.budget).acquire_many_owned(pages).await.expect("never closed");
        Buffer { bytes: vec![0; capacity], filled: 0, _permit: permit }
    }
}

/// Bytes to be written at one offset. Holds its share of the service's budget until it is dropped.
#[derive(Debug)]
pub struct Buffer {
    bytes: Vec<u8>,
    filled: usize,
    _permit: OwnedSemaphorePermit,
}

impl Buffer {
    /// The part that is not filled yet; it holds arbitrary initialised bytes.
    pub fn spare_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.filled..]
    }

    /// Counts the first `count` bytes of [`Self::spare_mut`] as filled.
    ///
    /// # Panics
    /// `count` exceeds the spare part.
    pub fn advance(&mut self, count: usize) {
        assert!(count <= self.bytes.len() - self.filled, "advanced behind the end of a buffer");
        self.filled += count;
    }

    #[must_use]
    pub fn filled(&self) -> &[u8] {
        &self.bytes[..self.filled]
    }

    /// Filled bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.filled
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.filled == 0
    }

    #[must_use]
    pub fn is_full(&self) -> bool {
        self.filled == self.bytes.len()
    }

    #[must_use]
    pub fn capacity(&self) -> usize {
        self.bytes.len()
    }

    pub fn clear(&mut self) {
        self.filled = 0;
    }

    /// Keeps the first `length` filled bytes.
    pub fn truncate(&mut self, length: usize) {
        self.filled = self.filled.min(length);
    }

    /// Takes as much of `bytes` as fits and tells how much that was.
    pub fn put_slice(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(self.bytes.len() - self.filled);
        self.spare_mut()[..count].copy_from_slice(&bytes[..count]);
        self.filled += count;
        count
    }
}
