//! Reading a part file while it is being filled.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use longhaul_contract::{Failure, RangeSet};
use tokio::sync::watch;

use super::blocking;
use super::shared::Shared;
use super::sink::read_full;

/// Reads a part file that is being filled. Cheap to clone; goes on working after publication and keeps the file open.
#[derive(Debug, Clone)]
pub struct PartReader {
    shared: Arc<Shared>,
    growth: watch::Receiver<u64>,
}

impl PartReader {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let growth = shared.growth.subscribe();
        Self { shared, growth }
    }

    /// What is written and can be read, durable or not.
    #[must_use]
    pub fn readable(&self) -> RangeSet {
        self.shared.state().written.clone()
    }

    /// Waits until the byte at `offset` is readable and tells how many follow without a gap, it included. `None` when
    /// every [`super::PartFile`] of this file is dropped first.
    pub async fn wait(&mut self, offset: u64) -> Option<u64> {
        loop {
            self.growth.mark_unchanged();
            let is_closed = self.shared.is_closed.load(Ordering::Acquire);
            let available = self.shared.available_from(offset);
            if available > 0 {
                return Some(available);
            }
            if is_closed {
                return None;
            }
            self.growth.changed().await.ok()?;
        }
    }

    /// Reads what is there from `offset` on, at most `length` bytes; empty when nothing is.
    ///
    /// # Errors
    /// The disk cannot read, or the file was truncated by somebody else.
    pub async fn read_at(&self, offset: u64, length: usize) -> Result<Bytes, Failure> {
        let available = usize::try_from(self.shared.available_from(offset)).unwrap_or(usize::MAX);
        let wanted = length.min(available);
        if wanted == 0 {
            return Ok(Bytes::new());
        }
        let shared = Arc::clone(&self.shared);
        blocking(move || {
            let mut bytes = vec![0; wanted];
            match read_full(shared.sink.descriptor(), offset, &mut bytes) {
                Ok(count) if count == wanted => Ok(Bytes::from(bytes)),
                Ok(_) => Err(shared.replaced("is shorter than what was written to it")),
                Err(errno) => Err(shared.failed("read", errno)),
            }
        })
        .await
    }
}
