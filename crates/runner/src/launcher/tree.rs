//! Everything that descends from this process: finding it, killing it, waiting for it.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags, Resource, Rlimit, Signal};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Exited(i32),
    Signaled { signal: i32, core_dumped: bool },
}

pub(super) enum Reaped {
    Child {
        pid: Pid,
        status: Status,
    },
    /// None has ended just now.
    NoneYet,
    /// There is no child.
    NoChildren,
}

/// Takes one ended child, if there is one.
pub(super) fn reap() -> io::Result<Reaped> {
    let mut raw = 0;
    // SAFETY: the status is valid for the call.
    let answer = unsafe { libc::waitpid(-1, &raw mut raw, libc::WNOHANG) };
    let Some(pid) = Pid::from_raw(answer.max(0)) else {
        if answer == 0 {
            return Ok(Reaped::NoneYet);
        }
        let error = io::Error::last_os_error();
        return match error.raw_os_error() {
            Some(libc::ECHILD) => Ok(Reaped::NoChildren),
            Some(libc::EINTR) => Ok(Reaped::NoneYet),
            _ => Err(error),
        };
    };
    let status = if libc::WIFSIGNALED(raw) {
        Status::Signaled { signal: libc::WTERMSIG(raw), core_dumped: libc::WCOREDUMP(raw) }
    } else {
        Status::Exited(libc::WEXITSTATUS(raw))
    };
    Ok(Reaped::Child { pid, status })
}

/// SIGKILL to all descendants of this process that can be found; returns how many that were.
///
/// What forks meanwhile is found by the next call: as the reaper of its descendants this process stays their ancestor.
pub(super) fn kill_all() -> io::Result<u32> {
    kill_descendants(&HashSet::new())
}

/// Any other signal to all descendants that can be found.
pub(super) fn signal_all(signal: Signal) -> io::Result<()> {
    for pid in descendants(rustix::process::getpid(), &HashSet::new())? {
        let _ = rustix::process::kill_process(pid, signal);
    }
    Ok(())
}

/// As [`kill_all`], without the children in `spared` and their descendants.
pub(super) fn kill_all_but(spared: &HashSet<Pid>) -> io::Result<u32> {
    kill_descendants(spared)
}

fn kill_descendants(spared: &HashSet<Pid>) -> io::Result<u32> {
    let found = descendants(rustix::process::getpid(), spared)?;
    for pid in &found {
        // A user's process that may not fork any more cannot outrun this loop. Root is not bound by the limit.
        let none = Rlimit { current: Some(0), maximum: Some(0) };
        let _ = rustix::process::prlimit(Some(*pid), Resource::Nproc, none);
    }
    for pid in &found {
        // Its number cannot have been given anew: it is our descendant and is waited for by us or by one of these.
        let _ = rustix::process::kill_process(*pid, Signal::KILL);
    }
    Ok(u32::try_from(found.len()).unwrap_or(u32::MAX))
}

/// SIGKILL to a process that is no descendant of ours, for which `handle` stands, and to all that descend from it now.
pub(crate) fn kill_with_descendants(pid: Pid, handle: &OwnedFd) {
    let found = descendants(pid, &HashSet::new()).unwrap_or_default();
    let handles: Vec<OwnedFd> = found
        .into_iter()
        .filter_map(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok())
        .collect();
    for handle in std::iter::once(handle).chain(&handles) {
        let _ = rustix::process::pidfd_send_signal(handle, Signal::KILL);
    }
}

/// A process as `/proc/PID/stat` tells of it (proc_pid_stat(5)).
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    parent: i32,
    /// It has ended, and all of its threads have, and it only waits to be reaped.
    is_dead: bool,
}

/// All living descendants of a process, apart from those in `spared` and theirs.
fn descendants(ancestor: Pid, spared: &HashSet<Pid>) -> io::Result<Vec<Pid>> {
    let mut children: HashMap<i32, Vec<(i32, bool)>> = HashMap::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        if let Some(entry) = parse(&stat) {
            children.entry(entry.parent).or_default().push((pid, entry.is_dead));
        }
    }
    let mut found = Vec::new();
    let mut open = vec![ancestor.as_raw_nonzero().get()];
    while let Some(parent) = open.pop() {
        for (child, is_dead) in children.remove(&parent).unwrap_or_default() {
            let Some(pid) = Pid::from_raw(child).filter(|pid| !spared.contains(pid)) else { continue };
            open.push(child);
            if !is_dead {
                found.push(pid);
            }
        }
    }
    Ok(found)
}

fn parse(stat: &str) -> Option<Entry> {
    // The name in parentheses may hold anything, parentheses too.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let threads: u32 = fields.nth(15)?.parse().ok()?;
    Some(Entry { parent, is_dead: matches!(state, "Z" | "X") && threads <= 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    const REST: &str = "12 12 0 -1 4194560 80 0 0 0 0 0 0 0 20 0";

    #[test]
    fn a_name_may_hold_parentheses_and_blanks() {
        let line = format!("12 (a) Z 1 (x) S 7 {REST} 1 0 300");
        assert_eq!(parse(&line), Some(Entry { parent: 7, is_dead: false }));
        assert_eq!(parse(""), None);
    }

    #[test]
    fn a_leader_that_ended_before_its_threads_lives() {
        let dead = format!("12 (gone) Z 7 {REST} 1 0 300");
        assert_eq!(parse(&dead), Some(Entry { parent: 7, is_dead: true }));
        let leader = format!("12 (gone) Z 7 {REST} 2 0 300");
        assert_eq!(parse(&leader), Some(Entry { parent: 7, is_dead: false }));
    }
}
