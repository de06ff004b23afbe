//! The reference model of tasks: what is registered, what waits, what runs, and what may start. Written from
//! docs/concepts/tasks.md and not from the engine.

use std::collections::BTreeMap;

use longhaul_contract::{CancelReason, InstanceId, TaskId};

use super::event::{Registering, Trigger};
use super::machine::TaskMachine;

pub(crate) const SECOND: i64 = 1_000_000;
pub(crate) const MINUTE: i64 = 60 * SECOND;
const DAY: i64 = 1_440 * MINUTE;
/// Later than this, a timer has been missed.
const MISSED_AFTER: i64 = 15 * MINUTE;
const SET_BACK: i64 = 180 * MINUTE;
pub(crate) const CANCEL_AFTER: i64 = 25 * SECOND;
pub(crate) const GRACE: i64 = 5 * SECOND;
pub(crate) const CRASHES_MAX: u8 = 5;
pub(crate) const AT_ONCE: usize = 3;
pub(crate) const AT_ONCE_PER_APPLICATION: usize = 2;
pub(crate) const REGISTRATIONS: usize = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    Trigger,
    Manual,
    Retry,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pending {
    pub(crate) cause: Cause,
    pub(crate) attempt: u32,
    pub(crate) has_fired: bool,
    /// Truth before which a retry does not start.
    pub(crate) ready_at: i64,
}

#[derive(Debug, Clone)]
pub(crate) struct Reg {
    pub(crate) what: Registering,
    pub(crate) pending: Option<Pending>,
    pub(crate) running: Option<InstanceId>,
    pub(crate) is_consumed: bool,
    /// The completion group it waits for is enabled.
    pub(crate) is_enabled: bool,
    pub(crate) crashes: u8,
    /// Truth at which a period is over.
    pub(crate) due: Option<i64>,
    /// Wall time up to which a calendar has been looked after.
    pub(crate) anchor: i64,
    pub(crate) is_anchor_doubted: bool,
    /// Truth of the last start in this life of the service.
    pub(crate) started: Option<i64>,
}

#[derive(Debug, Clone)]
pub(crate) struct ModelRun {
    pub(crate) task: TaskId,
    pub(crate) what: Registering,
    pub(crate) pending: Pending,
    /// Truth from which its time counts.
    pub(crate) since: i64,
    pub(crate) is_up: bool,
    pub(crate) canceled: Option<(CancelReason, i64)>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct TaskModel {
    pub(crate) regs: BTreeMap<TaskId, Reg>,
    pub(crate) runs: BTreeMap<InstanceId, ModelRun>,
    /// Numbers of AccessStatus by application.
    pub(crate) access: BTreeMap<u8, u8>,
    pub(crate) serving: BTreeMap<u8, bool>,
    pub(crate) known_user: Option<bool>,
    pub(crate) known_internet: Option<bool>,
    pub(crate) is_stopping: bool,
    /// The skew under which wall times have been written.
    pub(crate) skew: i64,
}

impl Reg {
    pub(crate) fn is_spent(&self) -> bool {
        let has_fired = self.pending.is_some_and(|pending| pending.has_fired);
        self.what.one_shot && (self.is_consumed || has_fired)
    }

    pub(crate) fn period(&self) -> Option<i64> {
        match self.what.trigger {
            Trigger::Every { minutes } | Trigger::Maintenance { minutes } => {
                Some(i64::from(minutes) * MINUTE)
            }
            _ => None,
        }
    }

    /// Wall time of the next occurrence of its calendar.
    pub(crate) fn occurrence(&self, after: i64) -> Option<i64> {
        let Trigger::Daily { minute } = self.what.trigger else { return None };
        let of_day = i64::from(minute) * MINUTE;
        let days = (after - of_day).div_euclid(DAY) + 1;
        Some(days * DAY + of_day)
    }

    pub(crate) fn is_event(&self) -> bool {
        matches!(self.what.trigger, Trigger::UserPresent | Trigger::InternetAvailable)
    }

    pub(crate) fn fire(&mut self) {
        if self.what.one_shot && self.is_consumed {
            return;
        }
        match &mut self.pending {
            Some(pending) if pending.cause != Cause::Retry => pending.has_fired = true,
            pending => {
                *pending =
                    Some(Pending { cause: Cause::Trigger, attempt: 1, has_fired: true, ready_at: i64::MIN });
            }
        }
        if self.is_spent() {
            self.due = None;
        }
    }

