//! Tells a connection that has stopped being worth waiting for.

use std::collections::VecDeque;
use std::time::Duration;

/// The window slides in steps of this part of it.
const STEPS: usize = 4;

/// Averages what came over the time spent waiting for it. Time in which this side did not want to read, because
/// of a rate limit or a busy disk, does not count.
#[derive(Debug)]
pub(crate) struct StallWatch {
    step: Duration,
    bytes_needed: u64,
    bytes: u64,
    waited: Duration,
    past: VecDeque<u64>,
}

impl StallWatch {
    pub(crate) fn new(window: Duration, bytes_per_second: u64) -> Self {
        let bytes_needed = (window.as_secs_f64() * bytes_per_second as f64).ceil().max(1.0) as u64;
        Self {
            step: window / STEPS as u32,
            bytes_needed,
            bytes: 0,
            waited: Duration::ZERO,
            past: VecDeque::new(),
        }
    }

    pub(crate) const fn arrived(&mut self, bytes: u64) {
        self.bytes += bytes;
    }

    /// How long may still be waited before [`Self::is_stalled`] has to be asked.
    pub(crate) fn patience(&self) -> Duration {
        self.step.saturating_sub(self.waited)
    }

    /// Counts time spent waiting and tells whether the average over the window is too low.
    pub(crate) fn is_stalled(&mut self, waited: Duration) -> bool {
        self.waited += waited;
        if self.waited < self.step {
            return false;
        }
        while self.waited >= self.step {
            self.waited -= self.step;
            self.past.push_back(std::mem::take(&mut self.bytes));
            if self.past.len() > STEPS {
                self.past.pop_front();
            }
        }
        self.past.len() == STEPS && self.past.iter().sum::<u64>() < self.bytes_needed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn fault_048_a_byte_a_minute_is_a_stall_and_a_trickle_is_not() {
        let mut drip = StallWatch::new(60 * SECOND, 64);
        drip.arrived(1);
        assert!((0..59).all(|_| !drip.is_stalled(SECOND)));
        assert!(drip.is_stalled(SECOND));
        let mut trickle = StallWatch::new(60 * SECOND, 64);
        for _ in 0..600 {
            trickle.arrived(64);
            assert!(!trickle.is_stalled(SECOND));
        }
        assert!((0..60).any(|_| trickle.is_stalled(SECOND)));
    }

    #[test]
    fn only_waiting_counts() {
        let mut watch = StallWatch::new(4 * SECOND, 1000);
        for _ in 0..1000 {
            watch.arrived(1);
            assert!(!watch.is_stalled(Duration::ZERO));
        }
        assert_eq!(watch.patience(), SECOND);
    }
}
