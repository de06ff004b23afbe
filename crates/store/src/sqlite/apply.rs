//! Writes into the tables, inside a transaction that somebody else begins and ends.

use longhaul_contract::{AppId, GroupName, OperationId, OperationKind, Spec, Timestamp, TransferBehavior};
use rusqlite::{Connection, OptionalExtension as _, params, params_from_iter};

use super::completion;
use super::names::Names;
use super::prepared::{Prepared, PreparedEnd};
use super::row::{PreparedRow, decode_spec, decode_word, row_columns, unreadable};
use super::tasks;
use crate::contract_types::{JournalWrite, ResponseBodyWrite, TokenWrite};
use crate::wait::WAITS_MAX;

/// The name under which `setting` holds the limits.
pub(super) const LIMITS: &str = "limits";

/// The name under which it holds what the machine was last known to be like.
pub(super) const SIGNALS: &str = "signals";

/// The beginning of the names of settings that are not ours.
pub(super) const OTHERS: &str = "other.";

pub(super) fn apply(connection: &Connection, names: &mut Names, write: &Prepared) -> rusqlite::Result<()> {
    match write {
        Prepared::Created { row, spec, time } => create(connection, names, row, spec, *time),
        Prepared::Updated { row } => update(connection, names, row),
        Prepared::Counted { id, fruitless_attempts, has_bytes } => execute(
            connection,
            "UPDATE live SET fruitless_attempts = ?2, has_bytes = ?3
             WHERE app = (SELECT app FROM spec WHERE id = ?1) AND id = ?1",
            params![id.as_bytes(), fruitless_attempts, has_bytes],
        ),
        Prepared::Patched { id, patch } => {
            let Some(mut spec) = read_spec(connection, *id)? else { return Ok(()) };
            spec.apply((**patch).clone());
            let spec = serde_json::to_string(&spec).map_err(|error| unreadable(0, error))?;
            execute(
                connection,
                "UPDATE spec SET spec = seal('spec.spec', ?1, ?2) WHERE id = ?1",
                params![id.as_bytes(), spec],
            )
        }
        Prepared::Started { id, time } => execute(
            connection,
            "UPDATE spec SET started = ?2 WHERE id = ?1 AND started IS NULL",
            params![id.as_bytes(), time.micros()],
        ),
        Prepared::Ended(end) => finish(connection, names, end),
        Prepared::Consumed { id, time, keep_until } => execute(
            connection,
            "UPDATE ended SET consumed = coalesce(consumed, ?2), keep_until = ?3
             WHERE app = (SELECT app FROM spec WHERE id = ?1) AND id = ?1",
            params![id.as_bytes(), time.micros(), keep_until.micros()],
        ),
        Prepared::Removed { id } => remove(connection, *id),
        Prepared::Waited { id, reason, from, to } => {
            add_wait(connection, "spec", id.as_bytes(), reason, *from, *to)
        }
        Prepared::Group { app, name, behavior } => {
            declare_group(connection, names, app, name, Some(*behavior))
        }
        Prepared::GroupRemoved { app, name } => declare_group(connection, names, app, name, None),
        Prepared::Limits { value } => keep_setting(connection, LIMITS, Some(value)),
        Prepared::CompletionGroup { row, state } => completion::keep(connection, names, row, state),
        Prepared::CompletionGroupRemoved { id } => completion::remove(connection, *id),
        Prepared::Task(change) => tasks::apply(connection, names, change),
        Prepared::Output(output) => tasks::keep_output(connection, output),
        Prepared::ResponseBody(body) => keep_response_body(connection, body),
        Prepared::Setting { name, value } => {
            keep_setting(connection, &format!("{OTHERS}{name}"), value.as_deref())
        }
        Prepared::Manifest { app, identity } => {
            tasks::keep_manifest(connection, names, app, identity.as_deref())
        }
        Prepared::Journal(journal) => keep_journal(connection, journal),
        Prepared::Token { token, scopes } => keep_token(connection, names, token, scopes),
    }
}

pub(super) fn execute(
    connection: &Connection,
    sql: &str,
    parameters: impl rusqlite::Params,
) -> rusqlite::Result<()> {
    connection.prepare_cached(sql)?.execute(parameters).map(drop)
}

