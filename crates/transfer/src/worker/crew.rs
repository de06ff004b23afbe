//! Runs the flows of an attempt side by side: how many there are, what each fetches, and that the journal keeps up.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use longhaul_contract::Failure;
use tokio::time::{Instant, Sleep};

use super::attempt::{Attempt, Pause};
use super::desk::Desk;
use super::further::{self, Further};
use super::growth::{Advice, Growth, Most, Sight};
use super::plan::LeaseId;
use super::pump::{Flow, FlowEnd, pump};
use super::rein::{Pace, Rein};
use super::sources::SourceIndex;
use crate::http::follow::Urgency;
use crate::http::origin::Origin;
use crate::journal::Validators;

/// A wanted place that will be reached within this time is waited for.
const SOON: Duration = Duration::from_millis(300);
const SOON_BYTES: u64 = 64 << 10;
/// A range is not split for a connection that would be done with its half sooner than this: a few round trips, within
/// limits.
const SPLIT_WORTH_ROUND_TRIPS: u32 = 4;
const SPLIT_WORTH_MIN: Duration = Duration::from_millis(100);
const SPLIT_WORTH_MAX: Duration = Duration::from_millis(500);
/// Nor is one that is smaller than this part of [`crate::Settings::segment_bytes_min`].
const SPLIT_PART: u64 = 32;
/// How far the rate of one connection reaches back.
const RATE_SPAN: Duration = Duration::from_millis(500);
/// A connection is young for so long, and has slowed down when it is slower than this part of its best.
const YOUTH: Duration = Duration::from_secs(1);
const SLOWED_DOWN: f64 = 0.7;

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
    /// Packets out of order on connections that have ended.
    out_of_order: u64,
    /// Whose path is watched.
    origin: Option<Origin>,
}

struct Member {
    lease: LeaseId,
    source: SourceIndex,
    kind: Kind,
    /// Bytes its lease had fetched when it began, to see whether it brought any.
    began_at: u64,
    since: Instant,
    rein: Rein,
    pace: Pace,
    /// The highest rate it has had, in bytes per second.
    best: f64,
    /// The version that its address answered with, once it has.
    seen: Arc<OnceLock<Validators>>,
}

impl Member {
    fn look(&mut self, now: Instant) {
        self.pace.note(now, self.rein.received());
        self.best = self.best.max(self.rate());
    }

    /// Bytes per second of late.
    fn rate(&self) -> f64 {
        self.pace.over(RATE_SPAN)
    }

