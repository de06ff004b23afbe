//! The kernel's own files about mains and batteries (/sys/class/power_supply), read again whenever the kernel says that
//! one of them changed.
//!
//! A machine without a battery runs on mains, whatever else it tells.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use longhaul_contract::{BatteryStatus, Power};

use crate::uevent::UeventWatch;

/// Below the root.
const FOLDER: &str = "sys/class/power_supply";
const SUBSYSTEM: &str = "power_supply";

#[derive(Debug)]
pub(crate) struct SupplyWatch {
    folder: PathBuf,
    events: UeventWatch,
}

impl SupplyWatch {
    pub(crate) fn open(root: &Path) -> io::Result<Self> {
        Ok(Self { folder: root.join(FOLDER), events: UeventWatch::open()? })
    }

    pub(crate) fn look(&self) -> io::Result<Power> {
        read(&self.folder)
    }

    /// Waits until some supply changed.
    pub(crate) async fn changed(&mut self) -> io::Result<()> {
        loop {
            match self.events.next().await? {
                Some(event) if event.subsystem != SUBSYSTEM => {}
                // It is about a supply, or some events were lost.
                _ => return Ok(()),
            }
        }
    }
}

/// Reads the folder; one that is missing means a kernel or a container that knows no supplies.
fn read(folder: &Path) -> io::Result<Power> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries.collect::<io::Result<Vec<_>>>()?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    let mut mains = Vec::new();
    let mut batteries = Vec::new();
    for entry in entries {
        let text = |name: &str| {
            fs::read_to_string(entry.path().join(name)).map(|text| text.trim().to_owned()).unwrap_or_default()
        };
        match text("type").as_str() {
            // A mouse has a battery too.
            "Battery" if text("scope") != "Device" && text("present") != "0" => {
                batteries.push((text("status"), text("capacity").parse::<u32>().ok()));
            }
            "Mains" | "USB" | "Wireless" | "UPS" if text("scope") != "Device" => {
                mains.push(text("online") == "1");
            }
            _ => {}
        }
    }
    if batteries.is_empty() {
        return Ok(Power { is_external: true, battery: BatteryStatus::NotPresent, percent: None });
    }
    let is_any = |wanted: &str| batteries.iter().any(|(status, _)| status == wanted);
    let battery = if is_any("Discharging") {
        BatteryStatus::Discharging
    } else if is_any("Charging") {
        BatteryStatus::Charging
    } else {
        BatteryStatus::Idle
    };
    let is_external = mains.contains(&true) || (mains.is_empty() && battery != BatteryStatus::Discharging);
    let known: Vec<u32> = batteries.iter().filter_map(|(_, charge)| *charge).collect();
    let mean = u32::try_from(known.len()).ok().and_then(|count| known.iter().sum::<u32>().checked_div(count));
    Ok(Power { is_external, battery, percent: mean.and_then(|mean| u8::try_from(mean.min(100)).ok()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with one entry for each `(name, "file=content …")`.
    fn machine(supplies: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, files) in supplies {
            let supply = folder.path().join(name);
            fs::create_dir(&supply).unwrap();
            for (file, content) in files.split(' ').filter_map(|pair| pair.split_once('=')) {
                fs::write(supply.join(file), format!("{content}\n")).unwrap();
            }
        }
        folder
    }

    fn power(is_external: bool, battery: BatteryStatus, percent: Option<u8>) -> Power {
        Power { is_external, battery, percent }
    }

    #[test]
    fn supplies_together_are_one_power() {
        use BatteryStatus::{Charging, Discharging, Idle, NotPresent};
        let full = "type=Battery present=1 scope=System status=Full capacity=100";
        let cases: [(&[(&str, &str)], Power); 8] = [
            (&[], power(true, NotPresent, None)),
            (&[("AC", "type=Mains online=1")], power(true, NotPresent, None)),
            (&[("AC", "type=Mains online=1"), ("BAT0", full)], power(true, Idle, Some(100))),
            (
                &[("AC", "type=Mains online=0"), ("BAT0", "type=Battery status=Discharging capacity=41")],
                power(false, Discharging, Some(41)),
            ),
            (
                &[("USB", "type=USB online=1"), ("BAT0", "type=Battery status=Charging capacity=7")],
                power(true, Charging, Some(7)),
            ),
            (
                &[
                    ("AC", "type=Mains online=0"),
                    ("BAT0", full),
                    ("BAT1", "type=Battery status=Discharging capacity=50"),
                ],
                power(false, Discharging, Some(75)),
            ),
            (&[("BAT0", "type=Battery status=Discharging capacity=50")], power(false, Discharging, Some(50))),
            (
                &[
                    ("hid", "type=Battery scope=Device status=Discharging capacity=5"),
                    ("BAT1", "type=Battery present=0"),
                ],
                power(true, NotPresent, None),
            ),
        ];
        for (supplies, expected) in cases {
            assert_eq!(read(machine(supplies).path()).unwrap(), expected, "{supplies:?}");
        }
    }

    #[test]
    fn a_kernel_without_supplies_runs_on_mains() {
        let nothing = tempfile::tempdir().unwrap();
        let found = read(&nothing.path().join("none")).unwrap();
        assert_eq!(found, power(true, BatteryStatus::NotPresent, None));
    }
}
