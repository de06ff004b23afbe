//! Crashes of the service or of the machine: what is left is compared with what was promised, and the service starts
//! again on it.

use longhaul_contract::{AppId, Instance, InstanceState, Limits, TaskId};
use longhaul_engine::Engine;
use longhaul_store::{Loaded, Reader as _, Store as _};

use super::clock::Trust;
use super::machine::host_state;
use super::model::End;
use super::shell::{access, app};
use super::world::{TaskWorld, policy};
use crate::violation::{Invariant, Violation, ensure};
use crate::world::broken;

/// Seconds for which the machine is off after a cut.
const OFF_SECONDS: i64 = 5;

impl TaskWorld {
    /// Starts the service again if it was the power; else the violation stands.
    pub(crate) fn survive(&mut self, violation: Violation) -> Result<(), Violation> {
        let (Some(has_landed), Some(_)) = (self.landed.take(), self.cut.take()) else {
            return Err(violation);
        };
        self.start_on_what_is_left(has_landed, OFF_SECONDS, true, false)?;
        self.check()
    }

    pub(crate) fn crash(
        &mut self,
        lands: bool,
        off_seconds: i64,
        is_power_cut: bool,
        has_dead_clock: bool,
    ) -> Result<(), Violation> {
        let has_landed = lands && self.write_changes();
        self.start_on_what_is_left(has_landed, off_seconds, is_power_cut, has_dead_clock)
    }

    fn start_on_what_is_left(
        &mut self,
        has_landed: bool,
        off_seconds: i64,
        is_power_cut: bool,
        has_dead_clock: bool,
    ) -> Result<(), Violation> {
        let mut model = if has_landed { self.ahead.clone() } else { self.acknowledged.clone() };
        self.store = self.store.crash();
        self.changes.clear();
        self.effects.clear();
        self.dying.clear();
        if is_power_cut {
            self.jobs.clear();
        } else {
            self.jobs.values_mut().for_each(|job| job.is_left_over = true);
        }
        self.clock.truth += off_seconds * 1_000_000;
        self.clock.boot_again();
        if has_dead_clock {
            self.clock.skew = 5_000_000 - self.clock.truth;
            self.is_clock_dead = true;
        }
        self.has_estimates |= self.is_clock_dead || model.skew != self.clock.skew;
        self.is_time_loose = self.has_estimates;
        model.skew = self.clock.skew;
        let loaded = self.store.load().map_err(|error| broken(&error))?;
        self.ahead = model;
        self.check_kept(&loaded)?;
        self.acknowledged = self.ahead.clone();
        self.start_again(loaded)?;
        self.settle()?;
        self.check_interrupted()
    }

    fn start_again(&mut self, loaded: Loaded) -> Result<(), Violation> {
        let truth = self.clock.truth;
        let runs: Vec<_> = self.ahead.runs.keys().copied().collect();
        for instance in &runs {
            self.past.push((self.ahead.runs[instance].task, *instance));
            self.ahead.end(*instance, End::Interrupted, truth);
        }
        self.ahead.forget_unheard();
        self.ahead.is_stopping = false;
        self.ahead.serving.clear();
        for reg in self.ahead.regs.values_mut() {
            reg.started = None;
            reg.is_anchor_doubted = false;
        }
        self.engine = Engine::new(policy(self.sabotage), Limits::default(), host_state(self.machine));
        let seen = loaded.tasks.iter().map(|row| row.state.anchor.micros()).max().unwrap_or(0);
        self.trust = Trust::at_start(seen, self.clock);
        for row in loaded.completion_groups {
            self.engine.adopt_completion_group(row);
        }
        for row in loaded.tasks {
            self.engine.adopt_task(row);
        }
        for (app, status) in loaded.access {
            self.engine.adopt_access(app, status);
        }
        if let Some(signals) = loaded.signals {
            self.engine.adopt_signals(signals);
        }
        for (app, instance) in loaded.left_over {
            self.engine.adopt_instance(app, instance);
        }
        // What was interrupted is decided anew until it is committed, and so again after a crash before that.
        let plan = self.engine.begin(self.engine_now());
        self.ahead.observe(self.machine);
        self.follow(plan)
    }

    /// Compares what is left with what was promised.
    fn check_kept(&self, loaded: &Loaded) -> Result<(), Violation> {
        let kept: Vec<TaskId> = loaded.tasks.iter().map(|row| row.id).collect();
        let promised: Vec<TaskId> = self.ahead.regs.keys().copied().collect();
        let mut sorted = kept.clone();
        sorted.sort_unstable();
        ensure(sorted == promised, Invariant::AcknowledgedIsKept, || {
            format!("kept are {kept:?}, and promised {promised:?}")
        })?;
        for row in &loaded.tasks {
            let reg = &self.ahead.regs[&row.id];
            let of_row = (
                row.state.latch.as_ref().map(|latch| (latch.attempt, latch.has_fired)),
                row.state.running.as_ref().map(|running| running.id),
                row.state.is_consumed,
                row.state.host_crashes,
            );
            let of_model = (
                reg.pending.map(|pending| (pending.attempt, pending.has_fired)),
                reg.running,
                reg.is_consumed,
                reg.crashes,
            );
            ensure(of_row == of_model, Invariant::AcknowledgedIsKept, || {
                format!("{} is kept as {of_row:?}, and promised as {of_model:?}", row.id)
            })?;
        }
        let mut statuses: Vec<(AppId, _)> = loaded.access.clone();
        statuses.sort();
        let promised: Vec<_> =
            self.ahead.access.iter().map(|(number, status)| (app(*number), access(*status))).collect();
        ensure(statuses == promised, Invariant::AcknowledgedIsKept, || {
            format!("access is kept as {statuses:?}, and promised as {promised:?}")
        })
    }

    /// Every run that the crash ended is told as interrupted, unless its registration and history are gone.
    fn check_interrupted(&self) -> Result<(), Violation> {
        let reader = self.store.reader();
        for id in self.ahead.regs.keys() {
            let instances: Vec<Instance> =
                reader.instances(*id, usize::MAX, None).map_err(|error| broken(&error))?;
            let is_open = |instance: &&Instance| {
                !instance.state.is_over() && !self.ahead.runs.contains_key(&instance.id)
            };
            let open = instances.iter().find(is_open);
            ensure(open.is_none(), Invariant::JustOutcome, || format!("{open:?} is never told to be over"))?;
            let is_twice = instances
                .iter()
                .filter(|instance| instance.state == InstanceState::Interrupted)
                .any(|instance| self.jobs.contains_key(&instance.id));
            ensure(!is_twice, Invariant::NoOrphans, || {
                format!("an interrupted instance of {id} still runs")
            })?;
        }
        Ok(())
    }
}
