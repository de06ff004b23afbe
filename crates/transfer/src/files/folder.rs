//! The destination folder, held open: every file in it is reached relative to it, so that swapping a parent for a
//! symbolic link during the job leads nowhere (row 87 of the faults).

use std::os::fd::OwnedFd;
use std::sync::Arc;

use longhaul_contract::Failure;
use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::failure::io_failure;

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
        let root = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| io_failure("open the folder", shown, errno))?;
        let relative = shown.trim_start_matches('/');
        let descriptor = rustix::fs::openat2(
            &root,
            if relative.is_empty() { "." } else { relative },
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW,
            Mode::empty(),
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
        )
        .map_err(|errno| io_failure("open the folder", shown, errno))?;
        Ok(Self { shared: Arc::new(OpenFolder { descriptor, path: shown.to_owned() }) })
    }
}
