//! The world of tasks: one service with its store, the instances that live, the machine, and the model beside it.

use std::collections::BTreeMap;

use longhaul_contract::{CancelReason, InstanceId, Limits, TaskId, Timestamp};
use longhaul_engine::task::{TaskFact, TaskWish};
use longhaul_engine::{
    Change, CompletionWish, Effect, Engine, Fact, Plan, Policy, Refusal, TaskPolicy, Wish,
};
use longhaul_store::MemoryStore;

use super::clock::{Clock, Trust};
use super::event::{Act, Registering, TaskEvent};
use super::job::Job;
use super::machine::{TaskMachine, host_state};
use super::model::{
    AT_ONCE, AT_ONCE_PER_APPLICATION, CRASHES_MAX, Cause, End, Pending, REGISTRATIONS, Reg, TaskModel,
};
use super::shell::{self, app};
use crate::cut::Cut;
use crate::violation::{Invariant, Violation, ensure};

/// A rule broken on purpose, to see that the model notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskSabotage {
    None,
    AcknowledgeBeforeCommit,
    /// Firings that wait are not written down.
    ForgetFirings,
    /// That an instance runs is not written down.
    ForgetRuns,
    ForgetAccess,
    /// The engine never hears how the machine changes.
    HideMachine,
    /// Nobody is told to end.
    DropCancels,
    /// What a crash has left running stays.
    KeepLeftOvers,
    NeverWake,
    /// The engine believes in higher limits than there are.
    RaiseLimits,
    /// Late reports are taken for those of the instance that runs.
    RenumberReports,
    /// The boot clock of the engine runs fast.
    RushClock,
}

pub(crate) struct TaskWorld {
    pub(crate) engine: Engine,
    pub(crate) store: MemoryStore,
    pub(crate) clock: Clock,
    pub(crate) trust: Trust,
    pub(crate) machine: TaskMachine,
    pub(crate) ahead: TaskModel,
    pub(crate) acknowledged: TaskModel,
    pub(crate) changes: Vec<Change>,
    pub(crate) effects: Vec<Effect>,
    /// Processes, also those that a crash of the service has left behind.
    pub(crate) jobs: BTreeMap<InstanceId, Job>,
    /// Killed, and not reported yet.
    pub(crate) dying: Vec<InstanceId>,
    pub(crate) past: Vec<(TaskId, InstanceId)>,
    /// Cancellations that the present event explains.
    pub(crate) excuses: Vec<(InstanceId, CancelReason)>,
    /// What was written of wall times means little: a crash came between a jump and its commit, or the clock is dead.
    pub(crate) is_time_loose: bool,
    /// The service has started so, and may still correct what it took for granted.
    pub(crate) has_estimates: bool,
    pub(crate) is_clock_dead: bool,
    pub(crate) sabotage: TaskSabotage,
    /// Commits so far, and at which of them the power goes.
    pub(crate) commits: u64,
    pub(crate) cut: Option<Cut>,
    /// The power has gone; whether the commit under way made it to the disk.
    pub(crate) landed: Option<bool>,
    next: u64,
}

pub(crate) fn policy(sabotage: TaskSabotage) -> Policy {
    let factor = if sabotage == TaskSabotage::RaiseLimits { 8 } else { 1 };
    let limit = |limit: usize| u32::try_from(limit).expect("small") * factor;
    let tasks = TaskPolicy {
        at_once: limit(AT_ONCE),
        at_once_per_application: limit(AT_ONCE_PER_APPLICATION),
        registrations_per_application: u32::try_from(REGISTRATIONS).expect("small"),
        ..TaskPolicy::default()
    };
    Policy { tasks, ..Policy::default() }
}

