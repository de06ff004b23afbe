//! One engine with its clock and what it asked to keep, and short words for what tests do to it.

use std::collections::BTreeMap;
use std::sync::Arc;

use longhaul_contract::{
    AccessStatus, AppId, CancelReason, CompletionGroupId, Condition, HostState, Instance, InstanceId, Limits,
    OnConflict, OperationId, Power, ReasonCode, RegisterTaskRequest, Retry, Signal, SystemTriggerType,
    TaskId, TaskName, Timestamp, TriggerKind,
};

use crate::task::{
    Conditions, InstanceEnd, InstanceOutcome, KnownSignals, Missed, NewTask, TaskAnswer, TaskChange,
    TaskEffect, TaskFact, TaskLive, TaskPlan, TaskRow, TaskTrigger, TaskWish,
};
use crate::tests::{app, known, online};
use crate::{BootTime, Change, CompletionRow, Effect, Engine, Fact, Now, Plan, Policy, Refusal, Row, Wish};

pub(crate) const MINUTE: u64 = 60;
pub(crate) const HOUR: u64 = 3_600;

/// What a store would have.
#[derive(Debug, Clone, Default)]
pub(crate) struct Kept {
    pub(crate) rows: BTreeMap<TaskId, TaskRow>,
    pub(crate) instances: BTreeMap<InstanceId, Instance>,
    pub(crate) access: BTreeMap<AppId, AccessStatus>,
    pub(crate) signals: KnownSignals,
    pub(crate) groups: BTreeMap<CompletionGroupId, CompletionRow>,
    pub(crate) operations: BTreeMap<OperationId, Row>,
}

impl Kept {
    /// A change that is not about tasks.
    fn take(&mut self, change: &Change) {
        match change {
            Change::Created { row, .. } | Change::Updated { row } | Change::Ended { row, .. } => {
                self.operations.insert(row.id, row.clone());
            }
            Change::Removed { id } => {
                self.operations.remove(id);
            }
            Change::CompletionGroup { row } => {
                self.groups.insert(row.id, row.clone());
            }
            Change::CompletionGroupRemoved { id } => {
                self.groups.remove(id);
            }
            _ => {}
        }
    }
}

pub(crate) struct World {
    pub(crate) engine: Engine,
    pub(crate) policy: Policy,
    pub(crate) now: Now,
    pub(crate) kept: Kept,
    next: u64,
}

pub(crate) fn me() -> AppId {
    app("App")
}

pub(crate) fn external() -> Power {
    Power { is_external: true, battery: longhaul_contract::BatteryStatus::Charging, percent: Some(50) }
}

pub(crate) fn battery() -> Power {
    Power { is_external: false, battery: longhaul_contract::BatteryStatus::Discharging, percent: Some(50) }
}

/// A machine on which everything is known, and lets everything run that does not ask for the opposite.
pub(crate) fn machine() -> HostState {
    HostState {
        power: known(external()),
        session_connected: known(true),
        user_present: known(true),
        work_cost: known(longhaul_contract::WorkCost::Low),
        time_zone: known("Europe/Berlin".to_owned()),
        ..online()
    }
}

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(crate) fn plan(trigger: TaskTrigger) -> TaskPlan {
    TaskPlan {
        trigger,
        conditions: Conditions::default(),
        cancel_on_condition_loss: false,
        is_network_requested: false,
        limits: Policy::default().tasks.limits(TriggerKind::TimeTrigger),
        retry: None,
        in_process: None,
    }
}

pub(crate) fn every(minutes: u32) -> TaskTrigger {
    TaskTrigger::Every { minutes, one_shot: false, is_maintenance: false, missed: Missed::Once }
}

pub(crate) fn calendar(schedule: &str, zone: Option<&str>) -> TaskTrigger {
    TaskTrigger::Calendar {
        schedule: schedule.into(),
        time_zone: zone.map(Arc::from),
        one_shot: false,
        missed: Missed::Once,
    }
}

