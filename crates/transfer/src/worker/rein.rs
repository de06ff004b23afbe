//! What ties a crew and one of its flows: the crew sees how fast the flow is and may call it back.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::http::path::Path;

/// Rates reach back no further than this.
const MEMORY: Duration = Duration::from_secs(2);

/// Cheap to clone; clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rein {
    /// Asks the flow to end soon; what came is written.
    pub(crate) recall: CancellationToken,
    seen: Arc<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    received: AtomicU64,
    out_of_order: AtomicU32,
    /// What the connection had seen when this flow began.
    out_of_order_before: OnceLock<u32>,
    round_trip_micros: AtomicU32,
    is_queueing: AtomicBool,
}

impl Rein {
    pub(crate) fn arrived(&self, bytes: u64) {
        self.seen.received.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn received(&self) -> u64 {
        self.seen.received.load(Ordering::Relaxed)
    }

    /// `gap` is the longest time since the last call in which nothing came.
    pub(crate) fn note_path(&self, path: Path, gap: Duration) {
        let before = *self.seen.out_of_order_before.get_or_init(|| path.out_of_order);
        self.seen.out_of_order.store(path.out_of_order.saturating_sub(before), Ordering::Relaxed);
        let micros = u32::try_from(path.round_trip.as_micros()).unwrap_or(u32::MAX);
        self.seen.round_trip_micros.store(micros, Ordering::Relaxed);
        self.seen.is_queueing.store(path.is_queueing(gap), Ordering::Relaxed);
    }

    /// Packets that came after a missing one, since this flow began: connections are used again.
    pub(crate) fn out_of_order(&self) -> u32 {
        self.seen.out_of_order.load(Ordering::Relaxed)
    }

    /// What comes waits in a queue on its way: the line is full.
    pub(crate) fn is_queueing(&self) -> bool {
        self.seen.is_queueing.load(Ordering::Relaxed)
    }

    /// `None` where it is not known.
    pub(crate) fn round_trip(&self) -> Option<Duration> {
        let micros = self.seen.round_trip_micros.load(Ordering::Relaxed);
        (micros > 0).then(|| Duration::from_micros(micros.into()))
    }
}

/// A count over the last moments, to tell its rate.
#[derive(Debug)]
pub(crate) struct Pace {
    samples: VecDeque<(Instant, u64)>,
}

impl Pace {
    pub(crate) fn new(now: Instant, count: u64) -> Self {
        Self { samples: VecDeque::from([(now, count)]) }
    }

    pub(crate) fn note(&mut self, now: Instant, count: u64) {
        self.samples.push_back((now, count));
        while self.samples.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= MEMORY) {
            self.samples.pop_front();
        }
    }

    /// Units per second over the last `span`, or over as much of it as is known.
    pub(crate) fn over(&self, span: Duration) -> f64 {
        let Some((now, count)) = self.samples.back().copied() else { return 0.0 };
        let first = self
            .samples
            .iter()
            .rev()
            .find(|(at, _)| now.duration_since(*at) >= span)
            .or_else(|| self.samples.front());
        let Some((since, before)) = first.copied() else { return 0.0 };
        let seconds = now.duration_since(since).as_secs_f64();
        if seconds > 0.0 { count.saturating_sub(before) as f64 / seconds } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_is_that_of_the_last_moments() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut pace = Pace::new(start, 500);
        assert_eq!(pace.over(Duration::from_secs(1)), 0.0);
        for tenth in 1..=100 {
            pace.note(at(tenth * 100), 500 + tenth * if tenth <= 90 { 1_000 } else { 0 });
        }
        assert!(pace.samples.len() <= 22);
        let mut pace = Pace::new(start, 500);
        pace.note(at(100), 1_500);
        assert_eq!(pace.over(Duration::from_secs(1)), 10_000.0);
        pace.note(at(1_100), 1_500);
        assert_eq!(pace.over(Duration::from_secs(1)), 0.0);
        assert!((pace.over(Duration::from_millis(1_100)) - 1_000.0 / 1.1).abs() < 1.0);
    }
}
