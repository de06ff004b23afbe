//! Who is at the other end of a Unix socket: its user, and the sandbox it runs in.

use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use longhaul_contract::AppId;
use rustix::fs::{Mode, OFlags};

/// The process at the other end, as it was when it connected (SO_PEERCRED, unix(7)).
#[derive(Debug)]
pub struct Peer {
    pub uid: u32,
    pub pid: Option<i32>,
    /// Holds on to that very process, where the kernel tells it (SO_PEERPIDFD, Linux 6.5).
    process: Option<OwnedFd>,
}

/// What was found out about the peer's sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sandbox {
    None,
    /// A Flatpak or Snap application.
    Application(AppId),
    /// It could not be looked at, or is gone: to be trusted with nothing.
    Unknown(String),
}

impl Peer {
    /// # Errors
    /// `socket` is no connected Unix socket.
    pub fn of(socket: impl AsFd) -> io::Result<Self> {
        let Credentials(credentials) = socket_option(&socket, libc::SO_PEERCRED)?;
        let process = socket_option::<libc::c_int>(&socket, libc::SO_PEERPIDFD).ok().filter(|fd| *fd >= 0);
        Ok(Self {
            uid: credentials.uid,
            // 0 is a process outside of our namespace.
            pid: Some(credentials.pid).filter(|pid| *pid > 0),
            // SAFETY: the kernel has opened the descriptor for us, and nobody else has it.
            process: process.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }),
        })
    }

    /// Looks the process up in `/proc`; may block for a moment.
    #[must_use]
    pub fn sandbox(&self) -> Sandbox {
        let Some(pid) = self.pid else {
            return Sandbox::Unknown("the peer's process is not known".to_owned());
        };
        let found = sandbox_of(Path::new("/proc").join(pid.to_string()).as_path());
        // Only if the process is still there was it the peer that was looked at, and no later one of that number.
        if self.has_ended() {
            return Sandbox::Unknown(format!("process {pid} has ended"));
        }
        found.unwrap_or_else(|error| Sandbox::Unknown(format!("process {pid} cannot be looked at: {error}")))
    }

    fn has_ended(&self) -> bool {
        let Some(process) = &self.process else { return false };
        let mut poll = [rustix::event::PollFd::new(process, rustix::event::PollFlags::IN)];
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        !matches!(rustix::event::poll(&mut poll, Some(&now)), Ok(0))
    }
}

/// Plain numbers of the kernel: every pattern of bits is one.
trait PlainNumbers: Default {}

impl PlainNumbers for libc::c_int {}

/// `ucred` has no default of its own.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Credentials(libc::ucred);

impl Default for Credentials {
    fn default() -> Self {
        Self(libc::ucred { pid: 0, uid: u32::MAX, gid: u32::MAX })
    }
}

impl PlainNumbers for Credentials {}

fn socket_option<T: PlainNumbers>(socket: &impl AsFd, option: libc::c_int) -> io::Result<T> {
    let mut value = T::default();
    let mut length = libc::socklen_t::try_from(size_of::<T>()).unwrap_or_default();
    // SAFETY: the pointers are to a live value of plain numbers and to its length, as getsockopt(2) wants.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            (&raw mut value).cast(),
            &raw mut length,
        )
    };
    if result == 0 { Ok(value) } else { Err(io::Error::last_os_error()) }
}

