//! Firings: where they come from, and how they are kept. A registration has at most one that waits; a later one puts
//! its details in the place of the earlier one's, and lists in them are joined.

use std::sync::{Arc, LazyLock};

use longhaul_contract::{
    AccessStatus, AppId, ErrorCode, RequestResult, RunCause, SystemTriggerType, TaskId, TriggerKind,
};

use super::details::joined;
use super::queue::Place;
use super::row::Latch;
use super::rules::{Scope, TaskVerdict};
use super::run::later;
use crate::clock::BootTime;
use crate::engine::Engine;
use crate::rules::Until;
use crate::step::Step;
use crate::task::TaskAnswer;
use crate::task::timer::Due;
use crate::wish::Refusal;

/// Charge in per cent that servicing a device needs more than, on a battery.
const SERVICING_PERCENT: u8 = 33;

/// Trigger details of what says nothing.
pub(crate) fn no_details() -> Arc<str> {
    static NONE: LazyLock<Arc<str>> = LazyLock::new(|| Arc::from("{}"));
    NONE.clone()
}

impl Engine {
    /// The trigger fired.
    pub(crate) fn fire(&mut self, step: &mut Step, id: TaskId, details: &Arc<str>) {
        let Some(task) = self.tasks.rows.get_mut(&id) else { return };
        if task.row.plan.trigger.is_one_shot() && task.row.state.is_consumed {
            return;
        }
        match &mut task.row.state.latch {
            // A run by hand that waits takes the firing along; a retry is overtaken by it.
            Some(latch) if latch.cause != RunCause::Retry => {
                latch.details = joined(&latch.details, details);
                latch.has_fired = true;
                latch.expires = None;
            }
            latch => {
                *latch = Some(Latch {
                    fired: step.now.wall,
                    cause: RunCause::Trigger,
                    attempt: 1,
                    not_before: None,
                    has_fired: true,
                    expires: None,
                    details: details.clone(),
                });
                task.retry_at = None;
                task.order = self.tasks.next_order;
                self.tasks.next_order += 1;
            }
        }
        if task.is_spent() {
            self.tasks.set_due(id, Due::Never);
        }
        self.tasks.set_expiry(id, None);
        Self::keep_task(step, id);
        self.consider_task(step, id);
    }

    /// A message fired it, and is worth something for so long.
    pub(crate) fn fire_message(&mut self, step: &mut Step, id: TaskId, details: &Arc<str>, lifetime_ms: u64) {
        self.fire(step, id, details);
        let Some(task) = self.tasks.rows.get_mut(&id) else { return };
        let Some(latch) = &mut task.row.state.latch else { return };
        latch.expires = Some(later(step.now.wall, lifetime_ms));
        self.tasks.set_expiry(id, Some(step.now.boot.plus_millis(lifetime_ms)));
    }

    /// What is left of a message's time after a restart, and never more than all of it.
    pub(crate) fn resume_expiry(&mut self, step: &Step, id: TaskId) {
        let Some(task) = self.tasks.rows.get(&id) else { return };
        let Some(latch) = &task.row.state.latch else { return };
        let Some(expires) = latch.expires else { return };
        // A clock that was set back has moved the end before the beginning.
        let whole = expires.micros().saturating_sub(latch.fired.micros());
        let whole = if whole < 0 { i64::MAX } else { whole };
        let left = expires.micros().saturating_sub(step.now.wall.micros()).clamp(0, whole);
        let at = BootTime(step.now.boot.0.saturating_add(left.unsigned_abs()));
        self.tasks.set_expiry(id, Some(at));
    }

    /// Forgets the messages whose time is over and that have started nothing. What else was to start goes on.
    pub(crate) fn forget_expired(&mut self, step: &mut Step) {
        for id in std::mem::take(&mut step.tasks.expired) {
            let Some(task) = self.tasks.rows.get_mut(&id) else { continue };
            let Some(latch) = &mut task.row.state.latch else { continue };
            if latch.cause == RunCause::Manual {
                latch.has_fired = false;
                latch.expires = None;
                latch.details = no_details();
            } else {
                task.row.state.latch = None;
            }
            Self::keep_task(step, id);
            self.consider_task(step, id);
        }
    }

    /// An event of the machine, or of one application.
    pub(crate) fn fire_event(
        &mut self,
        step: &mut Step,
        event: SystemTriggerType,
        app: Option<&AppId>,
        details: &Arc<str>,
    ) {
        let Some(listeners) = self.tasks.listeners.get(&event) else { return };
        let ids: Vec<TaskId> = listeners
            .iter()
            .copied()
            .filter(|id| app.is_none_or(|app| self.tasks.rows[id].row.app == *app))
            .collect();
        for id in ids {
            self.fire(step, id, details);
        }
    }

