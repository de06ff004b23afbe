//! The two clocks a decision may look at.

use longhaul_contract::Timestamp;

/// Microseconds of CLOCK_BOOTTIME: monotonic, and it goes on during suspend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct BootTime(pub u64);

impl BootTime {
    #[must_use]
    pub fn plus_millis(self, milliseconds: u64) -> Self {
        Self(self.0.saturating_add(milliseconds.saturating_mul(1000)))
    }
}

/// This instant on both clocks: durations are measured on `boot`, calendars on `wall`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    pub wall: Timestamp,
    pub boot: BootTime,
}

/// When the engine wants to be asked again, if nothing happens before. Both absent: not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wake {
    pub boot: Option<BootTime>,
    pub wall: Option<Timestamp>,
}
