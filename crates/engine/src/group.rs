//! Transfer groups: who of a Serialized group is the one to run, and what MakeCurrentInTransferGroup moves.
//!
//! A Serialized group shows the queue only those members that may be next, so ten thousand members cost the
//! queue nothing. High priority runs beside the others; Low takes its turn like Default [W 1.8].

use std::collections::{BTreeMap, BTreeSet};

use longhaul_contract::{AppId, ErrorCode, Group, GroupName, Priority, ReasonCode, TransferBehavior};

use crate::cost::Class;
use crate::download::{Phase, Stopping};
use crate::engine::Engine;
use crate::plan::Change;
use crate::queue::{Lane, Place, Rank};
use crate::roster::{Entry, Slot};
use crate::step::Step;
use crate::wish::Refusal;

#[derive(Debug)]
pub(crate) struct Members {
    pub(crate) behavior: TransferBehavior,
    /// Made by a call and not just by an operation that named it: kept without members.
    pub(crate) is_explicit: bool,
    /// All members that are not final, by their order.
    pub(crate) members: BTreeSet<(i64, Slot)>,
    /// Members that take turns and could start now, by what the machine's verdict on them depends on.
    waiting: BTreeMap<Class, BTreeSet<(Rank, i64, Slot)>>,
    /// Members that take turns and hold a slot.
    pub(crate) running: u32,
}

impl Default for Members {
    fn default() -> Self {
        Self {
            behavior: TransferBehavior::Parallel,
            is_explicit: false,
            members: BTreeSet::new(),
            waiting: BTreeMap::new(),
            running: 0,
        }
    }
}

impl Members {
    /// The next of its class, which is offered to the queue while no member runs.
    pub(crate) fn candidate(&self, class: Class) -> Option<Slot> {
        self.waiting.get(&class)?.first().map(|(_, _, slot)| *slot)
    }

    fn candidates(&self) -> Vec<Slot> {
        self.waiting.values().filter_map(|members| members.first()).map(|(_, _, slot)| *slot).collect()
    }
}

/// Whether the operation takes turns with the others of a Serialized group.
pub(crate) fn takes_turns(priority: Priority) -> bool {
    match priority {
        Priority::Default | Priority::Low => true,
        Priority::High => false,
    }
}

fn place(entry: &Entry, slot: Slot) -> Place {
    Place {
        lane: Lane {
            origin: entry.origin,
            app: entry.app,
            class: entry.class(),
            rank: Rank::from(entry.priority),
        },
        order: entry.order,
        slot,
    }
}

impl Engine {
    pub(crate) fn place(&self, slot: Slot) -> Place {
        place(&self.roster[slot], slot)
    }

    /// The Serialized group in which the operation takes turns.
    pub(crate) fn serial_group(&self, entry: &Entry) -> Option<u32> {
        entry.group.filter(|group| {
            self.groups[*group].behavior == TransferBehavior::Serialized && takes_turns(entry.priority)
        })
    }

    /// Lets a queued operation compete for slots, unless something of its own forbids that.
    pub(crate) fn enqueue(&mut self, step: &Step, slot: Slot) {
        let entry = &self.roster[slot];
        if !entry.is_due {
            match entry.not_before() {
                Some(time) if time > step.now.wall => {
                    self.wall_timers.insert((time, slot));
                    return;
                }
                Some(_) | None => self.roster[slot].is_due = true,
            }
        }
        let entry = &self.roster[slot];
        if entry.rate_limit() == Some(0) {
            return;
        }
        match self.serial_group(entry) {
            None => self.queue.insert(place(entry, slot)),
            Some(group) => {
                let key = (Rank::from(entry.priority), entry.order, slot);
                let class = entry.class();
                self.change_waiting(group, class, |members| {
                    members.waiting.entry(class).or_default().insert(key);
                });
            }
        }
    }

    /// Undoes [`Engine::enqueue`]; to be called before anything changes that it looked at.
    pub(crate) fn dequeue(&mut self, slot: Slot) {
        let entry = &self.roster[slot];
        if !entry.is_due {
            if let Some(time) = entry.not_before() {
                self.wall_timers.remove(&(time, slot));
            }
            return;
        }
        match self.serial_group(entry) {
            None => self.queue.remove(place(entry, slot)),
            Some(group) => {
                let key = (Rank::from(entry.priority), entry.order, slot);
                let class = entry.class();
                self.change_waiting(group, class, |members| {
                    if let Some(waiting) = members.waiting.get_mut(&class) {
                        waiting.remove(&key);
                        if waiting.is_empty() {
                            members.waiting.remove(&class);
                        }
                    }
                });
            }
        }
    }

    fn change_waiting(&mut self, group: u32, class: Class, change: impl FnOnce(&mut Members)) {
        let before = self.groups[group].candidate(class);
        change(&mut self.groups[group]);
        let after = self.groups[group].candidate(class);
        if before == after || self.groups[group].running > 0 {
            return;
        }
        if let Some(slot) = before {
            self.queue.remove(self.place(slot));
        }
        if let Some(slot) = after {
            self.queue.insert(self.place(slot));
        }
    }

