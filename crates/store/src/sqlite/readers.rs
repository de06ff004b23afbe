//! The reading side: a few read-only connections, lent out for one question each. No read transaction outlives its
//! question, because a long one would keep the write-ahead log from being worked off.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use longhaul_contract::{
    AppId, CompletionGroupId, GroupName, Instance, InstanceId, OperationId, RegisterTaskRequest, Scope,
    TaskId, Timestamp, WebErrorStatus,
};
use longhaul_engine::Origin;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, params};

use super::apply::OTHERS;
use super::format::keep_plans;
use super::row::{ROW_COLUMNS, RowNames, decode, decode_id, decode_spec, from_json, unreadable};
use super::seal::Keyring;
use super::{cannot_read, completion, list, tasks};
use crate::contract_types::{
    ListQuery, Reader, StoreError, StoredBody, StoredOperation, StoredOutput, StoredPastTask, StoredTask,
    WaitHistory,
};
use crate::matching::prefix_bounds;
use crate::wait::reason_from_word;

/// Connections open at a time; who asks when all are lent waits.
const CONNECTIONS_MAX: usize = 4;

/// Reads what has been committed. Clones share the connections. For threads that may block.
#[derive(Clone)]
pub struct SqliteReaders {
    pool: Arc<Pool>,
}

struct Pool {
    path: PathBuf,
    keyring: Arc<Keyring>,
    state: Mutex<PoolState>,
    returned: Condvar,
}

struct PoolState {
    idle: Vec<Connection>,
    open: usize,
}

impl SqliteReaders {
    pub(super) fn open(path: &Path, keyring: Arc<Keyring>) -> Result<Self, StoreError> {
        let first = connect(path, &keyring).map_err(cannot_read)?;
        let state = PoolState { idle: vec![first], open: 1 };
        let pool =
            Pool { path: path.to_owned(), keyring, state: Mutex::new(state), returned: Condvar::new() };
        Ok(Self { pool: Arc::new(pool) })
    }

    /// Answers one question out of one state of the database.
    fn read<T>(&self, question: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        let lent = self.pool.lend().map_err(cannot_read)?;
        let connection = lent.connection();
        let answer = || {
            let snapshot = connection.unchecked_transaction()?;
            let answer = question(&snapshot)?;
            snapshot.commit()?;
            Ok(answer)
        };
        answer().map_err(cannot_read)
    }
}

fn connect(path: &Path, keyring: &Arc<Keyring>) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.busy_timeout(Duration::from_secs(10))?;
    keep_plans(&connection)?;
    keyring.attach(&connection)?;
    connection.execute_batch(
        "PRAGMA query_only = ON;
         PRAGMA temp_store = MEMORY;
         PRAGMA cache_size = -1024;",
    )?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(connection)
}

impl Pool {
    fn lend(&self) -> rusqlite::Result<Lent<'_>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(connection) = state.idle.pop() {
                return Ok(Lent { pool: self, connection: Some(connection) });
            }
            if state.open < CONNECTIONS_MAX {
                let connection = connect(&self.path, &self.keyring)?;
                state.open += 1;
                return Ok(Lent { pool: self, connection: Some(connection) });
            }
            state = self.returned.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// A connection that goes back when this is dropped.
struct Lent<'a> {
    pool: &'a Pool,
    connection: Option<Connection>,
}

impl Lent<'_> {
    fn connection(&self) -> &Connection {
        self.connection.as_ref().expect("it is given back only on drop")
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let mut state = self.pool.state.lock().unwrap_or_else(PoisonError::into_inner);
        match self.connection.take() {
            Some(connection) if connection.is_autocommit() => state.idle.push(connection),
            _ => state.open -= 1,
        }
        self.pool.returned.notify_one();
    }
}

impl Reader for SqliteReaders {
    fn operation(&self, id: OperationId) -> Result<Option<StoredOperation>, StoreError> {
        self.read(|connection| read_operation(connection, id))
    }

    fn operations(&self, ids: &[OperationId]) -> Result<Vec<StoredOperation>, StoreError> {
        self.read(|connection| read_operations(connection, ids))
    }

    fn list(&self, query: &ListQuery) -> Result<Vec<StoredOperation>, StoreError> {
        self.read(|connection| read_operations(connection, &list::ids(connection, query)?))
    }