    fn has_slowed_down(&self, now: Instant) -> bool {
        now.duration_since(self.since) >= YOUTH && self.rate() < self.best * SLOWED_DOWN
    }
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
        let settings = &desk.settings;
        let most =
            Most { clean: settings.segments_max as usize, lossy: settings.segments_lossy_max as usize };
        let most = if is_splittable && most.clean > 1 { most } else { Most::ONE };
        let origin = Origin::of(&attempt.sources.get(attempt.current).source.current());
        let is_known_lossy = origin.as_ref().is_some_and(|origin| desk.client.pool.is_lossy(origin));
        let growth = Growth::new(most, is_known_lossy, Instant::now(), desk.live.meter.received());
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
            out_of_order: 0,
            origin,
        };
        crew.begin(flow);
        crew
    }

    fn begin(&mut self, flow: Flow) {
        let lease = flow.lease;
        let rein = flow.rein.clone();
        let desk = Arc::clone(&self.desk);
        self.enlist(lease, self.attempt.current, Kind::First, rein);
        self.flows.push(Box::pin(async move { Ended { lease, end: pump(desk, flow).await } }));
    }

    fn enlist(
        &mut self,
        lease: LeaseId,
        source: SourceIndex,
        kind: Kind,
        rein: Rein,
    ) -> Arc<OnceLock<Validators>> {
        let (began_at, _) = self.desk.plan().room(lease);
        let since = Instant::now();
        let pace = Pace::new(since, 0);
        let seen = Arc::default();
        let member =
            Member { lease, source, kind, began_at, since, rein, pace, best: 0.0, seen: Arc::clone(&seen) };
        self.members.push(member);
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
        self.out_of_order += u64::from(member.rein.out_of_order());
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

    /// Measures, and opens, replaces or gives up connections.
    fn grow(&mut self) {
        let now = Instant::now();
        let left = self.desk.plan().remaining().unwrap_or_default();
        if self.desk.live.rate.is_limited() {
            // More connections share a limit, they do not lift it.
            self.growth.has_no_seat(now, self.members.len());
            return;
        }
        self.members.iter_mut().for_each(|member| member.look(now));
        let lost: u64 = self.members.iter().map(|member| u64::from(member.rein.out_of_order())).sum();
        let queueing = self.members.iter().filter(|member| member.rein.is_queueing()).count();
        let sight = Sight {
            now,
            received: self.desk.live.meter.received(),
            left,
            out_of_order: self.out_of_order + lost,
            is_queueing: 2 * queueing > self.members.len(),
        };
        let advice = self.growth.advise(sight);
        if advice != Advice::Nothing {
            tracing::debug!(id = %self.attempt.job.id, ?advice, received = sight.received, "connections");
        }
        match advice {
            Advice::Nothing => {}
            Advice::Add(_) => {
                if let Some(origin) = self.origin.as_ref().filter(|_| self.growth.is_lossy(now)) {
                    self.desk.client.pool.note_lossy(origin);
                }
                self.fill_up();
            }
            Advice::GiveUp(count) => {
                let segments = self.members.iter().rev().filter(|member| member.kind == Kind::Segment);
                segments.take(count).for_each(|member| member.rein.recall.cancel());
            }
            Advice::Renew => self.renew(now),
        }
    }

    /// Ends the connection that has slowed down most; what it leaves undone is asked for anew at once.
    fn renew(&mut self, now: Instant) {
        let is_calm = self.members.iter().all(|member| !member.rein.recall.is_cancelled());
        let slowed = self
            .members
            .iter()
            .filter(|member| member.kind == Kind::Segment && member.has_slowed_down(now))
            .min_by(|a, b| a.rate().total_cmp(&b.rate()));
        if let Some(member) = slowed.filter(|_| is_calm) {
            member.rein.recall.cancel();
            self.growth.has_renewed(now);
        }
    }

    /// How long half of a range has to take for a further connection to be worth it.
    fn split_worth(&self) -> Duration {
        let round_trip = self.members.iter().filter_map(|member| member.rein.round_trip()).min();
        let worth = round_trip.map_or(SPLIT_WORTH_MAX, |time| time * SPLIT_WORTH_ROUND_TRIPS);
        worth.clamp(SPLIT_WORTH_MIN, SPLIT_WORTH_MAX)
    }

    /// Puts as many flows to work as have proved useful.
    fn fill_up(&mut self) {
        let is_stopping = self.desk.live.stop_mode().is_some();
        while !is_stopping && !self.members.is_empty() && self.members.len() < self.growth.allowed() {
            let hole = self.desk.plan().next_hole(self.attempt.cursor);
            let range = match hole {
                Some((start, Some(end))) => Some((start, end)),
                Some((_, None)) => None,
                None => self.split(),
            };
            let Some((start, end)) = range else { return };
            self.turn += 1;
            let source = self.attempt.sources.other(self.attempt.current, self.turn);
            // Mirrors and the address itself take turns.
            let source = source.filter(|_| self.turn % 2 == 1).unwrap_or(self.attempt.current);
            self.begin_further(start, end, source, Kind::Segment, Urgency::Further);
        }
    }

    /// Half of the range that would be done last.
    fn split(&self) -> Option<(u64, u64)> {
        let average = self.desk.live.meter.bytes_per_second() as f64 / self.members.len() as f64;
        let least = (self.desk.settings.segment_bytes_min / SPLIT_PART).max(1);
        let pace = |lease| {
            let member = self.members.iter().find(|member| member.lease == lease);
            // One that has hardly begun is taken for a common one.
            member.map(Member::rate).filter(|rate| *rate > 0.0).unwrap_or(average)
        };
        self.desk.plan().split(least, self.split_worth(), pace)
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
                member.rein.recall.cancel();
            }
            let is_alone = self.desk.settings.segments_max < 2;
            if is_alone {
                self.members.iter().for_each(|member| member.rein.recall.cancel());
            }
            let urgency = if is_alone { Urgency::First } else { Urgency::Further };
            self.begin_further(start, end, self.attempt.current, Kind::Wanted, urgency);
        }
    }

    /// No seat was free for a reader that waits: the others give theirs up.
    fn make_room(&mut self, position: u64) {
        self.members.iter().for_each(|member| member.rein.recall.cancel());
        let claimed = self.desk.plan().claim(position, 0);
        if let Some((start, end)) = claimed {
            self.begin_further(start, end, self.attempt.current, Kind::Wanted, Urgency::First);
        }
    }

    fn begin_further(&mut self, start: u64, end: u64, source: SourceIndex, kind: Kind, urgency: Urgency) {
        let lease = self.desk.plan().lease_tentatively(start, end);
        let rein = Rein::default();
        let seen = self.enlist(lease, source, kind, rein.clone());
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
            rein,
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
