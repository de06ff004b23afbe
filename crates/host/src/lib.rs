//! Asks the machine: network, clock, paths, peer identity.

pub mod clock;
pub mod network;
pub mod peer;
