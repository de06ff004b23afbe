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

#[derive(Debug, Default)]
pub(crate) struct Modems {
    /// The messages there were, once they have been looked at: those that come while nobody listens are found by this.
    seen: Option<BTreeSet<String>>,
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
        // Parts of long messages come one after the other.
        let mut incomplete = BTreeSet::new();
        let mut is_first = true;
        loop {
            let reply = owner.call(PATH, OBJECTS, "GetManagedObjects", &()).await?;
            let objects: Objects = reply.body().deserialize()?;
            let stored = stored_messages(&objects);
            reports.fact(Fact::Modems(Ok(read(objects))));
            if is_first {
                is_first = false;
                self.catch_up(owner, &stored, reports).await;
            }
            loop {
                let message = signals.next().await?;
                let Some(path) = message_path(&message) else { break };
                if is_member(&message, "Added") || incomplete.contains(&path) {
                    match owner.properties(&path, MESSAGE).await {
                        Ok(sms) if sms.get("State") == Some(RECEIVED) => {
                            incomplete.remove(&path);
                            self.tell(&sms, reports);
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

impl Modems {
    fn tell(&mut self, sms: &Properties, reports: &Reports) {
        if self.seen.get_or_insert_default().insert(identity(sms)) {
            reports.change(HostChange::Event(SystemTriggerType::SmsReceived, details(sms)));
        }
    }

    /// Messages that came while the daemon was away. The first look ever is no news.
    async fn catch_up(&mut self, owner: &Owner, stored: &[String], reports: &Reports) {
        let mut received = Vec::new();
        for path in stored {
            let sms = owner.properties(path, MESSAGE).await.ok();
            received.extend(sms.filter(|sms| sms.get("State") == Some(RECEIVED)));
        }
        if self.seen.is_some() {
            received.iter().for_each(|sms| self.tell(sms, reports));
        }
        // What the modem no longer has need not be remembered.
        self.seen = Some(received.iter().map(identity).collect());
    }
}

/// What tells messages apart over restarts, where their paths begin anew.
fn identity(sms: &Properties) -> String {
    ["Number", "Timestamp", "Text"].map(|name| sms.get::<String>(name).unwrap_or_default()).join("\n")
}

fn stored_messages(objects: &Objects) -> Vec<String> {
    let messaging = objects.values().filter_map(|interfaces| interfaces.get(MESSAGING));
    let lists = messaging.filter_map(|properties| properties.get("Messages")?.try_clone().ok());
    let paths = lists.filter_map(|list| Vec::<OwnedObjectPath>::try_from(list).ok()).flatten();
    paths.map(|path| path.to_string()).collect()
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
