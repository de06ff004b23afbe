//! Questions of "what if" to `…/explain`, and what the store adds to an explanation.

use std::collections::BTreeMap;

use longhaul_contract::explain::{HistoryEntry, ReasonTotal};
use longhaul_contract::{
    BatteryStatus, ErrorCode, Explanation, HostState, NetworkCost, NetworkLevel, Power, ReasonCode, Signal,
    Timestamp, WorkCost,
};
use longhaul_engine::{BootTime, Now};
use longhaul_store::WaitHistory;
use serde::Deserialize;

use super::refused::{Answer, Refused};

/// What if.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Supposition {
    /// Suppose, separated by commas: `online`, `offline`, `unmetered`, `metered`, `roaming`, `ac`, `battery`, `present`,
    /// `away`, `connected` or `session`, `disconnected` or `nosession`, `cheap` or `idle`, `costly`.
    #[serde(rename = "if")]
    suppose: Option<String>,
    /// Suppose this instant, RFC 3339.
    at: Option<String>,
}

const WORDS: [&str; 16] = [
    "online",
    "offline",
    "unmetered",
    "metered",
    "roaming",
    "ac",
    "battery",
    "present",
    "away",
    "connected",
    "disconnected",
    "session",
    "nosession",
    "cheap",
    "idle",
    "costly",
];

/// A supposition that was understood.
pub(crate) struct Supposed {
    words: Vec<String>,
    at: Option<Timestamp>,
}

fn refuse(field: &str, detail: &str) -> Refused {
    Refused::new(ErrorCode::InvalidParameter, detail).with_field(field)
}

impl Supposition {
    pub(crate) fn read(self) -> Answer<Supposed> {
        let at = self.at.map(|text| text.parse()).transpose();
        let at = at.map_err(|_| refuse("at", "must be an instant such as 2026-01-31T12:00:00Z"))?;
        let suppose = self.suppose.unwrap_or_default();
        let words = suppose.split(',').map(str::trim).filter(|word| !word.is_empty());
        let words: Vec<String> = words.map(str::to_owned).collect();
        if let Some(word) = words.iter().find(|word| !WORDS.contains(&word.as_str())) {
            return Err(refuse("if", &format!("{word:?} is not one of {}", WORDS.join(", "))));
        }
        Ok(Supposed { words, at })
    }
}

impl Supposed {
    /// The instant that is asked about, on both clocks.
    pub(crate) fn time(&self, now: Now) -> Now {
        let Some(at) = self.at else { return now };
        let ahead = at.micros().saturating_sub(now.wall.micros());
        let boot = now.boot.0.saturating_add_signed(ahead);
        Now { wall: at, boot: BootTime(boot) }
    }

    /// `None` when nothing is supposed of the host.
    pub(crate) fn host(&self, host: HostState, now: Now) -> Option<HostState> {
        (!self.words.is_empty()).then(|| suppose_host(host, &self.words, now.wall))
    }
}

fn suppose_host(mut host: HostState, words: &[String], since: Timestamp) -> HostState {
    fn known<T>(value: T, since: Timestamp) -> Signal<T> {
        Signal::Known { value, since, source: "supposed".to_owned() }
    }
    for word in words {
        let cost = |is_metered, is_roaming| {
            known(NetworkCost { is_metered, is_roaming, ..NetworkCost::default() }, since)
        };
        let power = |is_external, battery| known(Power { is_external, battery, percent: None }, since);
        match word.as_str() {
            "online" => host.network.level = known(NetworkLevel::Internet, since),
            "offline" => host.network.level = known(NetworkLevel::None, since),
            "unmetered" => host.network.cost = cost(false, false),
            "metered" => host.network.cost = cost(true, false),
            "roaming" => host.network.cost = cost(true, true),
            "present" => host.user_present = known(true, since),
            "away" => host.user_present = known(false, since),
            "connected" | "session" => host.session_connected = known(true, since),
            "disconnected" | "nosession" => host.session_connected = known(false, since),
            "cheap" | "idle" => host.work_cost = known(WorkCost::Low, since),
            "costly" => host.work_cost = known(WorkCost::High, since),
            "ac" => {
                host.energy_saver = known(false, since);
                host.power = power(true, BatteryStatus::NotPresent);
                host.work_cost = known(WorkCost::Low, since);
            }
            _ => {
                host.energy_saver = known(true, since);
                host.power = power(false, BatteryStatus::Discharging);
            }
        }
    }
    host
}

/// Adds what the store has kept of the waiting before the present stretch.
pub(crate) fn add_history(explanation: &mut Explanation, waits: WaitHistory) {
    let present = std::mem::take(&mut explanation.history);
    explanation.history = waits
        .entries
        .into_iter()
        .map(|(code, from, to)| HistoryEntry { code, from, to: Some(to) })
        .chain(present)
        .collect();
    let mut totals: BTreeMap<ReasonCode, u64> = waits.totals.into_iter().collect();
    for total in std::mem::take(&mut explanation.totals) {
        *totals.entry(total.code).or_default() += total.seconds;
    }
    explanation.totals = totals.into_iter().map(|(code, seconds)| ReasonTotal { code, seconds }).collect();
}
