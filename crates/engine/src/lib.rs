//! What happens next, and why: the deciding core of Longhaul.
//!
//! Wishes (what callers ask) and facts (what workers and the host saw) go in; a [`Plan`] of changes to keep,
//! effects to bring about and operations to tell watchers about comes out. Deliberately absent: clocks, disks,
//! networks, randomness and async. `now` is an argument, and the only timer question is [`Engine::next_wake`].

pub mod clock;
pub mod engine;
pub mod fact;
pub mod plan;
pub mod policy;
pub mod row;
pub mod wish;

pub use clock::{BootTime, Now, Wake};
pub use engine::{Engine, Live};
pub use fact::{AttemptEnd, Fact, Finished};
pub use plan::{Change, Effect, Plan, StopMode};
pub use policy::Policy;
pub use row::{Origin, Row, StoredPhase, TargetKey};
pub use wish::{Command, NewOperation, Refusal, Wish};
