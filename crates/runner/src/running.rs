//! The handle of a running instance.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use crate::ended::Ended;
use crate::enforcement::Enforcement;
use crate::launch::Leftovers;
use crate::output::Output;

/// A program that runs, with all that descends from it.
///
/// Dropping the handle kills the tree; what was to be cleaned up is cleaned up behind it.
#[derive(Debug)]
pub struct Running {
    pub(crate) pid: u32,
    pub(crate) enforcement: Enforcement,
    pub(crate) output: Arc<Output>,
    pub(crate) progress: watch::Receiver<Option<u32>>,
    pub(crate) wishes: mpsc::UnboundedSender<Wish>,
    pub(crate) ended: watch::Receiver<Option<Arc<Ended>>>,
}

/// What the service wants of a running instance.
#[derive(Debug)]
pub(crate) enum Wish {
    Cancel {
        reason: String,
        grace: Duration,
    },
    Kill,
    /// Answered once the supervisor has it.
    Leftovers {
        leftovers: Leftovers,
        passed_on: oneshot::Sender<()>,
    },
}

/// Says what becomes of descendants of a program that runs. It does not hold the program: that ends with its [`Running`].
#[derive(Debug, Clone)]
pub struct LeftoversOrder(mpsc::WeakUnboundedSender<Wish>);

impl LeftoversOrder {
    /// When this returns, a program that ends from now on ends under this order. One whose descendants are waited for is
    /// cleared at once by [`Leftovers::Kill`].
    pub async fn give(&self, leftovers: Leftovers) {
        let Some(wishes) = self.0.upgrade() else { return };
        let (passed_on, is_passed_on) = oneshot::channel();
        if wishes.send(Wish::Leftovers { leftovers, passed_on }).is_ok() {
            drop(wishes);
            // An error means that it has ended.
            let _ = is_passed_on.await;
        }
    }
}

impl Running {
    /// Number of the program's process, as the service's own `/proc` has it.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Which of the wished limits hold.
    #[must_use]
    pub fn enforcement(&self) -> &Enforcement {
        &self.enforcement
    }

    #[must_use]
    pub fn output(&self) -> &Arc<Output> {
        &self.output
    }

    /// What the task itself tells of its progress over its own interface. A program tells it over the service's socket
    /// instead, so that this stays `None`.
    #[must_use]
    pub fn progress(&self) -> watch::Receiver<Option<u32>> {
        self.progress.clone()
    }

    /// Asks it to end, with a reason that it can read, and kills it with all that descends from it if it is still there
    /// after `grace`. When asked again the first reason stays, and the earlier end of the time to answer holds.
    pub fn cancel(&self, reason: &str, grace: Duration) {
        let _ = self.wishes.send(Wish::Cancel { reason: reason.to_owned(), grace });
    }

    /// For whoever decides what becomes of its descendants.
    #[must_use]
    pub fn leftovers_order(&self) -> LeftoversOrder {
        LeftoversOrder(self.wishes.downgrade())
    }

    /// Kills it at once with all that descends from it.
    pub fn kill(&self) {
        let _ = self.wishes.send(Wish::Kill);
    }

    /// Waits until nothing of it is left. Can be waited for by several, and again.
    pub async fn wait(&self) -> Arc<Ended> {
        let mut ended = self.ended.clone();
        let seen = ended.wait_for(Option::is_some).await.ok().and_then(|ended| ended.clone());
        seen.unwrap_or_else(|| Arc::new(Ended::lost("the service stopped looking after it")))
    }

    /// The end, if it has come.
    #[must_use]
    pub fn ended(&self) -> Option<Arc<Ended>> {
        self.ended.borrow().clone()
    }
}
