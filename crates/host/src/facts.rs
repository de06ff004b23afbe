//! What each source said last, and the one value that follows from all of it: which source counts when several speak
//! about the same thing, and since when something holds.

use std::collections::BTreeMap;

use longhaul_contract::{HostState, Network, NetworkCost, NetworkLevel, Power, Signal, Timestamp};
use tokio::sync::mpsc;

use crate::watch::HostChange;
use crate::{
    activity, bluetooth, console, location, login, modem, network, network_manager, networkd, power,
    work_cost,
};

/// What a source says, or why it cannot say anything.
pub(crate) type Found<T> = Result<T, String>;

/// A source that can be missing on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Slot {
    Reach,
    Manager,
    Modems,
    Login,
    Upower,
    Supplies,
    Profiles,
    OldProfiles,
    Zone,
    Networkd,
    Consoles,
    Pressure,
    Devices,
    Bluetooth,
    Location,
    Activity,
    Accounts,
    Push,
}

impl Slot {
    pub(crate) const ALL: [Self; 18] = [
        Self::Reach,
        Self::Manager,
        Self::Modems,
        Self::Login,
        Self::Upower,
        Self::Supplies,
        Self::Profiles,
        Self::OldProfiles,
        Self::Zone,
        Self::Networkd,
        Self::Consoles,
        Self::Pressure,
        Self::Devices,
        Self::Bluetooth,
        Self::Location,
        Self::Activity,
        Self::Accounts,
        Self::Push,
    ];
}

/// One source's newest word.
#[derive(Debug)]
pub(crate) enum Fact {
    /// How far the kernel's tables reach.
    Reach(Found<NetworkLevel>),
    Manager(Found<network_manager::Managed>),
    Modems(Found<modem::ModemState>),
    Login(Found<login::Sessions>),
    Upower(Found<Power>),
    Supplies(Found<Power>),
    /// Whether the profile saves power.
    Profiles(Found<bool>),
    OldProfiles(Found<bool>),
    Zone(Found<(String, &'static str)>),
    Networkd(Found<networkd::Managed>),
    Consoles(Found<console::Consoles>),
    /// Whether work has to wait for processors, memory or disks.
    Pressure(Found<bool>),
    /// Whether the kernel tells of devices at all.
    Devices(Found<()>),
    Bluetooth(Found<bluetooth::Radio>),
    Location(Found<location::Positions>),
    Activity(Found<activity::Told>),
    /// Whether there is somebody who knows of online accounts.
    Accounts(Found<()>),
    /// The name of the distributor.
    Push(Found<String>),
}

impl Fact {
    pub(crate) fn slot(&self) -> Slot {
        match self {
            Self::Reach(_) => Slot::Reach,
            Self::Manager(_) => Slot::Manager,
            Self::Modems(_) => Slot::Modems,
            Self::Login(_) => Slot::Login,
            Self::Upower(_) => Slot::Upower,
            Self::Supplies(_) => Slot::Supplies,
            Self::Profiles(_) => Slot::Profiles,
            Self::OldProfiles(_) => Slot::OldProfiles,
            Self::Zone(_) => Slot::Zone,
            Self::Networkd(_) => Slot::Networkd,
            Self::Consoles(_) => Slot::Consoles,
            Self::Pressure(_) => Slot::Pressure,
            Self::Devices(_) => Slot::Devices,
            Self::Bluetooth(_) => Slot::Bluetooth,
            Self::Location(_) => Slot::Location,
            Self::Activity(_) => Slot::Activity,
            Self::Accounts(_) => Slot::Accounts,
            Self::Push(_) => Slot::Push,
        }
    }
}

/// Whether a daemon is on the bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    Running,
    /// Installed, and started when somebody calls it.
    Startable,
    /// It was there before.
    Lost,
    Absent,
    NoBus,
}

/// What sources send.
#[derive(Debug)]
pub(crate) enum Report {
    Fact(Fact),
    Change(HostChange),
    Presence(&'static str, Presence),
}

/// Where sources send it.
#[derive(Debug, Clone)]
pub(crate) struct Reports(pub(crate) mpsc::UnboundedSender<Report>);

impl Reports {
    pub(crate) fn fact(&self, fact: Fact) {
        // Nobody listens only while everything is being stopped.
        let _ = self.0.send(Report::Fact(fact));
    }

    pub(crate) fn change(&self, change: HostChange) {
        let _ = self.0.send(Report::Change(change));
    }