    /// A member that takes turns got or gave back a slot.
    pub(crate) fn count_running_member(&mut self, slot: Slot, has_slot: bool) {
        let entry = &self.roster[slot];
        let Some(group) = entry.group.filter(|_| takes_turns(entry.priority)) else { return };
        let before = self.groups[group].running;
        let after = if has_slot { before + 1 } else { before - 1 };
        self.groups[group].running = after;
        if self.groups[group].behavior != TransferBehavior::Serialized {
            return;
        }
        if before == 0 {
            for slot in self.groups[group].candidates() {
                self.queue.remove(self.place(slot));
            }
        } else if after == 0 {
            for slot in self.groups[group].candidates() {
                self.queue.insert(self.place(slot));
            }
        }
    }

    pub(crate) fn put_group(
        &mut self,
        step: &mut Step,
        app: AppId,
        name: GroupName,
        behavior: TransferBehavior,
    ) -> Result<(), Refusal> {
        let app_number = self.apps.number(app.clone());
        let is_new = self.groups.find(&(app_number, name.clone())).is_none();
        if let Err(refusal) = self.room_for_groups(step, app_number, usize::from(is_new)) {
            self.release_app(app_number);
            return Err(refusal);
        }
        let group = self.group_number(app_number, name.clone());
        self.groups[group].is_explicit = true;
        if self.groups[group].members.is_empty() {
            self.apps[app_number].empty_groups.insert(group);
        }
        step.plan.changes.push(Change::Group { app, name, behavior });
        if self.groups[group].behavior != behavior {
            self.set_behavior(step, group, behavior);
        }
        Ok(())
    }

    fn set_behavior(&mut self, step: &mut Step, group: u32, behavior: TransferBehavior) {
        let members: Vec<Slot> = self.groups[group].members.iter().map(|(_, slot)| *slot).collect();
        let is_queued = |engine: &Self, slot: &Slot| engine.roster[*slot].phase == Phase::Queued;
        let queued: Vec<Slot> = members.iter().copied().filter(|slot| is_queued(self, slot)).collect();
        for slot in &queued {
            self.dequeue(*slot);
        }
        self.groups[group].behavior = behavior;
        for slot in &queued {
            self.enqueue(step, *slot);
            step.fresh.push(*slot);
        }
        if behavior == TransferBehavior::Serialized {
            let mut active: Vec<(Rank, i64, Slot)> = members
                .into_iter()
                .filter(|slot| {
                    let entry = &self.roster[*slot];
                    takes_turns(entry.priority)
                        && matches!(entry.phase, Phase::Running { stopping: None, .. })
                })
                .map(|slot| {
                    let entry = &self.roster[slot];
                    (Rank::from(entry.priority), entry.order, slot)
                })
                .collect();
            active.sort_unstable();
            for (_, _, slot) in active.into_iter().skip(1) {
                self.stop(step, slot, Stopping::Requeue(ReasonCode::GroupSerialized));
            }
        }
    }

    /// The number of a group, made Parallel if it is new.
    pub(crate) fn group_number(&mut self, app: u32, name: GroupName) -> u32 {
        let key = (app, name);
        if let Some(group) = self.groups.find(&key) {
            return group;
        }
        self.apps[app].groups += 1;
        self.groups.number(key)
    }

    pub(crate) fn join_group(&mut self, slot: Slot) {
        let entry = &self.roster[slot];
        if let Some(group) = entry.group {
            self.groups[group].members.insert((entry.order, slot));
            self.apps[entry.app].empty_groups.remove(&group);
        }
    }

    pub(crate) fn leave_group(&mut self, slot: Slot) {
        let entry = &self.roster[slot];
        let (app, Some(group)) = (entry.app, entry.group) else { return };
        let key = (entry.order, slot);
        self.groups[group].members.remove(&key);
        if !self.groups[group].members.is_empty() {
            return;
        }
        if self.groups[group].is_explicit {
            self.apps[app].empty_groups.insert(group);
        } else {
            self.groups.remove(group);
            self.apps[app].groups -= 1;
        }
    }

    /// Makes room for `new` more group names of an application, by forgetting groups without members.
    pub(crate) fn room_for_groups(&mut self, step: &mut Step, app: u32, new: usize) -> Result<(), Refusal> {
        let max = self.policy.groups_per_application as usize;
        let excess = (self.apps[app].groups as usize + new).saturating_sub(max);
        if new == 0 || excess == 0 {
            return Ok(());
        }
        if excess > self.apps[app].empty_groups.len() {
            return Err(Refusal::new(
                ErrorCode::GroupQuota,
                format!("the application has {max} groups with operations, which is its quota"),
            ));
        }
        // Parallel ones are what a new group would be anyway.
        let mut empty: Vec<u32> = self.apps[app].empty_groups.iter().copied().collect();
        empty.sort_by_key(|group| (self.groups[*group].behavior, *group));
        for group in empty.into_iter().take(excess) {
            let (_, name) = self.groups.key(group).clone();
            step.plan.changes.push(Change::GroupRemoved { app: self.apps.key(app).clone(), name });
            self.groups.remove(group);
            self.apps[app].empty_groups.remove(&group);
            self.apps[app].groups -= 1;
        }
        Ok(())
    }

