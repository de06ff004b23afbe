//! What there is to know about one upload: the server's answer with its body, why it waits, what was sent.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use longhaul_contract::{Explanation, OperationId, Receipt, ResponseInformation};
use longhaul_store::StoredOperation;
use longhaul_transfer::UploadJournalRecord;

use super::content::{fill_headers, unsatisfiable};
use super::content_range::{Asked, parse_range};
use super::details;
use super::extract::{Id, Parameters};
use super::json::{Json, json};
use super::problems::Problems;
use super::refused::{Answer, Refused};
use super::rooms::Rooms;
use super::supposition::Supposition;
use crate::identity::Caller;
use crate::journal;
use crate::workers::receipt_of;

/// Tells that the server sent a longer body than is kept.
const IS_CUT: &str = "longhaul-body-cut";

/// The newest response of the server (GetResponseInformation).
#[utoipa::path(
    get,
    path = "/background-transfers/uploads/{id}/response",
    tag = "uploads",
    operation_id = "getUploadResponse",
    params(("id" = OperationId, Path, description = "Id of the operation")),
    responses(
        (status = 200, description = "The newest response", body = ResponseInformation),
        (status = 204, description = "No response has come yet"),
        Problems
    )
)]
pub(crate) async fn response(
    State(rooms): State<Arc<Rooms>>,
    caller: Caller,
    Id(target): Id,
) -> Answer<Response> {
    let record = rooms.record(&caller, target).await?;
    let found = newest_response(&rooms, record).await?;
    Ok(found
        .map_or_else(|| StatusCode::NO_CONTENT.into_response(), |response| json(StatusCode::OK, &response)))
}

async fn newest_response(rooms: &Rooms, record: StoredOperation) -> Answer<Option<ResponseInformation>> {
    let id = record.row.id;
    if let Some(response) = rooms.workers.handle(id).and_then(|handle| handle.response()) {
        return Ok(Some(response));
    }
    let kept = record.finished.and_then(|finished| finished.response).or(record.response);
    if kept.is_some() {
        return Ok(kept);
    }
    Ok(journal_of(rooms, id).await?.and_then(|journal| journal.response))
}

async fn journal_of(rooms: &Rooms, id: OperationId) -> Answer<Option<UploadJournalRecord>> {
    let bytes = rooms.read(move |reader| reader.journal(id)).await?;
    bytes.map(|bytes| journal::decode_upload(&bytes)).transpose().map_err(|error| Refused::internal(&error))
}

/// The body of the server's answer (GetResultStreamAt), from `Range` or from the start. At most 1 MiB of it is kept; the
/// header `Longhaul-Body-Cut: true` tells of a body that was longer.
#[utoipa::path(
    get,
    path = "/background-transfers/uploads/{id}/response/body",
    tag = "uploads",
    operation_id = "getUploadResponseBody",
    params(
        ("id" = OperationId, Path, description = "Id of the operation"),
        ("Range" = Option<String>, Header, description = "One range of bytes (RFC 9110 section 14.2)")
    ),
    responses(
        (status = 200, description = "The body as far as it is kept", content_type = "application/octet-stream"),
        (status = 206, description = "The range", content_type = "application/octet-stream"),
        (status = 204, description = "No answer with a body has come yet"),
        Problems
    )
)]
pub(crate) async fn response_body(
    State(rooms): State<Arc<Rooms>>,
    caller: Caller,
    Id(target): Id,
    asked: HeaderMap,
) -> Answer<Response> {
    let record = rooms.record(&caller, target).await?;
    let Some(kept) = rooms.read(move |reader| reader.response_body(target.id)).await? else {
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    let response = newest_response(&rooms, record).await?;
    let mut body = bytes::Bytes::from(kept.bytes);
    let total = body.len() as u64;
    let range = asked.get(header::RANGE).filter(|_| !asked.contains_key(header::IF_RANGE));
    let mut content_range = None;
    match range.map_or(Asked::Whole, |range| parse_range(range, total)) {
        Asked::Whole => {}
        Asked::Unsatisfiable => return Ok(unsatisfiable(Some(total))),
        Asked::Part { first, last } => {
            let bounds = usize::try_from(first).ok().zip(usize::try_from(last).ok());
            let (from, to) =
                bounds.ok_or_else(|| Refused::internal(&"a body that is kept fits in memory"))?;
            body = body.slice(from..=to);
            content_range = Some(format!("bytes {first}-{last}/{total}"));
        }
    }
    let status = if content_range.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    let mut answer = (status, body).into_response();
    let headers = answer.headers_mut();
    fill_headers(headers, response.as_ref())?;
    if let Some(range) = content_range {
        let range = HeaderValue::try_from(range).map_err(|error| Refused::internal(&error))?;
        headers.insert(header::CONTENT_RANGE, range);
    }
    if kept.is_cut {
        headers.insert(IS_CUT, HeaderValue::from_static("true"));
    }
    Ok(answer)
}

/// Why the operation runs or does not, by the rules of the decision itself, with all its waiting so far.
#[utoipa::path(
    get,
    path = "/background-transfers/uploads/{id}/explain",
    tag = "uploads",
    operation_id = "explainUpload",
    params(("id" = OperationId, Path, description = "Id of the operation"), Supposition),
    responses((status = 200, description = "The explanation", body = Explanation), Problems)
)]
pub(crate) async fn explain(
    rooms: State<Arc<Rooms>>,
    caller: Caller,
    id: Id,
    supposition: Parameters<Supposition>,
) -> Answer<Json<Explanation>> {
    details::explain(rooms, caller, id, supposition).await
}

/// What was sent where, and by which protocol.
#[utoipa::path(
    get,
    path = "/background-transfers/uploads/{id}/receipt",
    tag = "uploads",
    operation_id = "getUploadReceipt",
    params(("id" = OperationId, Path, description = "Id of the operation")),
    responses((status = 200, description = "The receipt, so far or in full", body = Receipt), Problems)
)]
pub(crate) async fn receipt(
    State(rooms): State<Arc<Rooms>>,
    caller: Caller,
    Id(target): Id,
) -> Answer<Json<Receipt>> {
    let record = rooms.record(&caller, target).await?;
    if let Some(finished) = record.finished {
        return Ok(Json(finished.receipt));
    }
    let journal = journal_of(&rooms, target.id).await?;
    Ok(Json(journal.map(|journal| receipt_of(journal.receipt)).unwrap_or_default()))
}
