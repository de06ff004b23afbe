//! What NetworkManager knows of the connection to the Internet: whether anything answers there, and whether it costs
//! (NMConnectivityState, NMMetered).
//!
//! It learns of a pulled cable seconds later than the kernel, so it never says alone how far the network reaches.

use std::convert::Infallible;

use longhaul_contract::NetworkLevel;
use zbus::OwnedObjectPath;

use crate::bus::{BusSource, Owner, Properties, Rule};
use crate::facts::{Fact, Reports};

/// The name of this source in `GET /host`.
pub(crate) const SOURCE: &str = "NetworkManager";
/// The same where it told by signs what nobody has set.
pub(crate) const SOURCE_GUESSED: &str = "NetworkManager (guessed)";
/// The same after it went away, for as long as the network stays as it was.
pub(crate) const SOURCE_GONE: &str = "NetworkManager (gone since)";

const PATH: &str = "/org/freedesktop/NetworkManager";
const MANAGER: &str = "org.freedesktop.NetworkManager";
const ACTIVE: &str = "org.freedesktop.NetworkManager.Connection.Active";

/// Types of connections that go through a modem.
const MOBILE: [&str; 2] = ["gsm", "cdma"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Metered {
    pub(crate) is_metered: bool,
    pub(crate) is_guessed: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Managed {
    /// NMConnectivityState.
    connectivity: u32,
    /// Whether it manages the way to the Internet at all.
    has_primary: bool,
    pub(crate) metered: Option<Metered>,
    pub(crate) is_mobile: bool,
    /// What the owner calls the primary connection.
    pub(crate) connection: Option<String>,
}

impl Managed {
    fn read(properties: &Properties, connection: Option<String>) -> Self {
        let metered = match properties.get::<u32>("Metered") {
            Some(1) => Some(Metered { is_metered: true, is_guessed: false }),
            Some(2) => Some(Metered { is_metered: false, is_guessed: false }),
            Some(3) => Some(Metered { is_metered: true, is_guessed: true }),
            Some(4) => Some(Metered { is_metered: false, is_guessed: true }),
            _ => None,
        };
        let kind = properties.get::<String>("PrimaryConnectionType").unwrap_or_default();
        Self {
            connectivity: properties.get("Connectivity").unwrap_or(0),
            has_primary: properties
                .get::<OwnedObjectPath>("PrimaryConnection")
                .is_some_and(|path| path.as_str() != "/"),
            metered,
            is_mobile: MOBILE.contains(&kind.as_str()),
            connection,
        }
    }

    /// How far the connection reaches, where the check for it is on. A portal is the constrained level of Windows; a
    /// connection that reaches nothing beyond its own network is a local one.
    pub(crate) fn verdict(&self) -> Option<NetworkLevel> {
        match self.connectivity {
            _ if !self.has_primary => None,
            1 => Some(NetworkLevel::None),
            2 => Some(NetworkLevel::ConstrainedInternet),
            3 => Some(NetworkLevel::Local),
            4 => Some(NetworkLevel::Internet),
            _ => None,
        }
    }
}

#[derive(Debug)]
pub(crate) struct NetworkManager;

impl NetworkManager {
    async fn run(owner: &Owner, reports: &Reports) -> zbus::Result<Infallible> {
        let mut signals = owner.listen(&[Rule::properties(PATH, MANAGER)]).await?;
        loop {
            signals.take_all();
            let properties = owner.properties(PATH, MANAGER).await?;
            let connection = Self::connection(owner, &properties).await;
            reports.fact(Fact::Manager(Ok(Managed::read(&properties, connection))));
            signals.next().await?;
        }
    }
}

impl NetworkManager {
    /// One that ended meanwhile has no name, and the next change is on its way.
    async fn connection(owner: &Owner, properties: &Properties) -> Option<String> {
        let path = properties.get::<OwnedObjectPath>("PrimaryConnection")?;
        if path.as_str() == "/" {
            return None;
        }
        owner.properties(path.as_str(), ACTIVE).await.ok()?.get("Id")
    }
}

impl BusSource for NetworkManager {
    const NAME: &'static str = "org.freedesktop.NetworkManager";
    const DAEMON: &'static str = "NetworkManager";

    fn absent(&self, reason: String) -> Fact {
        Fact::Manager(Err(reason))
    }

    async fn attend(&mut self, owner: &Owner, reports: &Reports) -> zbus::Error {
        let Err(error) = Self::run(owner, reports).await;
        error
    }
}
