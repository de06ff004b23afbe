//! Completion groups in the world: a task waits for each of them, and starts once, when the group is enabled and all its
//! members have ended, whatever crashes in between.

use std::collections::BTreeMap;

use longhaul_contract::{
    AccessStatus, AppId, CompletionGroupId, ErrorCode, InstanceId, OnConflict, RegisterTaskRequest, TaskId,
    TaskName, TriggerKind, TriggerSpec,
};
use longhaul_engine::task::{
    Conditions, InstanceEnd, InstanceOutcome, NewTask, RunLimits, TaskFact, TaskPlan, TaskTrigger, TaskWish,
};
use longhaul_engine::{CompletionWish, Fact, Wish};

use crate::model::Model;
use crate::translate::app;
use crate::violation::{Invariant, Violation, ensure};
use crate::world::World;

/// What callers know of a completion group.
#[derive(Debug, Clone)]
pub(crate) struct CompletionSet {
    pub(crate) app: AppId,
    task: TaskId,
    is_enabled: bool,
    has_fired: bool,
}

impl Model {
    /// A group of the application, whatever its state.
    pub(crate) fn set_of(&self, app: &AppId, which: usize) -> Option<(CompletionGroupId, bool)> {
        let sets: Vec<_> = self.sets.iter().filter(|(_, set)| set.app == *app).collect();
        let (id, set) = sets.get(which % sets.len().max(1))?;
        Some((**id, set.is_enabled))
    }

    fn live_members(&self, group: CompletionGroupId) -> u64 {
        self.live().filter(|(_, operation)| operation.set == Some(group)).count() as u64
    }
}

impl World {
    pub(crate) fn new_set(&mut self, owner: u8) -> Result<(), Violation> {
        self.next += 1;
        let (id, owner) = (CompletionGroupId::from_parts(self.next, &[3; 10]), app(owner));
        let task = TaskId::from_parts(self.next, &[4; 10]);
        let access = TaskWish::PutAccess { app: owner.clone(), status: AccessStatus::AlwaysAllowed };
        self.grant(Wish::Task(access))?;
        let set = CompletionSet { app: owner.clone(), task, is_enabled: false, has_fired: false };
        self.ahead.sets.insert(id, set);
        let (success_notification, failure_notification) = (None, None);
        let made =
            CompletionWish::Create { app: owner.clone(), id, success_notification, failure_notification };
        self.grant(Wish::Completion(made))?;
        self.grant(Wish::Task(waiting(owner, id, task)))
    }

    fn grant(&mut self, wish: Wish) -> Result<(), Violation> {
        let plan = self.engine.command(self.engine_now(), wish).map_err(|refusal| {
            Violation::new(Invariant::Commands, format!("a completion group was refused: {refusal}"))
        })?;
        self.take(plan, None)
    }

    pub(crate) fn enable(&mut self, which: usize) -> Result<(), Violation> {
        let count = self.ahead.sets.len().max(1);
        let Some((id, set)) = self.ahead.sets.iter_mut().nth(which % count) else { return Ok(()) };
        let (id, owner) = (*id, set.app.clone());
        let is_new = !std::mem::replace(&mut set.is_enabled, true);
        let wish = Wish::Completion(CompletionWish::Enable { app: owner, id });
        match self.engine.command(self.engine_now(), wish) {
            Ok(plan) => {
                ensure(is_new, Invariant::Commands, || format!("{id} was enabled twice"))?;
                self.take(plan, None)
            }
            Err(refusal) => {
                let is_known =
                    matches!(refusal.code, ErrorCode::CompletionGroupEnabled | ErrorCode::NotFound);
                ensure(!is_new && is_known, Invariant::Commands, || {
                    format!("{id} was not enabled: {refusal:?}")
                })
            }
        }
    }

    pub(crate) fn enable_all(&mut self) -> Result<(), Violation> {
        (0..self.ahead.sets.len()).try_for_each(|which| self.enable(which))
    }

    /// The task of a group starts.
    pub(crate) fn check_firing(&mut self, task: TaskId, details: &str) -> Result<(), Violation> {
        let found = self.ahead.sets.iter().find(|(_, set)| set.task == task).map(|(id, _)| *id);
        let id = found.ok_or_else(|| {
            Violation::new(Invariant::CompletionFiresOnce, format!("{task} starts and waits for no group"))
        })?;
        let live = self.ahead.live_members(id);
        let set = self.ahead.sets.get_mut(&id).expect("found above");
        let is_just = set.is_enabled && !set.has_fired && live == 0 && details.contains(&id.to_string());
        ensure(is_just, Invariant::CompletionFiresOnce, || {
            format!("{set:?} fires with {live} live members and {details}")
        })?;
        set.has_fired = true;
        Ok(())
    }

    /// What must hold of every group after every event.
    pub(crate) fn check_sets(&self) -> Result<(), Violation> {
        for (id, set) in &self.ahead.sets {
            let live = self.ahead.live_members(*id);
            ensure(set.has_fired == (set.is_enabled && live == 0), Invariant::CompletionFiresOnce, || {
                format!("{id} with {live} live members is {set:?}")
            })?;
            let view = self.engine.completion_group(&set.app, *id);
            // Some days after its end it is forgotten.
            let is_told = match &view {
                None => set.has_fired,
                Some(view) => {
                    (view.is_enabled, view.is_over, view.live_operations)
                        == (set.is_enabled, set.has_fired, live)
                }
            };
            ensure(is_told, Invariant::AcknowledgedIsKept, || {
                format!("{id} with {live} live members is {set:?}, and told as {view:?}")
            })?;
        }
        Ok(())
    }

    /// Instances end as soon as they have been let go.
    pub(crate) fn end_instance(&mut self, id: TaskId, instance: InstanceId) {
        let end = InstanceEnd {
            outcome: InstanceOutcome::Completed,
            exit_code: Some(0),
            signal: None,
            was_killed: false,
            progress: 100,
            suspended_count: 0,
            cpu_milliseconds: None,
            memory_peak: None,
            ran_out_of_memory: false,
            limits: Vec::new(),
            keep_awake: None,
        };
        let fact = TaskFact::Ended { id, instance, end: Box::new(end) };
        let plan = self.engine.observe(self.engine_now(), Fact::Task(fact));
        self.batch.changes.extend(plan.changes);
        self.batch.effects.extend(plan.effects);
    }
}

fn waiting(app: AppId, group: CompletionGroupId, id: TaskId) -> TaskWish {
    let name = TaskName::new(&format!("after {group}")).expect("a short name");
    let kind = TriggerKind::CompletionGroupTrigger;
    let spec = RegisterTaskRequest {
        name: name.clone(),
        entry_point: "Example.Task".to_owned(),
        trigger: TriggerSpec {
            kind,
            system_trigger_type: None,
            freshness_time: None,
            one_shot: false,
            parameters: BTreeMap::new(),
        },
        conditions: Vec::new(),
        is_network_requested: false,
        cancel_on_condition_loss: false,
        task_group: None,
        retry: None,
        time_limit: None,
        env: BTreeMap::new(),
    };
    let plan = TaskPlan {
        trigger: TaskTrigger::Completion { group },
        conditions: Conditions::default(),
        cancel_on_condition_loss: false,
        is_network_requested: false,
        limits: RunLimits { cancel_after_ms: 25_000, grace_ms: 5_000 },
        retry: None,
        in_process: None,
    };
    let spec = Box::new(spec);
    let task = Box::new(NewTask { id, app, group: None, name, kind, plan, fires_at_once: false, spec });
    TaskWish::Register { task, on_conflict: OnConflict::Fail }
}
