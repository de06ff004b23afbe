//! Tells when the wall clock was set and when the machine has slept, without any daemon: the kernel cancels a timer on
//! the wall clock in both cases (TFD_TIMER_CANCEL_ON_SET of timerfd_create(2)).
//!
//! Deliberately absent: slewing (adjtime(3)), which is no jump.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The last second the kernel's clocks know: the timer is there to be cancelled.
const NEVER: i64 = i64::MAX / 1_000_000_000;
/// Less sleep than this is the difference between two readings of clocks.
const SLEEP_MIN: Duration = Duration::from_millis(100);

/// What happened to the clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockChange {
    /// Microseconds by which the wall clock went ahead of the boot clock.
    pub shift_micros: i64,
    /// How long the machine slept.
    pub slept: Duration,
}

impl ClockChange {
    /// Whether the machine was suspended.
    #[must_use]
    pub fn has_slept(self) -> bool {
        self.slept >= SLEEP_MIN
    }
}

/// Must live inside a tokio runtime.
#[derive(Debug)]
pub struct ClockWatch {
    timer: AsyncFd<OwnedFd>,
    last: Clocks,
}

/// The three clocks in microseconds, as near to one instant as they can be read.
#[derive(Debug, Clone, Copy)]
struct Clocks {
    wall: i64,
    boot: i64,
    /// Stands still in suspend.
    awake: i64,
}

impl Clocks {
    fn read() -> Self {
        let micros = |clock| {
            let now = clock_gettime(clock);
            now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1000)
        };
        Self {
            wall: micros(ClockId::Realtime),
            boot: micros(ClockId::Boottime),
            awake: micros(ClockId::Monotonic),
        }
    }

    fn since(self, earlier: Self) -> ClockChange {
        let shift_micros = (self.wall - self.boot) - (earlier.wall - earlier.boot);
        let slept = (self.boot - self.awake) - (earlier.boot - earlier.awake);
        ClockChange { shift_micros, slept: Duration::from_micros(u64::try_from(slept).unwrap_or_default()) }
    }
}

impl ClockWatch {
    /// # Errors
    /// The system gives no timer.
    pub fn open() -> io::Result<Self> {
        let timer = timerfd_create(TimerfdClockId::Realtime, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        arm(&timer)?;
        // SAFETY: an `OwnedFd` that is never taken out names the same open timer for its whole life.
        let timer = unsafe { AsyncFd::register_with_interest(timer, Interest::READABLE) }?;
        Ok(Self { timer, last: Clocks::read() })
    }

    /// Waits until the wall clock was set or the machine woke up. May be dropped and called again at any point.
    ///
    /// # Errors
    /// The kernel tells no more.
    pub async fn changed(&mut self) -> io::Result<ClockChange> {
        loop {
            let mut ready = self.timer.readable().await?;
            let mut expirations = [0; 8];
            let read = rustix::io::read(self.timer.get_ref(), &mut expirations);
            ready.clear_ready();
            drop(ready);
            match read {
                Err(Errno::AGAIN | Errno::INTR) => {}
                Ok(_) | Err(Errno::CANCELED) => {
                    arm(self.timer.get_ref())?;
                    let now = Clocks::read();
                    let change = now.since(self.last);
                    self.last = now;
                    return Ok(change);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn arm(timer: &OwnedFd) -> io::Result<()> {
    let spec =
        Itimerspec { it_interval: Timespec::default(), it_value: Timespec { tv_sec: NEVER, tv_nsec: 0 } };
    let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
    match timerfd_settime(timer, flags, &spec) {
        // The clock was set since the last look; the timer is armed all the same.
        Ok(_) | Err(Errno::CANCELED) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000_000;
    const NOON: Clocks = Clocks { wall: 12 * HOUR, boot: 5 * HOUR, awake: 4 * HOUR };

    #[test]
    fn setting_the_clock_and_sleeping_are_told_apart() {
        let later = Clocks { wall: 13 * HOUR, boot: 6 * HOUR, awake: 5 * HOUR };
        assert_eq!(later.since(NOON), ClockChange { shift_micros: 0, slept: Duration::ZERO });
        let set = Clocks { wall: 11 * HOUR, ..later };
        assert_eq!(set.since(NOON), ClockChange { shift_micros: -2 * HOUR, slept: Duration::ZERO });
        let slept = Clocks { awake: 4 * HOUR, ..later };
        let change = slept.since(NOON);
        assert!(change.has_slept() && change.shift_micros == 0, "{change:?}");
        // Clocks are read one after the other.
        let jitter = Clocks { awake: later.awake + 3, ..later };
        assert_eq!(jitter.since(NOON).slept, Duration::ZERO);
    }

    #[tokio::test]
    async fn a_clock_that_nobody_sets_is_no_news() {
        let mut watch = ClockWatch::open().unwrap();
        tokio::select! {
            biased;
            change = watch.changed() => panic!("{change:?}"),
            () = tokio::time::sleep(Duration::from_millis(50)) => {}
        }
    }
}
