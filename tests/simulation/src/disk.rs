//! The disk on which workers write: what is written, what would survive a power cut, what is published.

use std::collections::BTreeMap;

use longhaul_contract::OperationId;

use crate::cut::Tear;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Part {
    pub(crate) written: u64,
    pub(crate) durable: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Disk {
    pub(crate) parts: BTreeMap<OperationId, Part>,
    /// Bytes of each published file.
    pub(crate) published: BTreeMap<OperationId, u64>,
    pub(crate) is_full: bool,
}

impl Disk {
    pub(crate) fn write(&mut self, id: OperationId, written: u64) {
        self.parts.entry(id).or_default().written = written;
    }

    pub(crate) fn sync(&mut self, id: OperationId) {
        if let Some(part) = self.parts.get_mut(&id) {
            part.durable = part.written;
        }
    }

    /// Restarts the part file from byte 0.
    pub(crate) fn truncate(&mut self, id: OperationId) {
        if let Some(part) = self.parts.get_mut(&id) {
            *part = Part::default();
        }
    }

    /// Sync, rename, sync of the folder: all or nothing to the eye of a crash.
    pub(crate) fn publish(&mut self, id: OperationId) {
        if let Some(part) = self.parts.remove(&id) {
            self.published.insert(id, part.written);
        }
    }

    /// What was written and not synced is lost, or some of it is there by chance.
    pub(crate) fn power_cut(&mut self, tear: Tear) {
        for part in self.parts.values_mut() {
            part.written = part.durable + tear.left_of(part.written.saturating_sub(part.durable));
        }
    }
}
