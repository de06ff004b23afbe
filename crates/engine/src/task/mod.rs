//! Background tasks: what happens to a registration when its trigger fires, and why it does not run.

mod calendar;
mod condition;
mod desk;
mod details;
mod edges;
mod explain;
pub mod fact;
mod firing;
mod life;
pub mod plan;
mod queue;
mod registering;
pub mod row;
mod rules;
mod run;
pub mod signals;
mod timer;
mod trust;
pub mod wish;

pub use desk::TaskLive;
pub(crate) use desk::Tasks;
pub use fact::{InstanceEnd, InstanceOutcome, TaskFact};
pub use plan::{TaskAnswer, TaskChange, TaskEffect};
pub use row::{
    Conditions, LastRun, Latch, Missed, RunLimits, RunningInstance, TaskPlan, TaskRow, TaskState, TaskTrigger,
};
pub use signals::KnownSignals;
pub use wish::{NewTask, TaskWish};

/// Checks the schedule of a TimeTrigger: a cron expression of five fields that comes true at some time, in a zone of the
/// IANA database (the machine's when none is named).
///
/// # Errors
/// Says what is wrong with it.
pub fn check_calendar(schedule: &str, time_zone: Option<&str>) -> Result<(), String> {
    let calendar = calendar::Calendar::parse(schedule, time_zone.unwrap_or("UTC"))?;
    // 2026-01-01: which year it is makes no difference to whether there is a next time.
    match calendar.next(longhaul_contract::Timestamp(1_767_225_600_000_000)) {
        Some(_) => Ok(()),
        None => Err(format!("{schedule:?} never comes true")),
    }
}

#[cfg(test)]
mod tests;
