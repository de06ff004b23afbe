//! Devices: whether one is there, by the kernel's own tree (sysfs(5)), and when it comes or goes, by the kernel's own events.
//! Deliberately absent: opening them, and what udev makes of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::uevent::Uevent;

/// Which device is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceId {
    /// `usb:VENDOR:PRODUCT` or `usb:VENDOR:PRODUCT:SERIAL`, as lsusb(8) shows them.
    Usb { vendor: u16, product: u16, serial: Option<String> },
    /// `SUBSYSTEM:NAME`, as in `/sys/class` or `/sys/bus`.
    Named { subsystem: String, name: String },
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no device: write usb:VENDOR:PRODUCT, usb:VENDOR:PRODUCT:SERIAL, or SUBSYSTEM:NAME such as block:sdb"
)]
pub struct NoDeviceId(String);

impl FromStr for DeviceId {
    type Err = NoDeviceId;

    fn from_str(text: &str) -> Result<Self, NoDeviceId> {
        let refuse = || NoDeviceId(text.to_owned());
        let (subsystem, name) = text.split_once(':').ok_or_else(refuse)?;
        let is_word =
            |word: &str| !word.is_empty() && !word.contains(['/', '\0']) && word != "." && word != "..";
        if !is_word(subsystem) || !is_word(name) {
            return Err(refuse());
        }
        if subsystem == "usb"
            && let Some((vendor, rest)) = name.split_once(':')
        {
            let (product, serial) =
                rest.split_once(':').map_or((rest, None), |(product, serial)| (product, Some(serial)));
            let number = |text: &str| match text.len() {
                4 => u16::from_str_radix(text, 16).map_err(|_| refuse()),
                _ => Err(refuse()),
            };
            let serial = serial.map(str::to_owned);
            return Ok(Self::Usb { vendor: number(vendor)?, product: number(product)?, serial });
        }
        Ok(Self::Named { subsystem: subsystem.to_owned(), name: name.to_owned() })
    }
}

/// A device that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// In the kernel's tree.
    pub path: PathBuf,
    /// By which it is opened, if it has one.
    pub node: Option<PathBuf>,
}

impl DeviceId {
    /// Looks for it on the machine whose files begin at `root`; may block for a moment.
    #[must_use]
    pub fn find(&self, root: &Path) -> Option<Device> {
        let path = match self {
            Self::Usb { vendor, product, serial } => {
                let entries = fs::read_dir(root.join("sys/bus/usb/devices")).ok()?;
                entries.filter_map(Result::ok).map(|entry| entry.path()).find(|path| {
                    let is_number = |name, wanted| hexadecimal(path, name) == Some(wanted);
                    let is_serial = |wanted: &String| text(path, "serial").as_ref() == Some(wanted);
                    is_number("idVendor", *vendor)
                        && is_number("idProduct", *product)
                        && serial.as_ref().is_none_or(is_serial)
                })?
            }
            Self::Named { subsystem, name } => {
                let sys = root.join("sys");
                [sys.join("class").join(subsystem), sys.join("bus").join(subsystem).join("devices")]
                    .map(|folder| folder.join(name))
                    .into_iter()
                    .find(|path| path.exists())?
            }
        };
        let path = path.canonicalize().unwrap_or(path);
        let properties = fs::read_to_string(path.join("uevent")).unwrap_or_default();
        let node = properties.lines().find_map(|line| line.strip_prefix("DEVNAME="));
        Some(Device { node: node.map(|node| root.join("dev").join(node)), path })
    }

    /// Whether the event may be about it. Of USB devices an event does not tell the serial number.
    #[must_use]
    pub fn is_concerned(&self, event: &DeviceEvent) -> bool {
        match self {
            Self::Usb { vendor, product, .. } => event.usb == Some((*vendor, *product)),
            Self::Named { subsystem, name } => event.subsystem == *subsystem && event.name == *name,
        }
    }
}

fn text(device: &Path, file: &str) -> Option<String> {
    fs::read_to_string(device.join(file)).ok().map(|text| text.trim().to_owned())
}

