//! The numbers of a running transfer, sampled by whoever watches and never waited for.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use longhaul_contract::Progress;
use tokio::time::Instant;

/// The average reaches back over so many slots of so many milliseconds.
const SLOTS: usize = 8;
const SLOT_MILLIS: u64 = 500;

#[derive(Debug)]
pub(crate) struct Meter {
    received: AtomicU64,
    total: AtomicU64,
    sent: AtomicU64,
    to_send: AtomicU64,
    has_response_changed: AtomicBool,
    has_restarted: AtomicBool,
    speed: Mutex<Speed>,
}

#[derive(Debug)]
struct Speed {
    started: Instant,
    first: Option<u64>,
    slots: [(u64, u64); SLOTS],
}

impl Meter {
    pub(crate) fn new() -> Self {
        Self {
            received: AtomicU64::new(0),
            total: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            to_send: AtomicU64::new(0),
            has_response_changed: AtomicBool::new(false),
            has_restarted: AtomicBool::new(false),
            speed: Mutex::new(Speed::new()),
        }
    }

    pub(crate) fn set_received(&self, bytes: u64) {
        self.received.store(bytes, Ordering::Relaxed);
    }

    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    pub(crate) fn set_total(&self, total: u64) {
        self.total.store(total, Ordering::Relaxed);
    }

    /// Bytes of an upload the server is taken to have, without those that are on their way again.
    pub(crate) fn set_sent(&self, bytes: u64) {
        self.sent.store(bytes, Ordering::Relaxed);
    }

    pub(crate) fn set_to_send(&self, bytes: u64) {
        self.to_send.store(bytes, Ordering::Relaxed);
    }

    pub(crate) fn left(&self, bytes: u64) {
        self.sent.fetch_add(bytes, Ordering::Relaxed);
        self.speed.lock().expect("no holder of this lock panics").note(Instant::now(), bytes);
    }

    pub(crate) fn arrived_response(&self, bytes: u64) {
        self.received.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn upload_restarted(&self) {
        self.has_restarted.store(true, Ordering::Relaxed);
        self.sent.store(0, Ordering::Relaxed);
    }

    pub(crate) fn response_changed(&self) {
        self.has_response_changed.store(true, Ordering::Relaxed);
    }

    pub(crate) fn restarted(&self) {
        self.has_restarted.store(true, Ordering::Relaxed);
        self.received.store(0, Ordering::Relaxed);
        self.total.store(0, Ordering::Relaxed);
    }

    pub(crate) fn arrived(&self, bytes: u64) {
        self.received.fetch_add(bytes, Ordering::Relaxed);
        self.speed.lock().expect("no holder of this lock panics").note(Instant::now(), bytes);
    }

    /// Bytes per second of the last seconds.
    pub(crate) fn bytes_per_second(&self) -> u64 {
        self.speed.lock().expect("no holder of this lock panics").average(Instant::now())
    }

    pub(crate) fn progress(&self) -> Progress {
        let received = self.received.load(Ordering::Relaxed);
        let total = self.total.load(Ordering::Relaxed);
        let (sent, to_send) = (self.sent.load(Ordering::Relaxed), self.to_send.load(Ordering::Relaxed));
        // A part that is sent again was counted before.
        let sent = sent.min(to_send);
        let bytes_per_second = self.bytes_per_second();
        let left = if to_send > 0 { to_send.saturating_sub(sent) } else { total.saturating_sub(received) };
        let seconds_left = ((total > 0 || to_send > 0) && bytes_per_second > 0)
            .then(|| left.div_ceil(bytes_per_second.max(1)));
        Progress {
            bytes_received: received,
            total_bytes_to_receive: total,
            bytes_sent: sent,
            total_bytes_to_send: to_send,
            has_response_changed: self.has_response_changed.load(Ordering::Relaxed),
            has_restarted: self.has_restarted.load(Ordering::Relaxed),
            bytes_per_second,
            seconds_left,
        }
    }
}

impl Speed {
    fn new() -> Self {
        Self { started: Instant::now(), first: None, slots: [(u64::MAX, 0); SLOTS] }
    }

    fn slot_at(&self, now: Instant) -> u64 {
        let millis = now.duration_since(self.started).as_millis();
        u64::try_from(millis).unwrap_or(u64::MAX) / SLOT_MILLIS
    }

    fn note(&mut self, now: Instant, bytes: u64) {
        let number = self.slot_at(now);
        self.first.get_or_insert(number);
        let slot = &mut self.slots[(number % SLOTS as u64) as usize];
        if slot.0 == number {
            slot.1 += bytes;
        } else {
            *slot = (number, bytes);
        }
    }

    fn average(&self, now: Instant) -> u64 {
        let number = self.slot_at(now);
        let Some(first) = self.first else { return 0 };
        let oldest = (number + 1).saturating_sub(SLOTS as u64);
        let bytes: u64 =
            self.slots.iter().filter(|(at, _)| (oldest..=number).contains(at)).map(|(_, bytes)| bytes).sum();
        let since = oldest.max(first) * SLOT_MILLIS;
        let passed = now.duration_since(self.started).as_millis();
        let millis = u64::try_from(passed).unwrap_or(u64::MAX).saturating_sub(since);
        bytes.saturating_mul(1000) / millis.max(SLOT_MILLIS)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_average_follows_the_last_seconds() {
        let mut speed = Speed::new();
        let at = |millis| speed.started + Duration::from_millis(millis);
        let (start, later, much_later) = (at(0), at(4_000), at(60_000));
        assert_eq!(speed.average(start), 0);
        for tenth in 0..40 {
            speed.note(start + Duration::from_millis(tenth * 100), 100_000);
        }
        let average = speed.average(later);
        assert!((900_000..=1_100_000).contains(&average), "{average}");
        assert_eq!(speed.average(much_later), 0);
    }
}
