//! Asks the machine: network, clock, paths, peer identity.
