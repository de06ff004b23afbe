//! What the report of a worker means for its operation.

use longhaul_contract::{Failure, NetworkLevel, OperationId, Remedy, ResponseInformation};

use crate::download::{FailedOutcome, Outcome, Phase, Stopping};
use crate::engine::Engine;
use crate::fact::AttemptEnd;
use crate::plan::Change;
use crate::retry::{self, Record, Situation};
use crate::roster::Slot;
use crate::row::StoredPhase;
use crate::step::Step;

impl Engine {
    /// The operation, if this attempt is the one that runs.
    fn running_attempt(&self, id: OperationId, attempt: u32) -> Option<(Slot, Option<Stopping>)> {
        let slot = self.roster.find(id)?;
        match self.roster[slot].phase {
            Phase::Running { attempt: newest, stopping, .. } if newest == attempt => Some((slot, stopping)),
            _ => None,
        }
    }

    pub(crate) fn progressed(&mut self, step: &mut Step, id: OperationId, attempt: u32) {
        let Some((slot, _)) = self.running_attempt(id, attempt) else { return };
        let record = self.roster[slot].record;
        let next = Record { fruitless_attempts: 0, blocked_rounds: 0, has_bytes: true, ..record };
        self.set_record(step, slot, next);
    }

    pub(crate) fn received(&mut self, id: OperationId, attempt: u32) {
        if let Some((slot, _)) = self.running_attempt(id, attempt) {
            self.finish_moving(slot);
        }
    }

    fn set_record(&mut self, step: &mut Step, slot: Slot, record: Record) {
        let entry = &mut self.roster[slot];
        let kept = (entry.record.fruitless_attempts, entry.record.has_bytes);
        entry.record = record;
        if kept != (record.fruitless_attempts, record.has_bytes) {
            step.plan.changes.push(Change::Counted {
                id: entry.id,
                fruitless_attempts: record.fruitless_attempts,
                has_bytes: record.has_bytes,
            });
        }
    }

    pub(crate) fn attempt_ended(&mut self, step: &mut Step, id: OperationId, attempt: u32, end: AttemptEnd) {
        let Some((slot, stopping)) = self.running_attempt(id, attempt) else { return };
        match (end, stopping) {
            // The caller has been told that it is canceled; a file published at the same instant stays.
            (AttemptEnd::Finished(_), Some(Stopping::Cancel { forget })) => {
                self.end_canceled(step, slot, forget);
            }
            (AttemptEnd::Finished(finished), None | Some(Stopping::Requeue(_) | Stopping::Pause)) => {
                self.end(step, slot, StoredPhase::Completed, Some(finished), None);
            }
            (AttemptEnd::Stopped, None | Some(Stopping::Requeue(_))) => {
                self.set_phase(step, slot, Phase::Queued);
            }
            (AttemptEnd::Stopped, Some(Stopping::Pause)) => {
                self.set_phase(step, slot, Phase::PausedByApplication);
            }
            // It may have let go for an earlier reason, and then it has kept the part file.
            (AttemptEnd::Stopped | AttemptEnd::Failed { .. }, Some(Stopping::Cancel { forget })) => {
                self.set_phase(step, slot, Phase::Discarding { then: Outcome::Canceled { forget } });
            }
            (AttemptEnd::Failed { has_progressed, .. }, Some(Stopping::Pause)) => {
                self.note_bytes(step, slot, has_progressed);
                self.set_phase(step, slot, Phase::PausedByApplication);
            }
            (AttemptEnd::Failed { failure, has_progressed, .. }, Some(Stopping::Requeue(_)))
                if matches!(failure.remedy, Remedy::Transient | Remedy::Blocked { .. }) =>
            {
                self.note_bytes(step, slot, has_progressed);
                self.set_phase(step, slot, Phase::Queued);
            }
            (AttemptEnd::Failed { failure, has_progressed, response }, None | Some(Stopping::Requeue(_))) => {
                self.failed(step, slot, attempt, failure, has_progressed, response);
            }
        }
    }

    fn note_bytes(&mut self, step: &mut Step, slot: Slot, has_progressed: bool) {
        let record = self.roster[slot].record;
        let has_bytes = record.has_bytes || has_progressed;
        self.set_record(step, slot, Record { has_bytes, ..record });
    }

    fn failed(
        &mut self,
        step: &mut Step,
        slot: Slot,
        attempt: u32,
        failure: Failure,
        has_progressed: bool,
        response: Option<ResponseInformation>,
    ) {
        let entry = &self.roster[slot];
        let closed = self.gates.closed(entry.class(), step.now.boot);
        let situation = Situation {
            policy: &self.policy,
            recoverable: entry.recoverable(),
            id: entry.id,
            attempt,
            asks_for_input: entry.marks().asks_for_input(),
            is_network_denied: closed.is_some_and(|closed| closed.denials.level || closed.denials.cost),
            is_disconnected: !entry.standing.is_local()
                && self.host.network.level.value().is_some_and(|level| *level < NetworkLevel::Internet),
        };
        let mut record = entry.record;
        let decided = retry::decide(&situation, &mut record, &failure, has_progressed);
        self.set_record(step, slot, record);
        let failure = Box::new(failure);
        let next = match decided {
            retry::Step::Error => {
                let outcome = FailedOutcome { failure: *failure, response };
                Phase::Discarding { then: Outcome::Failed(Box::new(outcome)) }
            }
            retry::Step::NeedsInput => Phase::NeedsInput { failure },
            retry::Step::Backoff { delay_ms } => {
                Phase::Backoff { until: step.now.boot.plus_millis(delay_ms), failure }
            }
            retry::Step::Blocked { on, delay_ms } => {
                Phase::Blocked { on, until: step.now.boot.plus_millis(delay_ms), failure }
            }
            retry::Step::Queue => Phase::Queued,
        };
        self.set_phase(step, slot, next);
    }

    /// The part file is gone: what was promised becomes final.
    pub(crate) fn discarded(&mut self, step: &mut Step, id: OperationId) {
        let Some(slot) = self.roster.find(id) else { return };
        match &self.roster[slot].phase {
            Phase::Discarding { then: Outcome::Canceled { forget } } => {
                let forget = *forget;
                self.end_canceled(step, slot, forget);
            }
            Phase::Discarding { then: Outcome::Failed(outcome) } => {
                let FailedOutcome { failure, response } = (**outcome).clone();
                self.end(step, slot, StoredPhase::Error { failure }, None, response);
            }
            Phase::Idle
            | Phase::Queued
            | Phase::Backoff { .. }
            | Phase::Blocked { .. }
            | Phase::Running { .. }
            | Phase::PausedByApplication
            | Phase::NeedsInput { .. } => {}
        }
    }
}
