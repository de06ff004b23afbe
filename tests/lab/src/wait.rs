//! Waiting for a level with a deadline, in place of sleeping for a guess.

use std::time::{Duration, Instant};

/// How often a condition that cannot be waited for is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Returns the first `Some` of `condition`; panics with `what` when the deadline passes first.
#[track_caller]
pub fn wait_until<T>(what: &str, deadline: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + deadline;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < end, "{what} did not come true within {deadline:?}");
        std::thread::sleep(LOOK_AGAIN);
    }
}
