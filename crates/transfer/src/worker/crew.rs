//! Runs the flows of an attempt side by side: how many there are, what each fetches, and that the journal keeps up.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use longhaul_contract::Failure;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;

use super::attempt::{Attempt, Pause};
use super::desk::Desk;
use super::further::{self, Further};
use super::growth::{Advice, Growth};
use super::plan::LeaseId;
use super::pump::{Flow, FlowEnd, pump};
use super::sources::SourceIndex;
use crate::http::follow::Urgency;
use crate::journal::Validators;

/// A wanted place that will be reached within this time is waited for.
const SOON: Duration = Duration::from_millis(300);
const SOON_BYTES: u64 = 64 << 10;
/// A range is not split for a connection that would be done with its half sooner than this.
const SPLIT_WORTH: Duration = Duration::from_millis(500);

pub(super) struct Crew<'a> {
    attempt: &'a mut Attempt,
    desk: Arc<Desk>,
    flows: FuturesUnordered<BoxFuture<'static, Ended>>,
    /// The flows under way, oldest first.
    members: Vec<Member>,
    growth: Growth,
    saving: Option<BoxFuture<'static, Result<(), Failure>>>,
    /// When what has arrived by then is made durable.
    save_at: Option<Pin<Box<Sleep>>>,
    /// How the last flow broke, if nothing went well since.
    failure: Option<Failure>,
    turn: usize,
}

struct Member {
    lease: LeaseId,
    source: SourceIndex,
    kind: Kind,
    /// Bytes its lease had fetched when it began, to see whether it brought any.
    began_at: u64,
    recall: CancellationToken,
    /// The version that its address answered with, once it has.
    seen: Arc<OnceLock<Validators>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Had its turn for a seat; there is always one while anything is missing.
    First,
    /// For speed, while it helps and nobody minds.
    Segment,
    /// For a reader that waits.
    Wanted,
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
    GrowthDue,
    Wanted,
}

impl<'a> Crew<'a> {
    pub(super) fn new(attempt: &'a mut Attempt, flow: Flow) -> Self {
        let desk = Arc::clone(&attempt.desk);
        let is_splittable = attempt.can_split
            && !desk.live.rate.is_limited()
            && desk.plan().remaining().is_some_and(|left| left >= desk.settings.segment_bytes_min);
        let max = if is_splittable { desk.settings.segments_max as usize } else { 1 };
        let growth = Growth::new(max, Instant::now(), desk.live.meter.received());
        let mut crew = Self {
            attempt,
            desk,
            flows: FuturesUnordered::new(),
            members: Vec::new(),
            growth,
            saving: None,
            save_at: None,
            failure: None,
            turn: 0,
        };
        crew.begin(flow);
        crew
    }

    fn begin(&mut self, flow: Flow) {
        let lease = flow.lease;
        let recall = flow.recall.clone();
        let desk = Arc::clone(&self.desk);
        self.enlist(lease, self.attempt.current, Kind::First, recall);
        self.flows.push(Box::pin(async move { Ended { lease, end: pump(desk, flow).await } }));
    }

    fn enlist(
        &mut self,
        lease: LeaseId,
        source: SourceIndex,
        kind: Kind,
        recall: CancellationToken,
    ) -> Arc<OnceLock<Validators>> {
        let (began_at, _) = self.desk.plan().room(lease);
        let seen = Arc::default();
        self.members.push(Member { lease, source, kind, began_at, recall, seen: Arc::clone(&seen) });
        seen
    }

    /// Keeps what each address calls the version that it has brought bytes of.
    fn note_versions(&mut self) {
        for member in &self.members {
            let has_brought = self.desk.plan().room(member.lease).0 > member.began_at;
            if let (true, Some(seen)) = (has_brought, member.seen.get()) {
                self.attempt.sources.get_mut(member.source).validators.get_or_insert_with(|| seen.clone());
            }
        }
    }

