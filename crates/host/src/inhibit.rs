//! Holds off sleep and idling while something runs that is not to be torn from the network (logind's Inhibit; systemd's
//! "Inhibitor Locks").
//!
//! Nothing is asked of logind before somebody wants a lock. The network itself is not looked at: sleep is what ends it.

use std::os::fd::OwnedFd;
use std::time::Duration;

use crate::bus::{BusSource, Owner, connect_once, find_owner};
use crate::login::{Login, MANAGER, PATH};
use crate::watch::Machine;

/// A bus that does not answer must not hold up a start for longer.
const PATIENCE: Duration = Duration::from_secs(3);

/// What is held off, most first: forbidding sleep needs a right that a service in the background may lack (polkit,
/// `org.freedesktop.login1.inhibit-block-sleep`).
const WISHES: [&str; 2] = ["sleep:idle", "idle"];

/// Where locks come from. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Inhibitors {
    address: Option<String>,
}

/// Holds the machine awake until it is dropped.
#[derive(Debug)]
pub struct AwakeLock {
    what: &'static str,
    _lock: OwnedFd,
}

impl AwakeLock {
    /// What is held off: `sleep:idle` or `idle`.
    #[must_use]
    pub fn what(&self) -> &'static str {
        self.what
    }
}

impl Inhibitors {
    #[must_use]
    pub fn of(machine: &Machine) -> Self {
        Self { address: machine.system_bus.clone() }
    }

    /// Takes a lock; `why` is shown to people (systemd-inhibit --list).
    ///
    /// # Errors
    /// In words for people: why there is none.
    pub async fn hold(&self, why: &str) -> Result<AwakeLock, String> {
        match tokio::time::timeout(PATIENCE, self.ask(why)).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("logind does not answer within {PATIENCE:?}")),
        }
    }

    async fn ask(&self, why: &str) -> Result<AwakeLock, String> {
        let connection = connect_once(self.address.as_deref()).await?;
        let bus = Owner::bus(&connection);
        let owner = find_owner(&bus, Login::NAME).await.map_err(|error| error.to_string())?;
        let owner = owner.ok_or_else(|| crate::bus::not_running(Login::DAEMON))?;
        let login = Owner::new(&connection, &owner);
        let mut refusal = String::new();
        for what in WISHES {
            let reply = login.call(PATH, MANAGER, "Inhibit", &(what, "Longhaul", why, "block")).await;
            match reply.and_then(|reply| reply.body().deserialize::<zbus::OwnedFd>()) {
                Ok(lock) => return Ok(AwakeLock { what, _lock: lock.into() }),
                Err(error) => refusal = format!("logind gives no lock: {error}"),
            }
        }
        Err(refusal)
    }
}
