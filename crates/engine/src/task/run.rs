//! The life of an instance, from the decision that it starts to its end. It outlives its registration if it has to.

use longhaul_contract::{
    AccessStatus, AppId, CancelReason, Instance, InstanceId, InstanceState, RunCause, TaskId, Timestamp,
};

use super::condition::{self, Holds};
use super::fact::{InstanceEnd, InstanceOutcome};
use super::row::{Conditions, LastRun, Latch, RunLimits, RunningInstance, TaskPlan};
use super::timer::Timer;
use crate::clock::BootTime;
use crate::engine::Engine;
use crate::plan::{Change, Effect};
use crate::step::Step;
use crate::task::{TaskAnswer, TaskChange, TaskEffect};

/// The runner kills when the grace is over. If nothing has been heard so much later, it is told to.
const SECOND_NET_MS: u64 = 1_000;
/// Longest delay of a retry, however often it was doubled.
const RETRY_DELAY_MAX_MS: u64 = 7 * 86_400_000;

/// An instance that is not over.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) app: AppId,
    pub(crate) task: TaskId,
    pub(crate) firing: Latch,
    pub(crate) started: Timestamp,
    /// Its code runs.
    pub(crate) is_up: bool,
    pub(crate) cancel_reason: Option<CancelReason>,
    /// The one timer of its present stage.
    pub(crate) timer: Option<(BootTime, Timer)>,
    pub(crate) limits: RunLimits,
    pub(crate) conditions: Conditions,
    pub(crate) cancel_on_condition_loss: bool,
    pub(crate) is_maintenance: bool,
}

impl Run {
    fn new(app: AppId, task: TaskId, plan: &TaskPlan, firing: Latch, started: Timestamp) -> Self {
        Self {
            app,
            task,
            firing,
            started,
            is_up: false,
            cancel_reason: None,
            timer: None,
            limits: plan.limits,
            conditions: plan.conditions,
            cancel_on_condition_loss: plan.cancel_on_condition_loss,
            is_maintenance: plan.trigger.is_maintenance(),
        }
    }

    fn record(&self, id: InstanceId) -> Instance {
        let state = match self.cancel_reason {
            Some(_) => InstanceState::Canceling,
            None if self.is_up => InstanceState::Running,
            None => InstanceState::Starting,
        };
        Instance {
            id,
            task_id: self.task,
            state,
            cause: self.firing.cause,
            attempt: self.firing.attempt,
            fired_time: self.firing.fired,
            started_time: self.started,
            ended_time: None,
            trigger_details: serde_json::from_str(&self.firing.details)
                .unwrap_or_else(|_| serde_json::Value::String(self.firing.details.to_string())),
            progress: 0,
            suspended_count: 0,
            cancel_reason: self.cancel_reason,
            result: None,
            exit_code: None,
            signal: None,
            was_killed: false,
            cpu_milliseconds: None,
            memory_peak: None,
            ran_out_of_memory: false,
            limits: Vec::new(),
            keep_awake: None,
        }
    }

    fn ended(&self, id: InstanceId, time: Timestamp, end: &InstanceEnd) -> Instance {
        let (state, result) = match (&self.cancel_reason, &end.outcome) {
            (Some(reason), _) => (InstanceState::Canceled, format!("Canceled:{reason}")),
            (None, InstanceOutcome::Completed) => (InstanceState::Completed, "Completed".to_owned()),
            (None, InstanceOutcome::Failed { detail, .. }) => {
                (InstanceState::Failed, format!("Failed:{detail}"))
            }
        };
        Instance {
            state,
            ended_time: Some(time),
            progress: end.progress,
            suspended_count: end.suspended_count,
            result: Some(result),
            exit_code: end.exit_code,
            signal: end.signal,
            was_killed: end.was_killed,
            cpu_milliseconds: end.cpu_milliseconds,
            memory_peak: end.memory_peak,
            ran_out_of_memory: end.ran_out_of_memory,
            limits: end.limits.clone(),
            keep_awake: end.keep_awake.clone(),
            ..self.record(id)
        }
    }
}

/// Milliseconds before the run number `attempt` of a firing.
fn retry_delay(seconds: u32, attempt: u32) -> u64 {
    let doublings = attempt.saturating_sub(2).min(32);
    (u64::from(seconds) << doublings).saturating_mul(1_000).min(RETRY_DELAY_MAX_MS)
}

pub(crate) fn later(time: Timestamp, milliseconds: u64) -> Timestamp {
    Timestamp(time.micros().saturating_add(i64::try_from(milliseconds).map_or(i64::MAX, |ms| ms * 1_000)))
}

