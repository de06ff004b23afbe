//! The entries of all live operations, and the names they share.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::ops::{Index, IndexMut};
use std::sync::Arc;

use hashbrown::HashTable;
use longhaul_contract::{
    CompletionGroupId, CostPolicy, OperationId, OperationKind, Priority, ReasonCode, Timestamp,
    WebErrorStatus,
};

use crate::cost::Class;
use crate::download::Phase;
use crate::retry::Record;
use crate::row::{Marks, TargetKey};

/// Number of an entry while it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Slot(u32);

impl Slot {
    pub(crate) const MIN: Self = Self(0);
    pub(crate) const MAX: Self = Self(u32::MAX);
}

/// What few operations have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) rate_limit: Option<u64>,
    pub(crate) not_before: Option<Timestamp>,
    pub(crate) recoverable: Option<Arc<[WebErrorStatus]>>,
    pub(crate) completion_group: Option<CompletionGroupId>,
    pub(crate) marks: Marks,
}

/// The same in little room: most operations have none of it, and most of the others one.
#[derive(Debug)]
pub(crate) enum Rare {
    Nothing,
    NotBefore(Timestamp),
    Several(Box<Settings>),
}

impl From<Settings> for Rare {
    fn from(settings: Settings) -> Self {
        let not_before = settings.not_before;
        if settings != (Settings { not_before, ..Settings::default() }) {
            return Self::Several(Box::new(settings));
        }
        not_before.map_or(Self::Nothing, Self::NotBefore)
    }
}

impl From<&Rare> for Settings {
    fn from(rare: &Rare) -> Self {
        match rare {
            Rare::Nothing => Self::default(),
            Rare::NotBefore(time) => Self { not_before: Some(*time), ..Self::default() },
            Rare::Several(settings) => (**settings).clone(),
        }
    }
}

/// Whether the origin is on this machine, and whether the application has to be in the foreground and is not: two facts in
/// one byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing(u8);

impl Standing {
    const LOCAL: u8 = 1;
    const HELD_BACK: u8 = 2;

    pub(crate) fn new(is_local: bool, is_held_back: bool) -> Self {
        Self((u8::from(is_local) * Self::LOCAL) | (u8::from(is_held_back) * Self::HELD_BACK))
    }

    pub(crate) const fn is_local(self) -> bool {
        self.0 & Self::LOCAL != 0
    }

    pub(crate) const fn is_held_back(self) -> bool {
        self.0 & Self::HELD_BACK != 0
    }
}

/// One live operation. Applications, groups and origins are numbers of their tables.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) id: OperationId,
    pub(crate) target: Option<TargetKey>,
    pub(crate) phase: Phase,
    pub(crate) order: i64,
    /// When the present stretch of waiting or running began.
    pub(crate) since: Timestamp,
    pub(crate) rare: Rare,
    pub(crate) app: u32,
    pub(crate) group: Option<u32>,
    pub(crate) origin: u32,
    /// Attempts of this process's life.
    pub(crate) attempts: u32,
    pub(crate) record: Record,
    pub(crate) kind: OperationKind,
    pub(crate) priority: Priority,
    pub(crate) cost_policy: CostPolicy,
    /// What the present stretch of waiting is waiting for; the gates add theirs.
    pub(crate) waits_for: Option<ReasonCode>,
    pub(crate) standing: Standing,
    /// `not_before` was reached; a clock set back does not undo that.
    pub(crate) is_due: bool,
    /// Its caller has taken the result of a cancellation that still clears up.
    pub(crate) is_consumed: bool,
    /// An attempt may have left a part file.
    pub(crate) may_have_part: bool,
}

impl Entry {
    pub(crate) fn class(&self) -> Class {
        let is_exempt = self.priority == Priority::High || self.marks().is_unconstrained();
        let class = Class::new(self.cost_policy, self.standing.is_local(), is_exempt);
        if self.standing.is_held_back() { class.held_back() } else { class }
    }

    pub(crate) fn rate_limit(&self) -> Option<u64> {
        match &self.rare {
            Rare::Nothing | Rare::NotBefore(_) => None,
            Rare::Several(settings) => settings.rate_limit,
        }
    }

    pub(crate) fn not_before(&self) -> Option<Timestamp> {
        match &self.rare {
            Rare::Nothing => None,
            Rare::NotBefore(time) => Some(*time),
            Rare::Several(settings) => settings.not_before,
        }
    }

    pub(crate) fn completion_group(&self) -> Option<CompletionGroupId> {
        match &self.rare {
            Rare::Nothing | Rare::NotBefore(_) => None,
            Rare::Several(settings) => settings.completion_group,
        }
    }

