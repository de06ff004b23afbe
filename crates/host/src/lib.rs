//! Asks the machine: network, clock and time zone, disks, peer identity.

pub mod clock;
pub mod disk;
pub mod folders;
pub mod mounts;
pub mod network;
pub mod peer;
pub mod zone;
