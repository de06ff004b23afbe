//! The rules that may hold a task back, in one list. A start asks all of them at one instant, and `explain` and the
//! views are made of the same answers.

use longhaul_contract::{AccessStatus, Condition, HostState, ReasonCode, RunCause, TriggerKind};

use super::condition::{self, Holds};
use super::desk::Task;
use super::row::{Latch, TaskTrigger};
use super::timer::Due;
use crate::clock::Now;
use crate::engine::Engine;
use crate::rules::Until;

pub(crate) use crate::rules::Verdict as TaskVerdict;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TaskRule {
    Fired,
    NotQuarantined,
    Access,
    Program,
    NotRunning,
    Condition(Condition),
    ExternalPower,
    EnergySaver,
    NotStopping,
    RetryDelay,
    NotFlapping,
    AtOnce,
    AtOncePerApplication,
}

/// How many of the rules are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// All but the number of instances at one time.
    Itself,
    All,
}

impl TaskRule {
    /// Those that end by an event come before those that end by time, so that no timer is set in vain.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let before = [Self::Fired, Self::NotQuarantined, Self::Access, Self::Program, Self::NotRunning];
        let conditions = Condition::ALL.iter().copied().map(Self::Condition);
        let after = [
            Self::ExternalPower,
            Self::EnergySaver,
            Self::NotStopping,
            Self::RetryDelay,
            Self::NotFlapping,
            Self::AtOnce,
            Self::AtOncePerApplication,
        ];
        before.into_iter().chain(conditions).chain(after)
    }

    pub(crate) fn is_about_slots(self) -> bool {
        matches!(self, Self::AtOnce | Self::AtOncePerApplication)
    }
}

/// One registration at one instant, on the machine as it is or as it might be.
#[derive(Clone, Copy)]
pub(crate) struct TaskQuestion<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) task: &'a Task,
    pub(crate) now: Now,
    pub(crate) hypothetical: Option<&'a HostState>,
}

impl Engine {
    pub(crate) fn task_question<'a>(&'a self, task: &'a Task, now: Now) -> TaskQuestion<'a> {
        TaskQuestion { engine: self, task, now, hypothetical: None }
    }
}

fn blocks(code: ReasonCode) -> TaskVerdict {
    TaskVerdict::Blocks { code, until: None }
}

fn blocks_if(is_so: bool, code: ReasonCode) -> TaskVerdict {
    if is_so { blocks(code) } else { TaskVerdict::Satisfied }
}

