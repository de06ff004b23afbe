//! Limits for bytes per second, as a tree: all > one operation.
//!
//! Each limit is a token bucket. Those who wait at one are served by bytes, not by requests (start-time fair queueing):
//! what an operation does not use the others share, and none gets more by asking for more at a time. Only the first in
//! line sleeps, until its bytes are due; the others sleep until they are first. With nobody waiting nothing runs.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// What an idle limit saves up, in seconds of its rate.
const IDLE_SECONDS: f64 = 0.02;
/// What it saves up while somebody waits and the machine is late in waking him.
const LATE_SECONDS: f64 = 0.25;
/// The least that is handed out at a time, in seconds of the rate, unless less was asked for.
const PIECE_SECONDS: f64 = 0.02;
/// Stands for a limit that is not set.
const UNLIMITED: u64 = u64::MAX;

/// A limit for bytes, below another one or at the top. Cheap to clone; clones are the same limit.
#[derive(Debug, Clone)]
pub struct RateLimit {
    shared: Arc<Node>,
}

#[derive(Debug)]
struct Node {
    parent: Option<RateLimit>,
    /// How far the parent has served this limit, in bytes of its fair order.
    served: AtomicU64,
    /// Bytes per second, to be looked at without a lock; changed only under that of `bucket`.
    rate: AtomicU64,
    bucket: Mutex<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
    /// Where the fair order is: the place of who was served last.
    served: u64,
    waiting: BTreeMap<Place, Arc<Notify>>,
    arrivals: u64,
}

/// Order in which waiters are served: by bytes, then by arrival.
type Place = (u64, u64);

impl Default for RateLimit {
    fn default() -> Self {
        Self::new(None)
    }
}

impl RateLimit {
    /// A limit at the top: bytes per second, 0 to stop, `None` for unlimited.
    #[must_use]
    pub fn new(bytes_per_second: Option<u64>) -> Self {
        Self::make(None, bytes_per_second)
    }

    /// A limit whose bytes also count against this one.
    #[must_use]
    pub fn child(&self, bytes_per_second: Option<u64>) -> Self {
        Self::make(Some(self.clone()), bytes_per_second)
    }

    fn make(parent: Option<Self>, rate: Option<u64>) -> Self {
        let bucket =
            Bucket { tokens: 0.0, at: Instant::now(), served: 0, waiting: BTreeMap::new(), arrivals: 0 };
        Self {
            shared: Arc::new(Node {
                parent,
                served: AtomicU64::new(0),
                rate: AtomicU64::new(rate.unwrap_or(UNLIMITED)),
                bucket: Mutex::new(bucket),
            }),
        }
    }

    /// Applies to waiters at once.
    pub fn set(&self, bytes_per_second: Option<u64>) {
        let mut bucket = self.bucket();
        bucket.settle(self.rate());
        self.shared.rate.store(bytes_per_second.unwrap_or(UNLIMITED), Ordering::Relaxed);
        bucket.waiting.values().for_each(|waiter| waiter.notify_one());
    }

    #[must_use]
    pub fn get(&self) -> Option<u64> {
        Some(self.shared.rate.load(Ordering::Relaxed)).filter(|rate| *rate != UNLIMITED)
    }

