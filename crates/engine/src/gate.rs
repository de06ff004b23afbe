//! Damps the machine's signals: a class of operations may run while its gate is open. A gate closes at once and
//! opens late, the later the more often it closed soon after opening. This is the only place that does so.

use std::collections::VecDeque;

use longhaul_contract::{HostState, ReasonCode, Timestamp};

use crate::clock::{BootTime, Now};
use crate::cost::{Class, Denials, denials};

/// A gate that closed sooner than this after it opened counts as flapping, and openings of a flapping gate lie
/// at least this far apart.
const FLAP_MS: u64 = 60_000;
const FLAP_MS_MAX: u64 = 300_000;
/// Closed stretches kept to tell operations, when they leave the queue, what they have waited for.
const STRETCHES_MAX: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Closed,
    /// Nothing forbids it any more, but not for long enough yet.
    Settling {
        opens_at: BootTime,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stretch {
    code: ReasonCode,
    from: Timestamp,
    to: Option<Timestamp>,
}

#[derive(Debug, Clone)]
struct Gate {
    state: State,
    /// While settling: what forbade it until then.
    denials: Denials,
    /// When it opened by a measured signal.
    opened_at: Option<BootTime>,
    short_openings: u32,
    opens_not_before: BootTime,
    stretches: VecDeque<Stretch>,
}

/// Why a gate is closed, and when it opens if nothing more happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Closed {
    pub(crate) denials: Denials,
    pub(crate) opens_at: Option<BootTime>,
}

#[derive(Debug)]
pub(crate) struct Gates {
    gates: Vec<Gate>,
    settle_ms: u64,
}

impl Gates {
    /// Gates begin open: operations that wait since before the service ran did not flap.
    pub(crate) fn new(settle_ms: u64) -> Self {
        let gate = Gate {
            state: State::Open,
            denials: Denials::default(),
            opened_at: None,
            short_openings: 0,
            opens_not_before: BootTime::default(),
            stretches: VecDeque::new(),
        };
        Self { gates: vec![gate; Class::COUNT], settle_ms }
    }

    pub(crate) fn is_open(&self, class: Class) -> bool {
        self.gates[class.index()].state == State::Open
    }

    /// What holds the class back at `now`; `None` when it may run.
    pub(crate) fn closed(&self, class: Class, now: BootTime) -> Option<Closed> {
        let gate = &self.gates[class.index()];
        match gate.state {
            State::Open => None,
            State::Closed => Some(Closed { denials: gate.denials, opens_at: None }),
            State::Settling { opens_at } if opens_at <= now => None,
            State::Settling { opens_at } => Some(Closed { denials: gate.denials, opens_at: Some(opens_at) }),
        }
    }

    /// Takes in a new state of the machine. Answers the classes whose verdict changed to the eye of a caller.
    pub(crate) fn observe(&mut self, now: Now, host: &HostState) -> Vec<Class> {
        let is_measured = host.network.level.value().is_some() && host.network.cost.value().is_some();
        let mut changed = Vec::new();
        for class in Class::all() {
            let denied = denials(host, class);
            let settle_ms = self.settle_ms;
            let gate = &mut self.gates[class.index()];
            let before = (gate.state, gate.denials);
            if denied.is_empty() {
                gate.allow(now, settle_ms, is_measured);
            } else {
                gate.deny(now, denied);
            }
            if before != (gate.state, gate.denials) {
                changed.push(class);
            }
        }
        changed
    }

    /// Opens what has settled; answers the classes that opened.
    pub(crate) fn advance(&mut self, now: Now) -> Vec<Class> {
        let mut opened = Vec::new();
        for class in Class::all() {
            let gate = &mut self.gates[class.index()];
            if matches!(gate.state, State::Settling { opens_at } if opens_at <= now.boot) {
                gate.open(now, true);
                opened.push(class);
            }
        }
        opened
    }

    pub(crate) fn opens_at(&self, class: Class) -> Option<BootTime> {
        match self.gates[class.index()].state {
            State::Settling { opens_at } => Some(opens_at),
            State::Open | State::Closed => None,
        }
    }

    /// What kept the class closed between two instants, oldest first.
    pub(crate) fn stretches(
        &self,
        class: Class,
        from: Timestamp,
        to: Timestamp,
    ) -> impl Iterator<Item = (ReasonCode, Timestamp, Timestamp)> {
        self.gates[class.index()].stretches.iter().filter_map(move |stretch| {
            let begin = stretch.from.max(from);
            let end = stretch.to.unwrap_or(to).min(to);
            (begin < end).then_some((stretch.code, begin, end))
        })
    }
}

impl Gate {
    fn allow(&mut self, now: Now, settle_ms: u64, is_measured: bool) {
        match self.state {
            // An opening that rested on unknown signals proves nothing about flapping.
            State::Open => {
                if is_measured && self.opened_at.is_none() {
                    self.opened_at = Some(now.boot);
                }
            }
            State::Settling { .. } => {}
            State::Closed => {
                let opens_at = now.boot.plus_millis(settle_ms).max(self.opens_not_before);
                if opens_at <= now.boot {
                    self.open(now, is_measured);
                } else {
                    self.state = State::Settling { opens_at };
                }
            }
        }
    }

    fn open(&mut self, now: Now, is_measured: bool) {
        self.state = State::Open;
        self.denials = Denials::default();
        self.opened_at = is_measured.then_some(now.boot);
        if let Some(last) = self.stretches.back_mut() {
            last.to.get_or_insert(now.wall);
        }
    }

