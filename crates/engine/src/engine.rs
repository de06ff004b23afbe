//! The engine: one value that owns every live operation it has been handed.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use longhaul_contract::{
    AppId, Blocker, ErrorCode, Explanation, GroupName, HostState, Limits, OperationError, OperationId,
    Signal, Timestamp, TransferBehavior, TransferStatus, WaitingReason,
};

use crate::clock::{BootTime, Now, Wake};
use crate::completion::CompletionGroups;
use crate::cost::Class;
use crate::download::{Next, Order, Outcome, Phase, Stopping};
use crate::explain;
use crate::fact::Fact;
use crate::gate::Gates;
use crate::group::Members;
use crate::limits::Rates;
use crate::plan::{Change, Effect, Plan};
use crate::policy::Policy;
use crate::queue::{Caps, Queue};
use crate::roster::{Entry, Roster, Slot, Table};
use crate::row::{Origin, Row, TargetKey};
use crate::rules::Question;
use crate::step::{App, Step};
use crate::task::Tasks;
use crate::wish::{Command, Refusal, Wish};

/// A better network lets waiting operations try again at most this often.
const NETWORK_RETRY_SPACING_MS: u64 = 60_000;

/// What the engine knows of a live operation at this instant, beyond its stored record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Live {
    pub status: TransferStatus,
    pub waiting: Vec<WaitingReason>,
    pub error: Option<OperationError>,
    /// The attempt that runs now.
    pub attempt: Option<u32>,
    /// Deleted by its application and only kept until its part file is gone: to be shown to nobody.
    pub is_forgotten: bool,
}

#[derive(Debug)]
pub struct Engine {
    pub(crate) policy: Policy,
    pub(crate) limits: Limits,
    pub(crate) host: HostState,
    pub(crate) rates: Rates,
    pub(crate) gates: Gates,
    pub(crate) roster: Roster,
    /// The files that live operations make.
    pub(crate) targets: HashSet<TargetKey>,
    pub(crate) apps: Table<AppId, App>,
    /// With the number of those who refer to each.
    pub(crate) origins: Table<Origin, u32>,
    pub(crate) groups: Table<(u32, GroupName), Members>,
    pub(crate) queue: Queue,
    /// Operations that have a worker.
    pub(crate) running: BTreeSet<Slot>,
    /// How many of them have given their slot back and are being published.
    pub(crate) publishing: u32,
    pub(crate) boot_timers: BTreeSet<(BootTime, Slot)>,
    pub(crate) wall_timers: BTreeSet<(Timestamp, Slot)>,
    pub(crate) blocked: BTreeMap<Blocker, BTreeSet<Slot>>,
    /// Operations that failed because of the network and try again sooner when it gets better.
    pub(crate) network_waiters: BTreeSet<Slot>,
    network_retry_at: Option<BootTime>,
    network_retried_at: Option<BootTime>,
    /// Hours in which results expire.
    pub(crate) expiries: BTreeSet<Timestamp>,
    pub(crate) completion: CompletionGroups,
    /// Applications that have to be in the foreground and are not.
    pub(crate) held_back: BTreeSet<AppId>,
    pub(crate) tasks: Tasks,
}

impl Engine {
    /// Limits that do not parse (their zone may have gone from the database) hold without their schedule.
    #[must_use]
    pub fn new(policy: Policy, limits: Limits, host: HostState) -> Self {
        let schedule = crate::limits::check(&limits, policy.time_zone.as_deref()).unwrap_or_default();
        Self {
            rates: Rates::new(limits.bytes_per_second, schedule),
            gates: Gates::new(policy.settle_ms),
            queue: Queue::new(Caps::from(&limits)),
            tasks: Tasks::new(&policy.tasks),
            policy,
            limits,
            host,
            roster: Roster::default(),
            targets: HashSet::new(),
            apps: Table::default(),
            origins: Table::default(),
            groups: Table::default(),
            running: BTreeSet::new(),
            publishing: 0,
            boot_timers: BTreeSet::new(),
            wall_timers: BTreeSet::new(),
            blocked: BTreeMap::new(),
            network_waiters: BTreeSet::new(),
            network_retry_at: None,
            network_retried_at: None,
            expiries: BTreeSet::new(),
            completion: CompletionGroups::default(),
            held_back: BTreeSet::new(),
        }
    }

    /// Takes over what the store kept: groups first, then rows in any order, then [`Engine::begin`] once.
    pub fn adopt_group(&mut self, app: AppId, name: GroupName, behavior: TransferBehavior) {
        let app = self.apps.number(app);
        let group = self.group_number(app, name);
        self.groups[group].behavior = behavior;
        self.groups[group].is_explicit = true;
        self.apps[app].empty_groups.insert(group);
    }

