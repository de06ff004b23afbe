//! Registering and unregistering, and what applications may do.

use longhaul_contract::{
    AccessStatus, AppId, CancelReason, ErrorCode, InstanceId, OnConflict, SystemTriggerType, TaskId,
    Timestamp, TriggerKind,
};

use super::firing::{no_details, no_task};
use super::row::{TaskRow, TaskState, TaskTrigger};
use super::wish::NewTask;
use crate::engine::Engine;
use crate::plan::Change;
use crate::policy::AccessRules;
use crate::step::Step;
use crate::task::{TaskAnswer, TaskChange, TaskWish};
use crate::wish::Refusal;

impl Engine {
    pub(crate) fn command_task(&mut self, step: &mut Step, wish: TaskWish) -> Result<(), Refusal> {
        match wish {
            TaskWish::Register { task, on_conflict } => self.register(step, *task, on_conflict),
            TaskWish::Unregister { app, id, cancel_running } => {
                self.tasks.find(&app, id).ok_or_else(|| no_task(id))?;
                self.unregister(step, id, cancel_running.then_some(CancelReason::Abort));
                Ok(())
            }
            TaskWish::Request { app, id, details } => self.request_task(step, &app, id, &details),
            TaskWish::Run { app, id } => self.run_task(step, &app, id),
            TaskWish::CancelInstance { app, id, instance } => self.cancel_one(step, &app, id, instance),
            TaskWish::RequestAccess { app, kind: _ } => {
                // AlwaysAllowed is the owner's to give: asking for it gets what asking gets.
                if self.tasks.own_access(&app) == AccessStatus::Unspecified {
                    self.set_access(step, &app, self.policy.tasks.access_on_request);
                }
                step.plan.answer = Some(TaskAnswer::Access(self.access(&app)));
                Ok(())
            }
            TaskWish::RemoveAccess { app } => {
                // What the owner has denied is not the application's to forget.
                if self.tasks.own_access(&app).is_allowed() {
                    self.set_access(step, &app, AccessStatus::Unspecified);
                }
                Ok(())
            }
            TaskWish::PutAccess { app, status } => {
                self.set_access(step, &app, status);
                step.plan.answer = Some(TaskAnswer::Access(self.access(&app)));
                Ok(())
            }
            TaskWish::Uninstall { app } => {
                self.uninstall(step, &app);
                Ok(())
            }
        }
    }

    fn register(&mut self, step: &mut Step, new: NewTask, on_conflict: OnConflict) -> Result<(), Refusal> {
        let policy = &self.policy.tasks;
        let access = self.access(&new.app);
        if policy.is_registration_strict && !access.is_allowed() {
            return Err(Refusal::new(ErrorCode::AccessDenied, format!("access of {} is {access}", new.app)));
        }
        let taken = match on_conflict {
            OnConflict::Allow => Vec::new(),
            OnConflict::Fail | OnConflict::Replace => {
                self.tasks.named(&new.app, new.group.as_ref(), &new.name)
            }
        };
        if on_conflict == OnConflict::Fail && !taken.is_empty() {
            let detail = format!("{} has a task {:?} already", new.app, new.name.as_str());
            return Err(Refusal::new(ErrorCode::TaskNameTaken, detail));
        }
        let registered = self.tasks.apps.get(&new.app);
        let quota = policy.registrations_per_application as usize;
        if registered.map_or(0, |tasks| tasks.ids.len()) - taken.len() >= quota {
            let detail = format!("{} has {quota} registrations, as many as it may", new.app);
            return Err(Refusal::new(ErrorCode::TaskQuota, detail));
        }
        let is_of_kind = |id: &TaskId| !taken.contains(id) && self.single_kind(*id) == Some(new.kind);
        let mut registered = registered.into_iter().flat_map(|tasks| &tasks.ids);
        if new.kind.is_single() && registered.any(is_of_kind) {
            let detail = format!("{} has a {} already, and may have one", new.app, new.kind);
            return Err(Refusal::new(ErrorCode::TaskQuota, detail));
        }
        if let TaskTrigger::Completion { group } = new.plan.trigger {
            self.check_waiting_for(&new.app, group, &taken)?;
        }
        for id in taken {
            self.unregister(step, id, Some(CancelReason::Abort));
        }
        let row = TaskRow {
            id: new.id,
            app: new.app,
            group: new.group,
            name: new.name,
            plan: new.plan,
            state: TaskState { anchor: step.now.wall, ..TaskState::default() },
        };
        step.plan.changes.push(Change::Task(TaskChange::Registered {
            row: row.clone(),
            spec: new.spec,
            time: step.now.wall,
        }));
        step.tasks.touched.insert(row.id);
        step.tasks.signals = true;
        self.bind_task(&row);
        self.tasks.insert(row);
        self.begin_timer(step, new.id);
        if new.fires_at_once {
            self.fire(step, new.id, &no_details());
        }
        Ok(())
    }

