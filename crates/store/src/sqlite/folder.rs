//! The state folder: only its owner looks in, and only one service writes in it.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock};

use crate::contract_types::StoreError;

const DATABASE: &str = "longhaul.db";
const LOCK: &str = "longhaul.lock";

/// A state folder that is ours until this is dropped.
pub(super) struct StateFolder {
    path: PathBuf,
    _lock: File,
}

impl StateFolder {
    /// Makes the folder if it is missing and locks it.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        ensure_private(path)?;
        let lock = lock(path)?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn database(&self) -> PathBuf {
        self.path.join(DATABASE)
    }

    /// Makes the database file if it is missing: SQLite gives its side files the same mode.
    pub(super) fn ensure_database_file(&self) -> Result<(), StoreError> {
        let path = self.database();
        let file = open_private(&path).map_err(|error| cannot_write(&path, &error))?;
        file.sync_all().and_then(|()| self.sync()).map_err(|error| cannot_write(&path, &error))
    }

    /// Makes the names in the folder durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

/// A file that only its owner can read, made if it is missing.
pub(super) fn open_private(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)?;
    if file.metadata()?.mode() & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok(file)
}

pub(super) fn cannot_write(path: &Path, error: &dyn std::error::Error) -> StoreError {
    StoreError::CannotWrite(format!("{}: {error}", path.display()))
}

fn ensure_private(path: &Path) -> Result<(), StoreError> {
    let make = || -> io::Result<()> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        match DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made?,
        }
        let metadata = std::fs::metadata(path)?;
        let is_shared = metadata.mode() & 0o077 != 0;
        let is_ours = metadata.uid() == rustix::process::geteuid().as_raw();
        if is_shared && is_ours && holds_nothing_else(path)? {
            std::fs::set_permissions(path, Permissions::from_mode(0o700))?;
        }
        Ok(())
    };
    make().map_err(|error| cannot_write(path, &error))?;
    let metadata = std::fs::metadata(path).map_err(|error| cannot_write(path, &error))?;
    let refuse = |problem: &str| {
        Err(StoreError::UnsafeFolder { path: path.display().to_string(), problem: problem.to_owned() })
    };
    if !metadata.is_dir() {
        return refuse("it is not a folder");
    }
    if metadata.mode() & 0o022 != 0 {
        return refuse("other users may write to it; choose a folder of its own");
    }
    Ok(())
}

/// Whether the folder is for the service alone, so that its mode may be tightened.
fn holds_nothing_else(path: &Path) -> io::Result<bool> {
    if path.join(LOCK).try_exists()? {
        return Ok(true);
    }
    Ok(std::fs::read_dir(path)?.next().is_none())
}

fn lock(folder: &Path) -> Result<File, StoreError> {
    let path = folder.join(LOCK);
    let mut file = open_private(&path).map_err(|error| cannot_write(&path, &error))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            return Err(StoreError::InUse {
                path: folder.display().to_string(),
                holder: holder.trim().parse().ok(),
            });
        }
        Err(error) => return Err(cannot_write(&path, &error)),
    }
    let write_process = |file: &mut File| -> io::Result<()> {
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())
    };
    // The number only serves the message to a second service, so a full disk does not keep the first from starting.
    if let Err(error) = write_process(&mut file) {
        tracing::debug!(%error, "the process number is not in the lock file");
    }
    Ok(file)
}
