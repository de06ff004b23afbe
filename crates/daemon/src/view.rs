//! Operations as their applications see them: the stored record, what the engine says of this instant, and the
//! sampled numbers of a worker.

use longhaul_contract::{
    CreateDownload, Operation, OperationError, OperationId, OperationKind, Progress, Timestamp,
    TransferStatus, WaitingReason,
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
    let progress = progress.unwrap_or(Progress {
        bytes_received: record.received,
        total_bytes_to_receive: record.total,
        ..Progress::default()
    });
    let published = record.finished.and_then(|finished| finished.receipt.path);
    let mut operation = of_spec(record.row.id, record.row.kind, record.spec, times, now, progress);
    if let Some(path) = published {
        operation.result_file = path;
    }
    operation
}

/// The view of what was asked for.
pub(crate) fn of_spec(
    id: OperationId,
    kind: OperationKind,
    spec: CreateDownload,
    times: Times,
    now: Now,
    progress: Progress,
) -> Operation {
    let current_web_error_status = now.error.as_ref().map(|error| error.web_error_status);
    Operation {
        id,
        kind,
        requested_uri: without_userinfo(spec.requested_uri),
        result_file: spec.result_file,
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
