//! What a body does, by a few seconds of its accelerations: at rest, or steps that are regular enough to be told. What
//! cannot be told from this stays unknown. Deliberately absent: vehicles, bicycles and fidgeting, which need more than one
//! sensor to be told apart.

use super::Activity;

/// Measurements a second.
pub(super) const RATE: u32 = 25;
/// Measurements that are judged together: five seconds.
pub(super) const COUNT: usize = 125;

/// Standard gravity in metres per second squared (ISO 80000-3).
const GRAVITY: f64 = 9.806_65;

/// Deviations in g: noise of a sensor that lies still, the least of a step, and the least of a running step.
const STILL_MAX: f64 = 0.02;
const STEP_MIN: f64 = 0.08;
const RUN_MIN: f64 = 0.45;

/// Steps a second: slow walking to a sprint, and where walking becomes running.
const CADENCE_MIN: f64 = 1.2;
const CADENCE_MAX: f64 = 3.8;
const RUN_CADENCE_MIN: f64 = 2.1;

/// How alike two stretches a step apart have to be (autocorrelation).
const REGULAR_MIN: f64 = 0.5;

/// Judges the lengths of acceleration vectors in metres per second squared.
pub(super) fn classify(lengths: &[f64]) -> Option<Activity> {
    if lengths.len() < COUNT / 2 {
        return None;
    }
    let count = f64::from(u32::try_from(lengths.len()).unwrap_or(u32::MAX));
    let mean = lengths.iter().sum::<f64>() / count;
    let swings: Vec<f64> = lengths.iter().map(|length| (length - mean) / GRAVITY).collect();
    let energy: f64 = swings.iter().map(|swing| swing * swing).sum();
    let deviation = (energy / count).sqrt();
    if deviation <= STILL_MAX {
        return Some(Activity::Stationary);
    }
    if deviation < STEP_MIN {
        return None;
    }
    let cadence = cadence(&swings, energy)?;
    if deviation >= RUN_MIN && cadence >= RUN_CADENCE_MIN {
        return Some(Activity::Running);
    }
    (deviation < 2.0 * RUN_MIN && cadence < 3.0).then_some(Activity::Walking)
}

/// Steps a second, where they are regular: the shortest distance in time at which the swings repeat.
fn cadence(swings: &[f64], energy: f64) -> Option<f64> {
    let rate = f64::from(RATE);
    let alike = |lag: usize| {
        let pairs = swings.len() - lag;
        let product: f64 = swings.iter().zip(&swings[lag..]).map(|(one, other)| one * other).sum();
        // Fewer pairs bring less.
        let share = f64::from(u32::try_from(pairs).unwrap_or(1))
            / f64::from(u32::try_from(swings.len()).unwrap_or(1));
        product / (energy * share)
    };
    let lags = 2..swings.len() / 2;
    let seconds = |lag: usize| f64::from(u32::try_from(lag).unwrap_or(u32::MAX)) / rate;
    lags.filter(|lag| (CADENCE_MIN..=CADENCE_MAX).contains(&(1.0 / seconds(*lag))))
        .find(|lag| {
            let here = alike(*lag);
            here >= REGULAR_MIN && here >= alike(lag - 1) && here >= alike(lag + 1)
        })
        .map(|lag| 1.0 / seconds(lag))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Swings of so many g, so many times a second, with some noise.
    fn body(swing: f64, frequency: f64, noise: f64) -> Vec<f64> {
        let mut seed = 7_u32;
        (0..COUNT)
            .map(|index| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let random = f64::from(seed >> 16) / 32_768.0 - 1.0;
                let time = f64::from(u32::try_from(index).unwrap()) / f64::from(RATE);
                let wave = (std::f64::consts::TAU * frequency * time).sin();
                GRAVITY * (1.0 + swing * wave + noise * random)
            })
            .collect()
    }

    #[test]
    fn rest_and_regular_steps_are_told_and_nothing_else() {
        for (lengths, expected) in [
            (body(0.0, 1.0, 0.005), Some(Activity::Stationary)),
            (body(0.25, 1.8, 0.03), Some(Activity::Walking)),
            (body(0.3, 1.5, 0.05), Some(Activity::Walking)),
            (body(0.9, 2.6, 0.1), Some(Activity::Running)),
            (body(1.2, 3.0, 0.1), Some(Activity::Running)),
            // A hand that plays with it, a bumpy road, a motor.
            (body(0.0, 1.0, 0.3), None),
            (body(0.05, 1.0, 0.05), None),
            (body(0.3, 9.0, 0.02), None),
            (Vec::new(), None),
        ] {
            assert_eq!(classify(&lengths), expected, "{:?}", lengths.get(..5));
        }
    }
}
