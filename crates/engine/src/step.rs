//! What one input has led to so far.

use crate::clock::Now;
use crate::plan::Plan;
use crate::roster::{Entry, Slot, Table};
use longhaul_contract::AppId;

/// What is known about an application.
#[derive(Debug, Default)]
pub(crate) struct App {
    /// Operations that are not final.
    pub(crate) live: u32,
    /// Highest order given out.
    pub(crate) order: i64,
    pub(crate) groups: u32,
    /// Explicit groups that have no members.
    pub(crate) empty_groups: std::collections::BTreeSet<u32>,
}

#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) now: Now,
    pub(crate) plan: Plan,
    /// Operations that began to wait: what for is known only when all slots are given out.
    pub(crate) fresh: Vec<Slot>,
}

impl Step {
    pub(crate) fn new(now: Now) -> Self {
        Self { now, plan: Plan::default(), fresh: Vec::new() }
    }

    pub(crate) fn touch(&mut self, apps: &Table<AppId, App>, entry: &Entry) {
        self.plan.touched.push((apps.key(entry.app).clone(), entry.id));
    }
}
