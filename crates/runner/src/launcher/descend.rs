//! The way of a forked child from its supervisor to the program: descriptors, identity, folder, confinement, and at last
//! execve(2). What fails on the way is told over a channel that the program does not inherit.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal};

use super::confine;
use super::fork::{self, Forked};
use super::spaces::Held;
use super::supervisor::Channels;
use crate::enforcement::Enforcement;
use crate::launch::{Network, Unenforceable};
use crate::wire::{self, Descent, Failure, Identity, Stage, Task};

/// A child on its way.
pub(super) struct Descending {
    pub(super) child: Pid,
    pub(super) process: OwnedFd,
    /// Brings [`Descent`]s; its end means that the program runs.
    pub(super) channel: UnixStream,
}

/// Everything that can be made ready before the fork.
struct Prepared {
    arguments: Vec<CString>,
    environment: Vec<CString>,
    /// Where the program may be, in the order in which to try.
    candidates: Vec<CString>,
}

/// What holds already when the child is forked.
pub(super) fn enforcement(task: &Task, held: &Held) -> Enforcement {
    let mut enforcement = task.enforcement.clone();
    enforcement.enforced.extend(held.enforcement.enforced.iter().cloned());
    // Without a namespace for the network there is still the filter.
    let missed = held.enforcement.not_enforced.iter().filter(|missed| missed.limit != crate::Limit::Network);
    enforcement.not_enforced.extend(missed.cloned());
    enforcement
}

pub(super) fn begin(task: &Task, channels: &Channels, held: &Held) -> io::Result<Descending> {
    let prepared = Prepared::of(task)?;
    let (channel, child_channel) = UnixStream::pair()?;
    let supervisor = rustix::process::getpid();
    let cgroup = channels.cgroup.as_ref().map(std::os::fd::AsFd::as_fd);
    match fork::fork(0, cgroup)? {
        Forked::Parent { child, process } => Ok(Descending { child, process, channel }),
        Forked::Child => {
            let failure = match descend(task, &prepared, channels, held, supervisor, &child_channel) {
                Err(failure) => failure,
                Ok(never) => match never {},
            };
            let _ = wire::send(&child_channel, &Descent::Failed(failure));
            // SAFETY: ends this child without running anything else of the supervisor it was forked from.
            unsafe { libc::_exit(127) }
        }
    }
}

impl Prepared {
    fn of(task: &Task) -> io::Result<Self> {
        let text = |text: String| CString::new(text).map_err(io::Error::from);
        let variables = task.environment.iter().map(|(name, value)| format!("{name}={value}"));
        let program = task.command.first().map(String::as_str).unwrap_or_default();
        let path = task.environment.iter().find(|(name, _)| name == "PATH").map(|(_, value)| value.as_str());
        Ok(Self {
            arguments: task.command.iter().cloned().map(text).collect::<Result<_, _>>()?,
            environment: variables.map(text).collect::<Result<_, _>>()?,
            candidates: candidates(program, path.unwrap_or_default()).map(text).collect::<Result<_, _>>()?,
        })
    }
}

fn candidates<'text>(program: &'text str, path: &'text str) -> impl Iterator<Item = String> + 'text {
    let is_path = program.contains('/');
    let direct = is_path.then(|| program.to_owned());
    let folders = (!is_path).then(|| path.split(':').filter(|folder| folder.starts_with('/')));
    let found = folders.into_iter().flatten().map(move |folder| format!("{folder}/{program}"));
    direct.into_iter().chain(found)
}

fn at(stage: Stage) -> impl Fn(io::Error) -> Failure {
    move |error| Failure { stage, error: error.raw_os_error().unwrap_or_default(), detail: error.to_string() }
}

enum Never {}

