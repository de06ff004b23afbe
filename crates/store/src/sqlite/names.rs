//! Names that many rows share, and their numbers. Only the writer numbers names; it remembers a bounded lot of them.

use std::collections::HashMap;

use longhaul_contract::{AppId, GroupName};
use longhaul_engine::{Origin, Row};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::row::NameNumbers;

/// Names of one sort remembered at a time.
const REMEMBERED_MAX: usize = 16_384;

#[derive(Default)]
pub(super) struct Names {
    apps: HashMap<AppId, i64>,
    groups: HashMap<(i64, GroupName), i64>,
    origins: HashMap<Origin, i64>,
}

impl Names {
    /// To be called when a transaction was rolled back: it may have numbered names.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    pub(super) fn of_row(&mut self, connection: &Connection, row: &Row) -> rusqlite::Result<NameNumbers> {
        let app = self.app(connection, &row.app)?;
        let group = row.group.as_ref().map(|name| self.group(connection, app, name)).transpose()?;
        let origin = self.origin(connection, &row.origin)?;
        Ok(NameNumbers { app, group, origin })
    }

    pub(super) fn app(&mut self, connection: &Connection, app: &AppId) -> rusqlite::Result<i64> {
        if let Some(number) = self.apps.get(app) {
            return Ok(*number);
        }
        let known = connection
            .prepare_cached("SELECT number FROM application WHERE name = ?")?
            .query_row([app.as_str()], |row| row.get(0))
            .optional()?;
        let number = match known {
            Some(number) => number,
            None => connection
                .prepare_cached("INSERT INTO application (name) VALUES (?)")?
                .insert([app.as_str()])?,
        };
        remember(&mut self.apps, app.clone(), number);
        Ok(number)
    }

    pub(super) fn group(
        &mut self,
        connection: &Connection,
        app: i64,
        name: &GroupName,
    ) -> rusqlite::Result<i64> {
        let key = (app, name.clone());
        if let Some(number) = self.groups.get(&key) {
            return Ok(*number);
        }
        let known = connection
            .prepare_cached("SELECT number FROM transfer_group WHERE app = ? AND name = ?")?
            .query_row(params![app, name.as_str()], |row| row.get(0))
            .optional()?;
        let number = match known {
            Some(number) => number,
            None => connection
                .prepare_cached("INSERT INTO transfer_group (app, name) VALUES (?, ?)")?
                .insert(params![app, name.as_str()])?,
        };
        remember(&mut self.groups, key, number);
        Ok(number)
    }

    fn origin(&mut self, connection: &Connection, origin: &Origin) -> rusqlite::Result<i64> {
        if let Some(number) = self.origins.get(origin) {
            return Ok(*number);
        }
        let columns = params![&*origin.name, origin.is_local];
        let known = connection
            .prepare_cached("SELECT number FROM origin WHERE name = ? AND is_local = ?")?
            .query_row(columns, |row| row.get(0))
            .optional()?;
        let number = match known {
            Some(number) => number,
            None => connection
                .prepare_cached("INSERT INTO origin (name, is_local) VALUES (?, ?)")?
                .insert(columns)?,
        };
        remember(&mut self.origins, origin.clone(), number);
        Ok(number)
    }
}

fn remember<K: Eq + std::hash::Hash>(numbers: &mut HashMap<K, i64>, key: K, number: i64) {
    if numbers.len() >= REMEMBERED_MAX {
        numbers.clear();
    }
    numbers.insert(key, number);
}

/// Forgets origins and groups that nothing names any more. Looks at every row, so it is not for busy moments.
pub(super) fn collect_unused(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(
        "DELETE FROM origin WHERE number NOT IN (SELECT origin FROM live UNION SELECT origin FROM ended);
         DELETE FROM transfer_group WHERE behavior IS NULL
             AND NOT EXISTS (SELECT 1 FROM live WHERE live.transfer_group = transfer_group.number)
             AND NOT EXISTS (SELECT 1 FROM ended WHERE ended.transfer_group = transfer_group.number);",
    )
}
