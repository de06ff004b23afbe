//! The workers that move bytes: at most one for an operation, started and stopped as the engine asks.
//!
//! What is asked for is a state and not an act, so asking again is harmless. Whatever becomes of a worker, the engine
//! hears that its attempt has ended.

mod clerk;
mod job;
mod reports;
mod upload_job;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use longhaul_contract::{
    AppId, Cause, Failure, OperationId, OperationKind, Progress, Remedy, WebErrorStatus,
};
use longhaul_engine::{AttemptEnd, Effect, Fact, StopMode, Wish};
use longhaul_store::{Reader, Writer};
use longhaul_transfer::{Handle, Transfers};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::heart::{Heart, Life};
use crate::metrics::Metrics;
use crate::news::News;
use crate::proxying::Proxying;
use crate::sense::Blockers;
use clerk::Clerk;
use job::Prepared;
use reports::{Reports, Teller, begin};

pub(crate) use reports::receipt_of;

/// Operations forgotten in one wish.
const PRUNED_AT_ONCE: usize = 1000;

/// How long a server may take to forget a partial upload.
const UPLOAD_DISCARD_TIME: Duration = Duration::from_secs(30);

/// All workers. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Workers {
    room: Arc<Room>,
}

/// What the workers are made of.
pub(crate) struct Parts {
    pub(crate) transfers: Transfers,
    pub(crate) reader: Arc<dyn Reader>,
    pub(crate) proxying: Arc<Proxying>,
    pub(crate) writer: Writer,
    pub(crate) heart: Heart,
    pub(crate) news: Arc<News>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) blockers: Blockers,
}

struct Room {
    parts: Parts,
    clerk: Arc<Clerk>,
    floor: Mutex<Floor>,
    /// How many there are; changes with the floor.
    count: watch::Sender<usize>,
}

#[derive(Default)]
struct Floor {
    life: Life,
    slots: HashMap<OperationId, Slot>,
    is_closing: bool,
}

/// The place of one operation's worker.
struct Slot {
    attempt: u32,
    life: Life,
    /// Known once the record was read.
    app: Option<AppId>,
    kind: Option<OperationKind>,
    /// There once the transfer has begun.
    handle: Option<Handle>,
    stop: Option<StopMode>,
    /// To begin when this one has ended.
    successor: Option<(u32, Life)>,
}

impl Workers {
    pub(crate) fn new(parts: Parts) -> Self {
        let clerk = Arc::new(Clerk::new(Arc::clone(&parts.reader), Arc::clone(&parts.proxying)));
        let (floor, count) = (Mutex::default(), watch::Sender::new(0));
        Self { room: Arc::new(Room { parts, clerk, floor, count }) }
    }

    fn floor(&self) -> MutexGuard<'_, Floor> {
        self.room.floor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on facts are reported for `life`; workers of earlier lives let go and keep their bytes.
    pub(crate) fn begin_life(&self, life: Life) {
        self.room.parts.blockers.unwatch_all();
        let mut floor = self.floor();
        floor.life = life;
        for slot in floor.slots.values_mut().filter(|slot| slot.life != life) {
            slot.successor = None;
            slot.stop(StopMode::Keep);
        }
    }

    /// The service ends: all let go and keep their bytes, and no new one begins.
    pub(crate) fn let_go(&self) {
        let mut floor = self.floor();
        floor.is_closing = true;
        for slot in floor.slots.values_mut() {
            slot.successor = None;
            slot.stop(StopMode::Keep);
        }
    }

    /// Waits until no worker is left, at most until `deadline`.
    pub(crate) async fn none_left(&self, deadline: Instant) {
        let mut count = self.room.count.subscribe();
        let none = count.wait_for(|count| *count == 0);
        if tokio::time::timeout_at(deadline, none).await.is_err() {
            tracing::warn!(left = self.floor().slots.len(), "workers have not let go in time");
        }
    }

    /// Does what the engine asks for, after it was written down.
    pub(crate) fn bring_about(&self, effect: &Effect) {
        match *effect {
            Effect::EnsureRunning { id, attempt } => self.ensure_running(id, attempt),
            Effect::EnsureStopped { id, attempt, mode } => self.ensure_stopped(id, attempt, mode),
            Effect::EnsureDiscarded { id } => self.ensure_discarded(id),
            Effect::EnsureWatched { id, on } => self.room.parts.blockers.watch(id, on),
            Effect::EnsureUnwatched { id } => self.room.parts.blockers.unwatch(id),
            Effect::SetRate { id, bytes_per_second } => {
                if let Some(handle) = self.handle(id) {
                    handle.set_rate(bytes_per_second);
                }
            }
            Effect::SetTotalRate { bytes_per_second } => self.room.parts.transfers.set_rate(bytes_per_second),
            Effect::SetConnectionsPerHost { connections } => {
                self.room.parts.transfers.set_connections_per_host(connections);
            }
            Effect::Prune { time } => self.prune(time),
            // Runs, notifications and questions are not ours.
            Effect::Task(_) | Effect::Notify { .. } | Effect::AskInput { .. } => {}
        }
    }

