//! When a further connection for the same file pays: start with one, ask for more while the whole gets faster, and
//! give up what brings nothing.
//!
//! A path that loses packets is told by the kernel, and then as many as are allowed are tried at once: a server that
//! takes every loss for congestion never fills such a path with one connection. There a connection is fast while it is
//! young; when the whole has become slower than it has been, slow ones are replaced by new ones.

use std::time::Duration;

use tokio::time::Instant;

use super::rein::Pace;

/// How often things are looked at while something may have to be done soon, and otherwise.
const STEP: Duration = Duration::from_millis(100);
const CALM_STEP: Duration = Duration::from_millis(500);
/// How long a rate is measured before it is compared.
const MEASURE: Duration = Duration::from_millis(500);
/// The same when packets are lost, which tells by itself that one connection is not enough.
const MEASURE_LOSSY: Duration = Duration::from_millis(200);
/// A new connection gets this long to speed up before it is measured.
const RAMP: Duration = Duration::from_millis(300);
/// How long a trial may take: over long distances a connection needs seconds to speed up.
const TRIAL_MAX: Duration = Duration::from_secs(2);
/// The whole has to get this much faster for an addition to be kept.
const GAIN: f64 = 1.15;
/// Bytes per second at which this machine, not the network, is the limit.
const FAST: f64 = 100e6;
/// What is left has to take at least this long for an addition to be worth its set-up.
const WORTH: Duration = Duration::from_secs(1);
/// After a failed trial things are left as they are for so long, unless they get much worse.
const REST: Duration = Duration::from_secs(30);
const MUCH_WORSE: f64 = 0.6;
/// After no seat was free it is looked for again.
const SEAT_REST: Duration = Duration::from_secs(5);
/// What did not help is given up one by one, as long as the whole stays at this part of its best.
const KEPT: f64 = 0.92;
/// Connections are renewed while the whole is slower than this part of its best.
const SLOWED_DOWN: f64 = 0.9;
/// A connection that gets faster by itself is left to that for so long.
const SPEED_UP_MAX: Duration = Duration::from_secs(2);
/// One at a time, and not more often than this.
const RENEWAL_INTERVAL: Duration = Duration::from_millis(200);
/// As many renewals in a row that do not bring the best back show that it is not to be had any more.
const FUTILE_MAX: u32 = 24;

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Advice {
    Nothing,
    /// Open so many further connections.
    Add(usize),
    /// Give up the so many youngest.
    GiveUp(usize),
    /// Replace the one that has slowed down most, if one has; to be followed by [`Growth::has_renewed`].
    Renew,
}

/// What is known when advice is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sight {
    pub(crate) now: Instant,
    /// Bytes that have come so far.
    pub(crate) received: u64,
    pub(crate) left: u64,
    /// Packets out of order so far, over all connections.
    pub(crate) out_of_order: u64,
}

#[derive(Debug)]
pub(crate) struct Growth {
    max: usize,
    allowed: usize,
    state: State,
    pace: Pace,
    looked: Instant,
    /// Of [`Sight::out_of_order`], with when it last grew.
    out_of_order: u64,
    lost: Option<Instant>,
    /// When the last connection was renewed, and how many were since the whole was at its best.
    renewed: Option<Instant>,
    renewals: u32,
    given_up: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Watching {
        since: Instant,
    },
    /// Lets additions speed up before they are measured.
    Ramping {
        until: Instant,
        before: f64,
        added: usize,
    },
    Trial {
        since: Instant,
        before: f64,
        added: usize,
    },
    /// Nothing more is tried before `until`, unless the whole gets much slower than `best`.
    Resting {
        until: Instant,
        best: f64,
        /// Connections that were tried and did not help.
        surplus: usize,
    },
    Closed,
}

impl Growth {
    /// For a download that may use up to `max` connections, beginning with one.
    pub(crate) fn new(max: usize, now: Instant, received: u64) -> Self {
        let state = if max > 1 { State::Watching { since: now } } else { State::Closed };
        Self {
            max,
            allowed: 1,
            state,
            pace: Pace::new(now, received),
            looked: now,
            out_of_order: 0,
            lost: None,
            renewed: None,
            renewals: 0,
            given_up: None,
        }
    }

    /// Connections that have proved useful, or are being tried.
    pub(crate) const fn allowed(&self) -> usize {
        self.allowed
    }

    /// When [`Self::advise`] is to be asked next.
    pub(crate) fn due(&self) -> Option<Instant> {
        match self.state {
            State::Closed => None,
            State::Resting { surplus: 0, .. } if !self.is_lossy(self.looked) => Some(self.looked + CALM_STEP),
            State::Watching { .. } | State::Ramping { .. } | State::Trial { .. } | State::Resting { .. } => {
                Some(self.looked + STEP)
            }
        }
    }

    /// Whether packets were lost lately.
    fn is_lossy(&self, now: Instant) -> bool {
        self.lost.is_some_and(|at| now.duration_since(at) < 2 * WORTH)
    }

