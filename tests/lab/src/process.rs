//! Child processes that end with the test.

use std::io;
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use crate::service::free_address;

/// A server listens by then.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// Ports that are tried.
const PORTS_MAX: usize = 5;

/// A child process; killed by its pid when dropped, and by the kernel should the test die.
#[derive(Debug)]
pub struct Guarded {
    child: Child,
    name: String,
}

/// Starts `command` so that it dies with the thread that calls this.
///
/// # Errors
/// The program cannot be started.
#[expect(unsafe_code, reason = "asking for a signal at the parent's death has to happen in the child")]
pub fn spawn(mut command: Command) -> io::Result<Guarded> {
    let name = command.get_program().to_string_lossy().into_owned();
    // SAFETY: prctl is async-signal-safe and nothing else runs between fork and exec.
    unsafe {
        command.pre_exec(|| {
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(Into::into)
        });
    }
    Ok(Guarded { child: command.spawn()?, name })
}

/// The path of a program of the machine.
///
/// # Panics
/// It is missing; the message names the Debian package to install.
#[must_use]
pub fn program(name: &str, package: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
        .unwrap_or_else(|| {
            panic!(
                "the program {name} is missing: install the Debian package {package} (cargo xtask setup does)"
            )
        })
}

/// Starts a server without input, whose output goes to the end of the file `log`.
///
/// # Panics
/// The program cannot be started.
pub(crate) fn spawn_logged(mut command: Command, log: &Path) -> Guarded {
    let file = std::fs::File::options().create(true).append(true).open(log);
    let file = file.expect("a writable temporary folder");
    command.stdin(Stdio::null()).stdout(file.try_clone().expect("one more descriptor")).stderr(file);
    let program = PathBuf::from(command.get_program());
    spawn(command).unwrap_or_else(|error| {
        panic!("{} cannot be started (cargo xtask setup installs it): {error}", program.display())
    })
}

/// Lets `spawn` start a server on ports that are free, until it listens on all of them. `None`: it does not start.
pub(crate) fn serve<const N: usize>(spawn: impl Fn([u16; N]) -> Guarded) -> Option<(Guarded, [u16; N])> {
    // A port found free may be taken by somebody else before the server binds it: then others are tried.
    (0..PORTS_MAX).find_map(|_| {
        let ports = std::array::from_fn(|_| free_address().port());
        let mut running = spawn(ports);
        let is_listening = || ports.iter().all(|port| TcpStream::connect(("127.0.0.1", *port)).is_ok());
        let end = Instant::now() + START_DEADLINE;
        while running.has_ended().is_none() && Instant::now() < end {
            if is_listening() {
                return Some((running, ports));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        None
    })
}

impl Guarded {
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    #[must_use]
    pub fn as_child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// SIGKILL, and waits until the process is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends a signal to a process that has not been waited for.
    pub fn signal(&mut self, signal: Signal) {
        if self.has_ended().is_none() {
            let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a child has a pid");
            let _ = rustix::process::kill_process(pid, signal);
        }
    }

    /// The status of a process that has ended.
    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// Waits for the end.
    #[track_caller]
    pub fn wait(&mut self, deadline: Duration) -> ExitStatus {
        let end = Instant::now() + deadline;
        loop {
            if let Some(status) = self.has_ended() {
                return status;
            }
            assert!(Instant::now() < end, "{} did not end within {deadline:?}", self.name);
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.kill();
    }
}
