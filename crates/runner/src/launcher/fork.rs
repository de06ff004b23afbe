//! Forking without threads, and what belongs around it: signals and descriptors.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::process::Pid;

/// As in linux/sched.h; it does not fit the type that older flags have.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// 64 signals.
const KERNEL_SIGNAL_SET_BYTES: usize = 8;

pub(super) enum Forked {
    Child,
    Parent {
        child: Pid,
        /// Stands for that very process, however often its number is given anew.
        process: OwnedFd,
    },
}

/// A plain fork with namespaces and a cgroup for the child (clone3(2)). Containers that do not let that call through get the
/// older one, which knows no cgroups.
///
/// Only for a process without threads: the child goes on with everything as it was.
pub(super) fn fork(namespaces: u64, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Forked> {
    let mut process: RawFd = -1;
    // SAFETY: all fields are numbers, for which zero stands for "not given".
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = namespaces | libc::CLONE_PIDFD as u64;
    arguments.pidfd = (&raw mut process) as u64;
    arguments.exit_signal = libc::SIGCHLD as u64;
    if let Some(cgroup) = cgroup {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: memory is not shared with the child and no stack is given, so that this is a fork; there are no other
    // threads whose locks the child could miss.
    let mut answer =
        unsafe { libc::syscall(libc::SYS_clone3, &raw mut arguments, size_of::<libc::clone_args>()) };
    if answer < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::ENOSYS) && cgroup.is_none() {
        let flags = arguments.flags | arguments.exit_signal;
        // SAFETY: as above; the order of what follows the descriptor differs between machines, and all of it is null.
        answer =
            unsafe { libc::syscall(libc::SYS_clone, flags, 0_usize, &raw mut process, 0_usize, 0_usize) };
    }
    match i32::try_from(answer) {
        Ok(0) => Ok(Forked::Child),
        Ok(number) if number > 0 => {
            let child =
                Pid::from_raw(number).ok_or_else(|| io::Error::other("a process without a number"))?;
            // SAFETY: the kernel has opened it for us.
            Ok(Forked::Parent { child, process: unsafe { OwnedFd::from_raw_fd(process) } })
        }
        _ => Err(io::Error::last_os_error()),
    }
}

/// A set of all signals; those that cannot be blocked are not.
fn all_signals() -> libc::sigset_t {
    // SAFETY: the set is filled in before it is used.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigfillset(&raw mut set);
        set
    }
}

/// The launcher and its supervisors act on what they read, not on signals: whoever ends the service's group of
/// processes must not hit those that clean up behind it.
pub(super) fn block_all_signals() -> io::Result<()> {
    // SAFETY: both sets are valid for the call.
    match unsafe { libc::sigprocmask(libc::SIG_SETMASK, &all_signals(), std::ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Back to how a program expects signals to be: each with its default action, none blocked.
pub(super) fn reset_signals() -> io::Result<()> {
    // The kernel's own structure (handler, flags, restorer, mask) of zeros stands for the default action. The library's call
    // would leave out the numbers that it keeps for itself, and they can come ignored by inheritance.
    let default = [0_usize; 8];
    for signal in 1..=libc::SIGRTMAX() {
        // SAFETY: the structure is as large as the kernel's at least. SIGKILL and SIGSTOP are refused, which is as well.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default.as_ptr(),
                std::ptr::null_mut::<usize>(),
                KERNEL_SIGNAL_SET_BYTES,
            );
        }
    }
    // SAFETY: the empty set is initialised before it is used.
    unsafe {
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        match libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut()) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// A descriptor that can be read when a child has ended (signalfd(2)).
pub(super) fn child_signals() -> io::Result<OwnedFd> {
    // SAFETY: the set is initialised before it is used, and the descriptor is ours.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        match libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) {
            descriptor if descriptor >= 0 => Ok(OwnedFd::from_raw_fd(descriptor)),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// Reads away what has been signalled so far.
pub(super) fn drain(signals: impl AsFd) -> io::Result<()> {
    let mut buffer = [0; 4 * size_of::<libc::signalfd_siginfo>()];
    loop {
        match rustix::io::read(&signals, &mut buffer) {
            Ok(0) | Err(rustix::io::Errno::AGAIN) => return Ok(()),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Closes a descriptor whose owner lives on in the parent only.
pub(super) fn close(descriptor: RawFd) {
    // SAFETY: this is the child of a fork, where the owner is never used or dropped.
    unsafe { libc::close(descriptor) };
}

/// Closes whatever came along by inheritance (close_range(2)).
pub(super) fn close_all_from(first: libc::c_uint) -> io::Result<()> {
    close_range(first, 0)
}

/// The same, at the moment at which the program is executed.
pub(super) fn close_all_on_exec_from(first: libc::c_uint) -> io::Result<()> {
    close_range(first, libc::CLOSE_RANGE_CLOEXEC)
}

fn close_range(first: libc::c_uint, flags: libc::c_uint) -> io::Result<()> {
    // SAFETY: the caller owns none of them in a way that matters after this.
    match unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, flags) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rustix::process::WaitOptions;
    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

    use super::*;

    fn exit_code_of_a_child() -> Option<i32> {
        match fork(0, None).expect("a fork") {
            // SAFETY: ends the child, which has done nothing else.
            Forked::Child => unsafe { libc::_exit(7) },
            Forked::Parent { child, .. } => {
                let ended = rustix::process::waitpid(Some(child), WaitOptions::empty()).expect("its end");
                ended.and_then(|(_, status)| status.exit_status())
            }
        }
    }

    #[test]
    fn forks_without_the_newer_call_too() {
        assert_eq!(exit_code_of_a_child(), Some(7));
        let filtered = std::thread::spawn(|| {
            rustix::thread::set_no_new_privs(true).expect("no new privileges");
            let rules = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
            let missing = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
            let architecture = std::env::consts::ARCH.try_into().expect("a known machine");
            let filter =
                SeccompFilter::new(rules, SeccompAction::Allow, missing, architecture).expect("a filter");
            let filter: BpfProgram = filter.try_into().expect("a program");
            seccompiler::apply_filter(&filter).expect("a filtered thread");
            exit_code_of_a_child()
        });
        assert_eq!(filtered.join().expect("a code"), Some(7));
    }
}
