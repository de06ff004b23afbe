//! What workers do and report: bytes, records, failures, letting go.

use longhaul_contract::{Blocker, Cause, Failure, OperationId, Receipt, Remedy, WebErrorStatus};
use longhaul_engine::{AttemptEnd, Fact, Finished, StopMode};
use longhaul_store::{JournalWrite, Reader as _, Write};

use crate::event::{Level, Work};
use crate::model::Report;
use crate::violation::{Invariant, Violation, ensure};
use crate::world::{Sabotage, World, broken};

#[derive(Debug, Clone)]
pub(crate) struct Worker {
    pub(crate) attempt: u32,
    pub(crate) received: u64,
    pub(crate) total: u64,
    pub(crate) has_progressed: bool,
    pub(crate) is_published: bool,
    pub(crate) stop: Option<StopMode>,
}

impl World {
    pub(crate) fn start_worker(&mut self, id: OperationId, attempt: u32) -> Result<(), Violation> {
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
            self.record(id, received)?;
        }
        Ok(())
    }

    pub(crate) fn stop_worker(
        &mut self,
        id: OperationId,
        attempt: u32,
        mode: StopMode,
    ) -> Result<(), Violation> {
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
            Work::Checkpoint => self.checkpoint(id),
            Work::Publish => self.publish(id),
            Work::Report | Work::LetGo => Ok(()),
            Work::Reset => self.fail(id, transient(None), Report::Transient),
            Work::ServerError { retry_after } => self.fail(id, transient(retry_after), Report::Transient),
            Work::Forbidden => {
                let failure = http(Remedy::NeedsInput, WebErrorStatus::Forbidden);
                self.fail(id, failure, Report::NeedsInput { is_not_found: false })
            }
            // Uploads meet another failure in its place: the answer is lost.
            Work::NotFound if self.is_upload(id) => self.fail(id, unconfirmed(), Report::Unconfirmed),
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

    fn is_upload(&self, id: OperationId) -> bool {
        self.ahead.operations.get(&id).is_some_and(|operation| operation.is_upload)
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

    fn checkpoint(&mut self, id: OperationId) -> Result<(), Violation> {
        if self.sabotage != Sabotage::RecordBeforeSync {
            self.disk.sync(id);
        }
        self.record(id, self.workers[&id].received).map(drop)
    }

    /// Whether the record was kept.
    fn record(&mut self, id: OperationId, received: u64) -> Result<bool, Violation> {
        let total = self.workers[&id].total;
        let write = JournalWrite { id, received, total, record: received.to_le_bytes().to_vec() };
        self.keep(&[Write::Journal(write)], false)
    }

    pub(crate) fn publish(&mut self, id: OperationId) -> Result<(), Violation> {
        let Some(worker) = self.workers.get_mut(&id) else { return Ok(()) };
        if self.sabotage != Sabotage::PublishEarly {
            worker.received = worker.total;
        }
        worker.is_published = true;
        let (attempt, received) = (worker.attempt, worker.received);
        self.disk.write(id, received);
        self.disk.sync(id);
        self.disk.publish(id);
        if let Some(decided) = self.decided.get_mut(&id).filter(|decided| decided.attempt == attempt) {
            decided.has_slot = false;
        }
        self.observe(Fact::Received { id, attempt }, None)
    }

    pub(crate) fn finish(&mut self, id: OperationId) -> Result<(), Violation> {
        let end = AttemptEnd::Finished(Box::new(Finished { receipt: Receipt::default(), response: None }));
        self.end(id, end, Report::Finished, false)
    }

    pub(crate) fn let_worker_go(&mut self, id: OperationId, mode: StopMode) -> Result<(), Violation> {
        match mode {
            StopMode::Keep if !self.workers[&id].is_published => self.checkpoint(id)?,
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
        if self.sabotage == Sabotage::TruncateBeforeRecord {
            self.disk.truncate(id);
        }
        // The record goes back first: it must never claim what is no longer there.
        if self.record(id, 0)? {
            self.disk.truncate(id);
            if let Some(worker) = self.workers.get_mut(&id) {
                worker.received = 0;
            }
        }
        self.fail(id, http(Remedy::Stale, WebErrorStatus::PreconditionFailed), Report::Stale)
    }

    fn fail(&mut self, id: OperationId, failure: Failure, report: Report) -> Result<(), Violation> {
        self.checkpoint(id)?;
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
        self.observe(Fact::Received { id, attempt }, None)?;
        self.observe(Fact::Ended { id, attempt, end }, None)
    }

    pub(crate) fn discard(&mut self, id: OperationId) -> Result<(), Violation> {
        self.discards.remove(&id);
        if self.sabotage != Sabotage::KeepParts {
            self.disk.parts.remove(&id);
        }
        self.observe(Fact::Discarded { id }, None)
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

fn unconfirmed() -> Failure {
    Failure { remedy: Remedy::NeedsInput, cause: Cause::Unconfirmed, ..transient(None) }
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
