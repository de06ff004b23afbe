//! Modems, from ModemManager: whether one is registered with a foreign network, and messages that arrive
//! (org.freedesktop.ModemManager1).
//!
//! Deliberately absent: sending, and the messages that were there before: only what arrives is told.

use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;

use longhaul_contract::SystemTriggerType;
use zbus::{Message, OwnedObjectPath, OwnedVariant};

use crate::bus::{BusSource, Owner, Properties, Rule};
use crate::facts::{Fact, Reports};
use crate::watch::HostChange;

const PATH: &str = "/org/freedesktop/ModemManager1";
const MODEMS: &str = "/org/freedesktop/ModemManager1/Modem";
const MESSAGES: &str = "/org/freedesktop/ModemManager1/SMS";
const OBJECTS: &str = "org.freedesktop.DBus.ObjectManager";
const CELLULAR: &str = "org.freedesktop.ModemManager1.Modem.Modem3gpp";
const MESSAGING: &str = "org.freedesktop.ModemManager1.Modem.Messaging";
const MESSAGE: &str = "org.freedesktop.ModemManager1.Sms";

/// MMModem3gppRegistrationState: roaming, roaming for messages only, roaming without fallback for calls.
const ROAMING: [u32; 3] = [5, 7, 10];
/// MMSmsState.
const RECEIVED: u32 = 3;

type Objects = HashMap<OwnedObjectPath, HashMap<String, HashMap<String, OwnedVariant>>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ModemState {
    pub(crate) is_roaming: bool,
    /// Whether there is a modem that takes messages.
    pub(crate) has_messaging: bool,
}

#[derive(Debug)]
pub(crate) struct Modems;

impl Modems {
    async fn run(owner: &Owner, reports: &Reports) -> zbus::Result<Infallible> {
        let mut signals = owner
            .listen(&[
                Rule::signal(PATH, OBJECTS, "InterfacesAdded"),
                Rule::signal(PATH, OBJECTS, "InterfacesRemoved"),
                Rule::properties(MODEMS, CELLULAR).with_tree(),
                Rule::signal(MODEMS, MESSAGING, "Added").with_tree(),
                Rule::properties(MESSAGES, MESSAGE).with_tree(),
            ])
            .await?;
        // Parts of long messages come one after the other.
        let mut incomplete = BTreeSet::new();
        loop {
            let reply = owner.call(PATH, OBJECTS, "GetManagedObjects", &()).await?;
            let objects: Objects = reply.body().deserialize()?;
            reports.fact(Fact::Modems(Ok(read(objects))));
            loop {
                let message = signals.next().await?;
                let Some(path) = message_path(&message) else { break };
                if is_member(&message, "Added") || incomplete.contains(&path) {
                    match owner.properties(&path, MESSAGE).await {
                        Ok(sms) if sms.get("State") == Some(RECEIVED) => {
                            incomplete.remove(&path);
                            reports.change(HostChange::Event(SystemTriggerType::SmsReceived, details(&sms)));
                        }
                        Ok(_) => {
                            incomplete.insert(path);
                        }
                        // Somebody has deleted it.
                        Err(_) => {
                            incomplete.remove(&path);
                        }
                    }
                }
            }
        }
    }
}

fn is_member(message: &Message, member: &str) -> bool {
    message.header().member().is_some_and(|known| known.as_str() == member)
}

/// The received message that a signal is about.
fn message_path(signal: &Message) -> Option<String> {
    if is_member(signal, "Added") {
        let (path, is_received): (OwnedObjectPath, bool) = signal.body().deserialize().ok()?;
        return Some(path.to_string()).filter(|_| is_received);
    }
    let header = signal.header();
    header.path().map(ToString::to_string).filter(|path| path.starts_with(MESSAGES))
}

fn read(objects: Objects) -> ModemState {
    let mut state = ModemState { is_roaming: false, has_messaging: false };
    for mut interfaces in objects.into_values() {
        state.has_messaging |= interfaces.contains_key(MESSAGING);
        if let Some(cellular) = interfaces.remove(CELLULAR) {
            let registration = Properties::from(cellular).get("RegistrationState");
            state.is_roaming |= registration.is_some_and(|state: u32| ROAMING.contains(&state));
        }
    }
    state
}

fn details(sms: &Properties) -> serde_json::Value {
    serde_json::json!({
        "from": sms.get::<String>("Number").unwrap_or_default(),
        "body": sms.get::<String>("Text").unwrap_or_default(),
        "timestamp": sms.get::<String>("Timestamp").unwrap_or_default(),
    })
}

impl BusSource for Modems {
    const NAME: &'static str = "org.freedesktop.ModemManager1";
    const DAEMON: &'static str = "ModemManager";

    fn absent(&self, reason: String) -> Fact {
        Fact::Modems(Err(reason))
    }

    async fn attend(&mut self, owner: &Owner, reports: &Reports) -> zbus::Error {
        let Err(error) = Self::run(owner, reports).await;
        error
    }
}
