//! All registrations the engine has been handed, and the applications' access.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use longhaul_contract::trigger::ConditionStanding;
use longhaul_contract::{
    AccessStatus, AppId, Condition, Explanation, HostState, Instance, InstanceId, ReasonCode,
    SystemTriggerType, TaskGroupId, TaskId, TaskName, Timestamp, TriggerKind, WaitingReason,
};

use super::queue::{Place, TaskQueue};
use super::row::{LastRun, RunningInstance, TaskRow, TaskTrigger};
use super::run::Run;
use super::timer::{Due, Timer};
use super::trust::WallClock;
use crate::clock::{BootTime, Now};
use crate::engine::Engine;
use crate::policy::{AccessRule, TaskPolicy};
use crate::step::Step;
use crate::task::KnownSignals;

/// What the engine knows of a registration at this instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskLive {
    pub running: Option<RunningInstance>,
    pub waiting: Vec<WaitingReason>,
    pub next_fire: Option<Timestamp>,
    pub pending_since: Option<Timestamp>,
    pub is_consumed: bool,
    pub is_quarantined: bool,
    pub last: Option<LastRun>,
}

/// One registration, with what is known of it only while the service lives.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) row: TaskRow,
    pub(crate) due: Due,
    /// It was registered while the clock was in doubt.
    pub(crate) is_anchor_doubted: bool,
    /// Place of its firing among all that wait.
    pub(crate) order: u64,
    /// Its place in the queue, when only a slot is missing.
    pub(crate) place: Option<Place>,
    /// A timer is set to look at it again.
    pub(crate) look_at: Option<BootTime>,
    pub(crate) retry_at: Option<BootTime>,
    /// When the message that its firing brought is worth nothing any more.
    pub(crate) expires_at: Option<BootTime>,
    pub(crate) started_at: Option<BootTime>,
    /// What the present stretch of waiting is for, and since when.
    pub(crate) waits: Option<(ReasonCode, Timestamp)>,
}

impl Task {
    /// It will never fire again.
    pub(crate) fn is_spent(&self) -> bool {
        let has_fired = self.row.state.latch.as_ref().is_some_and(|latch| latch.has_fired);
        self.row.plan.trigger.is_one_shot() && (self.row.state.is_consumed || has_fired)
    }

    pub(crate) fn is_quarantined(&self, policy: &TaskPolicy) -> bool {
        self.row.state.host_crashes >= policy.crashes_max
    }
}

#[derive(Debug, Default)]
pub(crate) struct TaskApp {
    pub(crate) ids: BTreeSet<TaskId>,
    pub(crate) names: BTreeSet<(Option<TaskGroupId>, TaskName, TaskId)>,
}

#[derive(Debug)]
pub(crate) struct Tasks {
    /// Boxed: the nodes of the tree are half empty.
    pub(crate) rows: BTreeMap<TaskId, Box<Task>>,
    pub(crate) apps: BTreeMap<AppId, TaskApp>,
    pub(crate) access: BTreeMap<AppId, AccessStatus>,
    /// Instances that are not over, also of registrations that are gone.
    pub(crate) runs: BTreeMap<InstanceId, Run>,
    /// Registrations with a firing that waits.
    pub(crate) pending: BTreeSet<TaskId>,
    pub(crate) queue: TaskQueue,
    pub(crate) listeners: BTreeMap<SystemTriggerType, BTreeSet<TaskId>>,
    pub(crate) timers: BTreeSet<(BootTime, Timer)>,
    pub(crate) calendar: BTreeSet<(Timestamp, TaskId)>,
    /// Registrations with a calendar, which need a clock that can be trusted.
    pub(crate) calendars: BTreeSet<TaskId>,
    /// Classes that connected programs serve.
    pub(crate) serving: BTreeSet<(AppId, Arc<str>)>,
    /// What edges are compared with.
    pub(crate) known: KnownSignals,
    /// What of that the store has.
    pub(crate) kept: KnownSignals,
    /// When the clocks of the machine's zone change next.
    pub(crate) zone_changes: Option<Timestamp>,
    /// `zone_changes` holds for the zone there is now.
    pub(crate) is_zone_followed: bool,
    pub(crate) clock: WallClock,
    pub(crate) left_over: Vec<(AppId, Instance)>,
    /// The service stops: nothing starts any more.
    pub(crate) is_stopping: bool,
    pub(crate) next_order: u64,
}

