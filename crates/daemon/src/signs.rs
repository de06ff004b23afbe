//! Signs that files of the owner or of an administrator have changed.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// After a sign of change, before looking: package managers and editors write in several steps.
pub(crate) const SETTLE: Duration = Duration::from_millis(300);

/// Says that something has changed in folders, and not what (inotify(7)).
pub(crate) struct Signs {
    inotify: AsyncFd<OwnedFd>,
}

impl Signs {
    pub(crate) fn open() -> std::io::Result<Self> {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        // SAFETY: `AsyncFd` owns the descriptor, and nobody takes it out: it stays open as long as it is registered.
        let inotify = unsafe { AsyncFd::register_with_interest(inotify, Interest::READABLE) }?;
        Ok(Self { inotify })
    }

    /// Of a folder that is missing, the nearest one above that is there.
    pub(crate) fn look_at(&self, folder: &Path) {
        let flags = WatchFlags::CLOSE_WRITE
            | WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::DELETE
            | WatchFlags::CREATE
            | WatchFlags::ATTRIB
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        for place in folder.ancestors() {
            // Once more for one that is watched already: it may be another folder by now.
            match inotify::add_watch(self.inotify.get_ref(), place, flags) {
                Ok(_) => return,
                Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => {}
                Err(error) => {
                    return tracing::warn!(folder = %place.display(), %error, "a folder is not watched");
                }
            }
        }
    }

    pub(crate) async fn wait(&self) {
        match self.inotify.readable().await {
            Ok(mut ready) => ready.clear_ready(),
            Err(error) => {
                tracing::error!(%error, "files are no longer watched");
                std::future::pending::<()>().await;
            }
        }
    }

    /// What exactly has changed does not matter: everything is looked at.
    pub(crate) fn drain(&self) {
        let mut buffer = [0; 4 << 10];
        while matches!(rustix::io::read(self.inotify.get_ref(), &mut buffer), Ok(1..)) {}
    }
}
