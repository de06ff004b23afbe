//! Moves an operation from phase to phase, and keeps every index in step with that.

use longhaul_contract::{Blocker, ReasonCode, ResponseInformation, Timestamp};

use crate::download::{Outcome, Phase, Stopping};
use crate::engine::Engine;
use crate::fact::Finished;
use crate::plan::{Change, Effect, StopMode};
use crate::queue::Place;
use crate::retry;
use crate::roster::{Entry, Settings, Slot, Standing};
use crate::row::{Row, StoredPhase};
use crate::step::Step;

/// Shorter stretches of waiting are not worth remembering.
const WAIT_MICROS_MIN: i64 = 1_000_000;
/// Files that are being published while their slots are used by others; each is an open file.
const PUBLISHING_MAX: u32 = 256;
/// Results expire in batches of an hour, so that pruning needs few wake-ups.
const EXPIRY_STEP_MICROS: i64 = 3_600_000_000;

impl Engine {
    /// Takes a row into memory without deciding anything.
    pub(crate) fn hold(&mut self, row: Row, phase: Phase, may_have_part: bool) -> Slot {
        let is_held_back = self.held_back.contains(&row.app);
        let app = self.apps.number(row.app);
        self.apps[app].live += 1;
        self.apps[app].order = self.apps[app].order.max(row.order);
        let is_local = row.origin.is_local;
        let origin = self.origins.number(row.origin);
        self.origins[origin] += 1;
        let group = row.group.map(|name| self.group_number(app, name));
        let recoverable = (!row.recoverable.is_empty()).then_some(row.recoverable);
        let settings = Settings {
            rate_limit: row.rate_limit,
            not_before: row.not_before,
            recoverable,
            completion_group: row.completion_group,
            marks: row.marks,
        };
        if let Some(group) = row.completion_group {
            self.completion.joined(group);
        }
        self.targets.extend(row.target);
        let slot = self.roster.insert(Entry {
            id: row.id,
            target: row.target,
            waits_for: phase.waits_for(),
            phase,
            order: row.order,
            since: Timestamp(0),
            rare: settings.into(),
            app,
            group,
            origin,
            attempts: 0,
            record: retry::Record {
                fruitless_attempts: row.fruitless_attempts,
                has_bytes: row.has_bytes,
                ..retry::Record::default()
            },
            kind: row.kind,
            priority: row.priority,
            cost_policy: row.cost_policy,
            standing: Standing::new(is_local, is_held_back),
            is_due: false,
            is_consumed: false,
            may_have_part,
        });
        self.join_group(slot);
        slot
    }

    /// What the store keeps of an operation.
    pub(crate) fn row(&self, slot: Slot) -> Row {
        let entry = &self.roster[slot];
        Row {
            id: entry.id,
            kind: entry.kind,
            app: self.apps.key(entry.app).clone(),
            group: entry.group.map(|group| self.groups.key(group).1.clone()),
            origin: self.origins.key(entry.origin).clone(),
            target: entry.target,
            order: entry.order,
            priority: entry.priority,
            cost_policy: entry.cost_policy,
            rate_limit: entry.rate_limit(),
            not_before: entry.not_before(),
            recoverable: entry.recoverable().into(),
            phase: entry.phase.stored(),
            fruitless_attempts: entry.record.fruitless_attempts,
            has_bytes: entry.record.has_bytes,
            completion_group: entry.completion_group(),
            marks: entry.marks(),
        }
    }

    pub(crate) fn is_forgotten(&self, slot: Slot) -> bool {
        matches!(
            self.roster[slot].phase,
            Phase::Running { stopping: Some(Stopping::Cancel { forget: true }), .. }
                | Phase::Discarding { then: Outcome::Canceled { forget: true } }
        )
    }

    pub(crate) fn set_phase(&mut self, step: &mut Step, slot: Slot, next: Phase) {
        let before = self.roster[slot].phase.stored();
        if next.is_running() {
            // Only another reason to let go: the slot stays taken.
            self.roster[slot].phase = next;
        } else {
            self.leave(step, slot);
            self.roster[slot].phase = next;
        }
        self.enter(step, slot);
        if self.roster[slot].phase.stored() != before {
            step.plan.changes.push(Change::Updated { row: self.row(slot) });
        }
        step.touch(&self.apps, &self.roster[slot]);
    }

    /// Asks the worker of a running operation to let go, unless it has been asked already.
    pub(crate) fn stop(&mut self, step: &mut Step, slot: Slot, stopping: Stopping) {
        if let Phase::Running { attempt, origin, stopping: None } = self.roster[slot].phase {
            self.set_phase(step, slot, Phase::Running { attempt, origin, stopping: Some(stopping) });
        }
    }

