//! What a device says of itself, as BlueZ tells it (org.bluez.Device1), and which of that a filter lets through
//! (BluetoothLEAdvertisementFilter).
//!
//! BlueZ takes advertisements apart; the sections that a filter names by their type are put together again here
//! (Core Specification Supplement, part A).

use std::collections::HashMap;

use longhaul_contract::Timestamp;
use serde_json::{Value, json};
use zbus::OwnedVariant;

use crate::bus::Properties;

/// The part of every Bluetooth UUID that short ones leave out.
const BASE: &str = "-0000-1000-8000-00805f9b34fb";

const MANUFACTURER: u8 = 0xff;

/// Which advertisements are wanted; exactly one pattern, as Windows has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdvertisementFilter {
    /// A section of this type with these bytes at this place.
    Section { data_type: u8, offset: usize, data: Vec<u8> },
    /// It lists the service or brings data of it; UUID in lower case, of 128 bits.
    Service { uuid: String },
}

impl AdvertisementFilter {
    /// Data of a manufacturer, by the company's number, beginning so.
    #[must_use]
    pub fn manufacturer(company: u16, prefix: &[u8]) -> Self {
        let data = [company.to_le_bytes().as_slice(), prefix].concat();
        Self::Section { data_type: MANUFACTURER, offset: 0, data }
    }
}

/// A UUID of 16 or 32 bits, or a whole one, in lower case and whole.
#[must_use]
pub fn whole_uuid(text: &str) -> String {
    let text = text.to_ascii_lowercase();
    if text.len() > 8 { text } else { format!("{text:0>8}{BASE}") }
}

/// The newest that is known of one device.
#[derive(Debug)]
pub(crate) struct Advertisement {
    pub(crate) address: String,
    pub(crate) strength: Option<i16>,
    address_type: String,
    name: Option<String>,
    uuids: Vec<String>,
    manufacturers: HashMap<u16, Vec<u8>>,
    services: HashMap<String, Vec<u8>>,
    /// Sections that BlueZ hands on as they are.
    others: HashMap<u8, Vec<u8>>,
    transmit_power: Option<i16>,
}

/// A dictionary of byte arrays.
fn bytes<K: std::hash::Hash + Eq>(properties: &Properties, name: &str) -> HashMap<K, Vec<u8>>
where
    HashMap<K, OwnedVariant>: TryFrom<OwnedVariant>,
{
    let found: HashMap<K, OwnedVariant> = properties.get(name).unwrap_or_default();
    found.into_iter().filter_map(|(key, value)| Some((key, Vec::<u8>::try_from(value).ok()?))).collect()
}

impl Advertisement {
    pub(crate) fn of(device: &Properties) -> Option<Self> {
        Some(Self {
            address: device.get("Address")?,
            // 127: the controller does not know.
            strength: device.get::<i16>("RSSI").filter(|strength| *strength != 127),
            address_type: device.get("AddressType").unwrap_or_default(),
            name: device.get("Name"),
            uuids: device.get::<Vec<String>>("UUIDs").unwrap_or_default(),
            manufacturers: bytes(device, "ManufacturerData"),
            services: bytes(device, "ServiceData"),
            others: bytes(device, "AdvertisingData"),
            transmit_power: device.get("TxPower"),
        })
    }

    pub(crate) fn passes(&self, filter: &AdvertisementFilter) -> bool {
        match filter {
            AdvertisementFilter::Section { data_type, offset, data } => {
                let sections = self.sections(*data_type);
                sections.iter().any(|section| {
                    section.get(*offset..).is_some_and(|rest| rest.starts_with(data.as_slice()))
                })
            }
            AdvertisementFilter::Service { uuid } => {
                let mut all = self.uuids.iter().chain(self.services.keys());
                all.any(|known| known.eq_ignore_ascii_case(uuid))
            }
        }
    }

    /// The bytes of all sections of a type.
    fn sections(&self, data_type: u8) -> Vec<Vec<u8>> {
        let mut sections: Vec<Vec<u8>> = match data_type {
            MANUFACTURER => {
                let all = self.manufacturers.iter();
                all.map(|(company, data)| [company.to_le_bytes().as_slice(), data].concat()).collect()
            }
            0x02 | 0x03 => self.listed(2),
            0x04 | 0x05 => self.listed(4),
            0x06 | 0x07 => self.listed(16),
            0x08 | 0x09 => self.name.iter().map(|name| name.clone().into_bytes()).collect(),
            0x0a => {
                let power = self.transmit_power.and_then(|power| i8::try_from(power).ok());
                power.map(|power| power.to_le_bytes().to_vec()).into_iter().collect()
            }
            0x16 => self.service_data(2),
            0x20 => self.service_data(4),
            0x21 => self.service_data(16),
            _ => Vec::new(),
        };
        sections.extend(self.others.get(&data_type).cloned());
        sections
    }