    /// Looks whether a firing that waits may start, and puts it into the queue or takes it out.
    pub(crate) fn consider_task(&mut self, step: &mut Step, id: TaskId) {
        let Some(task) = self.tasks.rows.get(&id) else { return };
        step.tasks.considered.insert(id);
        let Some(latch) = &task.row.state.latch else {
            self.tasks.pending.remove(&id);
            self.tasks.set_look(id, None);
            self.set_place(id, None);
            return;
        };
        let place = Place { is_automatic: latch.cause != RunCause::Manual, order: task.order, id };
        let verdict = self.task_question(task, step.now).first_block(Scope::Itself);
        self.tasks.pending.insert(id);
        let (place, until) = match verdict {
            None => (Some(place), None),
            Some(TaskVerdict::Blocks { until, .. }) => (None, until),
            Some(_) => (None, None),
        };
        let look_at = until.and_then(|until| match until {
            Until::Boot(time) => Some(time),
            Until::Wall(_) => None,
        });
        self.tasks.set_look(id, look_at);
        self.set_place(id, place);
    }

    /// Everything that waits, because something that concerns all has changed.
    pub(crate) fn consider_pending(&mut self, step: &mut Step) {
        for id in self.tasks.pending.clone() {
            self.consider_task(step, id);
        }
    }

    pub(crate) fn consider_app(&mut self, step: &mut Step, app: &AppId) {
        let Some(tasks) = self.tasks.apps.get(app) else { return };
        for id in tasks.ids.clone() {
            if self.tasks.pending.contains(&id) {
                self.consider_task(step, id);
            } else {
                step.tasks.touched.insert(id);
            }
        }
    }

    fn set_place(&mut self, id: TaskId, place: Option<Place>) {
        let Some(task) = self.tasks.rows.get_mut(&id) else { return };
        let before = std::mem::replace(&mut task.place, place);
        if before == place {
            return;
        }
        let app = task.row.app.clone();
        if let Some(before) = before {
            self.tasks.queue.leave(&app, before);
        }
        if let Some(place) = place {
            self.tasks.queue.enter(&app, place);
        }
    }

    /// RequestAsync of the triggers that a program fires.
    pub(crate) fn request_task(
        &mut self,
        step: &mut Step,
        app: &AppId,
        id: TaskId,
        details: &Arc<str>,
    ) -> Result<(), Refusal> {
        let task = self.tasks.find(app, id).ok_or_else(|| no_task(id))?;
        let kind = task.row.plan.trigger.called_kind().filter(|kind| kind.is_requested());
        let Some(kind) = kind else {
            return Err(Refusal::new(ErrorCode::InvalidTrigger, "its trigger is not fired by a request"));
        };
        let access = self.access(app);
        let saves_energy =
            access != AccessStatus::AlwaysAllowed && self.host.energy_saver.value() == Some(&true);
        let result = if task.row.state.running.is_some() {
            RequestResult::CurrentlyRunning
        } else if !access.is_allowed() || task.is_quarantined(&self.policy.tasks) {
            match (kind, access) {
                (kind, AccessStatus::DeniedByUser) if kind.has_device() => RequestResult::DeniedByUser,
                (kind, _) if kind.has_device() => RequestResult::DeniedBySystem,
                _ => RequestResult::DisabledByPolicy,
            }
        } else if (kind.has_device() && saves_energy)
            || (kind == TriggerKind::DeviceServicingTrigger && self.has_low_battery())
        {
            RequestResult::LowBattery
        } else {
            RequestResult::Allowed
        };
        step.plan.answer = Some(TaskAnswer::Request(result));
        if result == RequestResult::Allowed {
            self.fire(step, id, details);
        }
        Ok(())
    }

    /// Too low to service a device: what is cut off in the middle may never work again [W 2.10].
    fn has_low_battery(&self) -> bool {
        self.host.power.value().is_some_and(|power| {
            !power.is_external && power.percent.is_some_and(|percent| percent <= SERVICING_PERCENT)
        })
    }

    /// A run by hand: it asks neither the trigger nor the conditions, and takes along a firing that waits.
    pub(crate) fn run_task(&mut self, step: &mut Step, app: &AppId, id: TaskId) -> Result<(), Refusal> {
        let crashes_max = self.policy.tasks.crashes_max;
        self.tasks.find(app, id).ok_or_else(|| no_task(id))?;
        let access = self.access(app);
        if matches!(access, AccessStatus::DeniedByUser | AccessStatus::DeniedBySystemPolicy) {
            return Err(Refusal::new(ErrorCode::AccessDenied, format!("access of {app} is {access}")));
        }
        let Some(task) = self.tasks.rows.get_mut(&id) else { return Err(no_task(id)) };
        if task.row.state.host_crashes >= crashes_max {
            // One more try: the next crash puts it back.
            task.row.state.host_crashes = crashes_max.saturating_sub(1);
        }
        if let Some(latch) = &mut task.row.state.latch {
            latch.cause = RunCause::Manual;
            latch.not_before = None;
        } else {
            task.row.state.latch = Some(Latch {
                fired: step.now.wall,
                cause: RunCause::Manual,
                attempt: 1,
                not_before: None,
                has_fired: false,
                expires: None,
                details: no_details(),
            });
            task.order = self.tasks.next_order;
            self.tasks.next_order += 1;
        }
        task.retry_at = None;
        step.plan.answer = Some(TaskAnswer::Run(None));
        step.tasks.asked = Some(id);
        Self::keep_task(step, id);
        self.consider_task(step, id);
        Ok(())
    }
}

pub(crate) fn no_task(id: TaskId) -> Refusal {
    Refusal::new(ErrorCode::NotFound, format!("the application has no task {id}"))
}
