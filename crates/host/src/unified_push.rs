//! Push messages by way of the user's distributor (UnifiedPush, its D-Bus specification): it keeps the one connection to a push
//! server for all programs, and calls us when a message has come.
//!
//! Only registrations that ask for it are made known to it. Deliberately absent: decrypting what senders have encrypted for
//! the application (RFC 8291), and servers of our own.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::time::Duration;

use futures_util::StreamExt;
use serde_json::json;
use tokio::sync::watch;
use zbus::message::Type;
use zbus::{Connection, MatchRule, Message, MessageStream, OwnedVariant, Variant};

use crate::bus::{Bus, DBUS, DBUS_PATH, Owner, Rule, find_owner};
use crate::facts::{Fact, Reports};
use crate::wants::{Want, WantId, Wants};
use crate::watch::HostChange;

/// Names of distributors begin so.
const DISTRIBUTORS: &str = "org.unifiedpush.Distributor";
const DISTRIBUTOR_PATH: &str = "/org/unifiedpush/Distributor";
const DISTRIBUTOR_1: &str = "org.unifiedpush.Distributor1";
const DISTRIBUTOR_2: &str = "org.unifiedpush.Distributor2";
const CONNECTOR_PATH: &str = "/org/unifiedpush/Connector";
const CONNECTOR_2: &str = "org.unifiedpush.Connector2";

/// The name by which a distributor calls us.
const NAME: &str = "io.longhaul.Push";
const DESCRIPTION: &str = "Longhaul";

/// Before we turn to a distributor again that has changed hands; twice as long each further time.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_mins(10);

/// What a distributor calls us with.
#[derive(Debug, PartialEq, Eq)]
enum Call {
    NewEndpoint { token: String, endpoint: String },
    Message { token: String, message: Vec<u8> },
    Unregistered { token: String },
}

type Values = HashMap<String, OwnedVariant>;

fn take<T: TryFrom<OwnedVariant>>(values: &mut Values, name: &str) -> Option<T> {
    values.remove(name)?.try_into().ok()
}

impl Call {
    /// By the second version of the interface, which names its arguments, or the first.
    fn read(message: &Message) -> Option<Self> {
        let header = message.header();
        let member = header.member()?.to_string();
        let body = message.body();
        if header.interface().is_some_and(|interface| interface.as_str() == CONNECTOR_2) {
            let mut values: Values = body.deserialize().ok()?;
            let token = take(&mut values, "token")?;
            return match member.as_str() {
                "NewEndpoint" => Some(Self::NewEndpoint { token, endpoint: take(&mut values, "endpoint")? }),
                "Message" => Some(Self::Message { token, message: take(&mut values, "message")? }),
                "Unregistered" => Some(Self::Unregistered { token }),
                _ => None,
            };
        }
        match member.as_str() {
            "NewEndpoint" => {
                let (token, endpoint) = body.deserialize().ok()?;
                Some(Self::NewEndpoint { token, endpoint })
            }
            "Message" => {
                let (token, message, _): (String, Vec<u8>, String) = body.deserialize().ok()?;
                Some(Self::Message { token, message })
            }
            "Unregistered" => Some(Self::Unregistered { token: body.deserialize().ok()? }),
            _ => None,
        }
    }
}

/// Each registration has a token of its own.
fn token_of(id: WantId) -> String {
    hex::encode(id.0)
}

fn id_of(token: &str) -> Option<WantId> {
    Some(WantId(hex::decode(token).ok()?.try_into().ok()?))
}

#[derive(Debug)]
struct Channels {
    wants: watch::Receiver<Wants>,
    /// Those that the distributor of now knows.
    registered: BTreeMap<WantId, String>,
    pause: Duration,
}

/// Keeps the distributor told of what is wanted; never returns.
pub(crate) async fn follow_push(mut bus: Bus, wants: watch::Receiver<Wants>, reports: Reports) {
    let mut channels = Channels { wants, registered: BTreeMap::new(), pause: PAUSE_MIN };
    loop {
        let connection = bus.connection(|reason| reports.fact(Fact::Push(Err(reason.to_owned())))).await;
        tokio::select! {
            broken = channels.attend(&connection, &reports) => {
                tracing::warn!(error = %broken, "push messages cannot be taken from the session bus");
                connection.closed().await;
            }
            () = connection.closed() => {}
        }
    }
}

impl Channels {
    async fn attend(&mut self, connection: &Connection, reports: &Reports) -> zbus::Error {
        let Err(error) = self.run(connection, reports).await;
        error
    }

    async fn run(&mut self, connection: &Connection, reports: &Reports) -> zbus::Result<Infallible> {
        let names = Owner::bus(connection);
        let rule = Rule::signal(DBUS_PATH, DBUS, "NameOwnerChanged").with_first_namespace(DISTRIBUTORS);
        let mut changes = names.listen(&[rule]).await?;
        let rule = MatchRule::builder().msg_type(Type::MethodCall).path(CONNECTOR_PATH).build()?;
        let mut calls = MessageStream::for_match_rule(rule, connection, None).await?;
        let mut is_named = false;
        self.registered.clear();
        loop {
            let distributor = find_distributor(&names).await?;
            reports.fact(Fact::Push(distributor.clone().ok_or_else(|| {
                "no distributor of UnifiedPush is on the session bus: install one, such as KUnifiedPush"
                    .to_owned()
            })));
            let wanted = self.wanted();
            if !wanted.is_empty() && !is_named {
                connection.request_name(NAME).await?;
                is_named = true;
            }
            if let Some(distributor) = &distributor {
                self.ensure(&Owner::called(connection, distributor), &wanted).await;
            }
            tokio::select! {
                changed = changes.next() => {
                    changed?;
                    self.registered.clear();
                    tokio::time::sleep(self.pause).await;
                    self.pause = (self.pause * 2).min(PAUSE_MAX);
                    changes.take_all();
                }
                changed = self.wants.changed() => if changed.is_err() { std::future::pending().await },
                Some(call) = calls.next() => {
                    self.answer(connection, &names, distributor.as_deref(), &call?, reports).await?;
                }
            }
        }
    }

