//! Asks the machine: network, clock, disks, paths, peer identity.

pub mod clock;
pub mod disk;
pub mod folders;
pub mod mounts;
pub mod network;
pub mod peer;
