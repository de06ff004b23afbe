//! Limits while the service runs: the rate of the hour, slots, and what they do to operations that run.

use std::collections::HashMap;

use longhaul_contract::{ErrorCode, Limits, ReasonCode, Timestamp};

use crate::download::{Phase, Stopping};
use crate::engine::Engine;
use crate::plan::{Change, Effect};
use crate::queue::{Caps, Rank};
use crate::roster::Slot;
use crate::schedule::Schedule;
use crate::step::Step;
use crate::wish::Refusal;

/// The total rate over time, with the last answer kept for as long as it holds.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    fixed: Option<u64>,
    schedule: Schedule,
    /// What workers have been told; nothing before the first step.
    pub(crate) told: Option<Option<u64>>,
    /// From when until when `told` holds.
    valid: Option<(Timestamp, Option<Timestamp>)>,
}

impl Rates {
    pub(crate) fn new(fixed: Option<u64>, schedule: Schedule) -> Self {
        Self { fixed, schedule, told: None, valid: None }
    }

    pub(crate) fn rate_at(&self, time: Timestamp) -> Option<u64> {
        match (self.told, self.valid) {
            (Some(rate), Some((from, to))) if from <= time && to.is_none_or(|to| time < to) => rate,
            _ => self.schedule.rate_at(self.fixed, time),
        }
    }

    pub(crate) fn next_change(&self, time: Timestamp) -> Option<Timestamp> {
        match self.valid {
            Some((from, to)) if from <= time && to.is_none_or(|to| time < to) => to,
            _ => self.schedule.next_change(self.fixed, time),
        }
    }

    /// When the rate that holds now ends.
    pub(crate) fn edge(&self) -> Option<Timestamp> {
        self.valid.and_then(|(_, to)| to).filter(|_| !self.schedule.is_empty())
    }

    fn replace(&mut self, fixed: Option<u64>, schedule: Schedule) {
        self.fixed = fixed;
        self.schedule = schedule;
        self.valid = None;
    }

    /// Answers the new rate if it is another than workers know.
    fn refresh(&mut self, time: Timestamp) -> Option<Option<u64>> {
        let rate = self.rate_at(time);
        let to = self.next_change(time);
        self.valid = Some((time, to));
        (self.told != Some(rate)).then(|| {
            self.told = Some(rate);
            rate
        })
    }
}

impl Engine {
    pub(crate) fn put_limits(&mut self, step: &mut Step, limits: Limits) -> Result<(), Refusal> {
        let schedule = check(&limits, self.policy.time_zone.as_deref())
            .map_err(|detail| Refusal::new(ErrorCode::InvalidField, detail))?;
        if limits.connections_per_host != self.limits.connections_per_host {
            step.plan
                .effects
                .push(Effect::SetConnectionsPerHost { connections: limits.connections_per_host });
        }
        self.rates.replace(limits.bytes_per_second, schedule);
        self.queue.set_caps(Caps::from(&limits));
        step.plan.changes.push(Change::Limits(limits.clone()));
        self.limits = limits;
        self.refresh_rate(step);
        self.stop_excess(step);
        Ok(())
    }

    /// Brings the rate up to the hour.
    pub(crate) fn refresh_rate(&mut self, step: &mut Step) {
        let was_stopped = self.rates.told == Some(Some(0));
        let Some(rate) = self.rates.refresh(step.now.wall) else { return };
        step.plan.effects.push(Effect::SetTotalRate { bytes_per_second: rate });
        if rate == Some(0) {
            for slot in self.running.clone() {
                self.stop(step, slot, Stopping::Requeue(ReasonCode::RateLimitZero));
            }
        }
        if was_stopped != (rate == Some(0)) {
            let touched: Vec<_> = self
                .roster
                .iter()
                .filter(|(_, entry)| entry.phase.wants_to_run())
                .map(|(_, entry)| (self.apps.key(entry.app).clone(), entry.id))
                .collect();
            step.plan.touched.extend(touched);
        }
    }

    /// Lets go of what runs beyond limits that were lowered: the least urgent and the youngest first.
    fn stop_excess(&mut self, step: &mut Step) {
        let caps = self.queue.caps();
        let mut active: Vec<(Rank, Timestamp, Slot, u32)> = self
            .running
            .iter()
            .filter_map(|slot| {
                let entry = &self.roster[*slot];
                match entry.phase {
                    Phase::Running { origin: Some(origin), stopping: None, .. } => {
                        Some((Rank::from(entry.priority), entry.since, *slot, origin))
                    }
                    _ => None,
                }
            })
            .collect();
        active.sort_unstable();
        let mut total = 0;
        let mut of_app = HashMap::new();
        let mut of_origin = HashMap::new();
        for (_, _, slot, origin) in active {
            let app = of_app.entry(self.roster[slot].app).or_insert(0);
            let origin = of_origin.entry(origin).or_insert(0);
            let code = if total >= caps.total {
                ReasonCode::RunningAtOnce
            } else if *app >= caps.per_application {
                ReasonCode::RunningAtOncePerApplication
            } else if *origin >= caps.per_origin {
                ReasonCode::ConnectionsPerHost
            } else {
                total += 1;
                *app += 1;
                *origin += 1;
                continue;
            };
            self.stop(step, slot, Stopping::Requeue(code));
        }
    }
}

/// # Errors
/// Names the field and what is wrong with it.
pub(crate) fn check(limits: &Limits, machine_zone: Option<&str>) -> Result<Schedule, String> {
    for (name, value) in [
        ("runningAtOnce", limits.running_at_once),
        ("runningAtOncePerApplication", limits.running_at_once_per_application),
        ("connectionsPerHost", limits.connections_per_host),
    ] {
        if value == 0 {
            return Err(format!("{name} must be at least 1; a bytesPerSecond of 0 stops all transfers"));
        }
    }
    Schedule::parse(&limits.schedule, machine_zone)
}
