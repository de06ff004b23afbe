//! Runs a history, and makes a failing one short.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::cut::{Cut, Side, Tear};
use crate::event::{Event, events};
use crate::task::{TaskEvent, TaskSabotage, TaskWorld, task_events};
use crate::violation::{Invariant, Violation};
use crate::world::{Sabotage, World};

/// Runs spent on shortening a failing history.
const SHRINK_RUNS: usize = 600;

/// A broken promise, with the shortest history found that breaks it.
#[derive(Debug)]
pub struct Failure {
    pub seed: u64,
    pub violation: Violation,
    pub history: Vec<String>,
    /// Where the power was cut beside the crashes of the history.
    pub cut: Option<Cut>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "seed {}: {:?} is broken: {}",
            self.seed, self.violation.invariant, self.violation.detail
        )?;
        if let Some(cut) = self.cut {
            writeln!(f, "with the power cut at {cut:?}")?;
        }
        writeln!(
            f,
            "by these {} events (LONGHAUL_SEED={} runs the whole history):",
            self.history.len(),
            self.seed
        )?;
        self.history.iter().try_for_each(|event| writeln!(f, "  {event}"))
    }
}

impl std::error::Error for Failure {}

/// Runs the history of a seed.
///
/// # Errors
/// The broken promise, shrunk.
pub fn check_seed(seed: u64, sabotage: Sabotage) -> Result<(), Box<Failure>> {
    check(seed, &events(seed), &|history| run(history, sabotage))
}

/// The same for tasks.
///
/// # Errors
/// The broken promise, shrunk.
pub fn check_task_seed(seed: u64, sabotage: TaskSabotage) -> Result<(), Box<Failure>> {
    check(seed, &task_events(seed), &|history| run_tasks(history, sabotage))
}

/// The number of the event that broke a promise, and which.
type Outcome = Result<(), (usize, Violation)>;

fn check<E: Clone + fmt::Debug>(
    seed: u64,
    history: &[E],
    run: &dyn Fn(&[E]) -> Outcome,
) -> Result<(), Box<Failure>> {
    match run(history) {
        Ok(()) => Ok(()),
        Err((index, violation)) => {
            let prefix = history[..history.len().min(index + 1)].to_vec();
            let (history, violation) = shrink(prefix, violation, run);
            Err(Box::new(Failure { seed, violation, history: shown(&history), cut: None }))
        }
    }
}

fn shown<E: fmt::Debug>(history: &[E]) -> Vec<String> {
    history.iter().map(|event| format!("{event:?}")).collect()
}

/// # Errors
/// The broken promise, and the number of the event that broke it.
pub fn run(history: &[Event], sabotage: Sabotage) -> Outcome {
    run_with(history, sabotage, None).map(drop)
}

/// Runs the history of a seed once for each commit in it and each way to lose the power there.
///
/// # Errors
/// The first broken promise. It is not shrunk: leaving out events would move the commits.
pub fn check_every_commit(seed: u64, sabotage: Sabotage) -> Result<u64, Box<Failure>> {
    let history = events(seed);
    let run = |cut| {
        run_with(&history, sabotage, cut).map_err(|(index, violation)| {
            let history = shown(&history[..history.len().min(index + 1)]);
            Box::new(Failure { seed, violation, history, cut })
        })
    };
    let commits = run(None)?;
    for cut in (1..=commits).flat_map(Cut::all_at) {
        run(Some(cut))?;
    }
    Ok(commits)
}

/// Answers how many commits there were.
fn run_with(history: &[Event], sabotage: Sabotage, cut: Option<Cut>) -> Result<u64, (usize, Violation)> {
    let mut world = World::new(sabotage, cut).map_err(|violation| (0, violation))?;
    replay(history, |step| match step {
        Some(event) => world.step(event).or_else(|violation| world.survive(violation)),
        None => world.finale().or_else(|violation| {
            world.survive(violation)?;
            world.finale()
        }),
    })?;
    Ok(world.commits)
}

/// As [`check_every_commit`], for tasks: the power goes at each commit of the beginning of a history, and then comes its
/// end, in which every firing has to have its run.
///
/// # Errors
/// The first broken promise, not shrunk.
pub fn check_every_task_commit(seed: u64) -> Result<u64, Box<Failure>> {
    const EVENTS: usize = 80;
    let mut history = task_events(seed);
    history.truncate(EVENTS);
    let run = |cut| {
        run_tasks_with(&history, TaskSabotage::None, cut).map_err(|(index, violation)| {
            let history = shown(&history[..history.len().min(index + 1)]);
            Box::new(Failure { seed, violation, history, cut })
        })
    };
    let commits = run(None)?;
    for commit in 1..=commits {
        for side in [Side::Before, Side::After] {
            run(Some(Cut { commit, side, tear: Tear::Lost }))?;
        }
    }
    Ok(commits)
}

fn run_tasks(history: &[TaskEvent], sabotage: TaskSabotage) -> Outcome {
    run_tasks_with(history, sabotage, None).map(drop)
}

/// Answers how many commits there were before the end.
fn run_tasks_with(
    history: &[TaskEvent],
    sabotage: TaskSabotage,
    cut: Option<Cut>,
) -> Result<u64, (usize, Violation)> {
    let mut world = TaskWorld::new(sabotage, cut).map_err(|violation| (0, violation))?;
    let mut commits = 0;
    replay(history, |step| match step {
        Some(event) => world.step(event).or_else(|violation| world.survive(violation)),
        None => {
            commits = world.commits;
            world.finale()
        }
    })?;
    Ok(commits)
}

/// One event after the other, and then the end.
fn replay<E>(history: &[E], mut step: impl FnMut(Option<&E>) -> Result<(), Violation>) -> Outcome {
    let mut reached = 0;
    let result = catch_unwind(AssertUnwindSafe(|| {
        for (index, event) in history.iter().enumerate() {
            reached = index;
            step(Some(event))?;
        }
        reached = history.len();
        step(None)
    }));
    match result {
        Ok(Ok(())) => Ok(()),
        Ok(Err(violation)) => Err((reached, violation)),
        Err(panic) => {
            let detail = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
                .unwrap_or_default();
            Err((reached, Violation { invariant: Invariant::NoPanic, detail }))
        }
    }
}

/// Leaves out whatever the same violation does without, in ever smaller pieces, until nothing more goes.
fn shrink<E: Clone>(
    mut history: Vec<E>,
    mut violation: Violation,
    run: &dyn Fn(&[E]) -> Outcome,
) -> (Vec<E>, Violation) {
    let mut budget = SHRINK_RUNS;
    loop {
        let before = history.len();
        let mut size = (before / 2).max(1);
        loop {
            let mut begin = 0;
            while begin < history.len() {
                if budget == 0 {
                    return (history, violation);
                }
                budget -= 1;
                let end = (begin + size).min(history.len());
                let mut shorter = history.clone();
                shorter.drain(begin..end);
                match run(&shorter) {
                    Err((index, same)) if same.invariant == violation.invariant => {
                        shorter.truncate(index + 1);
                        history = shorter;
                        violation = same;
                    }
                    _ => begin += size,
                }
            }
            if size == 1 {
                break;
            }
            size /= 2;
        }
        if history.len() == before {
            return (history, violation);
        }
    }
}
