//! The space ledger: what admitted part files will still need on devices whose file system cannot reserve.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// Bytes promised by device. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct SpaceLedger {
    promised: Arc<Mutex<HashMap<u64, u64>>>,
}

/// What one part file will still need. Shrinks as bytes are written; dropping it gives back the rest.
#[derive(Debug)]
pub(super) struct SpaceClaim {
    ledger: SpaceLedger,
    device: u64,
    left: AtomicU64,
}

/// There is not enough room.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SpaceShort {
    /// Bytes that are free and promised to nobody.
    pub(super) free: u64,
}

impl SpaceLedger {
    /// Promises `needed` bytes of `device`, which now has `available` free bytes.
    pub(super) fn claim(&self, device: u64, needed: u64, available: u64) -> Result<SpaceClaim, SpaceShort> {
        let mut promised = self.promised();
        let others = promised.get(&device).copied().unwrap_or_default();
        let free = available.saturating_sub(others);
        if needed > free {
            return Err(SpaceShort { free });
        }
        *promised.entry(device).or_default() += needed;
        Ok(SpaceClaim { ledger: self.clone(), device, left: AtomicU64::new(needed) })
    }

    fn promised(&self) -> MutexGuard<'_, HashMap<u64, u64>> {
        self.promised.lock().expect("no holder of this lock panics")
    }
}

impl SpaceClaim {
    /// `bytes` of it now are in the file.
    pub(super) fn shrink(&self, bytes: u64) {
        let mut promised = self.ledger.promised();
        let taken = bytes.min(self.left.load(Ordering::Relaxed));
        self.left.fetch_sub(taken, Ordering::Relaxed);
        if let Some(sum) = promised.get_mut(&self.device) {
            *sum -= taken;
            if *sum == 0 {
                promised.remove(&self.device);
            }
        }
    }
}

impl Drop for SpaceClaim {
    fn drop(&mut self) {
        self.shrink(u64::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_on_one_device_add_up_and_go_away() {
        let ledger = SpaceLedger::default();
        let first = ledger.claim(1, 60, 100).unwrap();
        assert_eq!(ledger.claim(1, 60, 100).unwrap_err(), SpaceShort { free: 40 });
        let other = ledger.claim(2, 60, 100).unwrap();
        first.shrink(50);
        let second = ledger.claim(1, 40, 50).unwrap();
        assert_eq!(ledger.claim(1, 1, 50).unwrap_err(), SpaceShort { free: 0 });
        first.shrink(1_000);
        assert!(ledger.claim(1, 10, 50).is_ok());
        drop((first, second, other));
        assert!(ledger.promised().is_empty());
    }
}
