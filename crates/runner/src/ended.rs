//! How an instance went.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The end of an instance: nothing of its tree is left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    pub outcome: Outcome,
    /// The word of the first cancellation, if there was one; also where the program ended by itself meanwhile.
    pub canceled: Option<String>,
    /// Descendants that were still there when the program itself had ended, and were killed.
    pub leftovers_killed: u32,
    /// Processes that could not be killed within some seconds (they wait in the kernel, on a dead disk for example). 0
    /// is the rule.
    pub survivors: u32,
    /// The kernel killed something of the tree because its cgroup had no memory left. Nobody tells that of a limit that each
    /// process has by itself: there, memory is refused.
    pub ran_out_of_memory: bool,
    pub usage: Usage,
    /// From the start of the program to the end of its tree.
    pub duration: Duration,
}

/// How the program itself ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    Exited {
        code: i32,
    },
    /// It died of a signal that did not come from here, or that answered a request to end.
    Signaled {
        signal: i32,
        core_dumped: bool,
    },
    /// A task on the message bus answered.
    Returned,
    /// A task on the message bus answered with an error (D-Bus specification, "Error" messages).
    Failed {
        error: String,
        message: String,
    },
    /// It was killed from here: it had not ended within the time it was given, or was not given any.
    Killed,
    /// It is gone, and nobody saw how.
    Lost {
        why: String,
    },
}

/// What the tree used, as far as its processes were waited for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    pub cpu_user: Duration,
    pub cpu_system: Duration,
    /// Largest resident set of one process, in bytes.
    pub resident_max: u64,
    /// Highest memory use of the whole tree in bytes, where a cgroup counts it.
    pub memory_peak: Option<u64>,
}

impl Ended {
    pub(crate) fn lost(why: impl Into<String>) -> Self {
        Self::bare(Outcome::Lost { why: why.into() }, 0)
    }

    /// An end of which no more is known.
    pub(crate) fn bare(outcome: Outcome, survivors: u32) -> Self {
        Self {
            outcome,
            canceled: None,
            leftovers_killed: 0,
            survivors,
            ran_out_of_memory: false,
            usage: Usage::default(),
            duration: Duration::ZERO,
        }
    }

    /// Exited with code 0 or answered without an error, and was not asked to end before.
    #[must_use]
    pub fn is_success(&self) -> bool {
        matches!(self.outcome, Outcome::Exited { code: 0 } | Outcome::Returned) && self.canceled.is_none()
    }
}