    /// Whether this limit or one above it is set.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        self.get().is_some() || self.shared.parent.as_ref().is_some_and(Self::is_limited)
    }

    /// Waits until at least one byte may pass and tells how many may, at most `wanted`. To be followed by
    /// [`Self::give_back`] if not all of them do.
    pub async fn acquire(&self, wanted: usize) -> usize {
        let mut passed = Passed { first: self, count: 0, bytes: wanted };
        // Order among the streams of one operation is that of their arrival.
        let mut served = &AtomicU64::new(0);
        let mut limit = Some(self);
        while let Some(here) = limit {
            let granted = here.pass(passed.bytes, served).await;
            passed.reduce_to(granted);
            passed.count += 1;
            served = &here.shared.served;
            limit = here.shared.parent.as_ref();
        }
        let granted = passed.bytes;
        std::mem::forget(passed);
        granted
    }

    /// Bytes that were granted and will not pass.
    pub fn give_back(&self, bytes: usize) {
        let mut limit = Some(self);
        while let Some(here) = limit {
            here.refund(bytes);
            limit = here.shared.parent.as_ref();
        }
    }

    /// Passes this limit alone; `served` is how far it has served the one who asks.
    async fn pass(&self, wanted: usize, served: &AtomicU64) -> usize {
        if self.get().is_none() || wanted == 0 {
            return wanted;
        }
        let mut turn = self.queue_up(wanted, served);
        loop {
            match turn.look() {
                Ok(granted) => return granted,
                Err(Some(wait)) => {
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        () = turn.waiter.notified() => {}
                    }
                }
                Err(None) => turn.waiter.notified().await,
            }
        }
    }

    fn queue_up<'a>(&'a self, wanted: usize, served: &'a AtomicU64) -> Turn<'a> {
        let mut bucket = self.bucket();
        bucket.settle(self.rate());
        let start = served.load(Ordering::Relaxed).max(bucket.served);
        served.store(start + wanted as u64, Ordering::Relaxed);
        bucket.arrivals += 1;
        let place = (start, bucket.arrivals);
        let waiter = Arc::new(Notify::new());
        bucket.waiting.insert(place, Arc::clone(&waiter));
        Turn { limit: self, place, wanted, granted: 0, served, waiter }
    }

    fn refund(&self, bytes: usize) {
        if bytes > 0 && self.get().is_some() {
            self.bucket().tokens += bytes as f64;
        }
    }

    /// Bytes per second.
    fn rate(&self) -> f64 {
        self.get().map_or(f64::INFINITY, |rate| rate as f64)
    }

    fn bucket(&self) -> MutexGuard<'_, Bucket> {
        self.shared.bucket.lock().expect("no holder of this lock panics")
    }
}

impl Bucket {
    /// Counts what the time since the last look has brought.
    fn settle(&mut self, rate: f64) {
        let now = Instant::now();
        let passed = now.duration_since(self.at).as_secs_f64();
        self.at = now;
        if rate.is_infinite() {
            self.tokens = 0.0;
            return;
        }
        let saved_max = rate * if self.waiting.is_empty() { IDLE_SECONDS } else { LATE_SECONDS };
        self.tokens = (self.tokens + passed * rate).min(saved_max.max(1.0));
    }
}

/// Somebody's place in the line at one limit; left when dropped.
struct Turn<'a> {
    limit: &'a RateLimit,
    place: Place,
    wanted: usize,
    granted: usize,
    served: &'a AtomicU64,
    waiter: Arc<Notify>,
}

impl Turn<'_> {
    /// What may pass now; else how long to wait for that, if it is known.
    fn look(&mut self) -> Result<usize, Option<Duration>> {
        let mut bucket = self.limit.bucket();
        let rate = self.limit.rate();
        if rate.is_infinite() {
            self.granted = self.wanted;
            return Ok(self.granted);
        }
        let is_first = bucket.waiting.first_key_value().is_some_and(|(place, _)| *place == self.place);
        if !is_first || rate == 0.0 {
            return Err(None);
        }
        bucket.settle(rate);
        let due = (self.wanted as f64).min((rate * PIECE_SECONDS).max(1.0));
        if bucket.tokens < due {
            return Err(Some(Duration::from_secs_f64((due - bucket.tokens) / rate)));
        }
        self.granted = (bucket.tokens as usize).min(self.wanted);
        bucket.tokens -= self.granted as f64;
        bucket.served = bucket.served.max(self.place.0);
        Ok(self.granted)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut bucket = self.limit.bucket();
        bucket.settle(self.limit.rate());
        bucket.waiting.remove(&self.place);
        self.served.fetch_sub((self.wanted - self.granted) as u64, Ordering::Relaxed);
        if let Some((_, next)) = bucket.waiting.first_key_value() {
            next.notify_one();
        }
    }
}

/// The limits that were passed so far on the way to the top; they get everything back when the rest is not waited for.
struct Passed<'a> {
    first: &'a RateLimit,
    count: usize,
    bytes: usize,
}

impl Passed<'_> {
    fn reduce_to(&mut self, granted: usize) {
        self.refund(self.bytes - granted);
        self.bytes = granted;
    }

    fn refund(&self, bytes: usize) {
        let mut limit = Some(self.first);
        for _ in 0..self.count {
            let Some(here) = limit else { return };
            here.refund(bytes);
            limit = here.shared.parent.as_ref();
        }
    }
}

