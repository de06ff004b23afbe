//! The destination folder, held open: every file in it is reached relative to it, so that swapping a parent for a
//! symbolic link during the job leads nowhere (row 87 of the faults).

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use longhaul_contract::{Blocker, Cause, Failure, Remedy};
use rustix::fs::{Access, AtFlags, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::failure::{failure, io_failure};
use super::identity;
use super::sink::is_local_disk;

/// An opened destination folder. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Folder {
    pub(super) shared: Arc<OpenFolder>,
}

#[derive(Debug)]
pub(super) struct OpenFolder {
    pub(super) descriptor: OwnedFd,
    /// As given, for people and for the journal; without a slash at the end.
    pub(super) path: String,
    /// Device and inode.
    pub(super) key: (u64, u64),
    /// On a disk of this machine: calls that find everything in memory need no thread of their own.
    pub(super) is_local: bool,
}

impl Folder {
    /// Absolute path, as given at opening, without a slash at the end.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.shared.path
    }

    pub(super) fn open(path: &str) -> Result<Self, Failure> {
        let trimmed = path.trim_end_matches('/');
        let shown = if trimmed.is_empty() { "/" } else { trimmed };
        if !path.starts_with('/') {
            let detail = format!("the folder {path:?} is no absolute path");
            return Err(failure(Remedy::Permanent, Cause::InvalidName, detail));
        }
        open_without_links(shown)
            .and_then(|descriptor| {
                let seen = identity::of_statx(&identity::look_at(&descriptor)?);
                let key = (seen.device, seen.inode);
                let mut folder = OpenFolder { descriptor, path: shown.to_owned(), key, is_local: false };
                folder.is_local = is_local_disk(&folder)?;
                Ok(Self { shared: Arc::new(folder) })
            })
            .map_err(|errno| folder_failure(shown, errno))
    }
}

impl OpenFolder {
    /// The absolute path of `name` in this folder, for people.
    pub(super) fn path_of(&self, name: &str) -> String {
        if self.path == "/" { format!("/{name}") } else { format!("{}/{name}", self.path) }
    }

    /// Where the folder is now: it may have been moved while it was open.
    pub(super) fn path_now(&self) -> String {
        use std::os::fd::AsRawFd as _;
        let link = format!("/proc/self/fd/{}", self.descriptor.as_raw_fd());
        match std::fs::read_link(link).ok().and_then(|path| path.into_os_string().into_string().ok()) {
            Some(path) if path.starts_with('/') && !path.ends_with(" (deleted)") => path,
            _ => self.path.clone(),
        }
    }
}

/// Opens an absolute path no component of which is a symbolic link.
fn open_without_links(path: &str) -> Result<OwnedFd, Errno> {
    let root = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let relative = path.trim_start_matches('/');
    let relative = if relative.is_empty() { "." } else { relative };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    loop {
        match rustix::fs::openat2(&root, relative, flags, Mode::empty(), resolve) {
            // A rename or mount elsewhere disturbed the walk.
            Err(Errno::AGAIN | Errno::INTR) => {}
            // Kernels before 5.6, and sandboxes that filter the call.
            Err(Errno::NOSYS | Errno::PERM) => return walk_without_links(root, relative, flags),
            opened => return opened,
        }
    }
}

/// The same, component by component.
fn walk_without_links(root: OwnedFd, relative: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    let mut here = root;
    for component in relative.split('/').filter(|component| !component.is_empty()) {
        if component == ".." {
            return Err(Errno::XDEV);
        }
        let step = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        here = rustix::fs::openat(&here, component, step, Mode::empty())?;
    }
    rustix::fs::openat(&here, ".", flags, Mode::empty())
}

fn folder_failure(path: &str, errno: Errno) -> Failure {
    let blocked =
        |cause, on, what: &str| failure(Remedy::Blocked { on }, cause, format!("the folder {path} {what}"));
    match errno {
        Errno::NOENT => blocked(Cause::FolderMissing, Blocker::Folder, "does not exist"),
        Errno::NOTDIR => blocked(Cause::FolderMissing, Blocker::Folder, "is not a folder, or no longer one"),
        Errno::LOOP | Errno::XDEV => blocked(
            Cause::FolderMissing,
            Blocker::Folder,
            "now leads through a symbolic link, which is not followed",
        ),
        Errno::ACCESS => blocked(Cause::FolderNotWritable, Blocker::ReadOnly, "may not be entered"),
        other => io_failure("open the folder", path, other),
    }
}

/// The path of an existing, writable folder with its symbolic links resolved, as downloads keep it. Blocks on the disk.
///
/// # Errors
/// There is no such folder, or this process may not write in it.
pub fn resolve_folder(path: &str) -> Result<String, Failure> {
    let resolved = std::fs::canonicalize(path)
        .map_err(|error| folder_failure(path, Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
    let resolved = resolved.into_os_string().into_string().map_err(|path| {
        let detail = format!("the folder {} has a name that is not UTF-8", path.display());
        failure(Remedy::Permanent, Cause::InvalidName, detail)
    })?;
    let folder = Folder::open(&resolved)?;
    match check_writable(folder.shared.descriptor.as_fd()) {
        Ok(()) => Ok(resolved),
        Err(errno) => Err(io_failure("write in the folder", &resolved, errno)),
    }
}

fn check_writable(folder: std::os::fd::BorrowedFd<'_>) -> Result<(), Errno> {
    rustix::fs::accessat(folder, ".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walking_by_component_refuses_links_as_openat2_does() {
        let place = tempfile::tempdir().unwrap();
        let base = place.path().canonicalize().unwrap();
        std::fs::create_dir_all(base.join("a/b")).unwrap();
        std::os::unix::fs::symlink(base.join("a"), base.join("link")).unwrap();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let walk = |path: &str| {
            let root = rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
            let whole = base.join(path).into_os_string().into_string().unwrap();
            let opened = walk_without_links(root, &whole, flags).map(drop);
            assert_eq!(opened.is_ok(), open_without_links(&whole).is_ok(), "{path}");
            opened
        };
        assert_eq!(walk("a/b"), Ok(()));
        assert_eq!(walk("a/c"), Err(Errno::NOENT));
        assert!(matches!(walk("link/b"), Err(Errno::LOOP | Errno::NOTDIR)));
    }
}
