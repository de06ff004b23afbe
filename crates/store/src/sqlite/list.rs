//! Lists by cursor: finds the ids of a page. Whole records are read afterwards, for that page only.

use longhaul_contract::{AppId, GroupName, OperationId, OperationKind};
use rusqlite::{Connection, OptionalExtension as _, params};
use serde::Deserialize;

use super::row::{UnreadableJson, decode_id, unreadable};
use crate::contract_types::ListQuery;
use crate::matching::Needle;

pub(super) fn row_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

pub(super) fn app_number(connection: &Connection, app: &AppId) -> rusqlite::Result<Option<i64>> {
    connection
        .prepare_cached("SELECT number FROM application WHERE name = ?")?
        .query_row([app.as_str()], |row| row.get(0))
        .optional()
}

/// The ids of one page, in its order.
pub(super) fn ids(connection: &Connection, query: &ListQuery) -> rusqlite::Result<Vec<OperationId>> {
    let apps = match &query.app {
        Some(app) => app_number(connection, app)?.into_iter().collect(),
        None => all_apps(connection)?,
    };
    if query.limit == 0 || (query.only_ungrouped && query.group.is_some()) {
        return Ok(Vec::new());
    }
    if query.text.is_some() || query.label.is_some() {
        return search(connection, query, &apps);
    }
    let mut ids = Vec::new();
    for app in apps {
        let scope = match &query.group {
            None => Scope { column: "app", number: app },
            Some(group) => match group_number(connection, app, group.as_str())? {
                Some(number) => Scope { column: "transfer_group", number },
                None => continue,
            },
        };
        for table in [Table::Live, Table::Ended] {
            if query.is_final.is_none_or(|is_final| is_final == (table == Table::Ended)) {
                scope.read(connection, query, table, &mut ids)?;
            }
        }
    }
    ids.sort_unstable();
    if query.descending {
        ids.reverse();
    }
    ids.truncate(query.limit);
    Ok(ids)
}

fn all_apps(connection: &Connection) -> rusqlite::Result<Vec<i64>> {
    connection.prepare_cached("SELECT number FROM application")?.query_map([], |row| row.get(0))?.collect()
}

fn group_number(connection: &Connection, app: i64, name: &str) -> rusqlite::Result<Option<i64>> {
    connection
        .prepare_cached("SELECT number FROM transfer_group WHERE app = ? AND name = ?")?
        .query_row(params![app, name], |row| row.get(0))
        .optional()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Table {
    Live,
    Ended,
}

/// What the index is entered by.
struct Scope {
    column: &'static str,
    number: i64,
}

impl Scope {
    /// Adds the first ids of one table, at most a page of them.
    fn read(
        &self,
        connection: &Connection,
        query: &ListQuery,
        table: Table,
        ids: &mut Vec<OperationId>,
    ) -> rusqlite::Result<()> {
        let (name, consumed) = match table {
            Table::Live => ("live", ""),
            Table::Ended if query.include_consumed => ("ended", ""),
            Table::Ended => ("ended", " AND consumed IS NULL"),
        };
        let column = self.column;
        let Order { behind, direction } = order(query);
        let ungrouped = if query.only_ungrouped { " AND transfer_group IS NULL" } else { "" };
        let sql = format!(
            "SELECT id FROM {name} WHERE {column} = ?1 AND id {behind} ?2 AND kind = coalesce(?3, kind)\
             {ungrouped}{consumed} ORDER BY id {direction} LIMIT ?4"
        );
        let mut statement = connection.prepare_cached(&sql)?;
        let kind = query.kind.map(OperationKind::number);
        let parameters = params![self.number, cursor(query), kind, row_limit(query.limit)];
        for id in statement.query_map(parameters, |row| decode_id(row, 0))? {
            ids.push(id?);
        }
        Ok(())
    }
}

struct Order {
    /// Stands between an id and the cursor it lies behind.
    behind: &'static str,
    direction: &'static str,
}

const fn order(query: &ListQuery) -> Order {
    if query.descending {
        Order { behind: "<", direction: "DESC" }
    } else {
        Order { behind: ">", direction: "ASC" }
    }
}

/// The id that everything listed lies behind. Seventeen bytes of 0xff are greater than any id, none are smaller.
fn cursor(query: &ListQuery) -> Vec<u8> {
    match query.after {
        Some(after) => after.as_bytes().to_vec(),
        None if query.descending => vec![0xff; 17],
        None => Vec::new(),
    }
}

/// What a search looks at.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SearchedFields {
    requested_uri: String,
    /// Of a download.
    #[serde(default)]
    result_file: Option<String>,
    /// Of an upload.
    #[serde(default)]
    source_file: Option<String>,
    #[serde(default)]
    parts: Vec<SearchedPart>,
    #[serde(default)]
    label: Option<String>,
}