    pub(crate) fn advise(&mut self, sight: Sight) -> Advice {
        let Sight { now, received, out_of_order, .. } = sight;
        self.looked = now;
        self.pace.note(now, received);
        if out_of_order > self.out_of_order {
            self.lost = Some(now);
        }
        self.out_of_order = out_of_order;
        match self.state {
            State::Watching { since } => self.watch(sight, since),
            State::Ramping { until, before, added } if now >= until => {
                self.state = State::Trial { since: now, before, added };
                Advice::Nothing
            }
            State::Trial { since, before, added } if now >= since + MEASURE => {
                let rate = self.pace.over(MEASURE);
                if rate >= before * GAIN {
                    return self.try_more(sight, rate);
                }
                if now < since + TRIAL_MAX {
                    return Advice::Nothing;
                }
                self.rest(now, rate.max(before), REST, added);
                Advice::Nothing
            }
            State::Resting { until, best, surplus } => self.rest_or_renew(sight, until, best, surplus),
            State::Ramping { .. } | State::Trial { .. } | State::Closed => Advice::Nothing,
        }
    }

    fn watch(&mut self, sight: Sight, since: Instant) -> Advice {
        let measure = if self.is_lossy(sight.now) { MEASURE_LOSSY } else { MEASURE };
        if sight.now < since + measure {
            return Advice::Nothing;
        }
        let rate = self.pace.over(measure);
        if rate >= FAST {
            self.rest(sight.now, rate, REST, 0);
            return Advice::Nothing;
        }
        let is_speeding_up = self.pace.over(MEASURE_LOSSY) >= rate * GAIN;
        if is_speeding_up && sight.now < since + SPEED_UP_MAX {
            return Advice::Nothing;
        }
        self.try_more(sight, rate)
    }

    /// As many again as there are finds out soon how many help; where packets are lost, all at once.
    fn try_more(&mut self, sight: Sight, rate: f64) -> Advice {
        let room = self.max.saturating_sub(self.allowed);
        let added = if self.is_lossy(sight.now) { room } else { self.allowed.min(room) };
        let is_worth = sight.left as f64 >= rate * WORTH.as_secs_f64();
        if added == 0 || !is_worth {
            self.rest(sight.now, rate, REST, 0);
            return Advice::Nothing;
        }
        self.allowed += added;
        self.state = State::Ramping { until: sight.now + RAMP, before: rate, added };
        Advice::Add(added)
    }

    fn rest(&mut self, now: Instant, best: f64, time: Duration, surplus: usize) {
        self.renewals = 0;
        self.state = State::Resting { until: now + time, best, surplus };
    }

    fn rest_or_renew(&mut self, sight: Sight, until: Instant, best: f64, surplus: usize) -> Advice {
        let now = sight.now;
        let rate = self.pace.over(MEASURE);
        let is_full = self.allowed >= self.max;
        let may_give_up = self.given_up.is_none_or(|at| now >= at + MEASURE);
        if surplus > 0 && self.allowed > 1 && rate >= best * KEPT && may_give_up {
            self.allowed -= 1;
            self.given_up = Some(now);
            self.state = State::Resting { until, best: best.max(rate), surplus: surplus - 1 };
            return Advice::GiveUp(1);
        }
        if rate >= best * SLOWED_DOWN {
            self.renewals = 0;
            let is_over = !is_full && surplus == 0 && now >= until;
            self.state = if is_over {
                State::Watching { since: now }
            } else {
                State::Resting { until, best: best.max(rate), surplus }
            };
            return Advice::Nothing;
        }
        if self.is_lossy(now) {
            return self.renew(sight, rate);
        }
        if !is_full && (now >= until || rate < best * MUCH_WORSE) {
            self.state = State::Watching { since: now };
        }
        Advice::Nothing
    }

    /// Packets are lost and the whole has become slower.
    fn renew(&mut self, sight: Sight, rate: f64) -> Advice {
        if self.allowed < self.max {
            return self.try_more(sight, rate);
        }
        if self.renewals >= FUTILE_MAX {
            self.rest(sight.now, rate, REST, 0);
            return Advice::Nothing;
        }
        let is_due = self.renewed.is_none_or(|at| sight.now >= at + RENEWAL_INTERVAL);
        let is_worth = sight.left as f64 >= rate * WORTH.as_secs_f64();
        if is_worth && is_due { Advice::Renew } else { Advice::Nothing }
    }

    /// A connection was replaced.
    pub(crate) const fn has_renewed(&mut self, now: Instant) {
        self.renewed = Some(now);
        self.renewals += 1;
    }

    /// A further connection could not be had at all.
    pub(crate) fn has_no_seat(&mut self, now: Instant, under_way: usize) {
        self.allowed = under_way.max(1);
        if !matches!(self.state, State::Closed) {
            self.rest(now, 0.0, SEAT_REST, 0);
        }
    }

