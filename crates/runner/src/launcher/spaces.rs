//! Namespaces for a supervisor and its task: which this machine lets us make, and how they are furnished.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::mount::{MountFlags, MountPropagationFlags};
use rustix::process::WaitOptions;

use super::fork::{self, Forked};
use crate::enforcement::{Enforcement, Limit, Means};
use crate::wire::Spaces;

const PROCESSES: u64 = (libc::CLONE_NEWPID | libc::CLONE_NEWNS) as u64;
const NETWORK: u64 = libc::CLONE_NEWNET as u64;
const USER: u64 = libc::CLONE_NEWUSER as u64;

/// Namespaces that can be had, and why others cannot.
#[derive(Debug, Clone, Default)]
pub(super) struct Held {
    /// For clone3(2).
    pub(super) flags: u64,
    pub(super) enforcement: Enforcement,
    owner: Owner,
}

/// Who the launcher is: what a user namespace maps to itself.
#[derive(Debug, Clone, Copy, Default)]
struct Owner {
    uid: u32,
    gid: u32,
}

/// What was tried once is known from then on.
#[derive(Default)]
pub(super) struct Offer {
    known: HashMap<Spaces, Held>,
}

impl Offer {
    pub(super) fn of(&mut self, wished: Spaces) -> Held {
        if wished == Spaces::NONE {
            return Held::default();
        }
        self.known.entry(wished).or_insert_with(|| probe(wished)).clone()
    }
}

impl Held {
    pub(super) fn has_processes(&self) -> bool {
        self.flags & PROCESSES != 0
    }

    pub(super) fn has_network(&self) -> bool {
        self.flags & NETWORK != 0
    }

    /// To be called first in the process that was made with these flags.
    pub(super) fn furnish(&self) -> io::Result<()> {
        if self.flags & USER != 0 {
            map_user(self.owner)?;
        }
        if self.has_processes() {
            mount_proc()?;
        }
        if self.has_network() {
            raise_loopback()?;
        }
        Ok(())
    }
}

/// All that is wished, or else each by itself; as it is (for root), or else within a user namespace.
fn probe(wished: Spaces) -> Held {
    let owner = Owner { uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw() };
    let mut held = Held { owner, ..Held::default() };
    let parts =
        [(wished.processes, PROCESSES, Limit::ProcessView), (wished.network, NETWORK, Limit::Network)];
    for (_, flag, limit) in parts.into_iter().filter(|(is_wished, ..)| *is_wished) {
        let with_user = [held.flags & USER, USER];
        let mut refusal = io::Error::from_raw_os_error(libc::EPERM);
        let works = with_user.into_iter().find_map(|user| {
            let candidate = Held { flags: held.flags | flag | user, ..held.clone() };
            match attempt(&candidate) {
                Ok(()) => Some(candidate.flags),
                Err(error) => {
                    refusal = error;
                    None
                }
            }
        });
        match works {
            Some(flags) => {
                held.flags = flags;
                held.enforcement.hold(limit, Means::Namespace);
            }
            None => held.enforcement.miss(limit, format!("no namespace can be made: {refusal}")),
        }
    }
    held
}

/// A child that furnishes the namespaces and ends.
fn attempt(held: &Held) -> io::Result<()> {
    match fork::fork(held.flags, None)? {
        Forked::Child => {
            let code = match held.furnish() {
                Ok(()) => 0,
                Err(error) => error.raw_os_error().unwrap_or(libc::EIO),
            };
            // SAFETY: ends this child without running anything else of the launcher.
            unsafe { libc::_exit(code) }
        }
        Forked::Parent { child, .. } => {
            let ended = rustix::process::waitpid(Some(child), WaitOptions::empty())?;
            match ended.and_then(|(_, status)| status.exit_status()) {
                Some(0) => Ok(()),
                Some(error) => Err(io::Error::from_raw_os_error(error)),
                None => Err(io::Error::other("the attempt was killed")),
            }
        }
    }
}

/// The same numbers inside as outside, for this one user and group (user_namespaces(7)).
fn map_user(owner: Owner) -> io::Result<()> {
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{0} {0} 1", owner.uid))?;
    fs::write("/proc/self/gid_map", format!("{0} {0} 1", owner.gid))
}

/// Mounts that come later outside are seen inside, and none of the inside's get out.
fn mount_proc() -> io::Result<()> {
    let below = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", below)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    rustix::mount::mount("proc", "/proc", "proc", flags, None)?;
    Ok(())
}

/// A task without network still has itself to talk to.
fn raise_loopback() -> io::Result<()> {
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None)?;
    // SAFETY: all fields are numbers; the name is shorter than its field and ends with NUL.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the request is valid for the call.
    match unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// `/proc` as it was before a namespace got its own: there, processes have the numbers that the service knows.
pub(super) struct OuterProc(OwnedFd);

impl OuterProc {
    pub(super) fn open() -> io::Result<Self> {
        let flags = rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
        Ok(Self(rustix::fs::open("/proc", flags, rustix::fs::Mode::empty())?))
    }

    /// The outer number of the process that `process` stands for (pidfd_open(2)).
    pub(super) fn number(&self, process: &OwnedFd) -> io::Result<u32> {
        let path = format!("self/fdinfo/{}", process.as_raw_fd());
        let flags = rustix::fs::OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.0, path, flags, rustix::fs::Mode::empty())?;
        let text = io::read_to_string(File::from(file))?;
        let number = text.lines().find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok());
        number.ok_or_else(|| io::Error::other("the kernel does not tell the process's number"))
    }
}

impl Spaces {
    const NONE: Self = Self { processes: false, network: false };
}
