//! Conditions in a person's words, and whether they hold on a machine.

use longhaul_contract::{Condition, HostState, NetworkCost, NetworkLevel, Power, Signal, WorkCost};

/// Words of the command line for conditions; the words of Windows are understood as well.
pub(crate) const WORDS: &[(&str, Condition)] = &[
    ("ac", Condition::ExternalPower),
    ("battery", Condition::BatteryPower),
    ("unmetered", Condition::FreeNetworkAvailable),
    ("online", Condition::InternetAvailable),
    ("offline", Condition::InternetNotAvailable),
    ("present", Condition::UserPresent),
    ("away", Condition::UserNotPresent),
    ("session", Condition::SessionConnected),
    ("nosession", Condition::SessionDisconnected),
    ("cheap", Condition::BackgroundWorkCostNotHigh),
    ("idle", Condition::BackgroundWorkCostNotHigh),
];

/// The table of words, for `--help` and the reference.
pub(crate) const HELP: &str = "Conditions: ac (mains, or no battery), battery, unmetered (a network that costs nothing \
    extra), online, offline, present (the user is active), away, session (somebody is logged in and connected), \
    nosession, cheap or idle (work in the background does not cost much now: BackgroundWorkCostNotHigh). The words of \
    the API, such as FreeNetworkAvailable, are understood as well.";

/// Reads `ac` or `ExternalPower`.
pub(crate) fn parse(text: &str) -> Result<Condition, String> {
    if let Some((_, condition)) = WORDS.iter().find(|(word, _)| word.eq_ignore_ascii_case(text)) {
        return Ok(*condition);
    }
    text.parse().map_err(|_| {
        let words: Vec<_> = WORDS.iter().map(|(word, _)| *word).collect();
        format!("{text:?} is not one of {}", words.join(", "))
    })
}

/// The shortest word for it.
pub(crate) fn word(condition: Condition) -> &'static str {
    WORDS.iter().find(|(_, known)| *known == condition).map_or(condition.word(), |(word, _)| word)
}

/// `ac and unmetered`.
pub(crate) fn sentence(conditions: &[Condition]) -> String {
    let words: Vec<_> = conditions.iter().map(|condition| word(*condition)).collect();
    words.join(" and ")
}

/// What a machine says of one condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Standing {
    /// `None` when its signal is not known.
    pub(crate) holds: Option<bool>,
    /// What was looked at: the signal's value, or why it has none.
    pub(crate) detail: String,
}

pub(crate) fn standing(condition: Condition, host: &HostState) -> Standing {
    let online = |level: &NetworkLevel| *level == NetworkLevel::Internet;
    let level = |level: &NetworkLevel| format!("network {level:?}");
    let user = |is_present: &bool| if *is_present { "user present" } else { "user away" }.to_owned();
    let session =
        |is_there: &bool| if *is_there { "session connected" } else { "no connected session" }.to_owned();
    let cost = |cost: &WorkCost| format!("work cost {cost}");
    match condition {
        Condition::UserPresent => look(&host.user_present, |is_present| *is_present, user),
        Condition::UserNotPresent => look(&host.user_present, |is_present| !is_present, user),
        Condition::InternetAvailable => look(&host.network.level, online, level),
        Condition::InternetNotAvailable => look(&host.network.level, |level| !online(level), level),
        Condition::SessionConnected => look(&host.session_connected, |is_there| *is_there, session),
        Condition::SessionDisconnected => look(&host.session_connected, |is_there| !is_there, session),
        Condition::FreeNetworkAvailable => free_network(host),
        Condition::BackgroundWorkCostNotHigh => look(&host.work_cost, |cost| *cost != WorkCost::High, cost),
        Condition::ExternalPower => look(&host.power, |power| power.is_external, power_source),
        Condition::BatteryPower => look(&host.power, |power| !power.is_external, power_source),
    }
}