fn descend(
    task: &Task,
    prepared: &Prepared,
    channels: &Channels,
    held: &Held,
    supervisor: Pid,
    channel: &UnixStream,
) -> Result<Never, Failure> {
    connect(channels).map_err(at(Stage::Descriptors))?;
    if let Some(identity) = &task.identity {
        become_user(identity).map_err(at(Stage::Identity))?;
    }
    die_with(supervisor).map_err(at(Stage::Fork))?;
    let folder = Path::new(&task.working_directory);
    std::env::set_current_dir(folder).map_err(at(Stage::WorkingDirectory))?;
    rustix::thread::set_no_new_privs(true).map_err(|error| at(Stage::Confinement)(error.into()))?;
    let enforcement = confine(task, prepared, held);
    if task.unenforceable == Unenforceable::Refuse && !enforcement.not_enforced.is_empty() {
        let reasons: Vec<String> = enforcement.not_enforced.iter().map(ToString::to_string).collect();
        return Err(Failure { stage: Stage::Unenforceable, error: 0, detail: reasons.join("; ") });
    }
    if enforcement != Enforcement::default() {
        wire::send(channel, &Descent::Confined(enforcement)).map_err(at(Stage::Confinement))?;
    }
    fork::reset_signals().map_err(at(Stage::Confinement))?;
    Err(execute(prepared))
}

/// A session of its own, and the three standard descriptors; all others end with the program's start.
fn connect(channels: &Channels) -> io::Result<()> {
    rustix::process::setsid()?;
    for (number, descriptor) in [(0, &channels.input), (1, &channels.stdout), (2, &channels.stderr)] {
        // SAFETY: only numbers of descriptors are given; those replaced have no owner in this child.
        if unsafe { libc::dup2(descriptor.as_raw_fd(), number) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    fork::close_all_on_exec_from(3)
}

fn become_user(identity: &Identity) -> io::Result<()> {
    let Identity { uid, gid, groups } = identity;
    // SAFETY: plain numbers, and a list with its length; this process has no other threads that would have to change too.
    let answers = unsafe {
        [
            libc::setgroups(groups.len(), groups.as_ptr()),
            libc::setresgid(*gid, *gid, *gid),
            libc::setresuid(*uid, *uid, *uid),
        ]
    };
    if answers.iter().all(|answer| *answer == 0) { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// SIGKILL when the supervisor ends, however it does.
fn die_with(supervisor: Pid) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // It may have ended before the kernel was told.
    if rustix::process::getppid() == Some(supervisor) {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(libc::ESRCH))
    }
}

fn confine(task: &Task, prepared: &Prepared, held: &Held) -> Enforcement {
    let mut enforcement = enforcement(task, held);
    let uid = rustix::process::geteuid().as_raw();
    confine::limit(task.limits, uid, &mut enforcement);
    if let Some(grants) = &task.filesystem {
        let program = program(prepared);
        let temporary = task.environment.iter().find(|(name, _)| name == "TMPDIR");
        let temporary = temporary.map(|(_, path)| PathBuf::from(path)).unwrap_or_default();
        confine::restrict_files(grants, &program, &temporary, &mut enforcement);
    }
    let network = if held.has_network() { Network::Allowed } else { task.network };
    confine::restrict_network(network, &mut enforcement);
    enforcement
}

/// Where the program lies, as far as that shows before it is executed.
fn program(prepared: &Prepared) -> PathBuf {
    let paths = prepared.candidates.iter().map(|path| PathBuf::from(OsStr::from_bytes(path.as_bytes())));
    paths.into_iter().find(|path| path.is_file()).unwrap_or_default()
}

/// Tries one place after the other, as execvp(3) does, and tells the error that says most.
fn execute(prepared: &Prepared) -> Failure {
    let arguments = pointers(&prepared.arguments);
    let environment = pointers(&prepared.environment);
    let mut telling = io::Error::from_raw_os_error(libc::ENOENT);
    for candidate in &prepared.candidates {
        // SAFETY: both lists end with a null pointer, and what they point to ends with NUL and lives on.
        unsafe { libc::execve(candidate.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR) => {}
            Some(libc::EACCES) => telling = error,
            _ => return at(Stage::Program)(error),
        }
    }
    at(Stage::Program)(telling)
}

fn pointers(texts: &[CString]) -> Vec<*const libc::c_char> {
    texts.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_a_slash_is_not_looked_for() {
        let found = |program: &str, path: &str| candidates(program, path).collect::<Vec<_>>();
        assert_eq!(found("./run", "/bin"), ["./run"]);
        assert_eq!(found("sh", "/usr/bin:relative::/bin"), ["/usr/bin/sh", "/bin/sh"]);
        assert_eq!(found("sh", ""), Vec::<String>::new());
    }
}
