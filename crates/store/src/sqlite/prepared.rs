//! Writes as the writer thread wants them: everything that needs no database is done, JSON above all.

use longhaul_contract::{
    AppId, CompletionGroupId, GroupName, OperationId, PatchDownload, ReasonCode, Timestamp, TransferBehavior,
};
use longhaul_engine::{Change, CompletionRow};

use super::row::{PreparedRow, to_json};
use super::tasks::{self, PreparedTask};
use crate::contract_types::{JournalWrite, OutputWrite, ResponseBodyWrite, StoreError, TokenWrite, Write};
use crate::wait::reason_word;

/// A submission for a [`super::SqliteStore`].
pub struct PreparedWrites(pub(super) Vec<Prepared>);

pub(super) enum Prepared {
    Created { row: PreparedRow, spec: String, time: Timestamp },
    Updated { row: PreparedRow },
    Counted { id: OperationId, fruitless_attempts: u8, has_bytes: bool },
    Patched { id: OperationId, patch: Box<PatchDownload> },
    Started { id: OperationId, time: Timestamp },
    Ended(Box<PreparedEnd>),
    Consumed { id: OperationId, time: Timestamp, keep_until: Timestamp },
    Removed { id: OperationId },
    Waited { id: OperationId, reason: String, from: Timestamp, to: Timestamp },
    Group { app: AppId, name: GroupName, behavior: TransferBehavior },
    GroupRemoved { app: AppId, name: GroupName },
    Limits { value: String },
    Journal(JournalWrite),
    Token { token: TokenWrite, scopes: String },
    CompletionGroup { row: CompletionRow, state: String },
    CompletionGroupRemoved { id: CompletionGroupId },
    Task(PreparedTask),
    Output(OutputWrite),
    ResponseBody(ResponseBodyWrite),
    Setting { name: String, value: Option<String> },
    Manifest { app: AppId, identity: Option<String> },
}

pub(super) struct PreparedEnd {
    pub(super) row: PreparedRow,
    pub(super) time: Timestamp,
    /// Of the published file, where it is known.
    pub(super) size: Option<u64>,
    pub(super) finished: Option<String>,
    pub(super) response: Option<String>,
    pub(super) keep_until: Timestamp,
}

impl PreparedWrites {
    pub(super) fn new(writes: Vec<Write>) -> Result<Self, StoreError> {
        writes.into_iter().map(prepare).collect::<Result<_, _>>().map(Self)
    }
}

fn prepare(write: Write) -> Result<Prepared, StoreError> {
    Ok(match write {
        Write::Change(change) => prepare_change(change)?,
        Write::Journal(journal) => Prepared::Journal(journal),
        Write::Token(token) => Prepared::Token { scopes: to_json(&token.scopes)?, token },
        Write::Output(output) => Prepared::Output(output),
        Write::ResponseBody(body) => Prepared::ResponseBody(body),
        Write::Setting { name, value } => Prepared::Setting { name, value },
        Write::Manifest { app, identity } => Prepared::Manifest { app, identity },
    })
}

fn prepare_change(change: Change) -> Result<Prepared, StoreError> {
    Ok(match change {
        Change::Created { row, spec, time } => {
            Prepared::Created { row: PreparedRow::new(row)?, spec: to_json(&spec)?, time }
        }
        Change::Updated { row } => Prepared::Updated { row: PreparedRow::new(row)? },
        Change::Counted { id, fruitless_attempts, has_bytes } => {
            Prepared::Counted { id, fruitless_attempts, has_bytes }
        }
        Change::Patched { id, patch } => Prepared::Patched { id, patch },
        Change::Started { id, time } => Prepared::Started { id, time },
        Change::Ended { row, time, finished, response, keep_until } => {
            Prepared::Ended(Box::new(PreparedEnd {
                row: PreparedRow::new(row)?,
                time,
                size: finished.as_ref().and_then(|finished| finished.receipt.size),
                finished: finished.as_ref().map(to_json).transpose()?,
                response: response.as_ref().map(to_json).transpose()?,
                keep_until,
            }))
        }
        Change::Consumed { id, time, keep_until } => Prepared::Consumed { id, time, keep_until },
        Change::Removed { id } => Prepared::Removed { id },
        Change::Waited { id, code, from, to } => prepare_wait(id, code, from, to),
        Change::Group { app, name, behavior } => Prepared::Group { app, name, behavior },
        Change::GroupRemoved { app, name } => Prepared::GroupRemoved { app, name },
        Change::Limits(limits) => Prepared::Limits { value: to_json(&limits)? },
        Change::CompletionGroup { row } => Prepared::CompletionGroup { state: to_json(&row.state)?, row },
        Change::CompletionGroupRemoved { id } => Prepared::CompletionGroupRemoved { id },
        Change::Task(change) => Prepared::Task(tasks::prepare(change)?),
    })
}

fn prepare_wait(id: OperationId, code: ReasonCode, from: Timestamp, to: Timestamp) -> Prepared {
    Prepared::Waited { id, reason: reason_word(code), from, to }
}
