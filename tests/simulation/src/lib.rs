//! A seeded world around the real engine and a store with crash semantics.
//!
//! Everything a seed leads to is a list of events: wishes, what workers meet, host changes, clock jumps, commits
//! that fail, power cuts. A reference model that shares no code with the engine follows along and says what was
//! promised and what is forbidden. Deliberately absent: real time, threads, files and sockets.

mod crash;
mod cut;
mod disk;
mod event;
mod finale;
mod model;
mod run;
mod sets;
mod shell;
mod task;
mod translate;
mod violation;
mod worker;
mod world;

pub use cut::Cut;
pub use event::{Event, events};
pub use run::{Failure, check_every_commit, check_every_task_commit, check_seed, check_task_seed, run};
pub use task::{TaskEvent, TaskSabotage, task_events};
pub use violation::{Invariant, Violation};
pub use world::Sabotage;
