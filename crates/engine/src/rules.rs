//! The rules that may hold an operation back, in one list. The scheduler asks it before every start, and
//! `explain` and the views are made of the same answers.

use longhaul_contract::{HostState, ReasonCode, Timestamp};

use crate::clock::{BootTime, Now};
use crate::cost::{Denials, denials};
use crate::download::{Phase, Stopping, blocker_code};
use crate::engine::Engine;
use crate::roster::{Entry, Slot};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    Started,
    NotPaused,
    NoInputNeeded,
    NoBackoff,
    NoBlocker,
    NotStopping,
    NotBefore,
    OwnRate,
    TotalRate,
    Foreground,
    NetworkLevel,
    NetworkCost,
    EnergySaver,
    GroupTurn,
    RunningAtOnce,
    RunningAtOncePerApplication,
    ConnectionsPerHost,
}

impl Rule {
    pub(crate) const ALL: [Self; 17] = [
        Self::Started,
        Self::NotPaused,
        Self::NoInputNeeded,
        Self::NoBackoff,
        Self::NoBlocker,
        Self::NotStopping,
        Self::NotBefore,
        Self::OwnRate,
        Self::TotalRate,
        Self::Foreground,
        Self::NetworkLevel,
        Self::NetworkCost,
        Self::EnergySaver,
        Self::GroupTurn,
        Self::RunningAtOnce,
        Self::RunningAtOncePerApplication,
        Self::ConnectionsPerHost,
    ];
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    Boot(BootTime),
    Wall(Timestamp),
}

impl Until {
    pub(crate) fn wall(self, now: Now) -> Timestamp {
        match self {
            Self::Wall(time) => time,
            Self::Boot(time) => {
                let ahead = i64::try_from(time.0.saturating_sub(now.boot.0)).unwrap_or(i64::MAX);
                Timestamp(now.wall.micros().saturating_add(ahead))
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Has nothing to do with this operation now.
    Beside,
    Satisfied,
    /// Its signal is unknown, which forbids nothing.
    Unknown,
    Blocks {
        code: ReasonCode,
        until: Option<Until>,
    },
}

/// One operation at one instant, on the machine as it is or as it might be.
#[derive(Clone, Copy)]
pub(crate) struct Question<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) slot: Slot,
    pub(crate) entry: &'a Entry,
    pub(crate) now: Now,
    pub(crate) hypothetical: Option<&'a HostState>,
}

impl Question<'_> {
    pub(crate) fn host(&self) -> &HostState {
        self.hypothetical.unwrap_or(&self.engine.host)
    }

    pub(crate) fn ask(&self, rule: Rule) -> Verdict {
        match rule {
            Rule::Started => self.phase_rule(self.entry.phase == Phase::Idle, ReasonCode::NotStarted, None),
            Rule::NotPaused => {
                let is_paused = matches!(
                    self.entry.phase,
                    Phase::PausedByApplication | Phase::Running { stopping: Some(Stopping::Pause), .. }
                );
                self.phase_rule(is_paused, ReasonCode::PausedByApplication, None)
            }
            Rule::NoInputNeeded => self.phase_rule(
                matches!(self.entry.phase, Phase::NeedsInput { .. }),
                ReasonCode::NeedsInput,
                None,
            ),
            Rule::NoBackoff => match &self.entry.phase {
                Phase::Backoff { until, .. } if *until > self.now.boot => {
                    blocks(ReasonCode::Backoff, Some(Until::Boot(*until)))
                }
                _ => Verdict::Beside,
            },
            Rule::NoBlocker => match &self.entry.phase {
                Phase::Blocked { on, until, .. } if *until > self.now.boot => {
                    blocks(blocker_code(*on), Some(Until::Boot(*until)))
                }
                _ => Verdict::Beside,
            },
            Rule::NotStopping => match &self.entry.phase {
                Phase::Running { stopping: Some(_), .. } | Phase::Discarding { .. } => {
                    blocks(ReasonCode::Stopping, None)
                }
                _ => Verdict::Beside,
            },
            Rule::NotBefore => self.not_before(),
            Rule::OwnRate => match self.entry.rate_limit() {
                None => Verdict::Beside,
                Some(0) => blocks(ReasonCode::RateLimitZero, None),
                Some(_) => Verdict::Satisfied,
            },
            Rule::TotalRate => self.total_rate(),
            Rule::Foreground if self.entry.standing.is_held_back() => {
                blocks(ReasonCode::ForegroundOnly, None)
            }
            Rule::Foreground => Verdict::Beside,
            Rule::NetworkLevel => self.machine(ReasonCode::NetworkLevel),
            Rule::NetworkCost => self.machine(ReasonCode::NetworkCost),
            Rule::EnergySaver => self.machine(ReasonCode::EnergySaver),
            Rule::GroupTurn => self.group_turn(),
            Rule::RunningAtOnce | Rule::RunningAtOncePerApplication | Rule::ConnectionsPerHost => {
                self.slots(rule)
            }
        }
    }

