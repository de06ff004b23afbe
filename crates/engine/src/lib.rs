//! What happens next, and why: the deciding core of Longhaul.
//!
//! Wishes (what callers ask) and facts (what workers and the host saw) go in; a [`Plan`] of changes to keep,
//! effects to bring about and operations to tell watchers about comes out. Deliberately absent: clocks, disks,
//! networks, randomness and async. `now` is an argument, and the only timer question is [`Engine::next_wake`].

mod attempt;
pub mod clock;
mod codes;
pub mod completion;
mod cost;
mod creation;
mod download;
pub mod engine;
mod explain;
pub mod fact;
mod foreground;
mod gate;
mod group;
mod limits;
pub mod plan;
pub mod policy;
mod queue;
mod retry;
mod roster;
pub mod row;
mod rules;
mod schedule;
mod step;
pub mod task;
mod transition;
pub mod wish;

pub use clock::{BootTime, Now, Wake};
pub use completion::{CompletionRow, CompletionState, CompletionWish};
pub use engine::{Engine, Live};
pub use fact::{AttemptEnd, Fact, Finished};
pub use plan::{Change, Effect, Notified, Plan, StopMode};
pub use policy::{AccessRule, AccessRules, Policy, TaskPolicy};
pub use row::{Marks, Origin, Row, StoredPhase, TargetKey};
pub use schedule::is_time_zone;
pub use wish::{Command, NewOperation, Refusal, Wish};

#[cfg(test)]
mod tests;
