//! The end of every history: the machine goes through all it can be, and every firing has to have its run.

use std::collections::BTreeSet;

use longhaul_contract::{InstanceId, TaskId};
use longhaul_engine::task::TaskFact;
use longhaul_store::Store as _;

use super::event::Trigger;
use super::machine::TaskMachine;
use super::model::{CRASHES_MAX, Cause, End, MINUTE, SECOND};
use super::shell::{CLASS, app};
use super::world::TaskWorld;
use crate::event::Level;
use crate::violation::{Invariant, Violation, ensure};
use crate::world::broken;

impl TaskWorld {
    pub(crate) fn finale(&mut self) -> Result<(), Violation> {
        self.settle()?;
        if self.is_clock_dead {
            self.jump(0)?;
        }
        if self.ahead.is_stopping {
            self.crash(true, 60, true, false)?;
        }
        for number in 0..3 {
            self.put_access(number, 4)?;
            let fact = TaskFact::Serving { app: app(number), class: CLASS.into(), is_connected: true };
            self.fact(fact, |model| {
                model.serving.insert(number, true);
            })?;
        }
        let mut owed: BTreeSet<TaskId> =
            self.ahead.regs.iter().filter(|(_, reg)| reg.pending.is_some()).map(|(id, _)| *id).collect();
        for id in owed.clone() {
            if self.ahead.regs[&id].crashes >= CRASHES_MAX {
                self.run_by_hand(id)?;
            }
        }
        for machine in machines() {
            self.set_machine(machine)?;
            for _ in 0..3 {
                self.wait(2 * SECOND)?;
                self.complete_all()?;
                owed.retain(|id| self.ahead.regs.get(id).is_some_and(|reg| reg.pending.is_some()));
                self.wait(90 * MINUTE)?;
                self.complete_all()?;
                owed.retain(|id| self.ahead.regs.get(id).is_some_and(|reg| reg.pending.is_some()));
            }
        }
        owed.retain(|id| {
            let what = &self.ahead.regs[id].what;
            let is_impossible =
                matches!(what.trigger, Trigger::Maintenance { .. }) && what.conditions.contains(&10);
            !is_impossible && self.ahead.regs[id].pending.is_some_and(|pending| pending.cause != Cause::Retry)
        });
        ensure(owed.is_empty(), Invariant::NoFiringLost, || format!("{owed:?} never ran"))?;
        self.clear_up()
    }

    fn complete_all(&mut self) -> Result<(), Violation> {
        for _ in 0..50 {
            self.settle()?;
            let living: Vec<InstanceId> = self.jobs.keys().copied().collect();
            if living.is_empty() {
                return Ok(());
            }
            for instance in living {
                self.end_job(instance, End::Completed)?;
            }
        }
        Err(Violation::new(Invariant::EverythingEnds, "instances start for ever"))
    }

    /// Without registrations nothing is left: no timer, no process, no row.
    fn clear_up(&mut self) -> Result<(), Violation> {
        let ids: Vec<TaskId> = self.ahead.regs.keys().copied().collect();
        for id in ids {
            self.unregister(id, true)?;
        }
        self.complete_all()?;
        let wake = self.engine.next_wake();
        // Completion groups are forgotten some day.
        let has_groups = (0..3).any(|number| !self.engine.completion_groups(&app(number)).is_empty());
        let is_calm = wake.boot.is_none() && (wake.wall.is_none() || has_groups);
        ensure(is_calm, Invariant::EverythingEnds, || format!("nothing is left to do, and yet {wake:?}"))?;
        let loaded = self.store.load().map_err(|error| broken(&error))?;
        ensure(loaded.tasks.is_empty() && loaded.left_over.is_empty(), Invariant::NoOrphans, || {
            format!("left are {:?} and {:?}", loaded.tasks, loaded.left_over)
        })
    }
}

/// All that conditions distinguish.
fn machines() -> Vec<TaskMachine> {
    let mut machines = Vec::new();
    for bits in 0_u8..16 {
        let bit = |number: u8| bits & (1 << number) != 0;
        machines.push(TaskMachine {
            level: Some(if bit(0) { Level::None } else { Level::Internet }),
            has_user: Some(!bit(1)),
            has_session: Some(!bit(2)),
            is_on_battery: Some(bit(3)),
            ..TaskMachine::BENIGN
        });
    }
    machines
}
