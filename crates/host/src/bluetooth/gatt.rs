//! Notifications of characteristics (org.bluez.GattCharacteristic1): devices that are wanted are connected to, and again
//! when they drop off, and asked for notifications each time their services are known anew.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use longhaul_contract::Timestamp;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::objects::Objects;
use super::{CHARACTERISTIC, DEVICE};
use crate::bus::Owner;
use crate::facts::Reports;
use crate::wants::{Characteristic, Want, WantId, Wants};
use crate::watch::HostChange;

/// After a device could not be reached; twice as long each further time.
const PAUSE_MIN: Duration = Duration::from_secs(5);
const PAUSE_MAX: Duration = Duration::from_secs(300);

#[derive(Debug)]
struct Attempts {
    next: Instant,
    pause: Duration,
}

/// The links to devices that are wanted, while one BlueZ runs.
#[derive(Debug, Default)]
pub(super) struct Links {
    wanted: BTreeMap<WantId, Characteristic>,
    /// Where each want is served.
    paths: BTreeMap<String, Vec<WantId>>,
    /// Devices that are being connected to, by path.
    connecting: BTreeSet<String>,
    attempts: BTreeMap<String, Attempts>,
    calls: JoinSet<(String, bool)>,
}

impl Links {
    pub(super) fn want(&mut self, wants: &Wants) {
        self.wanted = wants
            .iter()
            .filter_map(|(id, want)| match want {
                Want::Characteristic(characteristic) => Some((*id, characteristic.clone())),
                _ => None,
            })
            .collect();
    }

    pub(super) fn is_idle(&self) -> bool {
        self.wanted.is_empty()
    }

    /// Whether some device has to be found first.
    pub(super) fn misses_device(&self, objects: &Objects) -> bool {
        self.wanted.values().any(|wanted| objects.device(&wanted.device).is_none())
    }

    /// Brings about what is wanted, as far as the devices let it.
    pub(super) async fn ensure(&mut self, owner: &Owner, objects: &Objects) {
        let before = std::mem::take(&mut self.paths);
        for (id, wanted) in self.wanted.clone() {
            let Some((path, device)) = objects.device(&wanted.device) else { continue };
            if !device.get("Connected").unwrap_or(false) {
                self.connect(owner, path);
                continue;
            }
            self.attempts.remove(path);
            if !device.get("ServicesResolved").unwrap_or(false) {
                continue;
            }
            let found = objects.characteristic(path, &wanted.service, &wanted.characteristic);
            if let Some(found) = found {
                self.paths.entry(found.clone()).or_default().push(id);
            }
        }
        for path in self.paths.keys() {
            let notifies = objects.characteristics[path].get("Notifying").unwrap_or(false);
            if before.contains_key(path) && notifies {
                continue;
            }
            if let Err(error) = owner.call(path, CHARACTERISTIC, "StartNotify", &()).await {
                tracing::info!(path, %error, "a characteristic does not notify");
            }
        }
        for path in before.keys().filter(|path| !self.paths.contains_key(*path)) {
            if objects.characteristics.contains_key(path) {
                // It may have ended by itself.
                let _ = owner.call(path, CHARACTERISTIC, "StopNotify", &()).await;
            }
        }
    }

    fn connect(&mut self, owner: &Owner, device: &str) {
        let is_early = self.attempts.get(device).is_some_and(|attempts| Instant::now() < attempts.next);
        if is_early || !self.connecting.insert(device.to_owned()) {
            return;
        }
        let (owner, device) = (owner.clone(), device.to_owned());
        self.calls.spawn(async move {
            let connected = owner.call(&device, DEVICE, "Connect", &()).await;
            if let Err(error) = &connected {
                tracing::debug!(device, %error, "a device cannot be connected to");
            }
            (device, connected.is_ok())
        });
    }

    /// Waits until something is to be done that no signal tells of.
    pub(super) async fn due(&mut self) {
        let next = self.attempts.values().map(|attempts| attempts.next).filter(|next| *next > Instant::now());
        let next = next.min();
        let later = async {
            match next {
                Some(next) => tokio::time::sleep_until(next).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(done) = self.calls.join_next() => {
                if let Ok((device, is_connected)) = done {
                    self.connecting.remove(&device);
                    if !is_connected {
                        self.put_off(device);
                    }
                }
            }
            () = later => {}
        }
    }

    fn put_off(&mut self, device: String) {
        let pause = self.attempts.get(&device).map_or(PAUSE_MIN, |before| (before.pause * 2).min(PAUSE_MAX));
        self.attempts.insert(device, Attempts { next: Instant::now() + pause, pause });
    }

    /// A value has come.
    pub(super) fn tell(&self, path: &str, value: &[u8], reports: &Reports) {
        for id in self.paths.get(path).into_iter().flatten() {
            let Some(wanted) = self.wanted.get(id) else { continue };
            let value = hex::encode(value);
            let mut details = json!({
                "deviceId": wanted.device,
                "service": wanted.service,
                "characteristic": wanted.characteristic,
                "value": value,
                "error": "Success",
            });
            if wanted.lists_values {
                details["valueChangedEvents"] = json!([{ "value": value, "timestamp": Timestamp::now() }]);
            }
            reports.change(HostChange::Wanted(*id, details));
        }
    }
}
