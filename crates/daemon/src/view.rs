//! Operations as their applications see them: the stored record, what the engine says of this instant, and the
//! sampled numbers of a worker.

use longhaul_contract::{
    CreateDownload, CreateUpload, Operation, OperationError, OperationId, OperationKind, Progress, Spec,
    Timestamp, TransferStatus, WaitingReason,
};
use longhaul_engine::{Live, StoredPhase};
use longhaul_store::StoredOperation;
use url::Url;

/// The times of a record.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    pub(crate) created: Timestamp,
    pub(crate) started: Option<Timestamp>,
    pub(crate) completed: Option<Timestamp>,
    pub(crate) consumed: Option<Timestamp>,
}

/// What is true at this instant.
pub(crate) struct Now {
    pub(crate) status: TransferStatus,
    pub(crate) waiting: Vec<WaitingReason>,
    pub(crate) error: Option<OperationError>,
}

impl From<Live> for Now {
    fn from(live: Live) -> Self {
        Self { status: live.status, waiting: live.waiting, error: live.error }
    }
}

/// The last word of a record whose operation is over; `None` while the engine has the say.
pub(crate) fn final_state(phase: &StoredPhase) -> Option<Now> {
    let (status, error) = match phase {
        StoredPhase::Completed => (TransferStatus::Completed, None),
        StoredPhase::Canceled => (TransferStatus::Canceled, None),
        StoredPhase::Error { failure } => (TransferStatus::Error, Some(failure.clone().into())),
        StoredPhase::Idle
        | StoredPhase::Started
        | StoredPhase::PausedByApplication
        | StoredPhase::NeedsInput { .. }
        | StoredPhase::Canceling { .. } => return None,
    };
    Some(Now { status, waiting: Vec::new(), error })
}

/// The view of a record.
pub(crate) fn of_record(record: StoredOperation, now: Now, progress: Option<Progress>) -> Operation {
    let times = Times {
        created: record.created,
        started: record.started,
        completed: record.completed,
        consumed: record.consumed,
    };
    let (moved, total) = (record.received, record.total);
    let progress = progress.unwrap_or_else(|| match record.row.kind {
        OperationKind::Download => {
            Progress { bytes_received: moved, total_bytes_to_receive: total, ..Progress::default() }
        }
        OperationKind::Upload => {
            Progress { bytes_sent: moved, total_bytes_to_send: total, ..Progress::default() }
        }
    });
    let published = record.finished.and_then(|finished| finished.receipt.path);
    let mut operation = of_spec(record.row.id, record.spec, times, now, progress);
    operation.result_file = published.or(operation.result_file);
    operation
}

/// The view of what was asked for.
pub(crate) fn of_spec(id: OperationId, spec: Spec, times: Times, now: Now, progress: Progress) -> Operation {
    let view = Seen { id, times, now, progress };
    match spec {
        Spec::Download(spec) => of_download(*spec, view),
        Spec::Upload(spec) => of_upload(*spec, view),
    }
}

/// What is the same for all kinds.
struct Seen {
    id: OperationId,
    times: Times,
    now: Now,
    progress: Progress,
}

fn of_download(spec: CreateDownload, Seen { id, times, now, progress }: Seen) -> Operation {
    let current_web_error_status = now.error.as_ref().map(|error| error.web_error_status);
    Operation {
        id,
        kind: OperationKind::Download,
        requested_uri: without_userinfo(spec.requested_uri),
        result_file: Some(spec.result_file),
        source_file: None,
        part_files: Vec::new(),
        method: None,
        protocol: None,
        status: now.status,
        status_code: now.status.number(),
        progress,
        cost_policy: spec.cost_policy,
        priority: spec.priority,
        transfer_group: spec.transfer_group,
        completion_group: spec.completion_group,
        current_web_error_status,
        error: now.error,
        waiting: now.waiting,
        created_time: times.created,
        started_time: times.started,
        completed_time: times.completed,
        consumed_time: times.consumed,
        label: spec.label,
        is_random_access_required: spec.is_random_access_required,
        rate_limit: spec.rate_limit,
        not_before: spec.not_before,
        checksum: spec.checksum,
    }
}

fn of_upload(spec: CreateUpload, Seen { id, times, now, progress }: Seen) -> Operation {
    let current_web_error_status = now.error.as_ref().map(|error| error.web_error_status);
    let method = spec.method().to_owned();
    Operation {
        id,
        kind: OperationKind::Upload,
        requested_uri: without_userinfo(spec.requested_uri),
        result_file: None,
        source_file: spec.source_file,
        part_files: spec.parts.into_iter().filter_map(|part| part.file).collect(),
        method: Some(method),
        protocol: Some(spec.protocol),
        status: now.status,
        status_code: now.status.number(),
        progress,
        cost_policy: spec.cost_policy,
        priority: spec.priority,
        transfer_group: spec.transfer_group,
        completion_group: spec.completion_group,
        current_web_error_status,
        error: now.error,
        waiting: now.waiting,
        created_time: times.created,
        started_time: times.started,
        completed_time: times.completed,
        consumed_time: times.consumed,
        label: spec.label,
        is_random_access_required: false,
        rate_limit: spec.rate_limit,
        not_before: spec.not_before,
        checksum: None,
    }
}

/// Userinfo is moved into the credential when an operation is made; this is the second lock on that door.
fn without_userinfo(uri: String) -> String {
    if !uri.contains('@') {
        return uri;
    }
    match Url::parse(&uri) {
        Ok(mut url) if !url.username().is_empty() || url.password().is_some() => {
            let is_clean = url.set_username("").is_ok() && url.set_password(None).is_ok();
            if is_clean { url.into() } else { String::new() }
        }
        Ok(_) => uri,
        Err(_) => String::new(),
    }
}
