//! The phases of one operation, and what a command makes of each. Deliberately absent: everything an operation
//! shares with others (slots, groups, the machine); see [`crate::rules`] for that.

use longhaul_contract::{Blocker, ErrorCode, Failure, ReasonCode, ResponseInformation, TransferStatus};

use crate::clock::BootTime;
use crate::row::StoredPhase;
use crate::wish::Refusal;

/// What is true of an operation now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Created and not started.
    Idle,
    /// Waits for its turn, or for what the rules ask.
    Queued,
    /// The next try is scheduled.
    Backoff {
        until: BootTime,
        failure: Box<Failure>,
    },
    /// Something of the machine is in the way; looked at again at `until`, or when it is said to be gone.
    Blocked {
        on: Blocker,
        until: BootTime,
        failure: Box<Failure>,
    },
    /// Has a worker. `origin` is the one its slot was granted for; `None` once the slot was given back because all
    /// bytes have come.
    Running {
        attempt: u32,
        origin: Option<u32>,
        stopping: Option<Stopping>,
    },
    PausedByApplication,
    NeedsInput {
        failure: Box<Failure>,
    },
    /// Over, but for the part file.
    Discarding {
        then: Outcome,
    },
}

/// Why a worker was asked to let go: what follows once it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stopping {
    /// Waits again, because of this.
    Requeue(ReasonCode),
    Pause,
    Cancel {
        forget: bool,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Canceled { forget: bool },
    Failed(Box<FailedOutcome>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FailedOutcome {
    pub(crate) failure: Failure,
    pub(crate) response: Option<ResponseInformation>,
}

/// The commands that move an operation from phase to phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Start,
    Pause,
    Resume,
    /// With `forget`: DELETE.
    Cancel {
        forget: bool,
    },
}

/// What a command leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Next {
    Same,
    To(Phase),
}

impl Phase {
    /// Exhaustive on purpose: a new phase or command does not compile until it is decided here.
    ///
    /// # Errors
    /// The phase does not allow it [W 1.5, 1.13].
    pub(crate) fn command(&self, order: Order) -> Result<Next, Refusal> {
        match order {
            Order::Start => self.start(),
            Order::Pause => self.pause(),
            Order::Resume => self.resume(),
            Order::Cancel { forget } => Ok(self.cancel(forget)),
        }
    }

    /// Idempotent on whatever has been started and is not over.
    fn start(&self) -> Result<Next, Refusal> {
        match self {
            Self::Idle => Ok(Next::To(Self::Queued)),
            Self::Queued
            | Self::Backoff { .. }
            | Self::Blocked { .. }
            | Self::Running { stopping: None | Some(Stopping::Requeue(_) | Stopping::Pause), .. }
            | Self::PausedByApplication
            | Self::NeedsInput { .. } => Ok(Next::Same),
            Self::Running { stopping: Some(Stopping::Cancel { .. }), .. } | Self::Discarding { .. } => {
                Err(self.refuse("it is over"))
            }
        }
    }

    fn pause(&self) -> Result<Next, Refusal> {
        match self {
            Self::Idle => Err(self.refuse("it has not been started")),
            Self::Queued | Self::Backoff { .. } | Self::Blocked { .. } => {
                Ok(Next::To(Self::PausedByApplication))
            }
            Self::Running { attempt, origin, stopping: None | Some(Stopping::Requeue(_)) } => {
                Ok(Next::To(Self::Running {
                    attempt: *attempt,
                    origin: *origin,
                    stopping: Some(Stopping::Pause),
                }))
            }
            Self::Running { stopping: Some(Stopping::Pause), .. } | Self::PausedByApplication => {
                Err(self.refuse("it is paused already"))
            }
            Self::NeedsInput { .. } => Err(self.refuse("it is paused until its failure is repaired")),
            Self::Running { stopping: Some(Stopping::Cancel { .. }), .. } | Self::Discarding { .. } => {
                Err(self.refuse("it is over"))
            }
        }
    }

