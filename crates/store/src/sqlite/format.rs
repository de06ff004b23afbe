//! Formats of the database file: begins a new one, migrates an older one, refuses a newer one, and tells damage.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::folder::{StateFolder, cannot_write, open_private};
use super::keys::{KeyPlace, Keys, SEALED_SINCE};
use super::seal::Keyring;
use crate::contract_types::StoreError;

/// Marks the file as ours (`PRAGMA application_id`): "LgHl".
const APPLICATION_ID: i32 = 0x4c67_486c;

/// The statements that make format n out of format n - 1, at place n - 1.
const MIGRATIONS: &[&str] = &[
    include_str!("format_1.sql"),
    include_str!("format_2.sql"),
    include_str!("format_3.sql"),
    include_str!("format_4.sql"),
    include_str!("format_5.sql"),
];

/// Tables that start-up depends on as a whole, by the format that brought them.
const NEEDED_AT_START: &[(u32, &[&str])] = &[
    (1, &["live", "application", "transfer_group", "origin", "setting"]),
    (2, &["task", "access"]),
    (3, &["completion_group"]),
];

/// A database that can be written.
pub(super) struct Database {
    pub(super) connection: Connection,
    pub(super) keyring: Arc<Keyring>,
    /// Tells the caller what was lost.
    pub(super) notice: Option<String>,
}

/// Opens the database of the folder for writing, whatever has to happen for that.
pub(super) fn open(folder: &StateFolder, keys: &Keys) -> Result<Database, StoreError> {
    open_with(folder, keys, MIGRATIONS)
}

fn open_with(folder: &StateFolder, keys: &Keys, migrations: &[&str]) -> Result<Database, StoreError> {
    let path = folder.database();
    let keys = KeyPlace::new(folder.path(), keys);
    folder.ensure_database_file()?;
    match open_file(&path, &keys, migrations) {
        Ok((connection, keyring)) => Ok(Database { connection, keyring, notice: None }),
        Err(OpenError::Damaged(problem)) => {
            let moved_to = move_aside(&path)?;
            folder.ensure_database_file()?;
            let (connection, keyring) = open_file(&path, &keys, migrations).map_err(|error| match error {
                OpenError::Damaged(problem) => StoreError::CannotWrite(problem),
                OpenError::Store(error) => error,
            })?;
            let notice = format!(
                "{} was damaged ({problem}); it was moved to {} and a new one was begun",
                path.display(),
                moved_to.display()
            );
            Ok(Database { connection, keyring, notice: Some(notice) })
        }
        Err(OpenError::Store(error)) => Err(error),
    }
}

enum OpenError {
    /// The file is not a database of ours that can be read.
    Damaged(String),
    Store(StoreError),
}

impl From<StoreError> for OpenError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<rusqlite::Error> for OpenError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged(error.to_string()),
            _ => Self::Store(StoreError::CannotWrite(error.to_string())),
        }
    }
}

fn open_file(
    path: &Path,
    keys: &KeyPlace<'_>,
    migrations: &[&str],
) -> Result<(Connection, Arc<Keyring>), OpenError> {
    let connection = connect(path)?;
    let known = newest(migrations);
    let found = match found_format(&connection)? {
        Format::Empty => 0,
        Format::Foreign => return Err(OpenError::Damaged("it is not a database of Longhaul".to_owned())),
        Format::Ours(found) if found > known => {
            let path = path.display().to_string();
            return Err(StoreError::NewerFormat { path, found, known }.into());
        }
        Format::Ours(found) => found,
    };
    check(&connection, found)?;
    let keyring = keys.find(&connection, path, found)?;
    keyring.attach(&connection)?;
    if found < known {
        if found > 0 {
            back_up(&connection, path, found)?;
        }
        migrate(&connection, found, migrations)?;
    }
    if known >= SEALED_SINCE {
        keys.settle(&connection, &keyring, found)?;
    }
    Ok((connection, keyring))
}

fn connect(path: &Path) -> Result<Connection, OpenError> {
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.busy_timeout(Duration::from_secs(10))?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    keep_plans(&connection)?;
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        let problem = format!("{}: this file system cannot hold a shared database", path.display());
        return Err(StoreError::CannotWrite(problem).into());
    }
    connection.execute_batch(
        "PRAGMA synchronous = FULL;
         PRAGMA wal_autocheckpoint = 0;
         PRAGMA journal_size_limit = 67108864;
         PRAGMA temp_store = MEMORY;
         PRAGMA cache_size = -256;
         PRAGMA foreign_keys = OFF;",
    )?;
    Ok(connection)
}

/// Plans do not depend on what is bound: otherwise SQLite prepares a cached statement anew for each new value.
pub(super) fn keep_plans(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(drop)
}

fn newest(migrations: &[&str]) -> u32 {
    u32::try_from(migrations.len()).expect("formats are counted by hand")
}

enum Format {
    /// Nothing was ever written.
    Empty,
    Foreign,
    Ours(u32),
}

fn found_format(connection: &Connection) -> rusqlite::Result<Format> {
    let number = |pragma: &str| connection.query_row(pragma, [], |row| row.get::<_, i32>(0));
    let tables = number("SELECT count(*) FROM sqlite_schema")?;
    let format = number("PRAGMA user_version")?;
    Ok(match (number("PRAGMA application_id")?, u32::try_from(format)) {
        (APPLICATION_ID, Ok(format)) if format > 0 => Format::Ours(format),
        (0, Ok(0)) if tables == 0 => Format::Empty,
        _ => Format::Foreign,
    })
}