    fn wanted(&mut self) -> BTreeMap<WantId, String> {
        let wants = self.wants.borrow_and_update();
        let pushed = wants.iter().filter_map(|(id, want)| match want {
            Want::Push { channel } => Some((*id, channel.clone())),
            _ => None,
        });
        pushed.collect()
    }

    /// The distributor knows these and no others.
    async fn ensure(&mut self, distributor: &Owner, wanted: &BTreeMap<WantId, String>) {
        let gone: Vec<WantId> =
            self.registered.keys().filter(|id| !wanted.contains_key(id)).copied().collect();
        for id in gone {
            self.registered.remove(&id);
            let token = token_of(id);
            let arguments = HashMap::from([("token", Variant::from(token.as_str()))]);
            let told = distributor.call(DISTRIBUTOR_PATH, DISTRIBUTOR_2, "Unregister", &arguments).await;
            if told.is_err() {
                // One of the first version; what it keeps of nobody's is its own.
                let _ =
                    distributor.call(DISTRIBUTOR_PATH, DISTRIBUTOR_1, "Unregister", &token.as_str()).await;
            }
        }
        for (id, channel) in wanted {
            if self.registered.contains_key(id) {
                continue;
            }
            match register(distributor, &token_of(*id)).await {
                Ok(()) => {
                    self.registered.insert(*id, channel.clone());
                }
                Err(reason) => {
                    tracing::warn!(channel, reason, "the push distributor does not take a channel");
                }
            }
        }
    }

    async fn answer(
        &mut self,
        connection: &Connection,
        names: &Owner,
        distributor: Option<&str>,
        message: &Message,
        reports: &Reports,
    ) -> zbus::Result<()> {
        let header = message.header();
        let owner = match distributor {
            Some(name) => find_owner(names, name).await?,
            None => None,
        };
        let is_from_it = owner
            .is_some_and(|owner| header.sender().is_some_and(|sender| sender.as_str() == owner.as_str()));
        let Some(call) = Call::read(message).filter(|_| is_from_it) else {
            let error = "org.freedesktop.DBus.Error.AccessDenied";
            return connection.reply_error(&header, error, &"only the distributor calls, as specified").await;
        };
        self.take(call, reports);
        if header.interface().is_some_and(|interface| interface.as_str() == CONNECTOR_2) {
            connection.reply(&header, &HashMap::<&str, Variant<'_>>::new()).await
        } else {
            connection.reply(&header, &()).await
        }
    }

    fn take(&mut self, call: Call, reports: &Reports) {
        match call {
            Call::NewEndpoint { token, endpoint } => {
                self.pause = PAUSE_MIN;
                if let Some(id) = id_of(&token).filter(|id| self.registered.contains_key(id)) {
                    reports.change(HostChange::Kept(id, json!({ "endpoint": endpoint })));
                }
            }
            Call::Message { token, message } => {
                self.pause = PAUSE_MIN;
                let known = id_of(&token).and_then(|id| Some((id, self.registered.get(&id)?.clone())));
                if let Some((id, channel)) = known {
                    reports.change(HostChange::Pushed { id, channel, message });
                }
            }
            Call::Unregistered { token } => {
                if let Some(id) = id_of(&token)
                    && self.registered.remove(&id).is_some()
                {
                    reports.change(HostChange::Kept(id, json!({ "endpoint": null })));
                }
            }
        }
    }
}

/// The first by name of those that run or can be started.
async fn find_distributor(names: &Owner) -> zbus::Result<Option<String>> {
    let mut found = Vec::new();
    for method in ["ListNames", "ListActivatableNames"] {
        let reply = names.call(DBUS_PATH, DBUS, method, &()).await?;
        let names: Vec<String> = reply.body().deserialize()?;
        found.extend(
            names
                .into_iter()
                .filter(|name| name.strip_prefix(DISTRIBUTORS).is_some_and(|rest| rest.starts_with('.'))),
        );
    }
    found.sort();
    Ok(found.into_iter().next())
}

/// Asks for an endpoint, which is told later.
async fn register(distributor: &Owner, token: &str) -> Result<(), String> {
    let arguments = HashMap::from([
        ("service", Variant::from(NAME)),
        ("token", Variant::from(token)),
        ("description", Variant::from(DESCRIPTION)),
    ]);
    let (success, reason) =
        match distributor.call(DISTRIBUTOR_PATH, DISTRIBUTOR_2, "Register", &arguments).await {
            Ok(reply) => {
                let mut values: Values = reply.body().deserialize().map_err(|error| error.to_string())?;
                let mut text = |name: &str| take::<String>(&mut values, name).unwrap_or_default();
                (text("success"), text("reason"))
            }
            Err(_) => {
                let arguments = (NAME, token, DESCRIPTION);
                let reply = distributor.call(DISTRIBUTOR_PATH, DISTRIBUTOR_1, "Register", &arguments).await;
                let reply = reply.map_err(|error| error.to_string())?;
                reply.body().deserialize::<(String, String)>().map_err(|error| error.to_string())?
            }
        };
    // The versions differ in how they write it.
    match success.as_str() {
        "REGISTRATION_SUCCEEDED" | "NEW_ENDPOINT" => Ok(()),
        _ => Err(format!("{success} {reason}")),
    }
}