    /// Runs until nothing is under way.
    pub(super) async fn run(mut self) -> Result<Pause, Failure> {
        self.serve_wanted();
        while !self.flows.is_empty() {
            match self.turn().await {
                Turn::Flow(ended) => {
                    if let Some(pause) = self.ended(ended)? {
                        self.flows.clear();
                        self.desk.plan().release_all();
                        return Ok(pause);
                    }
                    self.fill_up();
                }
                Turn::SaveDue => self.save_if_due(),
                Turn::Saved(saved) => {
                    self.saving = None;
                    saved?;
                    self.attempt.is_recorded = true;
                    self.save_if_due();
                }
                Turn::RangesDue => self.desk.report_ranges(false),
                Turn::GrowthDue => self.grow(),
                Turn::Wanted => self.serve_wanted(),
            }
        }
        Ok(Pause::Idle { failure: self.failure.take() })
    }

    async fn turn(&mut self) -> Turn {
        let desk = Arc::clone(&self.desk);
        let (ranges_due, growth_due) = (desk.ranges_due(), self.growth.due());
        tokio::select! {
            Some(ended) = self.flows.next() => Turn::Flow(ended),
            () = desk.save_due.notified() => Turn::SaveDue,
            () = maybe(self.save_at.as_mut()) => Turn::SaveDue,
            saved = maybe(self.saving.as_mut()) => Turn::Saved(saved),
            () = at(ranges_due) => Turn::RangesDue,
            () = at(growth_due) => Turn::GrowthDue,
            () = desk.live.wanting() => Turn::Wanted,
        }
    }

    /// Begins a checkpoint when enough has arrived or enough time has passed, one at a time.
    fn save_if_due(&mut self) {
        let unsaved = self.desk.unsaved();
        if self.saving.is_some() || unsaved == 0 {
            return;
        }
        let is_time = self.save_at.as_ref().is_some_and(|timer| timer.is_elapsed());
        if unsaved >= self.desk.settings.checkpoint_bytes || is_time {
            self.desk.begin_save();
            self.save_at = None;
            self.note_versions();
            self.saving = Some(self.attempt.checkpoint());
        } else if self.save_at.is_none() {
            let interval = self.desk.settings.checkpoint_interval;
            self.save_at = Some(Box::pin(tokio::time::sleep(interval)));
        }
    }

    /// Takes note of the end of one flow; anything but `None` ends the others too.
    fn ended(&mut self, ended: Ended) -> Result<Option<Pause>, Failure> {
        self.note_versions();
        let index = self.members.iter().position(|member| member.lease == ended.lease);
        let member = self.members.remove(index.expect("every flow is a member until it ends"));
        let (position, _) = self.desk.plan().room(ended.lease);
        let has_brought = position > member.began_at;
        self.desk.plan().release(ended.lease);
        if has_brought {
            self.failure = None;
            self.attempt.sources.get_mut(member.source).is_proved = true;
        }
        match ended.end {
            FlowEnd::Done { trailers } => self.attempt.note_trailers(trailers.as_ref()),
            FlowEnd::EndOfFile { total, trailers } => {
                self.desk.plan().set_total(total);
                self.desk.live.meter.set_total(total);
                self.attempt.note_trailers(trailers.as_ref());
            }
            FlowEnd::Recalled | FlowEnd::Stopped => {}
            FlowEnd::Broken(failure) => {
                if !has_brought && member.kind != Kind::First {
                    self.growth.close(self.members.len());
                }
                self.failure = Some(failure);
            }
            FlowEnd::NoSeat if member.kind == Kind::Wanted => self.make_room(position),
            FlowEnd::NoSeat => self.growth.has_no_seat(Instant::now(), self.members.len()),
            FlowEnd::Unwelcome(why) => {
                tracing::debug!(id = %self.attempt.job.id, why, "no further connection");
                if member.source == self.attempt.current {
                    self.growth.close(self.members.len());
                } else {
                    self.attempt.sources.quarantine(member.source);
                }
            }
            FlowEnd::Mismatch(why) | FlowEnd::Changed(why) => {
                if member.source != self.attempt.current {
                    self.attempt.sources.distrust(member.source);
                    self.growth.close(self.members.len());
                    if !has_brought {
                        return Ok(None);
                    }
                }
                return Ok(Some(Pause::Void(why)));
            }
            FlowEnd::File(failure) => return Err(failure),
        }
        Ok(None)
    }