    /// The server minds: no more are asked for in this attempt.
    pub(crate) const fn close(&mut self, under_way: usize) {
        self.allowed = if under_way > 1 { under_way } else { 1 };
        self.state = State::Closed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_millis(50);
    const PLENTY: u64 = 10 << 30;

    /// A download of 20 seconds, as its growth sees and steers it.
    struct Simulation {
        growth: Growth,
        /// When each of the connections began.
        connections: Vec<Instant>,
        most: usize,
        renewals: usize,
        received: f64,
    }

    /// Runs a download whose rate follows from the ages of its connections and its own age, in seconds.
    fn simulate(max: usize, left: u64, loses: bool, rate: impl Fn(&[f64], f64) -> f64) -> Simulation {
        let start = Instant::now();
        let mut now = start;
        let growth = Growth::new(max, start, 0);
        let mut simulation =
            Simulation { growth, connections: vec![start], most: 1, renewals: 0, received: 0.0 };
        let mut out_of_order = 0;
        for _ in 0..400 {
            now += STEP;
            let ages: Vec<f64> =
                simulation.connections.iter().map(|began| (now - *began).as_secs_f64()).collect();
            simulation.received += rate(&ages, (now - start).as_secs_f64()) * STEP.as_secs_f64();
            out_of_order += u64::from(loses);
            if simulation.growth.due().is_none_or(|due| now < due) {
                continue;
            }
            let sight = Sight { now, received: simulation.received as u64, left, out_of_order };
            let advice = simulation.growth.advise(sight);
            simulation.follow(advice, now);
        }
        simulation
    }

    impl Simulation {
        fn follow(&mut self, advice: Advice, now: Instant) {
            match advice {
                Advice::Nothing => {}
                Advice::Add(count) => self.connections.extend((0..count).map(|_| now)),
                Advice::GiveUp(count) => self.connections.truncate(self.connections.len() - count),
                Advice::Renew => {
                    let oldest = self.connections.iter_mut().min().unwrap();
                    *oldest = now;
                    self.renewals += 1;
                    self.growth.has_renewed(now);
                }
            }
            self.most = self.most.max(self.connections.len());
            assert!(self.connections.len() <= self.growth.allowed());
        }

        fn ends_with(&self) -> (usize, usize) {
            (self.connections.len(), self.most)
        }
    }

    fn settle(max: usize, total_rate: impl Fn(usize) -> f64, left: u64) -> (usize, usize) {
        simulate(max, left, false, |ages, _| total_rate(ages.len())).ends_with()
    }

    #[test]
    fn a_line_that_is_full_keeps_one_connection() {
        assert_eq!(settle(8, |_| 10e6, PLENTY), (1, 2));
        let lossy = simulate(8, PLENTY, true, |_, _| 10e6);
        assert_eq!((lossy.ends_with(), lossy.renewals), ((1, 8), 0));
    }

    #[test]
    fn a_fast_machine_is_not_asked_twice() {
        assert_eq!(settle(8, |_| 500e6, PLENTY), (1, 1));
        assert_eq!(simulate(8, PLENTY, true, |_, _| 500e6).ends_with(), (1, 1));
    }

    #[test]
    fn long_lines_get_all_that_help() {
        assert_eq!(settle(8, |count| 1e6 * count as f64, PLENTY), (8, 8));
        assert_eq!(settle(6, |count| 1e6 * count as f64, PLENTY), (6, 6));
        assert_eq!(settle(16, |count| 1e6 * (count as f64).min(4.0), PLENTY), (4, 8));
    }

    #[test]
    fn lossy_lines_get_all_at_once_and_young_connections() {
        let line = |ages: &[f64], _| {
            let sum: f64 = ages.iter().map(|age| if *age < 1.5 { 4e6 } else { 1.5e6 }).sum();
            sum.min(25e6)
        };
        let lossy = simulate(8, PLENTY, true, line);
        assert_eq!(lossy.ends_with(), (8, 8));
        let share = lossy.received / 20.0 / 25e6;
        assert!(share > 0.8, "{share} of the line");
        let clean = simulate(8, PLENTY, false, line);
        assert_eq!((clean.ends_with(), clean.renewals), ((8, 8), 0));
    }

    #[test]
    fn renewals_that_do_not_help_come_to_an_end() {
        let fallen = |ages: &[f64], time: f64| ages.len() as f64 * if time < 4.0 { 1e6 } else { 0.4e6 };
        let lossy = simulate(8, PLENTY, true, fallen);
        assert_eq!((lossy.ends_with(), lossy.renewals), ((8, 8), FUTILE_MAX as usize));
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
        let now = start + Duration::from_secs(100);
        let sight = Sight { now, received: 1 << 20, left: PLENTY, out_of_order: 1 };
        assert_eq!(growth.advise(sight), Advice::Nothing);
    }
}