    pub(crate) fn presence(&self, name: &'static str, presence: Presence) {
        let _ = self.0.send(Report::Presence(name, presence));
    }
}

/// Everything that was said.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) reach: Found<NetworkLevel>,
    manager: Found<network_manager::Managed>,
    /// What the manager said of costs before it went away. Transfers that wait because of it shall not start only
    /// because nobody is left to ask; it holds until the network changes.
    gone: Option<network_manager::Managed>,
    pub(crate) modems: Found<modem::ModemState>,
    pub(crate) login: Found<login::Sessions>,
    upower: Found<Power>,
    supplies: Found<Power>,
    profiles: Found<bool>,
    old_profiles: Found<bool>,
    pub(crate) zone: Found<(String, &'static str)>,
    networkd: Found<networkd::Managed>,
    pub(crate) consoles: Found<console::Consoles>,
    pressure: Found<bool>,
    pub(crate) devices: Found<()>,
    pub(crate) bluetooth: Found<bluetooth::Radio>,
    pub(crate) location: Found<location::Positions>,
    pub(crate) activity: Found<activity::Told>,
    pub(crate) accounts: Found<()>,
    pub(crate) push: Found<String>,
    pub(crate) presences: BTreeMap<&'static str, Presence>,
}

impl Default for Facts {
    fn default() -> Self {
        fn nothing<T>() -> Found<T> {
            Err("not asked yet".to_owned())
        }
        Self {
            reach: nothing(),
            manager: nothing(),
            gone: None,
            modems: nothing(),
            login: nothing(),
            upower: nothing(),
            supplies: nothing(),
            profiles: nothing(),
            old_profiles: nothing(),
            zone: nothing(),
            networkd: nothing(),
            consoles: nothing(),
            pressure: nothing(),
            devices: nothing(),
            bluetooth: nothing(),
            location: nothing(),
            activity: nothing(),
            accounts: nothing(),
            push: nothing(),
            presences: BTreeMap::new(),
        }
    }
}

impl Facts {
    pub(crate) fn take(&mut self, fact: Fact) {
        match fact {
            Fact::Reach(found) => {
                if self.reach.is_ok() && self.reach != found {
                    self.forget_gone();
                }
                self.reach = found;
            }
            Fact::Manager(found) => {
                self.gone = match (&found, &self.manager) {
                    (Ok(_), _) => None,
                    (Err(_), Ok(before)) => Some(before.clone()),
                    (Err(_), Err(_)) => self.gone.take(),
                };
                self.manager = found;
            }
            Fact::Modems(found) => self.modems = found,
            Fact::Login(found) => self.login = found,
            Fact::Upower(found) => self.upower = found,
            Fact::Supplies(found) => self.supplies = found,
            Fact::Profiles(found) => self.profiles = found,
            Fact::OldProfiles(found) => self.old_profiles = found,
            Fact::Zone(found) => self.zone = found,
            Fact::Networkd(found) => self.networkd = found,
            Fact::Consoles(found) => self.consoles = found,
            Fact::Pressure(found) => self.pressure = found,
            Fact::Devices(found) => self.devices = found,
            Fact::Bluetooth(found) => self.bluetooth = found,
            Fact::Location(found) => self.location = found,
            Fact::Activity(found) => self.activity = found,
            Fact::Accounts(found) => self.accounts = found,
            Fact::Push(found) => self.push = found,
        }
    }

    /// A daemon was seen, or seen to be missing; one that was there once is only away.
    pub(crate) fn see(&mut self, name: &'static str, presence: Presence) {
        let known = self.presences.entry(name).or_insert(presence);
        *known = match (*known, presence) {
            (Presence::Running | Presence::Lost, Presence::Absent | Presence::NoBus) => Presence::Lost,
            (_, presence) => presence,
        };
    }

    pub(crate) fn power_source(&self) -> Found<&'static str> {
        match (&self.upower, &self.supplies) {
            (Ok(_), _) => Ok(power::UPOWER),
            (Err(_), Ok(_)) => Ok(power::SUPPLIES),
            (Err(daemon), Err(files)) => Err(format!("{daemon}; {files}")),
        }
    }

    /// The network is another one: what held for the old one no longer counts.
    pub(crate) fn forget_gone(&mut self) {
        self.gone = None;
    }

    /// The machine as all sources together tell it; what has not changed since `before` keeps its time.
    pub(crate) fn state(&self, before: &HostState, now: Timestamp) -> HostState {
        let power = self.power(now);
        let energy_saver = self.energy_saver(now);
        let user_present = self.session(now, |sessions| sessions.is_present, |consoles| consoles.is_present);
        let is_pressed = self.pressure == Ok(true);
        let work_cost = work_cost::of(power.value(), energy_saver.value(), user_present.value(), is_pressed);
        let work_cost = match work_cost {
            Ok((value, source)) => known(value, source, now),
            Err(reason) => Signal::unknown(reason),
        };
        HostState {
            network: Network {
                level: keep(&before.network.level, self.level(now)),
                cost: keep(&before.network.cost, self.cost(now)),
            },
            energy_saver: keep(&before.energy_saver, energy_saver),
            power: keep(&before.power, power),
            session_connected: keep(
                &before.session_connected,
                self.session(now, |sessions| sessions.is_connected, |consoles| Some(consoles.is_connected)),
            ),
            user_present: keep(&before.user_present, user_present),
            work_cost: keep(&before.work_cost, work_cost),
            time_zone: keep(
                &before.time_zone,
                match &self.zone {
                    Ok((name, source)) => known(name.clone(), source, now),
                    Err(reason) => Signal::unknown(reason),
                },
            ),
            data_plans: Vec::new(),
        }
    }

