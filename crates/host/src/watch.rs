//! All sources of the machine joined: one state, and one stream of what changes in it.
//!
//! Each source runs by itself and says what it sees; what follows from all of it is worked out in one place
//! ([`crate::facts`]). Nothing is looked at again before something says that it changed.

use std::collections::{BTreeSet, VecDeque};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use longhaul_contract::{HostState, SystemTriggerType, Timestamp};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::accounts::Accounts;
use crate::activity::follow_activity;
use crate::bluetooth::Bluetooth;
use crate::bus::{Connector, follow};
use crate::clock::ClockChange;
use crate::devices::DeviceEvent;
use crate::facts::{Fact, Facts, Report, Reports, Slot};
use crate::kernel;
use crate::location::Location;
use crate::login::Login;
use crate::modem::Modems;
use crate::network_manager::NetworkManager;
use crate::networkd::Networkd;
use crate::power::{Profiles, Upower};
use crate::support::SupportTable;
use crate::unified_push::follow_push;
use crate::wants::{WantId, Wants};

/// How long the first look waits for sources that take their time; what comes later is a change.
const FIRST_LOOK_MAX: Duration = Duration::from_secs(2);

/// Which machine is asked: this one, or for tests one that is put together.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Where its files begin.
    pub root: PathBuf,
    /// Address of the system bus; the usual one when absent.
    pub system_bus: Option<String>,
    /// Address of the bus of the user's session, where the service belongs to one.
    pub session_bus: Option<String>,
    /// Value of TZ.
    pub time_zone: Option<String>,
    /// Whose sessions count; below 1000 those of everybody.
    pub uid: u32,
}

impl Machine {
    /// This machine, as the environment describes it.
    #[must_use]
    pub fn here() -> Self {
        Self {
            root: PathBuf::from("/"),
            system_bus: std::env::var("DBUS_SYSTEM_BUS_ADDRESS").ok().filter(|address| !address.is_empty()),
            session_bus: session_bus(),
            time_zone: std::env::var("TZ").ok(),
            uid: rustix::process::getuid().as_raw(),
        }
    }
}

/// Where the session's bus is, if there is one (D-Bus specification, well-known message bus instances; systemd's place
/// for it otherwise).
fn session_bus() -> Option<String> {
    let named = std::env::var("DBUS_SESSION_BUS_ADDRESS").ok().filter(|address| !address.is_empty());
    let usual = || std::env::var("XDG_RUNTIME_DIR").ok().map(|folder| format!("unix:path={folder}/bus"));
    named.or_else(usual)
}

/// What happened to the machine.
#[derive(Debug)]
pub enum HostChange {
    /// [`HostWatch::state`] or [`HostWatch::connection`] is another one.
    State,
    /// Addresses of this machine went away or the way to the Internet is another one: connections from before may be
    /// dead without either end having said so.
    Moved,
    /// The wall clock was set, or the machine has slept.
    Clock(ClockChange),
    /// The machine is about to sleep and waits for [`Delay`] to be dropped, for some seconds.
    Suspending(Delay),
    /// It woke up: connections from before are as good as dead.
    Resumed,
    /// As [`Self::Suspending`], for the end of everything.
    ShuttingDown(Delay),
    /// A device has come or gone; `None` when events were lost.
    Device(Option<DeviceEvent>),
    /// What only concerns tasks that wait for it, with the details they get.
    Event(SystemTriggerType, serde_json::Value),
    /// What somebody wants to know has happened, with the details they get.
    Wanted(WantId, serde_json::Value),
    /// A push message has come for somebody, as its sender sent it.
    Pushed { id: WantId, channel: String, message: Vec<u8> },
    /// To be handed over with the same want after a restart of the caller. It follows what it rests on.
    Kept(WantId, serde_json::Value),
}

/// Holds up sleep or shutdown until it is dropped, but no longer than the machine's owner allows
/// (InhibitDelayMaxSec of logind.conf(5)).
#[derive(Debug, Default)]
pub struct Delay(Option<OwnedFd>);

impl Delay {
    pub(crate) fn new(lock: OwnedFd) -> Self {
        Self(Some(lock))
    }

    /// Whether the machine really waits.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.0.is_some()
    }
}

/// Watches the machine. Must live inside a tokio runtime; everything ends when it is dropped.
#[derive(Debug)]
pub struct HostWatch {
    facts: Facts,
    state: HostState,
    support: watch::Sender<SupportTable>,
    wants: watch::Sender<Wants>,
    reports: mpsc::UnboundedReceiver<Report>,
    /// Whether logind tells of sessions, for those who stand in for it.
    has_login: watch::Sender<Option<bool>>,
    /// Changes seen during the first look.
    early: VecDeque<HostChange>,
    _sources: JoinSet<()>,
}

