//! Background tasks in the tables: registrations, their instances and their output, access, manifests and settings.

use longhaul_contract::{
    AccessStatus, AppId, Instance, InstanceId, RegisterTaskRequest, TaskGroupId, TaskId, TaskName, Timestamp,
};
use longhaul_engine::task::{TaskChange, TaskRow};
use rusqlite::types::FromSqlError;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::apply::{SIGNALS, add_wait, execute, keep_setting};
use super::list::row_limit;
use super::names::Names;
use super::readers::app_name;
use super::row::{from_json, to_json, unreadable};
use crate::contract_types::{
    Adopt, INSTANCES_KEPT, OutputWrite, PAST_TASKS_KEPT, StoreError, StoredOutput, StoredPastTask, StoredTask,
};
use crate::wait::reason_word;

/// A change with everything serialised that needs it.
pub(super) enum PreparedTask {
    Registered { row: PreparedTaskRow, spec: String, time: Timestamp },
    Updated { row: PreparedTaskRow },
    Unregistered { id: TaskId, vanished: Option<Timestamp> },
    Instance { instance: PreparedInstance },
    Signals { value: String },
    Access { app: AppId, status: Option<AccessStatus> },
    Waited { id: TaskId, reason: String, from: Timestamp, to: Timestamp },
}

pub(super) struct PreparedInstance {
    id: InstanceId,
    task: TaskId,
    app: AppId,
    is_over: bool,
    instance: String,
}

pub(super) struct PreparedTaskRow {
    row: TaskRow,
    plan: String,
    state: String,
}

impl PreparedTaskRow {
    fn new(row: TaskRow) -> Result<Self, StoreError> {
        Ok(Self { plan: to_json(&row.plan)?, state: to_json(&row.state)?, row })
    }
}

pub(super) fn prepare(change: TaskChange) -> Result<PreparedTask, StoreError> {
    Ok(match change {
        TaskChange::Registered { row, spec, time } => {
            PreparedTask::Registered { row: PreparedTaskRow::new(row)?, spec: to_json(&spec)?, time }
        }
        TaskChange::Updated { row } => PreparedTask::Updated { row: PreparedTaskRow::new(row)? },
        TaskChange::Unregistered { id, vanished } => PreparedTask::Unregistered { id, vanished },
        TaskChange::Instance { app, instance } => {
            let (id, task, is_over) = (instance.id, instance.task_id, instance.state.is_over());
            let instance = to_json(&instance)?;
            PreparedTask::Instance { instance: PreparedInstance { id, task, app, is_over, instance } }
        }
        TaskChange::Signals(signals) => PreparedTask::Signals { value: to_json(&signals)? },
        TaskChange::Access { app, status } => PreparedTask::Access { app, status },
        TaskChange::Waited { id, code, from, to } => {
            PreparedTask::Waited { id, reason: reason_word(code), from, to }
        }
    })
}

pub(super) fn apply(
    connection: &Connection,
    names: &mut Names,
    change: &PreparedTask,
) -> rusqlite::Result<()> {
    match change {
        PreparedTask::Registered { row, spec, time } => register(connection, names, row, spec, *time),
        PreparedTask::Updated { row } => execute(
            connection,
            "UPDATE task SET plan = ?2, state = ?3 WHERE id = ?1",
            params![row.row.id.as_bytes(), row.plan, row.state],
        ),
        PreparedTask::Unregistered { id, vanished } => unregister(connection, *id, *vanished),
        PreparedTask::Instance { instance } => keep_instance(connection, names, instance),
        PreparedTask::Signals { value } => keep_setting(connection, SIGNALS, Some(value)),
        PreparedTask::Access { app, status: Some(status) } => {
            let app = names.app(connection, app)?;
            execute(
                connection,
                "INSERT INTO access (app, status) VALUES (?1, ?2)
                 ON CONFLICT (app) DO UPDATE SET status = excluded.status",
                params![app, status.number()],
            )
        }
        PreparedTask::Access { app, status: None } => execute(
            connection,
            "DELETE FROM access WHERE app = (SELECT number FROM application WHERE name = ?1)",
            params![app.as_str()],
        ),
        PreparedTask::Waited { id, reason, from, to } => {
            add_wait(connection, "task", id.as_bytes(), reason, *from, *to)
        }
    }
}

