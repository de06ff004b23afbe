//! Operations and changes to try stores with.

use std::sync::Arc;

use longhaul_contract::{
    AppId, Blocker, Cause, CompletionGroupId, CostPolicy, CreateDownload, CreateUpload, Failure, GroupName,
    OperationId, OperationKind, Priority, ReasonCode, Receipt, Remedy, ResponseInformation, Spec, Timestamp,
    WebErrorStatus,
};
use longhaul_engine::{Change, CompletionRow, CompletionState, Finished, Marks, Origin, Row, StoredPhase};
use longhaul_store::{JournalWrite, ListQuery, ResponseBodyWrite, StoredBody, Write};

pub(crate) fn id(number: u64) -> OperationId {
    OperationId::from_parts(1_700_000_000_000 + number, &[7; 10])
}

pub(crate) fn time(seconds: i64) -> Timestamp {
    Timestamp(1_700_000_000_000_000).plus_seconds(seconds)
}

pub(crate) fn app(name: &str) -> AppId {
    AppId::new(&format!("org.example.{name}")).unwrap()
}

pub(crate) fn group(name: &str) -> GroupName {
    GroupName::new(name).unwrap()
}

pub(crate) fn completion_group_id(number: u64) -> CompletionGroupId {
    CompletionGroupId::from_parts(1_700_000_000_000 + number, &[9; 10])
}

pub(crate) fn completion_group(number: u64, state: CompletionState) -> Write {
    let row = CompletionRow { id: completion_group_id(number), app: app("Fifth"), created: time(3), state };
    Write::Change(Change::CompletionGroup { row })
}

pub(crate) fn row(number: u64) -> Row {
    Row {
        id: id(number),
        kind: OperationKind::Download,
        app: app("A"),
        group: None,
        origin: Origin { name: "https://example.com:443".into(), is_local: false },
        target: None,
        order: i64::try_from(number).unwrap(),
        priority: Priority::Default,
        cost_policy: CostPolicy::Default,
        rate_limit: None,
        not_before: None,
        recoverable: Arc::new([]),
        phase: StoredPhase::Idle,
        fruitless_attempts: 0,
        has_bytes: false,
        completion_group: None,
        marks: Marks::default(),
    }
}

pub(crate) fn spec(number: u64) -> CreateDownload {
    serde_json::from_value(serde_json::json!({
        "requestedUri": format!("https://example.com/files/{number}"),
        "resultFile": format!("/home/me/Downloads/file-{number}.bin"),
        "requestHeaders": [{"name": "x-key", "value": "s\u{e4}cret \"quoted\""}],
    }))
    .unwrap()
}

/// What an upload asks for, in the words of a download.
pub(crate) fn upload_spec(spec: CreateDownload) -> CreateUpload {
    let CreateDownload { requested_uri, result_file, request_headers, rate_limit, label, .. } = spec;
    let upload = CreateUpload::new(requested_uri, result_file);
    CreateUpload { request_headers, rate_limit, label, ..upload }
}

/// Asks for `spec`, or for an upload in its words if the row is one.
pub(crate) fn created(row: Row, spec: CreateDownload) -> Write {
    let time = time(row.order);
    let spec = match row.kind {
        OperationKind::Download => Spec::from(spec),
        OperationKind::Upload => upload_spec(spec).into(),
    };
    Write::Change(Change::Created { row, spec, time })
}

pub(crate) fn response_body(number: u64, text: &str) -> Write {
    let body = StoredBody { bytes: text.as_bytes().to_vec(), is_cut: text.len() > 3 };
    Write::ResponseBody(ResponseBodyWrite { id: id(number), body })
}

pub(crate) fn create(number: u64) -> Write {
    created(row(number), spec(number))
}

pub(crate) fn updated(row: Row) -> Write {
    Write::Change(Change::Updated { row })
}

pub(crate) fn ended(row: Row, at: i64) -> Write {
    Write::Change(Change::Ended {
        row,
        time: time(at),
        finished: None,
        response: None,
        keep_until: time(at + 100),
    })
}

pub(crate) fn failure() -> Failure {
    Failure {
        remedy: Remedy::Blocked { on: Blocker::DiskSpace },
        cause: Cause::DiskFull,
        web_error_status: WebErrorStatus::Unknown,
        http_status: Some(507),
        detail: "no space in /home".to_owned(),
        retry_after_seconds: Some(3),
    }
}

pub(crate) fn finished(size: Option<u64>) -> Box<Finished> {
    let receipt =
        Receipt { size, path: Some("/home/me/x".to_owned()), bytes_fetched: 12, ..Receipt::default() };
    Box::new(Finished { receipt, response: Some(response()) })
}

pub(crate) fn response() -> ResponseInformation {
    ResponseInformation {
        actual_uri: "https://example.com/x".to_owned(),
        status_code: 200,
        is_resumable: true,
        headers: vec![("etag".to_owned(), "\"1\"".to_owned())],
    }
}

/// Lists everything, oldest first.
pub(crate) fn everything() -> ListQuery {
    ListQuery {
        app: None,
        kind: None,
        group: None,
        only_ungrouped: false,
        label: None,
        text: None,
        is_final: None,
        include_consumed: true,
        descending: false,
        after: None,
        limit: usize::MAX,
    }
}

pub(crate) fn consumed(number: u64, at: i64) -> Write {
    Write::Change(Change::Consumed { id: id(number), time: time(at), keep_until: time(at + 10) })
}

pub(crate) fn journal(number: u64, received: u64, record: &[u8]) -> Write {
    Write::Journal(JournalWrite { id: id(number), received, total: 1_000, record: record.to_vec() })
}

pub(crate) fn waited(number: u64, code: ReasonCode, from: Timestamp, to: Timestamp) -> Write {
    Write::Change(Change::Waited { id: id(number), code, from, to })
}
