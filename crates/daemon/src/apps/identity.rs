//! What a manifest and its programs are on the disk, to be compared later: a change is an update of the application.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use longhaul_contract::manifest::{EntryPointKind, Manifest};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    manifest: Option<FileIdentity>,
    /// By path; `None` for one that is missing.
    programs: BTreeMap<PathBuf, Option<FileIdentity>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct FileIdentity {
    inode: u64,
    size: u64,
    seconds: i64,
    nanoseconds: i64,
}

impl FileIdentity {
    fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        Some(Self {
            inode: metadata.ino(),
            size: metadata.size(),
            seconds: metadata.mtime(),
            nanoseconds: metadata.mtime_nsec(),
        })
    }
}

impl Identity {
    pub(super) fn of(file: &Path, manifest: &Manifest) -> Self {
        let programs = programs(manifest).map(|path| (path.clone(), FileIdentity::of(&path))).collect();
        Self { manifest: FileIdentity::of(file), programs }
    }

    /// The folders in which a change may show.
    pub(super) fn folders(&self) -> impl Iterator<Item = &Path> {
        self.programs.keys().filter_map(|path| path.parent())
    }
}

/// The files behind the entry points, as far as they can be found.
fn programs(manifest: &Manifest) -> impl Iterator<Item = PathBuf> {
    manifest.entry_points.iter().filter_map(|entry_point| match entry_point.kind().ok()? {
        EntryPointKind::Process(command) => {
            let program = Path::new(command.first()?);
            let path = entry_point.environment.get("PATH").map(OsStr::new);
            if program.is_absolute() { Some(program.to_owned()) } else { look_up(program, path) }
        }
        EntryPointKind::Wasm(file) => Some(file.to_owned()),
        EntryPointKind::DBus(..) | EntryPointKind::InProcess => None,
    })
}

fn look_up(program: &Path, path: Option<&OsStr>) -> Option<PathBuf> {
    let own = std::env::var_os("PATH");
    let path = path.or(own.as_deref())?;
    std::env::split_paths(path).map(|folder| folder.join(program)).find(|candidate| candidate.is_file())
}
