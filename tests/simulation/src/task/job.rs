//! Instances as processes: they come up, end, hang, and are killed when their grace is over. Time passes here.

use longhaul_contract::{InstanceId, TaskId};
use longhaul_engine::task::{InstanceEnd, InstanceOutcome, TaskFact};

use super::model::{CANCEL_AFTER, End, GRACE, SECOND};
use super::world::{TaskSabotage, TaskWorld};
use crate::violation::{Invariant, Violation, ensure};

#[derive(Debug, Clone, Copy)]
pub(crate) struct Job {
    pub(crate) task: TaskId,
    /// Truth at which it was told to end.
    pub(crate) told_at: Option<i64>,
    /// Only the second net catches it.
    pub(crate) is_hard: bool,
    /// The service that started it is gone.
    pub(crate) is_left_over: bool,
}

fn engine_end(end: End) -> Box<InstanceEnd> {
    let outcome = match end {
        End::Completed => InstanceOutcome::Completed,
        End::Failed | End::Interrupted => {
            InstanceOutcome::Failed { detail: "it failed".to_owned(), is_host_crash: false }
        }
        End::HostCrashed => InstanceOutcome::Failed { detail: "it crashed".to_owned(), is_host_crash: true },
    };
    Box::new(InstanceEnd {
        outcome,
        exit_code: None,
        signal: None,
        was_killed: false,
        progress: 0,
        suspended_count: 0,
        cpu_milliseconds: None,
        memory_peak: None,
        ran_out_of_memory: false,
        limits: Vec::new(),
        keep_awake: None,
    })
}

impl TaskWorld {
    pub(crate) fn job_is_up(&mut self, instance: InstanceId) -> Result<(), Violation> {
        let id = self.jobs[&instance].task;
        let truth = self.clock.truth;
        self.fact(TaskFact::Running { id, instance }, |model| {
            if let Some(run) = model.runs.get_mut(&instance).filter(|run| !run.is_up) {
                run.is_up = true;
                run.since = truth;
            }
        })
    }

    pub(crate) fn end_job(&mut self, instance: InstanceId, end: End) -> Result<(), Violation> {
        let Some(job) = self.jobs.remove(&instance) else { return Ok(()) };
        self.past.push((job.task, instance));
        let truth = self.clock.truth;
        self.fact(TaskFact::Ended { id: job.task, instance, end: engine_end(end) }, |model| {
            model.end(instance, end, truth);
        })
    }

    pub(crate) fn late_report(&mut self, which: usize) -> Result<(), Violation> {
        if self.past.is_empty() {
            return Ok(());
        }
        let (id, mut instance) = self.past[which % self.past.len()];
        if self.sabotage == TaskSabotage::RenumberReports
            && let Some(running) = self.ahead.regs.get(&id).and_then(|reg| reg.running)
        {
            instance = running;
        }
        self.fact(TaskFact::Ended { id, instance, end: engine_end(End::HostCrashed) }, |_| {})?;
        self.fact(TaskFact::Running { id, instance }, |_| {})
    }

    /// Lets time pass; the engine is woken whenever it asks for it, and what does not obey is killed.
    pub(crate) fn wait(&mut self, micros: i64) -> Result<(), Violation> {
        let end = self.clock.truth + micros;
        let mut stalls = 0;
        self.settle()?;
        while let Some(next) = self.next_event().filter(|next| *next <= end) {
            stalls = if next <= self.clock.truth { stalls + 1 } else { 0 };
            ensure(stalls < 10, Invariant::EverythingEnds, || {
                format!("the engine asks to be woken over and over: {:?}", self.engine.next_wake())
            })?;
            self.pass_to(next)?;
        }
        self.pass_to(end)
    }

    fn pass_to(&mut self, truth: i64) -> Result<(), Violation> {
        self.clock.truth = self.clock.truth.max(truth);
        let overdue: Vec<InstanceId> = self
            .jobs
            .iter()
            .filter(|(_, job)| !job.is_hard && !job.is_left_over)
            .filter(|(_, job)| job.told_at.is_some_and(|time| time + GRACE <= self.clock.truth))
            .map(|(id, _)| *id)
            .collect();
        for instance in overdue {
            self.end_job(instance, End::Failed)?;
        }
        if self.sabotage == TaskSabotage::NeverWake {
            self.trust.look(self.clock, false);
            self.ahead.advance(self.clock.truth, self.clock.wall(), self.trust.is_trusted());
        } else {
            let plan = self.engine.wake(self.engine_now());
            self.trust.look(self.clock, false);
            self.follow(plan)?;
        }
        self.settle()?;
        self.check()
    }

    /// When something happens next by itself, in truth.
    fn next_event(&self) -> Option<i64> {
        let grace = self
            .jobs
            .values()
            .filter(|job| !job.is_hard && !job.is_left_over)
            .filter_map(|job| Some(job.told_at? + GRACE));
        let wake = self.engine.next_wake();
        let now = self.engine_now();
        let boot = wake.boot.map(|boot| {
            self.clock.truth + i64::try_from(boot.0.saturating_sub(now.boot.0)).unwrap_or(i64::MAX / 2)
        });
        let wall = wake.wall.map(|wall| {
            self.clock.truth.saturating_add(wall.micros().saturating_sub(now.wall.micros()).max(0))
        });
        let timers = boot.into_iter().chain(wall).filter(|_| self.sabotage != TaskSabotage::NeverWake);
        grace.chain(timers).min()
    }

    /// What was told to end is gone in time, and nothing runs longer than it may.
    pub(crate) fn check_jobs(&self) -> Result<(), Violation> {
        for (instance, run) in &self.ahead.runs {
            if let Some((reason, time)) = run.canceled {
                ensure(self.clock.truth <= time + GRACE + SECOND, Invariant::CancelEnds, || {
                    format!(
                        "{instance} was cancelled for {reason} and still runs after {} s",
                        (self.clock.truth - time) / SECOND
                    )
                })?;
            } else {
                ensure(self.clock.truth < run.since + CANCEL_AFTER, Invariant::CancelEnds, || {
                    format!("{instance} runs longer than it may")
                })?;
            }
        }
        if !self.effects.is_empty() {
            return Ok(());
        }
        for instance in self.ahead.runs.keys() {
            ensure(self.jobs.contains_key(instance), Invariant::RunsOnce, || {
                format!("{instance} is said to run and does not")
            })?;
        }
        for (instance, job) in self.jobs.iter().filter(|(_, job)| !job.is_left_over) {
            let run = self.ahead.runs.get(instance);
            ensure(run.is_some(), Invariant::NoOrphans, || {
                format!("{instance} runs, and nobody knows of it")
            })?;
            let is_told = run.is_none_or(|run| run.canceled.is_some() == job.told_at.is_some());
            ensure(is_told, Invariant::CancelEnds, || format!("{instance} was not told to end"))?;
        }
        Ok(())
    }
}