    fn resume(&self) -> Result<Next, Refusal> {
        match self {
            Self::Idle => Err(self.refuse("it has not been started")),
            Self::Queued | Self::Running { stopping: None | Some(Stopping::Requeue(_)), .. } => {
                Err(self.refuse("it is not paused"))
            }
            // Not paused either, but there is a wait to cut short.
            Self::Backoff { .. } | Self::Blocked { .. } => Ok(Next::To(Self::Queued)),
            Self::Running { attempt, origin, stopping: Some(Stopping::Pause) } => {
                Ok(Next::To(Self::Running {
                    attempt: *attempt,
                    origin: *origin,
                    stopping: Some(Stopping::Requeue(ReasonCode::Stopping)),
                }))
            }
            Self::PausedByApplication | Self::NeedsInput { .. } => Ok(Next::To(Self::Queued)),
            Self::Running { stopping: Some(Stopping::Cancel { .. }), .. } | Self::Discarding { .. } => {
                Err(self.refuse("it is over"))
            }
        }
    }

    /// Legal in every phase that is not final, and repeatable.
    fn cancel(&self, forget: bool) -> Next {
        match self {
            Self::Idle
            | Self::Queued
            | Self::Backoff { .. }
            | Self::Blocked { .. }
            | Self::PausedByApplication
            | Self::NeedsInput { .. }
            | Self::Discarding { then: Outcome::Failed(_) } => {
                Next::To(Self::Discarding { then: Outcome::Canceled { forget } })
            }
            Self::Running { stopping: Some(Stopping::Cancel { forget: had }), .. }
            | Self::Discarding { then: Outcome::Canceled { forget: had } }
                if *had || !forget =>
            {
                Next::Same
            }
            Self::Running { attempt, origin, stopping: _ } => Next::To(Self::Running {
                attempt: *attempt,
                origin: *origin,
                stopping: Some(Stopping::Cancel { forget }),
            }),
            Self::Discarding { then: Outcome::Canceled { .. } } => {
                Next::To(Self::Discarding { then: Outcome::Canceled { forget } })
            }
        }
    }

    fn refuse(&self, why: &str) -> Refusal {
        let status = self.status();
        Refusal::new(ErrorCode::InvalidState, format!("the operation is {status}: {why}"))
    }

    /// As seen when the machine forbids nothing.
    pub(crate) fn status(&self) -> TransferStatus {
        match self {
            Self::Idle | Self::Queued => TransferStatus::Idle,
            Self::Backoff { .. } | Self::Discarding { then: Outcome::Failed(_) } => TransferStatus::Running,
            Self::Blocked { on, .. } => match on {
                Blocker::Network | Blocker::Portal => TransferStatus::PausedNoNetwork,
                Blocker::DiskSpace
                | Blocker::Folder
                | Blocker::ReadOnly
                | Blocker::Resources
                | Blocker::Store => TransferStatus::PausedSystemPolicy,
            },
            Self::Running { stopping, .. } => match stopping {
                None => TransferStatus::Running,
                Some(Stopping::Requeue(_)) => TransferStatus::Idle,
                Some(Stopping::Pause) => TransferStatus::PausedByApplication,
                Some(Stopping::Cancel { .. }) => TransferStatus::Canceled,
            },
            Self::PausedByApplication => TransferStatus::PausedByApplication,
            Self::NeedsInput { .. } => TransferStatus::PausedRecoverableWebErrorStatus,
            Self::Discarding { then: Outcome::Canceled { .. } } => TransferStatus::Canceled,
        }
    }

    /// What the store keeps of it.
    pub(crate) fn stored(&self) -> StoredPhase {
        match self {
            Self::Idle => StoredPhase::Idle,
            Self::Queued
            | Self::Backoff { .. }
            | Self::Blocked { .. }
            | Self::Discarding { then: Outcome::Failed(_) } => StoredPhase::Started,
            Self::Running { stopping, .. } => match stopping {
                None | Some(Stopping::Requeue(_)) => StoredPhase::Started,
                Some(Stopping::Pause) => StoredPhase::PausedByApplication,
                Some(Stopping::Cancel { forget }) => StoredPhase::Canceling { forget: *forget },
            },
            Self::PausedByApplication => StoredPhase::PausedByApplication,
            Self::NeedsInput { failure } => StoredPhase::NeedsInput { failure: (**failure).clone() },
            Self::Discarding { then: Outcome::Canceled { forget } } => {
                StoredPhase::Canceling { forget: *forget }
            }
        }
    }

