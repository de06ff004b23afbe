//! The files of a new upload: regular files that can be read, inside of what the caller may touch.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use longhaul_contract::{CreateUpload, ErrorCode};

use super::interface::check_reach;
use super::place::{Look, Reach, check_form, text};
use crate::http::{Answer, Refused};

impl Look<'_> {
    /// Checks every file that is to be sent, and confines what has to be confined. May block.
    pub(crate) fn check_sources(&mut self, spec: &mut CreateUpload) -> Answer<()> {
        check_reach(spec.interface.as_deref(), self.reach())?;
        if self.reach() == Reach::Confined {
            spec.public_addresses_only |= !self.allows_private_addresses();
        }
        if let Some(file) = &mut spec.source_file {
            let size = self.check_source(file).map_err(|refused| refused.with_field("/sourceFile"))?;
            check_pieces(spec, size)?;
        }
        for (index, part) in spec.parts.iter_mut().enumerate() {
            if let Some(file) = &mut part.file {
                let field = format!("/parts/{index}/file");
                self.check_source(file).map_err(|refused| refused.with_field(field))?;
            }
        }
        Ok(())
    }

    /// Gives the size of the file. It may be another when the bytes are sent; then the transfer tells.
    fn check_source(&mut self, file: &mut String) -> Answer<u64> {
        let path = check_form(file).map_err(|refused| invalid_source(refused.problem().detail.clone()))?;
        if file.ends_with('/') {
            return Err(invalid_source(format!("{file:?} names a folder")));
        }
        let path = match self.reach() {
            Reach::Everywhere => path.to_owned(),
            Reach::Confined => self.confined(path)?,
        };
        let size = readable_size(&path)?;
        if self.reach() == Reach::Confined {
            // Without symbolic links, so that nothing can be led elsewhere between now and then.
            *file = text(&path)?.to_owned();
        }
        Ok(size)
    }

    fn confined(&self, path: &Path) -> Answer<PathBuf> {
        let folder = path.parent().unwrap_or(path);
        self.check_roots(folder, path)?;
        let canonical = std::fs::canonicalize(path).map_err(|error| unreadable(path, &error))?;
        self.check_roots(canonical.parent().unwrap_or(&canonical), path)?;
        Ok(canonical)
    }
}

/// Never waits for a writer, should it be a pipe.
fn readable_size(path: &Path) -> Answer<u64> {
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
    let flags = i32::try_from(flags.bits()).map_err(|error| Refused::internal(&error))?;
    let metadata = std::fs::metadata(path).map_err(|error| unreadable(path, &error))?;
    if !metadata.is_file() {
        return Err(invalid_source(format!("{} is no regular file", path.display())));
    }
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path);
    file.map_err(|error| unreadable(path, &error))?;
    Ok(metadata.len())
}

fn check_pieces(spec: &CreateUpload, size: u64) -> Answer<()> {
    let Some(piece) = spec.part_size.filter(|_| !spec.part_uris.is_empty()) else { return Ok(()) };
    let needed = size.div_ceil(piece).max(1);
    if needed == spec.part_uris.len() as u64 {
        return Ok(());
    }
    let detail = format!(
        "{size} bytes in pieces of {piece} are {needed} pieces, and there are {} addresses",
        spec.part_uris.len()
    );
    Err(Refused::new(ErrorCode::InvalidField, detail).with_field("/partUris"))
}

fn invalid_source(detail: String) -> Refused {
    Refused::new(ErrorCode::InvalidSource, detail)
}