/// Looks through the tables that start-up reads. The others are read piece by piece later; each piece that cannot
/// be read then is an error of that one request.
fn check(connection: &Connection, format: u32) -> Result<(), OpenError> {
    let tables = NEEDED_AT_START.iter().filter(|(since, _)| *since <= format).flat_map(|(_, tables)| *tables);
    for table in tables {
        let mut problems = connection.prepare(&format!("PRAGMA quick_check({table})"))?;
        let first: String = problems.query_row([], |row| row.get(0))?;
        if first != "ok" {
            return Err(OpenError::Damaged(first));
        }
    }
    Ok(())
}

/// Brings the database from format `found` to the newest in one transaction.
fn migrate(connection: &Connection, found: u32, migrations: &[&str]) -> rusqlite::Result<()> {
    let from = usize::try_from(found).unwrap_or(usize::MAX);
    let transaction = connection.unchecked_transaction()?;
    for migration in migrations.iter().skip(from) {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", newest(migrations))?;
    transaction.commit()
}

/// Copies the database, whole and durable, to a file beside it that is named by its format.
fn back_up(connection: &Connection, path: &Path, format: u32) -> Result<(), StoreError> {
    let name = |suffix: &str| PathBuf::from(format!("{}.format-{format}{suffix}", path.display()));
    let (unfinished, finished) = (name(".new"), name(""));
    let copy = || -> Result<(), Box<dyn std::error::Error>> {
        match std::fs::remove_file(&unfinished) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let file = open_private(&unfinished)?;
        let target = unfinished.to_str().ok_or("the path is not UTF-8")?;
        connection.execute("VACUUM INTO ?", [target])?;
        file.sync_all()?;
        std::fs::rename(&unfinished, &finished)?;
        Ok(())
    };
    copy().map_err(|error| cannot_write(&finished, error.as_ref()))
}

/// Renames the database and its side files to names nobody uses.
fn move_aside(path: &Path) -> Result<PathBuf, StoreError> {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let moved_to = (0..)
        .map(|attempt| PathBuf::from(format!("{}.damaged-{}", path.display(), seconds + attempt)))
        .find(|candidate| !candidate.exists())
        .expect("an endless row of names has one that is free");
    for side in ["-wal", "-shm", ""] {
        let beside = |path: &Path| PathBuf::from(format!("{}{side}", path.display()));
        match std::fs::rename(beside(path), beside(&moved_to)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            renamed => renamed.map_err(|error| cannot_write(path, &error))?,
        }
    }
    Ok(moved_to)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// Two formats: the second adds a column.
    const TWO: &[&str] = &[
        "CREATE TABLE live (x); CREATE TABLE application (x); CREATE TABLE transfer_group (x);
         CREATE TABLE origin (x); CREATE TABLE setting (x); INSERT INTO live VALUES (5);",
        "ALTER TABLE live ADD COLUMN y DEFAULT 6;",
    ];

    fn open_with(
        folder: &StateFolder,
        migrations: &[&str],
    ) -> Result<(Connection, Option<String>), StoreError> {
        let opened = super::open_with(folder, &Keys::InFolder, migrations)?;
        Ok((opened.connection, opened.notice))
    }

    fn sum(connection: &Connection, column: &str) -> rusqlite::Result<i64> {
        connection.query_row(&format!("SELECT sum({column}) FROM live"), [], |row| row.get(0))
    }

    fn format_of(connection: &Connection) -> u32 {
        match found_format(connection).unwrap() {
            Format::Ours(format) => format,
            Format::Empty | Format::Foreign => 0,
        }
    }

    #[test]
    fn an_older_format_is_backed_up_and_migrated() {
        let parent = tempfile::tempdir().unwrap();
        let folder = StateFolder::open(parent.path()).unwrap();
        let backup = parent.path().join("longhaul.db.format-1");
        let (older, _) = open_with(&folder, &TWO[..1]).unwrap();
        assert_eq!((format_of(&older), sum(&older, "x")), (1, Ok(5)));
        assert!(!backup.exists());
        drop(older);
        // What an earlier try left behind is in nobody's way.
        std::fs::write(parent.path().join("longhaul.db.format-1.new"), "half a copy").unwrap();
        let (newer, notice) = open_with(&folder, TWO).unwrap();
        assert_eq!((format_of(&newer), sum(&newer, "y"), notice), (2, Ok(6), None));
        assert_eq!(std::fs::metadata(&backup).unwrap().permissions().mode() & 0o777, 0o600);
        let copy = Connection::open(&backup).unwrap();
        assert_eq!((format_of(&copy), sum(&copy, "x")), (1, Ok(5)));
        assert!(sum(&copy, "y").is_err());
        assert!(!parent.path().join("longhaul.db.format-1.new").exists());
    }

    #[test]
    fn a_migration_that_fails_leaves_the_older_format() {
        let parent = tempfile::tempdir().unwrap();
        let folder = StateFolder::open(parent.path()).unwrap();
        drop(open_with(&folder, &TWO[..1]).unwrap());
        let broken = [TWO[0], "UPDATE live SET x = 7; SELECT nonsense;"];
        assert!(matches!(open_with(&folder, &broken), Err(StoreError::CannotWrite(_))));
        let (older, notice) = open_with(&folder, &TWO[..1]).unwrap();
        assert_eq!((format_of(&older), sum(&older, "x"), notice), (1, Ok(5), None));
    }

    #[test]
    fn a_backup_that_cannot_be_made_stops_the_migration() {
        let parent = tempfile::tempdir().unwrap();
        let folder = StateFolder::open(parent.path()).unwrap();
        drop(open_with(&folder, &TWO[..1]).unwrap());
        std::fs::create_dir(parent.path().join("longhaul.db.format-1")).unwrap();
        assert!(matches!(open_with(&folder, TWO), Err(StoreError::CannotWrite(_))));
        assert_eq!(format_of(&open_with(&folder, &TWO[..1]).unwrap().0), 1);
    }
}