pub(crate) fn system(event: SystemTriggerType) -> TaskTrigger {
    TaskTrigger::System { event, one_shot: false }
}

pub(crate) fn push() -> TaskTrigger {
    TaskTrigger::Sourced { kind: TriggerKind::PushNotificationTrigger }
}

pub(crate) fn requested() -> TaskTrigger {
    TaskTrigger::Requested { kind: TriggerKind::ApplicationTrigger }
}

pub(crate) fn conditions(conditions: &[Condition]) -> Conditions {
    conditions.iter().copied().collect()
}

pub(crate) fn retry(max: u8, delay_seconds: u32, after_interruption: bool) -> Option<Retry> {
    Some(Retry { max, delay_seconds, after_interruption })
}

fn kind_of(trigger: &TaskTrigger) -> TriggerKind {
    match trigger {
        TaskTrigger::System { .. } => TriggerKind::SystemTrigger,
        TaskTrigger::Every { is_maintenance: true, .. } => TriggerKind::MaintenanceTrigger,
        TaskTrigger::Every { .. } | TaskTrigger::Calendar { .. } => TriggerKind::TimeTrigger,
        TaskTrigger::Requested { kind } | TaskTrigger::Sourced { kind } => *kind,
        TaskTrigger::Completion { .. } => TriggerKind::CompletionGroupTrigger,
    }
}

pub(crate) fn end(outcome: InstanceOutcome) -> Box<InstanceEnd> {
    Box::new(InstanceEnd {
        outcome,
        exit_code: None,
        signal: None,
        was_killed: false,
        progress: 100,
        suspended_count: 0,
        cpu_milliseconds: None,
        memory_peak: None,
        ran_out_of_memory: false,
        limits: Vec::new(),
        keep_awake: None,
    })
}

pub(crate) fn failed(is_host_crash: bool) -> InstanceOutcome {
    InstanceOutcome::Failed { detail: "exit code 1".to_owned(), is_host_crash }
}

pub(crate) fn spec() -> Box<RegisterTaskRequest> {
    let text =
        r#"{"name":"task","entryPoint":"Example.Task","trigger":{"type":"TimeTrigger","freshnessTime":15}}"#;
    serde_json::from_str(text).unwrap()
}

impl World {
    /// An application with access on a machine that lets everything run.
    pub(crate) fn new() -> Self {
        let mut world = Self::with(Policy::default(), machine());
        world.put_access(AccessStatus::AllowedSubjectToSystemPolicy);
        world
    }

    pub(crate) fn with(policy: Policy, host: HostState) -> Self {
        let now = Now { wall: at("2026-03-10T10:00:00Z"), boot: BootTime(3_600_000_000) };
        let engine = Engine::new(policy.clone(), Limits::default(), host);
        let mut world = Self { engine, policy, now, kept: Kept::default(), next: 0 };
        let plan = world.engine.begin(world.now);
        world.take(plan);
        world
    }

    /// The service starts again on what was kept, after it was away for so many seconds.
    pub(crate) fn restart(&mut self, away_seconds: u64) -> Plan {
        self.now.wall = self.now.wall.plus_seconds(i64::try_from(away_seconds).unwrap());
        self.now.boot = BootTime(1_000_000);
        self.restart_on(self.engine.host())
    }

    pub(crate) fn restart_on(&mut self, host: HostState) -> Plan {
        self.engine = Engine::new(self.policy.clone(), Limits::default(), host);
        for group in self.kept.groups.values() {
            self.engine.adopt_completion_group(group.clone());
        }
        for row in self.kept.operations.values() {
            self.engine.adopt(row.clone());
        }
        let left_over = self.kept.instances.values().filter(|instance| !instance.state.is_over());
        for instance in left_over.filter(|instance| !self.kept.rows.contains_key(&instance.task_id)) {
            self.engine.adopt_instance(me(), instance.clone());
        }
        for row in self.kept.rows.values() {
            self.engine.adopt_task(row.clone());
        }
        for (app, status) in &self.kept.access {
            self.engine.adopt_access(app.clone(), *status);
        }
        self.engine.adopt_signals(self.kept.signals.clone());
        let plan = self.engine.begin(self.now);
        self.take(plan)
    }

