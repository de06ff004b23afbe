//! The system bus (D-Bus): one connection that is made again when it breaks, and sources that are asked whenever the
//! daemon behind them is there.
//!
//! Calls go to a daemon's unique name, so asking never starts one, and nothing that an earlier owner of the name said is
//! taken for the word of the next. Deliberately absent: caches. Whoever is told of a change reads again.

mod connection;
mod owner;

use std::time::Duration;

use tokio::time::Instant;
use zbus::Connection;
use zbus::names::OwnedUniqueName;

pub(crate) use connection::{Bus, Connector, connect_once};
pub(crate) use owner::{Owner, Properties, Rule, Signals};

use crate::facts::{Fact, Presence, Reports};

pub(crate) const DBUS: &str = "org.freedesktop.DBus";
pub(crate) const DBUS_PATH: &str = "/org/freedesktop/DBus";

/// After how long a source that failed while its daemon runs is tried again: a few times, not for ever.
const RETRIES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(10), Duration::from_secs(60)];

/// Between attempts to start a daemon that does not stay.
const START_PAUSE_MAX: Duration = Duration::from_mins(10);

/// What asks one daemon on the system bus.
pub(crate) trait BusSource: Send + 'static {
    /// The well-known name it is found by.
    const NAME: &'static str;
    /// What people call it, and the Debian package that brings it.
    const DAEMON: &'static str;

    /// What is to be thought while there is nobody to ask.
    fn absent(&self, reason: String) -> Fact;

    /// Waits until the daemon is to be started, where it can be. Most never are: what nobody has started tells nothing.
    fn needed(&mut self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }

    /// Listens and reports for as long as the daemon is there.
    fn attend(&mut self, owner: &Owner, reports: &Reports) -> impl Future<Output = zbus::Error> + Send;
}

/// Asks `source` whenever its daemon is there; never returns.
pub(crate) async fn follow<S: BusSource>(mut bus: Bus, mut source: S, reports: Reports) {
    loop {
        let connection = bus.connection(|reason| {
            reports.presence(S::NAME, Presence::NoBus);
            reports.fact(source.absent(reason.to_owned()));
        });
        let connection = connection.await;
        tokio::select! {
            broken = follow_name(&connection, &mut source, &reports) => {
                tracing::warn!(daemon = S::DAEMON, error = %broken, "the bus does not tell who owns a name");
                connection.closed().await;
            }
            () = connection.closed() => {}
        }
    }
}

/// Follows the name from owner to owner until the bus itself fails.
async fn follow_name<S: BusSource>(
    connection: &Connection,
    source: &mut S,
    reports: &Reports,
) -> zbus::Error {
    let names = Owner::bus(connection);
    let rule = Rule::signal(DBUS_PATH, DBUS, "NameOwnerChanged").with_first_argument(S::NAME);
    let mut changes = match names.listen(&[rule]).await {
        Ok(changes) => changes,
        Err(error) => return error,
    };
    let mut starts = Starts::default();
    let mut may_start = Instant::now();
    loop {
        // Only what comes after this look is news.
        changes.take_all();
        match find_owner(&names, S::NAME).await {
            Ok(Some(owner)) => {
                reports.presence(S::NAME, Presence::Running);
                let owner = Owner::new(connection, &owner);
                tokio::select! {
                    () = attend(source, &owner, reports) => {}
                    gone = changes.next() => if let Err(error) = gone { return error },
                }
            }
            Ok(None) => {
                let presence = match is_activatable(&names, S::NAME).await {
                    Ok(true) => Presence::Startable,
                    Ok(false) => Presence::Absent,
                    Err(error) => return error,
                };
                reports.presence(S::NAME, presence);
                reports.fact(source.absent(not_running(S::DAEMON)));
                let must_start = async {
                    tokio::time::sleep_until(may_start).await;
                    source.needed().await;
                };
                tokio::select! {
                    gone = changes.next() => if let Err(error) = gone { return error },
                    () = must_start, if presence == Presence::Startable => {
                        may_start = Instant::now() + starts.pause();
                        start(&names, S::NAME).await;
                    }
                }
            }
            Err(error) => return error,
        }
    }
}

/// How often a daemon was started by us.
#[derive(Debug, Default)]
struct Starts(usize);

impl Starts {
    /// Until it may be started again: one that ends at once is not started over and over.
    fn pause(&mut self) -> Duration {
        let pause = RETRIES.get(self.0).copied().unwrap_or(START_PAUSE_MAX);
        self.0 += 1;
        pause
    }
}

async fn start(bus: &Owner, name: &str) {
    if let Err(error) = bus.call(DBUS_PATH, DBUS, "StartServiceByName", &(name, 0_u32)).await {
        tracing::info!(name, %error, "the bus does not start a daemon that is wanted");
    }
}

pub(crate) fn not_running(daemon: &str) -> String {
    format!("{daemon} is not running: install or start {daemon}")
}

/// Attends to one owner, some times again when that fails; returns never, since the owner's end is seen elsewhere.
async fn attend<S: BusSource>(source: &mut S, owner: &Owner, reports: &Reports) {
    for attempt in 0.. {
        let error = source.attend(owner, reports).await;
        tracing::info!(daemon = S::DAEMON, %error, "the daemon does not answer as it should");
        reports.fact(source.absent(format!("{} does not answer as it should: {error}", S::DAEMON)));
        match RETRIES.get(attempt) {
            Some(pause) => tokio::time::sleep(*pause).await,
            None => std::future::pending().await,
        }
    }
}

pub(crate) async fn find_owner(bus: &Owner, name: &str) -> zbus::Result<Option<OwnedUniqueName>> {
    match bus.call(DBUS_PATH, DBUS, "GetNameOwner", &name).await {
        Ok(reply) => Ok(Some(reply.body().deserialize()?)),
        Err(zbus::Error::FDO(error)) if matches!(*error, zbus::fdo::Error::NameHasNoOwner(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn is_activatable(bus: &Owner, name: &str) -> zbus::Result<bool> {
    let reply = bus.call(DBUS_PATH, DBUS, "ListActivatableNames", &()).await?;
    let names: Vec<String> = reply.body().deserialize()?;
    Ok(names.iter().any(|known| known == name))
}