fn register(
    connection: &Connection,
    names: &mut Names,
    row: &PreparedTaskRow,
    spec: &str,
    time: Timestamp,
) -> rusqlite::Result<()> {
    let TaskRow { id, app, group, name, .. } = &row.row;
    let app = names.app(connection, app)?;
    let is_new = connection
        .prepare_cached(
            "INSERT INTO task (id, app, task_group, name, plan, state) VALUES (?, ?, ?, ?, ?, ?)
             ON CONFLICT (id) DO NOTHING",
        )?
        .execute(params![
            id.as_bytes(),
            app,
            group.as_ref().map(TaskGroupId::as_str),
            name.as_str(),
            row.plan,
            row.state
        ])?
        == 1;
    if is_new {
        execute(
            connection,
            "INSERT INTO task_spec (id, created, spec) VALUES (?1, ?2, seal('task_spec.spec', ?1, ?3))
             ON CONFLICT (id) DO UPDATE SET created = excluded.created, spec = excluded.spec",
            params![id.as_bytes(), time.micros(), spec],
        )?;
        execute(connection, "DELETE FROM past_task WHERE id = ?", [id.as_bytes()])?;
    }
    Ok(())
}

/// What an instance that is not over needs of its registration is kept.
const FORGET_SPEC: &str = "DELETE FROM task_spec WHERE id = ?1
     AND NOT EXISTS (SELECT 1 FROM instance WHERE task = ?1 AND is_over = 0)";

const FORGET_HISTORY: [&str; 2] = [
    "DELETE FROM instance_output WHERE id IN (SELECT id FROM instance WHERE task = ?)",
    "DELETE FROM instance WHERE task = ? AND is_over = 1",
];

fn unregister(connection: &Connection, id: TaskId, vanished: Option<Timestamp>) -> rusqlite::Result<()> {
    let app: Option<i64> = connection
        .prepare_cached("SELECT app FROM task WHERE id = ?")?
        .query_row([id.as_bytes()], |row| row.get(0))
        .optional()?;
    let Some(app) = app else { return Ok(()) };
    match vanished {
        Some(time) => keep_past(connection, app, id, time)?,
        None => forget_history(connection, id.as_bytes())?,
    }
    for sql in [
        FORGET_SPEC,
        "DELETE FROM wait WHERE id = ?",
        "DELETE FROM wait_total WHERE id = ?",
        "DELETE FROM task WHERE id = ?",
    ] {
        execute(connection, sql, [id.as_bytes()])?;
    }
    Ok(())
}

fn forget_history(connection: &Connection, id: &[u8; 16]) -> rusqlite::Result<()> {
    FORGET_HISTORY.into_iter().try_for_each(|sql| execute(connection, sql, [id]))
}

fn keep_past(connection: &Connection, app: i64, id: TaskId, time: Timestamp) -> rusqlite::Result<()> {
    execute(
        connection,
        "INSERT INTO past_task (id, app, name, created, vanished)
         SELECT task.id, app, name, created, ?2 FROM task JOIN task_spec ON task_spec.id = task.id WHERE task.id = ?1",
        params![id.as_bytes(), time.micros()],
    )?;
    forget_past(connection, app, PAST_TASKS_KEPT)
}

/// Forgets all but the newest of an application.
fn forget_past(connection: &Connection, app: i64, kept: usize) -> rusqlite::Result<()> {
    let kept = i64::try_from(kept).unwrap_or(i64::MAX);
    let older: Vec<[u8; 16]> = connection
        .prepare_cached("SELECT id FROM past_task WHERE app = ? ORDER BY number DESC LIMIT -1 OFFSET ?")?
        .query_map([app, kept], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for id in older {
        forget_history(connection, &id)?;
        execute(connection, "DELETE FROM past_task WHERE id = ?", [id])?;
    }
    Ok(())
}

fn keep_instance(
    connection: &Connection,
    names: &mut Names,
    write: &PreparedInstance,
) -> rusqlite::Result<()> {
    let PreparedInstance { id, task, app, is_over, instance } = write;
    let is_known = connection
        .prepare_cached("UPDATE instance SET instance = ?2, is_over = ?3 WHERE id = ?1")?
        .execute(params![id.as_bytes(), instance, is_over])?
        == 1;
    if is_known {
        return if *is_over { forget_left_over(connection, *id, *task) } else { Ok(()) };
    }
    let app = names.app(connection, app)?;
    execute(
        connection,
        "INSERT INTO instance (id, task, app, is_over, instance)
         SELECT ?1, ?2, ?3, ?4, ?5 WHERE EXISTS (SELECT 1 FROM task WHERE id = ?2)",
        params![id.as_bytes(), task.as_bytes(), app, is_over, instance],
    )?;
    let kept = i64::try_from(INSTANCES_KEPT).unwrap_or(i64::MAX);
    for sql in [
        "DELETE FROM instance_output WHERE id IN (
             SELECT id FROM instance WHERE task = ?1 ORDER BY number DESC LIMIT -1 OFFSET ?2)",
        "DELETE FROM instance WHERE number IN (
             SELECT number FROM instance WHERE task = ?1 ORDER BY number DESC LIMIT -1 OFFSET ?2)",
    ] {
        execute(connection, sql, params![task.as_bytes(), kept])?;
    }
    Ok(())
}