impl TaskWorld {
    pub(crate) fn new(sabotage: TaskSabotage, cut: Option<Cut>) -> Result<Self, Violation> {
        let machine = TaskMachine::BENIGN;
        let clock = Clock::new();
        let mut world = Self {
            engine: Engine::new(policy(sabotage), Limits::default(), host_state(machine)),
            store: MemoryStore::new(),
            trust: Trust::at_start(0, clock),
            clock,
            machine,
            ahead: TaskModel::default(),
            acknowledged: TaskModel::default(),
            changes: Vec::new(),
            effects: Vec::new(),
            jobs: BTreeMap::new(),
            dying: Vec::new(),
            past: Vec::new(),
            excuses: Vec::new(),
            is_time_loose: false,
            has_estimates: false,
            is_clock_dead: false,
            sabotage,
            commits: 0,
            cut,
            landed: None,
            next: 0,
        };
        world.ahead.observe(machine);
        world.acknowledged = world.ahead.clone();
        let plan = world.engine.begin(world.engine_now());
        world.take(plan)?;
        Ok(world)
    }

    /// The clocks as the engine is shown them.
    pub(crate) fn engine_now(&self) -> longhaul_engine::Now {
        let mut now = self.clock.now();
        if self.sabotage == TaskSabotage::RushClock {
            now.boot.0 += now.boot.0 / 10;
        }
        now
    }

    pub(crate) fn step(&mut self, event: &TaskEvent) -> Result<(), Violation> {
        self.excuses.clear();
        match event {
            TaskEvent::Register(what) => self.register(what)?,
            TaskEvent::Unregister { which, cancel } => {
                if let Some(id) = self.pick(*which) {
                    self.unregister(id, *cancel)?;
                }
            }
            TaskEvent::Fire { which } => match self.pick(*which) {
                Some(id) if shell::is_sourced(&self.ahead.regs[&id].what) => self.fire(id)?,
                Some(id) if self.ahead.regs[&id].what.trigger == super::event::Trigger::CompletionGroup => {
                    self.enable(id)?;
                }
                _ => {}
            },
            TaskEvent::Request { which } => {
                if let Some(id) = self.pick(*which) {
                    self.request(id)?;
                }
            }
            TaskEvent::Run { which } => {
                if let Some(id) = self.pick(*which) {
                    self.run_by_hand(id)?;
                }
            }
            TaskEvent::CancelInstance { which } => self.cancel_instance(*which)?,
            TaskEvent::Access { app, status } => self.put_access(*app, *status)?,
            TaskEvent::AskAccess { app: number } => {
                let wish = TaskWish::RequestAccess { app: app(*number), kind: None };
                self.wish(wish, |model| {
                    model.access.entry(*number).or_insert(5);
                })?;
            }
            TaskEvent::RemoveAccess { app: number } => {
                self.wish(TaskWish::RemoveAccess { app: app(*number) }, |model| {
                    model.access.retain(|of, status| of != number || *status == 7);
                })?;
            }
            TaskEvent::Uninstall { app } => self.uninstall(*app)?,
            TaskEvent::Machine(machine) => self.set_machine(*machine)?,
            TaskEvent::Serve { app: number, is_connected } => {
                let fact = TaskFact::Serving {
                    app: app(*number),
                    class: shell::CLASS.into(),
                    is_connected: *is_connected,
                };
                self.fact(fact, |model| {
                    model.serving.insert(*number, *is_connected);
                })?;
            }
            TaskEvent::Revoke { app, reason } => self.revoke(*app, *reason)?,
            TaskEvent::Job { which, act } => self.act(*which, *act)?,
            TaskEvent::LateReport { which } => self.late_report(*which)?,
            TaskEvent::Wait { milliseconds } => {
                self.wait(i64::try_from(*milliseconds).expect("short").saturating_mul(1_000))?;
            }
            TaskEvent::ClockJump { seconds } => self.jump(*seconds)?,
            TaskEvent::Commit => self.commit()?,
            TaskEvent::CommitFails => {
                self.store.fail_next(longhaul_store::StoreError::CannotWrite("the disk is full".to_owned()));
            }
            TaskEvent::Crash { lands, off_seconds, is_power_cut, has_dead_clock } => {
                self.crash(*lands, *off_seconds, *is_power_cut, *has_dead_clock)?;
            }
        }
        self.check()
    }