    /// Where a kept phase begins again after a restart; `None` for final ones.
    pub(crate) fn adopted(stored: &StoredPhase) -> Option<Self> {
        match stored {
            StoredPhase::Idle => Some(Self::Idle),
            StoredPhase::Started => Some(Self::Queued),
            StoredPhase::PausedByApplication => Some(Self::PausedByApplication),
            StoredPhase::NeedsInput { failure } => {
                Some(Self::NeedsInput { failure: Box::new(failure.clone()) })
            }
            StoredPhase::Canceling { forget } => {
                Some(Self::Discarding { then: Outcome::Canceled { forget: *forget } })
            }
            StoredPhase::Completed | StoredPhase::Canceled | StoredPhase::Error { .. } => None,
        }
    }

    /// The failure it recovers from, as far as it is not history.
    pub(crate) fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Backoff { failure, .. } | Self::Blocked { failure, .. } | Self::NeedsInput { failure } => {
                Some(failure)
            }
            Self::Discarding { then: Outcome::Failed(outcome) } => Some(&outcome.failure),
            Self::Idle
            | Self::Queued
            | Self::Running { .. }
            | Self::PausedByApplication
            | Self::Discarding { then: Outcome::Canceled { .. } } => None,
        }
    }

    /// What a stretch in this phase is waiting for, where the phase alone says so.
    pub(crate) fn waits_for(&self) -> Option<ReasonCode> {
        match self {
            Self::Idle => Some(ReasonCode::NotStarted),
            Self::Backoff { .. } => Some(ReasonCode::Backoff),
            Self::Blocked { on, .. } => Some(blocker_code(*on)),
            Self::PausedByApplication => Some(ReasonCode::PausedByApplication),
            Self::NeedsInput { .. } => Some(ReasonCode::NeedsInput),
            Self::Queued | Self::Running { .. } | Self::Discarding { .. } => None,
        }
    }

    /// Whether it would run if the rules it shares with others let it.
    pub(crate) fn wants_to_run(&self) -> bool {
        match self {
            Self::Queued | Self::Backoff { .. } | Self::Blocked { .. } => true,
            Self::Running { stopping, .. } => matches!(stopping, None | Some(Stopping::Requeue(_))),
            Self::Idle | Self::PausedByApplication | Self::NeedsInput { .. } | Self::Discarding { .. } => {
                false
            }
        }
    }

    pub(crate) fn is_running(&self) -> bool {
        matches!(self, Self::Running { .. })
    }
}

pub(crate) fn blocker_code(on: Blocker) -> ReasonCode {
    match on {
        Blocker::Network => ReasonCode::NetworkLevel,
        Blocker::Portal => ReasonCode::Portal,
        Blocker::DiskSpace => ReasonCode::DiskSpace,
        Blocker::Folder => ReasonCode::Folder,
        Blocker::ReadOnly => ReasonCode::ReadOnly,
        Blocker::Resources => ReasonCode::Resources,
        Blocker::Store => ReasonCode::Store,
    }
}

#[cfg(test)]
mod tests {
    use longhaul_contract::{Cause, Remedy, WebErrorStatus};

    use super::*;

    fn failure() -> Box<Failure> {
        Box::new(Failure {
            remedy: Remedy::Transient,
            cause: Cause::ConnectionReset,
            web_error_status: WebErrorStatus::ConnectionReset,
            http_status: None,
            detail: "reset".to_owned(),
            retry_after_seconds: None,
        })
    }

    fn running(stopping: Option<Stopping>) -> Phase {
        Phase::Running { attempt: 3, origin: Some(0), stopping }
    }

