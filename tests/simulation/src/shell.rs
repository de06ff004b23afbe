//! What stands between the engine and the world, as the daemon does it: commit, then let go; workers that report;
//! power cuts in between.

use longhaul_contract::{
    Blocker, Cause, Failure, Limits, OperationId, Receipt, Remedy, TransferBehavior, WebErrorStatus,
};
use longhaul_engine::{
    AttemptEnd, BootTime, Change, Effect, Engine, Fact, Finished, Plan, Policy, StopMode, StoredPhase, Wish,
};
use longhaul_store::{JournalWrite, ListQuery, Reader as _, Store as _, Write};

use crate::event::{Level, Work};
use crate::model::{Report, Want};
use crate::violation::{Invariant, Violation, ensure};
use crate::world::{Sabotage, World, broken, contract_limits, host_state};

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
    /// Where its slot counts, even if the address changes meanwhile.
    pub(crate) host: u8,
}

#[derive(Debug, Clone)]
pub(crate) struct Worker {
    pub(crate) attempt: u32,
    pub(crate) received: u64,
    pub(crate) total: u64,
    pub(crate) has_progressed: bool,
    pub(crate) is_published: bool,
    pub(crate) stop: Option<StopMode>,
}

pub(crate) fn policy() -> Policy {
    Policy::default()
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
        self.decided.insert(id, Decided { attempt, is_stopping: false, host });
        let limits = self.ahead.limits.as_ref().map_or_else(Limits::default, contract_limits);
        let count = |of: &dyn Fn(&OperationId, &Decided) -> bool| {
            self.decided.iter().filter(|(id, decided)| of(id, decided)).count()
        };
        let of_app =
            count(&|id, _| self.ahead.operations.get(id).is_some_and(|operation| operation.app == app));
        for (name, count, cap) in [
            ("in all", self.decided.len(), limits.running_at_once),
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
        if self.write_batch() {
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

    fn write_batch(&mut self) -> bool {
        let changes = &self.batch.changes;
        let is_durable = changes.iter().any(Change::is_durable);
        let is_forgotten = |change: &Change| {
            self.sabotage == Sabotage::ForgetPauses
                && matches!(change, Change::Updated { row } if row.phase == StoredPhase::PausedByApplication)
        };
        let writes: Vec<Write> =
            changes.iter().filter(|change| !is_forgotten(change)).cloned().map(Write::Change).collect();
        if is_durable {
            let all: Vec<Write> = self.lazy.iter().cloned().chain(writes).collect();
            if self.store.commit(&all).is_err() {
                return false;
            }
            self.lazy.clear();
        } else {
            self.lazy.extend(writes);
        }
        self.batch.changes.clear();
        true
    }

    pub(crate) fn commit_lazily(&mut self) {
        if !self.lazy.is_empty() && self.store.commit(&self.lazy).is_ok() {
            self.lazy.clear();
        }
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
                Effect::SetRate { .. }
                | Effect::SetTotalRate { .. }
                | Effect::SetConnectionsPerHost { .. } => {}
            }
        }
        Ok(())
    }

    fn start_worker(&mut self, id: OperationId, attempt: u32) -> Result<(), Violation> {
        if let Some(worker) = self.workers.get(&id) {
            return ensure(worker.attempt == attempt, Invariant::RunsOnce, || {
                format!("{id} gets a second worker for attempt {attempt}")
            });
        }
        let record = self.reader.journal(id).map_err(|error| broken(&error))?;
        let recorded = record.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes);
        let received = if self.disk.parts.contains_key(&id) { recorded } else { 0 };
        let total = self.ahead.operations.get(&id).map_or(0, |operation| operation.size);
        let is_published = self.disk.published.contains_key(&id);
        if !is_published {
            self.disk.write(id, received);
        }
        let worker = Worker { attempt, received, total, has_progressed: false, is_published, stop: None };
        self.workers.insert(id, worker);
        if received < recorded && !is_published {
            self.record(id, received);
        }
        Ok(())
    }

    fn stop_worker(&mut self, id: OperationId, attempt: u32, mode: StopMode) -> Result<(), Violation> {
        if self.sabotage == Sabotage::DropStops {
            return Ok(());
        }
        let Some(worker) = self.workers.get_mut(&id).filter(|worker| worker.attempt == attempt) else {
            return Ok(());
        };
        worker.stop = Some(mode);
        if self.sabotage == Sabotage::BelieveStops {
            self.decided.remove(&id);
            return self
                .observe(Fact::Ended { id, attempt, end: AttemptEnd::Stopped }, Some((id, Report::Stopped)));
        }
        Ok(())
    }

    pub(crate) fn work(&mut self, id: OperationId, work: Work, notices_stop: bool) -> Result<(), Violation> {
        let worker = self.workers[&id].clone();
        if let Some(mode) = worker.stop.filter(|_| notices_stop || work == Work::LetGo) {
            return self.let_worker_go(id, mode);
        }
        if worker.is_published && !matches!(work, Work::LetGo) {
            return self.finish(id);
        }
        match work {
            Work::Receive { .. } if self.disk.is_full => self.fail(id, disk_full(), Report::Blocked),
            Work::Receive { bytes } => self.receive(id, bytes),
            Work::Checkpoint => {
                self.checkpoint(id);
                Ok(())
            }
            Work::Publish => {
                self.publish(id);
                Ok(())
            }
            Work::Report | Work::LetGo => Ok(()),
            Work::Reset => self.fail(id, transient(None), Report::Transient),
            Work::ServerError { retry_after } => self.fail(id, transient(retry_after), Report::Transient),
            Work::Forbidden => {
                let failure = http(Remedy::NeedsInput, WebErrorStatus::Forbidden);
                self.fail(id, failure, Report::NeedsInput { is_not_found: false })
            }
            Work::NotFound => {
                let failure = http(Remedy::NeedsInput, WebErrorStatus::NotFound);
                self.fail(id, failure, Report::NeedsInput { is_not_found: true })
            }
            Work::Changed => self.source_changed(id),
            Work::Permanent => {
                self.fail(id, http(Remedy::Permanent, WebErrorStatus::NotImplemented), Report::Permanent)
            }
            Work::NoNetwork => {
                let failure = Failure {
                    remedy: Remedy::Blocked { on: Blocker::Network },
                    cause: Cause::NoNetwork,
                    ..transient(None)
                };
                self.fail(id, failure, Report::Blocked)
            }
        }
    }

    pub(crate) fn receive(&mut self, id: OperationId, bytes: u64) -> Result<(), Violation> {
        let Some(worker) = self.workers.get_mut(&id) else { return Ok(()) };
        worker.received = (worker.received + bytes).min(worker.total);
        let is_first = !std::mem::replace(&mut worker.has_progressed, true);
        let (attempt, received) = (worker.attempt, worker.received);
        self.disk.write(id, received);
        if is_first {
            if self.decided.get(&id).is_some_and(|decided| decided.attempt == attempt) {
                self.ahead.progressed(id);
            }
            self.observe(Fact::Progressed { id, attempt }, None)?;
        }
        Ok(())
    }

    fn checkpoint(&mut self, id: OperationId) {
        if self.sabotage == Sabotage::RecordBeforeSync {
            self.record(id, self.workers[&id].received);
            return;
        }
        self.disk.sync(id);
        self.record(id, self.workers[&id].received);
    }

    /// Whether the record was kept.
    fn record(&mut self, id: OperationId, received: u64) -> bool {
        let total = self.workers[&id].total;
        let write = JournalWrite { id, received, total, record: received.to_le_bytes().to_vec() };
        self.store.commit(&[Write::Journal(write)]).is_ok()
    }

    pub(crate) fn publish(&mut self, id: OperationId) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        if self.sabotage != Sabotage::PublishEarly {
            worker.received = worker.total;
        }
        worker.is_published = true;
        let received = worker.received;
        self.disk.write(id, received);
        self.disk.sync(id);
        self.disk.publish(id);
    }

    pub(crate) fn finish(&mut self, id: OperationId) -> Result<(), Violation> {
        let end = AttemptEnd::Finished(Box::new(Finished { receipt: Receipt::default(), response: None }));
        self.end(id, end, Report::Finished, false)
    }

    pub(crate) fn let_worker_go(&mut self, id: OperationId, mode: StopMode) -> Result<(), Violation> {
        match mode {
            StopMode::Keep if !self.workers[&id].is_published => self.checkpoint(id),
            StopMode::Keep => {}
            StopMode::Discard => {
                if self.sabotage != Sabotage::KeepParts {
                    self.disk.parts.remove(&id);
                }
            }
        }
        self.end(id, AttemptEnd::Stopped, Report::Stopped, false)
    }

    fn source_changed(&mut self, id: OperationId) -> Result<(), Violation> {
        // The record goes back first: it must never claim what is no longer there.
        if self.record(id, 0) {
            self.disk.truncate(id);
            if let Some(worker) = self.workers.get_mut(&id) {
                worker.received = 0;
            }
        }
        self.fail(id, http(Remedy::Stale, WebErrorStatus::PreconditionFailed), Report::Stale)
    }

    fn fail(&mut self, id: OperationId, failure: Failure, report: Report) -> Result<(), Violation> {
        self.checkpoint(id);
        let has_progressed = self.workers[&id].has_progressed;
        let end = AttemptEnd::Failed { failure, has_progressed, response: None };
        self.end(id, end, report, has_progressed)
    }

    fn end(
        &mut self,
        id: OperationId,
        end: AttemptEnd,
        report: Report,
        has_progressed: bool,
    ) -> Result<(), Violation> {
        let Some(worker) = self.workers.remove(&id) else { return Ok(()) };
        self.past.push((id, worker.attempt));
        let decided = self.decided.get(&id).copied().filter(|decided| decided.attempt == worker.attempt);
        if let Some(decided) = decided {
            self.decided.remove(&id);
            let is_connected =
                decided.host == 0 || self.machine.level.is_none_or(|level| level == Level::Internet);
            self.ahead.reported(id, report, has_progressed, is_connected && !decided.is_stopping);
        }
        self.observe(Fact::Ended { id, attempt: worker.attempt, end }, Some((id, report)))
    }

    pub(crate) fn late_report(&mut self, which: usize) -> Result<(), Violation> {
        if self.past.is_empty() {
            return Ok(());
        }
        let (id, mut attempt) = self.past[which % self.past.len()];
        if self.sabotage == Sabotage::RenumberReports
            && let Some(decided) = self.decided.get(&id)
        {
            attempt = decided.attempt;
        }
        let end = AttemptEnd::Finished(Box::new(Finished { receipt: Receipt::default(), response: None }));
        self.observe(Fact::Progressed { id, attempt }, None)?;
        self.observe(Fact::Ended { id, attempt, end }, None)
    }

    pub(crate) fn discard(&mut self, id: OperationId) -> Result<(), Violation> {
        self.discards.remove(&id);
        if self.sabotage != Sabotage::KeepParts {
            self.disk.parts.remove(&id);
        }
        self.observe(Fact::Discarded { id }, None)
    }

    /// The power goes, and the service starts again on what is left.
    pub(crate) fn crash(&mut self, lands: bool, off_seconds: i64) -> Result<(), Violation> {
        let given_up: Vec<OperationId> = self
            .ahead
            .operations
            .iter()
            .filter(|(_, operation)| operation.is_failing || operation.want == Want::Error)
            .map(|(id, _)| *id)
            .collect();
        let has_landed = lands && self.write_batch();
        let mut model = if has_landed { self.ahead.clone() } else { self.acknowledged.clone() };
        model.forget_counts();
        self.store = self.store.crash();
        self.reader = self.store.reader();
        self.disk.power_cut();
        self.workers.clear();
        self.discards.clear();
        self.decided.clear();
        self.past.clear();
        self.batch = Batch::default();
        self.lazy.clear();
        self.prune = None;
        self.now.boot = BootTime(1_000_000);
        self.now.wall = self.now.wall.plus_seconds(off_seconds);
        self.acknowledged = model.clone();
        self.ahead = model;
        self.note_time();
        self.check_kept(&given_up)?;
        let loaded = self.store.load().map_err(|error| broken(&error))?;
        let limits = loaded.limits.unwrap_or_default();
        self.engine = Engine::new(policy(), limits, host_state(self.machine));
        if self.sabotage == Sabotage::HideCost {
            self.engine =
                Engine::new(policy(), self.engine.limits(), longhaul_contract::HostState::unmeasured());
        }
        for (app, name, behavior) in loaded.groups {
            let is_serialized = self.ahead.serialized.get(&(app.clone(), name.clone())).copied();
            ensure(
                is_serialized == Some(behavior == TransferBehavior::Serialized),
                Invariant::AcknowledgedIsKept,
                || format!("group {name} is kept as {behavior}"),
            )?;
            self.engine.adopt_group(app, name, behavior);
        }
        for row in loaded.rows {
            self.engine.adopt(row);
        }
        let plan = self.engine.begin(self.engine_now());
        self.take(plan, None)
    }

    /// Compares what is left with what was promised, and records with bytes. The record of an operation that was
    /// being given up may outlive its part file, which a new attempt takes for nothing.
    fn check_kept(&self, given_up: &[OperationId]) -> Result<(), Violation> {
        let all = ListQuery {
            app: None,
            kind: None,
            group: None,
            only_ungrouped: false,
            label: None,
            text: None,
            is_final: None,
            include_consumed: true,
            descending: false,
            after: None,
            limit: usize::MAX,
        };
        let stored = self.reader.list(&all).map_err(|error| broken(&error))?;
        for record in &stored {
            self.ahead.kept_as(record.row.id, Some(&record.row.phase))?;
        }
        for id in self.ahead.operations.keys() {
            let record = stored.iter().find(|record| record.row.id == *id);
            self.ahead.kept_as(*id, record.map(|record| &record.row.phase))?;
            let durable = self.disk.parts.get(id).map_or(0, |part| part.durable);
            let recorded =
                record.filter(|record| !record.row.phase.is_final()).map_or(0, |record| record.received);
            let is_gone = !self.disk.parts.contains_key(id)
                && (given_up.contains(id) || self.ahead.operations[id].want.is_over());
            let is_covered = recorded <= durable || is_gone || self.disk.published.contains_key(id);
            ensure(is_covered, Invariant::RecordedIsDurable, || {
                format!("{id} has {recorded} bytes recorded and {durable} on disk")
            })?;
        }
        for ((app, name), members) in &self.ahead.groups {
            let mut kept: Vec<_> = stored
                .iter()
                .filter(|record| {
                    record.row.app == *app
                        && record.row.group.as_ref() == Some(name)
                        && !record.row.phase.is_final()
                })
                .map(|record| (record.row.order, record.row.id))
                .collect();
            kept.sort_unstable();
            let kept: Vec<_> = kept.into_iter().map(|(_, id)| id).collect();
            ensure(kept == *members, Invariant::GroupOrder, || {
                format!("group {name} of {app} is kept as {kept:?} and promised as {members:?}")
            })?;
        }
        Ok(())
    }
}

fn transient(retry_after: Option<u32>) -> Failure {
    Failure {
        remedy: Remedy::Transient,
        cause: Cause::ConnectionReset,
        web_error_status: WebErrorStatus::ConnectionReset,
        http_status: None,
        detail: "the connection was reset".to_owned(),
        retry_after_seconds: retry_after,
    }
}

fn http(remedy: Remedy, status: WebErrorStatus) -> Failure {
    Failure {
        remedy,
        cause: Cause::HttpStatus,
        web_error_status: status,
        http_status: Some(status.number()),
        detail: format!("the server answered {}", status.number()),
        retry_after_seconds: None,
    }
}

fn disk_full() -> Failure {
    Failure {
        remedy: Remedy::Blocked { on: Blocker::DiskSpace },
        cause: Cause::DiskFull,
        web_error_status: WebErrorStatus::Unknown,
        http_status: None,
        detail: "no space left".to_owned(),
        retry_after_seconds: None,
    }
}
