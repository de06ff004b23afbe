//! What the end of a request means for the upload.

use std::time::SystemTime;

use http::Method;
use longhaul_contract::{Cause, Failure, Remedy, ResponseInformation};
use url::Url;

use super::record::ResponseBody;
use crate::http::accept::refusal;
use crate::http::deliver::Undelivered;
use crate::http::head::Head;

/// Why the attempt cannot go on.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) failure: Failure,
    pub(super) response: Option<ResponseInformation>,
    pub(super) body: ResponseBody,
    /// Bytes of the body left in the request that failed.
    pub(super) has_sent: bool,
}

/// The upload is over.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub(super) response: Option<ResponseInformation>,
    pub(super) body: ResponseBody,
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self { failure, response: None, body: ResponseBody::default(), has_sent: false }
    }
}

impl From<Undelivered> for Trouble {
    fn from(undelivered: Undelivered) -> Self {
        Self { has_sent: undelivered.has_sent, ..undelivered.failure.into() }
    }
}

/// A status that does not say that the upload is over, or is going on.
pub(super) fn refused(url: &Url, head: &Head) -> Failure {
    let failure = refusal(head.status, url, head, SystemTime::now());
    let remedy = match head.status {
        // The caller can do something about these: another place, a smaller file, another state of the resource.
        409 | 411 | 412 | 413 | 415 | 422 => Remedy::NeedsInput,
        423 => Remedy::Transient,
        _ => failure.remedy,
    };
    Failure { remedy, ..failure }
}

/// Whether a request with this method may be made again without knowing what became of the first one.
pub(super) fn is_repeatable(method: &Method, has_idempotency_key: bool) -> bool {
    method.is_idempotent() || has_idempotency_key
}

/// Statuses by which a server says that it has not done what was asked.
const fn is_plain_refusal(status: u16) -> bool {
    matches!(status, 400..=499 | 501 | 503 | 505 | 507 | 508 | 511)
}

/// A request that must not be made again blindly, and that may have been carried out: somebody has to decide.
pub(super) fn unconfirmed(failure: Failure) -> Failure {
    if matches!(failure.remedy, Remedy::NeedsInput | Remedy::Permanent)
        || failure.http_status.is_some_and(is_plain_refusal)
    {
        return failure;
    }
    Failure {
        remedy: Remedy::NeedsInput,
        cause: Cause::Unconfirmed,
        detail: format!(
            "{}; the server may have carried the request out, and this method must not be repeated blindly",
            failure.detail
        ),
        ..failure
    }
}
