//! The world: one service with its store, disk and workers, the machine around it, and the model beside it.

use std::collections::{BTreeMap, BTreeSet};

use longhaul_contract::{
    Blocker, Decision, ErrorCode, Limits, NetworkCost, OperationId, ReasonCode, Timestamp, TransferBehavior,
    TransferStatus,
};
use longhaul_engine::{BootTime, Engine, Fact, Now, Wish};
use longhaul_store::{MemoryReader, MemoryStore, Reader as _};

use crate::cut::Cut;
use crate::disk::Disk;
use crate::event::{Command, Cost, Create, Event, Level, Machine, NewLimits};
use crate::model::{Circumstances, Model, Operation, Want};
use crate::shell::{Batch, Decided};
use crate::translate::{app, contract_limits, engine_command, group, host_state, known, new_operation};
use crate::violation::{Invariant, Violation, ensure};
use crate::worker::Worker;

/// A rule broken on purpose, to see that the model notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    None,
    AcknowledgeBeforeCommit,
    /// The engine never hears what the network costs.
    HideCost,
    /// Workers are never told to stop.
    DropStops,
    /// The engine is told at once that a worker has let go.
    BelieveStops,
    RecordBeforeSync,
    /// Part files are called gone and stay.
    KeepParts,
    /// Pauses are not written.
    ForgetPauses,
    /// The engine believes in higher limits than there are.
    RaiseLimits,
    /// Reports of old attempts are taken for new ones.
    RenumberReports,
    /// The engine's timers are not served.
    NeverWake,
    /// The wall clock of the engine runs a day ahead.
    RushClock,
    /// Files are published before they are whole.
    PublishEarly,
    /// That completion groups are enabled is not written.
    ForgetEnabling,
    /// That completion groups are over is not written.
    ForgetCompletions,
    /// Part files are emptied before the record says so.
    TruncateBeforeRecord,
}

pub(crate) struct World {
    pub(crate) engine: Engine,
    pub(crate) store: MemoryStore,
    pub(crate) reader: MemoryReader,
    pub(crate) now: Now,
    pub(crate) machine: Machine,
    pub(crate) disk: Disk,
    pub(crate) workers: BTreeMap<OperationId, Worker>,
    pub(crate) discards: BTreeSet<OperationId>,
    pub(crate) prune: Option<Timestamp>,
    /// As it is once everything decided so far has been committed.
    pub(crate) ahead: Model,
    /// What callers know.
    pub(crate) acknowledged: Model,
    pub(crate) decided: BTreeMap<OperationId, Decided>,
    pub(crate) batch: Batch,
    pub(crate) lazy: Vec<longhaul_store::Write>,
    /// Attempts that are over.
    pub(crate) past: Vec<(OperationId, u32)>,
    pub(crate) sabotage: Sabotage,
    /// Commits so far.
    pub(crate) commits: u64,
    pub(crate) cut: Option<Cut>,
    /// The power has gone: whether what was decided last had landed.
    pub(crate) landed: Option<bool>,
    pub(crate) next: u64,
}

impl World {
    pub(crate) fn new(sabotage: Sabotage, cut: Option<Cut>) -> Result<Self, Violation> {
        let store = MemoryStore::new();
        let machine =
            Machine { level: Some(Level::Internet), cost: Some(Cost::Unmetered), energy_saver: Some(false) };
        let mut world = Self {
            engine: Engine::new(crate::shell::policy(), Limits::default(), host_state(machine)),
            reader: store.reader(),
            store,
            now: Now { wall: Timestamp(1_770_000_000_000_000), boot: BootTime(5_000_000) },
            machine,
            disk: Disk::default(),
            workers: BTreeMap::new(),
            discards: BTreeSet::new(),
            prune: None,
            ahead: Model::default(),
            acknowledged: Model::default(),
            decided: BTreeMap::new(),
            batch: Batch::default(),
            lazy: Vec::new(),
            past: Vec::new(),
            sabotage,
            commits: 0,
            cut,
            landed: None,
            next: 0,
        };
        let plan = world.engine.begin(world.engine_now());
        world.take(plan, None)?;
        Ok(world)
    }