    fn deny(&mut self, now: Now, denied: Denials) {
        if self.state == State::Open {
            self.note_opening_over(now.boot);
        }
        let code = denied.first();
        if self.state == State::Open || code != self.denials.first() {
            if let Some(last) = self.stretches.back_mut() {
                last.to.get_or_insert(now.wall);
            }
            self.stretches.extend(code.map(|code| Stretch { code, from: now.wall, to: None }));
            if self.stretches.len() > STRETCHES_MAX {
                self.stretches.pop_front();
            }
        }
        self.state = State::Closed;
        self.denials = denied;
    }

    fn note_opening_over(&mut self, now: BootTime) {
        let Some(opened_at) = self.opened_at.take() else { return };
        if now >= opened_at.plus_millis(FLAP_MS) {
            self.short_openings = 0;
            return;
        }
        let spacing = (FLAP_MS << self.short_openings.min(8)).min(FLAP_MS_MAX);
        self.short_openings += 1;
        self.opens_not_before = opened_at.plus_millis(spacing);
    }
}

#[cfg(test)]
mod tests {
    use longhaul_contract::{CostPolicy, Network, NetworkCost, NetworkLevel, Signal};

    use super::*;

    fn at(seconds: u64) -> Now {
        Now {
            wall: Timestamp(i64::try_from(seconds).unwrap() * 1_000_000),
            boot: BootTime(seconds * 1_000_000),
        }
    }

    fn host(level: NetworkLevel) -> HostState {
        let source = "test".to_owned();
        HostState {
            network: Network {
                level: Signal::Known { value: level, since: Timestamp(0), source: source.clone() },
                cost: Signal::Known { value: NetworkCost::default(), since: Timestamp(0), source },
            },
            energy_saver: Signal::unknown("test"),
            ..HostState::unmeasured()
        }
    }

    fn remote() -> Class {
        Class::new(CostPolicy::Default, false, false)
    }

    #[test]
    fn closes_at_once_and_opens_after_settling() {
        let mut gates = Gates::new(1_000);
        gates.observe(at(0), &host(NetworkLevel::Internet));
        assert!(gates.is_open(remote()));
        let changed = gates.observe(at(100), &host(NetworkLevel::None));
        assert_eq!(changed.len(), 12, "the classes of remote origins");
        assert_eq!(
            gates.closed(remote(), at(100).boot).unwrap().denials.first(),
            Some(ReasonCode::NetworkLevel)
        );
        gates.observe(at(110), &host(NetworkLevel::Internet));
        assert_eq!(gates.closed(remote(), at(110).boot).unwrap().opens_at, Some(at(111).boot));
        assert!(gates.advance(at(110)).is_empty());
        assert_eq!(gates.advance(at(111)).len(), 6);
        assert!(gates.is_open(remote()));
        let stretches: Vec<_> = gates.stretches(remote(), Timestamp(0), at(500).wall).collect();
        assert_eq!(stretches, [(ReasonCode::NetworkLevel, at(100).wall, at(111).wall)]);
    }

    #[test]
    fn a_signal_that_flaps_every_second_opens_at_most_once_a_minute() {
        let mut gates = Gates::new(1_000);
        let mut openings = Vec::new();
        let mut was_open = false;
        for second in 0..3600 {
            let level = if second % 2 == 0 { NetworkLevel::Internet } else { NetworkLevel::None };
            gates.advance(at(second));
            gates.observe(at(second), &host(level));
            // The most favourable moment: just before the next flip.
            gates.advance(Now { boot: BootTime(second * 1_000_000 + 999_999), ..at(second) });
            let is_open = gates.is_open(remote());
            if is_open && !was_open {
                openings.push(second);
            }
            was_open = is_open;
        }
        assert!(openings.windows(2).all(|pair| pair[1] - pair[0] >= 60), "{openings:?}");
        assert!(openings.len() <= 60 * 60 / 60);
    }

    #[test]
    fn slow_flapping_is_spaced_ever_wider_and_calm_forgives() {
        let mut gates = Gates::new(1_000);
        let mut openings = Vec::new();
        let mut was_open = false;
        for second in 0..3600 {
            let level = if (second / 10) % 2 == 0 { NetworkLevel::Internet } else { NetworkLevel::None };
            gates.advance(at(second));
            gates.observe(at(second), &host(level));
            let is_open = gates.is_open(remote());
            if is_open && !was_open {
                openings.push(second);
            }
            was_open = is_open;
        }
        assert!(openings.len() >= 2, "it opens now and then: {openings:?}");
        assert!(openings.windows(2).all(|pair| pair[1] - pair[0] >= 60), "{openings:?}");
        gates.observe(at(4_000), &host(NetworkLevel::Internet));
        gates.advance(at(5_000));
        gates.observe(at(6_000), &host(NetworkLevel::None));
        gates.observe(at(6_001), &host(NetworkLevel::Internet));
        assert_eq!(gates.closed(remote(), at(6_001).boot).unwrap().opens_at, Some(at(6_002).boot));
    }

    #[test]
    fn the_first_measurement_after_start_is_not_taken_for_flapping() {
        let mut gates = Gates::new(1_000);
        gates.observe(at(0), &HostState::unmeasured());
        gates.observe(at(1), &host(NetworkLevel::None));
        gates.observe(at(5), &host(NetworkLevel::Internet));
        assert_eq!(gates.closed(remote(), at(5).boot).unwrap().opens_at, Some(at(6).boot));
    }
}
