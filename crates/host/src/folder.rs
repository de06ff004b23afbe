//! Tells when names in one folder appear, change or go (inotify(7)). It looks at nothing by itself: who is told looks
//! again, so that several changes in a row are one.

use std::ffi::OsStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Room for many events; one has at most 16 bytes and a name of 256.
const BUFFER: usize = 4096;

/// Watches the names in one folder. Must live inside a tokio runtime.
#[derive(Debug)]
pub(crate) struct FolderWatch {
    events: AsyncFd<OwnedFd>,
    folder: PathBuf,
}

impl FolderWatch {
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        let events = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        let flags = WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        inotify::add_watch(&events, folder, flags)?;
        // SAFETY: an `OwnedFd` that is never taken out names the same open file for its whole life.
        let events = unsafe { AsyncFd::register_with_interest(events, Interest::READABLE) }?;
        Ok(Self { events, folder: folder.to_owned() })
    }

    /// The nearest folder of `path` that there is, so that a folder can be waited for that does not exist yet.
    pub(crate) fn open_nearest(path: &Path) -> io::Result<Self> {
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for folder in path.ancestors().filter(|folder| !folder.as_os_str().is_empty()) {
            match Self::open(folder) {
                Ok(watch) => return Ok(watch),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Waits until something happened to a name that `is_wanted`, or events were lost. May be dropped and called
    /// again at any point.
    ///
    /// # Errors
    /// `NotFound`: the folder itself is gone; open a new watch. Others: the kernel tells no more.
    pub(crate) async fn changed(&mut self, is_wanted: impl Fn(&OsStr) -> bool) -> io::Result<()> {
        loop {
            let mut ready = self.events.readable().await?;
            let mut buffer = [MaybeUninit::uninit(); BUFFER];
            let mut reader = inotify::Reader::new(self.events.get_ref(), &mut buffer);
            let mut is_concerned = false;
            loop {
                match reader.next() {
                    Ok(event) => {
                        let gone = ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::IGNORED;
                        if event.events().intersects(gone | ReadFlags::UNMOUNT) {
                            return Err(io::ErrorKind::NotFound.into());
                        }
                        let is_lost = event.events().contains(ReadFlags::QUEUE_OVERFLOW);
                        let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()));
                        is_concerned |= is_lost || name.is_some_and(&is_wanted);
                    }
                    Err(Errno::AGAIN) => break,
                    Err(Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            ready.clear_ready();
            if is_concerned {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn it_tells_of_wanted_names_and_of_its_own_end() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("inner/folder");
        assert_eq!(FolderWatch::open_nearest(&folder).unwrap().folder(), parent.path());
        fs::create_dir_all(&folder).unwrap();
        let mut watch = FolderWatch::open_nearest(&folder).unwrap();
        assert_eq!(watch.folder(), folder);
        fs::write(folder.join("other"), "").unwrap();
        fs::rename(folder.join("other"), folder.join("wanted")).unwrap();
        let is_wanted = |name: &OsStr| name == "wanted";
        tokio::time::timeout(DEADLINE, watch.changed(is_wanted)).await.unwrap().unwrap();
        fs::remove_dir_all(&folder).unwrap();
        let end = async { while watch.changed(is_wanted).await.is_ok() {} };
        tokio::time::timeout(DEADLINE, end).await.unwrap();
    }

    #[tokio::test]
    async fn a_name_that_nobody_wants_is_no_change() {
        let folder = tempfile::tempdir().unwrap();
        let mut watch = FolderWatch::open(folder.path()).unwrap();
        fs::write(folder.path().join("other"), "").unwrap();
        fs::write(folder.path().join("wanted"), "").unwrap();
        let seen = std::cell::RefCell::new(Vec::new());
        let watching = watch.changed(|name| {
            seen.borrow_mut().push(name.to_owned());
            name == "wanted"
        });
        tokio::time::timeout(DEADLINE, watching).await.unwrap().unwrap();
        assert!(seen.borrow().iter().any(|name| name == "other"));
    }
}
