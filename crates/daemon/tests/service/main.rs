//! The service in this process: a state folder, a Unix socket and everything between them.

mod commit;
mod content;
mod contract;
mod control;
mod downloads;
mod events;
mod identity;
mod problems;
mod rig;
mod starting;