    pub(crate) fn take(&mut self, plan: Plan) -> Plan {
        for change in &plan.changes {
            let change = match change {
                Change::Task(change) => change,
                change => {
                    self.kept.take(change);
                    continue;
                }
            };
            match change.clone() {
                TaskChange::Registered { row, .. } | TaskChange::Updated { row } => {
                    self.kept.rows.insert(row.id, row);
                }
                TaskChange::Unregistered { id, .. } => {
                    assert!(self.kept.rows.remove(&id).is_some(), "{id} is forgotten twice");
                }
                TaskChange::Instance { instance, .. } => {
                    self.kept.instances.insert(instance.id, *instance);
                }
                TaskChange::Access { app, status: Some(status) } => {
                    self.kept.access.insert(app, status);
                }
                TaskChange::Access { app, status: None } => {
                    self.kept.access.remove(&app);
                }
                TaskChange::Signals(signals) => self.kept.signals = *signals,
                TaskChange::Waited { .. } => {}
            }
        }
        plan
    }

    pub(crate) fn wish(&mut self, wish: TaskWish) -> Result<Plan, Refusal> {
        let plan = self.engine.command(self.now, Wish::Task(wish))?;
        Ok(self.take(plan))
    }

    pub(crate) fn fact(&mut self, fact: TaskFact) -> Plan {
        let plan = self.engine.observe(self.now, Fact::Task(fact));
        self.take(plan)
    }

    pub(crate) fn host(&mut self, host: HostState) -> Plan {
        let plan = self.engine.observe(self.now, Fact::Host(Box::new(host)));
        self.take(plan)
    }

    /// The machine as it is, but for what `change` does to it.
    pub(crate) fn change_host(&mut self, change: impl FnOnce(&mut HostState)) -> Plan {
        let mut host = self.engine.host();
        change(&mut host);
        self.host(host)
    }

    pub(crate) fn wake(&mut self) -> Plan {
        let plan = self.engine.wake(self.now);
        self.take(plan)
    }

    /// Lets seconds pass, and wakes the engine whenever it asks for it.
    pub(crate) fn pass(&mut self, seconds: u64) -> Plan {
        let end = self.now.boot.0 + seconds * 1_000_000;
        let mut plans = Plan::default();
        while let Some(next) = self.next_wake().filter(|next| next.0 <= end) {
            self.advance_to(next.0.max(self.now.boot.0 + 1));
            plans.merge(self.wake());
        }
        self.advance_to(end);
        plans.merge(self.wake());
        plans
    }

    pub(crate) fn next_wake(&self) -> Option<BootTime> {
        let wake = self.engine.next_wake();
        let by_wall = wake.wall.map(|wall| {
            let ahead = wall.micros().saturating_sub(self.now.wall.micros());
            BootTime(self.now.boot.0.saturating_add(u64::try_from(ahead).unwrap_or(0)))
        });
        wake.boot.into_iter().chain(by_wall).min()
    }

    fn advance_to(&mut self, boot: u64) {
        let ahead = boot.saturating_sub(self.now.boot.0);
        self.now.boot.0 += ahead;
        self.now.wall.0 += i64::try_from(ahead).unwrap();
    }

    pub(crate) fn set_clock(&mut self, wall: &str) -> Plan {
        self.now.wall = at(wall);
        self.fact(TaskFact::ClockChanged)
    }

    pub(crate) fn jump(&mut self, seconds: i64) -> Plan {
        self.now.wall = self.now.wall.plus_seconds(seconds);
        self.fact(TaskFact::ClockChanged)
    }

