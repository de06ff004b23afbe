//! All registrations the engine has been handed, and the applications' access.

use std::collections::BTreeMap;

use longhaul_contract::{
    AccessStatus, AppId, ErrorCode, Explanation, HostState, Instance, TaskGroupId, TaskId, Timestamp,
    WaitingReason,
};

use super::row::{LastRun, RunningInstance, TaskRow};
use crate::clock::Now;
use crate::engine::Engine;
use crate::step::Step;
use crate::task::{KnownSignals, TaskFact, TaskWish};
use crate::wish::Refusal;

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

#[derive(Debug, Default)]
pub(crate) struct Tasks {
    rows: BTreeMap<TaskId, TaskRow>,
    access: BTreeMap<AppId, AccessStatus>,
    known: KnownSignals,
    left_over: Vec<(AppId, Instance)>,
}

impl Engine {
    /// Takes over a registration that the store kept; before [`Engine::begin`].
    pub fn adopt_task(&mut self, row: TaskRow) {
        self.tasks.rows.insert(row.id, row);
    }

    /// Takes over what an application may do; before [`Engine::begin`].
    pub fn adopt_access(&mut self, app: AppId, status: AccessStatus) {
        self.tasks.access.insert(app, status);
    }

    /// Takes over what edges are compared with; before [`Engine::begin`].
    pub fn adopt_signals(&mut self, signals: KnownSignals) {
        self.tasks.known = signals;
    }

    /// Takes over an instance that is not over and whose registration is gone; before [`Engine::begin`], which ends it
    /// as interrupted.
    pub fn adopt_instance(&mut self, app: AppId, instance: Instance) {
        self.tasks.left_over.push((app, instance));
    }

    /// `None` when the application has no such registration.
    #[must_use]
    pub fn task_live(&self, _now: Now, app: &AppId, id: TaskId) -> Option<TaskLive> {
        let row = self.tasks.rows.get(&id).filter(|row| row.app == *app)?;
        Some(TaskLive {
            running: row.state.running.clone(),
            waiting: Vec::new(),
            next_fire: None,
            pending_since: row.state.latch.as_ref().map(|latch| latch.fired),
            is_consumed: row.state.is_consumed,
            is_quarantined: false,
            last: row.state.last.clone(),
        })
    }

    /// Made by the same rules as the decision; `hypothetical` replaces the host for a question of "what if".
    #[must_use]
    pub fn explain_task(
        &self,
        _now: Now,
        _app: &AppId,
        _id: TaskId,
        _hypothetical: Option<&HostState>,
    ) -> Option<Explanation> {
        None
    }

    /// The registrations of an application that are in no group, or in this one, oldest first.
    #[must_use]
    pub fn task_ids(&self, app: &AppId, group: Option<&TaskGroupId>) -> Vec<TaskId> {
        self.tasks
            .rows
            .values()
            .filter(|row| row.app == *app && row.group.as_ref() == group)
            .map(|row| row.id)
            .collect()
    }

    /// The groups that have registrations, by name.
    #[must_use]
    pub fn task_groups(&self, app: &AppId) -> Vec<TaskGroupId> {
        let mut groups: Vec<_> = self
            .tasks
            .rows
            .values()
            .filter(|row| row.app == *app)
            .filter_map(|row| row.group.clone())
            .collect();
        groups.sort();
        groups.dedup();
        groups
    }

    #[must_use]
    pub fn access(&self, app: &AppId) -> AccessStatus {
        self.tasks.access.get(app).copied().unwrap_or(AccessStatus::Unspecified)
    }

    pub(crate) fn command_task(&mut self, _step: &mut Step, _wish: TaskWish) -> Result<(), Refusal> {
        Err(Refusal::new(ErrorCode::NotFound, "there is no such task"))
    }

    pub(crate) fn observe_task(&mut self, _step: &mut Step, _fact: TaskFact) {}
}
