//! What the machine is like: what its sources say, and what an administrator sets in their place. The engine hears of
//! the two together.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::tz::TimeZone;
use longhaul_contract::{
    BatteryStatus, DataPlanUse, ErrorCode, HostSignal, HostState, NetworkCost, NetworkLevel, Power, Signal,
    Timestamp, WorkCost,
};
use longhaul_engine::Fact;
use longhaul_host::SupportTable;
use longhaul_host::data_plan::DataPlan;
use longhaul_store::{Reader, StoreError, Write, Writer};
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};

use crate::data_plans::{Count, DataPlans};
use crate::heart::Heart;
use crate::http::{Answer, Refused};
use crate::triggers::Reach;

/// The setting of the store that holds what is set by hand.
const SETTING: &str = "host";

/// The source of a signal that was set by hand.
const ADMINISTRATOR: &str = "administrator";

/// A signal set by hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Set {
    value: String,
    since: Timestamp,
}

type Overrides = BTreeMap<HostSignal, Set>;

pub(crate) struct HostDesk {
    heart: Heart,
    writer: Writer,
    state: Mutex<Told>,
    /// Which events this machine can tell of at all.
    support: watch::Receiver<SupportTable>,
    /// One administrator at a time: what is kept is what holds.
    turn: tokio::sync::Mutex<()>,
    /// Counts of data plans are to be looked at.
    prod: Notify,
}

/// What the sources say now.
#[derive(Debug, Clone)]
pub(crate) struct Sensed {
    pub(crate) state: HostState,
    /// NetworkManager's name of the way to the Internet.
    pub(crate) connection: Option<String>,
}

/// What the sources say, what follows from the owner's data plans, and what is set in its place.
pub(crate) struct Told {
    sensed: Sensed,
    plans: DataPlans,
    overrides: Overrides,
}

impl HostDesk {
    pub(crate) fn new(
        heart: Heart,
        writer: Writer,
        told: Told,
        support: watch::Receiver<SupportTable>,
    ) -> Self {
        Self {
            heart,
            writer,
            state: Mutex::new(told),
            support,
            turn: tokio::sync::Mutex::default(),
            prod: Notify::new(),
        }
    }

    /// What the machine is like and what it can tell, for questions about triggers.
    pub(crate) fn reach(&self) -> Reach {
        Reach { host: self.host(), table: self.support.borrow().clone() }
    }

    fn state(&self) -> MutexGuard<'_, Told> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What holds now.
    pub(crate) fn host(&self) -> HostState {
        self.state().host()
    }

    /// The sources say this.
    pub(crate) fn sensed(&self, sensed: Sensed) {
        let mut state = self.state();
        // What went over the line up to now belongs to the connection of before.
        state.count();
        state.sensed = sensed;
        state.count();
        self.heart.report(None, Fact::Host(Box::new(state.host())));
        drop(state);
        self.prod();
    }

    /// The network or the clock is not as it was, or the machine is about to stop: what was used up to now is to be kept.
    pub(crate) fn prod(&self) {
        self.prod.notify_one();
    }

    pub(crate) async fn prodded(&self) {
        self.prod.notified().await;
    }

    pub(crate) fn has_data_plans(&self) -> bool {
        !self.state().plans.is_empty()
    }

    /// What was used of each data plan up to now. The engine hears what follows from it.
    pub(crate) fn data_plans(&self) -> Vec<DataPlanUse> {
        self.look().usages
    }

    fn look(&self) -> Count {
        let mut state = self.state();
        let count = state.count();
        if count.is_verdict_new {
            self.heart.report(None, Fact::Host(Box::new(state.host())));
        }
        count
    }

