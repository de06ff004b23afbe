//! When a further connection for the same file pays: start with one, ask for more while the whole gets faster, and
//! give up what brings nothing.
//!
//! The kernel tells two things of a path. Where what comes waits in a queue, the line is full and nothing is to be
//! gained. Where packets are lost although none waits, as many as are allowed are tried at once: a server that takes
//! every loss for congestion never fills such a path with one connection. There a connection is fast while it is young;
//! when the whole has become slower than it has been, slow ones are replaced by new ones.

use std::time::Duration;

use tokio::time::Instant;

use super::rein::Pace;

/// How often things are looked at while something may have to be done soon, and otherwise.
const STEP: Duration = Duration::from_millis(100);
const CALM_STEP: Duration = Duration::from_millis(500);
/// How long a rate is measured before it is compared.
const MEASURE: Duration = Duration::from_millis(500);
/// The same when packets are lost, which tells by itself that one connection is not enough.
const MEASURE_LOSSY: Duration = Duration::from_millis(100);
/// What a line can do is what it did over this time: what buffers give away at once is more.
const LASTING: Duration = Duration::from_secs(1);
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
/// Packets lost so shortly after a queue stood are lost to the queue.
const QUEUE_MEMORY: Duration = Duration::from_millis(300);
/// A loss counts after so long without a queue: one that has just grown is not seen at once.
const CONFIRM: Duration = Duration::from_millis(100);
/// As many renewals in a row that do not bring the best back show that it is not to be had any more.
const FUTILE_MAX: u32 = 16;

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
    /// What comes waits in a queue, on most of the connections.
    pub(crate) is_queueing: bool,
}

/// How many connections one download may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Most {
    pub(crate) clean: usize,
    /// Where packets are lost.
    pub(crate) lossy: usize,
}

impl Most {
    pub(crate) const ONE: Self = Self { clean: 1, lossy: 1 };
}

#[derive(Debug)]
pub(crate) struct Growth {
    most: Most,
    allowed: usize,
    state: State,
    pace: Pace,
    looked: Instant,
    out_of_order: u64,
    losses: Option<Losses>,
    queued: Option<Instant>,
    /// What came while a queue stood, in bytes per second: all that the line can carry.
    full: f64,
    /// When the last connection was renewed, and how many were since the whole was at its best.
    renewed: Option<Instant>,
    renewals: u32,
    given_up: Option<Instant>,
}

