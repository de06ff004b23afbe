//! What BlueZ has on the bus, kept up to date by its signals (ObjectManager and Properties).

use std::collections::HashMap;

use zbus::{Message, OwnedObjectPath, OwnedVariant};

use super::{ADAPTER, CHARACTERISTIC, DEVICE, SERVICE};
use crate::bus::Properties;

type Interfaces = HashMap<String, HashMap<String, OwnedVariant>>;

/// Of a device, whatever comes with an advertisement.
const HEARD: [&str; 4] = ["RSSI", "ManufacturerData", "ServiceData", "AdvertisingData"];

/// What a signal was about.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    /// The device at this path was heard; BlueZ may not have known it before.
    Heard {
        path: String,
        is_new: bool,
    },
    /// The characteristic at this path has this value.
    Value(String, Vec<u8>),
    /// Adapters, connections or characteristics are not as they were.
    Structure,
    Nothing,
}

/// Objects by path; each kind that is of concern is another one.
#[derive(Debug, Default)]
pub(super) struct Objects {
    pub(super) adapters: HashMap<String, Properties>,
    pub(super) devices: HashMap<String, Properties>,
    pub(super) services: HashMap<String, Properties>,
    pub(super) characteristics: HashMap<String, Properties>,
}

impl Objects {
    pub(super) fn read(managed: HashMap<OwnedObjectPath, Interfaces>) -> Self {
        let mut objects = Self::default();
        for (path, interfaces) in managed {
            objects.add(path.as_str(), interfaces);
        }
        objects
    }

    fn of(&mut self, interface: &str) -> Option<&mut HashMap<String, Properties>> {
        match interface {
            ADAPTER => Some(&mut self.adapters),
            DEVICE => Some(&mut self.devices),
            SERVICE => Some(&mut self.services),
            CHARACTERISTIC => Some(&mut self.characteristics),
            _ => None,
        }
    }

    fn add(&mut self, path: &str, interfaces: Interfaces) -> News {
        let mut news = News::Nothing;
        for (interface, properties) in interfaces {
            let is_heard = interface == DEVICE && HEARD.iter().any(|name| properties.contains_key(*name));
            if let Some(known) = self.of(&interface) {
                known.insert(path.to_owned(), properties.into());
                news = match is_heard {
                    true => News::Heard { path: path.to_owned(), is_new: true },
                    false => News::Structure,
                };
            }
        }
        news
    }

    /// Takes in a signal.
    pub(super) fn take(&mut self, signal: &Message) -> zbus::Result<News> {
        let header = signal.header();
        let member = header.member().map(ToString::to_string).unwrap_or_default();
        match member.as_str() {
            "InterfacesAdded" => {
                let (path, interfaces): (OwnedObjectPath, Interfaces) = signal.body().deserialize()?;
                Ok(self.add(path.as_str(), interfaces))
            }
            "InterfacesRemoved" => {
                let (path, interfaces): (OwnedObjectPath, Vec<String>) = signal.body().deserialize()?;
                let mut news = News::Nothing;
                for interface in interfaces {
                    if self.of(&interface).is_some_and(|known| known.remove(path.as_str()).is_some()) {
                        news = News::Structure;
                    }
                }
                Ok(news)
            }
            _ => {
                let path = header.path().map(ToString::to_string).unwrap_or_default();
                let body = signal.body();
                let (interface, changed, gone): (String, HashMap<String, OwnedVariant>, Vec<String>) =
                    body.deserialize()?;
                Ok(self.change(path, &interface, changed, &gone))
            }
        }
    }

    fn change(
        &mut self,
        path: String,
        interface: &str,
        changed: HashMap<String, OwnedVariant>,
        gone: &[String],
    ) -> News {
        let is_heard = HEARD.iter().any(|name| changed.contains_key(*name));
        let has_value = changed.contains_key("Value");
        let Some(known) = self.of(interface).and_then(|known| known.get_mut(&path)) else {
            return News::Nothing;
        };
        known.change(changed, gone);
        match interface {
            DEVICE if is_heard => News::Heard { path, is_new: false },
            CHARACTERISTIC if has_value => match known.get("Value") {
                Some(value) => News::Value(path, value),
                None => News::Nothing,
            },
            _ => News::Structure,
        }
    }

    /// The adapters that are switched on.
    pub(super) fn powered(&self) -> impl Iterator<Item = &String> {
        let powered = |adapter: &Properties| adapter.get("Powered").unwrap_or(false);
        self.adapters.iter().filter(move |(_, adapter)| powered(adapter)).map(|(path, _)| path)
    }

    /// The device with this address, where BlueZ knows it.
    pub(super) fn device(&self, address: &str) -> Option<(&String, &Properties)> {
        let has_address = |device: &Properties| {
            device.get::<String>("Address").is_some_and(|known| known.eq_ignore_ascii_case(address))
        };
        self.devices.iter().find(|(_, device)| has_address(device))
    }

    /// The characteristic of a device, by UUIDs of 128 bits in lower case.
    pub(super) fn characteristic(&self, device: &str, service: &str, uuid: &str) -> Option<&String> {
        let is = |properties: &Properties, uuid: &str| {
            properties.get::<String>("UUID").is_some_and(|known| known.eq_ignore_ascii_case(uuid))
        };
        let is_of_service = |properties: &Properties| {
            let parent = properties.get::<OwnedObjectPath>("Service").map(|path| path.to_string());
            parent.and_then(|parent| self.services.get(&parent)).is_some_and(|found| is(found, service))
        };
        self.characteristics
            .iter()
            .filter(|(path, _)| path.strip_prefix(device).is_some_and(|rest| rest.starts_with('/')))
            .find(|(_, properties)| is(properties, uuid) && is_of_service(properties))
            .map(|(path, _)| path)
    }
}
