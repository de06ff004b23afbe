//! The process that looks after one instance: starts it, passes on what the service orders, reaps all that descends from
//! it, and ends when nothing is left. When the service goes away it kills everything.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::process::{Pid, Signal};

use super::descend;
use super::fork;
use super::spaces::{Held, OuterProc};
use super::tree::{self, Reaped, Status};
use crate::ended::{Outcome, Usage};
use crate::enforcement::Enforcement;
use crate::launch::Leftovers;
use crate::wire::{self, Descent, Failure, Inbox, Order, Report, Stage};

/// The file in the run folder that names the reason of a cancellation.
pub(crate) const REASON_FILE: &str = "cancel-reason";
const REASON_FILE_NEW: &str = ".cancel-reason.new";

/// After a kill: how soon to look for what was forked meanwhile, first and at most.
const SWEEP_FIRST: Duration = Duration::from_millis(5);
const SWEEP_MAX: Duration = Duration::from_millis(200);
/// How long a killed process may take before the instance is given up without it.
const PATIENCE: Duration = Duration::from_secs(3);

/// What the service handed over for one instance.
pub(super) struct Channels {
    control: UnixStream,
    pub(super) input: OwnedFd,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
    pub(super) run_folder: OwnedFd,
    pub(super) cgroup: Option<OwnedFd>,
}

impl Channels {
    pub(super) fn from_descriptors(descriptors: Vec<OwnedFd>) -> Option<Self> {
        let mut descriptors = descriptors.into_iter();
        Some(Self {
            control: descriptors.next()?.into(),
            input: descriptors.next()?,
            stdout: descriptors.next()?,
            stderr: descriptors.next()?,
            run_folder: descriptors.next()?,
            cgroup: descriptors.next(),
        })
    }
}

/// Tells the service that there could be no supervisor.
pub(super) fn refuse(channels: &Channels, error: &io::Error) {
    let _ = wire::send(&channels.control, &failed(Stage::Fork, error));
}

fn failed(stage: Stage, error: &io::Error) -> Report {
    let error_number = error.raw_os_error().unwrap_or_default();
    Report::Failed(Failure { stage, error: error_number, detail: error.to_string() })
}

/// Never returns: the life of the supervisor, from its fork to its end.
pub(super) fn run(channels: Channels, held: &Held) -> ! {
    super::name("longhaul-task");
    let code = match supervise(channels, held) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("longhaul: the supervisor of a task has failed: {error}");
            1
        }
    };
    // SAFETY: ends this process without running anything else of the launcher it was forked from.
    unsafe { libc::_exit(code) }
}

fn supervise(channels: Channels, held: &Held) -> io::Result<()> {
    let outer = held.has_processes().then(OuterProc::open).transpose()?;
    if let Err(error) = held.furnish() {
        return wire::send(&channels.control, &failed(Stage::Fork, &error));
    }
    rustix::process::set_child_subreaper(Pid::from_raw(1))?;
    let children = fork::child_signals()?;
    let mut inbox = Inbox::default();
    let task = loop {
        match inbox.next::<Order>()? {
            Some(Order::Run(task)) => break task,
            Some(Order::Cancel { .. } | Order::Kill | Order::Leftovers(_)) => return Ok(()),
            None if wire::receive(&channels.control, &mut inbox)? => {}
            None => return Ok(()),
        }
    };
    let descending = match descend::begin(&task, &channels, held) {
        Ok(descending) => descending,
        Err(error) => return wire::send(&channels.control, &failed(Stage::Fork, &error)),
    };
    let Channels { control, input, stdout, stderr, run_folder, cgroup } = channels;
    // The pipes are the task's alone: their end is the end of its tree.
    drop((input, stdout, stderr));
    let pid = match &outer {
        Some(outer) => outer.number(&descending.process)?,
        None => descending.child.as_raw_nonzero().get().unsigned_abs(),
    };
    let mut watch = Watch {
        control,
        inbox,
        children,
        run_folder,
        cgroup,
        leftovers: task.leftovers,
        main: descending.child,
        start: Start::Descending { channel: descending.channel, inbox: Inbox::default(), confined: None },
        pid,
        ending: Ending::No,
        outcome: None,
        is_killed: false,
        leftovers_killed: 0,
    };
    let enforcement = descend::enforcement(&task, held);
    watch.follow(&enforcement)
}

/// How far the child is on its way to the program.
enum Start {
    Descending { channel: UnixStream, inbox: Inbox, confined: Option<Enforcement> },
    Done,
}

#[derive(Clone, Copy)]
enum Ending {
    No,
    /// Asked to end; killed at that instant.
    Asked {
        deadline: Instant,
    },
    /// Killing until nothing is left.
    Killing {
        since: Instant,
        next: Instant,
        interval: Duration,
    },
}