/// An instance that is over goes the way of its registration.
fn forget_left_over(connection: &Connection, id: InstanceId, task: TaskId) -> rusqlite::Result<()> {
    let is_in = |sql: &str| connection.prepare_cached(sql)?.exists([task.as_bytes()]);
    if is_in("SELECT 1 FROM task WHERE id = ?")? {
        return Ok(());
    }
    if !is_in("SELECT 1 FROM past_task WHERE id = ?")? {
        execute(connection, "DELETE FROM instance WHERE id = ?", [id.as_bytes()])?;
        execute(connection, "DELETE FROM instance_output WHERE id = ?", [id.as_bytes()])?;
    }
    execute(connection, FORGET_SPEC, [task.as_bytes()])
}

pub(super) fn keep_output(connection: &Connection, write: &OutputWrite) -> rusqlite::Result<()> {
    execute(
        connection,
        "INSERT INTO instance_output (id, dropped, output)
         SELECT ?1, ?2, ?3 WHERE EXISTS (SELECT 1 FROM instance WHERE id = ?1)
         ON CONFLICT (id) DO UPDATE SET dropped = excluded.dropped, output = excluded.output",
        params![write.instance.as_bytes(), write.output.dropped.cast_signed(), write.output.text.as_bytes()],
    )
}

pub(super) fn keep_manifest(
    connection: &Connection,
    names: &mut Names,
    app: &AppId,
    identity: Option<&str>,
) -> rusqlite::Result<()> {
    let app = names.app(connection, app)?;
    match identity {
        Some(identity) => execute(
            connection,
            "INSERT INTO manifest (app, identity) VALUES (?1, ?2)
             ON CONFLICT (app) DO UPDATE SET identity = excluded.identity",
            params![app, identity],
        ),
        None => {
            forget_past(connection, app, 0)?;
            execute(connection, "DELETE FROM manifest WHERE app = ?", [app])
        }
    }
}

/// The columns that [`decode_row`] expects.
macro_rules! task_columns {
    () => {
        "SELECT task.id, application.name, task_group, task.name, plan, state"
    };
}

fn decode_row(row: &Row<'_>) -> rusqlite::Result<TaskRow> {
    let group: Option<String> = row.get(2)?;
    Ok(TaskRow {
        id: TaskId::from_bytes(row.get(0)?),
        app: app_name(row, 1)?,
        group: group.map(|id| TaskGroupId::new(&id)).transpose().map_err(|error| unreadable(2, error))?,
        name: TaskName::new(row.get_ref(3)?.as_str().map_err(|error| unreadable(3, error))?)
            .map_err(|error| unreadable(3, error))?,
        plan: from_json(4, row.get_ref(4)?)?,
        state: from_json(5, row.get_ref(5)?)?,
    })
}

pub(super) fn load_into(connection: &Connection, adopter: &mut dyn Adopt) -> rusqlite::Result<()> {
    let mut tasks = connection
        .prepare(concat!(task_columns!(), " FROM task JOIN application ON application.number = task.app"))?;
    let mut tasks = tasks.query([])?;
    while let Some(row) = tasks.next()? {
        adopter.task(decode_row(row)?);
    }
    let mut access = connection.prepare(
        "SELECT application.name, status FROM access JOIN application ON application.number = access.app",
    )?;
    let mut access = access.query([])?;
    while let Some(row) = access.next()? {
        let number: u8 = row.get(1)?;
        let status = AccessStatus::from_number(number)
            .ok_or_else(|| unreadable(1, FromSqlError::OutOfRange(number.into())))?;
        adopter.access(app_name(row, 0)?, status);
    }
    let signals = connection
        .prepare("SELECT value FROM setting WHERE name = ?")?
        .query_row([SIGNALS], |row| from_json(0, row.get_ref(0)?))
        .optional()?;
    if let Some(signals) = signals {
        adopter.signals(signals);
    }
    let mut left_over = connection.prepare(
        "SELECT application.name, instance FROM instance
         JOIN application ON application.number = instance.app
         WHERE is_over = 0 AND task NOT IN (SELECT id FROM task) ORDER BY instance.number",
    )?;
    let mut left_over = left_over.query([])?;
    while let Some(row) = left_over.next()? {
        adopter.left_over(app_name(row, 0)?, from_json(1, row.get_ref(1)?)?);
    }
    Ok(())
}

