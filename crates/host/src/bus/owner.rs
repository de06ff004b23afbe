//! One daemon on the bus: calls, properties, signals.

use std::collections::HashMap;
use std::num::NonZeroUsize;

use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use zbus::message::Type;
use zbus::names::OwnedUniqueName;
use zbus::{Connection, MatchRule, Message, MessageStream, OwnedVariant};

const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// Signals that wait in the connection; they are carried on at once.
const QUEUED: NonZeroUsize = NonZeroUsize::new(64).expect("64 is not 0");

/// The process that owns a name, for as long as it does.
#[derive(Debug, Clone)]
pub(crate) struct Owner {
    connection: Connection,
    /// Unique name, or the bus itself.
    name: String,
}

/// Which signals are wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rule<'a> {
    path: &'a str,
    /// Objects below `path` as well.
    is_tree: bool,
    interface: &'a str,
    member: &'a str,
    first_argument: Option<&'a str>,
    /// The first argument is a name that begins so.
    first_namespace: Option<&'a str>,
}

impl<'a> Rule<'a> {
    pub(crate) fn signal(path: &'a str, interface: &'a str, member: &'a str) -> Self {
        Self { path, is_tree: false, interface, member, first_argument: None, first_namespace: None }
    }

    /// Changes of the properties that `interface` has on `path`.
    pub(crate) fn properties(path: &'a str, interface: &'a str) -> Self {
        Self::signal(path, PROPERTIES, "PropertiesChanged").with_first_argument(interface)
    }

    pub(crate) fn with_first_argument(self, argument: &'a str) -> Self {
        Self { first_argument: Some(argument), ..self }
    }

    pub(crate) fn with_first_namespace(self, namespace: &'a str) -> Self {
        Self { first_namespace: Some(namespace), ..self }
    }

    pub(crate) fn with_tree(self) -> Self {
        Self { is_tree: true, ..self }
    }

    fn build(self, sender: &'a str) -> zbus::Result<MatchRule<'a>> {
        let rule = MatchRule::builder()
            .msg_type(Type::Signal)
            .sender(sender)
            .interface(self.interface)
            .member(self.member);
        let rule = if self.is_tree { rule.path_namespace(self.path) } else { rule.path(self.path) };
        let rule = match self.first_namespace {
            Some(namespace) => rule.arg0ns(namespace),
            None => rule,
        };
        match self.first_argument {
            Some(argument) => rule.add_arg(argument).build(),
            None => rule.build(),
        }
    }
}

impl Owner {
    pub(crate) fn new(connection: &Connection, name: &OwnedUniqueName) -> Self {
        Self { connection: connection.clone(), name: name.to_string() }
    }

    /// Whoever owns a well-known name at the time of each call; started if need be.
    pub(crate) fn called(connection: &Connection, name: &str) -> Self {
        Self { connection: connection.clone(), name: name.to_owned() }
    }

    /// The bus as a daemon of its own.
    pub(crate) fn bus(connection: &Connection) -> Self {
        Self { connection: connection.clone(), name: super::DBUS.to_owned() }
    }

    pub(crate) async fn call<B>(
        &self,
        path: &str,
        interface: &str,
        method: &str,
        body: &B,
    ) -> zbus::Result<Message>
    where
        B: serde::Serialize + zbus::DynamicType + Sync,
    {
        self.connection.call_method(Some(self.name.as_str()), path, Some(interface), method, body).await
    }

    /// All properties of an interface, as they are now.
    pub(crate) async fn properties(&self, path: &str, interface: &str) -> zbus::Result<Properties> {
        let reply = self.call(path, PROPERTIES, "GetAll", &interface).await?;
        Ok(Properties(reply.body().deserialize()?))
    }

    /// Begins to listen; what is read after this cannot have missed a change.
    pub(crate) async fn listen(&self, rules: &[Rule<'_>]) -> zbus::Result<Signals> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut pumps = JoinSet::new();
        for rule in rules {
            let rule = rule.build(&self.name)?;
            let mut stream = MessageStream::for_match_rule(rule, &self.connection, Some(QUEUED)).await?;
            let sender = sender.clone();
            // A stream that nobody takes from would hold up all others, and the replies to calls with them.
            pumps.spawn(async move {
                while let Some(Ok(message)) = stream.next().await {
                    if sender.send(message).is_err() {
                        break;
                    }
                }
            });
        }
        Ok(Signals { receiver, _pumps: pumps })
    }
}

/// Signals in the order in which each of the rules brought them.
#[derive(Debug)]
pub(crate) struct Signals {
    receiver: mpsc::UnboundedReceiver<Message>,
    /// Ends them when dropped.
    _pumps: JoinSet<()>,
}

impl Signals {
    /// Waits for a signal. May be dropped and called again at any point.
    ///
    /// # Errors
    /// The connection is closed.
    pub(crate) async fn next(&mut self) -> zbus::Result<Message> {
        self.receiver.recv().await.ok_or_else(|| {
            zbus::Error::InputOutput(std::sync::Arc::new(std::io::ErrorKind::ConnectionAborted.into()))
        })
    }

    /// One that has come already.
    pub(crate) fn ready(&mut self) -> Option<Message> {
        self.receiver.try_recv().ok()
    }

    /// Forgets what has come: what is read from now on is newer.
    pub(crate) fn take_all(&mut self) {
        while self.ready().is_some() {}
    }
}

/// Values by name. What is missing or of another type is `None`: daemons differ by version.
#[derive(Debug, Default)]
pub(crate) struct Properties(HashMap<String, OwnedVariant>);

impl Properties {
    pub(crate) fn get<T: TryFrom<OwnedVariant>>(&self, name: &str) -> Option<T> {
        self.0.get(name)?.try_clone().ok()?.try_into().ok()
    }

    /// As [`Self::get`], for what a source cannot do without.
    pub(crate) fn need<T: TryFrom<OwnedVariant>>(&self, name: &str) -> zbus::Result<T> {
        self.get(name).ok_or_else(|| zbus::Error::Failure(format!("there is no property {name} as expected")))
    }
}

impl Properties {
    /// Takes in what a signal of changes says: what is new, and what is gone.
    pub(crate) fn change(&mut self, changed: HashMap<String, OwnedVariant>, gone: &[String]) {
        self.0.extend(changed);
        for name in gone {
            self.0.remove(name);
        }
    }
}

impl From<HashMap<String, OwnedVariant>> for Properties {
    fn from(values: HashMap<String, OwnedVariant>) -> Self {
        Self(values)
    }
}
