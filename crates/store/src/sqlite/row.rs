//! How a row of the engine lies in the columns of `live` and `ended`.

use std::num::NonZeroU64;
use std::sync::Arc;

use longhaul_contract::{
    AppId, CompletionGroupId, CostPolicy, Failure, GroupName, OperationId, OperationKind, Priority, Spec,
    Timestamp, WebErrorStatus,
};
use longhaul_engine::{Marks, Origin, Row, StoredPhase, TargetKey};
use rusqlite::types::{FromSqlError, Type, ValueRef};

use crate::contract_types::StoreError;

/// The columns in the order that [`decode`] expects and [`PreparedRow::parameters`] gives.
macro_rules! row_columns {
    () => {
        "app, id, kind, transfer_group, origin, target, place, priority, cost_policy, rate_limit, not_before, \
         recoverable, phase, failure, fruitless_attempts, has_bytes, completion_group, marks"
    };
}
pub(super) use row_columns;

/// How many columns [`row_columns`] names.
pub(super) const ROW_COLUMNS: usize = 18;

const IDLE: u8 = 0;
const STARTED: u8 = 1;
const PAUSED_BY_APPLICATION: u8 = 2;
const NEEDS_INPUT: u8 = 3;
const CANCELING: u8 = 4;
const CANCELING_TO_FORGET: u8 = 5;
const COMPLETED: u8 = 6;
const CANCELED: u8 = 7;
const ERROR: u8 = 8;

/// A row with everything serialised that needs it.
pub(super) struct PreparedRow {
    pub(super) row: Row,
    recoverable: Option<String>,
    failure: Option<String>,
}

/// The numbers of a row's names; see [`super::names::Names`].
#[derive(Clone, Copy)]
pub(super) struct NameNumbers {
    pub(super) app: i64,
    pub(super) group: Option<i64>,
    pub(super) origin: i64,
}

impl PreparedRow {
    pub(super) fn new(row: Row) -> Result<Self, StoreError> {
        let recoverable =
            if row.recoverable.is_empty() { None } else { Some(to_json(row.recoverable.as_ref())?) };
        let failure = match &row.phase {
            StoredPhase::NeedsInput { failure } | StoredPhase::Error { failure } => Some(to_json(failure)?),
            StoredPhase::Idle
            | StoredPhase::Started
            | StoredPhase::PausedByApplication
            | StoredPhase::Canceling { .. }
            | StoredPhase::Completed
            | StoredPhase::Canceled => None,
        };
        Ok(Self { row, recoverable, failure })
    }

    /// The values of [`row_columns`].
    pub(super) fn parameters(&self, names: NameNumbers) -> [rusqlite::types::ToSqlOutput<'_>; ROW_COLUMNS] {
        let row = &self.row;
        [
            names.app.into(),
            row.id.as_bytes().as_slice().into(),
            row.kind.number().into(),
            optional_integer(names.group),
            names.origin.into(),
            optional_integer(row.target.map(|target| target.0.get().cast_signed())),
            row.order.into(),
            row.priority.number().into(),
            row.cost_policy.number().into(),
            optional_integer(row.rate_limit.map(u64::cast_signed)),
            optional_integer(row.not_before.map(Timestamp::micros)),
            optional_text(self.recoverable.as_deref()),
            phase_number(&row.phase).into(),
            optional_text(self.failure.as_deref()),
            row.fruitless_attempts.into(),
            row.has_bytes.into(),
            optional_bytes(row.completion_group.as_ref().map(CompletionGroupId::as_bytes)),
            row.marks.number().into(),
        ]
    }
}

fn optional_integer(value: Option<i64>) -> rusqlite::types::ToSqlOutput<'static> {
    rusqlite::types::ToSqlOutput::Borrowed(value.map_or(ValueRef::Null, ValueRef::Integer))
}

fn optional_bytes(value: Option<&[u8; 16]>) -> rusqlite::types::ToSqlOutput<'_> {
    rusqlite::types::ToSqlOutput::Borrowed(value.map_or(ValueRef::Null, |bytes| ValueRef::Blob(bytes)))
}

fn optional_text(value: Option<&str>) -> rusqlite::types::ToSqlOutput<'_> {
    rusqlite::types::ToSqlOutput::Borrowed(
        value.map_or(ValueRef::Null, |text| ValueRef::Text(text.as_bytes())),
    )
}

/// Serialises a value whose form is ours.
pub(super) fn to_json<T: serde::Serialize + ?Sized>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value)
        .map_err(|error| StoreError::CannotWrite(format!("a value has no JSON form: {error}")))
}

const fn phase_number(phase: &StoredPhase) -> u8 {
    match phase {
        StoredPhase::Idle => IDLE,
        StoredPhase::Started => STARTED,
        StoredPhase::PausedByApplication => PAUSED_BY_APPLICATION,
        StoredPhase::NeedsInput { .. } => NEEDS_INPUT,
        StoredPhase::Canceling { forget: false } => CANCELING,
        StoredPhase::Canceling { forget: true } => CANCELING_TO_FORGET,
        StoredPhase::Completed => COMPLETED,
        StoredPhase::Canceled => CANCELED,
        StoredPhase::Error { .. } => ERROR,
    }
}