    pub(crate) fn step(&mut self, event: &Event) -> Result<(), Violation> {
        match event {
            Event::Create(create) => self.create(create)?,
            Event::NewSet { app } => self.new_set(*app)?,
            Event::Enable { which } => self.enable(*which)?,
            Event::Command { which, command } => {
                if let Some(id) = pick(self.ahead.operations.keys(), *which) {
                    self.command(id, *command)?;
                }
            }
            Event::Group { app, name, is_serialized } => self.put_group(*app, *name, *is_serialized)?,
            Event::Limits(limits) => self.put_limits(limits)?,
            Event::Work { which, work, notices_stop } => {
                if let Some(id) = pick(self.workers.keys(), *which) {
                    self.work(id, *work, *notices_stop)?;
                }
            }
            Event::LateReport { which } => self.late_report(*which)?,
            Event::Discard { which } => {
                if let Some(id) = pick(self.discards.iter(), *which) {
                    self.discard(id)?;
                }
            }
            Event::Host(machine) => self.set_machine(*machine)?,
            Event::Disk { is_full } => {
                self.disk.is_full = *is_full;
                if !is_full {
                    self.observe(Fact::BlockerEased { on: Blocker::DiskSpace, id: None }, None)?;
                }
            }
            Event::Wait { milliseconds } => self.wait(*milliseconds)?,
            Event::ClockJump { seconds } => {
                self.now.wall = self.now.wall.plus_seconds(*seconds);
                self.wake()?;
            }
            Event::Commit => self.commit()?,
            Event::CommitLazily => self.commit_lazily()?,
            Event::CommitFails => {
                self.store.fail_next(longhaul_store::StoreError::CannotWrite("the disk is full".to_owned()));
            }
            Event::Crash { lands, off_seconds } => self.crash(*lands, *off_seconds)?,
        }
        self.check()
    }

    pub(crate) fn circumstances(&self) -> Circumstances {
        Circumstances { machine: self.machine, seconds: self.now.wall.micros().div_euclid(1_000_000) }
    }

    /// The clock as the engine is shown it.
    pub(crate) fn engine_now(&self) -> Now {
        match self.sabotage {
            Sabotage::RushClock => Now { wall: self.now.wall.plus_seconds(86_400), ..self.now },
            _ => self.now,
        }
    }

    fn create(&mut self, create: &Create) -> Result<(), Violation> {
        let set = create.set.and_then(|which| self.ahead.set_of(&app(create.app), which));
        let is_closed = set.is_some_and(|(_, is_enabled)| is_enabled);
        let mut operations = Vec::new();
        for _ in 0..create.count {
            self.next += 1;
            let id = OperationId::from_parts(self.next, &[7; 10]);
            let seconds = self.circumstances().seconds;
            let operation = Operation {
                app: app(create.app),
                group: create.group.map(group),
                host: create.host,
                priority: create.priority,
                cost_policy: create.cost_policy,
                rate: create.rate,
                not_before: create.delay_seconds.map(|delay| seconds + delay),
                is_recoverable: create.is_recoverable,
                size: create.size,
                // Every third, without a draw of its own: the events of a seed stay what they are.
                is_upload: create.size.is_multiple_of(3),
                want: if create.start { Want::Started } else { Want::Idle },
                fruitless: Some(0),
                stale: 0,
                has_bytes: Some(false),
                is_failing: false,
                set: set.map(|(id, _)| id),
            };
            operations.push(new_operation(id, &operation, create.start));
            if !is_closed {
                self.ahead.create(id, operation);
            }
        }
        self.note_time();
        match self.engine.command(self.engine_now(), Wish::Create(operations)) {
            Ok(plan) => {
                ensure(!is_closed, Invariant::Commands, || format!("{set:?} was joined"))?;
                self.take(plan, None)
            }
            Err(refusal) => {
                ensure(is_closed, Invariant::Commands, || format!("a creation was refused: {refusal}"))
            }
        }
    }

    pub(crate) fn command(&mut self, id: OperationId, command: Command) -> Result<(), Violation> {
        let operation = &self.ahead.operations[&id];
        let app = operation.app.clone();
        if operation.want.is_final() {
            // As the service does: what is final is looked up in the store before the engine is asked.
            let stored = self.reader.operation(id).map_err(|error| broken(&error))?;
            if !stored.is_some_and(|stored| stored.row.phase.is_final()) {
                return Ok(());
            }
        }
        let wish = Wish::Command { app, id, command: engine_command(command) };
        match self.engine.command(self.engine_now(), wish) {
            Ok(plan) => {
                self.ahead.command(id, command, true)?;
                self.take(plan, None)
            }
            Err(refusal) => {
                let is_known = matches!(refusal.code, ErrorCode::InvalidState | ErrorCode::NotFound);
                ensure(is_known, Invariant::Commands, || format!("{command:?} was refused: {refusal:?}"))?;
                self.ahead.command(id, command, false)
            }
        }
    }

