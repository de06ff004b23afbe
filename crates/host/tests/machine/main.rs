//! The whole watch against daemons on a bus of the test's own and files below a root of its own: each source with its
//! values, its changes, its absence, and its coming back.

mod activity;
mod bluetooth;
mod consoles;
mod idle;
mod network;
mod power;
mod pressure;
mod rig;
mod sessions;
mod support;
mod the_bus;
mod zone;
