//! Token buckets for bytes, as a tree: all > one operation.
//!
//! A waiter sleeps until its bytes are due or the rate changes; nothing polls.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// How much may pass at once, as a share of what a second allows.
const BURST_SECONDS: f64 = 0.1;

/// A limit for bytes, below another one or at the top. Cheap to clone; clones are the same limit.
#[derive(Debug, Clone)]
pub struct RateLimit {
    shared: Arc<Node>,
}

#[derive(Debug)]
struct Node {
    parent: Option<RateLimit>,
    rate: watch::Sender<Option<u64>>,
    /// Held by the waiter whose turn it is; the others queue in order.
    turn: tokio::sync::Mutex<()>,
    bucket: Mutex<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

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
        let bucket = Mutex::new(Bucket { tokens: 0.0, at: Instant::now() });
        let rate = watch::Sender::new(rate);
        Self { shared: Arc::new(Node { parent, rate, turn: tokio::sync::Mutex::new(()), bucket }) }
    }

    /// Applies to waiters at once.
    pub fn set(&self, bytes_per_second: Option<u64>) {
        self.shared.rate.send_replace(bytes_per_second);
    }

    #[must_use]
    pub fn get(&self) -> Option<u64> {
        *self.shared.rate.borrow()
    }

    /// Whether this limit or one above it is set.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        self.get().is_some() || self.shared.parent.as_ref().is_some_and(Self::is_limited)
    }

    /// Waits until at least one byte may pass and tells how many may, at most `wanted`.
    pub async fn acquire(&self, wanted: usize) -> usize {
        let mut granted = wanted;
        let mut node = Some(self);
        while let Some(limit) = node {
            granted = limit.acquire_here(granted).await;
            node = limit.shared.parent.as_ref();
        }
        granted
    }

    async fn acquire_here(&self, wanted: usize) -> usize {
        if self.get().is_none() {
            return wanted;
        }
        let _turn = self.shared.turn.lock().await;
        let mut rate = self.shared.rate.subscribe();
        loop {
            let now = *rate.borrow_and_update();
            let Some(per_second) = now else { return wanted };
            if per_second == 0 {
                if rate.changed().await.is_err() {
                    return wanted;
                }
                continue;
            }
            match self.take(per_second as f64, wanted) {
                Ok(granted) => return granted,
                Err(wait) => {
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        _ = rate.changed() => {}
                    }
                }
            }
        }
    }

    fn take(&self, per_second: f64, wanted: usize) -> Result<usize, Duration> {
        let mut bucket = self.bucket();
        let now = Instant::now();
        let burst = (per_second * BURST_SECONDS).max(1.0);
        let passed = now.duration_since(bucket.at).as_secs_f64();
        bucket.tokens = (bucket.tokens + passed * per_second).min(burst);
        bucket.at = now;
        let due = (wanted as f64).min((burst / 4.0).max(1.0));
        if bucket.tokens < due {
            return Err(Duration::from_secs_f64((due - bucket.tokens) / per_second));
        }
        let granted = (bucket.tokens.floor() as usize).min(wanted);
        bucket.tokens -= granted as f64;
        Ok(granted)
    }

    fn bucket(&self) -> MutexGuard<'_, Bucket> {
        self.shared.bucket.lock().expect("no holder of this lock panics")
    }
}
