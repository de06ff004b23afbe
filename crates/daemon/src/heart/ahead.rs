//! What need not wait for a commit under way: handing a slot on.
//!
//! A download that has all its bytes gives its slot back, and the next one is begun while the disk syncs what others
//! have come to. That is let go at once only if nothing of the commit is about the operation that begins: then
//! everything about it is on disk, as ever. All other facts wait for their turn.

use std::collections::{HashSet, VecDeque};

use longhaul_contract::OperationId;
use longhaul_engine::{Change, Effect, Fact, Plan};
use longhaul_store::{StoreError, Write};

use super::Reported;
use super::beat::{Batch, Beat, task_news};

/// What came up during a commit and goes into the next one.
#[derive(Default)]
pub(super) struct Ahead {
    plan: Plan,
    facts: VecDeque<Reported>,
}

impl Ahead {
    /// What was decided on top of a commit that failed has not happened.
    pub(super) fn forget_decisions(&mut self) {
        self.plan = Plan::default();
    }

    fn has_decided(&self) -> bool {
        self.plan != Plan::default()
    }
}

impl Beat {
    /// Waits for the commit of `changes`, and hands slots on meanwhile.
    pub(super) async fn commit_and_go_on(&mut self, changes: Vec<Change>) -> Result<(), StoreError> {
        if !changes.iter().any(Change::is_durable) {
            return self.commit(changes).await;
        }
        let about: HashSet<OperationId> = changes.iter().filter_map(Change::operation).collect();
        let mut committed = std::pin::pin!(self.commit(changes));
        loop {
            // Decisions are taken in order: behind one that has to wait, all wait.
            let may_go_on = self.held.is_none() && !self.ahead.has_decided();
            tokio::select! {
                biased;
                result = &mut committed => return result,
                Some(reported) = self.parts.inbox.facts.recv(), if may_go_on => self.go_on(reported, &about),
            }
        }
    }

    fn go_on(&mut self, reported: Reported, about: &HashSet<OperationId>) {
        if !matches!(reported.fact, Fact::Received { .. }) {
            self.ahead.facts.push_back(reported);
            return;
        }
        let mut batch = Batch::default();
        self.observe(&mut batch, reported);
        let plan = batch.plan;
        let is_free =
            |effect: &Effect| matches!(effect, Effect::EnsureRunning { id, .. } if !about.contains(id));
        if plan.needs_commit() || !plan.effects.iter().all(is_free) {
            self.ahead.plan = plan;
            return;
        }
        let task_news = task_news(&plan);
        let details = plan.changes.into_iter().map(Write::Change).collect();
        // Nobody is promised them, and a store that cannot write says so to the commit under way.
        drop(self.parts.writer.submit(details));
        for effect in &plan.effects {
            self.parts.workers.bring_about(effect);
        }
        self.parts.news.publish(plan.touched, plan.removed);
        self.parts.news.publish_tasks(task_news);
    }

    /// What came up during the last commit, if anything did.
    pub(super) fn take_ahead(&mut self) -> Option<Batch> {
        let Ahead { plan, facts } = std::mem::take(&mut self.ahead);
        if plan == Plan::default() && facts.is_empty() {
            return None;
        }
        let mut batch = Batch::default();
        batch.plan = plan;
        for reported in facts {
            self.observe(&mut batch, reported);
        }
        Some(batch)
    }
}