    /// Every phase with the outcome of start, pause, resume, cancel and DELETE: `.` stays, `x` is refused.
    #[test]
    fn commands_in_every_phase() {
        let until = BootTime(5);
        let requeue = Some(Stopping::Requeue(ReasonCode::NetworkCost));
        let outcome = || FailedOutcome { failure: *failure(), response: None };
        let canceled = |forget| Phase::Discarding { then: Outcome::Canceled { forget } };
        let rows: [(Phase, [&str; 5]); 14] = [
            (Phase::Idle, ["queued", "x", "x", "discarding", "discarding and forget"]),
            (Phase::Queued, [".", "paused", "x", "discarding", "discarding and forget"]),
            (
                Phase::Backoff { until, failure: failure() },
                [".", "paused", "queued", "discarding", "discarding and forget"],
            ),
            (
                Phase::Blocked { on: Blocker::Folder, until, failure: failure() },
                [".", "paused", "queued", "discarding", "discarding and forget"],
            ),
            (running(None), [".", "pausing", "x", "canceling", "canceling and forget"]),
            (running(requeue), [".", "pausing", "x", "canceling", "canceling and forget"]),
            (running(Some(Stopping::Pause)), [".", "x", "requeueing", "canceling", "canceling and forget"]),
            (running(Some(Stopping::Cancel { forget: false })), ["x", "x", "x", ".", "canceling and forget"]),
            (running(Some(Stopping::Cancel { forget: true })), ["x", "x", "x", ".", "."]),
            (Phase::PausedByApplication, [".", "x", "queued", "discarding", "discarding and forget"]),
            (
                Phase::NeedsInput { failure: failure() },
                [".", "x", "queued", "discarding", "discarding and forget"],
            ),
            (canceled(false), ["x", "x", "x", ".", "discarding and forget"]),
            (canceled(true), ["x", "x", "x", ".", "."]),
            (
                Phase::Discarding { then: Outcome::Failed(Box::new(outcome())) },
                ["x", "x", "x", "discarding", "discarding and forget"],
            ),
        ];
        let orders = [
            Order::Start,
            Order::Pause,
            Order::Resume,
            Order::Cancel { forget: false },
            Order::Cancel { forget: true },
        ];
        for (phase, expected) in rows {
            for (order, word) in orders.into_iter().zip(expected) {
                let got = match phase.command(order) {
                    Err(refusal) => {
                        assert_eq!(refusal.code, ErrorCode::InvalidState);
                        assert!(refusal.detail.contains(phase.status().word()));
                        "x"
                    }
                    Ok(Next::Same) => ".",
                    Ok(Next::To(next)) => word_of(&next),
                };
                assert_eq!(got, word, "{phase:?} {order:?}");
            }
        }
    }

    fn word_of(phase: &Phase) -> &'static str {
        match phase {
            Phase::Queued => "queued",
            Phase::PausedByApplication => "paused",
            Phase::Discarding { then: Outcome::Canceled { forget: false } } => "discarding",
            Phase::Discarding { then: Outcome::Canceled { forget: true } } => "discarding and forget",
            Phase::Running { stopping: Some(stopping), .. } => match stopping {
                Stopping::Pause => "pausing",
                Stopping::Requeue(_) => "requeueing",
                Stopping::Cancel { forget: false } => "canceling",
                Stopping::Cancel { forget: true } => "canceling and forget",
            },
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_kept_phase_is_taken_up_again_as_what_the_caller_wants() {
        for (phase, expected) in [
            (Phase::Idle, Phase::Idle),
            (Phase::Queued, Phase::Queued),
            (running(None), Phase::Queued),
            (running(Some(Stopping::Requeue(ReasonCode::NetworkCost))), Phase::Queued),
            (running(Some(Stopping::Pause)), Phase::PausedByApplication),
            (
                running(Some(Stopping::Cancel { forget: true })),
                Phase::Discarding { then: Outcome::Canceled { forget: true } },
            ),
            (Phase::Backoff { until: BootTime(1), failure: failure() }, Phase::Queued),
            (Phase::NeedsInput { failure: failure() }, Phase::NeedsInput { failure: failure() }),
        ] {
            assert_eq!(Phase::adopted(&phase.stored()), Some(expected));
        }
        for done in
            [StoredPhase::Completed, StoredPhase::Canceled, StoredPhase::Error { failure: *failure() }]
        {
            assert!(done.is_final());
            assert_eq!(Phase::adopted(&done), None);
        }
    }
}
