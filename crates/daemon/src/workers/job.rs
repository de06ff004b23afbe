//! One attempt, put together from the stored spec and the journal of the attempts before.

use longhaul_contract::{
    AppId, Blocker, Cause, CreateDownload, Failure, OperationId, Remedy, WebErrorStatus,
};
use longhaul_store::{Reader, StoreError};
use longhaul_transfer::{Job, JournalRecord};
use url::Url;

use crate::journal;

/// Reads what the attempt needs; `None` when the operation is forgotten.
pub(super) fn prepare(
    reader: &dyn Reader,
    id: OperationId,
    attempt: u32,
) -> Result<Option<(AppId, Job)>, Failure> {
    let unreadable = |error: StoreError| Failure {
        remedy: Remedy::Blocked { on: Blocker::Store },
        cause: Cause::StoreUnavailable,
        web_error_status: WebErrorStatus::Unknown,
        http_status: None,
        detail: error.to_string(),
        retry_after_seconds: None,
    };
    let Some(record) = reader.operation(id).map_err(unreadable)? else { return Ok(None) };
    let kept = reader.journal(id).map_err(unreadable)?;
    let kept = kept.and_then(|bytes| match journal::decode(&bytes) {
        Ok(record) => Some(record),
        Err(error) => {
            tracing::error!(%id, %error, "the journal cannot be read; the download begins at byte 0");
            None
        }
    });
    let app = record.row.app;
    let job = job(id, attempt, record.spec, kept).map_err(|detail| Failure {
        remedy: Remedy::Permanent,
        cause: Cause::Internal,
        web_error_status: WebErrorStatus::Unknown,
        http_status: None,
        detail,
        retry_after_seconds: None,
    })?;
    Ok(Some((app, job)))
}

/// The form was checked when the operation was made, so an error means that the record is not what was kept.
fn job(
    id: OperationId,
    attempt: u32,
    spec: CreateDownload,
    journal: Option<JournalRecord>,
) -> Result<Job, String> {
    let parse = |uri: &str| Url::parse(uri).map_err(|error| format!("a kept address is damaged: {error}"));
    let method = spec.method.as_deref().unwrap_or("GET");
    let headers = spec.request_headers.into_iter().map(|header| {
        let name = http::HeaderName::from_bytes(header.name.as_bytes());
        Ok((name.map_err(|error| format!("a kept header is damaged: {error}"))?, header.value))
    });
    Ok(Job {
        id,
        attempt,
        url: parse(&spec.requested_uri)?,
        mirrors: spec.mirrors.iter().map(|uri| parse(uri)).collect::<Result<_, _>>()?,
        method: http::Method::from_bytes(method.as_bytes())
            .map_err(|error| format!("the kept method is damaged: {error}"))?,
        body: spec.body,
        headers: headers.collect::<Result<_, String>>()?,
        credential: spec.server_credential,
        result_file: spec.result_file,
        if_exists: spec.if_exists,
        is_random_access: spec.is_random_access_required,
        checksum: spec.checksum,
        expect: spec.expect,
        rate_limit: spec.rate_limit,
        journal,
        public_addresses_only: spec.public_addresses_only,
    })
}