struct Watch {
    control: UnixStream,
    inbox: Inbox,
    children: OwnedFd,
    run_folder: OwnedFd,
    cgroup: Option<OwnedFd>,
    leftovers: Leftovers,
    main: Pid,
    start: Start,
    pid: u32,
    ending: Ending,
    outcome: Option<Outcome>,
    is_killed: bool,
    leftovers_killed: u32,
}

impl Watch {
    fn follow(&mut self, enforcement: &Enforcement) -> io::Result<()> {
        let mut is_open = true;
        loop {
            let ready = self.wait(is_open)?;
            // First how the start went, then how it ended: both may have come at once. A child that has ended has said all.
            let mut is_heard = ready.descent || ready.children;
            while is_heard && matches!(self.start, Start::Descending { .. }) {
                if !self.hear_child(enforcement)? {
                    return Ok(());
                }
                is_heard = ready.children;
            }
            if ready.children {
                fork::drain(&self.children)?;
            }
            if ready.control {
                is_open = self.obey()?;
                if !is_open {
                    self.begin_killing();
                }
            }
            if self.reap()? {
                return self.report_end(0);
            }
            if let Some(survivors) = self.press()? {
                return self.report_end(survivors);
            }
        }
    }

    fn wait(&self, is_open: bool) -> io::Result<Ready> {
        let timeout = self.next_step().map(|at| {
            let left = at.saturating_duration_since(Instant::now());
            // Rounded up: the kernel's clock is not to wake us a moment too early, again and again.
            Timespec {
                tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            }
        });
        let mut poll = vec![PollFd::new(&self.children, PollFlags::IN)];
        let listening = if is_open { PollFlags::IN } else { PollFlags::empty() };
        // A socket whose other end is gone would be ready for ever.
        let control = if is_open { self.control.as_fd() } else { self.children.as_fd() };
        poll.push(PollFd::from_borrowed_fd(control, listening));
        if let Start::Descending { channel, .. } = &self.start {
            poll.push(PollFd::new(channel, PollFlags::IN));
        }
        match rustix::event::poll(&mut poll, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let is_ready = |index: usize| poll.get(index).is_some_and(|entry| !entry.revents().is_empty());
        Ok(Ready { children: is_ready(0), control: is_open && is_ready(1), descent: is_ready(2) })
    }

    fn next_step(&self) -> Option<Instant> {
        match self.ending {
            Ending::No => None,
            Ending::Asked { deadline } => Some(deadline),
            Ending::Killing { next, .. } => Some(next),
        }
    }

    /// What the child says on its way, and the end of the channel: it has become the program. `false`: it never will.
    fn hear_child(&mut self, enforcement: &Enforcement) -> io::Result<bool> {
        let Start::Descending { channel, inbox, confined } = &mut self.start else { return Ok(true) };
        if wire::receive(&*channel, inbox)? {
            match inbox.next::<Descent>()? {
                Some(Descent::Confined(full)) => *confined = Some(full),
                Some(Descent::Failed(failure)) => {
                    wire::send(&self.control, &Report::Failed(failure))?;
                    return Ok(false);
                }
                None => {}
            }
            return Ok(true);
        }
        let enforcement = confined.take().unwrap_or_else(|| enforcement.clone());
        self.start = Start::Done;
        // Whether anybody hears it shows when the control socket is read.
        let _ = wire::send(&self.control, &Report::Started { pid: self.pid, enforcement });
        Ok(true)
    }

    /// Carries out what the service orders; `false` when it is gone.
    fn obey(&mut self) -> io::Result<bool> {
        let is_open = wire::receive(&self.control, &mut self.inbox).unwrap_or(false);
        while let Some(order) = self.inbox.next::<Order>()? {
            match order {
                Order::Run(_) => {}
                Order::Kill => self.begin_killing(),
                Order::Leftovers(leftovers) => self.leftovers = leftovers,
                Order::Cancel { reason, grace } => self.ask_to_end(&reason, grace),
            }
        }
        Ok(is_open)
    }

    fn ask_to_end(&mut self, reason: &str, grace: Duration) {
        let deadline = Instant::now() + grace;
        match self.ending {
            Ending::No => {
                // Without the file the program still gets its signal.
                let _ = write_reason(&self.run_folder, reason);
                self.ending = Ending::Asked { deadline };
                self.signal(Signal::TERM);
                // One that is stopped would not hear it.
                self.signal(Signal::CONT);
            }
            // The first reason stays; the earlier instant holds.
            Ending::Asked { deadline: earlier } => {
                self.ending = Ending::Asked { deadline: earlier.min(deadline) }
            }
            Ending::Killing { .. } => {}
        }
    }

    /// To the program's group of processes; once the program has ended, to all that it left.
    fn signal(&self, signal: Signal) {
        let _ = match self.outcome {
            None => rustix::process::kill_process_group(self.main, signal).map_err(io::Error::from),
            Some(_) => tree::signal_all(signal),
        };
    }

    fn begin_killing(&mut self) {
        if !matches!(self.ending, Ending::Killing { .. }) {
            let now = Instant::now();
            self.is_killed |= self.outcome.is_none();
            self.ending = Ending::Killing { since: now, next: now, interval: SWEEP_FIRST };
        }
    }

    /// Takes the ended children; `true` when there is none left.
    fn reap(&mut self) -> io::Result<bool> {
        loop {
            match tree::reap()? {
                Reaped::NoChildren => return Ok(true),
                Reaped::NoneYet => break,
                Reaped::Child { pid, status } if pid == self.main && self.outcome.is_none() => {
                    self.outcome = Some(self.judge(status));
                    self.catch_up()?;
                }
                Reaped::Child { .. } => {}
            }
        }
        let is_to_be_cleared = match (&self.outcome, self.leftovers) {
            (None, _) | (Some(_), Leftovers::Await) => false,
            (Some(_), Leftovers::Kill) => true,
            (Some(outcome), Leftovers::AwaitAfterSuccess) => *outcome != Outcome::Exited { code: 0 },
        };
        if is_to_be_cleared && !matches!(self.ending, Ending::Killing { .. }) {
            let now = Instant::now();
            self.ending = Ending::Killing { since: now, next: now, interval: SWEEP_FIRST };
        }
        Ok(false)
    }

    /// An order that was given before the program ended holds for its end, also where the end is found first.
    fn catch_up(&mut self) -> io::Result<()> {
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        loop {
            let mut poll = [PollFd::new(&self.control, PollFlags::IN)];
            match rustix::event::poll(&mut poll, Some(&at_once)) {
                Ok(0) => return Ok(()),
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            if !self.obey()? {
                self.begin_killing();
                return Ok(());
            }
        }
    }

    fn judge(&self, status: Status) -> Outcome {
        match status {
            Status::Exited(code) => Outcome::Exited { code },
            Status::Signaled { signal, .. } if self.is_killed && signal == libc::SIGKILL => Outcome::Killed,
            Status::Signaled { signal, core_dumped } => Outcome::Signaled { signal, core_dumped },
        }
    }

    /// Takes the next step towards the end, if its time has come. `Some`: that many processes cannot be killed.
    fn press(&mut self) -> io::Result<Option<u32>> {
        let now = Instant::now();
        match self.ending {
            Ending::Asked { deadline } if now >= deadline => self.begin_killing(),
            _ => {}
        }
        let Ending::Killing { since, next, interval } = self.ending else { return Ok(None) };
        if now < next {
            return Ok(None);
        }
        let found = self.kill_tree()?;
        if self.outcome.is_some() {
            self.leftovers_killed = self.leftovers_killed.max(found);
        }
        if now.duration_since(since) > PATIENCE {
            return Ok(Some(found));
        }
        self.ending =
            Ending::Killing { since, next: now + interval, interval: (interval * 2).min(SWEEP_MAX) };
        Ok(None)
    }

    fn kill_tree(&self) -> io::Result<u32> {
        let found = tree::kill_all()?;
        if let Some(cgroup) = &self.cgroup {
            let _ = crate::cgroup::kill(cgroup);
        }
        Ok(found)
    }

    fn report_end(&self, survivors: u32) -> io::Result<()> {
        let unseen = || Outcome::Lost { why: "it could not be killed".to_owned() };
        let outcome = self.outcome.clone().unwrap_or_else(unseen);
        let usage = usage()?;
        let leftovers_killed = self.leftovers_killed;
        let _ = wire::send(&self.control, &Report::Ended { outcome, leftovers_killed, survivors, usage });
        Ok(())
    }
}

struct Ready {
    children: bool,
    control: bool,
    descent: bool,
}

/// Whole or not at all: a program that looks for the file never finds half a word.
fn write_reason(folder: &OwnedFd, reason: &str) -> io::Result<()> {
    let _ = rustix::fs::unlinkat(folder, REASON_FILE_NEW, AtFlags::empty());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH;
    let file = rustix::fs::openat(folder, REASON_FILE_NEW, flags, mode)?;
    rustix::io::write(&file, format!("{reason}\n").as_bytes())?;
    rustix::fs::renameat(folder, REASON_FILE_NEW, folder, REASON_FILE)?;
    Ok(())
}

/// What all processes that were waited for have used (getrusage(2)).
fn usage() -> io::Result<Usage> {
    // SAFETY: all fields are numbers, and the call fills them in.
    let mut used: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the target is valid for the call.
    if unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut used) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let duration = |time: libc::timeval| {
        Duration::from_secs(time.tv_sec.unsigned_abs()) + Duration::from_micros(time.tv_usec.unsigned_abs())
    };
    Ok(Usage {
        cpu_user: duration(used.ru_utime),
        cpu_system: duration(used.ru_stime),
        // The kernel counts in KiB.
        resident_max: used.ru_maxrss.unsigned_abs() * 1024,
        memory_peak: None,
    })
}