    /// A period that ended before `truth` fires, and the next one stays on its grid.
    fn advance_period(&mut self, truth: i64) {
        let (Some(due), Some(period)) = (self.due, self.period()) else { return };
        if truth < due {
            return;
        }
        let late = (truth - due) % period;
        self.due = Some(truth - late + period);
        if !self.what.skips_missed || late <= MISSED_AFTER {
            self.fire();
        }
    }

    fn advance_calendar(&mut self, wall: i64) {
        if self.is_spent() {
            return;
        }
        if std::mem::take(&mut self.is_anchor_doubted) || self.anchor - wall > SET_BACK {
            self.anchor = wall;
        }
        let is_due = |from: i64| self.occurrence(from).is_some_and(|time| time <= wall);
        if is_due(self.anchor) {
            let fires = !self.what.skips_missed || is_due(self.anchor.max(wall - MISSED_AFTER));
            self.anchor = wall;
            if fires {
                self.fire();
            }
        }
    }

    /// Why its firing must not start, limits of number apart.
    pub(crate) fn holds_back(&self, model: &TaskModel, machine: TaskMachine, truth: i64) -> Option<String> {
        let Some(pending) = self.pending else { return Some("nothing has fired".to_owned()) };
        let access = model.access.get(&self.what.app).copied().unwrap_or(0);
        let is_manual = pending.cause == Cause::Manual;
        if self.running.is_some() {
            return Some("an instance runs".to_owned());
        }
        if model.is_stopping {
            return Some("the service stops".to_owned());
        }
        if matches!(access, 6 | 7) || (access == 0 && !is_manual) {
            return Some(format!("access is {access}"));
        }
        if self.what.is_served_by_program && model.serving.get(&self.what.app) != Some(&true) {
            return Some("no program listens".to_owned());
        }
        if is_manual {
            return None;
        }
        if self.crashes >= CRASHES_MAX {
            return Some("it is quarantined".to_owned());
        }
        if let Some(unmet) = self.what.conditions.iter().find(|condition| !machine.holds(**condition).0) {
            return Some(format!("condition {unmet} does not hold on {machine:?}"));
        }
        if matches!(self.what.trigger, Trigger::Maintenance { .. }) && machine.is_on_battery == Some(true) {
            return Some("the machine is on battery".to_owned());
        }
        if machine.saves_energy == Some(true) && access != 4 {
            return Some("energy saver is on".to_owned());
        }
        if pending.ready_at > truth {
            return Some("the retry has its delay".to_owned());
        }
        let is_calm = self.started.is_none_or(|started| started + MINUTE <= truth);
        if self.is_event() && pending.cause == Cause::Trigger && !is_calm {
            return Some("its event flaps".to_owned());
        }
        None
    }
}

impl ModelRun {
    /// The reason for which it has to be cancelled now.
    pub(crate) fn must_end(&self, model: &TaskModel, machine: TaskMachine, truth: i64) -> Vec<CancelReason> {
        let access = model.access.get(&self.what.app).copied().unwrap_or(0);
        let is_manual = self.pending.cause == Cause::Manual;
        let mut reasons = Vec::new();
        if matches!(access, 6 | 7) || (access == 0 && !is_manual) {
            reasons.push(CancelReason::SystemPolicy);
        }
        if truth >= self.since + CANCEL_AFTER {
            reasons.push(CancelReason::ExecutionTimeExceeded);
        }
        if is_manual {
            return reasons;
        }
        if machine.saves_energy == Some(true) && access != 4 {
            reasons.push(CancelReason::EnergySaver);
        }
        if matches!(self.what.trigger, Trigger::Maintenance { .. }) && machine.is_on_battery == Some(true) {
            reasons.push(CancelReason::Abort);
        }
        let is_lost = |condition: &u8| machine.holds(*condition).1;
        if self.what.cancel_on_condition_loss && self.what.conditions.iter().any(is_lost) {
            reasons.push(CancelReason::ConditionLoss);
        }
        reasons
    }
}

impl TaskModel {
    pub(crate) fn named(&self, what: &Registering) -> Vec<TaskId> {
        let key = |what: &Registering| (what.app, what.group, what.name);
        self.regs.iter().filter(|(_, reg)| key(&reg.what) == key(what)).map(|(id, _)| *id).collect()
    }

