//! Background tasks: what happens to a registration when its trigger fires, and why it does not run.

mod desk;
pub mod fact;
pub mod plan;
pub mod row;
pub mod signals;
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
