//! The engine: one value that owns every live operation it has been handed.

use longhaul_contract::{
    AppId, Explanation, Group, GroupName, HostState, Limits, OperationError, OperationId, TransferBehavior,
    TransferStatus, WaitingReason,
};

use crate::clock::{Now, Wake};
use crate::fact::Fact;
use crate::plan::Plan;
use crate::policy::Policy;
use crate::row::Row;
use crate::wish::{Refusal, Wish};

/// What the engine knows of a live operation at this instant, beyond its stored record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Live {
    pub status: TransferStatus,
    pub waiting: Vec<WaitingReason>,
    pub error: Option<OperationError>,
    /// The attempt that runs now.
    pub attempt: Option<u32>,
    /// Deleted by its application and only kept until its part file is gone: to be shown to nobody.
    pub is_forgotten: bool,
}

pub struct Engine {
    policy: Policy,
}

impl Engine {
    #[must_use]
    pub fn new(policy: Policy, limits: Limits, host: HostState) -> Self {
        let _ = (limits, host);
        Self { policy }
    }

    /// Takes over what the store kept: groups first, then rows in any order, then [`Engine::begin`] once.
    pub fn adopt_group(&mut self, app: AppId, name: GroupName, behavior: TransferBehavior) {
        let _ = (app, name, behavior);
    }

    pub fn adopt(&mut self, row: Row) {
        let _ = row;
    }

    /// The first decision after everything was adopted.
    pub fn begin(&mut self, now: Now) -> Plan {
        let _ = (now, &self.policy);
        Plan::default()
    }

    /// # Errors
    /// Refuses what the phase, a quota or a rule does not allow; then nothing has changed.
    pub fn command(&mut self, now: Now, wish: Wish) -> Result<Plan, Refusal> {
        let _ = (now, wish);
        Ok(Plan::default())
    }

    /// Facts are never refused; those of older attempts are ignored.
    pub fn observe(&mut self, now: Now, fact: Fact) -> Plan {
        let _ = (now, fact);
        Plan::default()
    }

    /// Does what is due.
    pub fn wake(&mut self, now: Now) -> Plan {
        let _ = now;
        Plan::default()
    }

    #[must_use]
    pub fn next_wake(&self) -> Wake {
        Wake::default()
    }

    /// `None` when the engine does not hold it: then it is final or unknown.
    #[must_use]
    pub fn live(&self, now: Now, app: &AppId, id: OperationId) -> Option<Live> {
        let _ = (now, app, id);
        None
    }

    /// Made by the same rules as the decision; `hypothetical` replaces the host for a question of "what if".
    #[must_use]
    pub fn explain(
        &self,
        now: Now,
        app: &AppId,
        id: OperationId,
        hypothetical: Option<&HostState>,
    ) -> Option<Explanation> {
        let _ = (now, app, id, hypothetical);
        None
    }

    #[must_use]
    pub fn group(&self, app: &AppId, name: &GroupName) -> Option<Group> {
        let _ = (app, name);
        None
    }

    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits::default()
    }

    #[must_use]
    pub fn host(&self) -> HostState {
        HostState::unmeasured()
    }
}
