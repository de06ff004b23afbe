//! The engine, made from what the store has kept: row by row, so that no second copy of a long queue is in memory.

use std::collections::BTreeSet;

use longhaul_contract::{
    AccessStatus, AppId, GroupName, HostState, Instance, Limits, TaskId, TransferBehavior,
};
use longhaul_engine::task::{KnownSignals, TaskRow, TaskTrigger};
use longhaul_engine::{CompletionRow, Engine, Policy, Row};
use longhaul_store::{Adopt, Loaded, Store, StoreError};

/// What an engine is made with besides the rows.
pub(crate) struct Circumstances {
    pub(crate) policy: Policy,
    /// In force until the store keeps others.
    pub(crate) limits: Limits,
    pub(crate) host: HostState,
    /// Applications that have to be in the foreground and are not.
    pub(crate) held_back: BTreeSet<AppId>,
}

impl Circumstances {
    /// Reads the store from end to end. Also tells which tasks are fired by sources outside.
    pub(crate) fn engine_of(self, store: &mut impl Store) -> Result<(Engine, Vec<TaskId>), StoreError> {
        let mut adopting = self.adopting();
        store.load_into(&mut adopting)?;
        Ok((adopting.engine, adopting.sourced))
    }

    /// From what was read before.
    pub(super) fn engine_with(self, loaded: Loaded) -> Engine {
        let mut adopting = self.adopting();
        adopting.limits(loaded.limits);
        for (app, name, behavior) in loaded.groups {
            adopting.group(app, name, behavior);
        }
        for row in loaded.completion_groups {
            adopting.completion_group(row);
        }
        for row in loaded.rows {
            adopting.row(row);
        }
        for row in loaded.tasks {
            adopting.task(row);
        }
        for (app, status) in loaded.access {
            adopting.access(app, status);
        }
        if let Some(signals) = loaded.signals {
            adopting.signals(signals);
        }
        for (app, instance) in loaded.left_over {
            adopting.left_over(app, instance);
        }
        adopting.engine
    }

    fn engine(&self, limits: Limits) -> Engine {
        let mut engine = Engine::new(self.policy.clone(), limits, self.host.clone());
        self.held_back.iter().for_each(|app| engine.adopt_held_back(app.clone()));
        engine
    }

    fn adopting(self) -> Adopting {
        let engine = self.engine(self.limits.clone());
        Adopting { engine, circumstances: self, sourced: Vec::new() }
    }
}

struct Adopting {
    engine: Engine,
    circumstances: Circumstances,
    sourced: Vec<TaskId>,
}

impl Adopt for Adopting {
    fn limits(&mut self, limits: Option<Limits>) {
        if let Some(limits) = limits {
            self.engine = self.circumstances.engine(limits);
        }
    }

    fn group(&mut self, app: AppId, name: GroupName, behavior: TransferBehavior) {
        self.engine.adopt_group(app, name, behavior);
    }

    fn completion_group(&mut self, row: CompletionRow) {
        self.engine.adopt_completion_group(row);
    }

    fn row(&mut self, row: Row) {
        self.engine.adopt(row);
    }

    fn task(&mut self, row: TaskRow) {
        if matches!(row.plan.trigger, TaskTrigger::Sourced { .. }) {
            self.sourced.push(row.id);
        }
        self.engine.adopt_task(row);
    }

    fn access(&mut self, app: AppId, status: AccessStatus) {
        self.engine.adopt_access(app, status);
    }

    fn signals(&mut self, signals: KnownSignals) {
        self.engine.adopt_signals(signals);
    }

    fn left_over(&mut self, app: AppId, instance: Instance) {
        self.engine.adopt_instance(app, instance);
    }
}