    /// Takes over that an application has to be in the foreground and is not; before its rows.
    pub fn adopt_held_back(&mut self, app: AppId) {
        self.held_back.insert(app);
    }

    /// Rows that are final are not the engine's and are passed over.
    pub fn adopt(&mut self, row: Row) {
        let Some(phase) = Phase::adopted(&row.phase) else { return };
        let may_have_part = phase != Phase::Idle;
        self.hold(row, phase, may_have_part);
    }

    /// The first decision after everything was adopted.
    pub fn begin(&mut self, now: Now) -> Plan {
        let mut step = Step::new(now);
        self.gates.observe(now, &self.host);
        for class in Class::all() {
            self.queue.set_class_open(class, self.gates.is_open(class));
        }
        step.plan
            .effects
            .push(Effect::SetConnectionsPerHost { connections: self.limits.connections_per_host });
        step.plan.effects.push(Effect::Prune { time: now.wall });
        let slots: Vec<Slot> = self.roster.iter().map(|(slot, _)| slot).collect();
        for slot in slots {
            self.roster[slot].since = now.wall;
            self.enter(&mut step, slot);
        }
        self.begin_tasks(&mut step);
        self.begin_completion_groups(&mut step);
        self.conclude(step)
    }

    /// # Errors
    /// Refuses what the phase, a quota or a rule does not allow; then nothing has changed.
    pub fn command(&mut self, now: Now, wish: Wish) -> Result<Plan, Refusal> {
        let mut step = Step::new(now);
        match wish {
            Wish::Create(operations) => self.create(&mut step, operations)?,
            Wish::Command { app, id, command } => self.command_one(&mut step, &app, id, command)?,
            Wish::Consume { app, ids } => {
                for id in ids {
                    self.consume(&mut step, app.clone(), id);
                }
            }
            Wish::PutGroup { app, name, behavior } => self.put_group(&mut step, app, name, behavior)?,
            Wish::PutLimits(limits) => self.put_limits(&mut step, limits)?,
            Wish::Completion(wish) => self.command_completion_group(&mut step, wish)?,
            Wish::Unconstrain { app, ids } => self.unconstrain(&mut step, &app, &ids),
            Wish::Task(wish) => self.command_task(&mut step, wish)?,
            Wish::Forget { ids } => {
                // The store hands out so many at a time: there may be more.
                if !ids.is_empty() {
                    step.plan.effects.push(Effect::Prune { time: now.wall });
                }
                for (app, id) in ids {
                    step.plan.changes.push(Change::Removed { id });
                    step.plan.removed.push((app, id));
                }
            }
        }
        Ok(self.conclude(step))
    }

    /// Facts are never refused; those of older attempts are ignored.
    pub fn observe(&mut self, now: Now, fact: Fact) -> Plan {
        let mut step = Step::new(now);
        match fact {
            Fact::Progressed { id, attempt } => self.progressed(&mut step, id, attempt),
            Fact::Received { id, attempt } => self.received(id, attempt),
            Fact::Ended { id, attempt, end } => self.attempt_ended(&mut step, id, attempt, end),
            Fact::Discarded { id } => self.discarded(&mut step, id),
            Fact::Host(host) => {
                self.host_changed(&mut step, *host);
                self.host_changed_for_tasks(&mut step);
            }
            Fact::Task(fact) => self.observe_task(&mut step, fact),
            Fact::HeldBack { app, is_held_back } => self.hold_back(&mut step, app, is_held_back),
            Fact::BlockerEased { on, id } => self.blocker_eased(&mut step, on, id),
        }
        self.conclude(step)
    }

    /// Does what is due.
    pub fn wake(&mut self, now: Now) -> Plan {
        self.conclude(Step::new(now))
    }

    /// Both absent: nothing happens before the next wish or fact.
    #[must_use]
    pub fn next_wake(&self) -> Wake {
        let settling = Class::all()
            .filter(|class| self.queue.has_class(*class))
            .filter_map(|class| self.gates.opens_at(class));
        let timer = self.boot_timers.first().map(|(time, _)| *time);
        let retry = self.network_retry_at.filter(|_| !self.network_waiters.is_empty());
        let edge = self.rates.edge().filter(|_| !self.running.is_empty() || self.queue.has_open_lane());
        let tasks = self.next_task_wake();
        Wake {
            boot: settling.chain(timer).chain(retry).chain(tasks.boot).min(),
            wall: self
                .wall_timers
                .first()
                .map(|(time, _)| *time)
                .into_iter()
                .chain(self.expiries.first().copied())
                .chain(edge)
                .chain(tasks.wall)
                .min(),
        }
    }

