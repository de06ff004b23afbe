//! Sessions, presence, sleep and shutdown from logind (org.freedesktop.login1(5)).
//!
//! A locked or idle session in front is no presence. The idle hint of a text terminal is not told but computed when it
//! is read, so it counts as of the last change of anything. Deliberately absent: asking for sleep. Locks here only delay it;
//! those that forbid it are taken for single tasks ([`crate::inhibit`]).

use std::convert::Infallible;

use zbus::OwnedObjectPath;

use crate::bus::{BusSource, Owner, Properties, Rule};
use crate::facts::{Fact, Reports};
use crate::watch::{Delay, HostChange};

/// The name of this source in `GET /host`.
pub(crate) const SOURCE: &str = "logind";

pub(crate) const PATH: &str = "/org/freedesktop/login1";
const SESSIONS: &str = "/org/freedesktop/login1/session";
pub(crate) const MANAGER: &str = "org.freedesktop.login1.Manager";
const SESSION: &str = "org.freedesktop.login1.Session";

/// Accounts below this are of the system, by Debian's and everybody's UID_MIN.
const PERSON_MIN: u32 = 1000;

/// What sessions there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sessions {
    pub(crate) is_connected: bool,
    pub(crate) is_present: bool,
}

/// Asks logind.
#[derive(Debug)]
pub(crate) struct Login {
    /// The user whose sessions count; a service of the system counts those of everybody.
    user: Option<u32>,
}

impl Login {
    pub(crate) fn of(uid: u32) -> Self {
        Self { user: Some(uid).filter(|uid| *uid >= PERSON_MIN) }
    }

    /// The user whose sessions count, if not everybody's do.
    pub(crate) fn user(&self) -> Option<u32> {
        self.user
    }

    async fn run(&mut self, owner: &Owner, reports: &Reports) -> zbus::Result<Infallible> {
        let mut signals = owner
            .listen(&[
                Rule::signal(PATH, MANAGER, "SessionNew"),
                Rule::signal(PATH, MANAGER, "SessionRemoved"),
                Rule::signal(PATH, MANAGER, "PrepareForSleep"),
                Rule::signal(PATH, MANAGER, "PrepareForShutdown"),
                Rule::properties(SESSIONS, SESSION).with_tree(),
            ])
            .await?;
        let mut sleep = delay(owner, "sleep").await;
        let mut shutdown = delay(owner, "shutdown").await;
        loop {
            reports.fact(Fact::Login(Ok(self.look(owner).await?)));
            let mut next = Some(signals.next().await?);
            while let Some(message) = next {
                let header = message.header();
                let is_about = |member: &str| header.member().is_some_and(|known| known.as_str() == member);
                if is_about("PrepareForSleep") {
                    if message.body().deserialize()? {
                        reports.change(HostChange::Suspending(sleep.take().unwrap_or_default()));
                    } else {
                        sleep = delay(owner, "sleep").await;
                        reports.change(HostChange::Resumed);
                    }
                } else if is_about("PrepareForShutdown") && message.body().deserialize()? {
                    reports.change(HostChange::ShuttingDown(shutdown.take().unwrap_or_default()));
                }
                next = signals.ready();
            }
        }
    }

    async fn look(&self, owner: &Owner) -> zbus::Result<Sessions> {
        let reply = owner.call(PATH, MANAGER, "ListSessions", &()).await?;
        let listed: Vec<(String, u32, String, String, OwnedObjectPath)> = reply.body().deserialize()?;
        let mut sessions = Vec::new();
        for (_, uid, _, _, path) in listed {
            if self.user.is_none_or(|user| user == uid) {
                // One that ended meanwhile is none.
                sessions.extend(owner.properties(path.as_str(), SESSION).await.ok());
            }
        }
        Ok(Sessions {
            is_connected: sessions.iter().any(is_connected),
            is_present: sessions.iter().any(is_present),
        })
    }
}

/// In front on its seat, or remote.
fn is_connected(session: &Properties) -> bool {
    let is_of_user = session.get::<String>("Class").is_none_or(|class| class.starts_with("user"));
    let is_closing = session.get::<String>("State").is_some_and(|state| state == "closing");
    is_of_user && !is_closing && session.get("Active").unwrap_or(false)
}

fn is_present(session: &Properties) -> bool {
    let is_set = |name| session.get(name).unwrap_or(false);
    is_connected(session) && !is_set("LockedHint") && !is_set("IdleHint")
}

/// A lock that holds `what` up for some seconds while we prepare for it. Without one, we are told and not waited for.
async fn delay(owner: &Owner, what: &str) -> Option<Delay> {
    let why = "Transfers and tasks are brought to a safe state";
    let reply = owner.call(PATH, MANAGER, "Inhibit", &(what, "Longhaul", why, "delay")).await;
    match reply.and_then(|reply| reply.body().deserialize::<zbus::OwnedFd>()) {
        Ok(lock) => Some(Delay::new(lock.into())),
        Err(error) => {
            tracing::info!(what, %error, "logind gives no lock to delay this");
            None
        }
    }
}

impl BusSource for Login {
    const NAME: &'static str = "org.freedesktop.login1";
    const DAEMON: &'static str = "systemd-logind";

    fn absent(&self, reason: String) -> Fact {
        Fact::Login(Err(reason))
    }

    async fn attend(&mut self, owner: &Owner, reports: &Reports) -> zbus::Error {
        let Err(error) = self.run(owner, reports).await;
        error
    }
}
