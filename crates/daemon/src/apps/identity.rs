//! What a manifest says and its programs are on the disk, to be compared later: a change is an update of the application.
//! Commands that a person gave are no part of it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use longhaul_contract::manifest::{EntryPointKind, Manifest};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    /// Without the commands.
    manifest: Manifest,
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
    pub(super) fn of(mut manifest: Manifest) -> Self {
        manifest.entry_points.retain(|entry_point| !entry_point.is_command());
        let programs = programs(&manifest).map(|path| (path.clone(), FileIdentity::of(&path))).collect();
        Self { manifest, programs }
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

#[cfg(test)]
mod tests {
    use longhaul_contract::manifest::COMMAND_PREFIX;

    use super::*;

    fn manifest(classes: &[&str]) -> Manifest {
        let entry_points: String = classes
            .iter()
            .map(|class| format!("[[entry-point]]\nclass = \"{class}\"\nexec = [\"/bin/sh\"]\n"))
            .collect();
        toml::from_str(&format!("[app]\nid = \"org.example.A\"\n{entry_points}")).unwrap()
    }

    #[test]
    fn a_command_of_a_person_is_no_update() {
        let command = format!("{COMMAND_PREFIX}when-1");
        let before = Identity::of(manifest(&["A.Task"]));
        assert_eq!(before, Identity::of(manifest(&["A.Task", &command])));
        assert_ne!(before, Identity::of(manifest(&["A.Task", "A.Other"])));
        let of_commands = Identity::of(manifest(&[&command]));
        assert_eq!(of_commands.folders().count(), 0, "nor are its programs looked at");
        assert_eq!(before.folders().collect::<Vec<_>>(), [Path::new("/bin")]);
        let kept: Identity = serde_json::from_str(&serde_json::to_string(&before).unwrap()).unwrap();
        assert_eq!(kept, before);
    }
}
