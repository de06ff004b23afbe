//! Histories by seed. `LONGHAUL_SEED=n` runs one, `LONGHAUL_SEEDS=n` that many.

use std::sync::atomic::{AtomicU64, Ordering};

use longhaul_simulation::{
    Failure, Sabotage, TaskSabotage, check_every_commit, check_every_task_commit, check_seed, check_task_seed,
};

/// Each takes as many runs as it has commits, times four.
const SEEDS_CUT: u64 = 3;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

/// Checks a share of the seeds on each processor; panics with the first broken promise.
fn all(seeds: std::ops::Range<u64>, check: impl Fn(u64) -> Result<(), Box<Failure>> + Sync) {
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    let failure = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..count)
            .map(|first| {
                let mut share = seeds.clone().skip(first).step_by(count);
                let check = &check;
                scope.spawn(move || share.find_map(|seed| check(seed).err()))
            })
            .collect();
        workers.into_iter().filter_map(|worker| worker.join().expect("panics are caught inside")).next()
    });
    if let Some(failure) = failure {
        panic!("{failure}");
    }
}

/// So many by default, or as the environment says.
fn seeds(default: u64) -> std::ops::Range<u64> {
    match (number("LONGHAUL_SEED"), number("LONGHAUL_SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, count) => 0..count.unwrap_or(default),
    }
}

#[test]
fn every_history_keeps_every_promise() {
    all(seeds(240), |seed| check_seed(seed, Sabotage::None));
}

#[test]
fn a_power_cut_at_any_commit_breaks_no_promise() {
    let commits = AtomicU64::new(0);
    all(seeds(SEEDS_CUT), |seed| {
        let count = check_every_commit(seed, Sabotage::None)?;
        commits.fetch_add(count, Ordering::Relaxed);
        Ok(())
    });
    println!("{} commits, the power cut in four ways at each", commits.into_inner());
}

#[test]
fn every_history_of_tasks_keeps_every_promise() {
    all(seeds(240), |seed| check_task_seed(seed, TaskSabotage::None));
}

#[test]
fn a_power_cut_at_any_commit_of_tasks_breaks_no_promise() {
    let commits = AtomicU64::new(0);
    all(seeds(SEEDS_CUT), |seed| {
        let count = check_every_task_commit(seed)?;
        commits.fetch_add(count, Ordering::Relaxed);
        Ok(())
    });
    println!("{} commits of tasks, the power cut in two ways at each", commits.into_inner());
}