pub(super) fn read_spec(
    connection: &Connection,
    id: TaskId,
) -> rusqlite::Result<Option<RegisterTaskRequest>> {
    connection
        .prepare_cached("SELECT unseal('task_spec.spec', id, spec) FROM task_spec WHERE id = ?")?
        .query_row([id.as_bytes()], |row| from_json(0, row.get_ref(0)?))
        .optional()
}

pub(super) fn read_tasks(connection: &Connection, ids: &[TaskId]) -> rusqlite::Result<Vec<StoredTask>> {
    let mut statement = connection.prepare_cached(concat!(
        task_columns!(),
        ", created, unseal('task_spec.spec', task_spec.id, spec) FROM task JOIN application ON application.number = task.app
         JOIN task_spec ON task_spec.id = task.id WHERE task.id = ?"
    ))?;
    let mut found = Vec::with_capacity(ids.len());
    for id in ids {
        let task = statement.query_row([id.as_bytes()], |row| {
            Ok(StoredTask {
                row: decode_row(row)?,
                created: Timestamp(row.get(6)?),
                spec: from_json::<RegisterTaskRequest>(7, row.get_ref(7)?)?,
            })
        });
        found.extend(task.optional()?);
    }
    Ok(found)
}

/// The columns that [`decode_past`] expects.
macro_rules! past_columns {
    () => {
        "SELECT application.name, past_task.id, past_task.name, created, vanished
         FROM past_task JOIN application ON application.number = past_task.app"
    };
}

fn decode_past(row: &Row<'_>) -> rusqlite::Result<StoredPastTask> {
    Ok(StoredPastTask {
        app: app_name(row, 0)?,
        id: TaskId::from_bytes(row.get(1)?),
        name: TaskName::new(row.get_ref(2)?.as_str().map_err(|error| unreadable(2, error))?)
            .map_err(|error| unreadable(2, error))?,
        created: Timestamp(row.get(3)?),
        vanished: Timestamp(row.get(4)?),
    })
}

pub(super) fn read_past_task(
    connection: &Connection,
    id: TaskId,
) -> rusqlite::Result<Option<StoredPastTask>> {
    connection
        .prepare_cached(concat!(past_columns!(), " WHERE past_task.id = ?"))?
        .query_row([id.as_bytes()], decode_past)
        .optional()
}

pub(super) fn read_past_tasks(connection: &Connection, app: &AppId) -> rusqlite::Result<Vec<StoredPastTask>> {
    connection
        .prepare_cached(concat!(
            past_columns!(),
            " WHERE application.name = ? ORDER BY past_task.number DESC"
        ))?
        .query_map([app.as_str()], decode_past)?
        .collect()
}

pub(super) fn read_instances(
    connection: &Connection,
    task: TaskId,
    limit: usize,
    before: Option<InstanceId>,
) -> rusqlite::Result<Vec<Instance>> {
    let before = before.map(|id| *id.as_bytes());
    connection
        .prepare_cached(
            "SELECT instance FROM instance WHERE task = ?1
             AND (?3 IS NULL OR number < (SELECT number FROM instance WHERE id = ?3))
             ORDER BY number DESC LIMIT ?2",
        )?
        .query_map(params![task.as_bytes(), row_limit(limit), before], |row| from_json(0, row.get_ref(0)?))?
        .collect()
}

pub(super) fn read_instance(connection: &Connection, id: InstanceId) -> rusqlite::Result<Option<Instance>> {
    connection
        .prepare_cached("SELECT instance FROM instance WHERE id = ?")?
        .query_row([id.as_bytes()], |row| from_json(0, row.get_ref(0)?))
        .optional()
}

pub(super) fn read_output(connection: &Connection, id: InstanceId) -> rusqlite::Result<Option<StoredOutput>> {
    connection
        .prepare_cached("SELECT dropped, output FROM instance_output WHERE id = ?")?
        .query_row([id.as_bytes()], |row| {
            let text = String::from_utf8(row.get(1)?).map_err(|error| unreadable(1, error))?;
            Ok(StoredOutput { text, dropped: row.get::<_, i64>(0)?.cast_unsigned() })
        })
        .optional()
}

pub(super) fn read_manifests(connection: &Connection) -> rusqlite::Result<Vec<(AppId, String)>> {
    connection
        .prepare_cached(
            "SELECT application.name, identity FROM manifest
             JOIN application ON application.number = manifest.app ORDER BY application.name",
        )?
        .query_map([], |row| Ok((app_name(row, 0)?, row.get(1)?)))?
        .collect()
}
