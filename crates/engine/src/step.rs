//! What one input has led to so far.

use std::collections::BTreeSet;

use crate::clock::Now;
use crate::plan::Plan;
use crate::roster::{Entry, Slot, Table};
use longhaul_contract::{AppId, TaskId};

/// What is known about an application.
#[derive(Debug, Default)]
pub(crate) struct App {
    /// Operations that are not final.
    pub(crate) live: u32,
    /// Highest order given out.
    pub(crate) order: i64,
    pub(crate) groups: u32,
    /// Explicit groups that have no members.
    pub(crate) empty_groups: BTreeSet<u32>,
}

#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) now: Now,
    pub(crate) plan: Plan,
    /// Operations that began to wait: what for is known only when all slots are given out.
    pub(crate) fresh: Vec<Slot>,
    pub(crate) tasks: TaskStep,
}

/// The same for tasks.
#[derive(Debug, Default)]
pub(crate) struct TaskStep {
    /// Registrations to be kept as they are at the end.
    pub(crate) rows: BTreeSet<TaskId>,
    /// Registrations for whom it was looked whether they may start.
    pub(crate) considered: BTreeSet<TaskId>,
    pub(crate) touched: BTreeSet<TaskId>,
    /// Registrations with a message whose time is over.
    pub(crate) expired: BTreeSet<TaskId>,
    /// Somebody asked to run it, and is told what became of that.
    pub(crate) asked: Option<TaskId>,
    /// What edges are compared with may have changed.
    pub(crate) signals: bool,
}

impl Step {
    pub(crate) fn new(now: Now) -> Self {
        Self { now, plan: Plan::default(), fresh: Vec::new(), tasks: TaskStep::default() }
    }

    pub(crate) fn touch(&mut self, apps: &Table<AppId, App>, entry: &Entry) {
        self.plan.touched.push((apps.key(entry.app).clone(), entry.id));
    }
}