    /// Moves the operation and those that follow it in its group to the front [W 1.8]: a rotation of the group.
    /// A member that runs in a Serialized group and is overtaken by it waits again, behind the moved block.
    pub(crate) fn make_current(&mut self, step: &mut Step, slot: Slot) {
        let Some(group) = self.roster[slot].group else { return };
        let order = self.roster[slot].order;
        let members = &self.groups[group].members;
        let (Some((first, _)), Some((last, _))) = (members.first().copied(), members.last().copied()) else {
            return;
        };
        let before: Vec<Slot> = members.range(..(order, slot)).map(|(_, slot)| *slot).collect();
        if before.is_empty() {
            return;
        }
        let follow: Vec<Slot> = members.range((order, slot)..).map(|(_, slot)| *slot).collect();
        // Moving either block makes the same rotation; the shorter one costs fewer records.
        if follow.len() <= before.len() {
            let count = i64::try_from(follow.len()).expect("fewer than 2^32 members");
            for (moved, order) in follow.into_iter().zip(first - count..) {
                self.reorder(step, moved, order);
            }
        } else {
            for (moved, order) in before.into_iter().zip(last + 1..) {
                self.reorder(step, moved, order);
            }
            let app = self.roster[slot].app;
            let top = self.groups[group].members.last().map_or(0, |(order, _)| *order);
            self.apps[app].order = self.apps[app].order.max(top);
        }
        step.touch(&self.apps, &self.roster[slot]);
        self.displace(step, group, slot);
    }

    fn reorder(&mut self, step: &mut Step, slot: Slot, order: i64) {
        let is_queued = self.roster[slot].phase == Phase::Queued;
        if is_queued {
            self.dequeue(slot);
        }
        if let Some(group) = self.roster[slot].group {
            let old = self.roster[slot].order;
            let members = &mut self.groups[group].members;
            members.remove(&(old, slot));
            members.insert((order, slot));
        }
        self.roster[slot].order = order;
        if is_queued {
            self.enqueue(step, slot);
        }
        step.plan.changes.push(Change::Updated { row: self.row(slot) });
    }

    fn displace(&mut self, step: &mut Step, group: u32, current: Slot) {
        let entry = &self.roster[current];
        let could_start = entry.phase == Phase::Queued
            && entry.is_due
            && self.serial_group(entry).is_some()
            && self.queue_gate_is_open(entry)
            && self.groups[group].candidate(entry.class()) == Some(current);
        if !could_start {
            return;
        }
        let key = (Rank::from(entry.priority), entry.order);
        let overtaken: Vec<Slot> = self
            .running
            .iter()
            .copied()
            .filter(|slot| {
                let other = &self.roster[*slot];
                other.group == Some(group)
                    && takes_turns(other.priority)
                    && (Rank::from(other.priority), other.order) > key
                    && matches!(other.phase, Phase::Running { stopping: None, .. })
            })
            .collect();
        for slot in overtaken {
            self.stop(step, slot, Stopping::Requeue(ReasonCode::GroupSerialized));
        }
    }

    #[must_use]
    pub fn group(&self, app: &AppId, name: &GroupName) -> Option<Group> {
        let app = self.apps.find(app)?;
        let group = &self.groups[self.groups.find(&(app, name.clone()))?];
        Some(Group {
            name: name.clone(),
            transfer_behavior: group.behavior,
            live_operations: group.members.len() as u64,
        })
    }

    /// All groups of an application, by name.
    #[must_use]
    pub fn groups(&self, app: &AppId) -> Vec<Group> {
        let Some(app) = self.apps.find(app) else { return Vec::new() };
        let mut groups: Vec<Group> = self
            .groups
            .iter()
            .filter(|((owner, _), _)| *owner == app)
            .map(|((_, name), group)| Group {
                name: name.clone(),
                transfer_behavior: group.behavior,
                live_operations: group.members.len() as u64,
            })
            .collect();
        groups.sort_by(|left, right| left.name.cmp(&right.name));
        groups
    }

    /// How many operations are not final: of one application, or of all.
    #[must_use]
    pub fn live_operations(&self, app: Option<&AppId>) -> u64 {
        match app {
            Some(app) => self.apps.find(app).map_or(0, |app| u64::from(self.apps[app].live)),
            None => self.apps.iter().map(|(_, app)| u64::from(app.live)).sum(),
        }
    }
}