    /// The worker of an operation that is moving bytes now.
    pub(crate) fn handle(&self, id: OperationId) -> Option<Handle> {
        self.floor().slots.get(&id)?.handle.clone()
    }

    /// Sampled numbers of every worker of `app` and `kind`; of all where there is none.
    pub(crate) fn progress(
        &self,
        app: Option<&AppId>,
        kind: Option<OperationKind>,
    ) -> Vec<(OperationId, Progress)> {
        let handles: Vec<_> = self
            .floor()
            .slots
            .iter()
            .filter(|(_, slot)| app.is_none() || slot.app.as_ref() == app)
            .filter(|(_, slot)| kind.is_none() || slot.kind == kind)
            .filter_map(|(id, slot)| Some((*id, slot.handle.clone()?)))
            .collect();
        handles.into_iter().map(|(id, handle)| (id, handle.progress())).collect()
    }

    /// Whether any worker of `app` moves bytes; of any when there is none.
    pub(crate) fn is_running(&self, app: Option<&AppId>) -> bool {
        let floor = self.floor();
        floor.slots.values().any(|slot| slot.handle.is_some() && (app.is_none() || slot.app.as_ref() == app))
    }

    pub(crate) fn count(&self) -> usize {
        *self.room.count.borrow()
    }

    /// Changes whenever a worker begins or ends.
    pub(crate) fn subscribe(&self) -> watch::Receiver<usize> {
        self.room.count.subscribe()
    }

    fn ensure_running(&self, id: OperationId, attempt: u32) {
        let mut floor = self.floor();
        let life = floor.life;
        if floor.is_closing {
            return;
        }
        if let Some(slot) = floor.slots.get_mut(&id) {
            if (slot.attempt, slot.life) != (attempt, life) {
                slot.successor = Some((attempt, life));
            }
            return;
        }
        self.begin(&mut floor, id, attempt, life);
    }

    fn begin(&self, floor: &mut Floor, id: OperationId, attempt: u32, life: Life) {
        let slot = Slot { attempt, life, app: None, kind: None, handle: None, stop: None, successor: None };
        floor.slots.insert(id, slot);
        self.room.count.send_replace(floor.slots.len());
        self.room.parts.metrics.attempts.inc();
        let workers = self.clone();
        tokio::spawn(async move { workers.work(id, attempt, life).await });
    }

    fn ensure_stopped(&self, id: OperationId, attempt: u32, mode: StopMode) {
        let mut floor = self.floor();
        let life = floor.life;
        match floor.slots.get_mut(&id) {
            Some(slot) if (slot.attempt, slot.life) == (attempt, life) => slot.stop(mode),
            Some(slot) if slot.successor == Some((attempt, life)) => {
                slot.successor = None;
                self.report_end(id, attempt, life, AttemptEnd::Stopped);
            }
            _ => self.report_end(id, attempt, life, AttemptEnd::Stopped),
        }
    }

    fn report_end(&self, id: OperationId, attempt: u32, life: Life, end: AttemptEnd) {
        self.room.parts.heart.report(Some(life), Fact::Ended { id, attempt, end });
    }

    /// The whole life of one worker.
    async fn work(&self, id: OperationId, attempt: u32, life: Life) {
        // A panic in a transfer must not leave the engine waiting for ever.
        let attempt_at_it = tokio::spawn({
            let workers = self.clone();
            async move { workers.attempt(id, attempt, life).await }
        });
        let end = attempt_at_it.await.unwrap_or_else(|error| {
            tracing::error!(%id, attempt, %error, "a worker failed");
            failed(internal("the worker failed; the log of the service has the details"))
        });
        self.leave(id);
        self.report_end(id, attempt, life, end);
        self.room.parts.news.ring(id);
    }

    /// Gives up the slot, and lets the successor begin if there is one.
    fn leave(&self, id: OperationId) {
        let mut floor = self.floor();
        let successor = floor.slots.remove(&id).and_then(|slot| slot.successor);
        self.room.count.send_replace(floor.slots.len());
        if let Some((attempt, life)) = successor
            && !floor.is_closing
        {
            self.begin(&mut floor, id, attempt, life);
        }
    }

