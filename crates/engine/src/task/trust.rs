//! Whether the wall clock is to be believed. Periods never ask it while the service lives; calendars do, and wait while
//! it is in doubt: before 2020 it was never set, and when it shows less than the store has seen, it may be about to be.

use longhaul_contract::Timestamp;

use crate::clock::{BootTime, Now, Wake};

/// 2020-01-01T00:00:00Z. What shows less is a clock without a battery.
const SET_AT_ALL: Timestamp = Timestamp(1_577_836_800_000_000);
/// Both clocks go at one speed: the wall clock was set if it went this much more or less than the other.
const STEP_MICROS: u64 = 1_000_000;
/// A clock that nobody corrects for so long is believed, even if the store has seen a later time.
const DOUBT_MS: u64 = 86_400_000;

#[derive(Debug, Default)]
pub(crate) struct WallClock {
    /// What it was ahead of the boot clock, in microseconds.
    ahead: Option<i64>,
    /// The latest time that the store knows of.
    seen: Timestamp,
    doubted_since: Option<BootTime>,
    /// It shows a time before it can have been set.
    is_unset: bool,
}

/// What became of the clock since it was looked at last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Look {
    pub(crate) was_set: bool,
    pub(crate) trust_changed: bool,
}

impl WallClock {
    /// Before the first look: a time that somebody wrote down.
    pub(crate) fn remember(&mut self, time: Timestamp) {
        self.seen = self.seen.max(time);
    }

    pub(crate) fn is_trusted(&self) -> bool {
        self.doubted_since.is_none()
    }

    pub(crate) fn look(&mut self, now: Now) -> Look {
        let ahead = now.wall.micros().saturating_sub(i64::try_from(now.boot.0).unwrap_or(i64::MAX));
        let is_first = self.ahead.is_none();
        let was_set = self.ahead.is_some_and(|before| before.abs_diff(ahead) >= STEP_MICROS);
        if is_first || was_set {
            self.ahead = Some(ahead);
        }
        let was_trusted = self.is_trusted();
        self.is_unset = now.wall < SET_AT_ALL;
        let is_late_enough = now.wall >= self.seen
            || self.doubted_since.is_some_and(|since| since.plus_millis(DOUBT_MS) <= now.boot);
        let is_trusted = !self.is_unset && (was_set || is_late_enough || (was_trusted && !is_first));
        if is_trusted {
            self.doubted_since = None;
        } else {
            self.doubted_since.get_or_insert(now.boot);
        }
        Look { was_set, trust_changed: is_first || was_trusted != is_trusted }
    }

    /// When a clock in doubt is believed if nobody sets it.
    pub(crate) fn believed_at(&self) -> Wake {
        match self.doubted_since {
            None => Wake::default(),
            Some(since) => Wake {
                boot: (!self.is_unset).then(|| since.plus_millis(DOUBT_MS)),
                wall: Some(self.seen.max(SET_AT_ALL)),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600;

    fn at(wall: &str, boot_seconds: u64) -> Now {
        Now { wall: wall.parse().unwrap(), boot: BootTime(boot_seconds * 1_000_000) }
    }

    fn seen(time: &str) -> WallClock {
        let mut clock = WallClock::default();
        clock.remember(time.parse().unwrap());
        clock
    }

    #[test]
    fn a_clock_that_was_never_set_is_in_doubt_until_it_is() {
        let mut clock = WallClock::default();
        assert!(clock.look(at("1970-01-01T00:00:10Z", 10)).trust_changed);
        assert!(!clock.is_trusted());
        assert_eq!(clock.believed_at().boot, None);
        clock.look(at("1970-01-03T00:00:10Z", 48 * HOUR + 10));
        assert!(!clock.is_trusted(), "waiting does not help it");
        let look = clock.look(at("2026-03-01T00:00:00Z", 48 * HOUR + 20));
        assert_eq!(look, Look { was_set: true, trust_changed: true });
        assert!(clock.is_trusted());
    }

    #[test]
    fn a_clock_behind_the_store_is_in_doubt_until_set_or_reached_or_a_day_has_passed() {
        let mut set = seen("2026-03-01T00:00:00Z");
        set.look(at("2025-06-01T00:00:00Z", 10));
        assert!(!set.is_trusted());
        set.look(at("2025-06-01T00:00:00.5Z", 10));
        assert!(!set.is_trusted(), "half a second is no setting");
        set.look(at("2026-02-28T00:00:00Z", 20));
        assert!(set.is_trusted(), "who sets it knows");

        let mut reached = seen("2026-03-01T00:00:00Z");
        reached.look(at("2026-02-28T23:00:00Z", 10));
        reached.look(at("2026-03-01T00:00:00Z", 10 + HOUR));
        assert!(reached.is_trusted());

        let mut waited = seen("2036-03-01T00:00:00Z");
        waited.look(at("2026-03-01T00:00:00Z", 10));
        assert_eq!(waited.believed_at().boot, Some(at("2026-03-01T00:00:00Z", 10 + 24 * HOUR).boot));
        waited.look(at("2026-03-02T00:00:00Z", 10 + 24 * HOUR));
        assert!(waited.is_trusted());
    }

    #[test]
    fn steps_are_noticed_and_a_trusted_clock_may_go_back() {
        let mut clock = seen("2026-03-01T00:00:00Z");
        clock.look(at("2026-03-01T01:00:00Z", 10));
        assert!(!clock.look(at("2026-03-01T02:00:00Z", 10 + HOUR)).was_set);
        let look = clock.look(at("2026-02-01T00:00:00Z", 10 + HOUR));
        assert_eq!(look, Look { was_set: true, trust_changed: false });
        assert!(!clock.look(at("2026-02-01T00:00:00Z", 10 + HOUR)).was_set);
        clock.look(at("2016-02-01T00:00:00Z", 10 + HOUR));
        assert!(!clock.is_trusted(), "before 2020 nothing is believed");
    }
}
