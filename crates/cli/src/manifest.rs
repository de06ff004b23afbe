//! The manifests of applications on this machine: read, changed under a lock, and replaced as a whole.
//!
//! Only the owner at this machine changes them: no call to the service can name a command. Entry points that `task add`
//! and `when` write have classes that begin with [`COMMAND_PREFIX`], and only those are taken out again.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use longhaul_contract::AppId;
use longhaul_contract::manifest::{COMMAND_PREFIX, EntryPoint, Manifest};
use rustix::fs::FlockOperation;
use toml_edit::{ArrayOfTables, DocumentMut, Item, Table};

use crate::exit::Exit;
use crate::trouble::Trouble;

const ENTRY_POINTS: &str = "entry-point";

/// The folder of manifests, with nobody else changing anything in it until this is dropped.
#[derive(Debug)]
pub(crate) struct ManifestFolder {
    path: PathBuf,
    /// Holds the lock.
    folder: File,
}

/// One manifest, as text that keeps its comments and its order.
#[derive(Debug, Clone)]
pub(crate) struct ManifestText {
    document: DocumentMut,
}

impl ManifestFolder {
    /// Makes the folder where it is missing, and waits for whoever changes it now.
    pub(crate) fn lock(path: &Path) -> Result<Self, Trouble> {
        let trouble = |error: &io::Error| Trouble::file(path, error);
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| trouble(&error))?;
        let folder = File::open(path).map_err(|error| trouble(&error))?;
        rustix::fs::flock(&folder, FlockOperation::LockExclusive).map_err(|error| trouble(&error.into()))?;
        Ok(Self { path: path.to_owned(), folder })
    }

    pub(crate) fn file(&self, app: &AppId) -> PathBuf {
        self.path.join(format!("{app}.toml"))
    }

    /// The application's manifest; one without entry points where there is none.
    pub(crate) fn read(&self, app: &AppId) -> Result<ManifestText, Trouble> {
        let file = self.file(app);
        match std::fs::read_to_string(&file) {
            Ok(text) => Ok(ManifestText::parse(&text, &file)?.0),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(ManifestText::empty(app)),
            Err(error) => Err(Trouble::file(&file, &error)),
        }
    }

    /// Replaces the manifest in one step; it is on disk when this returns.
    pub(crate) fn write(&self, app: &AppId, text: &ManifestText) -> Result<(), Trouble> {
        let file = self.file(app);
        let new = self.path.join(format!(".{app}.toml.new"));
        let written = || -> io::Result<()> {
            // A left-over of a crash; the lock makes sure that nobody else is at it.
            match std::fs::remove_file(&new) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut stream = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
            stream.write_all(text.document.to_string().as_bytes())?;
            stream.sync_all()?;
            std::fs::rename(&new, &file)?;
            self.folder.sync_all()
        };
        written().map_err(|error| Trouble::file(&file, &error))
    }

    /// Answers whether there was one.
    pub(crate) fn remove(&self, app: &AppId) -> Result<bool, Trouble> {
        let file = self.file(app);
        match std::fs::remove_file(&file).and_then(|()| self.folder.sync_all()) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Trouble::file(&file, &error)),
        }
    }
}

impl ManifestText {
    fn empty(app: &AppId) -> Self {
        let mut document = DocumentMut::new();
        let mut table = Table::new();
        table.insert("id", toml_edit::value(app.as_str()));
        document.insert("app", Item::Table(table));
        Self { document }
    }

    /// Reads and checks a manifest; `file` is for messages.
    pub(crate) fn parse(text: &str, file: &Path) -> Result<(Self, Manifest), Trouble> {
        let refuse = |why: &dyn std::fmt::Display| {
            Trouble::new(
                Exit::LocalFile,
                format!("{} is not a manifest: {}", file.display(), why.to_string().trim_end()),
            )
        };
        let document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| refuse(&error))?;
        let manifest: Manifest = toml_edit::de::from_str(text).map_err(|error| refuse(&error))?;
        manifest.check().map_err(|error| refuse(&error))?;
        Ok((Self { document }, manifest))
    }

    /// Appends an entry point under a class of its own, made from `name`, and returns the class.
    pub(crate) fn add_command(&mut self, name: &str, entry_point: EntryPoint) -> Result<String, Trouble> {
        let classes = self.classes();
        let class = (1_u32..)
            .map(|number| match number {
                1 => format!("{COMMAND_PREFIX}{name}"),
                _ => format!("{COMMAND_PREFIX}{name}#{number}"),
            })
            .find(|class| !classes.contains(class))
            .unwrap_or_default();
        let entry_point = EntryPoint { class: class.clone(), ..entry_point };
        let table = toml_edit::ser::to_document(&entry_point)
            .map_err(|error| Trouble::new(Exit::Internal, format!("the entry point: {error}")))?
            .as_table()
            .clone();
        self.append(table)?;
        Ok(class)
    }

    /// Takes over the entry points that commands of this program have written into an older manifest.
    pub(crate) fn keep_commands_of(&mut self, older: &Self) -> Result<(), Trouble> {
        let classes = self.classes();
        for table in older.tables() {
            let class = class_of(table);
            if class.starts_with(COMMAND_PREFIX) && !classes.iter().any(|known| known == class) {
                self.append(table.clone())?;
            }
        }
        Ok(())
    }

    /// Answers whether it was there.
    pub(crate) fn remove(&mut self, class: &str) -> bool {
        let Some(tables) = self.document.get_mut(ENTRY_POINTS).and_then(Item::as_array_of_tables_mut) else {
            return false;
        };
        let before = tables.len();
        tables.retain(|table| class_of(table) != class);
        let is_changed = tables.len() < before;
        if tables.is_empty() {
            self.document.remove(ENTRY_POINTS);
        }
        is_changed
    }

    pub(crate) fn classes(&self) -> Vec<String> {
        self.tables().map(|table| class_of(table).to_owned()).collect()
    }

    fn append(&mut self, mut table: Table) -> Result<(), Trouble> {
        // Where it stood in its own document says nothing here.
        table.set_position(None);
        let tables = self
            .document
            .entry(ENTRY_POINTS)
            .or_insert_with(|| Item::ArrayOfTables(ArrayOfTables::new()))
            .as_array_of_tables_mut()
            .ok_or_else(|| {
                Trouble::new(
                    Exit::LocalFile,
                    "the manifest does not write its entry points as [[entry-point]]",
                )
            })?;
        tables.push(table);
        Ok(())
    }

    fn tables(&self) -> impl Iterator<Item = &Table> {
        self.document.get(ENTRY_POINTS).and_then(Item::as_array_of_tables).into_iter().flatten()
    }
}