    /// Counts, and keeps the counts: soon, or now if it `is_urgent`. Answers when a verdict ends by itself.
    pub(crate) async fn count(&self, is_urgent: bool) -> Option<Timestamp> {
        let count = self.look();
        let write = self.state().plans.take_unkept(is_urgent || count.is_verdict_new);
        if let Some(write) = write
            && let Err(error) = self.writer.submit(vec![write]).await
        {
            tracing::warn!(%error, "what was used of data plans cannot be kept");
        }
        count.changes_at
    }

    /// Sets a signal by hand, or gives it back to its source. It is kept when this returns, and the engine has heard of
    /// it.
    pub(crate) async fn put(&self, signal: HostSignal, value: Option<String>) -> Answer<HostState> {
        let _turn = self.turn.lock().await;
        let mut overrides = self.state().overrides.clone();
        match value {
            Some(value) => {
                let set = Set { value, since: Timestamp::now() };
                apply(&mut HostState::unmeasured(), signal, &set)
                    .map_err(|detail| Refused::new(ErrorCode::InvalidField, detail).with_field("/value"))?;
                overrides.insert(signal, set);
            }
            None => {
                overrides.remove(&signal);
            }
        }
        let value = serde_json::to_string(&overrides).map_err(|error| Refused::internal(&error))?;
        self.writer.submit(vec![Write::Setting { name: SETTING.to_owned(), value: Some(value) }]).await?;
        let host = {
            let mut state = self.state();
            state.overrides = overrides;
            let host = state.host();
            self.heart.report(None, Fact::Host(Box::new(host.clone())));
            host
        };
        self.heart.ask(|_, _| ()).await?;
        Ok(host)
    }
}

impl Told {
    /// With what the store keeps.
    pub(crate) fn with_kept(sensed: Sensed, plans: BTreeMap<String, DataPlan>, reader: &dyn Reader) -> Self {
        let overrides = kept(reader).unwrap_or_else(|error| {
            tracing::error!(%error, "host signals that were set by hand cannot be read");
            Overrides::new()
        });
        let mut told = Self { sensed, plans: DataPlans::load(plans, reader), overrides };
        told.count();
        told
    }

    fn count(&mut self) -> Count {
        let zone = self.host().time_zone.value().and_then(|name| TimeZone::get(name).ok());
        let zone = zone.unwrap_or(TimeZone::UTC);
        self.plans.count(self.sensed.connection.as_deref(), &zone, Timestamp::now())
    }

    pub(crate) fn host(&self) -> HostState {
        let mut host = self.sensed.state.clone();
        self.plans.apply(&mut host);
        for (signal, set) in &self.overrides {
            if let Err(problem) = apply(&mut host, *signal, set) {
                tracing::warn!(signal = signal.word(), %problem, "a host signal set by hand does not count");
            }
        }
        host
    }
}

fn kept(reader: &dyn Reader) -> Result<Overrides, StoreError> {
    let Some(text) = reader.setting(SETTING)? else { return Ok(Overrides::new()) };
    serde_json::from_str(&text).map_err(|error| StoreError::CannotRead(error.to_string()))
}

/// # Errors
/// The signal cannot have this value.
fn apply(host: &mut HostState, signal: HostSignal, set: &Set) -> Result<(), String> {
    fn known<T>(value: T, since: Timestamp) -> Signal<T> {
        Signal::Known { value, since, source: ADMINISTRATOR.to_owned() }
    }
    let Set { value, since } = set;
    let value = value.trim();
    match signal {
        HostSignal::NetworkLevel => host.network.level = known(level(value)?, *since),
        HostSignal::NetworkCost => host.network.cost = known(cost(value)?, *since),
        HostSignal::EnergySaver => host.energy_saver = known(switch(value)?, *since),
        HostSignal::Power => host.power = known(power(value)?, *since),
        HostSignal::SessionConnected => host.session_connected = known(switch(value)?, *since),
        HostSignal::UserPresent => host.user_present = known(switch(value)?, *since),
        HostSignal::WorkCost => host.work_cost = known(work_cost(value)?, *since),
        HostSignal::TimeZone => host.time_zone = known(time_zone(value)?, *since),
    }
    Ok(())
}

