//! What follows from a failed attempt: again, wait for the machine, wait for the caller, or give up. Pure tables.

use longhaul_contract::{Blocker, Cause, Failure, OperationId, Remedy, WebErrorStatus};

use crate::policy::Policy;

/// Longest wait a server may impose (Retry-After, RFC 9110 section 10.2.3).
const RETRY_AFTER_MS_MAX: u64 = 3_600_000;
/// Growth of the delay from one fruitless attempt to the next.
const GROWTH: u64 = 4;
const BLOCKED_DELAY_MS_MAX: u64 = 300_000;
/// A 404 in the middle of a download is tried again this often before the caller is asked: caches and load
/// balancers answer so while a file moves.
const NOT_FOUND_RETRIES: u8 = 2;

/// What an operation has behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Record {
    pub(crate) fruitless_attempts: u8,
    /// Starts from byte 0 because the source changed.
    pub(crate) stale_restarts: u8,
    /// Times in a row the machine stood in the way.
    pub(crate) blocked_rounds: u8,
    pub(crate) has_bytes: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Error,
    NeedsInput,
    Backoff {
        delay_ms: u64,
    },
    Blocked {
        on: Blocker,
        delay_ms: u64,
    },
    /// Back to the queue, where the network's verdict holds it.
    Queue,
}

/// What the decision looks at beside the failure itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Situation<'a> {
    pub(crate) policy: &'a Policy,
    pub(crate) recoverable: &'a [WebErrorStatus],
    pub(crate) id: OperationId,
    pub(crate) attempt: u32,
    /// The network's own verdict does not let this operation run now.
    pub(crate) is_network_denied: bool,
    /// The machine says that the Internet cannot be reached, and the origin is not this machine.
    pub(crate) is_disconnected: bool,
    /// Somebody wants to be asked when it needs input.
    pub(crate) asks_for_input: bool,
}

/// Decides, and writes the outcome into `record`.
pub(crate) fn decide(
    situation: &Situation<'_>,
    record: &mut Record,
    failure: &Failure,
    has_progressed: bool,
) -> Step {
    if has_progressed {
        record.fruitless_attempts = 0;
        record.blocked_rounds = 0;
        record.has_bytes = true;
    }
    if situation.recoverable.contains(&failure.web_error_status) {
        return Step::NeedsInput;
    }
    match failure.remedy {
        Remedy::Permanent => Step::Error,
        Remedy::NeedsInput => needs_input(situation, record, failure),
        Remedy::Blocked { on } => blocked(situation, record, on),
        Remedy::Stale => {
            record.has_bytes = false;
            record.stale_restarts = record.stale_restarts.saturating_add(1);
            if record.stale_restarts > situation.policy.retries_max {
                return Step::Error;
            }
            again(situation, record, failure)
        }
        Remedy::Transient if situation.is_network_denied => Step::Queue,
        Remedy::Transient if situation.is_disconnected => blocked(situation, record, Blocker::Network),
        // A connection that brought bytes and broke is not fruitless: it goes on soon and counts nothing.
        Remedy::Transient if has_progressed => {
            Step::Backoff { delay_ms: delay_ms(situation, 1, failure.retry_after_seconds) }
        }
        Remedy::Transient => again(situation, record, failure),
    }
}

fn again(situation: &Situation<'_>, record: &mut Record, failure: &Failure) -> Step {
    record.fruitless_attempts = record.fruitless_attempts.saturating_add(1);
    if record.fruitless_attempts > situation.policy.retries_max {
        return Step::Error;
    }
    Step::Backoff { delay_ms: delay_ms(situation, record.fruitless_attempts, failure.retry_after_seconds) }
}

fn needs_input(situation: &Situation<'_>, record: &mut Record, failure: &Failure) -> Step {
    // Whether to do it again is for the caller to say, though no byte is kept [W 1.3].
    if failure.cause == Cause::Unconfirmed {
        return Step::NeedsInput;
    }
    if !record.has_bytes && !situation.asks_for_input {
        return Step::Error;
    }
    if failure.http_status == Some(404) && record.fruitless_attempts < NOT_FOUND_RETRIES {
        record.fruitless_attempts += 1;
        return Step::Backoff {
            delay_ms: delay_ms(situation, record.fruitless_attempts, failure.retry_after_seconds),
        };
    }
    Step::NeedsInput
}

