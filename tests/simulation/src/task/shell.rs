//! What stands between the engine and the world of tasks: decisions are judged, gathered, committed, and let go.

use std::collections::BTreeMap;
use std::sync::Arc;

use longhaul_contract::{
    AccessStatus, AppId, CancelReason, CompletionGroupId, Condition, Decision, InstanceId, OnConflict,
    ReasonCode, RegisterTaskRequest, Retry, SystemTriggerType, TaskGroupId, TaskId, TaskName, TriggerKind,
    TriggerSpec,
};
use longhaul_engine::task::{
    Missed, NewTask, RunLimits, TaskChange, TaskEffect, TaskPlan, TaskTrigger, TaskWish,
};
use longhaul_engine::{Change, Effect, Plan};
use longhaul_store::{Store as _, Write};

use super::event::{Registering, Trigger};
use super::job::Job;
use super::model::{AT_ONCE, AT_ONCE_PER_APPLICATION, CRASHES_MAX, GRACE, SECOND};
use super::world::{TaskSabotage, TaskWorld};
use crate::cut::Side;
use crate::violation::{Invariant, Violation, ensure};

pub(crate) const CLASS: &str = "Example.Task";

pub(crate) fn app(number: u8) -> AppId {
    crate::translate::app(number)
}

pub(crate) fn access(number: u8) -> AccessStatus {
    AccessStatus::from_number(number).expect("a number of AccessStatus")
}

pub(crate) fn is_sourced(what: &Registering) -> bool {
    matches!(what.trigger, Trigger::Push)
}

/// The completion group that a registration waits for.
pub(crate) fn completion_group(id: TaskId) -> CompletionGroupId {
    CompletionGroupId::from_bytes(*id.as_bytes())
}

fn kind(trigger: Trigger) -> TriggerKind {
    match trigger {
        Trigger::Push => TriggerKind::PushNotificationTrigger,
        Trigger::CompletionGroup => TriggerKind::CompletionGroupTrigger,
        Trigger::Application => TriggerKind::ApplicationTrigger,
        Trigger::UserPresent | Trigger::InternetAvailable => TriggerKind::SystemTrigger,
        Trigger::Every { .. } | Trigger::Daily { .. } => TriggerKind::TimeTrigger,
        Trigger::Maintenance { .. } => TriggerKind::MaintenanceTrigger,
    }
}

fn trigger(id: TaskId, what: &Registering) -> TaskTrigger {
    let one_shot = what.one_shot;
    let missed = if what.skips_missed { Missed::Skip } else { Missed::Once };
    let every = |minutes, is_maintenance| TaskTrigger::Every { minutes, one_shot, is_maintenance, missed };
    match what.trigger {
        Trigger::Push => TaskTrigger::Sourced { kind: kind(what.trigger) },
        Trigger::CompletionGroup => TaskTrigger::Completion { group: completion_group(id) },
        Trigger::Application => TaskTrigger::Requested { kind: kind(what.trigger) },
        Trigger::UserPresent => TaskTrigger::System { event: SystemTriggerType::UserPresent, one_shot },
        Trigger::InternetAvailable => {
            TaskTrigger::System { event: SystemTriggerType::InternetAvailable, one_shot }
        }
        Trigger::Every { minutes } => every(minutes, false),
        Trigger::Maintenance { minutes } => every(minutes, true),
        Trigger::Daily { minute } => TaskTrigger::Calendar {
            schedule: format!("{} {} * * *", minute % 60, minute / 60).into(),
            time_zone: Some(Arc::from("UTC")),
            one_shot,
            missed,
        },
    }
}