fn unreadable(path: &Path, error: &io::Error) -> Refused {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            Refused::new(ErrorCode::SourceNotReadable, format!("{}: {error}", path.display()))
        }
        io::ErrorKind::NotFound => invalid_source(format!("{} does not exist", path.display())),
        _ => invalid_source(format!("{}: {error}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use longhaul_contract::{AppId, Secret};

    use super::super::place::Places;
    use super::*;
    use crate::config::AppSettings;

    struct Rig {
        folder: tempfile::TempDir,
        places: Places,
    }

    fn app() -> AppId {
        AppId::new("org.example.Photos").unwrap()
    }

    impl Rig {
        /// The application may use `allowed`.
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let allowed = folder.path().join("allowed");
            std::fs::create_dir(&allowed).unwrap();
            std::fs::write(allowed.join("photo"), "12345").unwrap();
            std::fs::write(folder.path().join("private"), "secret").unwrap();
            std::os::unix::fs::symlink("../private", allowed.join("link")).unwrap();
            let settings = AppSettings { folders: vec![allowed], ..AppSettings::default() };
            let places = Places::new(&folder.path().join("state"), BTreeMap::from([(app(), settings)]));
            Self { folder, places }
        }

        fn path(&self, name: &str) -> String {
            self.folder.path().join(name).to_str().unwrap().to_owned()
        }

        fn check(&self, mut spec: CreateUpload, reach: Reach) -> Result<CreateUpload, (ErrorCode, String)> {
            let app = app();
            let checked = self.places.look(&app, reach).check_sources(&mut spec);
            checked.map_err(|refused| (refused.problem().code, refused.problem().field.clone().unwrap()))?;
            Ok(spec)
        }

        fn file(&self, name: &str, reach: Reach) -> Result<CreateUpload, ErrorCode> {
            self.check(CreateUpload::new("http://a/", self.path(name)), reach).map_err(|(code, _)| code)
        }
    }

    #[test]
    fn only_regular_files_that_are_there_are_sent() {
        let rig = Rig::new();
        assert!(rig.file("allowed/photo", Reach::Everywhere).is_ok());
        assert!(rig.file("allowed/link", Reach::Everywhere).is_ok());
        for name in ["allowed", "allowed/photo/", "gone", "gone/photo", "allowed/../private"] {
            assert_eq!(rig.file(name, Reach::Everywhere), Err(ErrorCode::InvalidSource), "{name}");
        }
        let relative = CreateUpload::new("http://a/", "photo");
        assert_eq!(
            rig.check(relative, Reach::Everywhere).unwrap_err(),
            (ErrorCode::InvalidSource, "/sourceFile".to_owned())
        );
        rustix::fs::mknodat(
            rustix::fs::CWD,
            rig.path("pipe"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RWXU,
            0,
        )
        .unwrap();
        assert_eq!(rig.file("pipe", Reach::Everywhere), Err(ErrorCode::InvalidSource));
    }

    #[test]
    fn the_confined_send_only_what_is_theirs() {
        let rig = Rig::new();
        let sent = rig.file("allowed/photo", Reach::Confined).unwrap();
        assert!(sent.public_addresses_only);
        for name in ["private", "allowed/link"] {
            assert_eq!(rig.file(name, Reach::Confined), Err(ErrorCode::Forbidden), "{name}");
        }
        let part = longhaul_contract::UploadPart { file: Some(rig.path("private")), ..Default::default() };
        let spec = CreateUpload::multipart("http://a/", vec![Default::default(), part]);
        assert_eq!(
            rig.check(spec, Reach::Confined).unwrap_err(),
            (ErrorCode::Forbidden, "/parts/1/file".to_owned())
        );
    }

    #[test]
    fn pieces_cover_the_file() {
        let rig = Rig::new();
        for (size, addresses, is_well) in
            [(2, 3, true), (2, 2, false), (5, 1, true), (9, 1, true), (1, 4, false)]
        {
            let mut spec = CreateUpload::new("http://a/", rig.path("allowed/photo"));
            spec.part_size = Some(size);
            spec.part_uris = vec![Secret::new("http://a/1"); addresses];
            assert_eq!(rig.check(spec, Reach::Everywhere).is_ok(), is_well, "{size} {addresses}");
        }
    }
}