    /// One input of the engine, followed by the model and judged.
    fn input(&mut self, plan: Plan, change: impl FnOnce(&mut TaskModel)) -> Result<(), Violation> {
        change(&mut self.ahead);
        self.trust.look(self.clock, false);
        self.follow(plan)
    }

    /// The model goes on to the present, and judges what was decided.
    pub(crate) fn follow(&mut self, plan: Plan) -> Result<(), Violation> {
        if self.is_time_loose {
            self.adopt_periods(&plan);
        }
        self.ahead.advance(self.clock.truth, self.clock.wall(), self.trust.is_trusted());
        self.take(plan)
    }

    pub(crate) fn fact(
        &mut self,
        fact: TaskFact,
        change: impl FnOnce(&mut TaskModel),
    ) -> Result<(), Violation> {
        let plan = self.engine.observe(self.engine_now(), Fact::Task(fact));
        self.input(plan, change)
    }

    pub(crate) fn wish(
        &mut self,
        wish: TaskWish,
        change: impl FnOnce(&mut TaskModel),
    ) -> Result<(), Violation> {
        let plan = self.ask(wish).map_err(|refusal| {
            Violation::new(Invariant::Commands, format!("a wish was refused: {refusal}"))
        })?;
        self.input(plan, change)
    }

    fn ask(&mut self, wish: TaskWish) -> Result<Plan, Refusal> {
        self.engine.command(self.engine_now(), Wish::Task(wish))
    }

    fn pick(&self, which: usize) -> Option<TaskId> {
        let count = self.ahead.regs.len();
        (count > 0).then(|| *self.ahead.regs.keys().nth(which % count).expect("less than their number"))
    }

    fn register(&mut self, what: &Registering) -> Result<(), Violation> {
        self.next += 1;
        let id = TaskId::from_parts(self.next, &[7; 10]);
        let taken = if what.on_conflict == 2 { Vec::new() } else { self.ahead.named(what) };
        let staying = |reg: &(&TaskId, &Reg)| !taken.contains(reg.0) && reg.1.what.app == what.app;
        let count = self.ahead.regs.iter().filter(staying).count();
        let is_single = what.trigger == super::event::Trigger::Application;
        let has_same =
            self.ahead.regs.iter().filter(staying).any(|(_, reg)| reg.what.trigger == what.trigger);
        let is_refused =
            (what.on_conflict == 0 && !taken.is_empty()) || count >= REGISTRATIONS || (is_single && has_same);
        for taken in &taken {
            self.excuse(*taken, CancelReason::Abort);
        }
        self.make_completion_group(id, what)?;
        match self.ask(shell::registering(id, what)) {
            Err(refusal) => ensure(is_refused, Invariant::Commands, || format!("{what:?}: {refusal}")),
            Ok(plan) => {
                ensure(!is_refused, Invariant::Commands, || format!("{what:?} was accepted"))?;
                let (truth, wall) = (self.clock.truth, self.clock.wall());
                let is_doubted = !self.trust.is_trusted();
                self.input(plan, |model| {
                    for taken in taken {
                        model.regs.remove(&taken);
                    }
                    let mut reg = Reg {
                        what: what.clone(),
                        pending: None,
                        running: None,
                        is_consumed: false,
                        is_enabled: false,
                        crashes: 0,
                        due: None,
                        anchor: wall,
                        is_anchor_doubted: is_doubted,
                        started: None,
                    };
                    reg.due = reg.period().map(|period| truth + period);
                    if what.fires_at_once {
                        reg.fire();
                    }
                    model.regs.insert(id, reg);
                })
            }
        }
    }

    pub(crate) fn unregister(&mut self, id: TaskId, cancel: bool) -> Result<(), Violation> {
        if cancel {
            self.excuse(id, CancelReason::Abort);
        }
        let owner = app(self.ahead.regs[&id].what.app);
        self.wish(TaskWish::Unregister { app: owner, id, cancel_running: cancel }, |model| {
            model.regs.remove(&id);
        })
    }