/// Packets are lost although none waits.
#[derive(Debug, Clone, Copy)]
struct Losses {
    confirmed: Instant,
    newest: Instant,
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

impl Losses {
    fn is_recent(self, now: Instant) -> bool {
        now.duration_since(self.newest) < 2 * WORTH
    }
}

impl Growth {
    /// For a download that may use up to so many connections, beginning with one. `is_known_lossy` says that the path
    /// has lost packets lately.
    pub(crate) fn new(most: Most, is_known_lossy: bool, now: Instant, received: u64) -> Self {
        let is_over = most.clean <= 1 && most.lossy <= 1;
        let state = if is_over { State::Closed } else { State::Watching { since: now } };
        Self {
            most,
            allowed: 1,
            state,
            pace: Pace::new(now, received),
            looked: now,
            out_of_order: 0,
            losses: is_known_lossy.then_some(Losses { confirmed: now, newest: now }),
            queued: None,
            full: 0.0,
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
    pub(crate) fn is_lossy(&self, now: Instant) -> bool {
        self.losses.is_some_and(|losses| now >= losses.confirmed && losses.is_recent(now))
    }

    /// How many more there may be.
    fn room(&self, now: Instant) -> usize {
        let most = if self.is_lossy(now) { self.most.lossy.max(self.most.clean) } else { self.most.clean };
        most.saturating_sub(self.allowed)
    }

    fn note(&mut self, sight: Sight) {
        let Sight { now, received, out_of_order, is_queueing, .. } = sight;
        self.looked = now;
        self.pace.note(now, received);
        if is_queueing {
            self.queued = Some(now);
            self.losses = None;
            self.full = self.full.max(self.pace.over(MEASURE));
        }
        let is_crowded = self.queued.is_some_and(|at| now.duration_since(at) < QUEUE_MEMORY);
        if out_of_order > self.out_of_order && !is_crowded {
            let confirmed = self.losses.filter(|losses| losses.is_recent(now));
            let confirmed = confirmed.map_or(now + CONFIRM, |losses| losses.confirmed);
            self.losses = Some(Losses { confirmed, newest: now });
        }
        self.out_of_order = out_of_order;
    }

    pub(crate) fn advise(&mut self, sight: Sight) -> Advice {
        self.note(sight);
        let now = sight.now;
        match self.state {
            State::Watching { since } => self.watch(sight, since),
            State::Ramping { before, .. } | State::Trial { before, .. }
                if self.is_lossy(now) && self.room(now) > 0 =>
            {
                self.try_more(sight, before.max(self.pace.over(MEASURE_LOSSY)))
            }
            State::Ramping { until, before, added } if now >= until => {
                self.state = State::Trial { since: now, before, added };
                Advice::Nothing
            }
            State::Trial { since, before, added } if now >= since + MEASURE => {
                let rate = self.pace.over(MEASURE);
                if rate >= before * GAIN {
                    return self.try_more(sight, rate);
                }
                if now < since + TRIAL_MAX && !sight.is_queueing {
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
        if sight.is_queueing {
            self.state = State::Watching { since: sight.now };
            return Advice::Nothing;
        }
        let rate = self.pace.over(measure);
        if self.full > 0.0 && rate >= self.full * KEPT {
            return Advice::Nothing;
        }
        if rate >= FAST {
            self.rest(sight.now, rate, REST, 0);
            return Advice::Nothing;
        }
        let is_speeding_up = self.pace.over(MEASURE_LOSSY) >= rate * GAIN;
        if is_speeding_up && sight.now < since + SPEED_UP_MAX {
            return Advice::Nothing;
        }
        self.try_more(sight, rate.max(self.pace.over(MEASURE_LOSSY)))
    }

    /// As many again as there are finds out soon how many help; where packets are lost, all at once.
    fn try_more(&mut self, sight: Sight, rate: f64) -> Advice {
        let room = self.room(sight.now);
        let added = if self.is_lossy(sight.now) { room } else { self.allowed.min(room) };
        let is_worth = sight.left as f64 >= rate * WORTH.as_secs_f64();
        if added == 0 || !is_worth || sight.is_queueing {
            self.rest(sight.now, rate.min(self.pace.over(LASTING)), REST, 0);
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
        let (rate, lasting) = (self.pace.over(MEASURE), self.pace.over(LASTING));
        let is_full = self.room(now) == 0;
        let is_lossy = self.is_lossy(now);
        // Where packets are lost, a single connection looks good only while it is young.
        let is_needless = sight.is_queueing || !is_lossy;
        let may_give_up = is_needless && self.given_up.is_none_or(|at| now >= at + MEASURE);
        if surplus > 0 && self.allowed > 1 && rate >= best * KEPT && may_give_up {
            self.allowed -= 1;
            self.given_up = Some(now);
            self.state = State::Resting { until, best: best.max(lasting), surplus: surplus - 1 };
            return Advice::GiveUp(1);
        }
        // Where further connections did not help, the line was full: only a great change is worth another try.
        let slow = if is_lossy || is_full && surplus == 0 { SLOWED_DOWN } else { MUCH_WORSE };
        if rate >= best * slow {
            self.renewals = 0;
            let is_over = !is_full && surplus == 0 && now >= until;
            self.state = if is_over {
                State::Watching { since: now }
            } else {
                State::Resting { until, best: best.max(lasting), surplus }
            };
            return Advice::Nothing;
        }
        if is_lossy {
            return self.renew(sight, rate);
        }
        if !is_full && (now >= until || rate < best * MUCH_WORSE) {
            self.state = State::Watching { since: now };
        }
        Advice::Nothing
    }

    /// Packets are lost and the whole has become slower.
    fn renew(&mut self, sight: Sight, rate: f64) -> Advice {
        if self.room(sight.now) > 0 {
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
#[path = "growth_tests.rs"]
mod tests;
