//! What systemd-networkd knows of the links it looks after (org.freedesktop.network1): a fallback for machines without
//! NetworkManager. It asks nobody beyond the network, so its word of the level is never more than the kernel's; of costs
//! it has no notion, but a lease of it may carry the sign by which phones tell that they are metered.

use std::convert::Infallible;
use std::path::PathBuf;

use longhaul_contract::NetworkLevel;

use crate::bus::{BusSource, Owner, Properties, Rule};
use crate::facts::{Fact, Reports};
use crate::network::Traffic;

/// The name of this source in `GET /host`.
pub(crate) const SOURCE: &str = "systemd-networkd";
/// The same where a lease gives a sign.
pub(crate) const SOURCE_GUESSED: &str = "systemd-networkd (guessed)";

const PATH: &str = "/org/freedesktop/network1";
const MANAGER: &str = "org.freedesktop.network1.Manager";

/// Below the root; one file for each link, by its index.
const LEASES: &str = "run/systemd/netif/leases";
/// `ANDROID_METERED` as a lease file has it (DHCP option 43).
const METERED: &str = "VENDOR_SPECIFIC=414e44524f49445f4d455445524544";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Managed {
    /// As far as its links have come; nothing where it looks after none.
    pub(crate) level: Option<NetworkLevel>,
    /// The lease of the way to the Internet says that it is metered.
    pub(crate) is_lease_metered: bool,
}

#[derive(Debug)]
pub(crate) struct Networkd {
    root: PathBuf,
}

impl Networkd {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    async fn run(&self, owner: &Owner, reports: &Reports) -> zbus::Result<Infallible> {
        let mut signals = owner.listen(&[Rule::properties(PATH, MANAGER)]).await?;
        loop {
            signals.take_all();
            let properties = owner.properties(PATH, MANAGER).await?;
            let managed = Managed { level: level(&properties), is_lease_metered: self.is_lease_metered() };
            reports.fact(Fact::Networkd(Ok(managed)));
            signals.next().await?;
        }
    }

    fn is_lease_metered(&self) -> bool {
        let Some(link) = Traffic::look().ok().and_then(|traffic| traffic.way_out) else { return false };
        let lease = std::fs::read_to_string(self.root.join(LEASES).join(link.to_string()));
        lease.is_ok_and(|lease| lease.lines().any(|line| line.starts_with(METERED)))
    }
}

/// OperationalState of networkctl(1).
fn level(properties: &Properties) -> Option<NetworkLevel> {
    match properties.get::<String>("OperationalState")?.as_str() {
        "off" | "no-carrier" | "dormant" | "degraded-carrier" | "carrier" => Some(NetworkLevel::None),
        "degraded" | "enslaved" => Some(NetworkLevel::Local),
        "routable" => Some(NetworkLevel::Internet),
        _ => None,
    }
}

impl BusSource for Networkd {
    const NAME: &'static str = "org.freedesktop.network1";
    const DAEMON: &'static str = "systemd-networkd";

    fn absent(&self, reason: String) -> Fact {
        Fact::Networkd(Err(reason))
    }

    async fn attend(&mut self, owner: &Owner, reports: &Reports) -> zbus::Error {
        let Err(error) = self.run(owner, reports).await;
        error
    }
}
