//! What this machine can tell at all: for each trigger and condition the source that would tell it, or why there is none
//! and what would bring one.
//!
//! A source that is only down right now counts as there: it is listened for. Deliberately absent: what it says now; that
//! is [`longhaul_contract::HostState`].

use std::collections::BTreeMap;

use longhaul_contract::{Condition, SystemTriggerType, TriggerKind};

use crate::accounts::Accounts;
use crate::activity::{Activity, Told};
use crate::bluetooth::{Bluetooth, Radio};
use crate::bus::BusSource;
use crate::facts::{Facts, Presence};
use crate::location::Location;
use crate::login::Login;
use crate::modem::Modems;
use crate::network_manager::NetworkManager;
use crate::networkd::Networkd;
use crate::{console, login, network, network_manager, networkd, work_cost};

/// Whether something can be told here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Support {
    pub is_supported: bool,
    /// Who would tell it.
    pub source: Option<String>,
    /// Why nobody can, or why not right now, with what would help.
    pub reason: Option<String>,
}

/// A daemon that has to be on the bus.
#[derive(Debug, Clone, Copy)]
struct Daemon {
    name: &'static str,
    called: &'static str,
    remedy: &'static str,
    bus: &'static str,
}

const SYSTEM: &str = "system bus";
const SESSION: &str = "session bus";

const LOGIN: Daemon = Daemon {
    name: Login::NAME,
    called: login::SOURCE,
    remedy: "it comes with systemd, or as package elogind without it",
    bus: SYSTEM,
};
const MANAGER: Daemon = Daemon {
    name: NetworkManager::NAME,
    called: network_manager::SOURCE,
    remedy: "install the package network-manager",
    bus: SYSTEM,
};
const MODEMS: Daemon = Daemon {
    name: Modems::NAME,
    called: Modems::DAEMON,
    remedy: "install the package modemmanager",
    bus: SYSTEM,
};

const BLUEZ: Daemon = Daemon {
    name: Bluetooth::NAME,
    called: Bluetooth::DAEMON,
    remedy: "install the package bluez",
    bus: SYSTEM,
};
const GEOCLUE: Daemon = Daemon {
    name: Location::NAME,
    called: Location::DAEMON,
    remedy: "install the package geoclue-2.0",
    bus: SYSTEM,
};
const ACCOUNTS: Daemon = Daemon {
    name: Accounts::NAME,
    called: Accounts::DAEMON,
    remedy: "install the package gnome-online-accounts",
    bus: SESSION,
};

/// What something depends on.
#[derive(Debug, Clone, Copy)]
enum Need {
    /// The service itself brings it about.
    Own(&'static str),
    Daemon(Daemon),
    /// logind, or whoever stands in for it.
    Session,
    Devices,
    Modem,
    Radio,
    Positions,
    Activity,
    Accounts,
    Network,
    Power,
    WorkCost,
    Zone,
    /// No source for it is built into this version.
    NotBuilt(&'static str),
}

/// The answers for all triggers and conditions, as of one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SupportTable {
    presences: BTreeMap<&'static str, Presence>,
    network: Result<(), String>,
    power: Result<&'static str, String>,
    zone: Result<&'static str, String>,
    has_messaging: bool,
    /// Whether logins at terminals are told.
    consoles: Result<(), String>,
    devices: Result<(), String>,
    radio: Option<Radio>,
    position_trouble: Option<String>,
    activity: Result<Told, String>,
    account_trouble: Option<String>,
    push: Result<String, String>,
}

impl SupportTable {
    pub(crate) fn new(facts: &Facts) -> Self {
        Self {
            presences: facts.presences.clone(),
            network: facts.reach.as_ref().map(|_| ()).map_err(Clone::clone),
            power: facts.power_source(),
            zone: facts.zone.as_ref().map(|(_, source)| *source).map_err(Clone::clone),
            radio: facts.bluetooth.as_ref().ok().copied(),
            position_trouble: facts.location.as_ref().ok().and_then(|found| found.trouble.clone()),
            activity: facts.activity.clone(),
            account_trouble: facts.accounts.clone().err(),
            push: facts.push.clone(),
            has_messaging: facts.modems.as_ref().is_ok_and(|modems| modems.has_messaging),
            consoles: facts.consoles.as_ref().map(|_| ()).map_err(Clone::clone),
            devices: facts.devices.clone(),
        }
    }

