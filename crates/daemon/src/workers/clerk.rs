//! Reads what workers need to begin. While one order is served the next ones gather, so that a crowd of small downloads
//! costs few changes of threads.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use longhaul_contract::{AppId, Failure, OperationId};
use longhaul_store::Reader;
use tokio::sync::oneshot;

use super::job;
use crate::proxying::Proxying;

/// `None` when the operation is forgotten.
type Prepared = Result<Option<(AppId, job::Prepared)>, Failure>;

pub(super) struct Clerk {
    reader: Arc<dyn Reader>,
    proxying: Arc<Proxying>,
    desk: Mutex<Desk>,
}

#[derive(Default)]
struct Desk {
    orders: Vec<Order>,
    /// A thread serves them.
    is_served: bool,
}

struct Order {
    id: OperationId,
    attempt: u32,
    reply: oneshot::Sender<Prepared>,
}

impl Clerk {
    pub(super) fn new(reader: Arc<dyn Reader>, proxying: Arc<Proxying>) -> Self {
        Self { reader, proxying, desk: Mutex::default() }
    }

    /// `None` when the reading itself failed, which is in the log.
    pub(super) async fn prepare(self: &Arc<Self>, id: OperationId, attempt: u32) -> Option<Prepared> {
        let (reply, prepared) = oneshot::channel();
        let was_served = {
            let mut desk = self.desk();
            desk.orders.push(Order { id, attempt, reply });
            std::mem::replace(&mut desk.is_served, true)
        };
        if !was_served {
            let clerk = Arc::clone(self);
            tokio::task::spawn_blocking(move || clerk.serve());
        }
        prepared.await.ok()
    }

    fn serve(&self) {
        let _turn = Turn(self);
        loop {
            let orders = {
                let mut desk = self.desk();
                if desk.orders.is_empty() {
                    desk.is_served = false;
                    return;
                }
                std::mem::take(&mut desk.orders)
            };
            for Order { id, attempt, reply } in orders {
                // Whoever asked may have gone.
                let _ = reply.send(job::prepare(&*self.reader, &self.proxying, id, attempt));
            }
        }
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// After a panic what waits is told so, and the next order starts a new thread.
struct Turn<'a>(&'a Clerk);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            *self.0.desk() = Desk::default();
        }
    }
}