    /// Measures, and opens or gives up connections.
    fn grow(&mut self) {
        let left = self.desk.plan().remaining().unwrap_or_default();
        if self.desk.live.rate.is_limited() {
            // More connections share a limit, they do not lift it.
            self.growth.has_no_seat(Instant::now(), self.members.len());
            return;
        }
        match self.growth.advise(Instant::now(), self.desk.live.meter.received(), left) {
            Advice::Nothing => {}
            Advice::Add(_) => self.fill_up(),
            Advice::GiveUp(count) => {
                let segments = self.members.iter().rev().filter(|member| member.kind == Kind::Segment);
                for member in segments.take(count) {
                    member.recall.cancel();
                }
            }
        }
    }

    /// Puts as many flows to work as have proved useful.
    fn fill_up(&mut self) {
        let is_stopping = self.desk.live.stop_mode().is_some();
        while !is_stopping && !self.members.is_empty() && self.members.len() < self.growth.allowed() {
            let hole = self.desk.plan().next_hole(self.attempt.cursor);
            let range = match hole {
                Some((start, Some(end))) => Some((start, end)),
                Some((_, None)) => None,
                None => {
                    let rate = self.desk.live.meter.bytes_per_second() / self.members.len() as u64;
                    let worth = (rate as f64 * SPLIT_WORTH.as_secs_f64()) as u64;
                    let least = worth.max(self.desk.settings.segment_bytes_min / 8).max(1);
                    self.desk.plan().split(least)
                }
            };
            let Some((start, end)) = range else { return };
            self.turn += 1;
            let source = self.attempt.sources.other(self.attempt.current, self.turn);
            // Mirrors and the address itself take turns.
            let source = source.filter(|_| self.turn % 2 == 1).unwrap_or(self.attempt.current);
            self.begin_further(start, end, source, Kind::Segment, Urgency::Further);
        }
    }

    /// Lets what readers wait for go first.
    fn serve_wanted(&mut self) {
        let wanted = self.desk.live.take_wanted();
        if !self.attempt.job.is_random_access || self.desk.part().is_none() {
            return;
        }
        for range in wanted {
            let rate = self.desk.live.meter.bytes_per_second();
            let near = ((rate as f64 * SOON.as_secs_f64()) as u64).max(SOON_BYTES);
            let claimed = self.desk.plan().claim(range.offset, near);
            let Some((start, end)) = claimed else { continue };
            self.attempt.cursor = start;
            for member in self.members.iter().filter(|member| member.kind == Kind::Wanted) {
                member.recall.cancel();
            }
            let is_alone = self.desk.settings.segments_max < 2;
            if is_alone {
                self.members.iter().for_each(|member| member.recall.cancel());
            }
            let urgency = if is_alone { Urgency::First } else { Urgency::Further };
            self.begin_further(start, end, self.attempt.current, Kind::Wanted, urgency);
        }
    }

    /// No seat was free for a reader that waits: the others give theirs up.
    fn make_room(&mut self, position: u64) {
        self.members.iter().for_each(|member| member.recall.cancel());
        let claimed = self.desk.plan().claim(position, 0);
        if let Some((start, end)) = claimed {
            self.begin_further(start, end, self.attempt.current, Kind::Wanted, Urgency::First);
        }
    }

    fn begin_further(&mut self, start: u64, end: u64, source: SourceIndex, kind: Kind, urgency: Urgency) {
        let lease = self.desk.plan().lease_tentatively(start, end);
        let recall = CancellationToken::new();
        let seen = self.enlist(lease, source, kind, recall.clone());
        let candidate = self.attempt.sources.get_mut(source);
        let further = Further {
            lease,
            start,
            end,
            source: Arc::clone(&candidate.source),
            known: candidate.validators.clone(),
            seen,
            is_proved: candidate.is_proved || candidate.validators.is_some(),
            demands: self.attempt.demands(),
            urgency,
            recall,
        };
        let desk = Arc::clone(&self.desk);
        self.flows.push(Box::pin(async move { Ended { lease, end: further::run(desk, further).await } }));
    }
}

/// Polls what may not be there.
async fn maybe<F: Future + Unpin>(future: Option<F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
