//! Time as the world knows it: the truth, which nobody in the service sees, and the two clocks it does see.

use longhaul_contract::Timestamp;
use longhaul_engine::{BootTime, Now};

/// 2020-01-01T00:00:00Z in microseconds.
const SET_AT_ALL: i64 = 1_577_836_800_000_000;
const DAY: i64 = 86_400_000_000;

/// All in microseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    pub(crate) truth: i64,
    /// What the wall clock is ahead of the truth.
    pub(crate) skew: i64,
    booted: i64,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { truth: 1_770_000_000_000_000, skew: 0, booted: 1_769_999_000_000_000 }
    }

    pub(crate) fn now(&self) -> Now {
        let boot = u64::try_from(self.truth - self.booted).expect("the truth goes forward");
        Now { wall: Timestamp(self.wall()), boot: BootTime(boot) }
    }

    pub(crate) fn wall(&self) -> i64 {
        self.truth + self.skew
    }

    pub(crate) fn boot_again(&mut self) {
        self.booted = self.truth - 1_000_000;
    }
}

/// Whether calendars may believe the wall clock, by the documentation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Trust {
    /// The latest time the store knew when the service started.
    seen: i64,
    doubted_since: Option<i64>,
}

impl Trust {
    pub(crate) fn at_start(seen: i64, clock: Clock) -> Self {
        let is_trusted = clock.wall() >= SET_AT_ALL.max(seen);
        Self { seen, doubted_since: (!is_trusted).then_some(clock.truth) }
    }

    pub(crate) fn look(&mut self, clock: Clock, was_set: bool) {
        if clock.wall() < SET_AT_ALL {
            self.doubted_since.get_or_insert(clock.truth);
        } else if let Some(since) = self.doubted_since
            && (was_set || clock.wall() >= self.seen || clock.truth >= since + DAY)
        {
            self.doubted_since = None;
        }
    }

    pub(crate) fn is_trusted(self) -> bool {
        self.doubted_since.is_none()
    }
}
