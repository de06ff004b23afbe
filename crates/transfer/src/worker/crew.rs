//! Runs the flows of an attempt side by side and keeps the journal up with them.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use longhaul_contract::Failure;
use tokio::time::{Instant, Sleep};

use super::attempt::{Attempt, Pause};
use super::plan::LeaseId;
use super::pump::{Flow, FlowEnd, pump};

pub(super) struct Crew<'a> {
    attempt: &'a mut Attempt,
    flows: FuturesUnordered<BoxFuture<'static, Ended>>,
    saving: Option<BoxFuture<'static, Result<(), Failure>>>,
    /// When what has arrived by then is made durable.
    save_at: Option<Pin<Box<Sleep>>>,
    failure: Option<Failure>,
}

struct Ended {
    lease: LeaseId,
    end: FlowEnd,
}

enum Turn {
    Flow(Ended),
    SaveDue,
    Saved(Result<(), Failure>),
    RangesDue,
}

impl<'a> Crew<'a> {
    pub(super) fn new(attempt: &'a mut Attempt, flow: Flow) -> Self {
        let mut crew =
            Self { attempt, flows: FuturesUnordered::new(), saving: None, save_at: None, failure: None };
        crew.begin(flow);
        crew
    }

    fn begin(&mut self, flow: Flow) {
        let desk = Arc::clone(&self.attempt.desk);
        let part = desk.part().expect("a response is accepted with a part file at hand").clone();
        let lease = flow.lease;
        self.flows.push(Box::pin(async move { Ended { lease, end: pump(desk, part, flow).await } }));
    }

    /// Runs until nothing is under way.
    pub(super) async fn run(mut self) -> Result<Pause, Failure> {
        while !self.flows.is_empty() {
            match self.turn().await {
                Turn::Flow(ended) => {
                    if let Some(pause) = self.ended(ended)? {
                        self.release_all();
                        return Ok(pause);
                    }
                }
                Turn::SaveDue => self.save_if_due(),
                Turn::Saved(saved) => {
                    self.saving = None;
                    saved?;
                    self.attempt.is_recorded = true;
                    self.save_if_due();
                }
                Turn::RangesDue => self.attempt.desk.report_ranges(false),
            }
        }
        Ok(Pause::Idle { failure: self.failure.take() })
    }

    async fn turn(&mut self) -> Turn {
        let desk = Arc::clone(&self.attempt.desk);
        let ranges_due = desk.ranges_due();
        tokio::select! {
            Some(ended) = self.flows.next() => Turn::Flow(ended),
            () = desk.save_due.notified() => Turn::SaveDue,
            () = opt(self.save_at.as_mut()) => Turn::SaveDue,
            saved = opt(self.saving.as_mut()) => Turn::Saved(saved),
            () = async { tokio::time::sleep_until(ranges_due.unwrap_or_else(Instant::now)).await },
                if ranges_due.is_some() => Turn::RangesDue,
        }
    }

    /// Begins a checkpoint when enough has arrived or enough time has passed, one at a time.
    fn save_if_due(&mut self) {
        let desk = &self.attempt.desk;
        let unsaved = desk.unsaved();
        if self.saving.is_some() || unsaved == 0 {
            return;
        }
        let is_time = self.save_at.as_ref().is_some_and(|timer| timer.is_elapsed());
        if unsaved >= desk.settings.checkpoint_bytes || is_time {
            desk.begin_save();
            self.save_at = None;
            self.saving = Some(self.attempt.checkpoint());
        } else if self.save_at.is_none() {
            let interval = desk.settings.checkpoint_interval;
            self.save_at = Some(Box::pin(tokio::time::sleep(interval)));
        }
    }

    fn ended(&mut self, ended: Ended) -> Result<Option<Pause>, Failure> {
        let desk = Arc::clone(&self.attempt.desk);
        match ended.end {
            FlowEnd::Done { trailers } => self.attempt.note_trailers(trailers.as_ref()),
            FlowEnd::EndOfFile { total, trailers } => {
                desk.plan().set_total(total);
                desk.live.meter.set_total(total);
                self.attempt.note_trailers(trailers.as_ref());
            }
            FlowEnd::Broken(failure) => self.failure = Some(failure),
            FlowEnd::Recalled | FlowEnd::Stopped => {}
            FlowEnd::Mismatch(why) => return Ok(Some(Pause::Void(why))),
            FlowEnd::File(failure) => return Err(failure),
        }
        desk.plan().release(ended.lease);
        Ok(None)
    }

    fn release_all(&mut self) {
        self.flows.clear();
        self.attempt.desk.plan().release_all();
    }
}

/// Polls what may not be there.
async fn opt<F: Future + Unpin>(future: Option<F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}
