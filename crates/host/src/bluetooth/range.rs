//! Whether a device is near (BluetoothSignalStrengthFilter): it comes into range at one threshold and leaves it at a lower
//! one, or when nothing was heard of it for a while. Deliberately absent: a clock; the time is an argument.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// Devices in range that one filter keeps track of; further ones are not noticed until others have left.
const DEVICES_MAX: usize = 1024;

/// No threshold at all.
const WEAKEST: i16 = -127;

/// When a device is in range. Strengths in dBm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RangeRule {
    pub enters_at: i16,
    pub leaves_at: i16,
    /// Not heard any stronger than `leaves_at` for so long: it has left.
    pub leaves_after: Duration,
    /// Between reports of a device that stays in range; without, only coming and going are reported.
    pub sampling: Option<Duration>,
}

/// What became of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    Entered(Option<i16>),
    /// Average strength since the last report.
    Stays(Option<i16>),
}

#[derive(Debug)]
struct Near {
    /// Heard strongly enough.
    heard: Instant,
    reported: Instant,
    sum: i64,
    count: i64,
}

/// The devices in range of one filter, by address.
#[derive(Debug)]
pub(crate) struct Ranges {
    rule: RangeRule,
    near: BTreeMap<String, Near>,
}

impl Ranges {
    pub(crate) fn new(rule: RangeRule) -> Self {
        Self { rule, near: BTreeMap::new() }
    }

    /// A device was heard; some adapters do not tell how strongly.
    pub(crate) fn hear(&mut self, address: &str, strength: Option<i16>, now: Instant) -> Option<Turn> {
        let is_over = |threshold: i16| match strength {
            Some(strength) => strength >= threshold,
            None => threshold == WEAKEST,
        };
        let rule = self.rule;
        let Some(near) = self.near.get_mut(address) else {
            if !is_over(rule.enters_at) || self.near.len() >= DEVICES_MAX {
                return None;
            }
            let near = Near { heard: now, reported: now, sum: 0, count: 0 };
            self.near.insert(address.to_owned(), near);
            return Some(Turn::Entered(strength));
        };
        if is_over(rule.leaves_at.saturating_add(1)) || rule.leaves_at == WEAKEST {
            near.heard = now;
        }
        if let Some(strength) = strength {
            near.sum += i64::from(strength);
            near.count += 1;
        }
        if rule.sampling.is_some_and(|interval| now >= near.reported + interval) {
            let average = (near.count > 0).then(|| near.sum / near.count);
            near.reported = now;
            (near.sum, near.count) = (0, 0);
            return Some(Turn::Stays(average.and_then(|average| i16::try_from(average).ok())));
        }
        None
    }

    /// Those that have left by now.
    pub(crate) fn leave(&mut self, now: Instant) -> Vec<String> {
        let after = self.rule.leaves_after;
        let gone: Vec<String> = self
            .near
            .iter()
            .filter(|(_, near)| now >= near.heard + after)
            .map(|(address, _)| address.clone())
            .collect();
        for address in &gone {
            self.near.remove(address);
        }
        gone
    }

    /// When the next one leaves if nothing is heard of it.
    pub(crate) fn next_leave(&self) -> Option<Instant> {
        self.near.values().map(|near| near.heard + self.rule.leaves_after).min()
    }

    /// Nobody could listen for a while, which is not their fault.
    pub(crate) fn listen_again(&mut self, now: Instant) {
        for near in self.near.values_mut() {
            near.heard = near.heard.max(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule() -> RangeRule {
        RangeRule { enters_at: -60, leaves_at: -80, leaves_after: Duration::from_secs(5), sampling: None }
    }

    #[test]
    fn coming_and_going_have_thresholds_of_their_own() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut ranges = Ranges::new(rule());
        assert_eq!(ranges.hear("a", Some(-70), at(0)), None, "too weak to enter");
        assert_eq!(ranges.hear("a", Some(-60), at(1)), Some(Turn::Entered(Some(-60))));
        // Between the thresholds it stays, below the lower one it fades.
        assert_eq!(ranges.hear("a", Some(-79), at(2)), None);
        assert_eq!(ranges.next_leave(), Some(at(7)));
        assert_eq!(ranges.hear("a", Some(-80), at(4)), None);
        assert!(ranges.leave(at(6)).is_empty());
        assert_eq!(ranges.leave(at(7)), ["a"]);
        assert_eq!(ranges.next_leave(), None);
        assert_eq!(ranges.hear("a", Some(-50), at(8)), Some(Turn::Entered(Some(-50))));
    }

    #[test]
    fn a_strength_that_flaps_around_a_threshold_is_one_entry() {
        let start = Instant::now();
        let mut ranges = Ranges::new(rule());
        let mut turns = Vec::new();
        for second in 0..600 {
            let now = start + Duration::from_secs(second);
            let strength = if second % 2 == 0 { -59 } else { -61 };
            turns.extend(ranges.hear("a", Some(strength), now));
            assert!(ranges.leave(now).is_empty());
        }
        assert_eq!(turns, [Turn::Entered(Some(-59))]);
    }

    #[test]
    fn samples_are_averages() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let sampling = Some(Duration::from_secs(3));
        let mut ranges = Ranges::new(RangeRule { sampling, ..rule() });
        assert_eq!(ranges.hear("a", Some(-50), at(0)), Some(Turn::Entered(Some(-50))));
        assert_eq!(ranges.hear("a", Some(-40), at(1)), None);
        assert_eq!(ranges.hear("a", Some(-60), at(3)), Some(Turn::Stays(Some(-50))));
        assert_eq!(ranges.hear("a", Some(-70), at(4)), None);
    }

    #[test]
    fn an_unknown_strength_is_enough_only_where_none_is_asked_for() {
        let now = Instant::now();
        assert_eq!(Ranges::new(rule()).hear("a", None, now), None);
        let open = RangeRule { enters_at: -127, leaves_at: -127, ..rule() };
        let mut ranges = Ranges::new(open);
        assert_eq!(ranges.hear("a", None, now), Some(Turn::Entered(None)));
        assert_eq!(ranges.hear("a", None, now + Duration::from_secs(4)), None);
        assert!(ranges.leave(now + Duration::from_secs(8)).is_empty(), "it was heard meanwhile");
    }

    #[test]
    fn a_daemon_that_restarts_makes_nobody_leave() {
        let start = Instant::now();
        let mut ranges = Ranges::new(rule());
        ranges.hear("a", Some(-50), start);
        let back = start + Duration::from_secs(60);
        ranges.listen_again(back);
        assert!(ranges.leave(back).is_empty());
        assert_eq!(ranges.hear("a", Some(-50), back), None, "still the same stay");
        assert_eq!(ranges.leave(back + Duration::from_secs(5)), ["a"]);
    }
}
