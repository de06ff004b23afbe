//! The conditions over the state of the machine, and what each means when its signal is unknown: what has to be
//! there must be seen to be there, and what has to be absent is taken for absent until it is seen.

use longhaul_contract::trigger::ConditionStanding;
use longhaul_contract::{
    Condition, HostState, NetworkCost, NetworkLevel, Power, ReasonCode, Signal, Timestamp, WorkCost,
};

use crate::cost;

/// What a condition says of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holds {
    Yes,
    No,
    /// Its signal is unknown, and taken for what lets the task run.
    YesUnseen,
    /// Its signal is unknown, and taken for what keeps the task waiting.
    NoUnseen,
}

pub(crate) fn holds(condition: Condition, host: &HostState) -> Holds {
    let is_online = || host.network.level.value().map(|level| *level == NetworkLevel::Internet);
    match condition {
        Condition::UserPresent => required(host.user_present.value().copied()),
        Condition::UserNotPresent => excluded(host.user_present.value().copied()),
        Condition::InternetAvailable => required(is_online()),
        Condition::InternetNotAvailable => excluded(is_online()),
        Condition::SessionConnected => required(host.session_connected.value().copied()),
        Condition::SessionDisconnected => excluded(host.session_connected.value().copied()),
        Condition::FreeNetworkAvailable => free_network(host),
        Condition::BackgroundWorkCostNotHigh => {
            excluded(host.work_cost.value().map(|cost| *cost == WorkCost::High))
        }
        Condition::ExternalPower => required(host.power.value().map(|power| power.is_external)),
        Condition::BatteryPower => required(host.power.value().map(|power| !power.is_external)),
    }
}

fn required(is_there: Option<bool>) -> Holds {
    match is_there {
        Some(true) => Holds::Yes,
        Some(false) => Holds::No,
        None => Holds::NoUnseen,
    }
}

fn excluded(is_there: Option<bool>) -> Holds {
    match is_there {
        Some(true) => Holds::No,
        Some(false) => Holds::Yes,
        None => Holds::YesUnseen,
    }
}

/// A network has to be seen; that it costs something has to be seen as well.
fn free_network(host: &HostState) -> Holds {
    let is_there = required(host.network.level.value().map(|level| *level > NetworkLevel::None));
    match (is_there, host.network.cost.value()) {
        (Holds::No, _) => Holds::No,
        (_, Some(cost)) if !is_free(*cost) => Holds::No,
        (Holds::Yes, None) => Holds::YesUnseen,
        (seen, _) => seen,
    }
}

fn is_free(cost: NetworkCost) -> bool {
    !cost.is_metered && !cost.is_roaming
}

pub(crate) fn code(condition: Condition) -> ReasonCode {
    match condition {
        Condition::UserPresent => ReasonCode::UserPresent,
        Condition::UserNotPresent => ReasonCode::UserNotPresent,
        Condition::InternetAvailable => ReasonCode::InternetAvailable,
        Condition::InternetNotAvailable => ReasonCode::InternetNotAvailable,
        Condition::SessionConnected => ReasonCode::SessionConnected,
        Condition::SessionDisconnected => ReasonCode::SessionDisconnected,
        Condition::FreeNetworkAvailable => ReasonCode::FreeNetworkAvailable,
        Condition::BackgroundWorkCostNotHigh => ReasonCode::BackgroundWorkCostNotHigh,
        Condition::ExternalPower => ReasonCode::ExternalPower,
        Condition::BatteryPower => ReasonCode::BatteryPower,
    }
}

/// A signal as `explain` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) value: Option<String>,
    pub(crate) since: Option<Timestamp>,
    pub(crate) source: Option<String>,
    /// Why it is unknown.
    pub(crate) unknown: Option<String>,
}

impl Seen {
    pub(crate) fn of<T>(signal: &Signal<T>, describe: impl FnOnce(&T) -> String) -> Self {
        match signal {
            Signal::Known { value, since, source } => Self {
                value: Some(describe(value)),
                since: Some(*since),
                source: Some(source.clone()),
                unknown: None,
            },
            Signal::Unknown { reason } => {
                Self { value: None, since: None, source: None, unknown: Some(reason.clone()) }
            }
        }
    }
}

/// The signal that decides about a condition.
pub(crate) fn seen(condition: Condition, host: &HostState) -> Seen {
    let level = || Seen::of(&host.network.level, |level| format!("{level:?}"));
    match condition {
        Condition::UserPresent | Condition::UserNotPresent => Seen::of(&host.user_present, bool::to_string),
        Condition::InternetAvailable | Condition::InternetNotAvailable => level(),
        Condition::SessionConnected | Condition::SessionDisconnected => {
            Seen::of(&host.session_connected, bool::to_string)
        }
        Condition::FreeNetworkAvailable => {
            let has_network = host.network.level.value().is_some_and(|level| *level > NetworkLevel::None);
            if has_network { Seen::of(&host.network.cost, |value| cost::describe(*value)) } else { level() }
        }
        Condition::BackgroundWorkCostNotHigh => Seen::of(&host.work_cost, WorkCost::to_string),
        Condition::ExternalPower | Condition::BatteryPower => Seen::of(&host.power, describe_power),
    }
}

pub(crate) fn describe_power(power: &Power) -> String {
    if power.is_external { "external" } else { "battery" }.to_owned()
}

/// What holds when it does.
pub(crate) fn met(condition: Condition) -> &'static str {
    match condition {
        Condition::UserPresent => "the user is there",
        Condition::UserNotPresent => "the user is away",
        Condition::InternetAvailable => "the Internet is reachable",
        Condition::InternetNotAvailable => "the Internet is not reachable",
        Condition::SessionConnected => "a session is connected",
        Condition::SessionDisconnected => "no session is connected",
        Condition::FreeNetworkAvailable => "there is a network that costs nothing",
        Condition::BackgroundWorkCostNotHigh => "work in the background is cheap enough",
        Condition::ExternalPower => "the machine has external power",
        Condition::BatteryPower => "the machine runs on battery",
    }
}

/// What holds when it does not.
pub(crate) fn unmet(condition: Condition) -> &'static str {
    match condition {
        Condition::UserPresent => "the user is away",
        Condition::UserNotPresent => "the user is there",
        Condition::InternetAvailable => "the Internet is not reachable",
        Condition::InternetNotAvailable => "the Internet is reachable",
        Condition::SessionConnected => "no session is connected",
        Condition::SessionDisconnected => "a session is connected",
        Condition::FreeNetworkAvailable => "there is no network that costs nothing",
        Condition::BackgroundWorkCostNotHigh => "work in the background costs much now",
        Condition::ExternalPower => "the machine runs on battery",
        Condition::BatteryPower => "the machine has external power",
    }
}

/// Whether it holds, as callers are told.
pub(crate) fn standing(condition: Condition, host: &HostState) -> ConditionStanding {
    let (holds, lets_start) = match holds(condition, host) {
        Holds::Yes => (Some(true), true),
        Holds::No => (Some(false), false),
        Holds::YesUnseen => (None, true),
        Holds::NoUnseen => (None, false),
    };
    let Seen { value, since, source, unknown } = seen(condition, host);
    let said = if holds == Some(true) { met(condition) } else { unmet(condition) };
    let detail = match (holds, unknown) {
        (None, Some(reason)) => reason,
        _ => said.to_owned(),
    };
    ConditionStanding { condition, holds, lets_start, detail, value, since, source }
}
