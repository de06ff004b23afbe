//! Modems, from ModemManager: whether one is registered with a foreign network, and messages that arrive
//! (org.freedesktop.ModemManager1).
//!
//! Deliberately absent: sending, and the messages that a modem has kept from before it was first seen: only what arrives
//! is told, also if it arrives while the daemon restarts.

use std::collections::{BTreeMap, BTreeSet, HashMap};
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
const MODEM: &str = "org.freedesktop.ModemManager1.Modem";
const CELLULAR: &str = "org.freedesktop.ModemManager1.Modem.Modem3gpp";
const MESSAGING: &str = "org.freedesktop.ModemManager1.Modem.Messaging";
const MESSAGE: &str = "org.freedesktop.ModemManager1.Sms";

/// MMModem3gppRegistrationState: roaming, roaming for messages only, roaming without fallback for calls.
const ROAMING: [u32; 3] = [5, 7, 10];
/// Messages of one modem that are remembered; modems keep far fewer.
const MESSAGES_MAX: usize = 10_000;

/// MMSmsState.
const RECEIVED: u32 = 3;

type Objects = HashMap<OwnedObjectPath, HashMap<String, HashMap<String, OwnedVariant>>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ModemState {
    pub(crate) is_roaming: bool,
    /// Whether there is a modem that takes messages.
    pub(crate) has_messaging: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Modems {
    /// The messages of each modem that has been looked at: those that came while nobody listened are found by this.
    seen: BTreeMap<String, BTreeSet<String>>,
}

/// What is known of modems while one daemon runs.
#[derive(Debug, Default)]
struct Stay {
    /// Modems that were known before: what is new on them has come meanwhile.
    returning: BTreeSet<String>,
    /// Names of the modems by their paths, which begin anew with each daemon.
    names: BTreeMap<String, String>,
    /// Parts of long messages come one after the other; by modem.
    incomplete: BTreeMap<String, String>,
}

impl Modems {
    async fn run(&mut self, owner: &Owner, reports: &Reports) -> zbus::Result<Infallible> {
        let mut signals = owner
            .listen(&[
                Rule::signal(PATH, OBJECTS, "InterfacesAdded"),
                Rule::signal(PATH, OBJECTS, "InterfacesRemoved"),
                Rule::properties(MODEMS, CELLULAR).with_tree(),
                Rule::signal(MODEMS, MESSAGING, "Added").with_tree(),
                Rule::properties(MESSAGES, MESSAGE).with_tree(),
            ])
            .await?;
        let mut stay = Stay { returning: self.seen.keys().cloned().collect(), ..Stay::default() };
        loop {
            let reply = owner.call(PATH, OBJECTS, "GetManagedObjects", &()).await?;
            let objects: Objects = reply.body().deserialize()?;
            let stored = stored_messages(&objects);
            reports.fact(Fact::Modems(Ok(read(objects))));
            for Stored { modem, name, messages } in stored {
                if stay.names.insert(modem, name.clone()).is_none() {
                    self.seen.entry(name.clone()).or_default();
                    for path in messages {
                        self.look(owner, &mut stay, &name, path, false, reports).await;
                    }
                }
            }
            loop {
                let signal = signals.next().await?;
                let header = signal.header();
                let path = header.path().map(ToString::to_string).unwrap_or_default();
                if is_member(&signal, "Added") {
                    let (message, is_received): (OwnedObjectPath, bool) = signal.body().deserialize()?;
                    let name = stay.names.get(&path).cloned().unwrap_or(path);
                    self.look(owner, &mut stay, &name, message.to_string(), is_received, reports).await;
                } else if let Some(name) = stay.incomplete.get(&path).cloned() {
                    self.look(owner, &mut stay, &name, path, true, reports).await;
                } else if !path.starts_with(MESSAGES) {
                    break;
                }
            }
        }
    }

    /// Looks at a message, and tells of it if it is whole and new. Of what a modem had stored before, only that of a modem
    /// that was known is new.
    async fn look(
        &mut self,
        owner: &Owner,
        stay: &mut Stay,
        modem: &str,
        path: String,
        has_arrived: bool,
        reports: &Reports,
    ) {
        // One that cannot be read has been deleted.
        let Ok(sms) = owner.properties(&path, MESSAGE).await else {
            stay.incomplete.remove(&path);
            return;
        };
        if sms.get("State") != Some(RECEIVED) {
            if has_arrived {
                stay.incomplete.insert(path, modem.to_owned());
            }
            return;
        }
        stay.incomplete.remove(&path);
        let seen = self.seen.entry(modem.to_owned()).or_default();
        if seen.len() >= MESSAGES_MAX {
            seen.clear();
        }
        let is_new = seen.insert(identity(&sms));
        if is_new && (has_arrived || stay.returning.contains(modem)) {
            reports.change(HostChange::Event(SystemTriggerType::SmsReceived, details(&sms)));
        }
    }
}

/// What tells messages apart over restarts, where their paths begin anew.
fn identity(sms: &Properties) -> String {
    ["Number", "Timestamp", "Text"].map(|name| sms.get::<String>(name).unwrap_or_default()).join("\n")
}

/// The messages that a modem keeps.
struct Stored {
    /// Path of the modem.
    modem: String,
    /// The same for the same modem after a restart.
    name: String,
    messages: Vec<String>,
}

fn stored_messages(objects: &Objects) -> Vec<Stored> {
    let modems = objects.iter().filter(|(_, interfaces)| interfaces.contains_key(MESSAGING));
    let text = |value: &OwnedVariant| String::try_from(value.try_clone().ok()?).ok();
    modems
        .map(|(path, interfaces)| {
            let number = interfaces.get(MODEM).and_then(|modem| text(modem.get("EquipmentIdentifier")?));
            let list = interfaces[MESSAGING].get("Messages").and_then(|list| list.try_clone().ok());
            let paths = list.and_then(|list| Vec::<OwnedObjectPath>::try_from(list).ok()).unwrap_or_default();
            Stored {
                modem: path.to_string(),
                name: number.filter(|number| !number.is_empty()).unwrap_or_else(|| path.to_string()),
                messages: paths.iter().map(ToString::to_string).collect(),
            }
        })
        .collect()
}

fn is_member(message: &Message, member: &str) -> bool {
    message.header().member().is_some_and(|known| known.as_str() == member)
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
    let text = |name: &str| sms.get::<String>(name).unwrap_or_default();
    let mut message = serde_json::json!({
        "from": text("Number"),
        "body": text("Text"),
        "timestamp": text("Timestamp"),
        "serviceCenter": text("SMSC"),
    });
    if let Some(data) = sms.get::<Vec<u8>>("Data").filter(|data| !data.is_empty()) {
        message["data"] = hex::encode(data).into();
    }
    // 0 to 3 (3GPP TS 23.038 section 4); -1 has none.
    if let Some(class) = sms.get::<i32>("Class").filter(|class| *class >= 0) {
        message["class"] = class.into();
    }
    let mut details = message.clone();
    details["messages"] = serde_json::json!([message]);
    details
}

impl BusSource for Modems {
    const NAME: &'static str = "org.freedesktop.ModemManager1";
    const DAEMON: &'static str = "ModemManager";

    fn absent(&self, reason: String) -> Fact {
        Fact::Modems(Err(reason))
    }

    async fn attend(&mut self, owner: &Owner, reports: &Reports) -> zbus::Error {
        let Err(error) = self.run(owner, reports).await;
        error
    }
}
