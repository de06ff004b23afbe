//! The place of the file to make: a folder that exists and can be written, inside of what the caller may touch.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::num::NonZeroU64;
use std::path::{Component, Path, PathBuf};

use longhaul_contract::{AppId, CreateDownload, ErrorCode, IfExists};
use longhaul_engine::TargetKey;
use longhaul_host::disk;
use sha2::{Digest, Sha256};

use super::interface::check_reach;
use crate::config::AppSettings;
use crate::http::{Answer, Refused};

const PATH_BYTES_MAX: usize = 4096;
const NAME_BYTES_MAX: usize = 255;

/// How far a caller reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// The owner, unconfined: any path that can be written, any address.
    Everywhere,
    /// Only the application's folders and, unless the owner allows more, public addresses.
    Confined,
}

/// Where files may be made.
#[derive(Debug)]
pub(crate) struct Places {
    /// Holds a folder for every application.
    apps_folder: PathBuf,
    settings: BTreeMap<AppId, AppSettings>,
}

/// A folder that was looked at; a batch mostly names one and the same.
#[derive(Debug, Clone)]
struct Folder {
    canonical: PathBuf,
}

/// Looks at places for one request. May block.
pub(crate) struct Look<'a> {
    places: &'a Places,
    app: &'a AppId,
    reach: Reach,
    folders: HashMap<PathBuf, Folder>,
}

impl Places {
    pub(crate) fn new(state: &Path, settings: BTreeMap<AppId, AppSettings>) -> Self {
        Self { apps_folder: state.join("apps"), settings }
    }

    pub(crate) fn look<'a>(&'a self, app: &'a AppId, reach: Reach) -> Look<'a> {
        Look { places: self, app, reach, folders: HashMap::new() }
    }

    /// The folder an application always has.
    pub(crate) fn folder_of(&self, app: &AppId) -> PathBuf {
        self.apps_folder.join(app.as_str())
    }

    fn allows_private_addresses(&self, app: &AppId) -> bool {
        self.settings.get(app).is_some_and(|settings| settings.private_addresses)
    }

    fn roots(&self, app: &AppId) -> Vec<PathBuf> {
        let own = self.folder_of(app);
        let listed = self.settings.get(app).map(|settings| settings.folders.as_slice()).unwrap_or_default();
        std::iter::once(own).chain(listed.iter().cloned()).collect()
    }
}

impl Look<'_> {
    /// Checks the place, and confines what has to be confined. Gives the key two live operations must not share.
    pub(crate) fn check(&mut self, spec: &mut CreateDownload) -> Answer<Option<TargetKey>> {
        let path = check_form(&spec.result_file)?.to_owned();
        let names_folder = spec.result_file.ends_with('/');
        let folder_path = if names_folder { path.as_path() } else { path.parent().unwrap_or(&path) };
        let folder = self.folder(folder_path)?;
        check_reach(spec.interface.as_deref(), self.reach)?;
        if self.reach == Reach::Confined {
            spec.public_addresses_only |= !self.places.allows_private_addresses(self.app);
        }
        let name = if names_folder { None } else { path.file_name() };
        let Some(name) = name else {
            if self.reach == Reach::Confined {
                spec.result_file = format!("{}/", text(&folder.canonical)?);
            }
            return Ok(None);
        };
        let target = folder.canonical.join(name);
        check_target(&target, spec.if_exists)?;
        if self.reach == Reach::Confined {
            // Without symbolic links, so that nothing can be led elsewhere between now and then.
            text(&target)?.clone_into(&mut spec.result_file);
        }
        Ok((spec.if_exists != IfExists::Rename).then(|| target_key(&target)))
    }

    pub(super) fn reach(&self) -> Reach {
        self.reach
    }

    pub(super) fn allows_private_addresses(&self) -> bool {
        self.places.allows_private_addresses(self.app)
    }

    fn folder(&mut self, path: &Path) -> Answer<Folder> {
        if let Some(folder) = self.folders.get(path) {
            return Ok(folder.clone());
        }
        if self.reach == Reach::Confined {
            self.check_roots(path, path)?;
        }
        let canonical = std::fs::canonicalize(path).map_err(|error| folder_refusal(path, &error))?;
        if self.reach == Reach::Confined {
            self.check_roots(&canonical, path)?;
        }
        if !canonical.is_dir() {
            return Err(invalid_path(format!("{} is no folder", path.display())));
        }
        disk::check_writable(&canonical).map_err(|why| {
            let detail = format!("{} cannot be written: {why}", path.display());
            Refused::new(ErrorCode::FolderNotWritable, detail).with_field("/resultFile")
        })?;
        let folder = Folder { canonical };
        self.folders.insert(path.to_owned(), folder.clone());
        Ok(folder)
    }

    /// The application's own folder is made when it is first named.
    pub(super) fn check_roots(&self, path: &Path, named: &Path) -> Answer<()> {
        let roots = self.places.roots(self.app);
        let own = self.places.folder_of(self.app);
        if path == own && !path.exists() {
            make_private_folder(path).map_err(|error| Refused::internal(&error))?;
        }
        let is_inside = roots.iter().any(|root| {
            path.starts_with(root) || std::fs::canonicalize(root).is_ok_and(|root| path.starts_with(root))
        });
        if is_inside {
            return Ok(());
        }
        let detail = format!(
            "{} is outside of what {} may use; its folder is {}",
            named.display(),
            self.app,
            own.display()
        );
        Err(Refused::new(ErrorCode::Forbidden, detail).with_field("/resultFile"))
    }
}

