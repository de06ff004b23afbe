//! What Longhaul remembers: load, commit changes, migrate formats.
//!
//! Knows the database and not the meaning of a state. One owner per state folder, one writer thread, one
//! transaction for whatever has gathered while the last one was syncing.

pub mod contract_types;
mod matching;
mod memory;
mod sqlite;
mod wait;
mod writer;

pub use contract_types::*;
pub use memory::{MemoryReader, MemoryStore};
pub use sqlite::{Keys, Opened, PreparedWrites, SqliteReaders, SqliteStore, open, rotate_key};
pub use writer::{Acknowledgement, Writer};