impl HostWatch {
    /// Starts all sources and waits until each has said something, or two seconds.
    pub async fn open(machine: Machine) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        let has_login = watch::Sender::new(None);
        let wants = watch::Sender::new(Wants::new());
        let mut host = Self {
            wants: wants.clone(),
            support: watch::Sender::new(SupportTable::new(&Facts::default())),
            facts: Facts::default(),
            state: HostState::unmeasured(),
            reports: receiver,
            early: VecDeque::new(),
            _sources: start(machine, &wants, &Reports(sender), has_login.subscribe()),
            has_login,
        };
        let mut awaited = BTreeSet::from(Slot::ALL);
        let deadline = Instant::now() + FIRST_LOOK_MAX;
        while !awaited.is_empty() {
            let Ok(Some(report)) = tokio::time::timeout_at(deadline, host.reports.recv()).await else {
                break;
            };
            if let Report::Fact(fact) = &report {
                awaited.remove(&fact.slot());
            }
            if let Some(change @ (HostChange::Suspending(_) | HostChange::ShuttingDown(_))) =
                host.take(report)
            {
                host.early.push_back(change);
            }
        }
        host
    }

    /// The machine as it is now, as far as anybody knows.
    #[must_use]
    pub fn state(&self) -> &HostState {
        &self.state
    }

    /// The connection of NetworkManager that leads to the Internet, as its owner calls it.
    #[must_use]
    pub fn connection(&self) -> Option<&str> {
        self.facts.connection()
    }

    /// Waits for the next change. May be dropped and called again at any point.
    pub async fn next(&mut self) -> HostChange {
        if let Some(change) = self.early.pop_front() {
            return change;
        }
        loop {
            let Some(report) = self.reports.recv().await else { return std::future::pending().await };
            if let Some(change) = self.take(report) {
                return change;
            }
        }
    }

    /// What this machine can tell at all; always current.
    #[must_use]
    pub fn support(&self) -> watch::Receiver<SupportTable> {
        self.support.subscribe()
    }

    /// What is to be watched for beyond the state; nothing at first.
    #[must_use]
    pub fn wants(&self) -> watch::Sender<Wants> {
        self.wants.clone()
    }

    fn update_support(&self) {
        let table = SupportTable::new(&self.facts);
        self.support.send_if_modified(|known| {
            let is_other = *known != table;
            *known = table;
            is_other
        });
    }

    fn take(&mut self, report: Report) -> Option<HostChange> {
        match report {
            Report::Fact(fact) => {
                if let Fact::Login(found) = &fact {
                    let has_login = Some(found.is_ok());
                    self.has_login.send_if_modified(|known| std::mem::replace(known, has_login) != has_login);
                }
                let connection = self.connection().map(ToOwned::to_owned);
                self.facts.take(fact);
                self.update_support();
                let state = self.facts.state(&self.state, Timestamp::now());
                let is_other = state != self.state || connection.as_deref() != self.connection();
                self.state = state;
                is_other.then_some(HostChange::State)
            }
            Report::Change(change) => {
                if matches!(change, HostChange::Moved) {
                    self.facts.forget_gone();
                    self.state = self.facts.state(&self.state, Timestamp::now());
                }
                Some(change)
            }
            Report::Presence(name, presence) => {
                self.facts.see(name, presence);
                self.update_support();
                None
            }
        }
    }
}

fn start(
    machine: Machine,
    wants: &watch::Sender<Wants>,
    reports: &Reports,
    has_login: watch::Receiver<Option<bool>>,
) -> JoinSet<()> {
    let login = Login::of(machine.uid);
    let (root, of_user) = (machine.root.clone(), login.user());
    let mut sources = JoinSet::new();
    sources.spawn(kernel::follow_network(reports.clone()));
    sources.spawn(kernel::follow_zone(machine.root.clone(), machine.time_zone, reports.clone()));
    sources.spawn(kernel::follow_supplies(machine.root.clone(), reports.clone()));
    sources.spawn(follow_activity(machine.root, wants.subscribe(), reports.clone()));
    sources.spawn(kernel::follow_clock(reports.clone()));
    sources.spawn(kernel::follow_devices(reports.clone()));
    sources.spawn(kernel::follow_pressure(root.clone(), reports.clone()));
    sources.spawn(kernel::follow_consoles(root.clone(), of_user, has_login, reports.clone()));
    let (connector, bus) = Connector::system(machine.system_bus);
    sources.spawn(connector.run());
    sources.spawn(follow(bus.clone(), login, reports.clone()));
    sources.spawn(follow(bus.clone(), Upower, reports.clone()));
    sources.spawn(follow(bus.clone(), Profiles::<false>, reports.clone()));
    sources.spawn(follow(bus.clone(), Profiles::<true>, reports.clone()));
    sources.spawn(follow(bus.clone(), NetworkManager, reports.clone()));
    sources.spawn(follow(bus.clone(), Networkd::new(root), reports.clone()));
    sources.spawn(follow(bus.clone(), Modems::default(), reports.clone()));
    sources.spawn(follow(bus.clone(), Bluetooth::new(wants.subscribe()), reports.clone()));
    sources.spawn(follow(bus, Location::new(wants.subscribe()), reports.clone()));
    let (connector, session) = Connector::session(machine.session_bus);
    sources.spawn(connector.run());
    sources.spawn(follow(session.clone(), Accounts::default(), reports.clone()));
    sources.spawn(follow_push(session, wants.subscribe(), reports.clone()));
    sources
}
