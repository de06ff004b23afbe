//! The line to the launcher: starts it, hands it descriptors, and starts it anew when it has died.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::launcher::ASKED;
use crate::wire::{DESCRIPTORS, Spaces};

#[derive(Debug)]
pub(crate) struct Line {
    program: PathBuf,
    socket: Mutex<Option<Arc<AsyncFd<OwnedFd>>>>,
}

impl Line {
    /// Nothing is started before the first [`Line::hand_over`] or [`Line::open`].
    pub(crate) fn new(program: PathBuf) -> Self {
        Self { program, socket: Mutex::new(None) }
    }

    /// Makes sure that the launcher runs.
    pub(crate) fn open(&self) -> io::Result<()> {
        self.connected().map(drop)
    }

    /// Has the launcher fork a supervisor that gets `descriptors`.
    pub(crate) async fn hand_over(&self, spaces: Spaces, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let socket = self.connected()?;
        match send(&socket, spaces, descriptors).await {
            Err(error) if is_gone(&error) => {
                self.forget(&socket);
                send(&*self.connected()?, spaces, descriptors).await
            }
            sent => sent,
        }
    }

    fn connected(&self) -> io::Result<Arc<AsyncFd<OwnedFd>>> {
        let mut slot = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(socket) = &*slot {
            return Ok(Arc::clone(socket));
        }
        let socket = Arc::new(start(&self.program)?);
        *slot = Some(Arc::clone(&socket));
        Ok(socket)
    }

    fn forget(&self, dead: &Arc<AsyncFd<OwnedFd>>) {
        let mut slot = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.as_ref().is_some_and(|known| Arc::ptr_eq(known, dead)) {
            *slot = None;
        }
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

/// The launcher inherits nothing but the socket, and where it may complain.
fn start(program: &Path) -> io::Result<AsyncFd<OwnedFd>> {
    let pair =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    let (own, given) = pair;
    rustix::io::ioctl_fionbio(&own, true)?;
    let mut command = Command::new(program);
    command.arg(ASKED).env_clear().stdin(Stdio::from(given)).stdout(Stdio::null()).stderr(Stdio::inherit());
    let child = command.spawn()?;
    reap_when_ended(child)?;
    watched(own, Interest::WRITABLE)
}

fn watched(descriptor: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: it is open, and an `OwnedFd` stays the same one until it is dropped, here together with the watch.
    Ok(unsafe { AsyncFd::register_with_interest(descriptor, interest) }?)
}

fn reap_when_ended(mut child: Child) -> io::Result<()> {
    let pid = rustix::process::Pid::from_child(&child);
    let process = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?;
    let process = watched(process, Interest::READABLE)?;
    tokio::spawn(async move {
        let _ = process.readable().await;
        let _ = child.wait();
    });
    Ok(())
}

async fn send(socket: &AsyncFd<OwnedFd>, spaces: Spaces, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let attempt = |socket: &OwnedFd| {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS + 1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        ancillary.push(SendAncillaryMessage::ScmRights(descriptors));
        let byte = [spaces.to_byte()];
        rustix::net::sendmsg(socket, &[IoSlice::new(&byte)], &mut ancillary, SendFlags::NOSIGNAL)?;
        Ok(())
    };
    socket.async_io(Interest::WRITABLE, attempt).await
}