impl Drop for Passed<'_> {
    fn drop(&mut self) {
        self.refund(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes `wanted` bytes at a time for ever and counts them.
    fn consume(limit: &RateLimit, wanted: usize) -> Arc<AtomicU64> {
        let taken = Arc::new(AtomicU64::new(0));
        let (limit, count) = (limit.clone(), Arc::clone(&taken));
        tokio::spawn(async move {
            loop {
                let granted = limit.acquire(wanted).await;
                count.fetch_add(granted as u64, Ordering::Relaxed);
            }
        });
        taken
    }

    async fn over(seconds: u64, taken: &[&Arc<AtomicU64>]) -> Vec<f64> {
        let before: Vec<u64> = taken.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        let after = taken.iter().map(|count| count.load(Ordering::Relaxed));
        after.zip(before).map(|(after, before)| (after - before) as f64 / seconds as f64).collect()
    }

    fn assert_near(seen: f64, expected: f64) {
        assert!((seen - expected).abs() <= expected * 0.03, "{seen} is not near {expected}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_brings_what_the_limit_says_slow_or_fast() {
        for rate in [10_000_u64, 1_000_000, 100_000_000] {
            for wanted in [4 << 10, 64 << 10, 1 << 20] {
                let limit = RateLimit::new(Some(rate));
                let taken = consume(&limit, wanted);
                for _ in 0..5 {
                    assert_near(over(1, &[&taken]).await[0], rate as f64);
                }
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_not_used_is_not_saved_up() {
        let limit = RateLimit::new(Some(1_000_000));
        assert!(limit.acquire(1).await > 0);
        tokio::time::sleep(Duration::from_secs(3600)).await;
        let taken = consume(&limit, 64 << 10);
        assert_near(over(1, &[&taken]).await[0], 1_000_000.0);
    }

    #[tokio::test(start_paused = true)]
    async fn operations_share_by_bytes_however_much_they_ask_for_and_on_however_many_streams() {
        let all = RateLimit::new(Some(3_000_000));
        let operations = [all.child(None), all.child(None), all.child(None)];
        let first = consume(&operations[0], 1 << 20);
        let second = consume(&operations[1], 16 << 10);
        let third: Vec<_> = (0..4).map(|_| consume(&operations[2], 64 << 10)).collect();
        let seen = over(10, &[&first, &second, &third[0], &third[1], &third[2], &third[3]]).await;
        assert_near(seen[0], 1_000_000.0);
        assert_near(seen[1], 1_000_000.0);
        assert_near(seen[2..].iter().sum(), 1_000_000.0);
        assert_near(seen[2], 250_000.0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_one_may_not_use_the_others_get() {
        let all = RateLimit::new(Some(3_000_000));
        let slow = consume(&all.child(Some(500_000)), 64 << 10);
        let fast = consume(&all.child(None), 64 << 10);
        let seen = over(10, &[&slow, &fast]).await;
        assert_near(seen[0], 500_000.0);
        assert_near(seen[1], 2_500_000.0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_reaches_those_who_wait() {
        let all = RateLimit::new(Some(0));
        let operation = all.child(Some(1_000));
        let taken = consume(&operation, 1 << 10);
        assert_eq!(over(100, &[&taken]).await, [0.0]);
        all.set(Some(500));
        assert_near(over(10, &[&taken]).await[0], 500.0);
        all.set(None);
        assert_near(over(10, &[&taken]).await[0], 1_000.0);
        operation.set(Some(4_000));
        assert_near(over(10, &[&taken]).await[0], 4_000.0);
        assert!(all.is_limited() == all.get().is_some() && operation.is_limited());
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_or_gives_back_costs_the_others_nothing() {
        let all = RateLimit::new(Some(1_000_000));
        let (hasty, steady, idle) = (all.child(Some(10_000_000)), all.child(None), all.child(None));
        let taken = consume(&steady, 64 << 10);
        tokio::spawn(async move {
            loop {
                let granted = tokio::time::timeout(Duration::from_millis(1), hasty.acquire(1 << 20)).await;
                hasty.give_back(granted.unwrap_or(0));
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        tokio::spawn(async move {
            loop {
                let granted = idle.acquire(16 << 10).await;
                idle.give_back(granted);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        assert_near(over(10, &[&taken]).await[0], 1_000_000.0);
    }
}
