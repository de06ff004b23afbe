//! What must always hold, by name.

/// One promise of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Invariant {
    /// What a caller was told is still so after a crash.
    AcknowledgedIsKept,
    /// No operation has two workers.
    RunsOnce,
    /// Running caps hold at every start.
    Caps,
    /// Nothing starts while a rule forbids it.
    NoForbiddenStart,
    /// What runs and is forbidden is stopped.
    ForbiddenIsStopped,
    /// A final state stays as it is.
    FinalIsFinal,
    /// Outcomes follow from what workers met.
    JustOutcome,
    /// Commands are accepted and refused as documented.
    Commands,
    /// What is recorded as received is on disk.
    RecordedIsDurable,
    /// A completed download is published whole.
    PublishedIsComplete,
    /// Nothing is left behind once everything is over.
    NoOrphans,
    /// Whatever waits says why.
    WaitingHasReason,
    /// `explain` says what the scheduler does.
    ExplainAgrees,
    /// Groups keep their order.
    GroupOrder,
    /// Everything ends once the world turns benign, without busy waiting.
    EverythingEnds,
    /// What has fired runs as soon as everything holds.
    NoFiringLost,
    /// A completion group fires once, when it is enabled and all its members have ended, and not before.
    CompletionFiresOnce,
    /// What waits, runs and fires next is what the documentation says.
    FiringsAgree,
    /// What is cancelled, or has had its time, is gone in time.
    CancelEnds,
    /// Nothing panics.
    NoPanic,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub invariant: Invariant,
    pub detail: String,
}

impl Violation {
    pub(crate) fn new(invariant: Invariant, detail: impl Into<String>) -> Self {
        Self { invariant, detail: detail.into() }
    }
}

/// `Ok` when `holds`.
pub(crate) fn ensure(
    holds: bool,
    invariant: Invariant,
    detail: impl FnOnce() -> String,
) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(Violation::new(invariant, detail())) }
}