fn switch(value: &str) -> Result<bool, String> {
    value.parse().map_err(|_| format!("{value:?} is neither true nor false"))
}

fn level(value: &str) -> Result<NetworkLevel, String> {
    match value {
        "None" => Ok(NetworkLevel::None),
        "Local" => Ok(NetworkLevel::Local),
        "ConstrainedInternet" => Ok(NetworkLevel::ConstrainedInternet),
        "Internet" => Ok(NetworkLevel::Internet),
        _ => Err(format!("{value:?} is not one of None, Local, ConstrainedInternet, Internet")),
    }
}

fn cost(value: &str) -> Result<NetworkCost, String> {
    let metered = NetworkCost { is_metered: true, ..NetworkCost::default() };
    match value {
        "unmetered" => Ok(NetworkCost::default()),
        "metered" => Ok(metered),
        "approaching" => Ok(NetworkCost { is_approaching_data_limit: true, ..metered }),
        "roaming" => Ok(NetworkCost { is_roaming: true, ..metered }),
        "over" => Ok(NetworkCost { is_over_data_limit: true, ..metered }),
        "restricted" => Ok(NetworkCost { is_background_data_restricted: true, ..metered }),
        _ => {
            Err(format!("{value:?} is not one of unmetered, metered, approaching, roaming, over, restricted"))
        }
    }
}

fn power(value: &str) -> Result<Power, String> {
    let refuse = || {
        format!("{value:?} is neither external nor battery, nor a battery with its charge such as battery:40")
    };
    let (word, charge) = value.split_once(':').map_or((value, None), |(word, charge)| (word, Some(charge)));
    let percent = charge.map(|charge| charge.parse::<u8>().ok().filter(|percent| *percent <= 100));
    match (word, percent) {
        ("external", None) => {
            Ok(Power { is_external: true, battery: BatteryStatus::NotPresent, percent: None })
        }
        ("battery", None) => {
            Ok(Power { is_external: false, battery: BatteryStatus::Discharging, percent: None })
        }
        ("battery", Some(Some(percent))) => {
            Ok(Power { is_external: false, battery: BatteryStatus::Discharging, percent: Some(percent) })
        }
        _ => Err(refuse()),
    }
}

fn work_cost(value: &str) -> Result<WorkCost, String> {
    let found = WorkCost::ALL.iter().copied().find(|cost| cost.to_string() == value);
    found.ok_or_else(|| format!("{value:?} is not one of Low, Medium, High"))
}

fn time_zone(value: &str) -> Result<String, String> {
    match TimeZone::get(value) {
        Ok(_) => Ok(value.to_owned()),
        Err(_) => Err(format!("{value:?} is no time zone of the IANA database, such as Europe/Berlin")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signal_takes_its_words_and_no_others() {
        for (signal, good, bad) in [
            (HostSignal::NetworkLevel, "ConstrainedInternet", "internet"),
            (HostSignal::NetworkCost, "roaming", "free"),
            (HostSignal::EnergySaver, "true", "on"),
            (HostSignal::Power, "battery:40", "battery:101"),
            (HostSignal::Power, "external", "external:3"),
            (HostSignal::SessionConnected, "false", ""),
            (HostSignal::UserPresent, "true", "yes"),
            (HostSignal::WorkCost, "High", "high"),
            (HostSignal::TimeZone, "Europe/Berlin", "Europe/Atlantis"),
        ] {
            let set = |value: &str| Set { value: value.to_owned(), since: Timestamp(7) };
            let mut host = HostState::unmeasured();
            assert_eq!(apply(&mut host, signal, &set(good)), Ok(()), "{signal:?}");
            assert_ne!(host, HostState::unmeasured(), "{signal:?}");
            assert!(apply(&mut host, signal, &set(bad)).is_err(), "{signal:?} {bad}");
        }
    }
}