    /// The instance of this registration may be cancelled for this reason now.
    fn excuse(&mut self, id: TaskId, reason: CancelReason) {
        self.excuses.extend(self.ahead.regs[&id].running.map(|instance| (instance, reason)));
    }

    fn fire(&mut self, id: TaskId) -> Result<(), Violation> {
        self.fact(TaskFact::Fired { id, details: "{}".into() }, |model| {
            if let Some(reg) = model.regs.get_mut(&id) {
                reg.fire();
            }
        })
    }

    /// What a registration waits for is there before it.
    fn make_completion_group(&mut self, id: TaskId, what: &Registering) -> Result<(), Violation> {
        if what.trigger != super::event::Trigger::CompletionGroup {
            return Ok(());
        }
        let wish = Wish::Completion(CompletionWish::Create {
            app: app(what.app),
            id: shell::completion_group(id),
            success_notification: None,
            failure_notification: None,
        });
        let plan = self.engine.command(self.engine_now(), wish).map_err(|refusal| {
            Violation::new(Invariant::Commands, format!("a completion group was refused: {refusal}"))
        })?;
        self.input(plan, |_| {})
    }

    /// The empty set is closed, which is the end of it.
    fn enable(&mut self, id: TaskId) -> Result<(), Violation> {
        let reg = &self.ahead.regs[&id];
        let was_enabled = reg.is_enabled;
        let wish = CompletionWish::Enable { app: app(reg.what.app), id: shell::completion_group(id) };
        match self.engine.command(self.engine_now(), Wish::Completion(wish)) {
            Err(refusal) => ensure(was_enabled, Invariant::Commands, || format!("{id}: {refusal}")),
            Ok(plan) => {
                ensure(!was_enabled, Invariant::Commands, || format!("{id} is enabled twice"))?;
                self.input(plan, |model| {
                    if let Some(reg) = model.regs.get_mut(&id) {
                        reg.is_enabled = true;
                        reg.fire();
                    }
                })
            }
        }
    }

    fn request(&mut self, id: TaskId) -> Result<(), Violation> {
        let reg = &self.ahead.regs[&id];
        let access = self.ahead.access.get(&reg.what.app).copied().unwrap_or(0);
        let is_requested = reg.what.trigger == super::event::Trigger::Application;
        let is_accepted = reg.running.is_none() && matches!(access, 4 | 5) && reg.crashes < CRASHES_MAX;
        let wish = TaskWish::Request { app: app(reg.what.app), id, details: "{}".into() };
        if !is_requested {
            let refusal = self.ask(wish).err();
            return ensure(refusal.is_some(), Invariant::Commands, || format!("{id} takes a request"));
        }
        self.wish(wish, |model| {
            if let Some(reg) = model.regs.get_mut(&id).filter(|_| is_accepted) {
                reg.fire();
            }
        })
    }

    pub(crate) fn run_by_hand(&mut self, id: TaskId) -> Result<(), Violation> {
        let reg = &self.ahead.regs[&id];
        let is_denied = self.ahead.access.get(&reg.what.app).is_some_and(|status| *status == 7);
        let wish = TaskWish::Run { app: app(reg.what.app), id };
        if is_denied {
            let refusal = self.ask(wish).err();
            return ensure(refusal.is_some(), Invariant::Commands, || format!("{id} runs although denied"));
        }
        self.wish(wish, |model| {
            let Some(reg) = model.regs.get_mut(&id) else { return };
            reg.crashes = reg.crashes.min(CRASHES_MAX - 1);
            let before = reg.pending.unwrap_or(Pending {
                cause: Cause::Manual,
                attempt: 1,
                has_fired: false,
                ready_at: i64::MIN,
            });
            reg.pending = Some(Pending { cause: Cause::Manual, ready_at: i64::MIN, ..before });
        })
    }