    async fn attempt(&self, id: OperationId, attempt: u32, life: Life) -> AttemptEnd {
        let (app, job) = match self.room.clerk.prepare(id, attempt).await {
            Some(Ok(Some(prepared))) => prepared,
            Some(Ok(None)) => return AttemptEnd::Stopped,
            Some(Err(failure)) => return failed(failure),
            None => {
                return failed(internal(
                    "the job cannot be prepared; the log of the service has the details",
                ));
            }
        };
        let Some(mut reports) = self.hand_over(id, &app, job).await else { return AttemptEnd::Stopped };
        let teller = Teller { parts: &self.room.parts, app: &app, id, attempt, life };
        self.room.count.send_modify(|_| {});
        self.room.parts.news.ring(id);
        while let Some(end) = reports.next(&teller).await {
            if let Some(end) = end {
                return end;
            }
        }
        failed(internal("the transfer ended without saying how"))
    }

    /// Begins the transfer; `None` when it was stopped before that.
    async fn hand_over(&self, id: OperationId, app: &AppId, job: Prepared) -> Option<Reports> {
        let kept = job.clone_if_begun();
        let stopped_before = {
            let mut floor = self.floor();
            let slot = floor.slots.get_mut(&id)?;
            slot.app = Some(app.clone());
            slot.kind = Some(job.kind());
            let Some(mode) = slot.stop else {
                let (handle, reports) = begin(&self.room.parts.transfers, job);
                slot.handle = Some(handle);
                return Some(reports);
            };
            mode
        };
        if let (StopMode::Discard, Some(kept)) = (stopped_before, kept) {
            self.discard(kept).await;
        }
        None
    }

    fn ensure_discarded(&self, id: OperationId) {
        let workers = self.clone();
        let life = self.floor().life;
        tokio::spawn(async move {
            match workers.room.clerk.prepare(id, 0).await {
                Some(Ok(Some((_, job)))) => {
                    if let Some(begun) = job.clone_if_begun() {
                        workers.discard(begun).await;
                    }
                }
                Some(Ok(None)) => {}
                Some(Err(failure)) => {
                    tracing::warn!(%id, detail = %failure.detail, "the record cannot be read; its bytes stay");
                }
                None => tracing::error!(%id, "reading a record failed; its bytes stay"),
            }
            workers.room.parts.heart.report(Some(life), Fact::Discarded { id });
        });
    }

    /// What cannot be removed, because a disk is gone or read-only or a server does not answer, is told and left: waiting
    /// for it would keep the cancelled operation for ever.
    async fn discard(&self, begun: Prepared) {
        let transfers = &self.room.parts.transfers;
        match begun {
            Prepared::Download(job) => {
                let Some(record) = &job.journal else { return };
                if let Err(failure) = transfers.discard(job.id, record).await {
                    let (id, folder) = (job.id, &record.folder);
                    tracing::warn!(%id, %folder, detail = %failure.detail, "a part file stays behind");
                }
            }
            Prepared::Upload(job) => {
                let id = job.id;
                match tokio::time::timeout(UPLOAD_DISCARD_TIME, transfers.discard_upload(&job)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(failure)) => {
                        tracing::warn!(%id, detail = %failure.detail, "a partial upload stays at its server");
                    }
                    Err(_) => {
                        tracing::warn!(%id, "a partial upload stays at its server, which does not answer");
                    }
                }
            }
        }
    }

    /// Asks the engine to forget what its time has come for. It then asks for the next portion by itself.
    fn prune(&self, time: longhaul_contract::Timestamp) {
        let workers = self.clone();
        tokio::spawn(async move {
            let reader = Arc::clone(&workers.room.parts.reader);
            let found = tokio::task::spawn_blocking(move || reader.prunable(time, PRUNED_AT_ONCE)).await;
            let ids = match found {
                Ok(Ok(ids)) => ids,
                Ok(Err(error)) => return tracing::warn!(%error, "old results cannot be looked up"),
                Err(error) => return tracing::error!(%error, "looking up old results failed"),
            };
            if !ids.is_empty()
                && let Err(refused) = workers.room.parts.heart.wish(Wish::Forget { ids }).await
            {
                tracing::warn!(problem = %refused.problem(), "old results are not forgotten");
            }
        });
    }
}

impl Slot {
    fn stop(&mut self, mode: StopMode) {
        // Discard is the stronger wish: once asked for, nothing needs the bytes.
        if self.stop != Some(StopMode::Discard) {
            self.stop = Some(mode);
        }
        if let Some(handle) = &self.handle {
            handle.stop(match mode {
                StopMode::Keep => longhaul_transfer::StopMode::Keep,
                StopMode::Discard => longhaul_transfer::StopMode::Discard,
            });
        }
    }
}

fn failed(failure: Failure) -> AttemptEnd {
    AttemptEnd::Failed { failure, has_progressed: false, response: None }
}

fn internal(detail: &str) -> Failure {
    Failure {
        remedy: Remedy::Transient,
        cause: Cause::Internal,
        web_error_status: WebErrorStatus::Unknown,
        http_status: None,
        detail: detail.to_owned(),
        retry_after_seconds: None,
    }
}
