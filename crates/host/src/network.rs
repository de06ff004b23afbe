//! How far the network reaches, from the kernel's own tables (rtnetlink(7)): links, addresses, and the route a
//! packet to the Internet would take. It is told of changes and never looks by itself.
//!
//! Deliberately absent: whether anything answers at the other end, what it costs, and captive portals.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::time::Duration;

use longhaul_contract::{NetworkLevel, Signal, Timestamp};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

mod netlink;

use netlink::{Link, Questions, Way, drain, subscribe};

pub use netlink::LinkTraffic;

/// The name of this source in `GET /host`.
pub const SOURCE: &str = "rtnetlink";

/// Changes come in bursts: one is looked at together with what follows it within this time.
const BURST: Duration = Duration::from_millis(50);

/// Where the Internet is taken to be: the addresses of a root name server. Only its route is asked for, nothing is
/// sent there.
const INTERNET: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(198, 41, 0, 4)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0x503, 0xba3e, 0, 0, 0, 2, 0x30)),
];

#[derive(Debug, thiserror::Error)]
#[error("the kernel's routing tables cannot be {what}: {source}")]
pub struct NetworkError {
    what: &'static str,
    source: io::Error,
}

/// What is known after a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkNews {
    /// `since` is when it was last seen to change.
    pub level: Signal<NetworkLevel>,
    /// Addresses of this machine went away or the way to the Internet is another one: connections from before may
    /// be dead without either end having said so.
    pub is_moved: bool,
}

/// Watches the network of the network namespace it was opened in. Must live inside a tokio runtime.
#[derive(Debug)]
pub struct NetworkWatch {
    changes: AsyncFd<OwnedFd>,
    questions: Questions,
    last: Reading,
    level: Signal<NetworkLevel>,
    /// The newest ways to the Internet that there were.
    ways: [Option<Way>; 2],
}

/// One look at the tables.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Reading {
    level: NetworkLevel,
    /// Over IPv4 and over IPv6.
    ways: [Option<Way>; 2],
    addresses: BTreeSet<IpAddr>,
}

impl NetworkWatch {
    /// Subscribes to changes and takes the first look.
    ///
    /// # Errors
    /// The kernel gives no rtnetlink socket, for example because of a sandbox.
    pub fn open() -> Result<Self, NetworkError> {
        let changes = subscribe().map_err(not_watched)?;
        // SAFETY: an `OwnedFd` that is never taken out names the same open socket for its whole life.
        let changes = unsafe { AsyncFd::register_with_interest(changes, Interest::READABLE) }
            .map_err(|error| not_watched(error.into()))?;
        let mut questions = Questions::open().map_err(not_read)?;
        let last = look(&mut questions).map_err(not_read)?;
        Ok(Self { changes, questions, level: known(last.level), ways: last.ways, last })
    }

    #[must_use]
    pub fn level(&self) -> Signal<NetworkLevel> {
        self.level.clone()
    }

    /// Waits until there is something new. May be dropped and called again at any point.
    ///
    /// # Errors
    /// The kernel tells no more; open a new watch, later.
    pub async fn news(&mut self) -> Result<NetworkNews, NetworkError> {
        loop {
            let mut ready = self.changes.readable().await.map_err(not_watched)?;
            tokio::time::sleep(BURST).await;
            let has_changed = drain(self.changes.get_ref()).map_err(not_watched)?;
            ready.clear_ready();
            drop(ready);
            if !has_changed {
                continue;
            }
            let reading = look(&mut self.questions).map_err(not_read)?;
            if let Some(news) = self.take(reading) {
                return Ok(news);
            }
        }
    }

    fn take(&mut self, reading: Reading) -> Option<NetworkNews> {
        let is_other_way = self
            .ways
            .iter()
            .zip(&reading.ways)
            .any(|(before, now)| before.is_some() && now.is_some() && before != now);
        let has_lost_address = !self.last.addresses.is_subset(&reading.addresses);
        let is_moved = is_other_way || has_lost_address;
        let is_level_new = reading.level != self.last.level;
        if is_level_new {
            self.level = known(reading.level);
        }
        for (before, now) in self.ways.iter_mut().zip(reading.ways) {
            *before = now.or(*before);
        }
        self.last = reading;
        (is_moved || is_level_new).then(|| NetworkNews { level: self.level.clone(), is_moved })
    }
}

/// One look at the counters of all interfaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traffic {
    pub links: Vec<LinkTraffic>,
    /// Index of the interface through which the Internet would be reached.
    pub way_out: Option<u32>,
}

impl Traffic {
    /// # Errors
    /// The kernel gives no rtnetlink socket, for example because of a sandbox.
    pub fn look() -> Result<Self, NetworkError> {
        let mut questions = Questions::open().map_err(not_read)?;
        let links = questions.traffic().map_err(not_read)?;
        let mut way_out = None;
        for destination in INTERNET {
            if way_out.is_none() {
                way_out = questions.way_to(destination).map_err(not_read)?.map(|way| way.link);
            }
        }
        Ok(Self { links, way_out })
    }
}

fn not_watched(source: io::Error) -> NetworkError {
    NetworkError { what: "watched", source }
}

fn not_read(source: io::Error) -> NetworkError {
    NetworkError { what: "read", source }
}

fn known(level: NetworkLevel) -> Signal<NetworkLevel> {
    Signal::Known { value: level, since: Timestamp::now(), source: SOURCE.to_owned() }
}

fn look(questions: &mut Questions) -> io::Result<Reading> {
    let links = questions.links()?;
    let addresses = questions.addresses()?;
    let is_usable = |link: u32| {
        links
            .iter()
            .any(|Link { index, is_loopback, is_running }| *index == link && !is_loopback && *is_running)
    };
    let mut ways = [None; 2];
    for (way, destination) in ways.iter_mut().zip(INTERNET) {
        // The kernel keeps routes over a link that has lost its other end.
        *way = questions.way_to(destination)?.filter(|way| is_usable(way.link));
    }
    let level = if ways.iter().any(Option::is_some) {
        NetworkLevel::Internet
    } else if addresses.iter().any(|address| is_usable(address.link)) {
        NetworkLevel::Local
    } else {
        NetworkLevel::None
    };
    // Link-local addresses come and go with every container, and no transfer depends on one.
    let addresses =
        addresses.iter().filter(|address| !address.is_link_local).map(|address| address.address).collect();
    Ok(Reading { level, ways, addresses })
}
