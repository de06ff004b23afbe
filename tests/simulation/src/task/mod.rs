//! The same for background tasks: registrations, firings, a machine that flaps, clocks that jump, instances that end,
//! hang and ignore what they are told, and crashes at every commit.

mod clock;
mod crash;
mod event;
mod finale;
mod job;
mod machine;
mod model;
mod shell;
mod world;

pub use event::{TaskEvent, task_events};
pub use world::TaskSabotage;
pub(crate) use world::TaskWorld;
