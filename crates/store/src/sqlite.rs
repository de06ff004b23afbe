//! The embedded store: one SQLite database in WAL mode, in a state folder of its own. Every commit is on disk when
//! it returns (`synchronous = FULL`).
//!
//! Live operations have narrow rows in a table of their own, which start-up reads from end to end; what was asked
//! for, journals, results and history lie elsewhere and are read one by one.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use longhaul_contract::{AppId, GroupName, Limits, TransferBehavior, WebErrorStatus};
use longhaul_engine::Origin;
use rusqlite::{Connection, OptionalExtension as _};

mod apply;
mod completion;
mod folder;
mod format;
mod keys;
mod list;
mod names;
mod prepared;
mod readers;
mod row;
mod seal;
mod tasks;

use apply::{LIMITS, apply};
use folder::StateFolder;
pub use keys::{Keys, rotate_key};
use names::{Names, collect_unused};
pub use prepared::PreparedWrites;
pub use readers::SqliteReaders;
use row::{RowNames, decode, from_json, row_columns, unreadable};

use crate::contract_types::{Adopt, GroupStore, Queue, Store, StoreError, Write};

/// The page cache of the writer. It is small before, because looking through all rows once would only fill it.
const WORKING_CACHE: &str = "PRAGMA cache_size = -4096";

/// Pages of the write-ahead log (of 4 KiB) after which they go back into the database when nobody waits.
const CHECKPOINT_PAGES: usize = 1_024;

/// Pages after which they do so whoever waits.
const CHECKPOINT_PAGES_MAX: usize = 16_384;

/// Pages at which something must be holding checkpoints up.
const CHECKPOINT_PAGES_ALARM: usize = 262_144;

/// The writing side. It owns the state folder until it is dropped.
pub struct SqliteStore {
    connection: Connection,
    names: Names,
    /// Pages in the write-ahead log, as of the last commit.
    log_pages: Arc<AtomicUsize>,
    _folder: StateFolder,
}

/// What [`open`] found.
pub struct Opened {
    pub store: SqliteStore,
    pub readers: SqliteReaders,
    /// What was lost, for the log and for callers: the database was damaged and a new one was begun.
    pub notice: Option<String>,
}

/// Opens the store in a state folder, which is made if it is missing.
///
/// # Errors
/// Another service uses the folder, a newer release wrote in it, others may write in it, its key is missing, or it
/// cannot be read or written. A damaged database is no error: see [`Opened::notice`].
pub fn open(folder: &Path, keys: &Keys) -> Result<Opened, StoreError> {
    let folder = StateFolder::open(folder)?;
    let format::Database { mut connection, keyring, notice } = format::open(&folder, keys)?;
    connection.set_prepared_statement_cache_capacity(64);
    let log_pages = Arc::new(AtomicUsize::new(0));
    let seen_pages = Arc::clone(&log_pages);
    connection
        .wal_hook(Some(move |_: &mut _, pages| {
            seen_pages.store(usize::try_from(pages).unwrap_or(0), Ordering::Relaxed);
            Ok(())
        }))
        .map_err(cannot_write)?;
    let readers = SqliteReaders::open(&folder.database(), keyring)?;
    folder.sync().map_err(|error| StoreError::CannotWrite(error.to_string()))?;
    let store = SqliteStore { connection, names: Names::default(), log_pages, _folder: folder };
    Ok(Opened { store, readers, notice })
}

#[expect(clippy::needless_pass_by_value, reason = "goes to map_err")]
fn cannot_write(error: rusqlite::Error) -> StoreError {
    StoreError::CannotWrite(error.to_string())
}

#[expect(clippy::needless_pass_by_value, reason = "goes to map_err")]
fn cannot_read(error: rusqlite::Error) -> StoreError {
    StoreError::CannotRead(error.to_string())
}

impl Store for SqliteStore {
    fn load_into(&mut self, adopter: &mut dyn Adopt) -> Result<(), StoreError> {
        load_into(&self.connection, adopter)
            .and_then(|()| self.connection.execute_batch(WORKING_CACHE))
            .map_err(cannot_read)
    }

    fn commit(&mut self, writes: &[Write]) -> Result<(), StoreError> {
        if writes.is_empty() {
            return Ok(());
        }
        let prepared = PreparedWrites::new(writes.to_vec())?;
        self.commit_together(&[prepared]).map_err(cannot_write)
    }
}

impl GroupStore for SqliteStore {
    type Prepared = PreparedWrites;

    fn prepare(writes: Vec<Write>) -> Result<PreparedWrites, StoreError> {
        PreparedWrites::new(writes)
    }

    fn commit_group(&mut self, submissions: &[PreparedWrites]) -> Vec<Result<(), StoreError>> {
        match self.commit_together(submissions) {
            Ok(()) => submissions.iter().map(|_| Ok(())).collect(),
            Err(error) if submissions.len() == 1 => vec![Err(cannot_write(error))],
            Err(error) => {
                tracing::warn!(%error, "a commit failed; trying its {} parts alone", submissions.len());
                submissions
                    .iter()
                    .map(|submission| {
                        self.commit_together(std::slice::from_ref(submission)).map_err(cannot_write)
                    })
                    .collect()
            }
        }
    }

