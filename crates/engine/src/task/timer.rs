//! The timers of tasks: when a registration fires next, and when something has to be looked at again. Periods are
//! measured on the boot clock while the service lives, and by wall time across restarts; calendars go by wall time.

use longhaul_contract::{InstanceId, TaskId, Timestamp};

use super::calendar::Calendar;
use super::desk::Tasks;
use super::row::{Missed, TaskTrigger};
use crate::clock::{BootTime, Now};
use crate::engine::Engine;
use crate::step::Step;

/// What a calendar fired before the clock went back is not repeated, unless it went back further than this.
const SET_BACK_MICROS: i64 = 3 * 3_600 * 1_000_000;
/// Wall times written down are corrected only for more than this.
const ANCHOR_SLACK_MICROS: u64 = 1_000_000;

/// When a registration fires next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// Not by time, or not any more, or the clock is in doubt.
    Never,
    Boot {
        at: BootTime,
        /// Made without knowing how long the service was away.
        is_estimate: bool,
    },
    Wall(Timestamp),
}

impl Due {
    pub(crate) fn wall(self, now: Now) -> Option<Timestamp> {
        match self {
            Self::Never => None,
            Self::Boot { at, .. } => Some(plus(now.wall, difference(at, now.boot))),
            Self::Wall(time) => Some(time),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    Fire(TaskId),
    /// A delay of this registration's firing is over.
    Look(TaskId),
    /// The message of this registration's firing is worth nothing any more.
    Expire(TaskId),
    /// The instance has run for as long as it may.
    Limit(InstanceId),
    /// The grace of a cancelled instance is over, and the runner should have killed it.
    Kill(InstanceId),
}

fn micros(time: BootTime) -> i64 {
    i64::try_from(time.0).unwrap_or(i64::MAX)
}

fn difference(later: BootTime, earlier: BootTime) -> i64 {
    micros(later) - micros(earlier)
}

fn plus(time: Timestamp, micros: i64) -> Timestamp {
    Timestamp(time.micros().saturating_add(micros))
}

fn plus_micros(time: BootTime, micros: i64) -> BootTime {
    BootTime(time.0.saturating_add(u64::try_from(micros).unwrap_or(0)))
}

/// Period in microseconds.
fn period(minutes: u32) -> i64 {
    i64::from(minutes) * 60_000_000
}

impl Tasks {
    pub(crate) fn set_due(&mut self, id: TaskId, due: Due) {
        let Some(task) = self.rows.get_mut(&id) else { return };
        match std::mem::replace(&mut task.due, due) {
            Due::Never => {}
            Due::Boot { at, .. } => {
                self.timers.remove(&(at, Timer::Fire(id)));
            }
            Due::Wall(time) => {
                self.calendar.remove(&(time, id));
            }
        }
        match due {
            Due::Never => {}
            Due::Boot { at, .. } => {
                self.timers.insert((at, Timer::Fire(id)));
            }
            Due::Wall(time) => {
                self.calendar.insert((time, id));
            }
        }
    }

    /// Sets the one timer that looks at the registration's firing again.
    pub(crate) fn set_look(&mut self, id: TaskId, at: Option<BootTime>) {
        let Some(task) = self.rows.get_mut(&id) else { return };
        if let Some(before) = std::mem::replace(&mut task.look_at, at) {
            self.timers.remove(&(before, Timer::Look(id)));
        }
        if let Some(at) = at {
            self.timers.insert((at, Timer::Look(id)));
        }
    }

    /// Sets the timer that forgets the message of the registration's firing.
    pub(crate) fn set_expiry(&mut self, id: TaskId, at: Option<BootTime>) {
        let Some(task) = self.rows.get_mut(&id) else { return };
        if let Some(before) = std::mem::replace(&mut task.expires_at, at) {
            self.timers.remove(&(before, Timer::Expire(id)));
        }
        if let Some(at) = at {
            self.timers.insert((at, Timer::Expire(id)));
        }
    }
}

impl Engine {
    /// Begins the first period, or looks for the first time of the calendar.
    pub(crate) fn begin_timer(&mut self, step: &mut Step, id: TaskId) {
        match self.tasks.rows[&id].row.plan.trigger {
            TaskTrigger::Every { minutes, .. } => {
                let at = plus_micros(step.now.boot, period(minutes));
                self.tasks.set_due(id, Due::Boot { at, is_estimate: false });
            }
            TaskTrigger::Calendar { .. } => {
                let is_doubted = !self.tasks.clock.is_trusted();
                if let Some(task) = self.tasks.rows.get_mut(&id) {
                    task.is_anchor_doubted = is_doubted;
                }
                self.set_calendar(step, id);
            }
            TaskTrigger::System { .. }
            | TaskTrigger::Requested { .. }
            | TaskTrigger::Sourced { .. }
            | TaskTrigger::Completion { .. } => {}
        }
    }

    /// Goes on where the service was stopped.
    pub(crate) fn resume_timer(&mut self, step: &mut Step, id: TaskId) {
        let Some(task) = self.tasks.rows.get(&id).filter(|task| !task.is_spent()) else { return };
        match task.row.plan.trigger {
            TaskTrigger::Every { minutes, .. } => {
                let elapsed = step.now.wall.micros().saturating_sub(task.row.state.anchor.micros());
                if elapsed < 0 {
                    let at = plus_micros(step.now.boot, period(minutes));
                    self.tasks.set_due(id, Due::Boot { at, is_estimate: true });
                } else if elapsed < period(minutes) {
                    let at = plus_micros(step.now.boot, period(minutes) - elapsed);
                    self.tasks.set_due(id, Due::Boot { at, is_estimate: false });
                } else {
                    self.period_over(step, id, elapsed - period(minutes));
                }
            }
            TaskTrigger::Calendar { .. } => self.set_calendar(step, id),
            TaskTrigger::System { .. }
            | TaskTrigger::Requested { .. }
            | TaskTrigger::Sourced { .. }
            | TaskTrigger::Completion { .. } => {}
        }
    }

    /// The wall clock was set, or is trusted again, or the machine has another zone.
    pub(crate) fn clock_changed(&mut self, step: &mut Step) {
        let ids: Vec<TaskId> = self.tasks.rows.keys().copied().collect();
        for id in ids {
            self.move_delays(step, id);
            let task = &self.tasks.rows[&id];
            match (&task.row.plan.trigger, task.due) {
                (TaskTrigger::Every { minutes, .. }, Due::Boot { at, is_estimate }) => {
                    let minutes = *minutes;
                    let is_behind = step.now.wall < task.row.state.anchor;
                    if is_estimate && !self.tasks.clock.is_trusted() {
                        continue;
                    }
                    if is_estimate && !is_behind {
                        self.resume_timer(step, id);
                        continue;
                    }
                    let begun = plus(step.now.wall, difference(at, step.now.boot) - period(minutes));
                    self.move_anchor(step, id, begun);
                    self.tasks.set_due(id, Due::Boot { at, is_estimate: false });
                }
                (TaskTrigger::Calendar { .. }, _) => self.set_calendar(step, id),
                _ => {}
            }
        }
    }

    /// Delays go by the boot clock: what a restart will read of them follows the wall clock.
    fn move_delays(&mut self, step: &mut Step, id: TaskId) {
        let Some(task) = self.tasks.rows.get_mut(&id) else { return };
        if let (Some(latch), Some(retry_at)) = (&mut task.row.state.latch, task.retry_at)
            && retry_at > step.now.boot
        {
            latch.not_before = Some(plus(step.now.wall, difference(retry_at, step.now.boot)));
            Self::keep_task(step, id);
        }
        if let (Some(latch), Some(expires_at)) = (&mut task.row.state.latch, task.expires_at) {
            latch.expires = Some(plus(step.now.wall, difference(expires_at, step.now.boot)));
            Self::keep_task(step, id);
        }
    }

    /// Finds the next time of a calendar; without a clock to trust there is none.
    fn set_calendar(&mut self, step: &mut Step, id: TaskId) {
        if !self.tasks.clock.is_trusted() || self.tasks.rows[&id].is_spent() {
            self.tasks.set_due(id, Due::Never);
            return;
        }
        let now = step.now.wall;
        let Some(task) = self.tasks.rows.get_mut(&id) else { return };
        let was_doubted = std::mem::take(&mut task.is_anchor_doubted);
        if was_doubted || task.row.state.anchor.micros() - now.micros() > SET_BACK_MICROS {
            self.move_anchor(step, id, now);
        }
        let anchor = self.tasks.rows[&id].row.state.anchor;
        let next = self.calendar_of(id).and_then(|calendar| calendar.next(anchor));
        self.tasks.set_due(id, next.map_or(Due::Never, Due::Wall));
    }

    fn calendar_of(&self, id: TaskId) -> Option<Calendar> {
        let TaskTrigger::Calendar { schedule, time_zone, .. } = &self.tasks.rows[&id].row.plan.trigger else {
            return None;
        };
        Calendar::parse(schedule, time_zone.as_deref().unwrap_or(self.machine_zone())).ok()
    }

    /// IANA name of the zone of calendars that name none.
    pub(crate) fn machine_zone(&self) -> &str {
        let measured = self.host.time_zone.value().or(self.tasks.known.time_zone.as_ref());
        measured.or(self.policy.time_zone.as_ref()).map_or("UTC", String::as_str)
    }

    fn move_anchor(&mut self, step: &mut Step, id: TaskId, anchor: Timestamp) {
        let Some(task) = self.tasks.rows.get_mut(&id) else { return };
        if task.row.state.anchor.micros().abs_diff(anchor.micros()) >= ANCHOR_SLACK_MICROS {
            task.row.state.anchor = anchor;
            Self::keep_task(step, id);
        }
    }

    /// Does what is due by time alone.
    pub(crate) fn run_task_timers(&mut self, step: &mut Step) {
        while let Some((at, timer)) = self.tasks.timers.first().copied() {
            if at > step.now.boot {
                break;
            }
            self.tasks.timers.remove(&(at, timer));
            match timer {
                Timer::Fire(id) => self.period_over(step, id, difference(step.now.boot, at)),
                Timer::Look(id) => {
                    self.tasks.set_look(id, None);
                    self.consider_task(step, id);
                }
                // What may start in this very step still does.
                Timer::Expire(id) => {
                    self.tasks.set_expiry(id, None);
                    step.tasks.expired.insert(id);
                }
                Timer::Limit(instance) => self.limit_reached(step, instance),
                Timer::Kill(instance) => self.grace_over(step, instance),
            }
        }
        while let Some((time, id)) = self.tasks.calendar.first().copied() {
            if time > step.now.wall {
                break;
            }
            self.calendar_due(step, id);
        }
    }

    /// A period ended `late` microseconds ago. The next ones stay on the grid of this one.
    fn period_over(&mut self, step: &mut Step, id: TaskId, late: i64) {
        let Some(task) = self.tasks.rows.get_mut(&id) else { return };
        let TaskTrigger::Every { minutes, missed, .. } = task.row.plan.trigger else { return };
        let late = late % period(minutes);
        task.row.state.anchor = plus(step.now.wall, -late);
        let at = plus_micros(step.now.boot, period(minutes) - late);
        self.tasks.set_due(id, Due::Boot { at, is_estimate: false });
        Self::keep_task(step, id);
        if missed == Missed::Once || late <= self.tolerance() {
            self.fire(step, id, &super::firing::no_details());
        }
    }

    fn calendar_due(&mut self, step: &mut Step, id: TaskId) {
        let now = step.now.wall;
        let tolerated = plus(now, -self.tolerance());
        let calendar = self.calendar_of(id);
        let Some(task) = self.tasks.rows.get_mut(&id) else { return };
        let TaskTrigger::Calendar { missed, .. } = task.row.plan.trigger else { return };
        let last = std::mem::replace(&mut task.row.state.anchor, now);
        let is_fresh = |calendar: &Calendar| {
            calendar.next(last.max(tolerated)).is_some_and(|occurrence| occurrence <= now)
        };
        let fires = missed == Missed::Once || calendar.as_ref().is_some_and(is_fresh);
        let next = calendar.and_then(|calendar| calendar.next(now));
        self.tasks.set_due(id, next.map_or(Due::Never, Due::Wall));
        Self::keep_task(step, id);
        if fires {
            self.fire(step, id, &super::firing::no_details());
        }
    }

    /// Microseconds by which a timer may be late without having been missed.
    fn tolerance(&self) -> i64 {
        i64::try_from(self.policy.tasks.missed_after_ms).map_or(i64::MAX, |ms| ms.saturating_mul(1_000))
    }
}