fn blocked(situation: &Situation<'_>, record: &mut Record, on: Blocker) -> Step {
    if matches!(on, Blocker::Network | Blocker::Portal) && situation.is_network_denied {
        return Step::Queue;
    }
    let base = match on {
        Blocker::Network | Blocker::Portal => situation.policy.retry_delay_min_ms,
        Blocker::DiskSpace | Blocker::Folder | Blocker::ReadOnly | Blocker::Resources | Blocker::Store => {
            situation.policy.blocked_delay_ms
        }
    };
    let max = BLOCKED_DELAY_MS_MAX.max(base);
    let delay_ms = base.saturating_mul(1 << record.blocked_rounds.min(16)).min(max);
    record.blocked_rounds = record.blocked_rounds.saturating_add(1);
    Step::Blocked { on, delay_ms: jittered(situation, delay_ms) }
}

/// Exponential from the least to the most delay, and never before the server's own wish.
fn delay_ms(situation: &Situation<'_>, round: u8, retry_after_seconds: Option<u32>) -> u64 {
    let grown = GROWTH
        .checked_pow(u32::from(round.saturating_sub(1)))
        .and_then(|factor| factor.checked_mul(situation.policy.retry_delay_min_ms))
        .unwrap_or(u64::MAX)
        .min(situation.policy.retry_delay_max_ms);
    let asked = retry_after_seconds.map_or(0, |seconds| u64::from(seconds) * 1000).min(RETRY_AFTER_MS_MAX);
    jittered(situation, grown).max(asked)
}

/// Between half and all of `delay_ms`, the same for the same attempt of the same operation.
fn jittered(situation: &Situation<'_>, delay_ms: u64) -> u64 {
    let half = delay_ms / 2;
    half + mix(situation.id, situation.attempt) % (delay_ms - half + 1)
}

/// FNV-1a with a final avalanche (as in MurmurHash3), so that neighbouring attempts do not move together.
fn mix(id: OperationId, attempt: u32) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in id.as_bytes().iter().copied().chain(attempt.to_le_bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ (hash >> 33)
}