impl Tasks {
    pub(crate) fn new(policy: &TaskPolicy) -> Self {
        Self {
            rows: BTreeMap::new(),
            apps: BTreeMap::new(),
            access: BTreeMap::new(),
            runs: BTreeMap::new(),
            pending: BTreeSet::new(),
            queue: TaskQueue::new(policy.at_once, policy.at_once_per_application),
            listeners: BTreeMap::new(),
            timers: BTreeSet::new(),
            calendar: BTreeSet::new(),
            calendars: BTreeSet::new(),
            serving: BTreeSet::new(),
            known: KnownSignals::default(),
            kept: KnownSignals::default(),
            zone_changes: None,
            is_zone_followed: false,
            clock: WallClock::default(),
            left_over: Vec::new(),
            is_stopping: false,
            next_order: 0,
        }
    }

    pub(crate) fn find(&self, app: &AppId, id: TaskId) -> Option<&Task> {
        self.rows.get(&id).map(|task| &**task).filter(|task| task.row.app == *app)
    }

    /// What the owner has decided or the application has been given.
    pub(crate) fn own_access(&self, app: &AppId) -> AccessStatus {
        self.access.get(app).copied().unwrap_or(AccessStatus::Unspecified)
    }

    /// Registrations of this name, of which there may be several.
    pub(crate) fn named(&self, app: &AppId, group: Option<&TaskGroupId>, name: &TaskName) -> Vec<TaskId> {
        let Some(tasks) = self.apps.get(app) else { return Vec::new() };
        let first = (group.cloned(), name.clone(), TaskId::from_bytes([0; 16]));
        tasks
            .names
            .range(first..)
            .take_while(|(of_group, named, _)| of_group.as_ref() == group && named == name)
            .map(|(_, _, id)| *id)
            .collect()
    }

    /// Takes a registration into every index but those of time.
    pub(crate) fn insert(&mut self, row: TaskRow) {
        let app = self.apps.entry(row.app.clone()).or_default();
        app.ids.insert(row.id);
        app.names.insert((row.group.clone(), row.name.clone(), row.id));
        match &row.plan.trigger {
            TaskTrigger::System { event, .. } => {
                self.listeners.entry(*event).or_default().insert(row.id);
            }
            TaskTrigger::Calendar { .. } => {
                self.calendars.insert(row.id);
            }
            TaskTrigger::Every { .. }
            | TaskTrigger::Requested { .. }
            | TaskTrigger::Sourced { .. }
            | TaskTrigger::Completion { .. } => {}
        }
        let task = Task {
            due: Due::Never,
            is_anchor_doubted: false,
            order: 0,
            place: None,
            look_at: None,
            retry_at: None,
            expires_at: None,
            started_at: None,
            waits: None,
            row,
        };
        self.rows.insert(task.row.id, Box::new(task));
    }

    /// Takes a registration out of every index; its instance, if any, goes on.
    pub(crate) fn remove(&mut self, id: TaskId) -> Option<Box<Task>> {
        self.set_due(id, Due::Never);
        self.set_look(id, None);
        self.set_expiry(id, None);
        let task = self.rows.remove(&id)?;
        let row = &task.row;
        if let Some(place) = task.place {
            self.queue.leave(&row.app, place);
        }
        self.pending.remove(&id);
        self.calendars.remove(&id);
        if let TaskTrigger::System { event, .. } = &row.plan.trigger
            && let Some(listeners) = self.listeners.get_mut(event)
        {
            listeners.remove(&id);
            if listeners.is_empty() {
                self.listeners.remove(event);
            }
        }
        if let Some(app) = self.apps.get_mut(&row.app) {
            app.ids.remove(&id);
            app.names.remove(&(row.group.clone(), row.name.clone(), id));
            if app.ids.is_empty() {
                self.apps.remove(&row.app);
            }
        }
        Some(task)
    }
}

impl Engine {
    /// Takes over a registration that the store kept; before [`Engine::begin`].
    pub fn adopt_task(&mut self, row: TaskRow) {
        self.tasks.clock.remember(row.state.anchor);
        self.bind_task(&row);
        self.tasks.insert(row);
    }

