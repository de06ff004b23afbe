//! Programs that end well, badly, late and not at all, run for real.
//!
//! Everything runs as whoever runs the tests, and, if that is root, once more as a user without rights
//! ([`unprivileged`]).

mod bus;
mod cancel;
mod delegated;
mod ends;
mod output;
mod sandbox;
mod service;
mod surroundings;
mod unprivileged;
mod world;