    fn ids_with_prefix(
        &self,
        app: &AppId,
        prefix: &str,
        limit: usize,
    ) -> Result<Vec<OperationId>, StoreError> {
        let Some((lower, upper)) = prefix_bounds(prefix) else { return Ok(Vec::new()) };
        self.read(|connection| {
            let Some(app) = list::app_number(connection, app)? else { return Ok(Vec::new()) };
            let mut ids: Vec<OperationId> = Vec::new();
            for sql in [
                "SELECT id FROM live WHERE app = ? AND id BETWEEN ? AND ? ORDER BY id LIMIT ?",
                "SELECT id FROM ended WHERE app = ? AND id BETWEEN ? AND ? ORDER BY id LIMIT ?",
            ] {
                let mut statement = connection.prepare_cached(sql)?;
                let parameters = params![app, lower.as_bytes(), upper.as_bytes(), list::row_limit(limit)];
                for id in statement.query_map(parameters, |row| decode_id(row, 0))? {
                    ids.push(id?);
                }
            }
            ids.sort_unstable();
            ids.truncate(limit);
            Ok(ids)
        })
    }

    fn unconsumed(&self, app: &AppId, ids: &[OperationId]) -> Result<Vec<OperationId>, StoreError> {
        self.read(|connection| {
            let Some(app) = list::app_number(connection, app)? else { return Ok(Vec::new()) };
            let mut statement = connection.prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM ended WHERE app = ? AND id = ? AND consumed IS NULL)",
            )?;
            let mut unconsumed = Vec::with_capacity(ids.len());
            for id in ids {
                if statement.query_row(params![app, id.as_bytes()], |row| row.get(0))? {
                    unconsumed.push(*id);
                }
            }
            Ok(unconsumed)
        })
    }

    fn response_body(&self, id: OperationId) -> Result<Option<StoredBody>, StoreError> {
        self.read(|connection| {
            connection
                .prepare_cached("SELECT unseal_bytes('response_body.body', id, body), is_cut FROM response_body WHERE id = ?")?
                .query_row([id.as_bytes()], |row| Ok(StoredBody { bytes: row.get(0)?, is_cut: row.get(1)? }))
                .optional()
        })
    }

    fn journal(&self, id: OperationId) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT unseal_bytes('journal.record', id, record) FROM journal WHERE id = ?",
                )?
                .query_row([id.as_bytes()], |row| row.get(0))
                .optional()
        })
    }

    fn waits(&self, id: OperationId) -> Result<WaitHistory, StoreError> {
        self.read(|connection| read_waits(connection, id.as_bytes()))
    }

    fn token(&self, hash: &[u8; 32]) -> Result<Option<(AppId, Vec<Scope>)>, StoreError> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT application.name, scopes FROM token
                     JOIN application ON application.number = token.app WHERE hash = ?",
                )?
                .query_row([hash], |row| Ok((app_name(row, 0)?, from_json(1, row.get_ref(1)?)?)))
                .optional()
        })
    }

    fn tokens(&self, app: &AppId) -> Result<Vec<Vec<Scope>>, StoreError> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT scopes FROM token JOIN application ON application.number = token.app
                     WHERE application.name = ? ORDER BY created, hash",
                )?
                .query_map([app.as_str()], |row| from_json(0, row.get_ref(0)?))?
                .collect()
        })
    }

    fn applications(&self) -> Result<Vec<AppId>, StoreError> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT name FROM application WHERE
                         EXISTS (SELECT 1 FROM live WHERE live.app = number)
                         OR EXISTS (SELECT 1 FROM ended WHERE ended.app = number)
                         OR EXISTS (SELECT 1 FROM transfer_group AS named
                                    WHERE named.app = application.number AND behavior IS NOT NULL)
                         OR EXISTS (SELECT 1 FROM token WHERE token.app = number)
                         OR EXISTS (SELECT 1 FROM task WHERE task.app = number)
                         OR EXISTS (SELECT 1 FROM completion_group WHERE completion_group.app = number)
                         OR EXISTS (SELECT 1 FROM access WHERE access.app = number)
                     ORDER BY name",
                )?
                .query_map([], |row| app_name(row, 0))?
                .collect()
        })
    }

    fn prunable(&self, time: Timestamp, limit: usize) -> Result<Vec<(AppId, OperationId)>, StoreError> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT application.name, ended.id FROM ended
                     JOIN application ON application.number = ended.app
                     WHERE keep_until < ? ORDER BY keep_until, id LIMIT ?",
                )?
                .query_map(params![time.micros(), list::row_limit(limit)], |row| {
                    Ok((app_name(row, 0)?, decode_id(row, 1)?))
                })?
                .collect()
        })
    }

    fn completion_members(&self, group: CompletionGroupId) -> Result<Vec<StoredOperation>, StoreError> {
        self.read(|connection| read_operations(connection, &completion::members(connection, group)?))
    }

    fn task_spec(&self, id: TaskId) -> Result<Option<RegisterTaskRequest>, StoreError> {
        self.read(|connection| tasks::read_spec(connection, id))
    }

    fn task(&self, id: TaskId) -> Result<Option<StoredTask>, StoreError> {
        self.read(|connection| Ok(tasks::read_tasks(connection, &[id])?.pop()))
    }

    fn tasks(&self, ids: &[TaskId]) -> Result<Vec<StoredTask>, StoreError> {
        self.read(|connection| tasks::read_tasks(connection, ids))
    }

    fn past_task(&self, id: TaskId) -> Result<Option<StoredPastTask>, StoreError> {
        self.read(|connection| tasks::read_past_task(connection, id))
    }

    fn past_tasks(&self, app: &AppId) -> Result<Vec<StoredPastTask>, StoreError> {
        self.read(|connection| tasks::read_past_tasks(connection, app))
    }

    fn instances(
        &self,
        task: TaskId,
        limit: usize,
        before: Option<InstanceId>,
    ) -> Result<Vec<Instance>, StoreError> {
        self.read(|connection| tasks::read_instances(connection, task, limit, before))
    }

    fn instance(&self, id: InstanceId) -> Result<Option<Instance>, StoreError> {
        self.read(|connection| tasks::read_instance(connection, id))
    }

    fn instance_output(&self, id: InstanceId) -> Result<Option<StoredOutput>, StoreError> {
        self.read(|connection| tasks::read_output(connection, id))
    }

    fn task_waits(&self, id: TaskId) -> Result<WaitHistory, StoreError> {
        self.read(|connection| read_waits(connection, id.as_bytes()))
    }

    fn setting(&self, name: &str) -> Result<Option<String>, StoreError> {
        self.read(|connection| {
            connection
                .prepare_cached("SELECT value FROM setting WHERE name = ?")?
                .query_row([format!("{OTHERS}{name}")], |row| row.get(0))
                .optional()
        })
    }

    fn manifests(&self) -> Result<Vec<(AppId, String)>, StoreError> {
        self.read(tasks::read_manifests)
    }
}