    /// Of SystemTrigger: whether there is any; [`Self::system_trigger`] tells which.
    #[must_use]
    pub fn trigger(&self, kind: TriggerKind) -> Support {
        self.answer(match kind {
            TriggerKind::SystemTrigger => Need::Own("see its types"),
            TriggerKind::TimeTrigger => Need::Own("clock"),
            TriggerKind::MaintenanceTrigger => Need::Power,
            TriggerKind::PushNotificationTrigger
            | TriggerKind::ApplicationTrigger
            | TriggerKind::MediaProcessingTrigger
            | TriggerKind::CompletionGroupTrigger => Need::Own("longhaul"),
            TriggerKind::DeviceUseTrigger
            | TriggerKind::DeviceServicingTrigger
            | TriggerKind::DeviceConnectionChangeTrigger => Need::Devices,
            TriggerKind::LocationTrigger => Need::Positions,
            TriggerKind::BluetoothLEAdvertisementWatcherTrigger
            | TriggerKind::GattCharacteristicNotificationTrigger => Need::Radio,
            TriggerKind::ActivitySensorTrigger => Need::Activity,
        })
    }

    #[must_use]
    pub fn system_trigger(&self, event: SystemTriggerType) -> Support {
        self.answer(match event {
            SystemTriggerType::SmsReceived => Need::Modem,
            SystemTriggerType::UserPresent
            | SystemTriggerType::UserAway
            | SystemTriggerType::SessionConnected => Need::Session,
            SystemTriggerType::NetworkStateChange | SystemTriggerType::InternetAvailable => Need::Network,
            SystemTriggerType::ServicingComplete
            | SystemTriggerType::LockScreenApplicationAdded
            | SystemTriggerType::LockScreenApplicationRemoved => Need::Own("longhaul"),
            SystemTriggerType::TimeZoneChange => Need::Zone,
            SystemTriggerType::BackgroundWorkCostChange => Need::WorkCost,
            SystemTriggerType::PowerStateChange => Need::Power,
            SystemTriggerType::ControlChannelReset => Need::NotBuilt("a control channel of the service"),
            SystemTriggerType::OnlineIdConnectedStateChange => Need::Accounts,
            SystemTriggerType::DefaultSignInAccountChange => {
                Need::NotBuilt("a default account to sign in with, which Linux does not have")
            }
        })
    }

    #[must_use]
    pub fn condition(&self, condition: Condition) -> Support {
        self.answer(match condition {
            Condition::UserPresent
            | Condition::UserNotPresent
            | Condition::SessionConnected
            | Condition::SessionDisconnected => Need::Session,
            Condition::InternetAvailable | Condition::InternetNotAvailable => Need::Network,
            Condition::FreeNetworkAvailable => Need::Daemon(MANAGER),
            Condition::BackgroundWorkCostNotHigh => Need::WorkCost,
            Condition::ExternalPower | Condition::BatteryPower => Need::Power,
        })
    }

    /// The activities that some sensor here can tell.
    #[must_use]
    pub fn activities(&self) -> Vec<Activity> {
        self.activity.as_ref().map(|told| told.activities.iter().copied().collect()).unwrap_or_default()
    }

    /// Whether the user has a distributor of push messages (UnifiedPush).
    #[must_use]
    pub fn push_distributor(&self) -> Support {
        match &self.push {
            Ok(name) => told_by(name),
            Err(reason) => unsupported(reason),
        }
    }

    /// A daemon that runs, and something else that may be missing for the moment.
    fn by_daemon_with(&self, daemon: Daemon, missing: Option<&str>) -> Support {
        let support = self.by_daemon(daemon);
        match missing {
            Some(missing) if support.reason.is_none() => {
                Support { reason: Some(missing.to_owned()), ..support }
            }
            _ => support,
        }
    }

