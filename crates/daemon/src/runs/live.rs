//! One run as its neighbours see it: the task's own calls, watchers, and the worker that looks after it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use longhaul_contract::instance::{Cancellation, InstanceLimit, KeepAwake};
use longhaul_contract::{AppId, CancelReason, InstanceId, TaskId};
use longhaul_runner::{Leftovers, LeftoversOrder, Output};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::heart::Life;

/// Deferrals that one instance may have open.
const DEFERRALS_MAX: usize = 1024;

/// An instance that is asked to end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Canceled {
    pub(crate) reason: CancelReason,
    pub(crate) until: Instant,
}

/// What the service wants of a run; it only ever grows.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wanted {
    pub(crate) canceled: Option<Canceled>,
    pub(crate) is_killed: bool,
}

/// What the task has said about its end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Said {
    /// Run has returned, with this failure or none.
    pub(crate) completed: Option<Option<String>>,
    deferrals: BTreeSet<String>,
    deferrals_made: u64,
}

impl Said {
    pub(crate) fn is_deferred(&self) -> bool {
        !self.deferrals.is_empty()
    }

    /// Run has returned and all deferrals are completed.
    pub(crate) fn is_over(&self) -> bool {
        self.completed.is_some() && self.deferrals.is_empty()
    }
}

/// What is known of the processes of a run.
#[derive(Debug, Clone, Default)]
pub(crate) enum Tree {
    /// Not yet what it consists of.
    #[default]
    Unknown,
    /// It runs in somebody else's.
    None,
    Processes(LeftoversOrder),
}

/// Why a call of the task is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProtocolError {
    /// It has said that it is over.
    Over,
    NoSuchDeferral,
    TooManyDeferrals,
}

#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) app: AppId,
    pub(crate) task: TaskId,
    pub(crate) id: InstanceId,
    pub(crate) life: Life,
    /// Trigger details as one JSON document.
    pub(crate) details: Arc<str>,
    is_up: AtomicBool,
    progress: AtomicU32,
    suspended_count: AtomicU32,
    wanted: watch::Sender<Wanted>,
    said: watch::Sender<Said>,
    output: watch::Sender<Option<Arc<Output>>>,
    limits: OnceLock<Vec<InstanceLimit>>,
    keep_awake: OnceLock<KeepAwake>,
    tree: watch::Sender<Tree>,
    /// One call of the task at a time.
    turn: Mutex<()>,
}

impl Live {
    pub(super) fn new(app: AppId, task: TaskId, id: InstanceId, life: Life, details: Arc<str>) -> Self {
        Self {
            app,
            task,
            id,
            life,
            details,
            is_up: AtomicBool::new(false),
            progress: AtomicU32::new(0),
            suspended_count: AtomicU32::new(0),
            wanted: watch::Sender::default(),
            said: watch::Sender::default(),
            output: watch::Sender::default(),
            tree: watch::Sender::default(),
            limits: OnceLock::new(),
            keep_awake: OnceLock::new(),
            turn: Mutex::new(()),
        }
    }

    /// Its code runs.
    pub(crate) fn is_up(&self) -> bool {
        self.is_up.load(Ordering::Relaxed)
    }

    pub(super) fn set_up(&self) {
        self.is_up.store(true, Ordering::Relaxed);
    }

    pub(crate) fn progress(&self) -> u32 {
        self.progress.load(Ordering::Relaxed)
    }

    pub(crate) fn suspended_count(&self) -> u32 {
        self.suspended_count.load(Ordering::Relaxed)
    }

    pub(crate) fn set_progress(&self, progress: u32) {
        self.progress.store(progress, Ordering::Relaxed);
    }

    pub(super) fn set_output(&self, output: &Arc<Output>) {
        self.output.send_replace(Some(Arc::clone(output)));
    }

    pub(super) fn set_limits(&self, limits: Vec<InstanceLimit>) {
        // There is one start.
        let _ = self.limits.set(limits);
    }

    pub(super) fn set_keep_awake(&self, keep_awake: KeepAwake) {
        // As above.
        let _ = self.keep_awake.set(keep_awake);
    }

    pub(crate) fn keep_awake(&self) -> Option<KeepAwake> {
        self.keep_awake.get().cloned()
    }

    /// What of its limits and its sandbox holds, once it runs.
    pub(crate) fn limits(&self) -> Vec<InstanceLimit> {
        self.limits.get().cloned().unwrap_or_default()
    }

    pub(crate) fn output(&self) -> Option<Arc<Output>> {
        self.output.borrow().clone()
    }

    /// Changes when there begins to be an output.
    pub(crate) fn watch_output(&self) -> watch::Receiver<Option<Arc<Output>>> {
        self.output.subscribe()
    }

    pub(super) fn set_tree(&self, tree: Tree) {
        self.tree.send_replace(tree);
    }

