//! The manifests of applications: read from the owner's folder whenever they are asked for, and never written here.
//!
//! A manifest names commands that the service runs, so it counts only if nobody else could have written it.

mod identity;
mod watch;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use longhaul_contract::AppId;
use longhaul_contract::manifest::{InvalidManifest, Manifest};

pub(crate) use watch::Watcher;

/// Bytes of a manifest file.
const MANIFEST_BYTES_MAX: u64 = 256 << 10;

/// Why a manifest does not count.
#[derive(Debug, thiserror::Error)]
#[error("the manifest {path} {problem}")]
pub(crate) struct ManifestError {
    path: String,
    problem: Problem,
}

#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("cannot be read: {0}")]
    Unreadable(#[source] io::Error),
    #[error("belongs to user {0}: only the owner of the service and root may write manifests")]
    ForeignOwner(u32),
    #[error("may be written by others: take the right away with `chmod go-w`")]
    OthersMayWrite,
    #[error("lies in a folder that others may write: take the right away with `chmod go-w`")]
    OthersMayWriteFolder,
    #[error("has more than {MANIFEST_BYTES_MAX} bytes")]
    TooLarge,
    #[error("is no text in UTF-8")]
    NotText,
    #[error("is not a manifest: {0}")]
    Malformed(String),
    #[error(transparent)]
    Invalid(#[from] InvalidManifest),
    #[error("is of {0}: its file name has to be the application's id")]
    OtherApp(AppId),
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error)
    }
}

/// The folder of manifests.
#[derive(Debug)]
pub(crate) struct Apps {
    folder: PathBuf,
    /// User id of the service.
    uid: u32,
}

impl Apps {
    pub(crate) fn new(folder: PathBuf, uid: u32) -> Self {
        Self { folder, uid }
    }

    fn path(&self, app: &AppId) -> PathBuf {
        self.folder.join(format!("{app}.toml"))
    }

    /// `None` when the application has none. May block.
    ///
    /// # Errors
    /// There is a file, and it does not count.
    pub(crate) fn manifest(&self, app: &AppId) -> Result<Option<Manifest>, ManifestError> {
        let path = self.path(app);
        let read = || -> Result<Option<Manifest>, Problem> {
            let file = match File::open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            self.check_folder()?;
            self.read(&file, app).map(Some)
        };
        read().map_err(|problem| ManifestError { path: path.display().to_string(), problem })
    }

    fn check_folder(&self) -> Result<(), Problem> {
        let metadata = std::fs::metadata(&self.folder)?;
        self.check_owner(metadata.uid())?;
        if metadata.mode() & 0o022 != 0 {
            return Err(Problem::OthersMayWriteFolder);
        }
        Ok(())
    }

    fn check_owner(&self, uid: u32) -> Result<(), Problem> {
        if uid == self.uid || uid == 0 { Ok(()) } else { Err(Problem::ForeignOwner(uid)) }
    }

    fn read(&self, file: &File, app: &AppId) -> Result<Manifest, Problem> {
        let metadata = file.metadata()?;
        self.check_owner(metadata.uid())?;
        if metadata.mode() & 0o022 != 0 {
            return Err(Problem::OthersMayWrite);
        }
        if !metadata.is_file() {
            return Err(io::Error::other("it is no regular file").into());
        }
        let mut text = Vec::new();
        file.take(MANIFEST_BYTES_MAX + 1).read_to_end(&mut text)?;
        if text.len() as u64 > MANIFEST_BYTES_MAX {
            return Err(Problem::TooLarge);
        }
        let text = std::str::from_utf8(&text).map_err(|_| Problem::NotText)?;
        let manifest: Manifest =
            toml::from_str(text).map_err(|error| Problem::Malformed(error.to_string()))?;
        if manifest.app.id != *app {
            return Err(Problem::OtherApp(manifest.app.id));
        }
        manifest.check()?;
        Ok(manifest)
    }

    /// All applications that have a manifest file, by id, with what is wrong with it. `None`: there is no folder. May
    /// block.
    fn all(&self) -> Option<BTreeMap<AppId, Result<Manifest, ManifestError>>> {
        let entries = std::fs::read_dir(&self.folder).ok()?;
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let apps = names.filter_map(|name| AppId::new(name.strip_suffix(".toml")?).ok());
        let found = apps.filter_map(|app| match self.manifest(&app) {
            Ok(manifest) => Some((app, Ok(manifest?))),
            Err(error) => Some((app, Err(error))),
        });
        Some(found.collect())
    }

    /// The applications that have a manifest file. May block.
    pub(crate) fn installed(&self) -> Vec<AppId> {
        self.all().unwrap_or_default().into_keys().collect()
    }

    fn folder(&self) -> &Path {
        &self.folder
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const GOOD: &str =
        "[app]\nid = \"org.example.A\"\n[[entry-point]]\nclass = \"A.Task\"\nexec = [\"true\"]\n";

    fn apps() -> (tempfile::TempDir, Apps, AppId) {
        let folder = tempfile::tempdir().unwrap();
        let apps = Apps::new(folder.path().to_owned(), rustix::process::geteuid().as_raw());
        (folder, apps, AppId::new("org.example.A").unwrap())
    }

    fn mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_manifest_is_read_when_it_is_asked_for() {
        let (folder, apps, app) = apps();
        assert!(apps.manifest(&app).unwrap().is_none());
        let path = folder.path().join("org.example.A.toml");
        std::fs::write(&path, GOOD).unwrap();
        mode(&path, 0o644);
        assert!(apps.manifest(&app).unwrap().unwrap().entry_point("A.Task").is_some());
        assert_eq!(apps.installed(), [app]);
    }

    #[test]
    fn fault_124_what_others_could_have_written_does_not_count() {
        let (folder, apps, app) = apps();
        let path = folder.path().join("org.example.A.toml");
        std::fs::write(&path, GOOD).unwrap();
        mode(&path, 0o664);
        assert!(apps.manifest(&app).unwrap_err().to_string().contains("may be written by others"));
        mode(&path, 0o644);
        mode(folder.path(), 0o777);
        assert!(apps.manifest(&app).unwrap_err().to_string().contains("lies in a folder"));
        mode(folder.path(), 0o700);
        assert!(apps.manifest(&app).is_ok());
        let stranger = Apps { uid: 1, ..apps };
        assert!(stranger.manifest(&app).is_ok(), "root may write manifests of everybody");
    }

    #[test]
    fn what_is_wrong_is_told() {
        let (folder, apps, app) = apps();
        let path = folder.path().join("org.example.A.toml");
        for (text, problem) in [
            ("nonsense", "is not a manifest"),
            ("[app]\nid = \"org.example.B\"\n", "file name"),
            ("[app]\nid = \"org.example.A\"\n[[entry-point]]\nclass = \"x\"\n", "needs one of"),
            (&"#".repeat(300_000), "more than"),
        ] {
            std::fs::write(&path, text).unwrap();
            mode(&path, 0o600);
            let error = apps.manifest(&app).unwrap_err().to_string();
            assert!(error.contains(problem) && error.contains("org.example.A.toml"), "{error}");
        }
    }
}