    fn cancel_instance(&mut self, which: usize) -> Result<(), Violation> {
        let count = self.ahead.runs.len();
        if count == 0 {
            return Ok(());
        }
        let (instance, run) = self.ahead.runs.iter().nth(which % count).expect("less than their number");
        let (instance, id, owner) = (*instance, run.task, app(run.what.app));
        self.excuses.push((instance, CancelReason::Abort));
        self.wish(TaskWish::CancelInstance { app: owner, id, instance }, |_| {})
    }

    pub(crate) fn put_access(&mut self, number: u8, status: u8) -> Result<(), Violation> {
        let wish = TaskWish::PutAccess { app: app(number), status: shell::access(status) };
        self.wish(wish, |model| {
            if status == 0 {
                model.access.remove(&number);
            } else {
                model.access.insert(number, status);
            }
        })
    }

    fn uninstall(&mut self, number: u8) -> Result<(), Violation> {
        let of_app = self.ahead.runs.iter().filter(|(_, run)| run.what.app == number);
        let excuses: Vec<_> = of_app.map(|(instance, _)| (*instance, CancelReason::Uninstall)).collect();
        self.excuses.extend(excuses);
        self.wish(TaskWish::Uninstall { app: app(number) }, |model| {
            model.regs.retain(|_, reg| reg.what.app != number);
            model.access.remove(&number);
        })
    }

    pub(crate) fn set_machine(&mut self, machine: TaskMachine) -> Result<(), Violation> {
        self.machine = machine;
        if self.sabotage == TaskSabotage::HideMachine {
            return self.input(Plan::default(), |model| model.observe(machine));
        }
        let fact = Fact::Host(Box::new(host_state(machine)));
        let plan = self.engine.observe(self.engine_now(), fact);
        self.input(plan, |model| model.observe(machine))
    }

    fn revoke(&mut self, number: Option<u8>, reason: CancelReason) -> Result<(), Violation> {
        let is_meant = |of: u8| number.is_none_or(|number| number == of);
        let meant = self.ahead.runs.iter().filter(|(_, run)| is_meant(run.what.app));
        let excuses: Vec<_> = meant.map(|(instance, _)| (*instance, reason)).collect();
        self.excuses.extend(excuses);
        self.fact(TaskFact::Revoked { app: number.map(app), reason }, |model| {
            model.is_stopping |= number.is_none() && reason == CancelReason::Terminating;
        })
    }

    fn act(&mut self, which: usize, act: Act) -> Result<(), Violation> {
        let living: Vec<InstanceId> =
            self.jobs.iter().filter(|(_, job)| !job.is_left_over).map(|(id, _)| *id).collect();
        if living.is_empty() {
            return Ok(());
        }
        let instance = living[which % living.len()];
        match act {
            Act::Up => self.job_is_up(instance),
            Act::Complete => self.end_job(instance, End::Completed),
            Act::Fail => self.end_job(instance, End::Failed),
            Act::CrashHost => self.end_job(instance, End::HostCrashed),
            Act::Harden => {
                if let Some(job) = self.jobs.get_mut(&instance) {
                    job.is_hard = true;
                }
                Ok(())
            }
        }
    }

    pub(crate) fn jump(&mut self, seconds: i64) -> Result<(), Violation> {
        if self.is_clock_dead {
            // Somebody sets it right.
            self.clock.skew = 0;
            self.is_clock_dead = false;
        } else {
            self.clock.skew += seconds * 1_000_000;
        }
        self.ahead.skew = self.clock.skew;
        self.is_time_loose = self.has_estimates;
        let plan = self.engine.observe(self.engine_now(), Fact::Task(TaskFact::ClockChanged));
        self.trust.look(self.clock, true);
        self.follow(plan)
    }

    /// A time of the engine in the world's terms.
    pub(crate) fn truth_of(&self, wall: Timestamp) -> i64 {
        wall.micros().saturating_sub(self.clock.skew)
    }
}
