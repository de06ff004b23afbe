//! Histories by seed. `LONGHAUL_SEED=n` runs one, `LONGHAUL_SEEDS=n` that many.

use longhaul_simulation::{Sabotage, check_seed};

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

#[test]
fn every_history_keeps_every_promise() {
    let seeds = match (number("LONGHAUL_SEED"), number("LONGHAUL_SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, Some(count)) => 0..count,
        (None, None) => 0..240,
    };
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    let failure = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..count)
            .map(|first| {
                let mut share = seeds.clone().skip(first).step_by(count);
                scope.spawn(move || share.find_map(|seed| check_seed(seed, Sabotage::None).err()))
            })
            .collect();
        workers.into_iter().filter_map(|worker| worker.join().expect("panics are caught inside")).next()
    });
    if let Some(failure) = failure {
        panic!("{failure}");
    }
}