    /// The connection of NetworkManager that leads to the Internet, as its owner calls it.
    pub(crate) fn connection(&self) -> Option<&str> {
        self.manager.as_ref().ok()?.connection.as_deref()
    }

    /// The kernel knows first that a link is gone; NetworkManager knows whether anything answers. It counts only for
    /// a way to the Internet that it manages.
    fn level(&self, now: Timestamp) -> Signal<NetworkLevel> {
        let verdict = self.manager.as_ref().ok().and_then(network_manager::Managed::verdict);
        let verdict = verdict.map(|level| (level, network_manager::SOURCE)).or_else(|| {
            let managed = self.networkd.as_ref().ok()?;
            Some((managed.level?, networkd::SOURCE))
        });
        match (&self.reach, verdict) {
            // NetworkManager asks somebody beyond the network; networkd knows no more than the kernel's tables, and
            // counts where it knows of less.
            (Ok(reach), Some((verdict, networkd::SOURCE))) if verdict < *reach => {
                known(verdict, networkd::SOURCE, now)
            }
            (Ok(reach), Some((verdict, network_manager::SOURCE))) if verdict <= *reach => {
                known(verdict, network_manager::SOURCE, now)
            }
            (Ok(reach), _) => known(*reach, network::SOURCE, now),
            (Err(_), Some((verdict, source))) => known(verdict, source, now),
            (Err(reason), None) => Signal::unknown(reason),
        }
    }

    fn cost(&self, now: Timestamp) -> Signal<NetworkCost> {
        let (managed, is_gone) = match (&self.manager, &self.gone) {
            (Ok(managed), _) => (managed, false),
            (Err(_), Some(gone)) => (gone, true),
            (Err(reason), None) => {
                return match &self.networkd {
                    // It tells what a lease says, and only that the network is metered.
                    Ok(networkd::Managed { is_lease_metered: true, .. }) => {
                        let cost = NetworkCost { is_metered: true, ..NetworkCost::default() };
                        known(cost, networkd::SOURCE_GUESSED, now)
                    }
                    _ => Signal::unknown(reason),
                };
            }
        };
        let Some(metered) = managed.metered else {
            return Signal::unknown("NetworkManager does not know whether the connection is metered");
        };
        let is_roaming = managed.is_mobile && self.modems.as_ref().is_ok_and(|modems| modems.is_roaming);
        let cost = NetworkCost { is_metered: metered.is_metered, is_roaming, ..NetworkCost::default() };
        let source = match (is_gone, metered.is_guessed) {
            (true, _) => network_manager::SOURCE_GONE,
            (false, true) => network_manager::SOURCE_GUESSED,
            (false, false) => network_manager::SOURCE,
        };
        known(cost, source, now)
    }

    fn power(&self, now: Timestamp) -> Signal<Power> {
        match (&self.upower, &self.supplies) {
            (Ok(power), _) => known(*power, power::UPOWER, now),
            (Err(_), Ok(power)) => known(*power, power::SUPPLIES, now),
            (Err(daemon), Err(files)) => Signal::unknown(&format!("{daemon}; {files}")),
        }
    }

    fn energy_saver(&self, now: Timestamp) -> Signal<bool> {
        match (&self.profiles, &self.old_profiles) {
            (Ok(is_on), _) | (Err(_), Ok(is_on)) => known(*is_on, power::PROFILES, now),
            (Err(reason), Err(_)) => Signal::unknown(reason),
        }
    }

    /// logind knows of sessions; without it, who is logged in at terminals does.
    fn session(
        &self,
        now: Timestamp,
        of: impl Fn(&login::Sessions) -> bool,
        of_consoles: impl Fn(&console::Consoles) -> Option<bool>,
    ) -> Signal<bool> {
        match (&self.login, self.consoles.as_ref().ok().and_then(of_consoles)) {
            (Ok(sessions), _) => known(of(sessions), login::SOURCE, now),
            (Err(_), Some(value)) => known(value, console::SOURCE, now),
            (Err(reason), None) => match &self.consoles {
                Ok(_) => Signal::unknown("nobody tells whether the user of a graphical session is there"),
                Err(_) => Signal::unknown(reason),
            },
        }
    }
}

fn known<T>(value: T, source: &str, since: Timestamp) -> Signal<T> {
    Signal::Known { value, since, source: source.to_owned() }
}

/// A value that stays the same holds since it began, whoever tells it.
fn keep<T: PartialEq>(before: &Signal<T>, now: Signal<T>) -> Signal<T> {
    match (before, now) {
        (Signal::Known { value: old, since, .. }, Signal::Known { value, source, .. }) if *old == value => {
            Signal::Known { value, since: *since, source }
        }
        (_, now) => now,
    }
}
