//! What the machine is like, as the world of tasks knows it, and what conditions make of it by the documentation.

use longhaul_contract::{
    BatteryStatus, HostState, Network, NetworkCost, NetworkLevel, Power, Signal, WorkCost,
};
use rand::Rng;
use rand::rngs::StdRng;

use crate::event::Level;
use crate::translate::known;

/// `None` is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskMachine {
    pub level: Option<Level>,
    pub is_metered: Option<bool>,
    pub has_user: Option<bool>,
    pub has_session: Option<bool>,
    pub is_work_dear: Option<bool>,
    pub is_on_battery: Option<bool>,
    pub saves_energy: Option<bool>,
}

fn maybe(random: &mut StdRng, probability: f64) -> Option<bool> {
    random.random_bool(0.85).then(|| random.random_bool(probability))
}

impl TaskMachine {
    pub(crate) const BENIGN: Self = Self {
        level: Some(Level::Internet),
        is_metered: Some(false),
        has_user: Some(true),
        has_session: Some(true),
        is_work_dear: Some(false),
        is_on_battery: Some(false),
        saves_energy: Some(false),
    };

    pub(crate) fn random(random: &mut StdRng) -> Self {
        let levels =
            [None, Some(Level::None), Some(Level::Local), Some(Level::Internet), Some(Level::Internet)];
        Self {
            level: levels[random.random_range(0..levels.len())],
            is_metered: maybe(random, 0.3),
            has_user: maybe(random, 0.5),
            has_session: maybe(random, 0.6),
            is_work_dear: maybe(random, 0.3),
            is_on_battery: maybe(random, 0.3),
            saves_energy: maybe(random, 0.2),
        }
    }

    /// Whether the condition of this number holds, and whether it is seen not to.
    pub(crate) fn holds(self, condition: u8) -> (bool, bool) {
        let there = |value: Option<bool>| (value == Some(true), value == Some(false));
        let away = |value: Option<bool>| (value != Some(true), value == Some(true));
        let internet = self.level.map(|level| level == Level::Internet);
        match condition {
            1 => there(self.has_user),
            2 => away(self.has_user),
            3 => there(internet),
            4 => away(internet),
            5 => there(self.has_session),
            6 => away(self.has_session),
            7 => {
                let network = there(self.level.map(|level| level != Level::None));
                let cost = away(self.is_metered);
                (network.0 && cost.0, network.1 || cost.1)
            }
            8 => away(self.is_work_dear),
            9 => there(self.is_on_battery.map(|is_on_battery| !is_on_battery)),
            _ => there(self.is_on_battery),
        }
    }
}

fn signal<T>(value: Option<T>) -> Signal<T> {
    value.map_or_else(|| Signal::unknown("not measured"), known)
}

pub(crate) fn host_state(machine: TaskMachine) -> HostState {
    let level = machine.level.map(|level| match level {
        Level::None => NetworkLevel::None,
        Level::Local => NetworkLevel::Local,
        Level::Constrained => NetworkLevel::ConstrainedInternet,
        Level::Internet => NetworkLevel::Internet,
    });
    let cost = machine.is_metered.map(|is_metered| NetworkCost { is_metered, ..NetworkCost::default() });
    let power = machine.is_on_battery.map(|is_on_battery| Power {
        is_external: !is_on_battery,
        battery: if is_on_battery { BatteryStatus::Discharging } else { BatteryStatus::Charging },
        percent: None,
    });
    HostState {
        network: Network { level: signal(level), cost: signal(cost) },
        energy_saver: signal(machine.saves_energy),
        power: signal(power),
        session_connected: signal(machine.has_session),
        user_present: signal(machine.has_user),
        work_cost: signal(machine.is_work_dear.map(|dear| if dear { WorkCost::High } else { WorkCost::Low })),
        time_zone: known("UTC".to_owned()),
        data_plans: Vec::new(),
    }
}