    pub(crate) fn marks(&self) -> Marks {
        match &self.rare {
            Rare::Nothing | Rare::NotBefore(_) => Marks::default(),
            Rare::Several(settings) => settings.marks,
        }
    }

    pub(crate) fn recoverable(&self) -> &[WebErrorStatus] {
        match &self.rare {
            Rare::Nothing | Rare::NotBefore(_) => &[],
            Rare::Several(settings) => settings.recoverable.as_deref().unwrap_or(&[]),
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Roster {
    /// By the id of the entry, which is not kept twice.
    slots: HashTable<Slot>,
    hasher: RandomState,
    entries: Vec<Option<Entry>>,
    free: Vec<Slot>,
}

impl Roster {
    pub(crate) fn find(&self, id: OperationId) -> Option<Slot> {
        self.slots.find(self.hasher.hash_one(id), |slot| self[*slot].id == id).copied()
    }

    pub(crate) fn insert(&mut self, entry: Entry) -> Slot {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            Slot(u32::try_from(self.entries.len() - 1).expect("fewer than 2^32 live operations"))
        });
        let hash = self.hasher.hash_one(entry.id);
        self.entries[slot.0 as usize] = Some(entry);
        let (entries, hasher) = (&self.entries, &self.hasher);
        let id_of = |slot: &Slot| entries[slot.0 as usize].as_ref().map(|entry| entry.id);
        self.slots.insert_unique(hash, slot, |slot| id_of(slot).map_or(0, |id| hasher.hash_one(id)));
        slot
    }

    pub(crate) fn remove(&mut self, slot: Slot) -> Entry {
        let hash = self.hasher.hash_one(self[slot].id);
        if let Ok(found) = self.slots.find_entry(hash, |other| *other == slot) {
            found.remove();
        }
        let entry = self.entries[slot.0 as usize].take().expect("a slot is in use until it is removed");
        self.free.push(slot);
        entry
    }

    pub(crate) fn get(&self, slot: Slot) -> Option<&Entry> {
        self.entries[slot.0 as usize].as_ref()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Slot, &Entry)> {
        (0..).map(Slot).zip(&self.entries).filter_map(|(slot, entry)| Some((slot, entry.as_ref()?)))
    }
}

impl Index<Slot> for Roster {
    type Output = Entry;

    fn index(&self, slot: Slot) -> &Entry {
        self.entries[slot.0 as usize].as_ref().expect("a slot is in use until it is removed")
    }
}

impl IndexMut<Slot> for Roster {
    fn index_mut(&mut self, slot: Slot) -> &mut Entry {
        self.entries[slot.0 as usize].as_mut().expect("a slot is in use until it is removed")
    }
}

/// Names as small numbers, with what is known about each, kept for as long as somebody refers to it.
#[derive(Debug)]
pub(crate) struct Table<K, V> {
    numbers: HashMap<K, u32>,
    rows: Vec<Option<(K, V)>>,
    free: Vec<u32>,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self { numbers: HashMap::new(), rows: Vec::new(), free: Vec::new() }
    }
}

impl<K: Eq + Hash + Clone, V: Default> Table<K, V> {
    pub(crate) fn find(&self, key: &K) -> Option<u32> {
        self.numbers.get(key).copied()
    }

    /// The number of `key`, which is added if it is new.
    pub(crate) fn number(&mut self, key: K) -> u32 {
        if let Some(number) = self.find(&key) {
            return number;
        }
        let number = self.free.pop().unwrap_or_else(|| {
            self.rows.push(None);
            u32::try_from(self.rows.len() - 1).expect("fewer than 2^32 names")
        });
        self.numbers.insert(key.clone(), number);
        self.rows[number as usize] = Some((key, V::default()));
        number
    }

    pub(crate) fn remove(&mut self, number: u32) {
        if let Some((key, _)) = self.rows[number as usize].take() {
            self.numbers.remove(&key);
            self.free.push(number);
        }
    }

    pub(crate) fn key(&self, number: u32) -> &K {
        &self.row(number).0
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &(K, V)> {
        self.rows.iter().flatten()
    }

    fn row(&self, number: u32) -> &(K, V) {
        self.rows[number as usize].as_ref().expect("a number is in use until it is removed")
    }
}

impl<K: Eq + Hash + Clone, V: Default> Index<u32> for Table<K, V> {
    type Output = V;

    fn index(&self, number: u32) -> &V {
        &self.row(number).1
    }
}

impl<K: Eq + Hash + Clone, V: Default> IndexMut<u32> for Table<K, V> {
    fn index_mut(&mut self, number: u32) -> &mut V {
        &mut self.rows[number as usize].as_mut().expect("a number is in use until it is removed").1
    }
}