#[derive(Deserialize)]
struct SearchedPart {
    #[serde(default)]
    file: Option<String>,
}

impl SearchedFields {
    fn files(&self) -> Vec<&str> {
        let parts = self.parts.iter().map(|part| &part.file);
        [&self.result_file, &self.source_file].into_iter().chain(parts).filter_map(Option::as_deref).collect()
    }
}

/// Goes through the specs in the order of the list until the page is full.
fn search(connection: &Connection, query: &ListQuery, apps: &[i64]) -> rusqlite::Result<Vec<OperationId>> {
    let needle = query.text.as_deref().map(Needle::new);
    let quick = needle.as_ref().filter(|needle| needle.is_plain_in_json());
    let Order { behind, direction } = order(query);
    let mut statement = connection.prepare_cached(&format!(
        "SELECT id, app, unseal_bytes('spec.spec', id, spec) FROM spec WHERE id {behind} ?1 ORDER BY id {direction}"
    ))?;
    let mut rows = statement.query([cursor(query)])?;
    let mut ids = Vec::new();
    while ids.len() < query.limit
        && let Some(row) = rows.next()?
    {
        let app: i64 = row.get(1)?;
        let spec = row.get_ref(2)?.as_blob().map_err(|error| unreadable(2, error))?;
        if !apps.contains(&app) || quick.is_some_and(|needle| !needle.is_in(spec)) {
            continue;
        }
        let fields: SearchedFields =
            serde_json::from_slice(spec).map_err(|error| unreadable(2, UnreadableJson::from(&error)))?;
        let is_meant = query.label.as_ref().is_none_or(|label| fields.label.as_ref() == Some(label))
            && needle.as_ref().is_none_or(|needle| {
                needle.matches(&fields.requested_uri, &fields.files(), fields.label.as_deref())
            });
        let id = decode_id(row, 0)?;
        if is_meant && has_listed_row(connection, query, app, id)? {
            ids.push(id);
        }
    }
    Ok(ids)
}

/// Whether the row of an operation is such as the list wants.
fn has_listed_row(
    connection: &Connection,
    query: &ListQuery,
    app: i64,
    id: OperationId,
) -> rusqlite::Result<bool> {
    connection
        .prepare_cached(
            "SELECT EXISTS (
                 SELECT 1 FROM (
                     SELECT kind, transfer_group, 0 AS is_final, NULL AS consumed
                     FROM live WHERE app = ?1 AND id = ?2
                     UNION ALL
                     SELECT kind, transfer_group, 1, consumed FROM ended WHERE app = ?1 AND id = ?2) AS row
                 LEFT JOIN transfer_group ON transfer_group.number = row.transfer_group
                 WHERE row.is_final IS coalesce(?3, row.is_final)
                     AND row.kind = coalesce(?4, row.kind)
                     AND (?5 OR row.consumed IS NULL)
                     AND (?6 IS NULL OR transfer_group.name = ?6)
                     AND (NOT ?7 OR row.transfer_group IS NULL))",
        )?
        .query_row(
            params![
                app,
                id.as_bytes(),
                query.is_final,
                query.kind.map(OperationKind::number),
                query.include_consumed,
                query.group.as_ref().map(GroupName::as_str),
                query.only_ungrouped,
            ],
            |row| row.get(0),
        )
}