fn hexadecimal(device: &Path, file: &str) -> Option<u16> {
    u16::from_str_radix(&text(device, file)?, 16).ok()
}

/// A device has come or gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceEvent {
    pub has_come: bool,
    subsystem: String,
    name: String,
    /// Vendor and product of a whole USB device.
    usb: Option<(u16, u16)>,
}

impl DeviceEvent {
    /// Nothing of what else may become of a device.
    pub(crate) fn of(event: Uevent) -> Option<Self> {
        let has_come = match event.action.as_str() {
            "add" => true,
            "remove" => false,
            _ => return None,
        };
        let usb = (event.subsystem == "usb" && event.kind == "usb_device").then(|| product(&event.product));
        let name = event.path.rsplit('/').next().unwrap_or_default().to_owned();
        Some(Self { has_come, subsystem: event.subsystem, name, usb: usb.flatten() })
    }
}

/// `46d/c52b/1211`.
fn product(text: &str) -> Option<(u16, u16)> {
    let mut numbers = text.split('/').map(|part| u16::from_str_radix(part, 16).ok());
    Some((numbers.next()??, numbers.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> DeviceId {
        text.parse().unwrap()
    }

    #[test]
    fn ids_are_read() {
        assert_eq!(id("usb:046d:C52B"), DeviceId::Usb { vendor: 0x46d, product: 0xc52b, serial: None });
        let with_serial = id("usb:046d:c52b:A:1");
        assert_eq!(
            with_serial,
            DeviceId::Usb { vendor: 0x46d, product: 0xc52b, serial: Some("A:1".to_owned()) }
        );
        assert_eq!(id("usb:1-1.4"), DeviceId::Named { subsystem: "usb".into(), name: "1-1.4".into() });
        for wrong in ["", "usb", "usb:", ":sda", "usb:46d:c52b", "usb:046d:zzzz", "block:../sda", "block:.."]
        {
            assert!(wrong.parse::<DeviceId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn devices_are_found_in_the_tree() {
        let root = tempfile::tempdir().unwrap();
        let tree = root.path().join("sys/bus/usb/devices/1-1");
        fs::create_dir_all(&tree).unwrap();
        for (file, content) in [
            ("idVendor", "046d\n"),
            ("idProduct", "c52b\n"),
            ("serial", "A1\n"),
            ("uevent", "MAJOR=189\nDEVNAME=bus/usb/001/004\n"),
        ] {
            fs::write(tree.join(file), content).unwrap();
        }
        let found = id("usb:046d:c52b").find(root.path()).unwrap();
        assert_eq!(found.node, Some(root.path().join("dev/bus/usb/001/004")));
        assert_eq!(id("usb:046d:c52b:A1").find(root.path()), Some(found.clone()));
        assert_eq!(id("usb:1-1").find(root.path()), Some(found));
        for missing in ["usb:046d:c52c", "usb:046d:c52b:A2", "block:sda"] {
            assert_eq!(id(missing).find(root.path()), None, "{missing}");
        }
        assert!(id("net:lo").find(Path::new("/")).is_some_and(|device| device.node.is_none()));
    }

    #[test]
    fn events_are_about_whole_devices() {
        let event = |action: &str, kind: &str, product: &str| {
            DeviceEvent::of(Uevent {
                action: action.to_owned(),
                subsystem: "usb".to_owned(),
                path: "/devices/pci0000:00/usb1/1-1".to_owned(),
                kind: kind.to_owned(),
                product: product.to_owned(),
            })
        };
        let come = event("add", "usb_device", "46d/c52b/1211").unwrap();
        assert!(come.has_come && id("usb:046d:c52b:A1").is_concerned(&come));
        assert!(id("usb:1-1").is_concerned(&come) && !id("usb:046d:c52c").is_concerned(&come));
        let interface = event("add", "usb_interface", "46d/c52b/1211").unwrap();
        assert!(!id("usb:046d:c52b").is_concerned(&interface));
        assert!(event("change", "usb_device", "46d/c52b/1211").is_none());
        assert!(!event("remove", "usb_device", "").unwrap().has_come);
    }
}
