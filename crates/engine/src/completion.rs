//! Completion groups: sets of operations whose common end fires a task, once [W 1.10]. The end of the last member, the
//! mark that the set is over and the firing of its task follow from one input, so they are kept by one commit.

use std::collections::BTreeMap;
use std::sync::Arc;

use longhaul_contract::{
    AppId, CompletionGroup, CompletionGroupId, ErrorCode, Notification, TaskId, Timestamp,
};
use serde::{Deserialize, Serialize};

use crate::engine::Engine;
use crate::plan::{Change, Effect, Notified};
use crate::roster::Slot;
use crate::row::StoredPhase;
use crate::step::Step;
use crate::wish::{NewOperation, Refusal};

/// What of a completion group the store hands over at start and gets back at every change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompletionRow {
    pub id: CompletionGroupId,
    pub app: AppId,
    pub created: Timestamp,
    pub state: CompletionState,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CompletionState {
    /// Nothing joins from then on.
    pub enabled: Option<Timestamp>,
    /// It was enabled and had no live member any more: its task has fired, or it had none.
    pub ended: Option<Timestamp>,
    /// A member has failed or was canceled.
    pub has_failed: bool,
    pub success_notification: Option<Box<Notification>>,
    pub failure_notification: Option<Box<Notification>>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum CompletionWish {
    Create {
        app: AppId,
        id: CompletionGroupId,
        success_notification: Option<Box<Notification>>,
        failure_notification: Option<Box<Notification>>,
    },
    Enable {
        app: AppId,
        id: CompletionGroupId,
    },
}

/// A group with what is known of it only while the service lives.
#[derive(Debug)]
struct Set {
    row: CompletionRow,
    /// Members that are not final.
    live: u64,
    task: Option<TaskId>,
}

#[derive(Debug, Default)]
pub(crate) struct CompletionGroups {
    sets: BTreeMap<CompletionGroupId, Set>,
}

impl CompletionGroups {
    fn find(&self, app: &AppId, id: CompletionGroupId) -> Option<&Set> {
        self.sets.get(&id).filter(|set| set.row.app == *app)
    }

    /// Groups of the application that are not over.
    fn pending_of(&self, app: &AppId) -> usize {
        self.sets.values().filter(|set| set.row.app == *app && set.row.state.ended.is_none()).count()
    }

    pub(crate) fn joined(&mut self, id: CompletionGroupId) {
        if let Some(set) = self.sets.get_mut(&id) {
            set.live += 1;
        }
    }

    /// The registration of this task names the group.
    pub(crate) fn bind(&mut self, id: CompletionGroupId, task: TaskId) {
        if let Some(set) = self.sets.get_mut(&id) {
            set.task = Some(task);
        }
    }

    pub(crate) fn unbind(&mut self, id: CompletionGroupId, task: TaskId) {
        if let Some(set) = self.sets.get_mut(&id).filter(|set| set.task == Some(task)) {
            set.task = None;
        }
    }

    /// What its task waits for, for a person.
    pub(crate) fn missing(&self, id: CompletionGroupId) -> String {
        match self.sets.get(&id) {
            None => format!("there is no completion group {id} any more"),
            Some(set) if set.row.state.enabled.is_none() => format!("completion group {id} is not enabled"),
            Some(set) => format!("{} transfers of completion group {id} have not ended", set.live),
        }
    }
}

fn no_group(id: CompletionGroupId) -> String {
    format!("the application has no completion group {id}")
}

impl Set {
    fn view(&self) -> CompletionGroup {
        let CompletionState { enabled, ended, success_notification, failure_notification, .. } =
            self.row.state.clone();
        CompletionGroup {
            id: self.row.id,
            is_enabled: enabled.is_some(),
            is_over: ended.is_some(),
            live_operations: self.live,
            task_id: self.task,
            created_time: self.row.created,
            enabled_time: enabled,
            ended_time: ended,
            success_notification: success_notification.map(|notification| *notification),
            failure_notification: failure_notification.map(|notification| *notification),
        }
    }
}

impl Engine {
    /// Takes over a completion group that the store kept; before the rows and the tasks.
    pub fn adopt_completion_group(&mut self, row: CompletionRow) {
        self.completion.sets.insert(row.id, Set { row, live: 0, task: None });
    }

    #[must_use]
    pub fn completion_group(&self, app: &AppId, id: CompletionGroupId) -> Option<CompletionGroup> {
        self.completion.find(app, id).map(Set::view)
    }

    /// Oldest first.
    #[must_use]
    pub fn completion_groups(&self, app: &AppId) -> Vec<CompletionGroup> {
        self.completion.sets.values().filter(|set| set.row.app == *app).map(Set::view).collect()
    }

    pub(crate) fn begin_completion_groups(&mut self, step: &mut Step) {
        let ids: Vec<CompletionGroupId> = self.completion.sets.keys().copied().collect();
        for id in ids {
            let row = &self.completion.sets[&id].row;
            let (from, seconds) = match row.state.ended {
                Some(ended) => (ended, self.policy.keep_consumed_seconds),
                None => (row.created, self.policy.keep_unconsumed_seconds),
            };
            self.expiry(from, seconds);
            self.settle_completion_group(step, id);
        }
    }

    pub(crate) fn command_completion_group(
        &mut self,
        step: &mut Step,
        wish: CompletionWish,
    ) -> Result<(), Refusal> {
        match wish {
            CompletionWish::Create { app, id, success_notification, failure_notification } => {
                let quota = self.policy.completion_groups_per_application;
                if self.completion.pending_of(&app) >= quota as usize {
                    let detail = format!("{app} has {quota} completion groups that are not over");
                    return Err(Refusal::new(ErrorCode::CompletionGroupQuota, detail));
                }
                let state = CompletionState {
                    success_notification,
                    failure_notification,
                    ..CompletionState::default()
                };
                let row = CompletionRow { id, app, created: step.now.wall, state };
                step.plan.changes.push(Change::CompletionGroup { row: row.clone() });
                self.expiry(step.now.wall, self.policy.keep_unconsumed_seconds);
                self.completion.sets.insert(id, Set { row, live: 0, task: None });
                Ok(())
            }
            CompletionWish::Enable { app, id } => {
                let set = self.completion.sets.get_mut(&id).filter(|set| set.row.app == app);
                let Some(set) = set else { return Err(Refusal::new(ErrorCode::NotFound, no_group(id))) };
                if set.row.state.enabled.is_some() {
                    let detail = format!("completion group {id} is enabled already");
                    return Err(Refusal::new(ErrorCode::CompletionGroupEnabled, detail));
                }
                set.row.state.enabled = Some(step.now.wall);
                step.plan.changes.push(Change::CompletionGroup { row: set.row.clone() });
                self.settle_completion_group(step, id);
                Ok(())
            }
        }
    }

    /// Whether the operation may join the group it names.
    pub(crate) fn check_joining(&self, operation: &NewOperation) -> Result<(), Refusal> {
        let Some(id) = operation.completion_group else { return Ok(()) };
        match self.completion.find(&operation.app, id) {
            None => Err(Refusal::new(ErrorCode::InvalidField, no_group(id))),
            Some(set) if set.row.state.enabled.is_some() => {
                let detail = format!("completion group {id} is enabled: nothing can join it any more");
                Err(Refusal::new(ErrorCode::CompletionGroupEnabled, detail))
            }
            Some(_) => Ok(()),
        }
    }

    /// Whether a task may wait for the group; `replaced` are registrations that go when this one comes.
    pub(crate) fn check_waiting_for(
        &self,
        app: &AppId,
        id: CompletionGroupId,
        replaced: &[TaskId],
    ) -> Result<(), Refusal> {
        let refuse = |code, detail| Err(Refusal::new(code, detail));
        match self.completion.find(app, id) {
            None => refuse(ErrorCode::InvalidTrigger, no_group(id)),
            Some(set) if set.row.state.ended.is_some() => {
                refuse(ErrorCode::CompletionGroupEnabled, format!("completion group {id} is over"))
            }
            Some(set) => match set.task.filter(|task| !replaced.contains(task)) {
                Some(task) => {
                    let detail = format!("task {task} waits for completion group {id}");
                    refuse(ErrorCode::CompletionGroupTaken, detail)
                }
                None => Ok(()),
            },
        }
    }

    /// An operation is final, or forgotten: it is no live member any more, and whoever wanted to see its end shown does.
    pub(crate) fn completed_member(&mut self, step: &mut Step, slot: Slot, phase: &StoredPhase) {
        let entry = &self.roster[slot];
        let is_success = *phase == StoredPhase::Completed;
        let (id, marks, group) = (entry.id, entry.marks(), entry.completion_group());
        if if is_success { marks.notifies_success() } else { marks.notifies_failure() } {
            let app = self.apps.key(entry.app).clone();
            step.plan.effects.push(Effect::Notify { app, of: Notified::Operation(id), is_success });
        }
        let Some(set) = group.and_then(|group| self.completion.sets.get_mut(&group)) else { return };
        set.live = set.live.saturating_sub(1);
        if !is_success && !set.row.state.has_failed {
            set.row.state.has_failed = true;
            step.plan.changes.push(Change::CompletionGroup { row: set.row.clone() });
        }
        let id = set.row.id;
        self.settle_completion_group(step, id);
    }

    /// A group that is enabled and has no live member is over, and what waits for that fires.
    fn settle_completion_group(&mut self, step: &mut Step, id: CompletionGroupId) {
        let Some(set) = self.completion.sets.get_mut(&id) else { return };
        if set.live > 0 || set.row.state.enabled.is_none() || set.row.state.ended.is_some() {
            return;
        }
        set.row.state.ended = Some(step.now.wall);
        step.plan.changes.push(Change::CompletionGroup { row: set.row.clone() });
        let state = &set.row.state;
        let is_success = !state.has_failed;
        let shown = if is_success { &state.success_notification } else { &state.failure_notification };
        if shown.is_some() {
            let of = Notified::CompletionGroup(id);
            step.plan.effects.push(Effect::Notify { app: set.row.app.clone(), of, is_success });
        }
        let task = set.task;
        self.expiry(step.now.wall, self.policy.keep_consumed_seconds);
        if let Some(task) = task {
            let details: Arc<str> = format!("{{\"completionGroup\":\"{id}\"}}").into();
            self.fire(step, task, &details);
        }
    }

    /// Forgets groups whose time is over: those that came to their end, and those that nobody ever used.
    pub(crate) fn forget_completion_groups(&mut self, step: &mut Step) {
        let (over, unused) = (self.policy.keep_consumed_seconds, self.policy.keep_unconsumed_seconds);
        let now = step.now.wall;
        self.completion.sets.retain(|id, set| {
            let state = &set.row.state;
            let is_past = match (state.ended, state.enabled) {
                (Some(ended), _) => ended.plus_seconds(over) <= now,
                (None, Some(_)) => false,
                (None, None) => set.live == 0 && set.row.created.plus_seconds(unused) <= now,
            };
            let goes = is_past && set.task.is_none();
            if goes {
                step.plan.changes.push(Change::CompletionGroupRemoved { id: *id });
            }
            !goes
        });
    }
}
