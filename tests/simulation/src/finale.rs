//! The end of every history: the world turns benign, and everything has to end.

use longhaul_contract::OperationId;

use crate::event::{Command, Cost, Level, Machine, NewLimits};
use crate::model::Want;
use crate::violation::{Invariant, Violation, ensure};
use crate::world::World;

/// Far more rounds than any history needs.
const ROUNDS: u32 = 20_000;

impl World {
    pub(crate) fn finale(&mut self) -> Result<(), Violation> {
        self.set_machine(Machine {
            level: Some(Level::Internet),
            cost: Some(Cost::Unmetered),
            energy_saver: Some(false),
        })?;
        self.disk.is_full = false;
        let limits =
            NewLimits { running_at_once: 4, per_application: 3, per_host: 2, rate: None, closed_hours: None };
        self.put_limits(&limits)?;
        self.enable_all()?;
        self.ask_for_everything()?;
        for _ in 0..ROUNDS {
            if self.round()? {
                return self.check_nothing_is_left();
            }
        }
        Err(Violation::new(Invariant::EverythingEnds, "the engine never comes to rest"))
    }

    fn ask_for_everything(&mut self) -> Result<(), Violation> {
        let wants: Vec<(OperationId, Want)> =
            self.ahead.live().map(|(id, operation)| (id, operation.want)).collect();
        for (id, want) in wants {
            match want {
                Want::Idle => self.command(id, Command::Start)?,
                Want::Paused | Want::NeedsInput => self.command(id, Command::Resume)?,
                _ => {}
            }
            if !want.is_over() && !self.ahead.operations[&id].is_failing {
                self.command(id, Command::Rate(None))?;
            }
        }
        Ok(())
    }

    /// One round of work; whether everything is at rest.
    fn round(&mut self) -> Result<bool, Violation> {
        self.commit()?;
        self.commit()?;
        for id in self.discards.clone() {
            self.discard(id)?;
        }
        let ids: Vec<OperationId> = self.workers.keys().copied().collect();
        for id in &ids {
            match self.workers[id].stop {
                Some(mode) => self.let_worker_go(*id, mode)?,
                None if self.workers[id].is_published => self.finish(*id)?,
                None => {
                    self.receive(*id, u64::from(u32::MAX))?;
                    self.publish(*id)?;
                    self.finish(*id)?;
                }
            }
        }
        self.commit()?;
        if !self.workers.is_empty() || !self.discards.is_empty() || !self.batch.changes.is_empty() {
            return Ok(false);
        }
        if self.ahead.live().next().is_none() {
            return Ok(true);
        }
        let Some(next) = self.next_wake() else {
            let stuck: Vec<_> = self
                .ahead
                .live()
                .map(|(id, operation)| {
                    (id, operation.want, self.engine.live(self.engine_now(), &operation.app, id))
                })
                .collect();
            return Err(Violation::new(
                Invariant::EverythingEnds,
                format!("nothing is under way and no timer set, but {stuck:?} are not over"),
            ));
        };
        self.wait((next.0.saturating_sub(self.now.boot.0)).div_ceil(1_000))?;
        Ok(false)
    }

    fn check_nothing_is_left(&self) -> Result<(), Violation> {
        self.check_sets()?;
        ensure(self.disk.parts.is_empty(), Invariant::NoOrphans, || {
            format!("part files are left: {:?}", self.disk.parts.keys())
        })?;
        ensure(self.engine.next_wake().boot.is_none(), Invariant::EverythingEnds, || {
            format!("nothing is left to do, and yet {:?}", self.engine.next_wake())
        })
    }
}
