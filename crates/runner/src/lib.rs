//! Runs the code of one task instance and tells how it went.
//!
//! Knows processes, pipes, cgroups, sandboxes and the way from a polite request to end to the death of the whole tree.
//! Deliberately absent: why something runs, what limits are right, queues, triggers, conditions, retries, and any
//! knowledge of other instances. Each is told in a [`Launch`], and a [`Running`] tells back what became of it.
//!
//! Three processes take part. The service sends a launch to its *launcher*, a small program without threads that it
//! started from its own binary ([`launcher::main_if_asked`]). The launcher forks a *supervisor* for the instance, which
//! confines and starts the task, is the reaper of everything that descends from it, and ends when nothing is left.
//!
//! A task can also be a program on the message bus ([`bus`]); the handle is the same.

pub mod account;
pub mod bus;
pub mod cgroup;
pub mod component;
mod delegated;
pub mod ended;
pub mod enforcement;
pub mod environment;
pub mod launch;
pub mod launcher;
mod line;
pub mod output;
pub mod runner;
pub mod running;
mod watch;
mod wire;

pub use account::{Account, AccountError};
pub use bus::{Bus, BusLaunch};
pub use component::Component;
pub use ended::{Ended, Outcome, Usage};
pub use enforcement::{Enforced, Enforcement, Limit, Means, NotEnforced};
pub use launch::{Access, Grant, Launch, Leftovers, Limits, Network, ProcessView, Sandbox, Unenforceable};
pub use output::{Excerpt, Output, OutputSize, Piece, Stream};
pub use runner::{Runner, RunnerError, Settings, StartError};
pub use running::{LeftoversOrder, Running};