impl TaskQuestion<'_> {
    pub(crate) fn host(&self) -> &HostState {
        self.hypothetical.unwrap_or(&self.engine.host)
    }

    pub(crate) fn latch(&self) -> Option<&Latch> {
        self.task.row.state.latch.as_ref()
    }

    /// The next run is one by hand, which asks for little.
    pub(crate) fn is_manual(&self) -> bool {
        self.latch().is_some_and(|latch| latch.cause == RunCause::Manual)
    }

    pub(crate) fn access(&self) -> AccessStatus {
        self.engine.access(&self.task.row.app)
    }

    /// The administrator's file that denies background access to the application.
    pub(crate) fn policy_denies(&self) -> Option<&str> {
        self.engine.policy.tasks.denies(&self.task.row.app)
    }

    pub(crate) fn ask(&self, rule: TaskRule) -> TaskVerdict {
        let row = &self.task.row;
        match rule {
            TaskRule::Fired => self.fired(),
            TaskRule::NotQuarantined => {
                let is_quarantined = self.task.is_quarantined(&self.engine.policy.tasks);
                blocks_if(is_quarantined && !self.is_manual(), ReasonCode::Quarantined)
            }
            TaskRule::Access => match self.access() {
                AccessStatus::AlwaysAllowed | AccessStatus::AllowedSubjectToSystemPolicy => {
                    TaskVerdict::Satisfied
                }
                AccessStatus::Unspecified if self.is_manual() => TaskVerdict::Beside,
                AccessStatus::Unspecified => blocks(ReasonCode::AccessUnspecified),
                AccessStatus::DeniedByUser | AccessStatus::DeniedBySystemPolicy => {
                    blocks(ReasonCode::AccessDenied)
                }
            },
            TaskRule::Program => match &row.plan.in_process {
                None => TaskVerdict::Beside,
                Some(class) => {
                    let serves = self.engine.tasks.serving.contains(&(row.app.clone(), class.clone()));
                    blocks_if(!serves, ReasonCode::ProgramNotConnected)
                }
            },
            TaskRule::NotRunning => blocks_if(row.state.running.is_some(), ReasonCode::InstanceRunning),
            TaskRule::Condition(condition) => self.condition(condition),
            TaskRule::ExternalPower => self.external_power(),
            TaskRule::EnergySaver => self.energy_saver(),
            TaskRule::NotStopping => {
                if self.engine.tasks.is_stopping {
                    blocks(ReasonCode::ServiceStopping)
                } else {
                    TaskVerdict::Beside
                }
            }
            TaskRule::RetryDelay => match self.task.retry_at {
                Some(time) if time > self.now.boot => {
                    TaskVerdict::Blocks { code: ReasonCode::RetryDelay, until: Some(Until::Boot(time)) }
                }
                _ => TaskVerdict::Beside,
            },
            TaskRule::NotFlapping => self.flapping(),
            TaskRule::AtOnce => blocks_if(self.engine.tasks.queue.is_full(), ReasonCode::TasksAtOnce),
            TaskRule::AtOncePerApplication => blocks_if(
                self.engine.tasks.queue.is_full_for(&row.app),
                ReasonCode::TasksAtOncePerApplication,
            ),
        }
    }

    /// The first rule that holds the firing back; `None` when it may start.
    pub(crate) fn first_block(&self, scope: Scope) -> Option<TaskVerdict> {
        TaskRule::all()
            .filter(|rule| scope == Scope::All || !rule.is_about_slots())
            .map(|rule| self.ask(rule))
            .find(|verdict| matches!(verdict, TaskVerdict::Blocks { .. }))
    }

    fn fired(&self) -> TaskVerdict {
        let is_calendar = matches!(self.task.row.plan.trigger, TaskTrigger::Calendar { .. });
        if self.latch().is_some() {
            return TaskVerdict::Satisfied;
        }
        if self.task.is_spent() {
            return blocks(ReasonCode::Consumed);
        }
        if is_calendar && !self.engine.tasks.clock.is_trusted() {
            return blocks(ReasonCode::ClockUntrusted);
        }
        match self.task.due {
            Due::Never => blocks(ReasonCode::NotFired),
            Due::Boot { at, .. } if at <= self.now.boot => TaskVerdict::Satisfied,
            Due::Wall(time) if time <= self.now.wall => TaskVerdict::Satisfied,
            Due::Boot { at, .. } => {
                TaskVerdict::Blocks { code: ReasonCode::NotFired, until: Some(Until::Boot(at)) }
            }
            Due::Wall(time) => {
                TaskVerdict::Blocks { code: ReasonCode::NotFired, until: Some(Until::Wall(time)) }
            }
        }
    }

    fn condition(&self, condition: Condition) -> TaskVerdict {
        if !self.task.row.plan.conditions.contains(condition) || self.is_manual() {
            return TaskVerdict::Beside;
        }
        match condition::holds(condition, self.host()) {
            Holds::Yes => TaskVerdict::Satisfied,
            Holds::YesUnseen => TaskVerdict::Unknown,
            Holds::No | Holds::NoUnseen => blocks(condition::code(condition)),
        }
    }

    fn external_power(&self) -> TaskVerdict {
        if !self.task.row.plan.trigger.is_maintenance() || self.is_manual() {
            return TaskVerdict::Beside;
        }
        match self.host().power.value() {
            None => TaskVerdict::Unknown,
            Some(power) => blocks_if(!power.is_external, ReasonCode::ExternalPower),
        }
    }

    fn energy_saver(&self) -> TaskVerdict {
        if self.access() == AccessStatus::AlwaysAllowed || self.is_manual() {
            return TaskVerdict::Beside;
        }
        match self.host().energy_saver.value() {
            None => TaskVerdict::Unknown,
            Some(is_on) => blocks_if(*is_on, ReasonCode::EnergySaver),
        }
    }

    /// Events of the machine may come again and again, and so may places and steps; a firing of another kind is
    /// somebody's wish.
    fn flapping(&self) -> TaskVerdict {
        let may_flap = match &self.task.row.plan.trigger {
            TaskTrigger::System { .. } => true,
            TaskTrigger::Sourced { kind } => {
                matches!(kind, TriggerKind::LocationTrigger | TriggerKind::ActivitySensorTrigger)
            }
            TaskTrigger::Every { .. }
            | TaskTrigger::Calendar { .. }
            | TaskTrigger::Requested { .. }
            | TaskTrigger::Completion { .. } => false,
        };
        let is_event = may_flap && self.latch().is_some_and(|latch| latch.cause == RunCause::Trigger);
        let calm_at = self.task.started_at.map(|time| time.plus_millis(self.engine.policy.tasks.flap_ms));
        match calm_at {
            Some(time) if is_event && time > self.now.boot => {
                TaskVerdict::Blocks { code: ReasonCode::Flapping, until: Some(Until::Boot(time)) }
            }
            _ => TaskVerdict::Beside,
        }
    }
}