    pub(crate) fn running_of(&self, app: u8) -> usize {
        self.runs.values().filter(|run| run.what.app == app).count()
    }

    pub(crate) fn advance(&mut self, truth: i64, wall: i64, is_trusted: bool) {
        for reg in self.regs.values_mut() {
            reg.advance_period(truth);
            if is_trusted && matches!(reg.what.trigger, Trigger::Daily { .. }) {
                reg.advance_calendar(wall);
            }
        }
    }

    /// Edges between what was known and the machine as it is.
    pub(crate) fn observe(&mut self, machine: TaskMachine) {
        let internet = machine.level.map(|level| level == crate::event::Level::Internet);
        let user_came = self.known_user == Some(false) && machine.has_user == Some(true);
        let internet_came = self.known_internet == Some(false) && internet == Some(true);
        self.known_user = machine.has_user.or(self.known_user);
        self.known_internet = internet.or(self.known_internet);
        for reg in self.regs.values_mut() {
            let has_come = match reg.what.trigger {
                Trigger::UserPresent => user_came,
                Trigger::InternetAvailable => internet_came,
                _ => false,
            };
            if has_come {
                reg.fire();
            }
        }
    }

    /// What no registration waits for is not written down.
    pub(crate) fn forget_unheard(&mut self) {
        let hears = |trigger| self.regs.values().any(|reg| reg.what.trigger == trigger);
        let (user, internet) = (hears(Trigger::UserPresent), hears(Trigger::InternetAvailable));
        self.known_user = self.known_user.filter(|_| user);
        self.known_internet = self.known_internet.filter(|_| internet);
    }

    pub(crate) fn start(&mut self, id: TaskId, instance: InstanceId, truth: i64) {
        let Some(reg) = self.regs.get_mut(&id) else { return };
        let Some(pending) = reg.pending.take() else { return };
        reg.running = Some(instance);
        reg.started = Some(truth);
        reg.is_consumed |= reg.what.one_shot && pending.has_fired;
        let run = ModelRun {
            task: id,
            what: reg.what.clone(),
            pending,
            since: truth,
            is_up: false,
            canceled: None,
        };
        let vanishes =
            reg.what.trigger == Trigger::CompletionGroup && pending.has_fired && reg.what.retry.is_none();
        self.runs.insert(instance, run);
        if vanishes {
            self.regs.remove(&id);
        }
    }

    /// An instance is over; `outcome` is whether it failed, and whether it took its host down.
    pub(crate) fn end(&mut self, instance: InstanceId, outcome: End, truth: i64) {
        let Some(run) = self.runs.remove(&instance) else { return };
        self.end_of(&run, instance, outcome, truth);
        let was_fired = run.pending.has_fired || run.pending.cause == Cause::Retry;
        if run.what.trigger == Trigger::CompletionGroup && was_fired {
            self.regs.retain(|id, reg| *id != run.task || reg.pending.is_some() || reg.running.is_some());
        }
    }

    fn end_of(&mut self, run: &ModelRun, instance: InstanceId, outcome: End, truth: i64) {
        let Some(reg) = self.regs.get_mut(&run.task) else { return };
        if reg.running != Some(instance) {
            return;
        }
        reg.running = None;
        if run.canceled.is_some() {
            return;
        }
        match outcome {
            End::Completed => reg.crashes = 0,
            End::Failed => {}
            End::HostCrashed | End::Interrupted => reg.crashes = (reg.crashes + 1).min(CRASHES_MAX),
        }
        let Some((max, delay, after_interruption)) = reg.what.retry else { return };
        let is_wanted = match outcome {
            End::Completed => false,
            End::Failed | End::HostCrashed => true,
            End::Interrupted => after_interruption,
        };
        let is_firing = run.pending.has_fired || run.pending.cause == Cause::Retry;
        if is_wanted && is_firing && reg.pending.is_none() && run.pending.attempt <= u32::from(max) {
            let factor = 1_i64 << (run.pending.attempt - 1);
            reg.pending = Some(Pending {
                cause: Cause::Retry,
                attempt: run.pending.attempt + 1,
                has_fired: false,
                ready_at: truth + i64::from(delay) * factor * SECOND,
            });
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Completed,
    Failed,
    HostCrashed,
    Interrupted,
}