pub(super) fn app_name(row: &rusqlite::Row<'_>, index: usize) -> rusqlite::Result<AppId> {
    let name = row.get_ref(index)?.as_str().map_err(|error| unreadable(index, error))?;
    AppId::new(name).map_err(|error| unreadable(index, error))
}

fn read_operations(connection: &Connection, ids: &[OperationId]) -> rusqlite::Result<Vec<StoredOperation>> {
    let found: rusqlite::Result<Vec<_>> = ids.iter().map(|id| read_operation(connection, *id)).collect();
    Ok(found?.into_iter().flatten().collect())
}

/// The columns that rows of `live` and `ended` share, with their names, and those of `spec`.
macro_rules! operation_columns {
    ($table:literal) => {
        concat!(
            "row.app, row.id, row.kind, row.transfer_group, row.origin, row.target, row.place, row.priority, \
             row.cost_policy, row.rate_limit, row.not_before, row.recoverable, row.phase, row.failure, \
             row.fruitless_attempts, row.has_bytes, row.completion_group, row.marks, application.name, transfer_group.name, origin.name, \
             origin.is_local, unseal('spec.spec', spec.id, spec.spec), spec.created, spec.started, ",
            $table
        )
    };
}

const LIVE_SQL: &str = concat!(
    "SELECT ",
    operation_columns!("coalesce(journal.received, 0), coalesce(journal.total, 0), NULL, NULL, NULL, NULL "),
    "FROM spec CROSS JOIN live AS row ON row.app = spec.app AND row.id = spec.id
     JOIN application ON application.number = row.app
     JOIN origin ON origin.number = row.origin
     LEFT JOIN transfer_group ON transfer_group.number = row.transfer_group
     LEFT JOIN journal ON journal.id = spec.id
     WHERE spec.id = ?"
);