fn make_private_folder(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn invalid_path(detail: String) -> Refused {
    Refused::new(ErrorCode::InvalidPath, detail).with_field("/resultFile")
}

pub(super) fn check_form(text: &str) -> Answer<&Path> {
    let path = Path::new(text);
    if !path.is_absolute() {
        return Err(invalid_path(format!("{text:?} is not an absolute path")));
    }
    if text.len() > PATH_BYTES_MAX || text.contains('\0') {
        return Err(invalid_path(format!("a path has at most {PATH_BYTES_MAX} bytes and no NUL")));
    }
    if path.components().any(|part| part == Component::ParentDir) {
        return Err(invalid_path(format!("{text:?} has a '..'")));
    }
    if path.components().any(|part| part.as_os_str().len() > NAME_BYTES_MAX) {
        return Err(invalid_path(format!("a name has at most {NAME_BYTES_MAX} bytes")));
    }
    if path.parent().is_none() && !text.ends_with('/') {
        return Err(invalid_path("it names no file".to_owned()));
    }
    Ok(path)
}

fn folder_refusal(path: &Path, error: &io::Error) -> Refused {
    let detail = format!("the folder {}: {error}", path.display());
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            Refused::new(ErrorCode::FolderNotWritable, detail).with_field("/resultFile")
        }
        io::ErrorKind::NotFound => invalid_path(format!("the folder {} does not exist", path.display())),
        _ => invalid_path(detail),
    }
}

fn check_target(target: &Path, if_exists: IfExists) -> Answer<()> {
    match std::fs::symlink_metadata(target) {
        Ok(metadata) if metadata.is_dir() => Err(invalid_path(format!(
            "{} is a folder; end it with '/' to let the server name the file",
            target.display()
        ))),
        Ok(_) if if_exists == IfExists::Fail => {
            let detail = format!("{} exists", target.display());
            Err(Refused::new(ErrorCode::FileExists, detail).with_field("/resultFile"))
        }
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(folder_refusal(target, &error)),
    }
}

pub(super) fn text(path: &Path) -> Answer<&str> {
    path.to_str().ok_or_else(|| invalid_path(format!("{} is not UTF-8", path.display())))
}

