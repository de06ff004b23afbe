//! What follows from the machine: system triggers fire on edges between what was known and what is known now. A signal
//! that becomes known again is compared with what it was before, so that no edge is lost and none invented.

use longhaul_contract::{BatteryStatus, HostState, NetworkLevel, SystemTriggerType};

use super::calendar;
use super::desk::Tasks;
use super::signals::KnownSignals;
use crate::engine::Engine;
use crate::plan::Change;
use crate::step::Step;
use crate::task::TaskChange;

/// Signals that are known now take the place of what was known.
fn renewed(known: &KnownSignals, host: &HostState) -> KnownSignals {
    KnownSignals {
        level: host.network.level.value().copied().or(known.level),
        cost: host.network.cost.value().copied().or(known.cost),
        session_connected: host.session_connected.value().copied().or(known.session_connected),
        user_present: host.user_present.value().copied().or(known.user_present),
        work_cost: host.work_cost.value().copied().or(known.work_cost),
        battery: host.power.value().map(|power| power.battery).or(known.battery),
        time_zone: host.time_zone.value().cloned().or_else(|| known.time_zone.clone()),
        utc_offset: known.utc_offset,
    }
}

fn has_changed<T: PartialEq>(before: Option<&T>, after: Option<&T>) -> bool {
    matches!((before, after), (Some(before), Some(after)) if before != after)
}

fn has_become<T: PartialEq>(before: Option<&T>, after: Option<&T>, value: &T) -> bool {
    has_changed(before, after) && after == Some(value)
}

/// The events between two states of the machine, the zone apart.
pub(crate) fn events(before: &KnownSignals, after: &KnownSignals) -> Vec<SystemTriggerType> {
    let level = (before.level.as_ref(), after.level.as_ref());
    let session = (before.session_connected.as_ref(), after.session_connected.as_ref());
    let user = (before.user_present.as_ref(), after.user_present.as_ref());
    let battery: (Option<&BatteryStatus>, _) = (before.battery.as_ref(), after.battery.as_ref());
    [
        (SystemTriggerType::InternetAvailable, has_become(level.0, level.1, &NetworkLevel::Internet)),
        (
            SystemTriggerType::NetworkStateChange,
            has_changed(level.0, level.1) || has_changed(before.cost.as_ref(), after.cost.as_ref()),
        ),
        (SystemTriggerType::SessionConnected, has_become(session.0, session.1, &true)),
        (SystemTriggerType::UserPresent, has_become(user.0, user.1, &true)),
        (SystemTriggerType::UserAway, has_become(user.0, user.1, &false)),
        (
            SystemTriggerType::BackgroundWorkCostChange,
            has_changed(before.work_cost.as_ref(), after.work_cost.as_ref()),
        ),
        (SystemTriggerType::PowerStateChange, has_changed(battery.0, battery.1)),
    ]
    .into_iter()
    .filter_map(|(event, has_come)| has_come.then_some(event))
    .collect()
}

impl Tasks {
    fn is_heard(&self, events: &[SystemTriggerType]) -> bool {
        events.iter().any(|event| self.listeners.contains_key(event))
    }

    /// Of what is known, what registrations wait for.
    fn signals_to_keep(&self) -> KnownSignals {
        use SystemTriggerType::{
            BackgroundWorkCostChange, InternetAvailable, NetworkStateChange, PowerStateChange,
            SessionConnected, TimeZoneChange, UserAway, UserPresent,
        };
        let known = &self.known;
        let has_zone = self.is_heard(&[TimeZoneChange]);
        KnownSignals {
            level: known.level.filter(|_| self.is_heard(&[InternetAvailable, NetworkStateChange])),
            cost: known.cost.filter(|_| self.is_heard(&[NetworkStateChange])),
            session_connected: known.session_connected.filter(|_| self.is_heard(&[SessionConnected])),
            user_present: known.user_present.filter(|_| self.is_heard(&[UserPresent, UserAway])),
            work_cost: known.work_cost.filter(|_| self.is_heard(&[BackgroundWorkCostChange])),
            battery: known.battery.filter(|_| self.is_heard(&[PowerStateChange])),
            time_zone: known.time_zone.clone().filter(|_| has_zone),
            utc_offset: known.utc_offset.filter(|_| has_zone),
        }
    }
}

impl Engine {
    /// The machine is not as it was: what fires, what may start now, and what may not go on.
    pub(crate) fn host_changed_for_tasks(&mut self, step: &mut Step) {
        let after = renewed(&self.tasks.known, &self.host);
        let before = std::mem::replace(&mut self.tasks.known, after);
        for event in events(&before, &self.tasks.known) {
            self.fire_event(step, event, None, &super::firing::no_details());
        }
        if before.time_zone != self.tasks.known.time_zone {
            self.zone_changed(step, before.time_zone.as_deref());
        }
        step.tasks.signals = true;
        self.end_forbidden_runs(step);
        self.consider_pending(step);
    }

    fn zone_changed(&mut self, step: &mut Step, before: Option<&str>) {
        let now = step.now.wall;
        let after = self.tasks.known.time_zone.clone();
        if let (Some(before), Some(after)) = (before, after.as_deref())
            && !calendar::is_same_time(before, after, now)
        {
            self.tasks.known.utc_offset = calendar::utc_offset(after, now);
            self.fire_event(step, SystemTriggerType::TimeZoneChange, None, &super::firing::no_details());
        }
        self.tasks.is_zone_followed = false;
        self.clock_changed(step);
    }

    /// The clocks of the machine's zone were put forward or back.
    pub(crate) fn follow_zone(&mut self, step: &mut Step, must_look: bool) {
        let now = step.now.wall;
        let is_due = !self.tasks.is_zone_followed || self.tasks.zone_changes.is_some_and(|time| time <= now);
        let is_heard = self.tasks.is_heard(&[SystemTriggerType::TimeZoneChange]);
        if !is_heard || !self.tasks.clock.is_trusted() {
            self.tasks.zone_changes = None;
            self.tasks.is_zone_followed = false;
            return;
        }
        if !is_due && !must_look {
            return;
        }
        let Some(zone) = self.tasks.known.time_zone.clone() else { return };
        let offset = calendar::utc_offset(&zone, now);
        let before = std::mem::replace(&mut self.tasks.known.utc_offset, offset);
        if has_changed(before.as_ref(), offset.as_ref()) {
            self.fire_event(step, SystemTriggerType::TimeZoneChange, None, &super::firing::no_details());
        }
        if before != offset {
            step.tasks.signals = true;
        }
        self.tasks.zone_changes = calendar::next_offset_change(&zone, now);
        self.tasks.is_zone_followed = true;
    }

    /// Tells the store what edges will be compared with, if that has changed.
    pub(crate) fn keep_signals(&mut self, step: &mut Step) {
        let signals = self.tasks.signals_to_keep();
        if signals != self.tasks.kept {
            self.tasks.kept = signals.clone();
            step.plan.changes.push(Change::Task(TaskChange::Signals(Box::new(signals))));
        }
    }
}
