//! Power cuts: what is left is compared with what was promised, and the service starts again on it.

use longhaul_contract::{HostState, OperationId, TransferBehavior};
use longhaul_engine::{BootTime, Engine, Row};
use longhaul_store::{ListQuery, Reader as _, Store as _};

use crate::cut::Tear;
use crate::model::Want;
use crate::shell::{Batch, policy};
use crate::translate::host_state;
use crate::violation::{Invariant, Violation, ensure};
use crate::world::{Sabotage, World, broken};

impl World {
    /// The power goes, and the service starts again on what is left.
    pub(crate) fn crash(&mut self, lands: bool, off_seconds: i64) -> Result<(), Violation> {
        let has_landed = lands && self.write_batch()?;
        self.restart(has_landed, off_seconds, Tear::Lost)
    }

    /// Starts the service again. `has_landed` says whether what was decided last made it to the disk.
    pub(crate) fn restart(
        &mut self,
        has_landed: bool,
        off_seconds: i64,
        tear: Tear,
    ) -> Result<(), Violation> {
        let given_up: Vec<OperationId> = self
            .ahead
            .operations
            .iter()
            .filter(|(_, operation)| operation.is_failing || operation.want == Want::Error)
            .map(|(id, _)| *id)
            .collect();
        let mut model = if has_landed { self.ahead.clone() } else { self.acknowledged.clone() };
        model.forget_counts();
        self.store = self.store.crash_keeping(|lazy| usize::try_from(tear.left_of(lazy as u64)).unwrap_or(0));
        self.reader = self.store.reader();
        self.disk.power_cut(tear);
        self.workers.clear();
        self.discards.clear();
        self.decided.clear();
        self.past.clear();
        self.batch = Batch::default();
        self.lazy.clear();
        self.prune = None;
        self.now.boot = BootTime(1_000_000);
        self.now.wall = self.now.wall.plus_seconds(off_seconds);
        self.acknowledged = model.clone();
        self.ahead = model;
        self.note_time();
        self.check_kept(&given_up)?;
        let loaded = self.store.load().map_err(|error| broken(&error))?;
        let limits = loaded.limits.unwrap_or_default();
        self.engine = Engine::new(policy(), limits, host_state(self.machine));
        if self.sabotage == Sabotage::HideCost {
            self.engine = Engine::new(policy(), self.engine.limits(), HostState::unmeasured());
        }
        for (app, name, behavior) in loaded.groups {
            let is_serialized = self.ahead.serialized.get(&(app.clone(), name.clone())).copied();
            ensure(
                is_serialized == Some(behavior == TransferBehavior::Serialized),
                Invariant::AcknowledgedIsKept,
                || format!("group {name} is kept as {behavior}"),
            )?;
            self.engine.adopt_group(app, name, behavior);
        }
        for row in loaded.completion_groups {
            self.engine.adopt_completion_group(row);
        }
        for row in loaded.rows {
            self.engine.adopt(row);
        }
        for row in loaded.tasks {
            self.engine.adopt_task(row);
        }
        for (app, status) in loaded.access {
            self.engine.adopt_access(app, status);
        }
        for (app, instance) in loaded.left_over {
            self.engine.adopt_instance(app, instance);
        }
        let plan = self.engine.begin(self.engine_now());
        self.take(plan, None)
    }

    /// Settings changed on a live operation are promises too.
    fn check_settings(&self, row: &Row) -> Result<(), Violation> {
        let Some(promised) = self.ahead.operations.get(&row.id) else { return Ok(()) };
        let kept = (row.priority.number(), row.cost_policy.number(), row.rate_limit, row.origin.is_local);
        let expected = (promised.priority, promised.cost_policy, promised.rate, promised.host == 0);
        ensure(kept == expected, Invariant::AcknowledgedIsKept, || {
            format!("{} is kept with {kept:?} and promised with {expected:?}", row.id)
        })
    }

    /// Compares what is left with what was promised, and records with bytes. The record of an operation that was
    /// being given up may outlive its part file, which a new attempt takes for nothing.
    fn check_kept(&self, given_up: &[OperationId]) -> Result<(), Violation> {
        let all = ListQuery {
            app: None,
            kind: None,
            group: None,
            only_ungrouped: false,
            label: None,
            text: None,
            is_final: None,
            include_consumed: true,
            descending: false,
            after: None,
            limit: usize::MAX,
        };
        let stored = self.reader.list(&all).map_err(|error| broken(&error))?;
        for record in &stored {
            self.ahead.kept_as(record.row.id, Some(&record.row.phase))?;
            self.check_settings(&record.row)?;
        }
        for id in self.ahead.operations.keys() {
            let record = stored.iter().find(|record| record.row.id == *id);
            self.ahead.kept_as(*id, record.map(|record| &record.row.phase))?;
            let durable = self.disk.parts.get(id).map_or(0, |part| part.durable);
            let recorded =
                record.filter(|record| !record.row.phase.is_final()).map_or(0, |record| record.received);
            let is_gone = !self.disk.parts.contains_key(id)
                && (given_up.contains(id) || self.ahead.operations[id].want.is_over());
            let is_covered = recorded <= durable || is_gone || self.disk.published.contains_key(id);
            ensure(is_covered, Invariant::RecordedIsDurable, || {
                format!("{id} has {recorded} bytes recorded and {durable} on disk")
            })?;
        }
        for ((app, name), members) in &self.ahead.groups {
            let mut kept: Vec<_> = stored
                .iter()
                .filter(|record| {
                    record.row.app == *app
                        && record.row.group.as_ref() == Some(name)
                        && !record.row.phase.is_final()
                })
                .map(|record| (record.row.order, record.row.id))
                .collect();
            kept.sort_unstable();
            let kept: Vec<_> = kept.into_iter().map(|(_, id)| id).collect();
            ensure(kept == *members, Invariant::GroupOrder, || {
                format!("group {name} of {app} is kept as {kept:?} and promised as {members:?}")
            })?;
        }
        Ok(())
    }
}