    fn put_group(&mut self, owner: u8, name: u8, is_serialized: bool) -> Result<(), Violation> {
        let behavior = if is_serialized { TransferBehavior::Serialized } else { TransferBehavior::Parallel };
        let wish = Wish::PutGroup { app: app(owner), name: group(name), behavior };
        let plan = self.engine.command(self.engine_now(), wish).map_err(|refusal| {
            Violation::new(Invariant::Commands, format!("a group was refused: {refusal}"))
        })?;
        self.ahead.serialized.insert((app(owner), group(name)), is_serialized);
        self.take(plan, None)
    }

    pub(crate) fn put_limits(&mut self, limits: &NewLimits) -> Result<(), Violation> {
        let mut wish = contract_limits(limits);
        if self.sabotage == Sabotage::RaiseLimits {
            wish.running_at_once *= 8;
            wish.running_at_once_per_application *= 8;
            wish.connections_per_host *= 8;
        }
        let plan = self.engine.command(self.engine_now(), Wish::PutLimits(wish)).map_err(|refusal| {
            Violation::new(Invariant::Commands, format!("limits were refused: {refusal}"))
        })?;
        self.ahead.limits = Some(limits.clone());
        self.take(plan, None)
    }

    pub(crate) fn set_machine(&mut self, machine: Machine) -> Result<(), Violation> {
        self.machine = machine;
        let mut host = host_state(machine);
        if self.sabotage == Sabotage::HideCost {
            host.network.cost = known(NetworkCost::default());
        }
        self.observe(Fact::Host(Box::new(host)), None)
    }

    pub(crate) fn wake(&mut self) -> Result<(), Violation> {
        self.note_time();
        let plan = self.engine.wake(self.engine_now());
        self.take(plan, None)
    }

    /// A start time that has been reached once stays reached.
    pub(crate) fn note_time(&mut self) {
        let seconds = self.circumstances().seconds;
        for model in [&mut self.ahead, &mut self.acknowledged] {
            for operation in model.operations.values_mut() {
                operation.not_before = operation.not_before.filter(|time| *time > seconds);
            }
        }
    }

    /// Lets time pass, and serves the engine's timers on the way.
    pub(crate) fn wait(&mut self, milliseconds: u64) -> Result<(), Violation> {
        let end = self.now.boot.plus_millis(milliseconds);
        let mut stalls = 0;
        while let Some(next) = self.next_wake().filter(|next| *next <= end) {
            stalls = if next <= self.now.boot { stalls + 1 } else { 0 };
            ensure(stalls < 10, Invariant::EverythingEnds, || {
                format!("the engine asks to be woken over and over: {:?}", self.engine.next_wake())
            })?;
            self.advance_to(next);
            self.wake()?;
        }
        self.advance_to(end);
        if self.sabotage == Sabotage::NeverWake {
            return Ok(());
        }
        self.wake()
    }

    /// The engine's next timer, on the clock that only goes forward.
    pub(crate) fn next_wake(&self) -> Option<BootTime> {
        if self.sabotage == Sabotage::NeverWake {
            return None;
        }
        let wake = self.engine.next_wake();
        let by_wall = wake.wall.map(|wall| {
            let ahead = wall.micros().saturating_sub(self.engine_now().wall.micros());
            BootTime(self.now.boot.0 + u64::try_from(ahead).unwrap_or(0))
        });
        wake.boot.into_iter().chain(by_wall).min()
    }

    fn advance_to(&mut self, boot: BootTime) {
        let micros = boot.0.saturating_sub(self.now.boot.0);
        self.now.boot = self.now.boot.max(boot);
        self.now.wall = Timestamp(self.now.wall.micros() + i64::try_from(micros).unwrap_or(i64::MAX / 2));
    }