const ENDED_SQL: &str = concat!(
    "SELECT ",
    operation_columns!(
        "received, total, completed, consumed, unseal('result.finished', result.id, finished), \
         unseal('result.response', result.id, response) "
    ),
    "FROM spec CROSS JOIN ended AS row ON row.app = spec.app AND row.id = spec.id
     JOIN application ON application.number = row.app
     JOIN origin ON origin.number = row.origin
     LEFT JOIN transfer_group ON transfer_group.number = row.transfer_group
     LEFT JOIN result ON result.id = spec.id
     WHERE spec.id = ?"
);

fn read_operation(connection: &Connection, id: OperationId) -> rusqlite::Result<Option<StoredOperation>> {
    for sql in [LIVE_SQL, ENDED_SQL] {
        let found =
            connection.prepare_cached(sql)?.query_row([id.as_bytes()], decode_operation).optional()?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

fn decode_operation(columns: &rusqlite::Row<'_>) -> rusqlite::Result<StoredOperation> {
    const AFTER: usize = ROW_COLUMNS;
    let not_recoverable: Arc<[WebErrorStatus]> = Arc::new([]);
    let group: Option<String> = columns.get(AFTER + 1)?;
    let names = RowNames {
        app: app_name(columns, AFTER)?,
        group: group
            .map(|name| GroupName::new(&name))
            .transpose()
            .map_err(|error| unreadable(AFTER + 1, error))?,
        origin: Origin { name: columns.get(AFTER + 2)?, is_local: columns.get(AFTER + 3)? },
        not_recoverable,
    };
    let time = |index: usize| Ok::<_, rusqlite::Error>(columns.get::<_, Option<i64>>(index)?.map(Timestamp));
    let count = |index: usize| Ok::<_, rusqlite::Error>(columns.get::<_, i64>(index)?.cast_unsigned());
    let row = decode(columns, names)?;
    Ok(StoredOperation {
        spec: decode_spec(columns, AFTER + 4, row.kind)?,
        row,
        created: Timestamp(columns.get(AFTER + 5)?),
        started: time(AFTER + 6)?,
        received: count(AFTER + 7)?,
        total: count(AFTER + 8)?,
        completed: time(AFTER + 9)?,
        consumed: time(AFTER + 10)?,
        finished: optional_json(columns, AFTER + 11)?,
        response: optional_json(columns, AFTER + 12)?,
    })
}

fn optional_json<T: serde::de::DeserializeOwned>(
    columns: &rusqlite::Row<'_>,
    index: usize,
) -> rusqlite::Result<Option<T>> {
    match columns.get_ref(index)? {
        rusqlite::types::ValueRef::Null => Ok(None),
        text => from_json(index, text).map(Some),
    }
}

fn read_waits(connection: &Connection, id: &[u8; 16]) -> rusqlite::Result<WaitHistory> {
    let mut history = WaitHistory::default();
    let mut entries = connection
        .prepare_cached("SELECT reason, began, ended FROM wait WHERE id = ? ORDER BY began, ended, reason")?;
    let mut entries = entries.query([id])?;
    while let Some(row) = entries.next()? {
        if let Some(code) = reason_from_word(&row.get::<_, String>(0)?) {
            history.entries.push((code, Timestamp(row.get(1)?), Timestamp(row.get(2)?)));
        }
    }
    let mut totals =
        connection.prepare_cached("SELECT reason, micros FROM wait_total WHERE id = ? ORDER BY reason")?;
    let mut totals = totals.query([id])?;
    while let Some(row) = totals.next()? {
        if let Some(code) = reason_from_word(&row.get::<_, String>(0)?) {
            let micros: i64 = row.get(1)?;
            history.totals.push((code, micros.unsigned_abs() / 1_000_000));
        }
    }
    Ok(history)
}