    /// The group that a task waits for knows it.
    pub(crate) fn bind_task(&mut self, row: &TaskRow) {
        if let TaskTrigger::Completion { group } = row.plan.trigger {
            self.completion.bind(group, row.id);
        }
    }

    /// The type, if an application may have only one registration of it.
    fn single_kind(&self, id: TaskId) -> Option<TriggerKind> {
        self.tasks.rows[&id].row.plan.trigger.called_kind().filter(|kind| kind.is_single())
    }

    /// The registration is gone at once; without a reason its instance may finish, within its limits.
    pub(crate) fn unregister(&mut self, step: &mut Step, id: TaskId, cancel: Option<CancelReason>) {
        let Some(task) = self.tasks.rows.get(&id) else { return };
        if let (Some(reason), Some(running)) = (cancel, &task.row.state.running) {
            self.cancel_run(step, running.id, reason);
        }
        self.take_out(step, id, None);
    }

    /// A registration that has had its one firing is gone, and what it did stays to be read.
    pub(crate) fn vanish(&mut self, step: &mut Step, id: TaskId) {
        self.take_out(step, id, Some(step.now.wall));
    }

    fn take_out(&mut self, step: &mut Step, id: TaskId, vanished: Option<Timestamp>) {
        let Some(task) = self.tasks.remove(id) else { return };
        if let TaskTrigger::Completion { group } = task.row.plan.trigger {
            self.completion.unbind(group, id);
        }
        step.tasks.rows.remove(&id);
        step.tasks.touched.remove(&id);
        step.tasks.considered.remove(&id);
        step.tasks.signals = true;
        step.plan.changes.push(Change::Task(TaskChange::Unregistered { id, vanished }));
        step.plan.tasks_removed.push((task.row.app, id));
    }

    fn uninstall(&mut self, step: &mut Step, app: &AppId) {
        let ids: Vec<TaskId> =
            self.tasks.apps.get(app).into_iter().flat_map(|tasks| tasks.ids.iter().copied()).collect();
        for id in ids {
            self.unregister(step, id, Some(CancelReason::Uninstall));
        }
        self.revoke(step, Some(app), CancelReason::Uninstall);
        self.set_access(step, app, AccessStatus::Unspecified);
    }

    fn set_access(&mut self, step: &mut Step, app: &AppId, status: AccessStatus) {
        let before = self.tasks.own_access(app);
        if before == status {
            return;
        }
        let kept = (status != AccessStatus::Unspecified).then_some(status);
        match kept {
            Some(status) => self.tasks.access.insert(app.clone(), status),
            None => self.tasks.access.remove(app),
        };
        step.plan.changes.push(Change::Task(TaskChange::Access { app: app.clone(), status: kept }));
        self.tell_of_privilege(step, app, before, status);
        self.end_forbidden_runs(step);
        self.consider_app(step, app);
    }

    /// Other rules of the machine's administrators: they count from now on.
    pub(crate) fn set_access_rules(&mut self, step: &mut Step, rules: Vec<AccessRules>) {
        self.policy.tasks.access_rules = rules;
        self.end_forbidden_runs(step);
        for app in self.task_apps() {
            self.consider_app(step, &app);
        }
    }

    /// A place on the lock screen was what let an application run whatever the system thought of it. That is
    /// `AlwaysAllowed` now.
    fn tell_of_privilege(&mut self, step: &mut Step, app: &AppId, before: AccessStatus, after: AccessStatus) {
        let event = match (before, after) {
            (_, AccessStatus::AlwaysAllowed) => SystemTriggerType::LockScreenApplicationAdded,
            (AccessStatus::AlwaysAllowed, _) => SystemTriggerType::LockScreenApplicationRemoved,
            _ => return,
        };
        self.fire_event(step, event, Some(app), &no_details());
    }

    fn cancel_one(
        &mut self,
        step: &mut Step,
        app: &AppId,
        id: TaskId,
        instance: InstanceId,
    ) -> Result<(), Refusal> {
        let is_running = self.tasks.runs.get(&instance).is_some_and(|run| run.app == *app && run.task == id);
        if is_running {
            self.cancel_run(step, instance, CancelReason::Abort);
            return Ok(());
        }
        self.tasks.find(app, id).ok_or_else(|| no_task(id))?;
        Err(Refusal::new(ErrorCode::InstanceOver, format!("no instance {instance} of the task is running")))
    }
}
