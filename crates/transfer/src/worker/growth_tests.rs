use super::*;

const STEP: Duration = Duration::from_millis(50);
const PLENTY: u64 = 10 << 30;

#[derive(Clone, Copy, PartialEq)]
enum Path {
    Clean,
    Lossy,
    /// Queues, and loses what the queue cannot take.
    Full,
}

/// A download of 20 seconds, as its growth sees and steers it.
struct Simulation {
    growth: Growth,
    /// When each of the connections began.
    connections: Vec<Instant>,
    most: usize,
    renewals: usize,
    received: f64,
}

/// Runs a download whose rate follows from the ages of its connections and its own age, in seconds.
fn simulate(max: usize, left: u64, path: Path, rate: impl Fn(&[f64], f64) -> f64) -> Simulation {
    let start = Instant::now();
    let mut now = start;
    let growth = Growth::new(Most { clean: max, lossy: 2 * max }, false, start, 0);
    let mut simulation = Simulation { growth, connections: vec![start], most: 1, renewals: 0, received: 0.0 };
    let mut out_of_order = 0;
    for _ in 0..400 {
        now += STEP;
        let ages: Vec<f64> =
            simulation.connections.iter().map(|began| (now - *began).as_secs_f64()).collect();
        simulation.received += rate(&ages, (now - start).as_secs_f64()) * STEP.as_secs_f64();
        out_of_order += u64::from(path != Path::Clean);
        if simulation.growth.due().is_none_or(|due| now < due) {
            continue;
        }
        let is_queueing = path == Path::Full;
        let sight = Sight { now, received: simulation.received as u64, left, out_of_order, is_queueing };
        let advice = simulation.growth.advise(sight);
        simulation.follow(advice, now);
    }
    simulation
}

impl Simulation {
    fn follow(&mut self, advice: Advice, now: Instant) {
        match advice {
            Advice::Nothing => {}
            Advice::Add(count) => self.connections.extend((0..count).map(|_| now)),
            Advice::GiveUp(count) => self.connections.truncate(self.connections.len() - count),
            Advice::Renew => {
                let oldest = self.connections.iter_mut().min().unwrap();
                *oldest = now;
                self.renewals += 1;
                self.growth.has_renewed(now);
            }
        }
        self.most = self.most.max(self.connections.len());
        assert!(self.connections.len() <= self.growth.allowed());
    }

    fn ends_with(&self) -> (usize, usize) {
        (self.connections.len(), self.most)
    }
}

fn settle(max: usize, total_rate: impl Fn(usize) -> f64, left: u64) -> (usize, usize) {
    simulate(max, left, Path::Clean, |ages, _| total_rate(ages.len())).ends_with()
}

#[test]
fn a_line_that_is_full_keeps_one_connection() {
    assert_eq!(settle(8, |_| 10e6, PLENTY), (1, 2));
    let lossy = simulate(8, PLENTY, Path::Lossy, |_, _| 10e6);
    assert_eq!((lossy.ends_with(), lossy.renewals), ((16, 16), 0));
}

#[test]
fn where_a_queue_stands_nothing_is_to_be_gained() {
    let full = simulate(8, PLENTY, Path::Full, |ages, _| 1e6 * ages.len() as f64);
    assert_eq!((full.ends_with(), full.renewals), ((1, 1), 0));
}

#[test]
fn a_line_that_has_been_full_is_full_at_the_same_rate() {
    let start = Instant::now();
    let mut growth = Growth::new(Most { clean: 8, lossy: 16 }, false, start, 0);
    let mut advise = |tenth: u32, bytes: u64, is_queueing| {
        let now = start + Duration::from_millis(100) * tenth;
        growth.advise(Sight { now, received: bytes, left: PLENTY, out_of_order: 0, is_queueing })
    };
    for tenth in 0..100 {
        let bytes = u64::from(tenth) << 20;
        assert_eq!(advise(tenth, bytes, (1..15).contains(&tenth)), Advice::Nothing, "{tenth}");
    }
    let slower = (100..120).map(|tenth| advise(tenth, (100 << 20) + u64::from(tenth - 100) * 800_000, false));
    assert!(slower.into_iter().any(|advice| advice == Advice::Add(1)));
}

#[test]
fn a_fast_machine_is_not_asked_twice() {
    assert_eq!(settle(8, |_| 500e6, PLENTY), (1, 1));
    assert_eq!(simulate(8, PLENTY, Path::Lossy, |_, _| 500e6).ends_with(), (1, 1));
}

#[test]
fn long_lines_get_all_that_help() {
    assert_eq!(settle(8, |count| 1e6 * count as f64, PLENTY), (8, 8));
    assert_eq!(settle(6, |count| 1e6 * count as f64, PLENTY), (6, 6));
    assert_eq!(settle(16, |count| 1e6 * (count as f64).min(4.0), PLENTY), (4, 8));
}

#[test]
fn lossy_lines_get_all_at_once_and_young_connections() {
    let line = |ages: &[f64], _| {
        let sum: f64 = ages.iter().map(|age| if *age < 1.5 { 4e6 } else { 1.5e6 }).sum();
        sum.min(25e6)
    };
    let lossy = simulate(8, PLENTY, Path::Lossy, line);
    assert_eq!(lossy.ends_with(), (16, 16));
    let share = lossy.received / 20.0 / 25e6;
    assert!(share > 0.8, "{share} of the line");
    let clean = simulate(8, PLENTY, Path::Clean, line);
    assert_eq!((clean.ends_with(), clean.renewals), ((8, 8), 0));
}

#[test]
fn renewals_that_do_not_help_come_to_an_end() {
    let fallen = |ages: &[f64], time: f64| ages.len() as f64 * if time < 4.0 { 1e6 } else { 0.4e6 };
    let lossy = simulate(8, PLENTY, Path::Lossy, fallen);
    assert_eq!((lossy.ends_with(), lossy.renewals), ((16, 16), FUTILE_MAX as usize));
}

#[test]
fn what_is_nearly_there_is_left_alone() {
    assert_eq!(settle(8, |_| 10e6, 1 << 20), (1, 1));
    assert_eq!(settle(1, |_| 10e6, PLENTY), (1, 1));
}

#[test]
fn a_server_that_minds_is_not_asked_again() {
    let start = Instant::now();
    let mut growth = Growth::new(Most { clean: 8, lossy: 16 }, true, start, 0);
    growth.close(1);
    assert_eq!((growth.due(), growth.allowed()), (None, 1));
    let now = start + Duration::from_secs(100);
    let sight = Sight { now, received: 1 << 20, left: PLENTY, out_of_order: 1, is_queueing: false };
    assert_eq!(growth.advise(sight), Advice::Nothing);
}