pub(crate) fn registering(id: TaskId, what: &Registering) -> TaskWish {
    let name = TaskName::new(&format!("task{}", what.name)).expect("a short name");
    let retry = what.retry.map(|(max, delay_seconds, after_interruption)| Retry {
        max,
        delay_seconds,
        after_interruption,
    });
    let conditions: Vec<Condition> =
        what.conditions.iter().filter_map(|number| Condition::from_number(*number)).collect();
    let spec = RegisterTaskRequest {
        name: name.clone(),
        entry_point: CLASS.to_owned(),
        trigger: TriggerSpec {
            kind: kind(what.trigger),
            system_trigger_type: None,
            freshness_time: None,
            one_shot: what.one_shot,
            parameters: BTreeMap::new(),
        },
        conditions: conditions.clone(),
        is_network_requested: false,
        cancel_on_condition_loss: what.cancel_on_condition_loss,
        task_group: None,
        retry,
        time_limit: None,
        env: BTreeMap::new(),
    };
    let task = NewTask {
        id,
        app: app(what.app),
        group: what.group.map(|_| TaskGroupId::new("library").expect("a short name")),
        name,
        kind: kind(what.trigger),
        plan: TaskPlan {
            trigger: trigger(id, what),
            conditions: conditions.into_iter().collect(),
            cancel_on_condition_loss: what.cancel_on_condition_loss,
            is_network_requested: false,
            limits: RunLimits { cancel_after_ms: 25_000, grace_ms: 5_000 },
            retry,
            in_process: what.is_served_by_program.then(|| CLASS.into()),
        },
        fires_at_once: what.fires_at_once,
        spec: Box::new(spec),
    };
    let on_conflict =
        [OnConflict::Fail, OnConflict::Replace, OnConflict::Allow][usize::from(what.on_conflict)];
    TaskWish::Register { task: Box::new(task), on_conflict }
}

impl TaskWorld {
    /// Judges a decision and gathers it for the next commit.
    pub(crate) fn take(&mut self, plan: Plan) -> Result<(), Violation> {
        for effect in &plan.effects {
            match effect {
                Effect::Task(TaskEffect::EnsureStarted { id, instance, .. }) => {
                    self.check_start(*id, *instance)?;
                }
                Effect::Task(TaskEffect::EnsureCanceled { instance, reason, .. }) => {
                    self.check_cancel(*instance, *reason)?;
                }
                Effect::Task(TaskEffect::EnsureKilled { instance }) => self.check_kill(*instance)?,
                _ => {}
            }
        }
        self.changes.extend(plan.changes);
        self.effects.extend(plan.effects.into_iter().filter(|effect| matches!(effect, Effect::Task(_))));
        if self.sabotage == TaskSabotage::AcknowledgeBeforeCommit {
            self.acknowledged = self.ahead.clone();
            return self.let_go();
        }
        if !self.changes.iter().any(Change::is_durable) {
            return self.commit();
        }
        Ok(())
    }

    fn check_start(&mut self, id: TaskId, instance: InstanceId) -> Result<(), Violation> {
        let truth = self.clock.truth;
        let Some(reg) = self.ahead.regs.get(&id) else {
            return Err(Violation::new(
                Invariant::NoForbiddenStart,
                format!("{id} starts and is not registered"),
            ));
        };
        let reason = reg.holds_back(&self.ahead, self.machine, truth);
        ensure(reason.is_none(), Invariant::NoForbiddenStart, || format!("{id} starts although {reason:?}"))?;
        let is_new = !self.ahead.runs.contains_key(&instance)
            && !self.past.iter().any(|(_, of_past)| *of_past == instance);
        ensure(is_new, Invariant::RunsOnce, || format!("{instance} is started twice"))?;
        let owner = reg.what.app;
        self.ahead.start(id, instance, truth);
        let counts = (self.ahead.runs.len(), self.ahead.running_of(owner));
        ensure(counts.0 <= AT_ONCE && counts.1 <= AT_ONCE_PER_APPLICATION, Invariant::Caps, || {
            format!("{counts:?} instances run in all and of one application")
        })
    }

    fn check_cancel(&mut self, instance: InstanceId, reason: CancelReason) -> Result<(), Violation> {
        let truth = self.clock.truth;
        let is_excused = self.excuses.contains(&(instance, reason));
        let must_end =
            self.ahead.runs.get(&instance).map(|run| run.must_end(&self.ahead, self.machine, truth));
        let is_just = is_excused || must_end.as_ref().is_some_and(|reasons| reasons.contains(&reason));
        ensure(is_just, Invariant::JustOutcome, || {
            format!("{instance} is cancelled for {reason}, and not for {must_end:?}")
        })?;
        let Some(run) = self.ahead.runs.get_mut(&instance) else { return Ok(()) };
        ensure(run.canceled.is_none(), Invariant::JustOutcome, || format!("{instance} is cancelled twice"))?;
        run.canceled = Some((reason, truth));
        Ok(())
    }

    fn check_kill(&self, instance: InstanceId) -> Result<(), Violation> {
        let is_due = self.ahead.runs.get(&instance).is_none_or(|run| {
            run.canceled.is_some_and(|(_, time)| time + GRACE + SECOND <= self.clock.truth)
        });
        ensure(is_due, Invariant::JustOutcome, || format!("{instance} is killed before its time"))
    }

