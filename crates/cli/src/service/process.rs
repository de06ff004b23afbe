//! The process behind the socket.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// The process that listens on `socket`; `None` when nobody does.
pub(crate) fn listener(socket: &Path) -> io::Result<Option<Pid>> {
    match UnixStream::connect(socket) {
        Ok(stream) => Ok(Some(rustix::net::sockopt::socket_peercred(&stream)?.pid)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// How a request to stop ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stopped {
    Ended,
    StillThere,
}

/// Asks the process to end and waits until it has, at most as long as `patience`.
pub(crate) fn stop(pid: Pid, patience: Duration) -> io::Result<Stopped> {
    let process = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(process) => process,
        Err(rustix::io::Errno::SRCH) => return Ok(Stopped::Ended),
        Err(error) => return Err(error.into()),
    };
    match pidfd_send_signal(&process, Signal::TERM) {
        Ok(()) => {}
        Err(rustix::io::Errno::SRCH) => return Ok(Stopped::Ended),
        Err(error) => return Err(error.into()),
    }
    let timeout = Timespec::try_from(patience).map_err(io::Error::other)?;
    let ended = poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&timeout))?;
    Ok(if ended > 0 { Stopped::Ended } else { Stopped::StillThere })
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::process::Command;

    use super::*;

    #[test]
    fn the_listener_is_found_by_its_socket() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("s");
        assert_eq!(listener(&socket).unwrap(), None);
        let listening = UnixListener::bind(&socket).unwrap();
        assert_eq!(listener(&socket).unwrap(), Some(rustix::process::getpid()));
        drop(listening);
        assert_eq!(listener(&socket).unwrap(), None, "a socket that was left behind is nobody");
    }

    #[test]
    fn stopping_waits_for_the_end() {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = Pid::from_child(&child);
        assert_eq!(stop(pid, Duration::from_secs(20)).unwrap(), Stopped::Ended);
        child.wait().unwrap();
    }

    #[test]
    fn what_does_not_stop_is_told() {
        let mut child = Command::new("sh")
            .args(["-c", "trap '' TERM; echo ready; read -r line"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = [0; 5];
        io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut ready).unwrap();
        let pid = Pid::from_child(&child);
        assert_eq!(stop(pid, Duration::from_millis(50)).unwrap(), Stopped::StillThere);
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}