    fn listed(&self, size: usize) -> Vec<Vec<u8>> {
        self.uuids.iter().filter_map(|uuid| shortest(uuid).filter(|bytes| bytes.len() == size)).collect()
    }

    fn service_data(&self, size: usize) -> Vec<Vec<u8>> {
        let all = self.services.iter();
        all.filter_map(|(uuid, data)| {
            let uuid = shortest(uuid).filter(|bytes| bytes.len() == size)?;
            Some([uuid.as_slice(), data].concat())
        })
        .collect()
    }

    /// For the details of a task. `strength`: -127 for a device that has left.
    pub(crate) fn view(&self, strength: Option<i16>, is_in_range: bool) -> Value {
        let manufacturers: Vec<Value> = self
            .manufacturers
            .iter()
            .map(|(company, data)| json!({ "companyId": company, "data": hex::encode(data) }))
            .collect();
        let services: serde_json::Map<String, Value> =
            self.services.iter().map(|(uuid, data)| (uuid.clone(), hex::encode(data).into())).collect();
        json!({
            "address": self.address,
            "addressType": self.address_type,
            "name": self.name,
            "rawSignalStrengthInDBm": strength,
            "isInRange": is_in_range,
            "serviceUuids": self.uuids,
            "manufacturerData": manufacturers,
            "serviceData": services,
            "timestamp": Timestamp::now(),
        })
    }
}

/// A UUID as it is sent: as short as can be, and its last byte first.
fn shortest(uuid: &str) -> Option<Vec<u8>> {
    let digits: String = uuid.chars().filter(|digit| *digit != '-').collect();
    let whole = u128::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 32)?;
    if !uuid.to_ascii_lowercase().ends_with(BASE) {
        return Some(whole.to_le_bytes().to_vec());
    }
    let short = u32::try_from(whole >> 96).ok()?;
    Some(match u16::try_from(short) {
        Ok(short) => short.to_le_bytes().to_vec(),
        Err(_) => short.to_le_bytes().to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beacon() -> Advertisement {
        Advertisement {
            address: "AA:BB:CC:DD:EE:FF".to_owned(),
            strength: Some(-50),
            address_type: "random".to_owned(),
            name: Some("Thermo".to_owned()),
            uuids: vec![whole_uuid("180d"), "12345678-1234-5678-1234-56789abcdef0".to_owned()],
            manufacturers: HashMap::from([(0x004c, vec![0x02, 0x15, 0xaa])]),
            services: HashMap::from([(whole_uuid("feaa"), vec![0x10, 0x20])]),
            others: HashMap::from([(0x24, b"uri".to_vec())]),
            transmit_power: Some(-4),
        }
    }

    #[test]
    fn a_filter_is_held_against_the_sections_as_they_were_sent() {
        let section = |data_type, offset, data: &[u8]| AdvertisementFilter::Section {
            data_type,
            offset,
            data: data.to_vec(),
        };
        for (filter, passes) in [
            (AdvertisementFilter::manufacturer(0x004c, &[0x02, 0x15]), true),
            (AdvertisementFilter::manufacturer(0x004c, &[]), true),
            (AdvertisementFilter::manufacturer(0x004c, &[0x02, 0x16]), false),
            (AdvertisementFilter::manufacturer(0x004d, &[]), false),
            (section(0xff, 3, &[0x15, 0xaa]), true),
            (section(0xff, 9, &[0x15]), false),
            (section(0x03, 0, &[0x0d, 0x18]), true),
            (section(0x07, 0, &[0xf0, 0xde]), true),
            (section(0x05, 0, &[0x0d, 0x18]), false),
            (section(0x09, 0, b"Thermo"), true),
            (section(0x09, 1, b"her"), true),
            (section(0x0a, 0, &[0xfc]), true),
            (section(0x16, 0, &[0xaa, 0xfe, 0x10]), true),
            (section(0x21, 0, &[0xaa, 0xfe]), false),
            (section(0x24, 0, b"uri"), true),
            (AdvertisementFilter::Service { uuid: whole_uuid("180D") }, true),
            (AdvertisementFilter::Service { uuid: whole_uuid("feaa") }, true),
            (AdvertisementFilter::Service { uuid: whole_uuid("180f") }, false),
        ] {
            assert_eq!(beacon().passes(&filter), passes, "{filter:?}");
        }
    }

    #[test]
    fn uuids_are_as_short_as_can_be() {
        assert_eq!(shortest(&whole_uuid("180d")), Some(vec![0x0d, 0x18]));
        assert_eq!(shortest(&whole_uuid("12345678")), Some(vec![0x78, 0x56, 0x34, 0x12]));
        assert_eq!(shortest("180d"), None);
    }
}