    /// While something is deferred, what a program has left behind is not in the way of its end.
    async fn order_leftovers(&self) {
        let mut tree = self.tree.subscribe();
        // The sender lives as long as we.
        let Ok(known) = tree.wait_for(|tree| !matches!(tree, Tree::Unknown)).await.map(|tree| tree.clone())
        else {
            return;
        };
        if let Tree::Processes(order) = known {
            let is_deferred = self.said.borrow().is_deferred();
            let leftovers = if is_deferred { Leftovers::AwaitAfterSuccess } else { Leftovers::Kill };
            order.give(leftovers).await;
        }
    }

    /// The first reason stays, and the earlier end of the time to answer.
    pub(super) fn cancel(&self, reason: CancelReason, grace: Duration) {
        let until = Instant::now() + grace;
        self.wanted.send_modify(|wanted| {
            let canceled = wanted.canceled.get_or_insert(Canceled { reason, until });
            canceled.until = canceled.until.min(until);
        });
    }

    pub(super) fn kill(&self) {
        self.wanted.send_modify(|wanted| wanted.is_killed = true);
    }

    pub(crate) fn wanted(&self) -> watch::Receiver<Wanted> {
        self.wanted.subscribe()
    }

    pub(super) fn said(&self) -> watch::Receiver<Said> {
        self.said.subscribe()
    }

    /// What the task is told of its cancellation.
    pub(crate) fn cancellation(&self) -> Cancellation {
        let canceled = self.wanted.borrow().canceled;
        let left = canceled.map(|canceled| canceled.until.saturating_duration_since(Instant::now()));
        Cancellation {
            reason: canceled.map(|canceled| canceled.reason),
            milliseconds_left: left.map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX)),
            suspended_count: self.suspended_count(),
        }
    }

    fn say<T>(&self, change: impl FnOnce(&mut Said) -> Result<T, ProtocolError>) -> Result<T, ProtocolError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut said = self.said.borrow().clone();
        if said.is_over() {
            return Err(ProtocolError::Over);
        }
        let answer = change(&mut said)?;
        self.said.send_replace(said);
        Ok(answer)
    }

    /// Run has returned.
    pub(crate) fn complete(&self, failure: Option<String>) -> Result<(), ProtocolError> {
        self.say(|said| match said.completed {
            Some(_) => Err(ProtocolError::Over),
            None => {
                said.completed = Some(failure);
                Ok(())
            }
        })
    }

    /// When this returns, the end of a program is not the end of its run any more.
    pub(crate) async fn defer(&self) -> Result<String, ProtocolError> {
        let id = self.take_deferral()?;
        self.order_leftovers().await;
        Ok(id)
    }

    pub(crate) async fn complete_deferral(&self, id: &str) -> Result<(), ProtocolError> {
        self.return_deferral(id)?;
        self.order_leftovers().await;
        Ok(())
    }

    fn take_deferral(&self) -> Result<String, ProtocolError> {
        self.say(|said| {
            if said.deferrals.len() >= DEFERRALS_MAX {
                return Err(ProtocolError::TooManyDeferrals);
            }
            said.deferrals_made += 1;
            let id = said.deferrals_made.to_string();
            said.deferrals.insert(id.clone());
            Ok(id)
        })
    }

    fn return_deferral(&self, id: &str) -> Result<(), ProtocolError> {
        self.say(|said| match said.deferrals.remove(id) {
            true => Ok(()),
            false => Err(ProtocolError::NoSuchDeferral),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live() -> Live {
        let id = InstanceId::from_bytes([1; 16]);
        Live::new(AppId::default(), TaskId::from_bytes([2; 16]), id, 1, "{}".into())
    }

    #[test]
    fn a_run_is_over_when_it_has_returned_and_nothing_is_deferred() {
        let live = live();
        let deferral = live.take_deferral().unwrap();
        live.complete(None).unwrap();
        assert!(!live.said().borrow().is_over());
        assert_eq!(live.complete(None), Err(ProtocolError::Over));
        assert_eq!(live.return_deferral("nothing"), Err(ProtocolError::NoSuchDeferral));
        let another = live.take_deferral().unwrap();
        live.return_deferral(&deferral).unwrap();
        live.return_deferral(&another).unwrap();
        assert!(live.said().borrow().is_over());
        assert_eq!(live.take_deferral(), Err(ProtocolError::Over));
    }

    #[tokio::test]
    async fn the_first_reason_stays_and_the_earlier_end_holds() {
        let live = live();
        assert_eq!(live.cancellation().reason, None);
        live.cancel(CancelReason::ConditionLoss, Duration::from_secs(5));
        live.cancel(CancelReason::Abort, Duration::from_secs(50));
        let told = live.cancellation();
        assert_eq!(told.reason, Some(CancelReason::ConditionLoss));
        assert!(told.milliseconds_left.is_some_and(|left| left <= 5_000));
    }
}
