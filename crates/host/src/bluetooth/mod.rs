//! Bluetooth LE from BlueZ (org.bluez): advertisements that are wanted, and notifications of characteristics.
//!
//! The radio listens only while somebody wants to know. Whatever other programs have BlueZ listen for comes along, so
//! filters are applied here. Deliberately absent: pairing, and devices that only classic Bluetooth reaches.

mod advertisement;
mod gatt;
mod objects;
mod range;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::convert::Infallible;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;
use zbus::Variant;

pub use advertisement::{AdvertisementFilter, whole_uuid};
pub use range::RangeRule;

use crate::bus::{BusSource, Owner, Rule, Signals};
use crate::facts::{Fact, Reports};
use crate::wants::{Want, WantId, Wants};
use crate::watch::HostChange;
use advertisement::Advertisement;
use gatt::Links;
use objects::{News, Objects};
use range::{Ranges, Turn};

const ROOT: &str = "/";
const TREE: &str = "/org/bluez";
const OBJECTS: &str = "org.freedesktop.DBus.ObjectManager";
const ADAPTER: &str = "org.bluez.Adapter1";
const DEVICE: &str = "org.bluez.Device1";
const SERVICE: &str = "org.bluez.GattService1";
const CHARACTERISTIC: &str = "org.bluez.GattCharacteristic1";

/// How a device that has left is told: weaker than anything (BluetoothSignalStrengthFilter).
const GONE: i16 = -127;

/// What Bluetooth there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Radio {
    pub(crate) has_adapter: bool,
    pub(crate) is_on: bool,
}

/// One want for advertisements.
#[derive(Debug)]
struct Listener {
    filter: AdvertisementFilter,
    rule: RangeRule,
    ranges: Ranges,
    /// The newest of each device in range.
    near: BTreeMap<String, Arc<Advertisement>>,
}

#[derive(Debug)]
pub(crate) struct Bluetooth {
    wants: watch::Receiver<Wants>,
    /// Kept from one BlueZ to the next, so that a restart of it makes nobody come or go.
    listeners: BTreeMap<WantId, Listener>,
}

impl Bluetooth {
    pub(crate) fn new(wants: watch::Receiver<Wants>) -> Self {
        Self { wants, listeners: BTreeMap::new() }
    }

    async fn run(&mut self, owner: &Owner, reports: &Reports) -> zbus::Result<Infallible> {
        let mut signals = owner
            .listen(&[
                Rule::signal(ROOT, OBJECTS, "InterfacesAdded"),
                Rule::signal(ROOT, OBJECTS, "InterfacesRemoved"),
                Rule::properties(TREE, ADAPTER).with_tree(),
            ])
            .await?;
        let mut links = Links::default();
        let mut scanning = BTreeSet::new();
        let mut told: Option<Signals> = None;
        for listener in self.listeners.values_mut() {
            listener.ranges.listen_again(Instant::now());
        }
        let mut objects = Objects::default();
        let mut must_read = true;
        loop {
            self.renew(&mut links);
            let is_wanted = !self.listeners.is_empty() || !links.is_idle();
            if is_wanted && told.is_none() {
                let rules =
                    [DEVICE, CHARACTERISTIC].map(|interface| Rule::properties(TREE, interface).with_tree());
                told = Some(owner.listen(&rules).await?);
                must_read = true;
            } else if !is_wanted {
                told = None;
            }
            if must_read {
                let reply = owner.call(ROOT, OBJECTS, "GetManagedObjects", &()).await?;
                objects = Objects::read(reply.body().deserialize()?);
                must_read = false;
            }
            reports.fact(Fact::Bluetooth(Ok(Radio {
                has_adapter: !objects.adapters.is_empty(),
                is_on: objects.powered().next().is_some(),
            })));
            let must_scan = !self.listeners.is_empty() || links.misses_device(&objects);
            scan(owner, &objects, must_scan, &mut scanning).await;
            links.ensure(owner, &objects).await;
            self.hear_until_change(&mut objects, &mut signals, &mut told, &mut links, reports).await?;
        }
    }

    /// Takes over what is wanted now.
    fn renew(&mut self, links: &mut Links) {
        let wants = self.wants.borrow_and_update();
        links.want(&wants);
        let wanted = |id: &WantId| match wants.get(id) {
            Some(Want::Advertisements { filter, range }) => Some((filter, range)),
            _ => None,
        };
        self.listeners.retain(|id, known| wanted(id) == Some((&known.filter, &known.rule)));
        for (id, want) in wants.iter() {
            if let Want::Advertisements { filter, range } = want {
                self.listeners.entry(*id).or_insert_with(|| Listener {
                    filter: filter.clone(),
                    rule: *range,
                    ranges: Ranges::new(*range),
                    near: BTreeMap::new(),
                });
            }
        }
    }