    /// Puts an operation into the indexes of its phase and says what has to be brought about.
    pub(crate) fn enter(&mut self, step: &mut Step, slot: Slot) {
        let entry = &mut self.roster[slot];
        entry.waits_for = entry.phase.waits_for();
        let id = entry.id;
        match &entry.phase {
            Phase::Idle | Phase::PausedByApplication => {}
            Phase::NeedsInput { .. } => {
                if entry.marks().asks_for_input() {
                    let app = self.apps.key(entry.app).clone();
                    step.plan.effects.push(Effect::AskInput { app, id });
                }
            }
            Phase::Queued => {
                self.enqueue(step, slot);
                step.fresh.push(slot);
            }
            Phase::Backoff { until, failure } => {
                self.boot_timers.insert((*until, slot));
                if retry::is_of_the_network(failure) {
                    self.network_waiters.insert(slot);
                }
            }
            Phase::Blocked { on, until, .. } => {
                self.boot_timers.insert((*until, slot));
                self.blocked.entry(*on).or_default().insert(slot);
                if matches!(on, Blocker::Network | Blocker::Portal) {
                    self.network_waiters.insert(slot);
                }
                if is_watched(*on) {
                    step.plan.effects.push(Effect::EnsureWatched { id, on: *on });
                }
            }
            Phase::Running { attempt, stopping, .. } => {
                let mode = match stopping {
                    None => return,
                    Some(Stopping::Requeue(_) | Stopping::Pause) => StopMode::Keep,
                    Some(Stopping::Cancel { .. }) => StopMode::Discard,
                };
                step.plan.effects.push(Effect::EnsureStopped { id, attempt: *attempt, mode });
            }
            Phase::Discarding { .. } => {
                // Nobody writes to it any more: another operation may make it.
                if let Some(target) = entry.target.take() {
                    self.targets.remove(&target);
                }
                step.plan.effects.push(Effect::EnsureDiscarded { id });
            }
        }
    }

    /// Takes an operation out of the indexes of its phase and closes its stretch of waiting.
    fn leave(&mut self, step: &mut Step, slot: Slot) {
        self.close_wait(step, slot);
        let entry = &self.roster[slot];
        let app = entry.app;
        match &entry.phase {
            Phase::Idle
            | Phase::PausedByApplication
            | Phase::NeedsInput { .. }
            | Phase::Discarding { .. } => {}
            Phase::Queued => self.dequeue(slot),
            Phase::Backoff { until, .. } => {
                self.boot_timers.remove(&(*until, slot));
                self.network_waiters.remove(&slot);
            }
            Phase::Blocked { on, until, .. } => {
                self.boot_timers.remove(&(*until, slot));
                self.network_waiters.remove(&slot);
                if let Some(slots) = self.blocked.get_mut(on) {
                    slots.remove(&slot);
                }
                if is_watched(*on) {
                    step.plan.effects.push(Effect::EnsureUnwatched { id: entry.id });
                }
            }
            Phase::Running { origin, .. } => {
                let origin = *origin;
                self.running.remove(&slot);
                self.count_running_member(slot, false);
                match origin {
                    Some(origin) => self.give_slot_back(app, origin),
                    None => self.publishing -= 1,
                }
            }
        }
    }

    /// Gives a slot to the operation whose turn it is.
    pub(crate) fn start(&mut self, step: &mut Step, place: Place) {
        let slot = place.slot;
        if let Some(code) = self.question(slot, step.now).first_block() {
            // The queue and the rules must agree; when they do not, the rules are right.
            debug_assert!(false, "the queue offers {:?}, which {code:?} forbids", self.roster[slot].id);
            self.queue.remove(place);
            return;
        }
        self.close_wait(step, slot);
        self.dequeue(slot);
        self.queue.take_slot(place);
        let entry = &mut self.roster[slot];
        entry.attempts += 1;
        entry.may_have_part = true;
        entry.waits_for = None;
        let (id, attempt, origin) = (entry.id, entry.attempts, entry.origin);
        entry.phase = Phase::Running { attempt, origin: Some(origin), stopping: None };
        self.origins[origin] += 1;
        self.running.insert(slot);
        self.count_running_member(slot, true);
        if attempt == 1 {
            step.plan.changes.push(Change::Started { id, time: step.now.wall });
        }
        step.plan.effects.push(Effect::EnsureRunning { id, attempt });
        step.touch(&self.apps, &self.roster[slot]);
    }

    fn give_slot_back(&mut self, app: u32, origin: u32) {
        self.queue.give_slot_back(app, origin);
        self.release_origin(origin);
    }

