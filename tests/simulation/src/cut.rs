//! Cuts the power at a chosen commit: right before it or right after it, in the middle of whatever the service does.

use longhaul_store::{Store as _, Write};

use crate::violation::{Invariant, Violation};
use crate::world::World;

/// Where the power goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Number of the commit in the history, from 1.
    pub commit: u64,
    pub side: Side,
    pub tear: Tear,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Before,
    /// It is on disk, and nobody has been told.
    After,
}

/// What becomes of what was written and not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tear {
    /// It is gone.
    Lost,
    /// Half of it is there.
    Torn,
}

impl Tear {
    /// What is left of so much.
    pub(crate) fn left_of(self, unsynced: u64) -> u64 {
        match self {
            Self::Lost => 0,
            Self::Torn => unsynced / 2,
        }
    }
}

impl Cut {
    /// Each way to cut at this commit.
    pub fn all_at(commit: u64) -> impl Iterator<Item = Self> {
        let sides = [Side::Before, Side::After];
        sides.into_iter().flat_map(move |side| {
            [Tear::Lost, Tear::Torn].into_iter().map(move |tear| Self { commit, side, tear })
        })
    }
}

/// Seconds for which the machine is off.
const OFF_SECONDS: i64 = 5;

impl World {
    /// The one way into the store. Answers whether it was written. An error is the power going: whoever is at work has
    /// to let it through, and [`Self::survive`] takes it.
    pub(crate) fn keep(&mut self, writes: &[Write], is_batch: bool) -> Result<bool, Violation> {
        self.commits += 1;
        let cut = self.cut.filter(|cut| cut.commit == self.commits);
        if cut.is_some_and(|cut| cut.side == Side::Before) {
            self.landed = Some(false);
            return Err(Violation::new(Invariant::NoPanic, "nobody took notice of the power"));
        }
        let is_kept = self.store.commit(writes).is_ok();
        if cut.is_some() {
            self.landed = Some(is_kept && is_batch);
            return Err(Violation::new(Invariant::NoPanic, "nobody took notice of the power"));
        }
        Ok(is_kept)
    }

    /// Starts the service again if it was the power; else the violation stands.
    pub(crate) fn survive(&mut self, violation: Violation) -> Result<(), Violation> {
        let (Some(has_landed), Some(cut)) = (self.landed.take(), self.cut.take()) else {
            return Err(violation);
        };
        self.restart(has_landed, OFF_SECONDS, cut.tear)?;
        self.check()
    }
}
