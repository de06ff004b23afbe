//! One attempt, put together from the stored spec and the journal of the attempts before.

use longhaul_contract::{
    AppId, Blocker, Cause, ClientCertificate, CreateDownload, Failure, OperationId, OperationKind, Remedy,
    Spec, WebErrorStatus,
};
use longhaul_store::{Reader, StoreError};
use longhaul_transfer::{ClientIdentity, Interface, Job, JournalRecord, ProxyRules, UploadJob};
use url::Url;

use super::upload_job::upload_job;
use crate::journal;
use crate::proxying::Proxying;

/// One attempt, ready to begin.
pub(super) enum Prepared {
    Download(Box<Job>),
    Upload(Box<UploadJob>),
}

impl Prepared {
    pub(super) const fn kind(&self) -> OperationKind {
        match self {
            Self::Download(_) => OperationKind::Download,
            Self::Upload(_) => OperationKind::Upload,
        }
    }

    /// The same job, if an attempt before has left something of it.
    pub(super) fn clone_if_begun(&self) -> Option<Self> {
        match self {
            Self::Download(job) => job.journal.is_some().then(|| Self::Download(job.clone())),
            Self::Upload(job) => job.journal.is_some().then(|| Self::Upload(job.clone())),
        }
    }
}

/// Reads what the attempt needs; `None` when the operation is forgotten.
pub(super) fn prepare(
    reader: &dyn Reader,
    proxying: &Proxying,
    id: OperationId,
    attempt: u32,
) -> Result<Option<(AppId, Prepared)>, Failure> {
    let Some(record) = reader.operation(id).map_err(|error| unreadable(&error))? else { return Ok(None) };
    let kept = reader.journal(id).map_err(|error| unreadable(&error))?;
    let app = record.row.app;
    let (proxy, credential, exempt) = record.spec.proxying();
    let rules = proxying.rules(&app, proxy, credential, exempt);
    let prepared = match record.spec {
        Spec::Download(spec) => {
            let kept = kept.and_then(|bytes| legible(id, journal::decode(&bytes)));
            rules
                .and_then(|rules| job(id, attempt, *spec, rules, kept))
                .map(|job| Prepared::Download(Box::new(job)))
        }
        Spec::Upload(spec) => {
            let kept = kept.and_then(|bytes| legible(id, journal::decode_upload(&bytes)));
            rules
                .and_then(|rules| upload_job(id, attempt, *spec, rules, kept))
                .map(|job| Prepared::Upload(Box::new(job)))
        }
    };
    let prepared = prepared.map_err(|detail| Failure {
        remedy: Remedy::Permanent,
        cause: Cause::Internal,
        web_error_status: WebErrorStatus::Unknown,
        http_status: None,
        detail,
        retry_after_seconds: None,
    })?;
    Ok(Some((app, prepared)))
}

fn unreadable(error: &StoreError) -> Failure {
    Failure {
        remedy: Remedy::Blocked { on: Blocker::Store },
        cause: Cause::StoreUnavailable,
        web_error_status: WebErrorStatus::Unknown,
        http_status: None,
        detail: error.to_string(),
        retry_after_seconds: None,
    }
}

fn legible<T>(id: OperationId, decoded: serde_json::Result<T>) -> Option<T> {
    match decoded {
        Ok(record) => Some(record),
        Err(error) => {
            tracing::error!(%id, %error, "the journal cannot be read; the transfer begins at byte 0");
            None
        }
    }
}

/// The form was checked when the operation was made, so an error means that the record is not what was kept.
fn job(
    id: OperationId,
    attempt: u32,
    spec: CreateDownload,
    proxy: ProxyRules,
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
        identity: identity(spec.client_certificate.as_ref())?,
        result_file: spec.result_file,
        if_exists: spec.if_exists,
        is_random_access: spec.is_random_access_required,
        checksum: spec.checksum,
        expect: spec.expect,
        rate_limit: spec.rate_limit,
        journal,
        public_addresses_only: spec.public_addresses_only,
        interface: interface(spec.interface.as_deref())?,
        proxy,
    })
}

/// Of a kept specification, which was checked when it came.
pub(super) fn identity(kept: Option<&ClientCertificate>) -> Result<Option<ClientIdentity>, String> {
    let parse =
        |kept: &ClientCertificate| ClientIdentity::parse(kept.certificate.reveal(), kept.key.reveal());
    kept.map(parse).transpose().map_err(|error| format!("a kept client certificate is damaged: {error}"))
}

/// Of a kept specification, which was checked when it came.
pub(super) fn interface(kept: Option<&str>) -> Result<Option<Interface>, String> {
    kept.map(str::parse).transpose().map_err(|error| format!("a kept interface is damaged: {error}"))
}
