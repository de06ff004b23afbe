//! What stands between the engine and the world, as the daemon does it: decisions are judged and gathered,
//! committed, and only then let go.

use longhaul_contract::{Limits, OperationId};
use longhaul_engine::task::{TaskChange, TaskEffect};
use longhaul_engine::{Change, Effect, Fact, Plan, Policy, StoredPhase, TaskPolicy, Wish};
use longhaul_store::{Reader as _, Write};

use crate::model::{Report, Want};
use crate::translate::contract_limits;
use crate::violation::{Invariant, Violation, ensure};
use crate::world::{Sabotage, World, broken};

/// Decisions that have not been committed yet.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) changes: Vec<Change>,
    pub(crate) effects: Vec<Effect>,
}

/// What the engine has decided about a running operation, whether or not its worker knows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Decided {
    pub(crate) attempt: u32,
    pub(crate) is_stopping: bool,
    /// Until all its bytes have come.
    pub(crate) has_slot: bool,
    /// Where its slot counts, even if the address changes meanwhile.
    pub(crate) host: u8,
}

pub(crate) fn policy() -> Policy {
    let tasks = TaskPolicy { at_once: 1_000, at_once_per_application: 1_000, ..TaskPolicy::default() };
    Policy { tasks, ..Policy::default() }
}

impl World {
    pub(crate) fn observe(
        &mut self,
        fact: Fact,
        report: Option<(OperationId, Report)>,
    ) -> Result<(), Violation> {
        let plan = self.engine.observe(self.engine_now(), fact);
        self.take(plan, report)
    }

    /// Judges a decision and gathers it for the next commit.
    pub(crate) fn take(
        &mut self,
        plan: Plan,
        report: Option<(OperationId, Report)>,
    ) -> Result<(), Violation> {
        let report_on = |id: OperationId| report.and_then(|(of, report)| (of == id).then_some(report));
        for change in &plan.changes {
            match change {
                Change::Created { row, .. } | Change::Updated { row } => {
                    self.ahead.outcome(row.id, &row.phase, report_on(row.id))?;
                }
                Change::Ended { row, .. } => {
                    self.ahead.outcome(row.id, &row.phase, report_on(row.id))?;
                    self.decided.remove(&row.id);
                    if row.phase == StoredPhase::Completed {
                        self.check_published(row.id)?;
                    }
                }
                Change::Removed { id } => self.removed(*id)?,
                _ => {}
            }
        }
        let mut starts = Vec::new();
        for effect in &plan.effects {
            match effect {
                Effect::EnsureRunning { id, attempt } => {
                    self.check_start(*id, *attempt)?;
                    starts.push(*id);
                }
                Effect::EnsureStopped { id, .. } => {
                    if let Some(decided) = self.decided.get_mut(id) {
                        decided.is_stopping = true;
                    }
                }
                Effect::EnsureDiscarded { id } => self.ahead.giving_up(*id, report_on(*id))?,
                Effect::Task(TaskEffect::EnsureStarted { id, details, .. }) => {
                    self.check_firing(*id, details)?;
                }
                _ => {}
            }
        }
        for id in starts {
            self.check_turn(id)?;
        }
        self.batch.changes.extend(plan.changes);
        self.batch.effects.extend(plan.effects);
        if self.sabotage == Sabotage::AcknowledgeBeforeCommit {
            self.acknowledged = self.ahead.clone();
            return self.let_go();
        }
        if !self.batch.changes.iter().any(Change::is_durable) {
            return self.commit();
        }
        Ok(())
    }

    fn removed(&mut self, id: OperationId) -> Result<(), Violation> {
        let Some(operation) = self.ahead.operations.get(&id) else { return Ok(()) };
        let want = operation.want;
        ensure(want.is_final() || want == Want::Forgetting, Invariant::AcknowledgedIsKept, || {
            format!("{id} is forgotten although its caller wants {want:?}")
        })?;
        self.ahead.remove(id);
        self.decided.remove(&id);
        Ok(())
    }

    fn check_published(&self, id: OperationId) -> Result<(), Violation> {
        let size = self.ahead.operations.get(&id).map(|operation| operation.size);
        let published = self.disk.published.get(&id).copied();
        ensure(size.is_some() && published == size, Invariant::PublishedIsComplete, || {
            format!("{id} is completed with {published:?} of {size:?} bytes")
        })
    }

