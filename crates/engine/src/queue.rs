//! Whose turn is next: slots, and the operations that need nothing but one.
//!
//! Only what could start at once is in here. Entries are kept in lanes (one origin, application, class and rank),
//! and each application knows the heads of its lanes that are open, so a full machine costs nothing however many
//! operations wait, and a step costs a few tree operations.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;

use longhaul_contract::{Limits, Priority};

use crate::cost::Class;
use crate::roster::Slot;

/// Place of a priority in the queue: lower goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Rank(u8);

impl From<Priority> for Rank {
    fn from(priority: Priority) -> Self {
        Self(match priority {
            Priority::High => 0,
            Priority::Default => 1,
            Priority::Low => 2,
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Lane {
    pub(crate) origin: u32,
    pub(crate) app: u32,
    pub(crate) class: Class,
    pub(crate) rank: Rank,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) lane: Lane,
    pub(crate) order: i64,
    pub(crate) slot: Slot,
}

impl Lane {
    fn first(self) -> Place {
        Place { lane: self, order: i64::MIN, slot: Slot::MIN }
    }

    fn last(self) -> Place {
        Place { lane: self, order: i64::MAX, slot: Slot::MAX }
    }
}

/// Head of an open lane, in the order an application's operations go.
type Head = (Rank, i64, Slot, Lane);

fn head_of(place: Place) -> Head {
    (place.lane.rank, place.order, place.slot, place.lane)
}

#[derive(Debug, Default)]
struct AppQueue {
    running: u32,
    /// Of its last start, in starts of all applications.
    last_turn: u64,
    heads: BTreeSet<Head>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Caps {
    pub(crate) total: u32,
    pub(crate) per_application: u32,
    pub(crate) per_origin: u32,
}

impl From<&Limits> for Caps {
    fn from(limits: &Limits) -> Self {
        Self {
            total: limits.running_at_once,
            per_application: limits.running_at_once_per_application,
            per_origin: limits.connections_per_host,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Queue {
    caps: Caps,
    is_class_open: [bool; Class::COUNT],
    waiting_of_class: [u32; Class::COUNT],
    places: BTreeSet<Place>,
    apps: BTreeMap<u32, AppQueue>,
    /// Applications that have an open lane and room: fewest running first, then who waited longest for a turn.
    turns: BTreeSet<(u32, u64, u32)>,
    running: u32,
    running_of_origin: HashMap<u32, u32>,
    turn: u64,
}

impl Queue {
    pub(crate) fn new(caps: Caps) -> Self {
        Self {
            caps,
            is_class_open: [true; Class::COUNT],
            waiting_of_class: [0; Class::COUNT],
            places: BTreeSet::new(),
            apps: BTreeMap::new(),
            turns: BTreeSet::new(),
            running: 0,
            running_of_origin: HashMap::new(),
            turn: 0,
        }
    }

    pub(crate) fn running(&self) -> u32 {
        self.running
    }

    pub(crate) fn running_of_app(&self, app: u32) -> u32 {
        self.apps.get(&app).map_or(0, |queue| queue.running)
    }

    pub(crate) fn running_of_origin(&self, origin: u32) -> u32 {
        self.running_of_origin.get(&origin).copied().unwrap_or(0)
    }

    pub(crate) fn caps(&self) -> Caps {
        self.caps
    }

    /// Whether anything could start now, were it not for the total number of slots and the rate.
    pub(crate) fn has_open_lane(&self) -> bool {
        !self.turns.is_empty()
    }

    pub(crate) fn has_class(&self, class: Class) -> bool {
        self.waiting_of_class[class.index()] > 0
    }

    pub(crate) fn insert(&mut self, place: Place) {
        let before = self.head(place.lane);
        if self.places.insert(place) {
            self.waiting_of_class[place.lane.class.index()] += 1;
        }
        self.head_changed(place.lane, before);
    }

    pub(crate) fn remove(&mut self, place: Place) {
        let before = self.head(place.lane);
        if self.places.remove(&place) {
            self.waiting_of_class[place.lane.class.index()] -= 1;
        }
        self.head_changed(place.lane, before);
    }

    /// The operation whose turn it is, if there is a free slot for one.
    pub(crate) fn next(&self) -> Option<Place> {
        if self.running >= self.caps.total {
            return None;
        }
        let (_, _, app) = self.turns.first()?;
        let (_, order, slot, lane) = *self.apps.get(app)?.heads.first()?;
        Some(Place { lane, order, slot })
    }

    /// Hands a slot to an operation, which leaves the queue.
    pub(crate) fn take_slot(&mut self, place: Place) {
        self.remove(place);
        self.running += 1;
        self.turn += 1;
        let turn = self.turn;
        self.with_app(place.lane.app, |queue| {
            queue.running += 1;
            queue.last_turn = turn;
        });
        self.count_origin(place.lane.origin, |count| count + 1);
    }

    pub(crate) fn give_slot_back(&mut self, app: u32, origin: u32) {
        self.running -= 1;
        self.with_app(app, |queue| queue.running -= 1);
        self.count_origin(origin, |count| count - 1);
    }

    pub(crate) fn set_class_open(&mut self, class: Class, is_open: bool) {
        if self.is_class_open[class.index()] == is_open {
            return;
        }
        let lanes: Vec<Lane> = self.lanes().filter(|lane| lane.class == class).collect();
        self.change_lanes(&lanes, |queue| queue.is_class_open[class.index()] = is_open);
    }

    pub(crate) fn set_caps(&mut self, caps: Caps) {
        if self.caps == caps {
            return;
        }
        let lanes: Vec<Lane> = self.lanes().collect();
        self.change_lanes(&lanes, |queue| queue.caps = caps);
        let apps: Vec<u32> = self.apps.keys().copied().collect();
        self.turns.clear();
        for app in apps {
            self.with_app(app, |_| ());
        }
    }

    fn count_origin(&mut self, origin: u32, change: impl Fn(u32) -> u32) {
        let before = self.running_of_origin(origin);
        let after = change(before);
        let apply = |queue: &mut Self| {
            if after == 0 {
                queue.running_of_origin.remove(&origin);
            } else {
                queue.running_of_origin.insert(origin, after);
            }
        };
        if (before >= self.caps.per_origin) == (after >= self.caps.per_origin) {
            apply(self);
        } else {
            let lanes: Vec<Lane> = self.lanes_of_origin(origin).collect();
            self.change_lanes(&lanes, apply);
        }
    }

    /// Applies a change that may open or close `lanes`.
    fn change_lanes(&mut self, lanes: &[Lane], change: impl FnOnce(&mut Self)) {
        let before: Vec<bool> = lanes.iter().map(|lane| self.is_open(*lane)).collect();
        change(self);
        for (lane, was_open) in lanes.iter().zip(before) {
            let is_open = self.is_open(*lane);
            let Some(head) = self.head(*lane).filter(|_| is_open != was_open) else { continue };
            self.with_app(lane.app, |queue| {
                if is_open {
                    queue.heads.insert(head_of(head));
                } else {
                    queue.heads.remove(&head_of(head));
                }
            });
        }
    }

    fn head_changed(&mut self, lane: Lane, before: Option<Place>) {
        let after = self.head(lane);
        if before == after || !self.is_open(lane) {
            return;
        }
        self.with_app(lane.app, |queue| {
            if let Some(head) = before {
                queue.heads.remove(&head_of(head));
            }
            if let Some(head) = after {
                queue.heads.insert(head_of(head));
            }
        });
    }

    fn with_app(&mut self, app: u32, change: impl FnOnce(&mut AppQueue)) {
        let queue = self.apps.entry(app).or_default();
        self.turns.remove(&(queue.running, queue.last_turn, app));
        change(queue);
        if !queue.heads.is_empty() && queue.running < self.caps.per_application {
            self.turns.insert((queue.running, queue.last_turn, app));
        }
        if queue.heads.is_empty() && queue.running == 0 {
            self.apps.remove(&app);
        }
    }

    fn is_open(&self, lane: Lane) -> bool {
        self.is_class_open[lane.class.index()] && self.running_of_origin(lane.origin) < self.caps.per_origin
    }

    fn head(&self, lane: Lane) -> Option<Place> {
        self.places.range(lane.first()..=lane.last()).next().copied()
    }

    fn lanes(&self) -> impl Iterator<Item = Lane> {
        self.lanes_from(self.places.first().copied())
    }

    fn lanes_of_origin(&self, origin: u32) -> impl Iterator<Item = Lane> {
        let first = Lane { origin, app: 0, class: Class::MIN, rank: Rank(0) };
        self.lanes_from(self.places.range(first.first()..).next().copied())
            .take_while(move |lane| lane.origin == origin)
    }

    /// The lanes from a place on, each once.
    fn lanes_from(&self, mut next: Option<Place>) -> impl Iterator<Item = Lane> {
        std::iter::from_fn(move || {
            let lane = next?.lane;
            next = self.places.range((Bound::Excluded(lane.last()), Bound::Unbounded)).next().copied();
            Some(lane)
        })
    }
}
