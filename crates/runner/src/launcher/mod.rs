//! The launcher: a small program without threads that the service starts from its own binary, and that forks a
//! supervisor for each instance.
//!
//! A large program with threads may do next to nothing between fork and exec; this one may do all that a sandbox
//! needs, and forking it costs little. It is also the reaper of last resort: what a killed supervisor leaves behind
//! comes to it and is killed.

mod confine;
mod descend;
mod fork;
mod spaces;
mod supervisor;
mod tree;

use std::collections::HashSet;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use rustix::process::Pid;

use crate::wire::{self, Spaces};
use spaces::Offer;

pub(crate) use supervisor::REASON_FILE;
pub(crate) use tree::kill_with_descendants;

/// What the first argument of the binary is when it is to be the launcher.
pub(crate) const ASKED: &str = "@launcher";

/// How long to wait for what was killed before looking for more.
const SWEEP_INTERVAL: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };

/// To be called first in `main`, before any thread and any output: becomes the launcher if that is what this process was
/// started for, and then does not return.
pub fn main_if_asked() {
    if std::env::args_os().nth(1).is_some_and(|argument| argument == ASKED) {
        let code = match run() {
            Ok(()) => 0,
            Err(error) => {
                eprintln!("longhaul: the launcher of tasks has failed: {error}");
                1
            }
        };
        std::process::exit(code);
    }
}

/// One start, as it came from the service.
struct Request {
    spaces: Spaces,
    descriptors: Vec<OwnedFd>,
}

fn run() -> io::Result<()> {
    // SAFETY: the service has put the socket there, and nobody else uses standard input.
    let socket = unsafe { OwnedFd::from_raw_fd(0) };
    // Out of the service's group, so that a signal from its terminal does not end what it has still to end in order.
    let _ = rustix::process::setsid();
    rustix::process::chdir("/")?;
    rustix::process::set_child_subreaper(Pid::from_raw(1))?;
    name("longhaul-launch");
    fork::block_all_signals()?;
    fork::close_all_from(3)?;
    let children = fork::child_signals()?;
    let mut offer = Offer::default();
    let mut brood = Brood::default();
    let mut is_open = true;
    while is_open || !brood.supervisors.is_empty() {
        let mut poll = [PollFd::new(&children, PollFlags::IN), PollFd::new(&socket, PollFlags::IN)];
        let watched = if is_open { &mut poll[..] } else { &mut poll[..1] };
        match rustix::event::poll(watched, brood.next_sweep().as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let has_request = !poll[1].revents().is_empty();
        if !poll[0].revents().is_empty() {
            fork::drain(&children)?;
            brood.reap()?;
        }
        brood.sweep()?;
        if !has_request {
            continue;
        }
        match receive(&socket)? {
            None => is_open = false,
            Some(request) => {
                brood.supervisors.extend(start(request, &mut offer, (&socket, &children)));
            }
        }
    }
    Ok(())
}

/// The supervisors, and what a killed one has left to us.
#[derive(Default)]
struct Brood {
    supervisors: HashSet<Pid>,
    has_orphans: bool,
}

impl Brood {
    fn reap(&mut self) -> io::Result<()> {
        while let tree::Reaped::Child { pid, status } = tree::reap()? {
            if self.supervisors.remove(&pid) {
                self.has_orphans |= status != tree::Status::Exited(0);
            }
        }
        Ok(())
    }

    /// Kills what belongs to no supervisor; as long as something does, again and again.
    fn sweep(&mut self) -> io::Result<()> {
        if self.has_orphans {
            self.has_orphans = tree::kill_all_but(&self.supervisors)? > 0;
        }
        Ok(())
    }

    fn next_sweep(&self) -> Option<Timespec> {
        self.has_orphans.then_some(SWEEP_INTERVAL)
    }
}

/// Shown by ps(1) and the like, 15 letters.
fn name(name: &str) {
    let mut text = name.as_bytes().to_vec();
    text.push(0);
    // SAFETY: the name ends with its NUL; nothing else is touched.
    unsafe { libc::prctl(libc::PR_SET_NAME, text.as_ptr()) };
}

/// The next request; `None` once the service is gone.
fn receive(socket: &OwnedFd) -> io::Result<Option<Request>> {
    let mut byte = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(wire::DESCRIPTORS + 1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let message = loop {
        let mut into = [IoSliceMut::new(&mut byte)];
        match rustix::net::recvmsg(socket, &mut into, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::CONNRESET) => return Ok(None),
            received => break received?,
        }
    };
    if message.bytes == 0 {
        return Ok(None);
    }
    let mut descriptors = Vec::with_capacity(wire::DESCRIPTORS + 1);
    for part in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = part {
            descriptors.extend(rights);
        }
    }
    Ok(Some(Request { spaces: Spaces::from_byte(byte[0]), descriptors }))
}

/// Forks a supervisor. Where that fails the service hears it over the instance's socket.
fn start(request: Request, offer: &mut Offer, own: (&OwnedFd, &OwnedFd)) -> Option<Pid> {
    let channels = supervisor::Channels::from_descriptors(request.descriptors)?;
    let held = offer.of(request.spaces);
    match fork::fork(held.flags, None) {
        Ok(fork::Forked::Child) => {
            for descriptor in [own.0, own.1] {
                fork::close(descriptor.as_raw_fd());
            }
            supervisor::run(channels, &held)
        }
        Ok(fork::Forked::Parent { child, .. }) => Some(child),
        Err(error) => {
            supervisor::refuse(&channels, &error);
            None
        }
    }
}