    fn check_start(&mut self, id: OperationId, attempt: u32) -> Result<(), Violation> {
        let reason = self.ahead.forbids(id, self.circumstances());
        ensure(reason.is_none(), Invariant::NoForbiddenStart, || format!("{id} starts although {reason:?}"))?;
        let operation = &self.ahead.operations[&id];
        let seconds = self.circumstances().seconds;
        ensure(operation.not_before.is_none_or(|time| time <= seconds), Invariant::NoForbiddenStart, || {
            format!("{id} starts before {:?}", operation.not_before)
        })?;
        ensure(!self.decided.contains_key(&id), Invariant::RunsOnce, || format!("{id} is started twice"))?;
        if let Some(group) = self.ahead.takes_turns(id) {
            let other =
                self.decided.keys().find(|other| self.ahead.takes_turns(**other).as_ref() == Some(&group));
            ensure(other.is_none(), Invariant::NoForbiddenStart, || format!("{id} starts beside {other:?}"))?;
        }
        let (app, host) = (operation.app.clone(), operation.host);
        self.decided.insert(id, Decided { attempt, is_stopping: false, has_slot: true, host });
        let limits = self.ahead.limits.as_ref().map_or_else(Limits::default, contract_limits);
        let count = |of: &dyn Fn(&OperationId, &Decided) -> bool| {
            self.decided.iter().filter(|(id, decided)| decided.has_slot && of(id, decided)).count()
        };
        let of_app =
            count(&|id, _| self.ahead.operations.get(id).is_some_and(|operation| operation.app == app));
        for (name, count, cap) in [
            ("in all", count(&|_, _| true), limits.running_at_once),
            ("of the application", of_app, limits.running_at_once_per_application),
            ("of the host", count(&|_, decided| decided.host == host), limits.connections_per_host),
        ] {
            ensure(count <= cap as usize, Invariant::Caps, || {
                format!("{count} run {name}, and the cap is {cap}")
            })?;
        }
        Ok(())
    }

    /// Writes what has been gathered; only then anything leaves.
    pub(crate) fn commit(&mut self) -> Result<(), Violation> {
        if self.write_batch()? {
            self.acknowledged = self.ahead.clone();
            self.let_go()?;
            if let Some(time) = self.prune.take() {
                let ids = self.reader.prunable(time, 3).map_err(|error| broken(&error))?;
                let plan =
                    self.engine.command(self.engine_now(), Wish::Forget { ids }).map_err(|refusal| {
                        Violation::new(Invariant::Commands, format!("forgetting was refused: {refusal}"))
                    })?;
                self.take(plan, None)?;
            }
        }
        Ok(())
    }

    pub(crate) fn write_batch(&mut self) -> Result<bool, Violation> {
        let changes = &self.batch.changes;
        let is_durable = changes.iter().any(Change::is_durable);
        let is_forgotten = |change: &Change| match (self.sabotage, change) {
            (Sabotage::ForgetPauses, Change::Updated { row }) => {
                row.phase == StoredPhase::PausedByApplication
            }
            (Sabotage::ForgetEnabling | Sabotage::ForgetCompletions, Change::CompletionGroup { row }) => {
                let is_over = row.state.ended.is_some();
                row.state.enabled.is_some() && is_over == (self.sabotage == Sabotage::ForgetCompletions)
            }
            (Sabotage::ForgetCompletions, Change::Task(TaskChange::Unregistered { .. })) => true,
            _ => false,
        };
        let writes: Vec<Write> =
            changes.iter().filter(|change| !is_forgotten(change)).cloned().map(Write::Change).collect();
        if is_durable {
            let all: Vec<Write> = self.lazy.iter().cloned().chain(writes).collect();
            if !self.keep(&all, true)? {
                return Ok(false);
            }
            self.lazy.clear();
        } else {
            self.lazy.extend(writes);
        }
        self.batch.changes.clear();
        Ok(true)
    }

    pub(crate) fn commit_lazily(&mut self) -> Result<(), Violation> {
        if !self.lazy.is_empty() && self.keep(&self.lazy.clone(), false)? {
            self.lazy.clear();
        }
        Ok(())
    }

    fn let_go(&mut self) -> Result<(), Violation> {
        for effect in std::mem::take(&mut self.batch.effects) {
            match effect {
                Effect::EnsureRunning { id, attempt } => self.start_worker(id, attempt)?,
                Effect::EnsureStopped { id, attempt, mode } => self.stop_worker(id, attempt, mode)?,
                Effect::EnsureDiscarded { id } => {
                    self.discards.insert(id);
                }
                Effect::Prune { time } => self.prune = Some(time),
                Effect::Task(TaskEffect::EnsureStarted { id, instance, .. }) => {
                    self.end_instance(id, instance);
                }
                Effect::EnsureWatched { .. }
                | Effect::EnsureUnwatched { .. }
                | Effect::SetRate { .. }
                | Effect::SetTotalRate { .. }
                | Effect::SetConnectionsPerHost { .. }
                | Effect::Notify { .. }
                | Effect::AskInput { .. }
                | Effect::Task(_) => {}
            }
        }
        Ok(())
    }
}
