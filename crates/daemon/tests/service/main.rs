//! The service in this process: a state folder, a Unix socket and everything between them.

mod downloads;
mod rig;
