//! Where tasks take part in the engine's steps: taking over what was kept, hearing facts, and what follows at the end of
//! every step.

use longhaul_contract::{ReasonCode, TaskId};

use super::fact::TaskFact;
use super::rules::{Scope, TaskVerdict};
use crate::clock::Wake;
use crate::engine::Engine;
use crate::plan::Change;
use crate::step::Step;
use crate::task::TaskChange;

impl Engine {
    /// The first decision about tasks after everything was adopted.
    pub(crate) fn begin_tasks(&mut self, step: &mut Step) {
        self.tasks.clock.look(step.now);
        for (app, instance) in std::mem::take(&mut self.tasks.left_over) {
            self.interrupted(step, &app, instance);
        }
        let ids: Vec<TaskId> = self.tasks.rows.keys().copied().collect();
        for id in &ids {
            self.resume_retry(step, *id);
            self.interrupt_run(step, *id);
            self.resume_expiry(step, *id);
        }
        let mut waiting: Vec<_> = ids
            .iter()
            .filter_map(|id| Some((self.tasks.rows.get(id)?.row.state.latch.as_ref()?.fired, *id)))
            .collect();
        waiting.sort_unstable();
        for (_, id) in waiting {
            if let Some(task) = self.tasks.rows.get_mut(&id) {
                task.order = self.tasks.next_order;
                self.tasks.next_order += 1;
            }
            self.consider_task(step, id);
        }
        for id in ids {
            self.resume_timer(step, id);
        }
        self.host_changed_for_tasks(step);
    }

    pub(crate) fn observe_task(&mut self, step: &mut Step, fact: TaskFact) {
        match fact {
            TaskFact::Fired { id, details } => self.fire(step, id, &details),
            TaskFact::Message { id, details, lifetime_ms } => {
                self.fire_message(step, id, &details, lifetime_ms);
            }
            TaskFact::System { event, app, details } => {
                self.fire_event(step, event, app.as_ref(), &details);
            }
            TaskFact::Running { id, instance } => self.run_is_up(step, id, instance),
            TaskFact::Ended { id, instance, end } => self.run_ended(step, id, instance, &end),
            TaskFact::Revoked { app, reason } => self.revoke(step, app.as_ref(), reason),
            TaskFact::DeviceGone { id } => self.device_gone(step, id),
            TaskFact::Serving { app, class, is_connected } => {
                let served = (app.clone(), class);
                if is_connected {
                    self.tasks.serving.insert(served);
                } else {
                    self.tasks.serving.remove(&served);
                }
                self.consider_app(step, &app);
            }
            TaskFact::AccessRules(rules) => self.set_access_rules(step, rules),
            // Every step compares the clocks.
            TaskFact::ClockChanged => {}
        }
    }

    /// Everything that follows from time alone, and then the starts.
    pub(crate) fn conclude_tasks(&mut self, step: &mut Step) {
        let look = self.tasks.clock.look(step.now);
        if look.was_set || look.trust_changed {
            self.clock_changed(step);
            step.tasks.touched.extend(&self.tasks.calendars);
        }
        self.run_task_timers(step);
        self.follow_zone(step, look.was_set || step.tasks.signals);
        self.start_tasks(step);
        self.forget_expired(step);
        self.note_waiting(step);
        self.keep_tasks(step);
    }

    /// Notes for the history what each firing waits for.
    fn note_waiting(&mut self, step: &mut Step) {
        for id in std::mem::take(&mut step.tasks.considered) {
            let Some(task) = self.tasks.rows.get(&id) else { continue };
            let code = task.row.state.latch.as_ref().and_then(|_| {
                match self.task_question(task, step.now).first_block(Scope::All) {
                    Some(TaskVerdict::Blocks { code, .. }) => Some(code),
                    _ => None,
                }
            });
            self.set_waiting(step, id, code);
            step.tasks.touched.insert(id);
        }
    }

    fn set_waiting(&mut self, step: &mut Step, id: TaskId, code: Option<ReasonCode>) {
        let Some(task) = self.tasks.rows.get_mut(&id) else { return };
        if task.waits.map(|(code, _)| code) == code {
            return;
        }
        let now = step.now.wall;
        if let Some((code, from)) = std::mem::replace(&mut task.waits, code.map(|code| (code, now)))
            && from < now
        {
            step.plan.changes.push(Change::Task(TaskChange::Waited { id, code, from, to: now }));
        }
    }

    fn keep_tasks(&mut self, step: &mut Step) {
        for id in std::mem::take(&mut step.tasks.rows) {
            if let Some(task) = self.tasks.rows.get(&id) {
                step.plan.changes.push(Change::Task(TaskChange::Updated { row: task.row.clone() }));
                step.tasks.touched.insert(id);
            }
        }
        for id in std::mem::take(&mut step.tasks.touched) {
            if let Some(task) = self.tasks.rows.get(&id) {
                step.plan.tasks_touched.push((task.row.app.clone(), id));
            }
        }
        if step.tasks.signals {
            self.keep_signals(step);
        }
    }

    /// When tasks want to be asked again.
    pub(crate) fn next_task_wake(&self) -> Wake {
        let tasks = &self.tasks;
        let timer = tasks.timers.first().map(|(time, _)| *time);
        let calendar = tasks.calendar.first().map(|(time, _)| *time);
        let believed = if tasks.calendars.is_empty() { Wake::default() } else { tasks.clock.believed_at() };
        Wake {
            boot: timer.into_iter().chain(believed.boot).min(),
            wall: calendar.into_iter().chain(believed.wall).chain(tasks.zone_changes).min(),
        }
    }
}
