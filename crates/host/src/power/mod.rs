//! Where the power comes from, and whether it is to be saved: UPower and power-profiles-daemon, or the kernel's own
//! files where they are missing.

mod profiles;
mod supplies;
mod upower;

pub(crate) use profiles::Profiles;
pub(crate) use supplies::SupplyWatch;
pub(crate) use upower::Upower;

/// Names of the sources in `GET /host`.
pub(crate) const UPOWER: &str = "UPower";
pub(crate) const SUPPLIES: &str = "power_supply";
pub(crate) const PROFILES: &str = "power-profiles-daemon";
