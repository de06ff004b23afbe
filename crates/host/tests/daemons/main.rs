//! The watch against the real daemons: NetworkManager in a network namespace, logind in a mount namespace, UPower on
//! devices that only it sees. Nothing of the machine itself is changed. Needs root.

#[path = "../machine/rig.rs"]
mod rig;

mod geoclue;
mod logind;
mod modem_manager;
mod network_manager;
mod networkd;
mod upower;
