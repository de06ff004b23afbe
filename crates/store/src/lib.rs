//! What Longhaul remembers: load, commit changes, migrate formats.
//!
//! Knows the database and not the meaning of a state. One owner per state folder, one writer thread, one
//! transaction for whatever has gathered while the last one was syncing.

pub mod contract_types;
mod matching;
mod memory;
mod wait;

pub use contract_types::*;
pub use memory::{MemoryReader, MemoryStore};
