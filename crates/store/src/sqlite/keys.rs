//! Where the keys of the database come from: a file beside it, or whoever starts the service.
//!
//! Keys are lines of 64 hexadecimal digits. The first one seals; the others open what was sealed before.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ring::rand::{SecureRandom as _, SystemRandom};
use rusqlite::{Connection, OptionalExtension as _};
use rustix::fs::OFlags;

use super::apply::keep_setting;
use super::folder::cannot_write;
use super::seal::{KEY_BYTES, Keyring};
use super::{cannot_read, cannot_write as cannot_write_database};
use crate::contract_types::StoreError;

/// The format that brought sealed values.
pub(super) const SEALED_SINCE: u32 = 5;

/// The name under which `setting` holds the name of the key that everything is sealed with.
const SEALED_WITH: &str = "sealed-with";

const FILE: &str = "longhaul.key";
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Who keeps the keys that seal what may hold secrets.
#[derive(Clone, Default)]
pub enum Keys {
    /// A file of the state folder that only its owner can read; it is made when the database is new.
    #[default]
    InFolder,
    /// Whoever starts the service, such as systemd (credentials) or a keyring.
    Given {
        /// One key a line.
        text: String,
        /// For messages.
        from: String,
    },
}

/// The keys of one state folder.
pub(super) struct KeyPlace<'a> {
    folder: &'a Path,
    keys: &'a Keys,
}

impl<'a> KeyPlace<'a> {
    pub(super) const fn new(folder: &'a Path, keys: &'a Keys) -> Self {
        Self { folder, keys }
    }

    fn file(&self) -> PathBuf {
        self.folder.join(FILE)
    }

    /// How messages call the place.
    pub(super) fn name(&self) -> String {
        match self.keys {
            Keys::InFolder => self.file().display().to_string(),
            Keys::Given { from, .. } => from.clone(),
        }
    }

    /// The keys of a database of the format `found`. A database without sealed values gets a key when the place has
    /// none.
    ///
    /// # Errors
    /// The key of the database is not at hand.
    pub(super) fn find(
        &self,
        connection: &Connection,
        database: &Path,
        found: u32,
    ) -> Result<Arc<Keyring>, StoreError> {
        let sealed_with = if found >= SEALED_SINCE { sealed_with(connection)? } else { None };
        let keyring = match (self.load()?, sealed_with) {
            (Some(keyring), Some(key)) if keyring.knows(&key) => keyring,
            (_, Some(key)) => {
                let path = database.display().to_string();
                return Err(StoreError::KeyMissing { path, key, from: self.name() });
            }
            (Some(keyring), None) => keyring,
            (None, None) => self.create()?,
        };
        Ok(Arc::new(keyring))
    }

    /// Seals everything with the current key, unless it is, and forgets the others.
    pub(super) fn settle(
        &self,
        connection: &Connection,
        keyring: &Keyring,
        found: u32,
    ) -> Result<(), StoreError> {
        let current = keyring.current().to_string();
        if sealed_with(connection)?.as_ref() != Some(&current) {
            seal_anew(connection, found > 0)
                .and_then(|()| keep_setting(connection, SEALED_WITH, Some(&current)))
                .map_err(cannot_write_database)?;
        }
        if keyring.has_older() { self.keep_first() } else { Ok(()) }
    }

    fn load(&self) -> Result<Option<Keyring>, StoreError> {
        let mut keys = match self.keys {
            Keys::Given { text, .. } => {
                let keys = parse(text).map_err(|problem| self.unusable(&problem))?;
                if keys.is_empty() {
                    return Err(self.unusable("it holds no key"));
                }
                keys
            }
            Keys::InFolder => Vec::new(),
        };
        // Keys that a folder had before it was given others still open what they sealed.
        keys.extend(self.keys_of_file()?.unwrap_or_default());
        Ok(keys.split_first().map(|(current, older)| Keyring::new(current, older)))
    }

    fn keys_of_file(&self) -> Result<Option<Vec<[u8; KEY_BYTES]>>, StoreError> {
        let of_file = |problem: &str| StoreError::UnusableKey {
            from: self.file().display().to_string(),
            problem: problem.to_owned(),
        };
        let Some(text) = read_private(&self.file()).map_err(|problem| of_file(&problem))? else {
            return Ok(None);
        };
        let keys = parse(&text).map_err(|problem| of_file(&problem))?;
        if keys.is_empty() { Err(of_file("it holds no key")) } else { Ok(Some(keys)) }
    }

