//! Completion groups in their table; their members are the operations that name them.

use longhaul_contract::{CompletionGroupId, OperationId, Timestamp};
use longhaul_engine::CompletionRow;
use rusqlite::{Connection, params};

use super::apply::execute;
use super::names::Names;
use super::readers::app_name;
use super::row::{decode_id, from_json};
use crate::contract_types::Adopt;

pub(super) fn keep(
    connection: &Connection,
    names: &mut Names,
    row: &CompletionRow,
    state: &str,
) -> rusqlite::Result<()> {
    let app = names.app(connection, &row.app)?;
    execute(
        connection,
        "INSERT INTO completion_group (id, app, created, state) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (id) DO UPDATE SET state = excluded.state",
        params![row.id.as_bytes(), app, row.created.micros(), state],
    )
}

pub(super) fn remove(connection: &Connection, id: CompletionGroupId) -> rusqlite::Result<()> {
    execute(connection, "DELETE FROM completion_group WHERE id = ?", [id.as_bytes()])
}

pub(super) fn load_into(connection: &Connection, adopter: &mut dyn Adopt) -> rusqlite::Result<()> {
    let mut groups = connection.prepare(
        "SELECT application.name, id, created, state FROM completion_group
         JOIN application ON application.number = completion_group.app ORDER BY id",
    )?;
    let mut groups = groups.query([])?;
    while let Some(row) = groups.next()? {
        adopter.completion_group(CompletionRow {
            id: CompletionGroupId::from_bytes(row.get(1)?),
            app: app_name(row, 0)?,
            created: Timestamp(row.get(2)?),
            state: from_json(3, row.get_ref(3)?)?,
        });
    }
    Ok(())
}

/// Members that are known, oldest first.
pub(super) fn members(
    connection: &Connection,
    group: CompletionGroupId,
) -> rusqlite::Result<Vec<OperationId>> {
    connection
        .prepare_cached(
            "SELECT id FROM live WHERE completion_group = ?1
             UNION ALL SELECT id FROM ended WHERE completion_group = ?1 ORDER BY id",
        )?
        .query_map([group.as_bytes()], |row| decode_id(row, 0))?
        .collect()
}