    /// Takes over what an application may do; before [`Engine::begin`].
    pub fn adopt_access(&mut self, app: AppId, status: AccessStatus) {
        self.tasks.access.insert(app, status);
    }

    /// Takes over what edges are compared with; before [`Engine::begin`].
    pub fn adopt_signals(&mut self, signals: KnownSignals) {
        self.tasks.kept = signals.clone();
        self.tasks.known = signals;
    }

    /// Takes over an instance that is not over and whose registration is gone; before [`Engine::begin`], which ends it
    /// as interrupted.
    pub fn adopt_instance(&mut self, app: AppId, instance: Instance) {
        self.tasks.left_over.push((app, instance));
    }

    /// `None` when the application has no such registration.
    #[must_use]
    pub fn task_live(&self, now: Now, app: &AppId, id: TaskId) -> Option<TaskLive> {
        let task = self.tasks.find(app, id)?;
        let state = &task.row.state;
        Some(TaskLive {
            running: state.running.clone(),
            waiting: super::explain::waiting(&self.task_question(task, now)),
            next_fire: task.due.wall(now),
            pending_since: state.latch.as_ref().map(|latch| latch.fired),
            is_consumed: state.is_consumed,
            is_quarantined: task.is_quarantined(&self.policy.tasks),
            last: state.last.clone(),
        })
    }

    /// Made by the same rules as the decision; `hypothetical` replaces the host for a question of "what if". History and
    /// totals are the store's to add.
    #[must_use]
    pub fn explain_task(
        &self,
        now: Now,
        app: &AppId,
        id: TaskId,
        hypothetical: Option<&HostState>,
    ) -> Option<Explanation> {
        let question = self.task_question(self.tasks.find(app, id)?, now);
        Some(super::explain::explain(&super::rules::TaskQuestion { hypothetical, ..question }))
    }

    /// The registrations of an application that are in no group, or in this one, oldest first.
    #[must_use]
    pub fn task_ids(&self, app: &AppId, group: Option<&TaskGroupId>) -> Vec<TaskId> {
        let ids = self.tasks.apps.get(app).into_iter().flat_map(|tasks| tasks.ids.iter().copied());
        ids.filter(|id| self.tasks.rows[id].row.group.as_ref() == group).collect()
    }

    /// The registrations that are about a device, with their types.
    #[must_use]
    pub fn device_tasks(&self) -> Vec<(TaskId, TriggerKind)> {
        let rows = self.tasks.rows.iter();
        rows.filter_map(|(id, task)| {
            Some((*id, task.row.plan.trigger.called_kind().filter(|kind| kind.has_device())?))
        })
        .collect()
    }

    /// The applications that have registrations.
    #[must_use]
    pub fn task_apps(&self) -> Vec<AppId> {
        self.tasks.apps.keys().cloned().collect()
    }

    /// The groups that have registrations, by name.
    #[must_use]
    pub fn task_groups(&self, app: &AppId) -> Vec<TaskGroupId> {
        let names = self.tasks.apps.get(app).into_iter().flat_map(|tasks| &tasks.names);
        let mut groups: Vec<_> = names.filter_map(|(group, _, _)| group.clone()).collect();
        groups.dedup();
        groups
    }

    /// What holds for the application, by the administrator's rules and by the owner's decision.
    #[must_use]
    pub fn access(&self, app: &AppId) -> AccessStatus {
        let own = self.tasks.own_access(app);
        match self.policy.tasks.access_rule(app) {
            AccessRule::Deny => AccessStatus::DeniedBySystemPolicy,
            AccessRule::Allow if own == AccessStatus::AlwaysAllowed => own,
            AccessRule::Allow => AccessStatus::AllowedSubjectToSystemPolicy,
            AccessRule::Owner => own,
        }
    }

    /// Whether each condition holds now, in the order of their numbers, by the rules that start tasks.
    #[must_use]
    pub fn conditions(&self) -> Vec<ConditionStanding> {
        Condition::ALL.iter().map(|condition| super::condition::standing(*condition, &self.host)).collect()
    }

    /// The row is to be kept as it is at the end of the step.
    pub(crate) fn keep_task(step: &mut Step, id: TaskId) {
        step.tasks.rows.insert(id);
    }
}