    /// Makes the first key of a folder, durable before anything is sealed with it.
    fn create(&self) -> Result<Keyring, StoreError> {
        let key = new_key().map_err(|problem| self.unusable(problem))?;
        self.write(&[key])?;
        Ok(Keyring::new(&key, &[]))
    }

    /// Forgets the keys that nothing is sealed with any more.
    fn keep_first(&self) -> Result<(), StoreError> {
        let path = self.file();
        match (self.keys, self.keys_of_file()?) {
            (_, None) => Ok(()),
            (Keys::InFolder, Some(keys)) => self.write(&keys[..1]),
            (Keys::Given { .. }, Some(_)) => {
                std::fs::remove_file(&path).map_err(|error| cannot_write(&path, &error))
            }
        }
    }

    fn write(&self, keys: &[[u8; KEY_BYTES]]) -> Result<(), StoreError> {
        let path = self.file();
        replace(&path, keys).map_err(|error| cannot_write(&path, &error))
    }

    fn unusable(&self, problem: &str) -> StoreError {
        StoreError::UnusableKey { from: self.name(), problem: problem.to_owned() }
    }
}

/// Puts a new key before those that the state folder has. The next start of the service seals everything with it and
/// forgets the others. Tells the file.
///
/// # Errors
/// The folder has no keys of its own, or they cannot be written.
pub fn rotate_key(folder: &Path) -> Result<PathBuf, StoreError> {
    let place = KeyPlace::new(folder, &Keys::InFolder);
    let older = place.keys_of_file()?.ok_or_else(|| {
        place.unusable("there is none: the first start of a service makes it in its state folder")
    })?;
    let key = new_key().map_err(|problem| place.unusable(problem))?;
    place.write(&[&[key], older.as_slice()].concat())?;
    Ok(place.file())
}

fn sealed_with(connection: &Connection) -> Result<Option<String>, StoreError> {
    connection
        .query_row("SELECT value FROM setting WHERE name = ?", [SEALED_WITH], |row| row.get(0))
        .optional()
        .map_err(cannot_read)
}

/// Leaves nothing of what was there before in unused pages of the file.
fn seal_anew(connection: &Connection, has_past: bool) -> rusqlite::Result<()> {
    let transaction = connection.unchecked_transaction()?;
    Keyring::seal_anew(&transaction)?;
    transaction.commit()?;
    if has_past {
        connection.execute_batch("VACUUM")?;
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    }
    Ok(())
}

fn new_key() -> Result<[u8; KEY_BYTES], &'static str> {
    let mut key = [0; KEY_BYTES];
    SystemRandom::new().fill(&mut key).map_err(|_| "the system gives no random numbers")?;
    Ok(key)
}

fn read_private(path: &Path) -> Result<Option<String>, String> {
    let opened =
        std::fs::OpenOptions::new().read(true).custom_flags(OFlags::NOFOLLOW.bits().cast_signed()).open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let mode = file.metadata().map_err(|error| error.to_string())?.mode();
    if mode & 0o077 != 0 {
        return Err("others than its owner can read it: chmod 600".to_owned());
    }
    let mut text = String::new();
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(|error| error.to_string())?;
    Ok(Some(text))
}

fn replace(path: &Path, keys: &[[u8; KEY_BYTES]]) -> std::io::Result<()> {
    let unfinished = path.with_extension("key.new");
    match std::fs::remove_file(&unfinished) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
    for key in keys {
        let digits: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(file, "{digits}")?;
    }
    file.sync_all()?;
    std::fs::rename(&unfinished, path)?;
    path.parent().map_or(Ok(()), |folder| std::fs::File::open(folder)?.sync_all())
}

fn parse(text: &str) -> Result<Vec<[u8; KEY_BYTES]>, String> {
    let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
    lines
        .filter(|(_, line)| !line.is_empty())
        .map(|(number, line)| {
            decode(line).ok_or_else(|| format!("line {number} is no key of 64 hexadecimal digits"))
        })
        .collect()
}

fn decode(digits: &str) -> Option<[u8; KEY_BYTES]> {
    if digits.len() != 2 * KEY_BYTES || !digits.is_ascii() {
        return None;
    }
    let mut key = [0; KEY_BYTES];
    for (index, byte) in key.iter_mut().enumerate() {
        *byte = u8::from_str_radix(digits.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(key)
}