fn create(
    connection: &Connection,
    names: &mut Names,
    row: &PreparedRow,
    spec: &str,
    time: Timestamp,
) -> rusqlite::Result<()> {
    let numbers = names.of_row(connection, &row.row)?;
    let is_new = connection
        .prepare_cached(
            "INSERT INTO spec (id, app, created, spec) VALUES (?1, ?2, ?3, seal('spec.spec', ?1, ?4))
             ON CONFLICT (id) DO NOTHING",
        )?
        .execute(params![row.row.id.as_bytes(), numbers.app, time.micros(), spec])?
        == 1;
    if is_new {
        connection
            .prepare_cached(concat!(
                "INSERT INTO live (",
                row_columns!(),
                ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
            ))?
            .execute(params_from_iter(row.parameters(numbers)))?;
    }
    Ok(())
}

fn update(connection: &Connection, names: &mut Names, row: &PreparedRow) -> rusqlite::Result<()> {
    let numbers = names.of_row(connection, &row.row)?;
    connection
        .prepare_cached(
            "UPDATE live SET kind = ?3, transfer_group = ?4, origin = ?5, target = ?6, place = ?7, priority = ?8,
                 cost_policy = ?9, rate_limit = ?10, not_before = ?11, recoverable = ?12, phase = ?13,
                 failure = ?14, fruitless_attempts = ?15, has_bytes = ?16,
                 completion_group = ?17, marks = ?18
             WHERE app = ?1 AND id = ?2",
        )?
        .execute(params_from_iter(row.parameters(numbers)))
        .map(drop)
}

fn read_spec(connection: &Connection, id: OperationId) -> rusqlite::Result<Option<Spec>> {
    connection
        .prepare_cached(
            "SELECT unseal('spec.spec', spec.id, spec), coalesce(live.kind, ended.kind) FROM spec
             LEFT JOIN live ON live.app = spec.app AND live.id = spec.id
             LEFT JOIN ended ON ended.app = spec.app AND ended.id = spec.id
             WHERE spec.id = ?",
        )?
        .query_row([id.as_bytes()], |row| {
            decode_spec(row, 0, decode_word(row, 1, OperationKind::from_number)?)
        })
        .optional()
}