/// The shared parts of a row, already looked up.
pub(super) struct RowNames {
    pub(super) app: AppId,
    pub(super) group: Option<GroupName>,
    pub(super) origin: Origin,
    /// An empty list to share.
    pub(super) not_recoverable: Arc<[WebErrorStatus]>,
}

/// Reads the columns of [`row_columns`] from the first on.
pub(super) fn decode(columns: &rusqlite::Row<'_>, names: RowNames) -> rusqlite::Result<Row> {
    let recoverable = match columns.get_ref(11)? {
        ValueRef::Null => names.not_recoverable,
        text => from_json::<Vec<WebErrorStatus>>(11, text)?.into(),
    };
    Ok(Row {
        id: decode_id(columns, 1)?,
        kind: decode_word(columns, 2, OperationKind::from_number)?,
        app: names.app,
        group: names.group,
        origin: names.origin,
        target: columns
            .get::<_, Option<i64>>(5)?
            .and_then(|target| NonZeroU64::new(target.cast_unsigned()))
            .map(TargetKey),
        order: columns.get(6)?,
        priority: decode_word(columns, 7, Priority::from_number)?,
        cost_policy: decode_word(columns, 8, CostPolicy::from_number)?,
        rate_limit: columns.get::<_, Option<i64>>(9)?.map(i64::cast_unsigned),
        not_before: columns.get::<_, Option<i64>>(10)?.map(Timestamp),
        recoverable,
        phase: decode_phase(columns)?,
        fruitless_attempts: columns.get(14)?,
        has_bytes: columns.get(15)?,
        completion_group: columns.get::<_, Option<[u8; 16]>>(16)?.map(CompletionGroupId::from_bytes),
        marks: Marks::from_number(columns.get(17)?),
    })
}

pub(super) fn decode_id(columns: &rusqlite::Row<'_>, index: usize) -> rusqlite::Result<OperationId> {
    columns.get(index).map(OperationId::from_bytes)
}

pub(super) fn decode_word<T>(
    columns: &rusqlite::Row<'_>,
    index: usize,
    word: impl Fn(u8) -> Option<T>,
) -> rusqlite::Result<T> {
    let number = columns.get(index)?;
    word(number).ok_or_else(|| unreadable(index, FromSqlError::OutOfRange(number.into())))
}

/// The JSON of a specification; the kind is in the row.
pub(super) fn decode_spec(
    columns: &rusqlite::Row<'_>,
    index: usize,
    kind: OperationKind,
) -> rusqlite::Result<Spec> {
    let text = columns.get_ref(index)?.as_str().map_err(|error| unreadable(index, error))?;
    Spec::from_json(kind, text).map_err(|error| unreadable(index, UnreadableJson::from(&error)))
}

fn decode_phase(columns: &rusqlite::Row<'_>) -> rusqlite::Result<StoredPhase> {
    let failure = || from_json::<Failure>(13, columns.get_ref(13)?);
    Ok(match columns.get(12)? {
        IDLE => StoredPhase::Idle,
        STARTED => StoredPhase::Started,
        PAUSED_BY_APPLICATION => StoredPhase::PausedByApplication,
        NEEDS_INPUT => StoredPhase::NeedsInput { failure: failure()? },
        CANCELING => StoredPhase::Canceling { forget: false },
        CANCELING_TO_FORGET => StoredPhase::Canceling { forget: true },
        COMPLETED => StoredPhase::Completed,
        CANCELED => StoredPhase::Canceled,
        ERROR => StoredPhase::Error { failure: failure()? },
        unknown => return Err(unreadable(12, FromSqlError::OutOfRange(unknown.into()))),
    })
}

/// Parses what [`to_json`] wrote. The error never quotes the text, which may hold secrets.
pub(super) fn from_json<T: serde::de::DeserializeOwned>(
    index: usize,
    value: ValueRef<'_>,
) -> rusqlite::Result<T> {
    let text = value.as_str().map_err(|error| unreadable(index, error))?;
    serde_json::from_str(text).map_err(|error| unreadable(index, UnreadableJson::from(&error)))
}

/// Where JSON of ours could not be read.
#[derive(Debug, thiserror::Error)]
#[error("unreadable JSON at line {line}, column {column}")]
pub(super) struct UnreadableJson {
    line: usize,
    column: usize,
}

impl From<&serde_json::Error> for UnreadableJson {
    fn from(error: &serde_json::Error) -> Self {
        Self { line: error.line(), column: error.column() }
    }
}

pub(super) fn unreadable(
    index: usize,
    problem: impl std::error::Error + Send + Sync + 'static,
) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(index, Type::Null, Box::new(problem))
}
