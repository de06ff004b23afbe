//! Asks the machine: network, power, sessions, clock, time zone, disks, paths, peer identity. One file for each source; all of
//! them are told of changes and none looks by itself.

mod accounts;
mod activity;
mod bluetooth;
mod bus;
pub mod clock;
mod console;
pub mod data_plan;
pub mod devices;
pub mod disk;
mod facts;
mod folder;
mod inhibit;
mod kernel;
mod location;
mod login;
mod modem;
pub mod mounts;
pub mod network;
mod network_manager;
mod networkd;
pub mod notification;
pub mod packages;
pub mod peer;
mod power;
mod pressure;
mod support;
pub mod time_zone;
mod uevent;
mod unified_push;
pub mod wants;
mod watch;
pub mod ways;
mod work_cost;

pub use bluetooth::whole_uuid;
pub use inhibit::{AwakeLock, Inhibitors};
pub use support::{Support, SupportTable};
pub use watch::{Delay, HostChange, HostWatch, Machine};