/// Whether the cause lies in the path to the server, so that a better network is reason to try at once.
pub(crate) fn is_of_the_network(failure: &Failure) -> bool {
    matches!(
        failure.cause,
        Cause::NameNotResolved
            | Cause::CannotConnect
            | Cause::ConnectTimeout
            | Cause::ResponseTimeout
            | Cause::Stalled
            | Cause::ConnectionReset
            | Cause::ConnectionClosed
            | Cause::Truncated
            | Cause::CaptivePortal
            | Cause::NoNetwork
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(remedy: Remedy, status: WebErrorStatus) -> Failure {
        let http = status.number();
        Failure {
            remedy,
            cause: if http >= 300 { Cause::HttpStatus } else { Cause::ConnectionReset },
            web_error_status: status,
            http_status: (http >= 300).then_some(http),
            detail: "test".to_owned(),
            retry_after_seconds: None,
        }
    }

    fn situation(policy: &Policy) -> Situation<'_> {
        Situation {
            policy,
            recoverable: &[],
            id: OperationId::from_bytes([7; 16]),
            attempt: 1,
            is_network_denied: false,
            is_disconnected: false,
            asks_for_input: false,
        }
    }

    #[test]
    fn three_fruitless_retries_and_then_the_error() {
        let policy = Policy::default();
        let reset = failure(Remedy::Transient, WebErrorStatus::ConnectionReset);
        let mut record = Record::default();
        let mut delays = Vec::new();
        for _ in 0..3 {
            match decide(&situation(&policy), &mut record, &reset, false) {
                Step::Backoff { delay_ms } => delays.push(delay_ms),
                other => panic!("{other:?}"),
            }
        }
        assert!(delays.iter().zip([1_000, 4_000, 16_000]).all(|(got, most)| (most / 2..=most).contains(got)));
        assert_eq!(decide(&situation(&policy), &mut record, &reset, false), Step::Error);
        // Progress begins the count again.
        assert!(matches!(decide(&situation(&policy), &mut record, &reset, true), Step::Backoff { .. }));
        assert_eq!(record.fruitless_attempts, 0);
        assert!(record.has_bytes);
    }

    #[test]
    fn the_jitter_differs_by_operation_and_attempt_and_not_by_run() {
        let policy = Policy::default();
        let delays: std::collections::BTreeSet<u64> =
            (0..50).map(|attempt| jittered(&Situation { attempt, ..situation(&policy) }, 100_000)).collect();
        assert!(delays.len() > 40);
        assert_eq!(jittered(&situation(&policy), 100_000), jittered(&situation(&policy), 100_000));
    }

    #[test]
    fn the_server_may_ask_for_more_time_but_not_for_ever() {
        let policy = Policy::default();
        let mut busy = failure(Remedy::Transient, WebErrorStatus::ServiceUnavailable);
        for (asked, expected) in [(120, 120_000), (1_000_000, RETRY_AFTER_MS_MAX)] {
            busy.retry_after_seconds = Some(asked);
            let step = decide(&situation(&policy), &mut Record::default(), &busy, false);
            assert_eq!(step, Step::Backoff { delay_ms: expected });
        }
    }

    #[test]
    fn remedies_decide() {
        let policy = Policy::default();
        let listed = [WebErrorStatus::Forbidden, WebErrorStatus::ConnectionReset];
        let with_bytes = Record { has_bytes: true, ..Record::default() };
        let none = Record::default();
        let forbidden = failure(Remedy::NeedsInput, WebErrorStatus::Forbidden);
        let reset = failure(Remedy::Transient, WebErrorStatus::ConnectionReset);
        let gone = failure(Remedy::NeedsInput, WebErrorStatus::Gone);
        let permanent = failure(Remedy::Permanent, WebErrorStatus::Unknown);
        for (name, recoverable, record, failure, expected) in [
            ("permanent", &[][..], with_bytes, &permanent, Step::Error),
            ("expired link with bytes", &[], with_bytes, &forbidden, Step::NeedsInput),
            ("expired link without bytes", &[], none, &forbidden, Step::Error),
            ("gone with bytes", &[], with_bytes, &gone, Step::NeedsInput),
            ("listed without bytes", &listed, none, &forbidden, Step::NeedsInput),
            ("listed although transient", &listed, none, &reset, Step::NeedsInput),
        ] {
            let mut record = record;
            let step = decide(&Situation { recoverable, ..situation(&policy) }, &mut record, failure, false);
            assert_eq!(step, expected, "{name}");
        }
    }

    #[test]
    fn who_wants_to_be_asked_is_asked_before_the_first_byte_too() {
        let policy = Policy::default();
        let asking = Situation { asks_for_input: true, ..situation(&policy) };
        let forbidden = failure(Remedy::NeedsInput, WebErrorStatus::Forbidden);
        assert_eq!(decide(&asking, &mut Record::default(), &forbidden, false), Step::NeedsInput);
        let permanent = failure(Remedy::Permanent, WebErrorStatus::Unknown);
        assert_eq!(decide(&asking, &mut Record::default(), &permanent, false), Step::Error);
    }

    #[test]
    fn a_404_in_the_middle_is_tried_twice_more() {
        let policy = Policy::default();
        let mut record = Record { has_bytes: true, ..Record::default() };
        let missing = failure(Remedy::NeedsInput, WebErrorStatus::NotFound);
        for _ in 0..2 {
            assert!(matches!(
                decide(&situation(&policy), &mut record, &missing, false),
                Step::Backoff { .. }
            ));
        }
        assert_eq!(decide(&situation(&policy), &mut record, &missing, false), Step::NeedsInput);
    }

    #[test]
    fn a_source_that_keeps_changing_is_given_up_even_when_bytes_come() {
        let policy = Policy::default();
        let mut record = Record::default();
        let stale = failure(Remedy::Stale, WebErrorStatus::Unknown);
        for _ in 0..3 {
            assert!(matches!(decide(&situation(&policy), &mut record, &stale, true), Step::Backoff { .. }));
            assert!(!record.has_bytes);
        }
        assert_eq!(decide(&situation(&policy), &mut record, &stale, true), Step::Error);
    }

    #[test]
    fn what_the_machine_blocks_counts_nothing_and_grows_slower() {
        let policy = Policy::default();
        let mut record = Record::default();
        let full = failure(Remedy::Blocked { on: Blocker::DiskSpace }, WebErrorStatus::Unknown);
        let mut last = 0;
        for _ in 0..100 {
            match decide(&situation(&policy), &mut record, &full, false) {
                Step::Blocked { on: Blocker::DiskSpace, delay_ms } => last = delay_ms,
                other => panic!("{other:?}"),
            }
        }
        assert!((150_000..=300_000).contains(&last));
        assert_eq!(record.fruitless_attempts, 0);
    }

    #[test]
    fn without_a_network_no_attempt_is_consumed() {
        let policy = Policy::default();
        let mut record = Record::default();
        let reset = failure(Remedy::Transient, WebErrorStatus::ConnectionReset);
        let denied = Situation { is_network_denied: true, is_disconnected: true, ..situation(&policy) };
        assert_eq!(decide(&denied, &mut record, &reset, false), Step::Queue);
        let local_only = Situation { is_disconnected: true, ..situation(&policy) };
        assert!(matches!(
            decide(&local_only, &mut record, &reset, false),
            Step::Blocked { on: Blocker::Network, .. }
        ));
        assert_eq!(record.fruitless_attempts, 0);
    }
}
