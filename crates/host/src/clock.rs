//! The two clocks, and an alarm on both that costs nothing while it waits.

use std::io;
use std::os::fd::OwnedFd;

use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

mod changes;

pub use changes::{ClockChange, ClockWatch};

/// Microseconds of CLOCK_BOOTTIME: monotonic, and it goes on during suspend.
#[must_use]
pub fn boot_micros() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    seconds.saturating_mul(1_000_000) + u64::try_from(now.tv_nsec).unwrap_or_default() / 1000
}

/// One-shot timers on CLOCK_BOOTTIME and CLOCK_REALTIME (timerfd_create(2)). Must live inside a tokio runtime.
#[derive(Debug)]
pub struct Alarm {
    boot: Timer,
    wall: Timer,
}

#[derive(Debug)]
struct Timer {
    fd: AsyncFd<OwnedFd>,
    /// What it is set to, so that setting the same again is free.
    at_micros: Option<u64>,
    flags: TimerfdTimerFlags,
}

impl Alarm {
    /// # Errors
    /// The system gives no timer.
    pub fn new() -> io::Result<Self> {
        let timer = |clock, flags| -> io::Result<Timer> {
            let fd = timerfd_create(clock, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
            // SAFETY: an `OwnedFd` that is never taken out names the same open timer for its whole life.
            let fd = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?;
            Ok(Timer { fd, at_micros: None, flags })
        };
        Ok(Self {
            boot: timer(TimerfdClockId::Boottime, TimerfdTimerFlags::ABSTIME)?,
            wall: timer(
                TimerfdClockId::Realtime,
                TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET,
            )?,
        })
    }

    /// Rings at `boot` (microseconds of [`boot_micros`]) and at `wall` (microseconds since the Unix epoch), whichever
    /// comes first; `None` is never. Instants that are over ring at once.
    ///
    /// # Errors
    /// The timer refuses the instant.
    pub fn set(&mut self, boot: Option<u64>, wall: Option<i64>) -> io::Result<()> {
        self.boot.set(boot)?;
        self.wall.set(wall.map(|micros| u64::try_from(micros).unwrap_or_default()))
    }

    /// Waits until an instant is reached, or the wall clock was set while one was waited for on it. The timer that
    /// rang is off afterwards.
    pub async fn rang(&mut self) {
        tokio::select! {
            () = self.boot.rang() => {}
            () = self.wall.rang() => {}
        }
    }
}

impl Timer {
    fn set(&mut self, at_micros: Option<u64>) -> io::Result<()> {
        if self.at_micros == at_micros {
            return Ok(());
        }
        // A zero time would switch the timer off, so "at once" is one microsecond.
        let mut spec = never();
        if let Some(micros) = at_micros.map(|micros| micros.max(1)) {
            spec.it_value = Timespec {
                tv_sec: i64::try_from(micros / 1_000_000).unwrap_or(i64::MAX),
                tv_nsec: i64::try_from(micros % 1_000_000 * 1000).unwrap_or_default(),
            };
        }
        match timerfd_settime(&self.fd, self.flags, &spec) {
            // The clock was set since the last look; the timer is armed all the same (timerfd_create(2)).
            Ok(_) | Err(rustix::io::Errno::CANCELED) => {}
            Err(error) => return Err(error.into()),
        }
        self.at_micros = at_micros;
        Ok(())
    }

    async fn rang(&mut self) {
        if self.at_micros.is_none() {
            return std::future::pending().await;
        }
        loop {
            let Ok(mut ready) = self.fd.readable().await else {
                return std::future::pending().await;
            };
            let mut expirations = [0; 8];
            match rustix::io::read(self.fd.get_ref(), &mut expirations) {
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => ready.clear_ready(),
                // Expired, or ECANCELED: the clock was set, and the timer is still armed for the old instant.
                read => {
                    ready.clear_ready();
                    drop(ready);
                    if read.is_err() {
                        // A timer that was armed can be switched off.
                        let _ = timerfd_settime(&self.fd, self.flags, &never());
                    }
                    self.at_micros = None;
                    return;
                }
            }
        }
    }
}

/// Switches a timer off.
fn never() -> Itimerspec {
    Itimerspec { it_interval: Timespec::default(), it_value: Timespec::default() }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn wall_micros() -> i64 {
        let now = clock_gettime(ClockId::Realtime);
        now.tv_sec * 1_000_000 + now.tv_nsec / 1000
    }

    #[tokio::test]
    async fn it_rings_on_either_clock() {
        let mut alarm = Alarm::new().unwrap();
        let began = boot_micros();
        alarm.set(Some(began + 20_000), Some(wall_micros() + 60_000_000)).unwrap();
        alarm.rang().await;
        assert!(boot_micros() >= began + 20_000);
        alarm.set(None, Some(wall_micros() + 20_000)).unwrap();
        alarm.rang().await;
        assert!(boot_micros() >= began + 40_000);
    }

    #[tokio::test]
    async fn an_instant_in_the_past_rings_at_once_and_none_never() {
        let mut alarm = Alarm::new().unwrap();
        alarm.set(Some(0), None).unwrap();
        alarm.rang().await;
        alarm.set(Some(boot_micros() + 60_000_000), None).unwrap();
        alarm.set(None, None).unwrap();
        tokio::select! {
            biased;
            () = alarm.rang() => panic!("rang without being set"),
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
        }
    }
}