    pub(crate) fn new_task(&mut self, plan: TaskPlan) -> NewTask {
        self.next += 1;
        NewTask {
            id: TaskId::from_parts(self.next, &[7; 10]),
            app: me(),
            group: None,
            name: TaskName::new(&format!("task{}", self.next)).unwrap(),
            kind: kind_of(&plan.trigger),
            plan,
            fires_at_once: false,
            spec: spec(),
        }
    }

    pub(crate) fn try_register(&mut self, task: NewTask, on_conflict: OnConflict) -> Result<Plan, Refusal> {
        self.wish(TaskWish::Register { task: Box::new(task), on_conflict })
    }

    pub(crate) fn register(&mut self, plan: TaskPlan) -> TaskId {
        let task = self.new_task(plan);
        let id = task.id;
        self.try_register(task, OnConflict::Fail).unwrap();
        id
    }

    pub(crate) fn put_access(&mut self, status: AccessStatus) -> Plan {
        self.wish(TaskWish::PutAccess { app: me(), status }).unwrap()
    }

    pub(crate) fn fired(&mut self, id: TaskId) -> Plan {
        self.fact(TaskFact::Fired { id, details: "{}".into() })
    }

    pub(crate) fn run(&mut self, id: TaskId) -> Plan {
        self.wish(TaskWish::Run { app: me(), id }).unwrap()
    }

    pub(crate) fn unregister(&mut self, id: TaskId, cancel_running: bool) -> Plan {
        self.wish(TaskWish::Unregister { app: me(), id, cancel_running }).unwrap()
    }

    pub(crate) fn live(&self, id: TaskId) -> TaskLive {
        self.engine.task_live(self.now, &me(), id).expect("it is registered")
    }

    pub(crate) fn waits_for(&self, id: TaskId) -> Vec<ReasonCode> {
        self.live(id).waiting.into_iter().map(|reason| reason.code).collect()
    }

    pub(crate) fn instance(&self, id: TaskId) -> InstanceId {
        self.live(id).running.expect("it runs").id
    }

    pub(crate) fn is_running(&self, id: TaskId) -> bool {
        self.live(id).running.is_some()
    }

    pub(crate) fn is_pending(&self, id: TaskId) -> bool {
        self.live(id).pending_since.is_some()
    }

    pub(crate) fn end(&mut self, id: TaskId, outcome: InstanceOutcome) -> Plan {
        let instance = self.instance(id);
        self.fact(TaskFact::Ended { id, instance, end: end(outcome) })
    }

    pub(crate) fn complete(&mut self, id: TaskId) -> Plan {
        self.end(id, InstanceOutcome::Completed)
    }

    /// Ends whatever was started until nothing starts any more; how often that was.
    pub(crate) fn complete_all(&mut self, id: TaskId) -> u32 {
        let mut runs = 0;
        while self.is_running(id) {
            self.complete(id);
            runs += 1;
        }
        runs
    }

    pub(crate) fn result(&self, id: TaskId) -> String {
        self.live(id).last.expect("it has run").result.to_string()
    }
}

pub(crate) fn started(plan: &Plan) -> Vec<TaskId> {
    plan.effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Task(TaskEffect::EnsureStarted { id, .. }) => Some(*id),
            _ => None,
        })
        .collect()
}

pub(crate) fn canceled(plan: &Plan) -> Vec<CancelReason> {
    plan.effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Task(TaskEffect::EnsureCanceled { reason, .. }) => Some(*reason),
            _ => None,
        })
        .collect()
}

pub(crate) fn killed(plan: &Plan) -> Vec<InstanceId> {
    plan.effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Task(TaskEffect::EnsureKilled { instance }) => Some(*instance),
            _ => None,
        })
        .collect()
}

pub(crate) fn answer(plan: &Plan) -> TaskAnswer {
    plan.answer.clone().expect("an answer")
}

pub(crate) fn unknown<T>() -> Signal<T> {
    Signal::unknown("the test took it away")
}