fn look<T>(signal: &Signal<T>, holds: impl Fn(&T) -> bool, describe: impl Fn(&T) -> String) -> Standing {
    match signal {
        Signal::Known { value, source, .. } => {
            Standing { holds: Some(holds(value)), detail: format!("{}, from {source}", describe(value)) }
        }
        Signal::Unknown { reason } => Standing { holds: None, detail: reason.clone() },
    }
}

/// Needs a network, and one that costs nothing extra.
fn free_network(host: &HostState) -> Standing {
    let network =
        look(&host.network.level, |level| *level > NetworkLevel::None, |level| format!("network {level:?}"));
    if network.holds != Some(true) {
        return network;
    }
    look(
        &host.network.cost,
        |cost| !cost.is_metered && !cost.is_roaming,
        |cost| if *cost == NetworkCost::default() { "unrestricted" } else { "restricted" }.to_owned(),
    )
}

fn power_source(power: &Power) -> String {
    if power.is_external { "external power" } else { "battery" }.to_owned()
}

#[cfg(test)]
mod tests {
    use longhaul_contract::BatteryStatus;

    use super::*;
    use crate::sample::NOW;

    fn known<T>(value: T) -> Signal<T> {
        Signal::Known { value, since: NOW, source: "a test".to_owned() }
    }

    fn holds(condition: Condition, host: &HostState) -> Option<bool> {
        standing(condition, host).holds
    }

    #[test]
    fn every_condition_has_a_word_that_is_read_back() {
        for condition in Condition::ALL {
            assert_eq!(parse(word(*condition)), Ok(*condition));
            assert_eq!(parse(condition.word()), Ok(*condition));
        }
        assert_eq!(parse("AC"), Ok(Condition::ExternalPower));
        assert!(parse("sunny").unwrap_err().contains("unmetered"));
    }

    #[test]
    fn nothing_holds_that_nobody_has_seen() {
        let host = HostState::unmeasured();
        for condition in Condition::ALL {
            let standing = standing(*condition, &host);
            assert_eq!(standing.holds, None, "{condition}");
            assert!(!standing.detail.is_empty());
        }
    }

    #[test]
    fn opposites_exclude_each_other() {
        let mut host = HostState::unmeasured();
        host.network.level = known(NetworkLevel::Local);
        host.user_present = known(true);
        host.session_connected = known(false);
        host.power =
            known(Power { is_external: false, battery: BatteryStatus::Discharging, percent: Some(40) });
        for (one, other) in [
            (Condition::UserPresent, Condition::UserNotPresent),
            (Condition::InternetNotAvailable, Condition::InternetAvailable),
            (Condition::SessionDisconnected, Condition::SessionConnected),
            (Condition::BatteryPower, Condition::ExternalPower),
        ] {
            assert_eq!((holds(one, &host), holds(other, &host)), (Some(true), Some(false)));
        }
    }

    #[test]
    fn a_free_network_is_a_network_first() {
        let mut host = HostState::unmeasured();
        host.network.cost = known(NetworkCost::default());
        assert_eq!(holds(Condition::FreeNetworkAvailable, &host), None);
        host.network.level = known(NetworkLevel::None);
        assert_eq!(holds(Condition::FreeNetworkAvailable, &host), Some(false));
        host.network.level = known(NetworkLevel::Internet);
        assert_eq!(holds(Condition::FreeNetworkAvailable, &host), Some(true));
        host.network.cost = known(NetworkCost { is_metered: true, ..NetworkCost::default() });
        assert_eq!(holds(Condition::FreeNetworkAvailable, &host), Some(false));
        host.network.cost = Signal::unknown("nobody knows");
        assert_eq!(standing(Condition::FreeNetworkAvailable, &host).detail, "nobody knows");
    }

    #[test]
    fn work_is_cheap_until_its_cost_is_high() {
        let mut host = HostState::unmeasured();
        for (cost, expected) in [(WorkCost::Low, true), (WorkCost::Medium, true), (WorkCost::High, false)] {
            host.work_cost = known(cost);
            assert_eq!(holds(Condition::BackgroundWorkCostNotHigh, &host), Some(expected));
        }
    }
}
