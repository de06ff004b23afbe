//! One file that is sent: which version of it, and whether it still is that version.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use longhaul_contract::{Blocker, Cause, Failure, Remedy};
use rustix::fs::Advice;
use rustix::io::{Errno, ReadWriteFlags};

use super::record::SourceIdentity;
use crate::http::failure::{blocked, failure, needs_input};

#[derive(Debug)]
pub(crate) struct SourceFile {
    path: PathBuf,
    file: File,
    pub(crate) identity: SourceIdentity,
}

impl SourceFile {
    /// Blocks.
    ///
    /// # Errors
    /// There is no such file, it cannot be read, or it is no regular file.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        // A pipe without a writer would be waited for.
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(path)
            .map_err(|error| unreadable(path, &error))?;
        let metadata = file.metadata().map_err(|error| unreadable(path, &error))?;
        if !metadata.is_file() {
            return Err(needs_input(
                Cause::SourceUnreadable,
                format!("{} is no regular file, and only those can be sent", path.display()),
            ));
        }
        // Without it the file is read all the same.
        let _ = rustix::fs::fadvise(&file, 0, None, Advice::Sequential);
        Ok(Self { path: path.to_owned(), file, identity: identity(&metadata) })
    }

    pub(crate) fn name(&self) -> Option<&str> {
        self.path.file_name().and_then(|name| name.to_str())
    }

    /// Whether the file, and what has its name now, are what was opened.
    ///
    /// # Errors
    /// They are not.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        let open = self.file.metadata().map_err(|error| unreadable(&self.path, &error))?;
        if identity(&open) != self.identity {
            return Err(self.changed("was changed while it was sent"));
        }
        match std::fs::metadata(&self.path) {
            Ok(named) if identity(&named) == self.identity => Ok(()),
            Ok(_) => Err(self.changed("was replaced while it was sent")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(self.changed("was removed while it was sent"))
            }
            Err(error) => Err(unreadable(&self.path, &error)),
        }
    }

    fn changed(&self, what: &str) -> Failure {
        failure(Remedy::Stale, Cause::SourceChanged, format!("{} {what}", self.path.display()))
    }

    /// Reads what is in memory already; `None` when the disk has to be asked.
    pub(crate) fn read_now(&self, offset: u64, buffer: &mut [u8]) -> Option<Result<usize, Failure>> {
        let mut slices = [io::IoSliceMut::new(buffer)];
        match rustix::io::preadv2(&self.file, &mut slices, offset, ReadWriteFlags::NOWAIT) {
            Ok(0) => Some(Err(self.changed("became shorter while it was sent"))),
            Ok(count) => Some(Ok(count)),
            Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS | Errno::INTR) => None,
            Err(error) => Some(Err(unreadable(&self.path, &error.into()))),
        }
    }

    /// Reads at least one byte. Blocks.
    pub(crate) fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, Failure> {
        use std::os::unix::fs::FileExt as _;
        loop {
            return match self.file.read_at(buffer, offset) {
                Ok(0) => Err(self.changed("became shorter while it was sent")),
                Ok(count) => Ok(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(unreadable(&self.path, &error)),
            };
        }
    }
}

fn identity(metadata: &Metadata) -> SourceIdentity {
    SourceIdentity {
        device: metadata.dev(),
        inode: metadata.ino(),
        size: metadata.len(),
        modified: i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec()),
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    let detail = format!("{} cannot be read: {error}", path.display());
    match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM) => {
            blocked(Blocker::Resources, Cause::Resources, detail)
        }
        Some(libc::EIO | libc::ESTALE | libc::ENXIO | libc::ENODEV) => {
            failure(Remedy::Transient, Cause::FileIo, detail)
        }
        _ => needs_input(Cause::SourceUnreadable, detail),
    }
}
