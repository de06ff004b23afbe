//! The client against a service that answers as scripted.

mod calls;
mod scripted;
mod task_host;
mod tasks;
mod watch;