    /// Hears what devices say until something changes that decides what is listened for.
    async fn hear_until_change(
        &mut self,
        objects: &mut Objects,
        signals: &mut Signals,
        told: &mut Option<Signals>,
        links: &mut Links,
        reports: &Reports,
    ) -> zbus::Result<()> {
        loop {
            let next_leave =
                self.listeners.values().filter_map(|listener| listener.ranges.next_leave()).min();
            let signal = tokio::select! {
                signal = signals.next() => signal?,
                signal = next_of(told.as_mut()) => signal?,
                changed = self.wants.changed() => {
                    // Nobody wants anything any more only while everything is being stopped.
                    return if changed.is_ok() { Ok(()) } else { std::future::pending().await };
                }
                () = links.due(), if !links.is_idle() => return Ok(()),
                () = sleep_until(next_leave) => {
                    self.let_leave(reports);
                    continue;
                }
            };
            match objects.take(&signal)? {
                News::Heard { path, is_new } => {
                    if let Some(heard) = objects.devices.get(&path).and_then(Advertisement::of) {
                        self.hear(&Arc::new(heard), reports);
                    }
                    if is_new && !links.is_idle() {
                        return Ok(());
                    }
                }
                News::Value(path, value) => links.tell(&path, &value, reports),
                News::Structure => return Ok(()),
                News::Nothing => {}
            }
        }
    }

    fn hear(&mut self, heard: &Arc<Advertisement>, reports: &Reports) {
        let now = Instant::now();
        for (id, listener) in self.listeners.iter_mut().filter(|(_, one)| heard.passes(&one.filter)) {
            let turn = listener.ranges.hear(&heard.address, heard.strength, now);
            if let Some(Turn::Entered(strength) | Turn::Stays(strength)) = turn {
                reports.change(HostChange::Wanted(*id, details(&heard.view(strength, true))));
            }
            if matches!(turn, Some(Turn::Entered(_))) || listener.near.contains_key(&heard.address) {
                listener.near.insert(heard.address.clone(), Arc::clone(heard));
            }
        }
    }

    fn let_leave(&mut self, reports: &Reports) {
        let now = Instant::now();
        for (id, listener) in &mut self.listeners {
            for address in listener.ranges.leave(now) {
                if let Some(last) = listener.near.remove(&address) {
                    reports.change(HostChange::Wanted(*id, details(&last.view(Some(GONE), false))));
                }
            }
        }
    }
}

fn details(advertisement: &Value) -> Value {
    json!({ "advertisements": [advertisement], "error": "Success" })
}

async fn next_of(signals: Option<&mut Signals>) -> zbus::Result<zbus::Message> {
    match signals {
        Some(signals) => signals.next().await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// Lets every adapter that is on listen, or none; `scanning` are those that do.
async fn scan(owner: &Owner, objects: &Objects, must_scan: bool, scanning: &mut BTreeSet<String>) {
    // An adapter that was off has forgotten about us.
    scanning.retain(|path| objects.powered().any(|powered| powered == path));
    if !must_scan {
        for path in std::mem::take(scanning) {
            if let Err(error) = owner.call(&path, ADAPTER, "StopDiscovery", &()).await {
                tracing::info!(path, %error, "an adapter does not cease to listen");
            }
        }
        return;
    }
    let filter = HashMap::from([("Transport", Variant::from("le")), ("DuplicateData", Variant::from(true))]);
    for path in objects.powered().filter(|path| !scanning.contains(*path)).cloned().collect::<Vec<_>>() {
        let set = owner.call(&path, ADAPTER, "SetDiscoveryFilter", &filter).await;
        let started = match set {
            Ok(_) => owner.call(&path, ADAPTER, "StartDiscovery", &()).await,
            Err(error) => Err(error),
        };
        match started {
            Ok(_) => {
                scanning.insert(path);
            }
            Err(error) => tracing::warn!(path, %error, "an adapter does not listen"),
        }
    }
}

impl BusSource for Bluetooth {
    const NAME: &'static str = "org.bluez";
    const DAEMON: &'static str = "BlueZ";

    fn absent(&self, reason: String) -> Fact {
        Fact::Bluetooth(Err(reason))
    }

    async fn attend(&mut self, owner: &Owner, reports: &Reports) -> zbus::Error {
        let Err(error) = self.run(owner, reports).await;
        error
    }
}
