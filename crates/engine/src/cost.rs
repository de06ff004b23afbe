//! Whether the machine lets a kind of operation move bytes now: the cost table of Windows' phones, the network
//! level and energy saver, as pure functions over `HostState`. Deliberately absent: time (see [`crate::gate`]).

use longhaul_contract::{CostPolicy, HostState, NetworkCost, NetworkLevel, ReasonCode};

/// What a verdict of the machine depends on, packed: cost policy, locality of the origin, exemption from
/// energy saver, and whether the application has to be in the foreground and is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Class(u8);

impl Class {
    pub(crate) const COUNT: usize = 24;
    /// From this number on they are held back with their application.
    const HELD_BACK: u8 = 12;
    pub(crate) const MIN: Self = Self(0);

    pub(crate) fn new(policy: CostPolicy, is_local: bool, is_exempt_from_energy_saver: bool) -> Self {
        Self(policy.number() * 4 + u8::from(is_local) * 2 + u8::from(is_exempt_from_energy_saver))
    }

    pub(crate) fn all() -> impl Iterator<Item = Self> {
        (0..).take(Self::COUNT).map(Self)
    }

    pub(crate) fn index(self) -> usize {
        usize::from(self.0)
    }

    pub(crate) fn is_local(self) -> bool {
        self.0 & 2 != 0
    }

    /// High priority stands for what a person waits for, and the owner may exempt others: both go on under energy saver.
    pub(crate) fn is_exempt_from_energy_saver(self) -> bool {
        self.0 & 1 != 0
    }

    /// The same of an application that has to be in the foreground and is not.
    pub(crate) fn held_back(self) -> Self {
        Self(self.0 % Self::HELD_BACK + Self::HELD_BACK)
    }

    pub(crate) fn is_held_back(self) -> bool {
        self.0 >= Self::HELD_BACK
    }

    pub(crate) fn cost_policy(self) -> CostPolicy {
        match self.0 % Self::HELD_BACK / 4 {
            0 => CostPolicy::Default,
            1 => CostPolicy::UnrestrictedOnly,
            _ => CostPolicy::Always,
        }
    }
}

/// Which parts of the machine's state forbid a class to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Denials {
    /// Whatever the machine is like.
    pub(crate) background: bool,
    pub(crate) level: bool,
    pub(crate) cost: bool,
    pub(crate) energy: bool,
}

impl Denials {
    pub(crate) fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// The one to name when only one is named.
    pub(crate) fn first(self) -> Option<ReasonCode> {
        [
            (self.background, ReasonCode::ForegroundOnly),
            (self.level, ReasonCode::NetworkLevel),
            (self.cost, ReasonCode::NetworkCost),
            (self.energy, ReasonCode::EnergySaver),
        ]
        .into_iter()
        .find_map(|(denies, code)| denies.then_some(code))
    }
}

/// Signals that are unknown forbid nothing; local origins need no network and cost nothing.
pub(crate) fn denials(host: &HostState, class: Class) -> Denials {
    let level = host.network.level.value();
    let cost = host.network.cost.value();
    Denials {
        background: class.is_held_back(),
        level: !class.is_local() && level == Some(&NetworkLevel::None),
        cost: !class.is_local() && cost.is_some_and(|cost| !allows(class.cost_policy(), *cost)),
        energy: !class.is_exempt_from_energy_saver() && host.energy_saver.value() == Some(&true),
    }
}

/// The cost table (BackgroundTransferCostPolicy). Over the data limit and restricted background data bind
/// every policy, but only a metered network has a limit.
pub(crate) fn allows(policy: CostPolicy, cost: NetworkCost) -> bool {
    let is_closed = cost.is_metered && (cost.is_over_data_limit || cost.is_background_data_restricted);
    match policy {
        CostPolicy::Always => !is_closed,
        CostPolicy::Default => {
            let is_scarce = cost.is_metered && cost.is_approaching_data_limit;
            !is_closed && !cost.is_roaming && !is_scarce
        }
        CostPolicy::UnrestrictedOnly => !cost.is_metered && !cost.is_roaming,
    }
}

/// The network as a person would put it.
pub(crate) fn describe(cost: NetworkCost) -> String {
    let mut words = vec![if cost.is_metered { "metered" } else { "unmetered" }];
    for (holds, word) in [
        (cost.is_roaming, "roaming"),
        (cost.is_approaching_data_limit, "approaching its data limit"),
        (cost.is_over_data_limit, "over its data limit"),
        (cost.is_background_data_restricted, "restricted for background data"),
    ] {
        if holds {
            words.push(word);
        }
    }
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use longhaul_contract::{Network, Priority, Signal, Timestamp};

    use super::*;

    fn known<T>(value: T) -> Signal<T> {
        Signal::Known { value, since: Timestamp(0), source: "test".to_owned() }
    }

    #[test]
    fn the_cost_table_of_windows() {
        let free = NetworkCost::default();
        let metered = NetworkCost { is_metered: true, ..free };
        let rows = [
            (free, [true, true, true]),
            (metered, [false, true, true]),
            (NetworkCost { is_approaching_data_limit: true, ..metered }, [false, false, true]),
            (NetworkCost { is_roaming: true, ..metered }, [false, false, true]),
            (NetworkCost { is_over_data_limit: true, ..metered }, [false, false, false]),
            (NetworkCost { is_background_data_restricted: true, ..metered }, [false, false, false]),
            (NetworkCost { is_roaming: true, ..free }, [false, false, true]),
            (NetworkCost { is_over_data_limit: true, ..free }, [true, true, true]),
        ];
        for (cost, expected) in rows {
            let got = [CostPolicy::UnrestrictedOnly, CostPolicy::Default, CostPolicy::Always]
                .map(|policy| allows(policy, cost));
            assert_eq!(got, expected, "{}", describe(cost));
        }
    }

    #[test]
    fn classes_keep_what_they_were_made_of() {
        let mut seen = std::collections::BTreeSet::new();
        for policy in CostPolicy::ALL {
            for is_local in [false, true] {
                for priority in [Priority::High, Priority::Low] {
                    let class = Class::new(*policy, is_local, priority == Priority::High);
                    assert_eq!(class.cost_policy(), *policy);
                    assert_eq!(class.is_local(), is_local);
                    assert_eq!(class.is_exempt_from_energy_saver(), priority == Priority::High);
                    for class in [class, class.held_back()] {
                        assert_eq!(class.cost_policy(), *policy);
                        assert_eq!(class.is_local(), is_local);
                        seen.insert(class.index());
                    }
                    assert!(class.held_back().is_held_back() && !class.is_held_back());
                }
            }
        }
        assert_eq!(seen.len(), Class::COUNT);
        assert_eq!(Class::all().count(), Class::COUNT);
    }

    #[test]
    fn unknown_signals_forbid_nothing_and_local_origins_need_no_network() {
        let mut host = HostState::unmeasured();
        let remote = Class::new(CostPolicy::UnrestrictedOnly, false, false);
        let local = Class::new(CostPolicy::UnrestrictedOnly, true, false);
        assert!(denials(&host, remote).is_empty());
        host.network = Network {
            level: known(NetworkLevel::None),
            cost: known(NetworkCost { is_metered: true, ..NetworkCost::default() }),
        };
        assert_eq!(
            denials(&host, remote),
            Denials { background: false, level: true, cost: true, energy: false }
        );
        assert!(denials(&host, local).is_empty());
        host.energy_saver = known(true);
        assert_eq!(denials(&host, local).first(), Some(ReasonCode::EnergySaver));
        let high = Class::new(CostPolicy::Always, true, true);
        assert!(denials(&host, high).is_empty());
    }
}