    fn answer(&self, need: Need) -> Support {
        match need {
            Need::Own(source) => told_by(source),
            Need::Daemon(daemon) => self.by_daemon(daemon),
            Need::Session => match (self.by_daemon(LOGIN), &self.consoles) {
                (Support { is_supported: false, reason, .. }, Ok(())) => {
                    Support { reason, ..told_by(console::SOURCE) }
                }
                (support, _) => support,
            },
            Need::Devices => match &self.devices {
                Ok(()) => told_by("the kernel's events and sysfs"),
                Err(reason) => unsupported(reason),
            },
            Need::Modem => {
                let missing = "no modem that takes messages is plugged in or switched on now";
                self.by_daemon_with(MODEMS, (!self.has_messaging).then_some(missing))
            }
            Need::Radio => self.by_daemon_with(
                BLUEZ,
                match self.radio {
                    Some(Radio { has_adapter: false, .. }) => Some("no Bluetooth adapter is plugged in now"),
                    Some(Radio { is_on: false, .. }) => {
                        Some("every Bluetooth adapter is switched off now: `bluetoothctl power on`")
                    }
                    Some(Radio { .. }) | None => None,
                },
            ),
            Need::Positions => match self.by_daemon_with(GEOCLUE, self.position_trouble.as_deref()) {
                // It is started as soon as it is needed.
                support if self.presences.get(GEOCLUE.name) == Some(&Presence::Startable) => {
                    Support { reason: None, ..support }
                }
                support => support,
            },
            Need::Accounts => self.by_daemon_with(ACCOUNTS, self.account_trouble.as_deref()),
            Need::Activity => match &self.activity {
                Ok(told) => told_by(told.source),
                Err(reason) => unsupported(reason),
            },
            Need::Network => match (&self.network, self.by_daemon(MANAGER)) {
                (Ok(()), Support { reason: None, .. }) => {
                    told_by(&format!("{} and {}", network_manager::SOURCE, network::SOURCE))
                }
                (Ok(()), _) if self.presences.get(Networkd::NAME) == Some(&Presence::Running) => {
                    told_by(&format!("{} and {}", networkd::SOURCE, network::SOURCE))
                }
                (Ok(()), _) => told_by(network::SOURCE),
                (Err(reason), _) => unsupported(reason),
            },
            Need::Power => match &self.power {
                Ok(source) => told_by(source),
                Err(reason) => unsupported(reason),
            },
            Need::WorkCost => match &self.power {
                Ok(_) => told_by(work_cost::SOURCE),
                Err(reason) => unsupported(reason),
            },
            Need::Zone => match &self.zone {
                Ok("TZ") => unsupported(
                    "the variable TZ sets the zone of the service for as long as it runs; start it without",
                ),
                Ok(source) => told_by(source),
                // A zone without a name can be set to one that has a name.
                Err(reason) => Support { reason: Some(reason.clone()), ..told_by("/etc/localtime") },
            },
            Need::NotBuilt(what) => unsupported(&format!("this version has no source of {what}")),
        }
    }

    fn by_daemon(&self, daemon: Daemon) -> Support {
        let Daemon { name, called, remedy, bus } = daemon;
        match self.presences.get(name) {
            Some(Presence::Running) => told_by(called),
            Some(Presence::Startable) => Support {
                reason: Some(format!("{called} is installed and does not run now")),
                ..told_by(called)
            },
            Some(Presence::Lost) => Support {
                reason: Some(format!("{called} has stopped; it is listened for")),
                ..told_by(called)
            },
            Some(Presence::Absent) => unsupported(&format!("{called} is not on the {bus}: {remedy}")),
            Some(Presence::NoBus) | None if bus == SESSION => unsupported(&format!(
                "there is no session bus on which {called} could be: run the service as a user, within a session"
            )),
            Some(Presence::NoBus) | None => unsupported(&format!(
                "there is no system bus on which {called} could be: install and start dbus"
            )),
        }
    }
}

fn told_by(source: &str) -> Support {
    Support { is_supported: true, source: Some(source.to_owned()), reason: None }
}

fn unsupported(reason: &str) -> Support {
    Support { is_supported: false, source: None, reason: Some(reason.to_owned()) }
}