    /// `None` when the engine does not hold it: then it is final or unknown.
    #[must_use]
    pub fn live(&self, now: Now, app: &AppId, id: OperationId) -> Option<Live> {
        let slot = self.find(app, id)?;
        Some(explain::live(&self.question(slot, now)))
    }

    /// Made by the same rules as the decision; `hypothetical` replaces the host for a question of "what if".
    /// History and totals are the store's to add.
    #[must_use]
    pub fn explain(
        &self,
        now: Now,
        app: &AppId,
        id: OperationId,
        hypothetical: Option<&HostState>,
    ) -> Option<Explanation> {
        let slot = self.find(app, id)?;
        Some(explain::explain(&Question { hypothetical, ..self.question(slot, now) }))
    }

    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits.clone()
    }

    #[must_use]
    pub fn host(&self) -> HostState {
        self.host.clone()
    }

    pub(crate) fn question(&self, slot: Slot, now: Now) -> Question<'_> {
        Question { engine: self, slot, entry: &self.roster[slot], now, hypothetical: None }
    }

    pub(crate) fn find(&self, app: &AppId, id: OperationId) -> Option<Slot> {
        self.roster.find(id).filter(|slot| self.apps.key(self.roster[*slot].app) == app)
    }

    pub(crate) fn queue_gate_is_open(&self, entry: &Entry) -> bool {
        self.gates.is_open(entry.class())
    }

    fn command_one(
        &mut self,
        step: &mut Step,
        app: &AppId,
        id: OperationId,
        command: Command,
    ) -> Result<(), Refusal> {
        let not_found = || {
            Refusal::new(
                ErrorCode::NotFound,
                format!("the application has no operation {id} that is not final"),
            )
        };
        let Some(slot) = self.find(app, id) else {
            // The store holds the final ones; the shell has looked there before it asks.
            return match command {
                _ if self.roster.find(id).is_some() => Err(not_found()),
                Command::Consume => {
                    self.consume(step, app.clone(), id);
                    Ok(())
                }
                Command::Remove => {
                    step.plan.changes.push(Change::Removed { id });
                    step.plan.removed.push((app.clone(), id));
                    Ok(())
                }
                Command::Start
                | Command::Pause
                | Command::Resume
                | Command::Cancel
                | Command::MakeCurrent
                | Command::Patch { .. } => Err(not_found()),
            };
        };
        if self.is_forgotten(slot) && command != Command::Remove {
            return Err(not_found());
        }
        match command {
            Command::Start => self.order(step, slot, Order::Start),
            Command::Pause => self.order(step, slot, Order::Pause),
            Command::Resume => self.order(step, slot, Order::Resume),
            Command::Cancel => self.order(step, slot, Order::Cancel { forget: false }),
            Command::Remove => self.order(step, slot, Order::Cancel { forget: true }),
            Command::MakeCurrent => {
                self.make_current(step, slot);
                Ok(())
            }
            Command::Patch { patch, origin } => self.patch(step, slot, patch, origin),
            Command::Consume => self.consume_live(slot),
        }
    }

    fn order(&mut self, step: &mut Step, slot: Slot, order: Order) -> Result<(), Refusal> {
        let next = match self.roster[slot].phase.command(order)? {
            Next::Same => return Ok(()),
            Next::To(next) => next,
        };
        let entry = &mut self.roster[slot];
        if order == Order::Resume && matches!(entry.phase, Phase::NeedsInput { .. }) {
            entry.record.fruitless_attempts = 0;
            entry.record.stale_restarts = 0;
        }
        if let Order::Cancel { forget: true } = order {
            let name = (self.apps.key(entry.app).clone(), entry.id);
            step.plan.removed.push(name);
        }
        match next {
            Phase::Discarding { then: Outcome::Canceled { forget } } if !self.roster[slot].may_have_part => {
                self.end_canceled(step, slot, forget);
            }
            next => self.set_phase(step, slot, next),
        }
        Ok(())
    }

    pub(crate) fn consume(&mut self, step: &mut Step, app: AppId, id: OperationId) {
        let keep_until = self.expiry(step.now.wall, self.policy.keep_consumed_seconds);
        step.plan.changes.push(Change::Consumed { id, time: step.now.wall, keep_until });
        step.plan.touched.push((app, id));
    }

    /// A canceled operation is over for its caller although its part file is still being removed.
    fn consume_live(&mut self, slot: Slot) -> Result<(), Refusal> {
        let entry = &self.roster[slot];
        let status = entry.phase.status();
        if !status.is_final() {
            return Err(Refusal::new(
                ErrorCode::InvalidState,
                format!("the operation is {status}: it has no result yet"),
            ));
        }
        self.roster[slot].is_consumed = true;
        Ok(())
    }

    fn host_changed(&mut self, step: &mut Step, host: HostState) {
        let is_better = match (&self.host.network.level, &host.network.level) {
            (Signal::Known { value: before, .. }, Signal::Known { value: after, .. }) => after > before,
            (Signal::Known { .. } | Signal::Unknown { .. }, _) => false,
        };
        self.host = host;
        for class in self.gates.observe(step.now, &self.host) {
            self.gate_changed(step, class);
        }
        if is_better {
            let settled = step.now.boot.plus_millis(self.policy.settle_ms);
            let spaced = self
                .network_retried_at
                .map_or(settled, |last| last.plus_millis(NETWORK_RETRY_SPACING_MS).max(settled));
            self.network_retry_at = Some(spaced);
        }
    }

    fn blocker_eased(&mut self, step: &mut Step, on: Blocker, id: Option<OperationId>) {
        let Some(waiting) = self.blocked.get(&on) else { return };
        let eased: Vec<Slot> = match id {
            Some(id) => self.roster.find(id).filter(|slot| waiting.contains(slot)).into_iter().collect(),
            None => waiting.iter().copied().collect(),
        };
        for slot in eased {
            self.set_phase(step, slot, Phase::Queued);
        }
    }

    fn gate_changed(&mut self, step: &mut Step, class: Class) {
        self.queue.set_class_open(class, self.gates.is_open(class));
        if let Some(code) = self.gates.closed(class, step.now.boot).and_then(|closed| closed.denials.first())
        {
            for slot in self.running.clone() {
                if self.roster[slot].class() == class {
                    self.stop(step, slot, Stopping::Requeue(code));
                }
            }
        }
        let touched: Vec<_> = self
            .roster
            .iter()
            .filter(|(_, entry)| entry.class() == class)
            .map(|(_, entry)| (self.apps.key(entry.app).clone(), entry.id))
            .collect();
        step.plan.touched.extend(touched);
    }

    /// Everything that follows from time alone, and then the slots.
    fn conclude(&mut self, mut step: Step) -> Plan {
        for class in self.gates.advance(step.now) {
            self.gate_changed(&mut step, class);
        }
        self.refresh_rate(&mut step);
        while let Some((time, slot)) = self.boot_timers.first().copied() {
            if time > step.now.boot {
                break;
            }
            self.set_phase(&mut step, slot, Phase::Queued);
        }
        while let Some((time, slot)) = self.wall_timers.first().copied() {
            if time > step.now.wall {
                break;
            }
            self.wall_timers.remove(&(time, slot));
            self.close_wait(&mut step, slot);
            self.roster[slot].is_due = true;
            self.enqueue(&step, slot);
            step.fresh.push(slot);
            step.touch(&self.apps, &self.roster[slot]);
        }
        if self.network_retry_at.is_some_and(|time| time <= step.now.boot) {
            self.network_retry_at = None;
            self.network_retried_at = Some(step.now.boot);
            for slot in std::mem::take(&mut self.network_waiters) {
                self.set_phase(&mut step, slot, Phase::Queued);
            }
        }
        if self.expiries.first().is_some_and(|time| *time <= step.now.wall) {
            self.expiries.retain(|time| *time > step.now.wall);
            step.plan.effects.push(Effect::Prune { time: step.now.wall });
            self.forget_completion_groups(&mut step);
        }
        if self.rates.told != Some(Some(0)) {
            while let Some(place) = self.queue.next() {
                self.start(&mut step, place);
            }
        }
        self.conclude_tasks(&mut step);
        self.finish_step(step)
    }

    fn finish_step(&mut self, mut step: Step) -> Plan {
        for slot in std::mem::take(&mut step.fresh) {
            if self.roster.get(slot).is_some_and(|entry| entry.phase == Phase::Queued) {
                self.roster[slot].waits_for = self.question(slot, step.now).first_block();
            }
        }
        let mut plan = step.plan;
        let removed: HashSet<OperationId> = plan.removed.iter().map(|(_, id)| *id).collect();
        let mut seen = HashSet::new();
        plan.touched.retain(|(_, id)| {
            let is_hidden = self.roster.find(*id).is_some_and(|slot| self.is_forgotten(slot));
            !is_hidden && !removed.contains(id) && seen.insert(*id)
        });
        plan
    }
}