fn class_of(table: &Table) -> &str {
    table.get("class").and_then(Item::as_str).unwrap_or_default()
}

/// The manifests of a folder that may not exist, without a lock: by file name, each with what is wrong with it.
pub(crate) fn all(folder: &Path) -> io::Result<Vec<(PathBuf, Result<Manifest, Trouble>)>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if is_hidden || path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let manifest = std::fs::read_to_string(&path)
            .map_err(|error| Trouble::file(&path, &error))
            .and_then(|text| ManifestText::parse(&text, &path))
            .map(|(_, manifest)| manifest);
        found.push((path, manifest));
    }
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn app() -> AppId {
        AppId::new("io.longhaul.cli").unwrap()
    }

    fn command(program: &str) -> EntryPoint {
        EntryPoint {
            exec: Some(vec![program.to_owned(), "a \"b\"".to_owned()]),
            environment: [("PATH".to_owned(), "/usr/bin:/bin".to_owned())].into(),
            working_directory: Some("/home/ann".to_owned()),
            ..EntryPoint::default()
        }
    }

    #[test]
    fn entry_points_come_and_go_and_everything_else_stays() {
        let folder = tempfile::tempdir().unwrap();
        let apps = folder.path().join("longhaul/apps");
        let locked = ManifestFolder::lock(&apps).unwrap();
        let file = locked.file(&app());
        std::fs::write(
            &file,
            "# by hand\n[app]\nid = \"io.longhaul.cli\" # me\n\n[[entry-point]]\nclass = \"Mine\"\nin-process = true\n",
        )
        .unwrap();
        let mut manifest = locked.read(&app()).unwrap();
        let first = manifest.add_command("back up", command("/bin/true")).unwrap();
        let second = manifest.add_command("back up", command("/bin/false")).unwrap();
        assert_eq!((first.as_str(), second.as_str()), ("command:back up", "command:back up#2"));
        locked.write(&app(), &manifest).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        insta::assert_snapshot!(text);
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(apps.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        let (_, read) = ManifestText::parse(&text, &file).unwrap();
        let entry_point = read.entry_point(&second).unwrap();
        assert_eq!(*entry_point, EntryPoint { class: second.clone(), ..command("/bin/false") });

        let mut manifest = locked.read(&app()).unwrap();
        assert!(manifest.remove(&first) && !manifest.remove(&first));
        assert_eq!(manifest.classes(), ["Mine", "command:back up#2"]);
        assert!(manifest.remove(&second) && manifest.remove("Mine"));
        locked.write(&app(), &manifest).unwrap();
        assert!(locked.read(&app()).unwrap().classes().is_empty());
        let left: Vec<_> =
            std::fs::read_dir(&apps).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["io.longhaul.cli.toml"]);
    }

    #[test]
    fn a_new_manifest_names_its_application() {
        let folder = tempfile::tempdir().unwrap();
        let locked = ManifestFolder::lock(folder.path()).unwrap();
        let mut manifest = locked.read(&app()).unwrap();
        manifest.add_command("one", command("/bin/true")).unwrap();
        locked.write(&app(), &manifest).unwrap();
        let all = all(folder.path()).unwrap();
        assert_eq!(all[0].1.as_ref().unwrap().app.id, app());
        assert!(locked.remove(&app()).unwrap() && !locked.remove(&app()).unwrap());
    }

    #[test]
    fn an_installed_manifest_keeps_what_commands_wrote() {
        let mut older = ManifestText::empty(&app());
        older.add_command("one", command("/bin/true")).unwrap();
        let text = "[app]\nid = \"io.longhaul.cli\"\n\n[[entry-point]]\nclass = \"New\"\nin-process = true\n";
        let (mut newer, _) = ManifestText::parse(text, Path::new("new.toml")).unwrap();
        newer.keep_commands_of(&older).unwrap();
        newer.keep_commands_of(&older).unwrap();
        assert_eq!(newer.classes(), ["New", "command:one"]);
    }

    #[test]
    fn what_is_no_manifest_is_told_with_its_place() {
        for (text, says) in [
            ("[app", "line 1"),
            ("[app]\nid = \"nodots\"\n", "reverse-DNS"),
            ("[app]\nid = \"a.b\"\ncolour = 1\n", "colour"),
            ("[app]\nid = \"a.b\"\n[[entry-point]]\nclass = \"A\"\n", "needs one of"),
        ] {
            let trouble = ManifestText::parse(text, Path::new("a.toml")).unwrap_err();
            assert_eq!(trouble.exit, Exit::LocalFile);
            assert!(trouble.message.contains(says), "{}", trouble.message);
        }
    }
}