    /// The first rule that forbids it to run, if any.
    pub(crate) fn first_block(&self) -> Option<ReasonCode> {
        Rule::ALL.iter().find_map(|rule| match self.ask(*rule) {
            Verdict::Blocks { code, .. } => Some(code),
            Verdict::Beside | Verdict::Satisfied | Verdict::Unknown => None,
        })
    }

    fn phase_rule(&self, holds_back: bool, code: ReasonCode, until: Option<Until>) -> Verdict {
        if holds_back { blocks(code, until) } else { Verdict::Satisfied }
    }

    fn not_before(&self) -> Verdict {
        match self.entry.not_before() {
            None => Verdict::Beside,
            Some(time) if !self.entry.is_due && time > self.now.wall => {
                blocks(ReasonCode::NotBefore, Some(Until::Wall(time)))
            }
            Some(_) => Verdict::Satisfied,
        }
    }

    fn total_rate(&self) -> Verdict {
        match self.engine.rates.rate_at(self.now.wall) {
            None => Verdict::Beside,
            Some(0) => blocks(
                ReasonCode::RateLimitZero,
                self.engine.rates.next_change(self.now.wall).map(Until::Wall),
            ),
            Some(_) => Verdict::Satisfied,
        }
    }

    fn machine(&self, code: ReasonCode) -> Verdict {
        let class = self.entry.class();
        let host = self.host();
        let is_unknown = match code {
            ReasonCode::NetworkLevel if class.is_local() => return Verdict::Beside,
            ReasonCode::NetworkCost if class.is_local() => return Verdict::Beside,
            ReasonCode::NetworkLevel => host.network.level.value().is_none(),
            ReasonCode::NetworkCost => host.network.cost.value().is_none(),
            _ => host.energy_saver.value().is_none(),
        };
        let (denied, until) = match self.hypothetical {
            Some(host) => (denials(host, class), None),
            None => match self.engine.gates.closed(class, self.now.boot) {
                Some(closed) => (closed.denials, closed.opens_at.map(Until::Boot)),
                None => (Denials::default(), None),
            },
        };
        let is_denied = match code {
            ReasonCode::NetworkLevel => denied.level,
            ReasonCode::NetworkCost => denied.cost,
            _ => denied.energy,
        };
        match (is_denied, is_unknown) {
            (true, _) => blocks(code, until),
            (false, true) => Verdict::Unknown,
            (false, false) => Verdict::Satisfied,
        }
    }

    fn group_turn(&self) -> Verdict {
        let Some(group) = self.engine.serial_group(self.entry) else { return Verdict::Beside };
        let members = &self.engine.groups[group];
        let has_turn = match &self.entry.phase {
            Phase::Running { .. } => true,
            Phase::Queued => {
                members.running == 0
                    && members.candidate(self.entry.class()).is_none_or(|slot| slot == self.slot)
            }
            Phase::Backoff { .. } | Phase::Blocked { .. } => members.running == 0,
            Phase::Idle
            | Phase::PausedByApplication
            | Phase::NeedsInput { .. }
            | Phase::Discarding { .. } => {
                return Verdict::Beside;
            }
        };
        if has_turn { Verdict::Satisfied } else { blocks(ReasonCode::GroupSerialized, None) }
    }

    fn slots(&self, rule: Rule) -> Verdict {
        if !self.entry.phase.wants_to_run() {
            return Verdict::Beside;
        }
        if self.entry.phase.is_running() {
            return Verdict::Satisfied;
        }
        let queue = &self.engine.queue;
        let caps = queue.caps();
        let (is_full, code) = match rule {
            Rule::RunningAtOncePerApplication => (
                queue.running_of_app(self.entry.app) >= caps.per_application,
                ReasonCode::RunningAtOncePerApplication,
            ),
            Rule::ConnectionsPerHost => (
                queue.running_of_origin(self.entry.origin) >= caps.per_origin,
                ReasonCode::ConnectionsPerHost,
            ),
            _ => (queue.running() >= caps.total, ReasonCode::RunningAtOnce),
        };
        if is_full { blocks(code, None) } else { Verdict::Satisfied }
    }
}

fn blocks(code: ReasonCode, until: Option<Until>) -> Verdict {
    Verdict::Blocks { code, until }
}