    /// Writes what has been gathered; only then anything leaves.
    pub(crate) fn commit(&mut self) -> Result<(), Violation> {
        self.commits += u64::from(!self.changes.is_empty());
        let cut = self.cut.filter(|cut| cut.commit == self.commits && !self.changes.is_empty());
        if cut.is_some_and(|cut| cut.side == Side::Before) {
            self.landed = Some(false);
        }
        let is_written = self.landed.is_none() && self.write_changes();
        if cut.is_some() {
            self.landed = Some(is_written);
            return Err(Violation::new(Invariant::NoPanic, "nobody took notice of the power"));
        }
        if is_written {
            self.acknowledged = self.ahead.clone();
            self.let_go()?;
        }
        Ok(())
    }

    pub(crate) fn write_changes(&mut self) -> bool {
        let writes: Vec<Write> = self
            .changes
            .iter()
            .cloned()
            .filter_map(|change| self.sabotaged(change))
            .map(Write::Change)
            .collect();
        let is_written = writes.is_empty() || self.store.commit(&writes).is_ok();
        if is_written {
            self.changes.clear();
        }
        is_written
    }

    fn sabotaged(&self, mut change: Change) -> Option<Change> {
        match (&mut change, self.sabotage) {
            (Change::Task(TaskChange::Updated { row }), TaskSabotage::ForgetFirings) => {
                row.state.latch = None;
            }
            (Change::Task(TaskChange::Updated { row }), TaskSabotage::ForgetRuns) => row.state.running = None,
            (Change::Task(TaskChange::Access { .. }), TaskSabotage::ForgetAccess) => return None,
            _ => {}
        }
        Some(change)
    }

    fn let_go(&mut self) -> Result<(), Violation> {
        for effect in std::mem::take(&mut self.effects) {
            let Effect::Task(effect) = effect else { continue };
            match effect {
                TaskEffect::EnsureStarted { id, instance, .. } => {
                    let other = self.jobs.iter().find(|(_, job)| job.task == id);
                    ensure(other.is_none(), Invariant::RunsOnce, || {
                        format!("{instance} of {id} is started beside {other:?}")
                    })?;
                    let job = Job { task: id, told_at: None, is_hard: false, is_left_over: false };
                    self.jobs.insert(instance, job);
                }
                TaskEffect::EnsureCanceled { .. } | TaskEffect::EnsureKilled { .. }
                    if self.sabotage == TaskSabotage::DropCancels => {}
                TaskEffect::EnsureCanceled { instance, .. } => {
                    if let Some(job) = self.jobs.get_mut(&instance) {
                        job.told_at = Some(self.clock.truth);
                    }
                }
                TaskEffect::EnsureKilled { instance } => self.kill(instance),
            }
        }
        Ok(())
    }

    fn kill(&mut self, instance: InstanceId) {
        let Some(job) = self.jobs.get(&instance) else { return };
        if !job.is_left_over {
            self.dying.push(instance);
        } else if self.sabotage != TaskSabotage::KeepLeftOvers {
            self.jobs.remove(&instance);
        }
    }

    /// Commits until nothing is left to commit, as a service does when nothing else happens.
    pub(crate) fn settle(&mut self) -> Result<(), Violation> {
        for _ in 0..50 {
            self.commit()?;
            for instance in std::mem::take(&mut self.dying) {
                self.end_job(instance, super::model::End::Failed)?;
            }
            if self.changes.is_empty() && self.effects.is_empty() && self.dying.is_empty() {
                return Ok(());
            }
        }
        Err(Violation::new(Invariant::EverythingEnds, "there is always something to commit"))
    }

    /// What must hold after every event.
    pub(crate) fn check(&self) -> Result<(), Violation> {
        let truth = self.clock.truth;
        for (id, reg) in &self.ahead.regs {
            self.check_one(*id)?;
            let has_slot = self.ahead.runs.len() < AT_ONCE
                && self.ahead.running_of(reg.what.app) < AT_ONCE_PER_APPLICATION;
            let reason = reg.holds_back(&self.ahead, self.machine, truth);
            ensure(!has_slot || reason.is_some(), Invariant::NoFiringLost, || {
                format!("{id} has fired, nothing holds it back, and it does not start: {reg:?}")
            })?;
        }
        for (instance, run) in &self.ahead.runs {
            let reasons = run.must_end(&self.ahead, self.machine, truth);
            ensure(run.canceled.is_some() || reasons.is_empty(), Invariant::ForbiddenIsStopped, || {
                format!("{instance} goes on although {reasons:?}")
            })?;
        }
        let listed: usize = (0..3)
            .map(|number| {
                let library = TaskGroupId::new("library").expect("a short name");
                let ids = |group| self.engine.task_ids(&app(number), group).len();
                ids(None) + ids(Some(&library))
            })
            .sum();
        ensure(listed == self.ahead.regs.len(), Invariant::AcknowledgedIsKept, || {
            format!("{listed} of {} registrations are listed", self.ahead.regs.len())
        })?;
        self.check_jobs()
    }

