//! Tells that something happened on the way to a folder: it was made, moved here, or may be entered again
//! (inotify(7)). What follows from that is for whoever asks; nothing is looked at before the kernel has told.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Watches ways to folders. Dropping it ends the watch. Must live inside a tokio runtime.
#[derive(Debug)]
pub struct WayWatch {
    changes: AsyncFd<OwnedFd>,
}

impl WayWatch {
    /// Watches the way to each of these absolute paths as far as it exists now. A folder that appears may have others
    /// below it, so after each change a new watch has to be opened, and only then looked.
    ///
    /// # Errors
    /// The system has no room for another watch.
    pub fn open<'a>(folders: impl Iterator<Item = &'a Path>) -> io::Result<Self> {
        let changes = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        for folder in folders {
            watch_way(&changes, folder)?;
        }
        // SAFETY: an `OwnedFd` that is never taken out names the same open file for its whole life.
        let changes = unsafe { AsyncFd::register_with_interest(changes, Interest::READABLE) }?;
        Ok(Self { changes })
    }

    /// Waits until something has happened. May be dropped and called again at any point.
    pub async fn changed(&mut self) {
        let Ok(mut ready) = self.changes.readable().await else { return std::future::pending().await };
        let mut events = [0; 4096];
        while let Ok(_) | Err(Errno::INTR) = rustix::io::read(self.changes.get_ref(), &mut events) {}
        ready.clear_ready();
    }
}

/// From the folder upwards: what appears matters only in the deepest folder there is, but any of them may be moved
/// away or closed to this user.
fn watch_way(changes: &OwnedFd, folder: &Path) -> io::Result<()> {
    let own = WatchFlags::ATTRIB | WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF | WatchFlags::ONLYDIR;
    let mut flags = own | WatchFlags::MASK_ADD | WatchFlags::CREATE | WatchFlags::MOVED_TO;
    for ancestor in folder.ancestors() {
        match inotify::add_watch(changes, ancestor, flags) {
            Ok(_) => flags = own | WatchFlags::MASK_ADD,
            Err(
                Errno::NOENT | Errno::NOTDIR | Errno::ACCESS | Errno::LOOP | Errno::STALE | Errno::NOTCONN,
            ) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(10);

    async fn has_changed(watch: &mut WayWatch) {
        tokio::time::timeout(DEADLINE, watch.changed()).await.expect("the kernel tells");
    }

    #[tokio::test]
    async fn a_folder_that_is_made_or_moved_back_is_told() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("a/b");
        let mut watch = WayWatch::open([folder.as_path()].into_iter()).unwrap();
        fs::create_dir(place.path().join("a")).unwrap();
        has_changed(&mut watch).await;
        let mut watch = WayWatch::open([folder.as_path()].into_iter()).unwrap();
        fs::create_dir(&folder).unwrap();
        has_changed(&mut watch).await;
        fs::rename(place.path().join("a"), place.path().join("c")).unwrap();
        let mut watch = WayWatch::open([folder.as_path()].into_iter()).unwrap();
        fs::rename(place.path().join("c"), place.path().join("a")).unwrap();
        has_changed(&mut watch).await;
    }

    #[tokio::test]
    async fn a_change_of_permissions_is_told_and_files_inside_the_parents_are_not() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("a");
        fs::create_dir(&folder).unwrap();
        let mut watch = WayWatch::open([folder.as_path()].into_iter()).unwrap();
        fs::write(place.path().join("beside"), "x").unwrap();
        tokio::select! {
            biased;
            () = watch.changed() => panic!("a file beside the folder is no news"),
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
        }
        fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o500)).unwrap();
        has_changed(&mut watch).await;
    }
}