    fn tidy(&mut self, queue: Queue) {
        let pages = self.log_pages.load(Ordering::Relaxed);
        let threshold = match queue {
            Queue::Empty => CHECKPOINT_PAGES,
            Queue::Waiting => CHECKPOINT_PAGES_MAX,
        };
        if pages >= threshold {
            self.checkpoint("PRAGMA wal_checkpoint(PASSIVE)");
        }
        if pages >= CHECKPOINT_PAGES_ALARM {
            tracing::warn!(pages, "the write-ahead log keeps growing: a reader holds checkpoints up");
        }
    }

    fn close(&mut self) -> Result<(), StoreError> {
        collect_unused(&self.connection).map_err(cannot_write)?;
        self.checkpoint("PRAGMA wal_checkpoint(TRUNCATE)");
        Ok(())
    }
}

impl SqliteStore {
    /// All or none of them, durable when it returns.
    fn commit_together(&mut self, submissions: &[PreparedWrites]) -> rusqlite::Result<()> {
        let result = self.write_together(submissions);
        if result.is_err() {
            self.names.forget();
            if !self.connection.is_autocommit()
                && let Err(error) = self.connection.execute_batch("ROLLBACK")
            {
                tracing::error!(%error, "a failed transaction could not be rolled back");
            }
        }
        result
    }

    fn write_together(&mut self, submissions: &[PreparedWrites]) -> rusqlite::Result<()> {
        self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        for write in submissions.iter().flat_map(|submission| &submission.0) {
            apply(&self.connection, &mut self.names, write)?;
        }
        self.connection.prepare_cached("COMMIT")?.execute([]).map(drop)
    }

    fn checkpoint(&self, pragma: &str) {
        let checkpoint =
            self.connection.prepare_cached(pragma).and_then(|mut pragma| pragma.query_row([], |_| Ok(())));
        if let Err(error) = checkpoint {
            tracing::warn!(%error, "the write-ahead log could not be worked off");
        }
    }
}

fn load_into(connection: &Connection, adopter: &mut dyn Adopt) -> rusqlite::Result<()> {
    let limits: Option<Limits> = connection
        .prepare("SELECT value FROM setting WHERE name = ?")?
        .query_row([LIMITS], |row| from_json(0, row.get_ref(0)?))
        .optional()?;
    adopter.limits(limits);
    let apps = numbered(connection, "SELECT number, name FROM application", |row| named(row, AppId::new))?;
    let groups =
        numbered(connection, "SELECT number, name FROM transfer_group", |row| named(row, GroupName::new))?;
    let origins = numbered(connection, "SELECT number, name, is_local FROM origin", |row| {
        Ok(Origin { name: row.get(1)?, is_local: row.get(2)? })
    })?;
    let mut behaviors =
        connection.prepare("SELECT app, number, behavior FROM transfer_group WHERE behavior IS NOT NULL")?;
    let mut behaviors = behaviors.query([])?;
    while let Some(row) = behaviors.next()? {
        let app = look_up(&apps, 0, row.get(0)?)?;
        let name = look_up(&groups, 1, row.get(1)?)?;
        adopter.group(app, name, decode_behavior(row, 2)?);
    }
    completion::load_into(connection, adopter)?;
    let not_recoverable: Arc<[WebErrorStatus]> = Arc::new([]);
    let mut rows = connection.prepare(concat!("SELECT ", row_columns!(), " FROM live"))?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        let group: Option<i64> = row.get(3)?;
        let names = RowNames {
            app: look_up(&apps, 0, row.get(0)?)?,
            group: group.map(|number| look_up(&groups, 3, number)).transpose()?,
            origin: look_up(&origins, 4, row.get(4)?)?,
            not_recoverable: Arc::clone(&not_recoverable),
        };
        adopter.row(decode(row, names)?);
    }
    tasks::load_into(connection, adopter)
}

/// The rows of a table of names by their number, which is the first column.
fn numbered<T>(
    connection: &Connection,
    sql: &str,
    decode: impl Fn(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<HashMap<i64, T>> {
    connection.prepare(sql)?.query_map([], |row| Ok((row.get(0)?, decode(row)?)))?.collect()
}

fn look_up<T: Clone>(numbered: &HashMap<i64, T>, index: usize, number: i64) -> rusqlite::Result<T> {
    numbered
        .get(&number)
        .cloned()
        .ok_or_else(|| unreadable(index, rusqlite::types::FromSqlError::OutOfRange(number)))
}

/// A name of ours in the second column.
fn named<T, E: std::error::Error + Send + Sync + 'static>(
    row: &rusqlite::Row<'_>,
    parse: impl Fn(&str) -> Result<T, E>,
) -> rusqlite::Result<T> {
    let name = row.get_ref(1)?.as_str().map_err(|error| unreadable(1, error))?;
    parse(name).map_err(|error| unreadable(1, error))
}

fn decode_behavior(row: &rusqlite::Row<'_>, index: usize) -> rusqlite::Result<TransferBehavior> {
    let number = row.get(index)?;
    TransferBehavior::from_number(number)
        .ok_or_else(|| unreadable(index, rusqlite::types::FromSqlError::OutOfRange(number.into())))
}
