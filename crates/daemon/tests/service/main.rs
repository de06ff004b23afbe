//! The service in this process: a state folder, a Unix socket and everything between them.

mod access;
mod activations;
mod apps;
mod commit;
mod completion;
mod content;
mod contract;
mod control;
mod downloads;
mod events;
mod identity;
mod problems;
mod push;
mod rig;
mod starting;
mod task_instances;
mod task_output;
mod task_problems;
mod tasks;