    /// The engine's view of a registration is the model's.
    fn check_one(&self, id: TaskId) -> Result<(), Violation> {
        let reg = &self.ahead.regs[&id];
        let now = self.engine_now();
        let owner = app(reg.what.app);
        let Some(live) = self.engine.task_live(now, &owner, id) else {
            return Err(Violation::new(Invariant::AcknowledgedIsKept, format!("the engine has lost {id}")));
        };
        let engine = (
            live.pending_since.is_some(),
            live.running.as_ref().map(|running| running.id),
            live.is_consumed,
            live.is_quarantined,
        );
        let model = (reg.pending.is_some(), reg.running, reg.is_consumed, reg.crashes >= CRASHES_MAX);
        ensure(engine == model, Invariant::FiringsAgree, || {
            format!(
                "{id} pending, running, consumed, quarantined: {engine:?}, and should be {model:?}: {reg:?}"
            )
        })?;
        let expected = match reg.what.trigger {
            Trigger::Daily { .. } if self.trust.is_trusted() && !reg.is_spent() => {
                reg.occurrence(reg.anchor).map(|wall| wall - self.clock.skew)
            }
            _ => reg.due.filter(|_| !reg.is_spent()),
        };
        let next = live.next_fire.map(|wall| self.truth_of(wall));
        let agrees = match (next, expected) {
            (Some(next), Some(expected)) => (next - expected).abs() <= SECOND,
            (next, expected) => next.is_none() && expected.is_none(),
        };
        ensure(agrees, Invariant::FiringsAgree, || {
            format!("{id} fires next at {next:?}, and should at {expected:?}: {reg:?}")
        })?;
        let told = self.engine.explain_task(now, &owner, id, None).map(|told| told.decision);
        let decision = match (reg.pending, reg.running) {
            (Some(_), _) => Decision::Wait,
            (None, Some(_)) => Decision::Run,
            (None, None) if reg.is_spent() => Decision::Done,
            (None, None) => Decision::Wait,
        };
        ensure(told == Some(decision), Invariant::ExplainAgrees, || {
            format!("{id} is explained as {told:?}, and should be {decision:?}: {live:?}")
        })?;
        let says_why = !live.waiting.is_empty() || reg.pending.is_none();
        ensure(says_why, Invariant::WaitingHasReason, || format!("{id} waits and does not say why"))
    }

    /// Takes over from the engine when periods end, where what was written is no measure; what fired has fired.
    pub(crate) fn adopt_periods(&mut self, plan: &Plan) {
        self.is_time_loose = false;
        let (now, skew) = (self.engine_now(), self.clock.skew);
        for (id, reg) in &mut self.ahead.regs {
            let live = self.engine.task_live(now, &app(reg.what.app), *id);
            if reg.period().is_some() {
                let has_fired = plan.changes.iter().any(|change| match change {
                    Change::Task(TaskChange::Updated { row }) if row.id == *id => {
                        let running = row.state.running.as_ref().filter(|run| reg.running != Some(run.id));
                        row.state.latch.as_ref().is_some_and(|latch| latch.has_fired)
                            || running.is_some_and(|run| run.firing.has_fired)
                    }
                    _ => false,
                });
                reg.due = None;
                if has_fired {
                    reg.fire();
                }
                let next = live.as_ref().and_then(|live| live.next_fire);
                reg.due = next.map(|wall| wall.micros() - skew);
            }
            if let Some(pending) = &mut reg.pending {
                let waiting = live.into_iter().flat_map(|live| live.waiting);
                let until = waiting
                    .filter(|reason| reason.code == ReasonCode::RetryDelay)
                    .find_map(|reason| reason.until);
                pending.ready_at = until.map_or(i64::MIN, |wall| wall.micros() - skew);
            }
        }
    }
}
