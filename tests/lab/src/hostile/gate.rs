//! A door that opens once.

use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// Holds a script until the test opens it. Clones are the same gate.
#[derive(Debug, Clone, Default)]
pub struct Gate {
    inner: Arc<(Mutex<bool>, Condvar)>,
}

impl Gate {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    pub fn open(&self) {
        *self.inner.0.lock().expect("a flag cannot break") = true;
        self.inner.1.notify_all();
    }

    #[must_use]
    pub fn is_open(&self) -> bool {
        *self.inner.0.lock().expect("a flag cannot break")
    }

    /// Waits until the gate is open or `time` is over; tells whether it is open.
    pub fn wait_for(&self, time: Duration) -> bool {
        let end = Instant::now() + time;
        let mut is_open = self.inner.0.lock().expect("a flag cannot break");
        while !*is_open {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            is_open = self.inner.1.wait_timeout(is_open, left).expect("a flag cannot break").0;
        }
        true
    }
}