fn sandbox_of(process: &Path) -> io::Result<Sandbox> {
    let root = rustix::fs::open(
        process.join("root"),
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    match rustix::fs::openat(
        &root,
        ".flatpak-info",
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    ) {
        Ok(file) => {
            let mut text = String::new();
            fs::File::from(file).take(64 << 10).read_to_string(&mut text)?;
            return Ok(flatpak_application(&text));
        }
        Err(rustix::io::Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    let label = match fs::read_to_string(process.join("attr/current")) {
        Ok(label) => snap_application(&label),
        // Without a security module the file cannot be read at all (EINVAL).
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Sandbox::None,
        Err(error) if error.kind() == io::ErrorKind::NotFound && process.exists() => Sandbox::None,
        Err(error) => return Err(error),
    };
    if label != Sandbox::None {
        return Ok(label);
    }
    // Where AppArmor does not label snaps, snapd still tracks them by their control group.
    match fs::read_to_string(process.join("cgroup")) {
        Ok(groups) => Ok(snap_group(&groups)),
        Err(error) if error.kind() == io::ErrorKind::NotFound && process.exists() => Ok(Sandbox::None),
        Err(error) => Err(error),
    }
}

/// `name` of the group `Application` in a key file (Desktop Entry Specification, section 3).
fn flatpak_application(text: &str) -> Sandbox {
    let mut is_application = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            is_application = line == "[Application]";
        } else if is_application
            && let Some((key, value)) = line.split_once('=')
            && key.trim() == "name"
        {
            return named(value.trim());
        }
    }
    Sandbox::Unknown("a Flatpak sandbox that names no application".to_owned())
}

/// The AppArmor label of a snap is `snap.NAME.PROGRAM (MODE)`.
fn snap_application(label: &str) -> Sandbox {
    let mut parts = label.trim_end_matches(['\0', '\n']).split(['.', ' ']);
    match (parts.next(), parts.next()) {
        (Some("snap"), Some(name)) => named(&format!("snap.{name}")),
        _ => Sandbox::None,
    }
}

/// The unit of a snap is `snap.NAME.PROGRAM…` with the ending of a scope or a service (cgroups(7), `/proc/PID/cgroup`).
fn snap_group(groups: &str) -> Sandbox {
    let unit = groups.lines().filter_map(|line| line.splitn(3, ':').nth(2)).find_map(|path| {
        let unit = path.rsplit('/').next().unwrap_or_default();
        let is_unit = unit.ends_with(".scope") || unit.ends_with(".service");
        unit.strip_prefix("snap.").filter(|rest| is_unit && rest.matches('.').count() >= 2)
    });
    match unit.and_then(|rest| rest.split('.').next()) {
        Some(name) => named(&format!("snap.{name}")),
        None => Sandbox::None,
    }
}

fn named(name: &str) -> Sandbox {
    AppId::new(name).map_or_else(|error| Sandbox::Unknown(error.to_string()), Sandbox::Application)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn the_peer_of_a_pair_is_ourselves() {
        let (left, _right) = UnixStream::pair().unwrap();
        let peer = Peer::of(&left).unwrap();
        assert_eq!(peer.uid, rustix::process::getuid().as_raw());
        assert_eq!(peer.pid, Some(rustix::process::getpid().as_raw_nonzero().get()));
        assert_eq!(peer.sandbox(), Sandbox::None);
    }

    #[test]
    fn sandboxes_are_told_by_their_marks() {
        let folder = tempfile::tempdir().unwrap();
        let process = folder.path();
        fs::create_dir_all(process.join("root")).unwrap();
        fs::create_dir_all(process.join("attr")).unwrap();
        let label = process.join("attr/current");
        for (text, expected) in [
            ("unconfined\n", Sandbox::None),
            ("snap.firefox.firefox (enforce)\n", Sandbox::Application(AppId::new("snap.firefox").unwrap())),
            ("snapper (enforce)\n", Sandbox::None),
        ] {
            fs::write(&label, text).unwrap();
            assert_eq!(sandbox_of(process).unwrap(), expected, "{text}");
        }
        for (text, expected) in [
            ("0::/user.slice/user-1000.slice/session-2.scope\n", Sandbox::None),
            ("0::/user.slice/snap.scope\n", Sandbox::None),
            (
                "1:name=systemd:/x\n0::/user.slice/app.slice/snap.vlc.vlc-1b2c.scope\n",
                Sandbox::Application(AppId::new("snap.vlc").unwrap()),
            ),
            (
                "0::/system.slice/snap.lxd.daemon.service\n",
                Sandbox::Application(AppId::new("snap.lxd").unwrap()),
            ),
        ] {
            fs::write(process.join("cgroup"), text).unwrap();
            assert_eq!(sandbox_of(process).unwrap(), expected, "{text}");
        }
        let info = process.join("root/.flatpak-info");
        fs::write(&info, "[Instance]\nname=wrong\n[Application]\nname=org.example.Photos\nruntime=x\n")
            .unwrap();
        assert_eq!(
            sandbox_of(process).unwrap(),
            Sandbox::Application(AppId::new("org.example.Photos").unwrap())
        );
        fs::write(&info, "[Application]\nname=nonsense\n").unwrap();
        assert!(matches!(sandbox_of(process).unwrap(), Sandbox::Unknown(_)));
        assert!(sandbox_of(&process.join("gone")).is_err());
    }

    #[test]
    fn a_process_that_has_ended_is_unknown() {
        let (left, right) = UnixStream::pair().unwrap();
        drop(right);
        let mut peer = Peer::of(&left).unwrap();
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        peer.pid = Some(pid.as_raw_nonzero().get());
        peer.process = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok();
        child.wait().unwrap();
        assert!(matches!(peer.sandbox(), Sandbox::Unknown(_)));
    }
}