/// The same for the same run of the same registration, and for no other.
fn instance_id(now: Timestamp, task: TaskId, runs: u64) -> InstanceId {
    let [high, low] = [&task.as_bytes()[..8], &task.as_bytes()[8..]]
        .map(|half| half.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte)));
    let first = scramble(high ^ scramble(low ^ scramble(runs)));
    let second = scramble(first ^ low);
    let mut further = [0; 10];
    further[..8].copy_from_slice(&first.to_be_bytes());
    further[8..].copy_from_slice(&second.to_be_bytes()[..2]);
    InstanceId::from_parts(u64::try_from(now.micros() / 1_000).unwrap_or(0), &further)
}

/// Spreads a number over all bits (the finalizer of SplitMix64).
fn scramble(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

impl Engine {
    /// Gives the free slots to those whose turn it is. Everything is asked once more at the instant of the start.
    pub(crate) fn start_tasks(&mut self, step: &mut Step) {
        while let Some(id) = self.tasks.queue.next() {
            self.consider_task(step, id);
            if self.tasks.rows[&id].place.is_some() {
                self.start_run(step, id);
            }
        }
    }

    fn start_run(&mut self, step: &mut Step, id: TaskId) {
        let Some(task) = self.tasks.rows.get_mut(&id) else { return };
        let state = &mut task.row.state;
        let Some(firing) = state.latch.take() else { return };
        state.runs += 1;
        let instance = instance_id(step.now.wall, id, state.runs);
        state.running = Some(RunningInstance {
            id: instance,
            started: step.now.wall,
            firing: firing.clone(),
            cancel_reason: None,
        });
        if task.row.plan.trigger.is_one_shot() && firing.has_fired {
            state.is_consumed = true;
        }
        task.started_at = Some(step.now.boot);
        task.retry_at = None;
        let vanishes = task.row.plan.trigger.vanishes() && firing.has_fired && task.row.plan.retry.is_none();
        let app = task.row.app.clone();
        let details = firing.details.clone();
        let keeps_network = task.row.plan.is_network_requested;
        let run = Run::new(app.clone(), id, &task.row.plan, firing, step.now.wall);
        Self::keep_task(step, id);
        self.keep_instance(step, &app, run.record(instance));
        let limit = step.now.boot.plus_millis(run.limits.cancel_after_ms);
        self.tasks.runs.insert(instance, run);
        self.set_run_timer(instance, Some((limit, Timer::Limit(instance))));
        self.tasks.set_expiry(id, None);
        self.consider_task(step, id);
        self.tasks.queue.started(&app);
        if step.tasks.asked == Some(id) {
            step.plan.answer = Some(TaskAnswer::Run(Some(instance)));
        }
        step.plan.effects.push(Effect::Task(TaskEffect::EnsureStarted {
            app,
            id,
            instance,
            details,
            keeps_network,
        }));
        if vanishes {
            self.vanish(step, id);
        }
    }

    fn keep_instance(&self, step: &mut Step, app: &AppId, instance: Instance) {
        let change = TaskChange::Instance { app: app.clone(), instance: Box::new(instance) };
        step.plan.changes.push(Change::Task(change));
    }

    fn set_run_timer(&mut self, instance: InstanceId, timer: Option<(BootTime, Timer)>) {
        let Some(run) = self.tasks.runs.get_mut(&instance) else { return };
        if let Some(before) = std::mem::replace(&mut run.timer, timer) {
            self.tasks.timers.remove(&before);
        }
        self.tasks.timers.extend(timer);
    }

    /// The code of the instance runs: its time counts from here.
    pub(crate) fn run_is_up(&mut self, step: &mut Step, id: TaskId, instance: InstanceId) {
        let Some(run) = self.tasks.runs.get_mut(&instance).filter(|run| run.task == id && !run.is_up) else {
            return;
        };
        run.is_up = true;
        if run.cancel_reason.is_none() {
            let limit = step.now.boot.plus_millis(run.limits.cancel_after_ms);
            self.set_run_timer(instance, Some((limit, Timer::Limit(instance))));
        }
        step.tasks.touched.insert(id);
    }

    pub(crate) fn limit_reached(&mut self, step: &mut Step, instance: InstanceId) {
        self.cancel_run(step, instance, CancelReason::ExecutionTimeExceeded);
    }

    pub(crate) fn grace_over(&mut self, step: &mut Step, instance: InstanceId) {
        if let Some(run) = self.tasks.runs.get_mut(&instance) {
            run.timer = None;
            step.plan.effects.push(Effect::Task(TaskEffect::EnsureKilled { instance }));
        }
    }

    /// Asks an instance to end. The first reason stays.
    pub(crate) fn cancel_run(&mut self, step: &mut Step, instance: InstanceId, reason: CancelReason) {
        let Some(run) = self.tasks.runs.get_mut(&instance).filter(|run| run.cancel_reason.is_none()) else {
            return;
        };
        run.cancel_reason = Some(reason);
        let (id, app, grace_ms) = (run.task, run.app.clone(), run.limits.grace_ms);
        let record = run.record(instance);
        let kill_at = step.now.boot.plus_millis(grace_ms.saturating_add(SECOND_NET_MS));
        self.set_run_timer(instance, Some((kill_at, Timer::Kill(instance))));
        self.keep_instance(step, &app, record);
        let running = self.tasks.rows.get_mut(&id).and_then(|task| task.row.state.running.as_mut());
        if let Some(running) = running.filter(|running| running.id == instance) {
            running.cancel_reason = Some(reason);
            Self::keep_task(step, id);
        }
        step.plan.effects.push(Effect::Task(TaskEffect::EnsureCanceled { instance, reason, grace_ms }));
    }

    /// Cancels what runs, of one application or of all.
    pub(crate) fn revoke(&mut self, step: &mut Step, app: Option<&AppId>, reason: CancelReason) {
        let is_meant = |run: &Run| app.is_none_or(|app| run.app == *app);
        let instances: Vec<InstanceId> =
            self.tasks.runs.iter().filter(|(_, run)| is_meant(run)).map(|(id, _)| *id).collect();
        for instance in instances {
            self.cancel_run(step, instance, reason);
        }
        if app.is_none() && reason == CancelReason::Terminating {
            self.tasks.is_stopping = true;
            self.consider_pending(step);
        }
    }

    /// What works with a device may not go on without it.
    pub(crate) fn device_gone(&mut self, step: &mut Step, id: TaskId) {
        let running = self.tasks.runs.iter().find(|(_, run)| run.task == id).map(|(instance, _)| *instance);
        if let Some(instance) = running {
            self.cancel_run(step, instance, CancelReason::ResourceRevocation);
        }
    }

    /// Cancels what may not go on, on the machine and with the access there is now.
    pub(crate) fn end_forbidden_runs(&mut self, step: &mut Step) {
        let ending: Vec<(InstanceId, CancelReason)> = self
            .tasks
            .runs
            .iter()
            .filter_map(|(instance, run)| Some((*instance, self.forbids_run(run)?)))
            .collect();
        for (instance, reason) in ending {
            self.cancel_run(step, instance, reason);
        }
    }

    /// A run by hand ends only because of what would have forbidden it to start. Unknown signals end nothing.
    fn forbids_run(&self, run: &Run) -> Option<CancelReason> {
        let access = self.access(&run.app);
        let is_manual = run.firing.cause == RunCause::Manual;
        let is_asked_by_hand = is_manual && access == AccessStatus::Unspecified;
        if !access.is_allowed() && !is_asked_by_hand {
            return Some(CancelReason::SystemPolicy);
        }
        if is_manual {
            return None;
        }
        let saves_energy = self.host.energy_saver.value() == Some(&true);
        if saves_energy && access != AccessStatus::AlwaysAllowed {
            return Some(CancelReason::EnergySaver);
        }
        if run.is_maintenance && self.host.power.value().is_some_and(|power| !power.is_external) {
            return Some(CancelReason::Abort);
        }
        let is_lost = |condition| condition::holds(condition, &self.host) == Holds::No;
        (run.cancel_on_condition_loss && run.conditions.iter().any(is_lost))
            .then_some(CancelReason::ConditionLoss)
    }

    pub(crate) fn run_ended(&mut self, step: &mut Step, id: TaskId, instance: InstanceId, end: &InstanceEnd) {
        if self.tasks.runs.get(&instance).is_none_or(|run| run.task != id) {
            return;
        }
        self.set_run_timer(instance, None);
        let Some(run) = self.tasks.runs.remove(&instance) else { return };
        self.tasks.queue.ended(&run.app);
        let record = run.ended(instance, step.now.wall, end);
        let result = record.result.clone().unwrap_or_default();
        self.keep_instance(step, &run.app, record);
        let crashes_max = self.policy.tasks.crashes_max;
        let Some(task) = self.tasks.rows.get_mut(&id) else { return };
        let state = &mut task.row.state;
        if state.running.as_ref().is_none_or(|running| running.id != instance) {
            return;
        }
        state.running = None;
        state.last =
            Some(LastRun { ended: step.now.wall, result: result.as_str().into(), progress: end.progress });
        let may_retry = match (run.cancel_reason, &end.outcome) {
            (Some(_), _) => false,
            (None, InstanceOutcome::Completed) => {
                state.host_crashes = 0;
                false
            }
            (None, InstanceOutcome::Failed { is_host_crash, .. }) => {
                if *is_host_crash {
                    state.host_crashes = state.host_crashes.saturating_add(1).min(crashes_max);
                }
                true
            }
        };
        if may_retry {
            self.retry_run(step, id, &run.firing);
        }
        Self::keep_task(step, id);
        self.consider_task(step, id);
        self.vanish_after(step, id, &run.firing);
    }

    /// Keeps the firing for another run, if the registration wants that and no newer firing waits.
    fn retry_run(&mut self, step: &Step, id: TaskId, firing: &Latch) {
        let Some(task) = self.tasks.rows.get_mut(&id) else { return };
        let Some(retry) = task.row.plan.retry else { return };
        let is_firing = firing.has_fired || firing.cause == RunCause::Retry;
        if task.row.state.latch.is_some() || !is_firing || firing.attempt > u32::from(retry.max) {
            return;
        }
        let attempt = firing.attempt + 1;
        let delay = retry_delay(retry.delay_seconds, attempt);
        task.row.state.latch = Some(Latch {
            fired: firing.fired,
            cause: RunCause::Retry,
            attempt,
            not_before: Some(later(step.now.wall, delay)),
            has_fired: false,
            expires: None,
            details: firing.details.clone(),
        });
        task.retry_at = Some(step.now.boot.plus_millis(delay));
        task.order = self.tasks.next_order;
        self.tasks.next_order += 1;
    }

    /// A registration that vanishes was kept for its retries: the run of this firing was the last one.
    fn vanish_after(&mut self, step: &mut Step, id: TaskId, firing: &Latch) {
        let Some(task) = self.tasks.rows.get(&id) else { return };
        let was_fired = firing.has_fired || firing.cause == RunCause::Retry;
        if task.row.plan.trigger.vanishes() && was_fired && task.row.state.latch.is_none() {
            self.vanish(step, id);
        }
    }

    /// What ran when the service or the machine ended did not survive it.
    pub(crate) fn interrupt_run(&mut self, step: &mut Step, id: TaskId) {
        let crashes_max = self.policy.tasks.crashes_max;
        let Some(task) = self.tasks.rows.get_mut(&id) else { return };
        let Some(running) = task.row.state.running.take() else { return };
        let mut run = Run::new(task.row.app.clone(), id, &task.row.plan, running.firing, running.started);
        run.cancel_reason = running.cancel_reason;
        task.row.state.last =
            Some(LastRun { ended: step.now.wall, result: "Interrupted".into(), progress: 0 });
        if run.cancel_reason.is_none() {
            task.row.state.host_crashes = task.row.state.host_crashes.saturating_add(1).min(crashes_max);
        }
        let retries = task.row.plan.retry.is_some_and(|retry| retry.after_interruption);
        let app = run.app.clone();
        let record = run.record(running.id);
        self.interrupted(step, &app, record);
        if retries && run.cancel_reason.is_none() {
            self.retry_run(step, id, &run.firing);
        }
        Self::keep_task(step, id);
        self.vanish_after(step, id, &run.firing);
    }

    /// Ends the record, and whatever of the instance may have been left behind.
    pub(crate) fn interrupted(&self, step: &mut Step, app: &AppId, instance: Instance) {
        let id = instance.id;
        let instance = Instance {
            state: InstanceState::Interrupted,
            ended_time: Some(step.now.wall),
            result: Some("Interrupted".to_owned()),
            ..instance
        };
        self.keep_instance(step, app, instance);
        step.plan.effects.push(Effect::Task(TaskEffect::EnsureKilled { instance: id }));
    }

    /// The delay of a retry that was decided before a restart: what is left of it, and never more than all of it.
    pub(crate) fn resume_retry(&mut self, step: &Step, id: TaskId) {
        let Some(task) = self.tasks.rows.get_mut(&id) else { return };
        let Some(latch) = &task.row.state.latch else { return };
        let (Some(not_before), Some(retry)) = (latch.not_before, task.row.plan.retry) else { return };
        let left = u64::try_from(not_before.micros().saturating_sub(step.now.wall.micros())).unwrap_or(0);
        let left = left.min(retry_delay(retry.delay_seconds, latch.attempt).saturating_mul(1_000));
        task.retry_at = Some(BootTime(step.now.boot.0.saturating_add(left)));
    }
}