fn finish(connection: &Connection, names: &mut Names, end: &PreparedEnd) -> rusqlite::Result<()> {
    let id = end.row.row.id;
    let numbers = names.of_row(connection, &end.row.row)?;
    let was_live = connection
        .prepare_cached("DELETE FROM live WHERE app = ? AND id = ?")?
        .execute(params![numbers.app, id.as_bytes()])?
        == 1;
    if !was_live {
        return Ok(());
    }
    let journalled = connection
        .prepare_cached("SELECT received, total FROM journal WHERE id = ?")?
        .query_row([id.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?
        .unwrap_or((0, 0));
    execute(connection, "DELETE FROM journal WHERE id = ?", [id.as_bytes()])?;
    let (received, total) = end.size.map_or(journalled, |size| (size.cast_signed(), size.cast_signed()));
    let more = [end.time.micros(), end.keep_until.micros(), received, total];
    connection
        .prepare_cached(concat!(
            "INSERT INTO ended (",
            row_columns!(),
            ", completed, keep_until, received, total)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        ))?
        .execute(params_from_iter(
            end.row.parameters(numbers).into_iter().chain(more.into_iter().map(Into::into)),
        ))?;
    if end.finished.is_some() || end.response.is_some() {
        execute(
            connection,
            "INSERT INTO result (id, finished, response)
             VALUES (?1, seal('result.finished', ?1, ?2), seal('result.response', ?1, ?3))",
            params![id.as_bytes(), end.finished, end.response],
        )?;
    }
    Ok(())
}

fn remove(connection: &Connection, id: OperationId) -> rusqlite::Result<()> {
    let app: Option<i64> = connection
        .prepare_cached("SELECT app FROM spec WHERE id = ?")?
        .query_row([id.as_bytes()], |row| row.get(0))
        .optional()?;
    let Some(app) = app else { return Ok(()) };
    for sql in ["DELETE FROM live WHERE app = ? AND id = ?", "DELETE FROM ended WHERE app = ? AND id = ?"] {
        execute(connection, sql, params![app, id.as_bytes()])?;
    }
    for sql in [
        "DELETE FROM spec WHERE id = ?",
        "DELETE FROM result WHERE id = ?",
        "DELETE FROM response_body WHERE id = ?",
        "DELETE FROM journal WHERE id = ?",
        "DELETE FROM wait WHERE id = ?",
        "DELETE FROM wait_total WHERE id = ?",
    ] {
        execute(connection, sql, [id.as_bytes()])?;
    }
    Ok(())
}

/// `table` is the one that knows whoever waited.
pub(super) fn add_wait(
    connection: &Connection,
    table: &'static str,
    id: &[u8; 16],
    reason: &str,
    from: Timestamp,
    to: Timestamp,
) -> rusqlite::Result<()> {
    let is_new = connection
        .prepare_cached(&format!(
            "INSERT INTO wait (id, began, ended, reason)
             SELECT ?1, ?2, ?3, ?4 WHERE EXISTS (SELECT 1 FROM {table} WHERE id = ?1)
             ON CONFLICT DO NOTHING"
        ))?
        .execute(params![id, from.micros(), to.micros(), reason])?
        == 1;
    if !is_new {
        return Ok(());
    }
    execute(
        connection,
        "INSERT INTO wait_total (id, reason, micros) VALUES (?1, ?2, ?3)
         ON CONFLICT (id, reason) DO UPDATE SET micros = micros + excluded.micros",
        params![id, reason, to.micros().saturating_sub(from.micros()).max(0)],
    )?;
    execute(
        connection,
        "DELETE FROM wait WHERE id = ?1 AND (began, ended, reason) <= (
             SELECT began, ended, reason FROM wait WHERE id = ?1
             ORDER BY began DESC, ended DESC, reason DESC LIMIT 1 OFFSET ?2)",
        params![id, i64::try_from(WAITS_MAX).unwrap_or(i64::MAX)],
    )
}

pub(super) fn keep_setting(connection: &Connection, name: &str, value: Option<&str>) -> rusqlite::Result<()> {
    match value {
        Some(value) => execute(
            connection,
            "INSERT INTO setting (name, value) VALUES (?1, ?2)
             ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            params![name, value],
        ),
        None => execute(connection, "DELETE FROM setting WHERE name = ?", [name]),
    }
}

fn declare_group(
    connection: &Connection,
    names: &mut Names,
    app: &AppId,
    name: &GroupName,
    behavior: Option<TransferBehavior>,
) -> rusqlite::Result<()> {
    let app = names.app(connection, app)?;
    let number = names.group(connection, app, name)?;
    execute(
        connection,
        "UPDATE transfer_group SET behavior = ?2 WHERE number = ?1",
        params![number, behavior.map(TransferBehavior::number)],
    )
}

fn keep_journal(connection: &Connection, journal: &JournalWrite) -> rusqlite::Result<()> {
    execute(
        connection,
        "INSERT INTO journal (id, received, total, record)
         SELECT ?1, ?2, ?3, seal('journal.record', ?1, ?4) WHERE EXISTS (
             SELECT 1 FROM spec JOIN live ON live.app = spec.app AND live.id = spec.id WHERE spec.id = ?1)
         ON CONFLICT (id) DO UPDATE
             SET received = excluded.received, total = excluded.total, record = excluded.record",
        params![
            journal.id.as_bytes(),
            journal.received.cast_signed(),
            journal.total.cast_signed(),
            journal.record
        ],
    )
}

fn keep_response_body(connection: &Connection, write: &ResponseBodyWrite) -> rusqlite::Result<()> {
    execute(
        connection,
        "INSERT INTO response_body (id, is_cut, body)
         SELECT ?1, ?2, seal('response_body.body', ?1, ?3) WHERE EXISTS (SELECT 1 FROM spec WHERE id = ?1)
         ON CONFLICT (id) DO UPDATE SET is_cut = excluded.is_cut, body = excluded.body",
        params![write.id.as_bytes(), write.body.is_cut, write.body.bytes],
    )
}

fn keep_token(
    connection: &Connection,
    names: &mut Names,
    token: &TokenWrite,
    scopes: &str,
) -> rusqlite::Result<()> {
    let app = names.app(connection, &token.app)?;
    execute(
        connection,
        "INSERT INTO token (hash, app, scopes, created) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (hash) DO UPDATE SET app = excluded.app, scopes = excluded.scopes, created = excluded.created",
        params![token.hash, app, scopes, token.created.micros()],
    )
}