fn target_key(target: &Path) -> TargetKey {
    use std::os::unix::ffi::OsStrExt;
    let hash = Sha256::digest(target.as_os_str().as_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&hash[..8]);
    TargetKey(NonZeroU64::new(u64::from_be_bytes(first)).unwrap_or(NonZeroU64::MIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(file: &str) -> CreateDownload {
        serde_json::from_value(serde_json::json!({ "requestedUri": "http://a/", "resultFile": file }))
            .unwrap()
    }

    fn app() -> AppId {
        AppId::new("org.example.Photos").unwrap()
    }

    struct Rig {
        folder: tempfile::TempDir,
        places: Places,
    }

    impl Rig {
        fn new(settings: AppSettings) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let places = Places::new(&folder.path().join("state"), BTreeMap::from([(app(), settings)]));
            Self { folder, places }
        }

        fn path(&self, name: &str) -> String {
            self.folder.path().join(name).display().to_string()
        }

        fn check(&self, spec: &mut CreateDownload, reach: Reach) -> Result<Option<TargetKey>, ErrorCode> {
            self.places.look(&app(), reach).check(spec).map_err(|refused| refused.problem().code)
        }
    }

    #[test]
    fn places_are_looked_at_before_anything_is_kept() {
        let rig = Rig::new(AppSettings::default());
        std::fs::create_dir(rig.path("folder")).unwrap();
        std::fs::write(rig.path("there"), "x").unwrap();
        for (file, code) in [
            ("relative".to_owned(), ErrorCode::InvalidPath),
            (rig.path("missing/file"), ErrorCode::InvalidPath),
            (rig.path("there/file"), ErrorCode::InvalidPath),
            (rig.path("folder/../file"), ErrorCode::InvalidPath),
            (rig.path("folder"), ErrorCode::InvalidPath),
            (rig.path("nul\0"), ErrorCode::InvalidPath),
            (rig.path(&"n".repeat(256)), ErrorCode::InvalidPath),
            ("/".to_owned() + &"d/".repeat(3000), ErrorCode::InvalidPath),
            (rig.path("there"), ErrorCode::FileExists),
            ("/proc/file".to_owned(), ErrorCode::FolderNotWritable),
            ("/sys/".to_owned(), ErrorCode::FolderNotWritable),
        ] {
            assert_eq!(rig.check(&mut spec(&file), Reach::Everywhere), Err(code), "{file}");
        }
        for policy in [IfExists::Rename, IfExists::Replace] {
            let mut spec = CreateDownload { if_exists: policy, ..spec(&rig.path("there")) };
            let key = rig.check(&mut spec, Reach::Everywhere).unwrap();
            assert_eq!(key.is_some(), policy == IfExists::Replace);
        }
    }

    #[test]
    fn one_file_has_one_key_whatever_it_is_called() {
        let rig = Rig::new(AppSettings::default());
        std::fs::create_dir(rig.path("folder")).unwrap();
        std::os::unix::fs::symlink(rig.path("folder"), rig.path("link")).unwrap();
        let key = |name: &str| rig.check(&mut spec(&rig.path(name)), Reach::Everywhere).unwrap();
        assert_eq!(key("folder/a"), key("link/./a"));
        assert_ne!(key("folder/a"), key("folder/b"));
        assert_eq!(key("folder/"), None);
    }

    #[test]
    fn a_confined_caller_stays_in_its_folders() {
        let mut settings = AppSettings::default();
        let elsewhere = tempfile::tempdir().unwrap();
        settings.folders.push(elsewhere.path().to_owned());
        let rig = Rig::new(settings);
        let own = rig.places.folder_of(&app());
        let mut inside = spec(&own.join("a").display().to_string());
        assert!(rig.check(&mut inside, Reach::Confined).unwrap().is_some());
        assert!(inside.public_addresses_only);
        std::os::unix::fs::symlink(rig.folder.path(), own.join("out")).unwrap();
        for file in [rig.path("a"), own.join("out/a").display().to_string(), "/etc/a".to_owned()] {
            assert_eq!(rig.check(&mut spec(&file), Reach::Confined), Err(ErrorCode::Forbidden), "{file}");
        }
        let listed = elsewhere.path().join("a").display().to_string();
        assert!(rig.check(&mut spec(&listed), Reach::Confined).is_ok());
        let sibling = rig.places.folder_of(&AppId::new("org.example.Photos2").unwrap()).join("a");
        let sibling = sibling.display().to_string();
        assert_eq!(rig.check(&mut spec(&sibling), Reach::Confined), Err(ErrorCode::Forbidden));
    }

    #[test]
    fn the_owner_may_allow_private_addresses() {
        let rig = Rig::new(AppSettings { private_addresses: true, ..AppSettings::default() });
        let mut spec = spec(&rig.places.folder_of(&app()).join("a").display().to_string());
        rig.check(&mut spec, Reach::Confined).unwrap();
        assert!(!spec.public_addresses_only);
    }
}
