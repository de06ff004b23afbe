//! When a further connection for the same file pays: start with one, ask for more while the whole gets faster, and
//! give up what brings nothing.

use std::time::Duration;

use tokio::time::Instant;

/// How long a rate is measured before it is compared.
const MEASURE: Duration = Duration::from_millis(500);
/// A new connection gets this long to speed up before it is measured.
const RAMP: Duration = Duration::from_millis(300);
/// Measures a trial may take: over long distances a connection needs seconds to speed up.
const MEASURES_MAX: u32 = 4;
/// The whole has to get this much faster for an addition to be kept.
const GAIN: f64 = 1.15;
/// Bytes per second at which this machine, not the network, is the limit.
const FAST: f64 = 100e6;
/// What is left has to take at least this long for an addition to be worth its set-up.
const WORTH: Duration = Duration::from_secs(1);
/// After a failed trial things are left as they are for so long.
const REST: Duration = Duration::from_secs(30);
/// After no seat was free it is looked for again.
const SEAT_REST: Duration = Duration::from_secs(5);

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Advice {
    Nothing,
    /// Open so many further connections.
    Add(usize),
    /// Give up the so many youngest.
    GiveUp(usize),
}

#[derive(Debug)]
pub(crate) struct Growth {
    max: usize,
    allowed: usize,
    state: State,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// Measures from `since`, when `received` bytes had come.
    Watching {
        since: Instant,
        received: u64,
    },
    /// Lets additions speed up before they are measured.
    Ramping {
        until: Instant,
        before: f64,
        added: usize,
    },
    Trial {
        since: Instant,
        received: u64,
        before: f64,
        added: usize,
        measures: u32,
    },
    Resting {
        until: Instant,
    },
    Closed,
}

impl Growth {
    /// For a download that may use up to `max` connections, beginning with one.
    pub(crate) const fn new(max: usize, now: Instant, received: u64) -> Self {
        let state = if max > 1 { State::Watching { since: now, received } } else { State::Closed };
        Self { max, allowed: 1, state }
    }

    /// Connections that have proved useful, or are being tried.
    pub(crate) const fn allowed(&self) -> usize {
        self.allowed
    }

    /// When [`Self::advise`] is to be asked next.
    pub(crate) fn due(&self) -> Option<Instant> {
        match self.state {
            State::Watching { since, .. } | State::Trial { since, .. } => Some(since + MEASURE),
            State::Ramping { until, .. } | State::Resting { until } => Some(until),
            State::Closed => None,
        }
    }

    /// Judges by what has been `received` so far and what is `left`.
    pub(crate) fn advise(&mut self, now: Instant, received: u64, left: u64) -> Advice {
        match self.state {
            State::Watching { since, received: then } if now >= since + MEASURE => {
                let rate = rate(now - since, received - then.min(received));
                if rate >= FAST {
                    self.state = State::Resting { until: now + REST };
                    return Advice::Nothing;
                }
                self.try_more(now, left, rate)
            }
            State::Ramping { until, before, added } if now >= until => {
                self.state = State::Trial { since: now, received, before, added, measures: 0 };
                Advice::Nothing
            }
            State::Trial { since, received: then, before, added, measures } if now >= since + MEASURE => {
                let rate = rate(now - since, received - then.min(received));
                if rate >= before * GAIN {
                    return self.try_more(now, left, rate);
                }
                if measures + 1 < MEASURES_MAX {
                    self.state = State::Trial { since: now, received, before, added, measures: measures + 1 };
                    return Advice::Nothing;
                }
                self.allowed = self.allowed.saturating_sub(added).max(1);
                self.state = State::Resting { until: now + REST };
                Advice::GiveUp(added)
            }
            State::Resting { until } if now >= until => {
                self.state = State::Watching { since: now, received };
                Advice::Nothing
            }
            _ => Advice::Nothing,
        }
    }

    /// As many again as there are: a bad line needs many, and doubling finds that out soon.
    fn try_more(&mut self, now: Instant, left: u64, rate: f64) -> Advice {
        let added = self.allowed.min(self.max - self.allowed);
        let is_worth = left as f64 >= rate * WORTH.as_secs_f64();
        if added == 0 || !is_worth {
            self.state = State::Resting { until: now + REST };
            return Advice::Nothing;
        }
        self.allowed += added;
        self.state = State::Ramping { until: now + RAMP, before: rate, added };
        Advice::Add(added)
    }

    /// A further connection could not be had at all.
    pub(crate) fn has_no_seat(&mut self, now: Instant, under_way: usize) {
        self.allowed = under_way.max(1);
        if !matches!(self.state, State::Closed) {
            self.state = State::Resting { until: now + SEAT_REST };
        }
    }

    /// The server minds: no more are asked for in this attempt.
    pub(crate) fn close(&mut self, under_way: usize) {
        self.allowed = under_way.max(1);
        self.state = State::Closed;
    }
}

fn rate(time: Duration, bytes: u64) -> f64 {
    bytes as f64 / time.as_secs_f64().max(0.001)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a download whose total rate follows from the number of connections; returns how many it ended up with.
    fn settle(max: usize, total_rate: impl Fn(usize) -> f64, left: u64) -> (usize, usize) {
        let start = Instant::now();
        let mut growth = Growth::new(max, start, 0);
        let (mut connections, mut most, mut received) = (1_usize, 1, 0.0);
        let step = Duration::from_millis(50);
        for tick in 1..400 {
            let now = start + step * tick;
            received += total_rate(connections) * step.as_secs_f64();
            match growth.advise(now, received as u64, left) {
                Advice::Nothing => {}
                Advice::Add(count) => connections += count,
                Advice::GiveUp(count) => connections -= count,
            }
            most = most.max(connections);
            assert!(connections <= growth.allowed().max(1));
        }
        (connections, most)
    }

    const PLENTY: u64 = 10 << 30;

    #[test]
    fn a_line_that_is_full_keeps_one_connection() {
        assert_eq!(settle(8, |_| 10e6, PLENTY), (1, 2));
    }

    #[test]
    fn a_fast_machine_is_not_asked_twice() {
        assert_eq!(settle(8, |_| 500e6, PLENTY), (1, 1));
    }

    #[test]
    fn lossy_lines_get_all_that_help() {
        assert_eq!(settle(8, |count| 1e6 * count as f64, PLENTY), (8, 8));
        assert_eq!(settle(6, |count| 1e6 * count as f64, PLENTY), (6, 6));
        assert_eq!(settle(16, |count| 1e6 * (count as f64).min(4.0), PLENTY), (4, 8));
    }

    #[test]
    fn what_is_nearly_there_is_left_alone() {
        assert_eq!(settle(8, |_| 10e6, 1 << 20), (1, 1));
        assert_eq!(settle(1, |_| 10e6, PLENTY), (1, 1));
    }

    #[test]
    fn a_server_that_minds_is_not_asked_again() {
        let start = Instant::now();
        let mut growth = Growth::new(8, start, 0);
        growth.close(1);
        assert_eq!((growth.due(), growth.allowed()), (None, 1));
        assert_eq!(growth.advise(start + Duration::from_secs(100), 1 << 20, PLENTY), Advice::Nothing);
    }
}