    /// Its worker needs no connection any more: the slot is for another operation, unless too many files are being
    /// published already.
    pub(crate) fn finish_moving(&mut self, slot: Slot) {
        if self.publishing >= PUBLISHING_MAX {
            return;
        }
        let entry = &mut self.roster[slot];
        let app = entry.app;
        if let Phase::Running { origin, .. } = &mut entry.phase
            && let Some(origin) = origin.take()
        {
            self.publishing += 1;
            self.give_slot_back(app, origin);
        }
    }

    /// The operation is final and no longer the engine's.
    pub(crate) fn end(
        &mut self,
        step: &mut Step,
        slot: Slot,
        phase: StoredPhase,
        finished: Option<Box<Finished>>,
        response: Option<ResponseInformation>,
    ) {
        let keep_until = self.expiry(step.now.wall, self.policy.keep_unconsumed_seconds);
        let row = Row { phase: phase.clone(), ..self.row(slot) };
        step.plan.changes.push(Change::Ended { row, time: step.now.wall, finished, response, keep_until });
        step.touch(&self.apps, &self.roster[slot]);
        self.completed_member(step, slot, &phase);
        self.drop_entry(step, slot);
    }

    pub(crate) fn end_canceled(&mut self, step: &mut Step, slot: Slot, forget: bool) {
        if forget {
            step.plan.changes.push(Change::Removed { id: self.roster[slot].id });
            self.completed_member(step, slot, &StoredPhase::Canceled);
            self.drop_entry(step, slot);
        } else {
            let entry = &self.roster[slot];
            let consumed = entry.is_consumed.then(|| (self.apps.key(entry.app).clone(), entry.id));
            self.end(step, slot, StoredPhase::Canceled, None, None);
            if let Some((app, id)) = consumed {
                self.consume(step, app, id);
            }
        }
    }

    fn drop_entry(&mut self, step: &mut Step, slot: Slot) {
        self.leave(step, slot);
        self.leave_group(slot);
        let entry = self.roster.remove(slot);
        if let Some(target) = entry.target {
            self.targets.remove(&target);
        }
        self.release_origin(entry.origin);
        self.apps[entry.app].live -= 1;
        self.release_app(entry.app);
    }

    pub(crate) fn release_app(&mut self, app: u32) {
        if self.apps[app].live == 0 && self.apps[app].groups == 0 {
            self.apps.remove(app);
        }
    }

    pub(crate) fn release_origin(&mut self, origin: u32) {
        self.origins[origin] -= 1;
        if self.origins[origin] == 0 {
            self.origins.remove(origin);
        }
    }

    /// Writes down what the operation has waited for since its stretch began, and begins a new one.
    pub(crate) fn close_wait(&mut self, step: &mut Step, slot: Slot) {
        let now = step.now.wall;
        let entry = &mut self.roster[slot];
        let from = std::mem::replace(&mut entry.since, now);
        let (id, code, class) = (entry.id, entry.waits_for, entry.class());
        let mut waited = |code: Option<ReasonCode>, from: Timestamp, to: Timestamp| {
            if let Some(code) = code.filter(|_| to.micros() - from.micros() >= WAIT_MICROS_MIN) {
                step.plan.changes.push(Change::Waited { id, code, from, to });
            }
        };
        if entry.phase != Phase::Queued {
            waited(code, from, now);
            return;
        }
        // The machine's own times are known to the second; the rest went to what was seen at the beginning.
        let turn = code.filter(|code| !is_of_the_machine(*code));
        let mut reached = from;
        for (code, begin, end) in self.gates.stretches(class, from, now) {
            waited(turn, reached, begin);
            waited(Some(code), begin, end);
            reached = end;
        }
        waited(turn, reached, now);
    }

    /// When a result expires that is kept for `seconds` from `time` on; pruning is planned for then.
    pub(crate) fn expiry(&mut self, time: Timestamp, seconds: i64) -> Timestamp {
        let keep_until = time.plus_seconds(seconds);
        let hours = keep_until.micros().div_euclid(EXPIRY_STEP_MICROS).saturating_add(1);
        self.expiries.insert(Timestamp(hours.saturating_mul(EXPIRY_STEP_MICROS)));
        keep_until
    }
}

/// What the machine can be watched for. The network has its own signal, and the store its own condition.
const fn is_watched(on: Blocker) -> bool {
    match on {
        Blocker::DiskSpace | Blocker::Folder | Blocker::ReadOnly => true,
        Blocker::Network | Blocker::Portal | Blocker::Resources | Blocker::Store => false,
    }
}

fn is_of_the_machine(code: ReasonCode) -> bool {
    matches!(
        code,
        ReasonCode::NetworkLevel
            | ReasonCode::NetworkCost
            | ReasonCode::EnergySaver
            | ReasonCode::ForegroundOnly
    )
}
