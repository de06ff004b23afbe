//! Histories by seed. `LONGHAUL_SEED=n` runs one, `LONGHAUL_SEEDS=n` that many.

use longhaul_simulation::{Failure, Sabotage, TaskSabotage, check_seed, check_task_seed};

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

fn seeds(usual: u64) -> std::ops::Range<u64> {
    match (number("LONGHAUL_SEED"), number("LONGHAUL_SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, Some(count)) => 0..count,
        (None, None) => 0..usual,
    }
}

fn check_all(seeds: &std::ops::Range<u64>, check: impl Fn(u64) -> Result<(), Box<Failure>> + Sync) {
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    let check = &check;
    let failure = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..count)
            .map(|first| {
                let mut share = seeds.clone().skip(first).step_by(count);
                scope.spawn(move || share.find_map(|seed| check(seed).err()))
            })
            .collect();
        workers.into_iter().filter_map(|worker| worker.join().expect("panics are caught inside")).next()
    });
    if let Some(failure) = failure {
        panic!("{failure}");
    }
}

#[test]
fn every_history_keeps_every_promise() {
    check_all(&seeds(240), |seed| check_seed(seed, Sabotage::None));
}

#[test]
fn every_history_of_tasks_keeps_every_promise() {
    check_all(&seeds(240), |seed| check_task_seed(seed, TaskSabotage::None));
}
