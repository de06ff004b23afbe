//! What a manifest and its programs are on the disk, to be compared later: a change is an update of the application.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use longhaul_contract::manifest::{EntryPointKind, Manifest};
use longhaul_host::packages::{self, PackagesError, Versions};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    /// SHA-256 of what the manifest says, without classes of commands.
    manifest: String,
    /// By path; `None` for one that is missing.
    programs: BTreeMap<PathBuf, Option<FileIdentity>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    packages: Versions,
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
    /// # Errors
    /// A package of the application cannot be judged now.
    pub(super) fn of(manifest: &Manifest, databases: &[PathBuf]) -> Result<Self, PackagesError> {
        let packages = packages::versions(databases, &manifest.app.packages)?;
        let mut manifest = manifest.clone();
        manifest.entry_points.retain(|entry_point| !entry_point.is_command());
        let programs = programs(&manifest).map(|path| (path.clone(), FileIdentity::of(&path))).collect();
        // What a manifest says is plain data, which always has a JSON form.
        let text = serde_json::to_vec(&manifest).unwrap_or_default();
        Ok(Self { manifest: hex::encode(Sha256::digest(text)), programs, packages })
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
    use super::*;

    fn identity(text: &str) -> Identity {
        Identity::of(&toml::from_str(text).unwrap(), &[]).unwrap()
    }

    #[test]
    fn commands_make_no_other_application() {
        let head = "[app]\nid = \"org.example.A\"\n";
        let entry = |class: &str, program: &str| {
            format!("[[entry-point]]\nclass = \"{class}\"\nexec = [\"{program}\"]\n")
        };
        let plain = identity(head);
        assert_eq!(identity(&format!("{head}# a remark\n{}", entry("command:1", "/bin/true"))), plain);
        assert_ne!(identity(&format!("{head}{}", entry("A.Task", "/bin/true"))), plain);
    }

    #[test]
    fn a_changed_program_shows() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("program");
        let text = format!(
            "[app]\nid = \"org.example.A\"\n[[entry-point]]\nclass = \"x\"\nexec = [{:?}]\n",
            program.display().to_string()
        );
        let missing = identity(&text);
        std::fs::write(&program, "1").unwrap();
        let there = identity(&text);
        assert_ne!(there, missing);
        assert_eq!(identity(&text), there);
        std::fs::write(&program, "22").unwrap();
        assert_ne!(identity(&text), there);
        assert_eq!(there.folders().collect::<Vec<_>>(), [folder.path()]);
    }
}