    /// What must hold after every event.
    pub(crate) fn check(&self) -> Result<(), Violation> {
        self.check_sets()?;
        for (id, operation) in self.ahead.live() {
            let live = self.engine.live(self.engine_now(), &operation.app, id).ok_or_else(|| {
                Violation::new(Invariant::AcknowledgedIsKept, format!("the engine has lost {id}"))
            })?;
            let runs = self.decided.get(&id).is_some_and(|decided| !decided.is_stopping);
            let told = self.engine.explain(self.engine_now(), &operation.app, id, None);
            let decision = told.as_ref().map(|told| told.decision);
            ensure((decision == Some(Decision::Run)) == runs, Invariant::ExplainAgrees, || {
                format!("{id} {} and is explained as {told:?}", if runs { "runs" } else { "waits" })
            })?;
            if runs {
                let reason = self.ahead.forbids(id, self.circumstances());
                ensure(reason.is_none(), Invariant::ForbiddenIsStopped, || {
                    format!("{id} runs although {reason:?}")
                })?;
            }
            let is_quiet = runs || operation.want.is_over();
            ensure(is_quiet == live.waiting.is_empty(), Invariant::WaitingHasReason, || {
                format!("{id}: {live:?}")
            })?;
            let is_shown = match operation.want {
                Want::Paused => live.status == TransferStatus::PausedByApplication,
                Want::NeedsInput => live.status == TransferStatus::PausedRecoverableWebErrorStatus,
                Want::Idle => live.status == TransferStatus::Idle,
                Want::Canceling | Want::Forgetting => live.status == TransferStatus::Canceled,
                Want::Started => {
                    !live.status.is_final() && live.status != TransferStatus::PausedByApplication
                }
                Want::Completed | Want::Canceled | Want::Error => false,
            };
            ensure(is_shown, Invariant::WaitingHasReason, || {
                format!("{id} is wanted {:?} and shown as {:?}", operation.want, live.status)
            })?;
            ensure(live.is_forgotten == (operation.want == Want::Forgetting), Invariant::Commands, || {
                format!("{id} is deleted and still shown")
            })?;
        }
        self.check_workers()
    }

    /// Once everything decided has been let go, workers do what was decided.
    fn check_workers(&self) -> Result<(), Violation> {
        if !self.batch.effects.is_empty() {
            return Ok(());
        }
        for (id, worker) in &self.workers {
            let runs = self.decided.get(id).is_some_and(|decided| !decided.is_stopping);
            let reason = self.ahead.forbids(*id, self.circumstances());
            ensure(
                worker.stop.is_some() || (runs && reason.is_none()),
                Invariant::ForbiddenIsStopped,
                || format!("the worker of {id} goes on although {reason:?}"),
            )?;
        }
        for id in self.decided.keys() {
            ensure(self.workers.contains_key(id), Invariant::RunsOnce, || format!("{id} has no worker"))?;
        }
        Ok(())
    }

    /// In a serialized group nothing starts before a member that could have started in its place.
    pub(crate) fn check_turn(&self, id: OperationId) -> Result<(), Violation> {
        let Some(key) = self.ahead.takes_turns(id) else { return Ok(()) };
        let rank = |id: &OperationId| u8::from(self.ahead.operations[id].priority == 2);
        let members = &self.ahead.groups[&key];
        let position = |id: &OperationId| members.iter().position(|member| member == id);
        for other in members {
            let waits = self.ahead.operations[other].want == Want::Started
                && !self.ahead.operations[other].is_failing
                && self.ahead.takes_turns(*other).is_some()
                && !self.decided.contains_key(other);
            if !waits || (rank(other), position(other)) >= (rank(&id), position(&id)) {
                continue;
            }
            let live = self.engine.live(self.engine_now(), &key.0, *other);
            let has_other_reason = live.is_some_and(|live| {
                live.waiting.iter().any(|reason| reason.code != ReasonCode::GroupSerialized)
            });
            ensure(has_other_reason, Invariant::GroupOrder, || format!("{id} overtakes {other} in {key:?}"))?;
        }
        Ok(())
    }
}

pub(crate) fn broken(error: &longhaul_store::StoreError) -> Violation {
    Violation::new(Invariant::NoPanic, format!("the store cannot read: {error}"))
}

pub(crate) fn pick<'a>(
    ids: impl ExactSizeIterator<Item = &'a OperationId>,
    which: usize,
) -> Option<OperationId> {
    let mut ids = ids;
    let count = ids.len();
    (count > 0).then(|| which % count).and_then(|index| ids.nth(index)).copied()
}
