//! What there is to know about one download: its response, its ranges, why it waits, where its bytes came from.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use longhaul_contract::receipt::Verification;
use longhaul_contract::{
    ByteRange, ChecksumAlgorithm, Decision, DigestVerdict, ErrorCode, Explanation, OperationId, Page, Reason,
    ReasonCode, Receipt, ReceiptDigest, ResponseInformation, TransferStatus,
};
use longhaul_engine::{Engine, Now};
use longhaul_store::StoredOperation;
use longhaul_transfer::{JournalRecord, digest};

use super::extract::{Id, Parameters};
use super::json::{Json, json};
use super::problems::Problems;
use super::refused::{Answer, Refused};
use super::rooms::Rooms;
use super::supposition::{Supposition, add_history};
use crate::identity::Caller;
use crate::{journal, view};

/// The newest response of the server (GetResponseInformation).
#[utoipa::path(
    get,
    path = "/background-transfers/downloads/{id}/response",
    tag = "downloads",
    operation_id = "getDownloadResponse",
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
    let found = newest_response(&rooms, target.id, record).await?;
    Ok(found
        .map_or_else(|| StatusCode::NO_CONTENT.into_response(), |response| json(StatusCode::OK, &response)))
}

/// From the worker, the result, or what the worker before has noted.
pub(crate) async fn newest_response(
    rooms: &Rooms,
    id: OperationId,
    record: StoredOperation,
) -> Answer<Option<ResponseInformation>> {
    let live = rooms.workers.handle(id).and_then(|handle| handle.response());
    if let Some(response) = live {
        return Ok(Some(response));
    }
    let kept = record.finished.and_then(|finished| finished.response).or(record.response);
    if kept.is_some() {
        return Ok(kept);
    }
    Ok(journal_of(rooms, id).await?.and_then(|journal| journal.response))
}

/// What the workers have noted so far; `None` before the first note and once the operation is over.
pub(crate) async fn journal_of(rooms: &Rooms, id: OperationId) -> Answer<Option<JournalRecord>> {
    let bytes = rooms.read(move |reader| reader.journal(id)).await?;
    bytes.map(|bytes| journal::decode(&bytes)).transpose().map_err(|error| Refused::internal(&error))
}

/// The bytes that are there (GetDownloadedRanges).
#[utoipa::path(
    get,
    path = "/background-transfers/downloads/{id}/ranges",
    tag = "downloads",
    operation_id = "getDownloadRanges",
    params(("id" = OperationId, Path, description = "Id of the operation")),
    responses((status = 200, description = "The ranges in order", body = Page<ByteRange>), Problems)
)]
pub(crate) async fn ranges(
    State(rooms): State<Arc<Rooms>>,
    caller: Caller,
    Id(target): Id,
) -> Answer<Json<Page<ByteRange>>> {
    let record = rooms.record(&caller, target).await?;
    let size = record.finished.as_ref().and_then(|finished| finished.receipt.size);
    let items = if let Some(size) = size {
        if size == 0 { Vec::new() } else { vec![ByteRange::new(0, size)] }
    } else if let Some(handle) = rooms.workers.handle(target.id) {
        handle.ranges().as_slice().to_vec()
    } else {
        let journal = journal_of(&rooms, target.id).await?;
        journal.map(|journal| journal.ranges.as_slice().to_vec()).unwrap_or_default()
    };
    Ok(Json(Page { items, next_cursor: None }))
}

/// Why the operation runs or does not, by the rules of the decision itself, with all its waiting so far.
#[utoipa::path(
    get,
    path = "/background-transfers/downloads/{id}/explain",
    tag = "downloads",
    operation_id = "explainDownload",
    params(("id" = OperationId, Path, description = "Id of the operation"), Supposition),
    responses((status = 200, description = "The explanation", body = Explanation), Problems)
)]
pub(crate) async fn explain(
    State(rooms): State<Arc<Rooms>>,
    caller: Caller,
    Id(target): Id,
    Parameters(supposition): Parameters<Supposition>,
) -> Answer<Json<Explanation>> {
    let record = rooms.record(&caller, target).await?;
    let supposed = supposition.read()?;
    let app = caller.app.clone();
    let question = move |engine: &Engine, now: Now| {
        let host = supposed.host(engine.host(), now);
        engine.explain(supposed.time(now), &app, target.id, host.as_ref())
    };
    let explained = rooms.heart.ask(question).await?;
    let waits = rooms.read(move |reader| reader.waits(target.id)).await?;
    let mut explanation = match explained {
        Some(explanation) => explanation,
        None => final_explanation(&rooms.record(&caller, target).await?)?,
    };
    add_history(&mut explanation, waits);
    drop(record);
    Ok(Json(explanation))
}

fn final_explanation(record: &StoredOperation) -> Answer<Explanation> {
    let state = view::final_state(&record.row.phase).ok_or_else(Refused::not_found)?;
    let detail = match state.error {
        Some(error) => format!("the operation is over: {}; {}", state.status, error.detail),
        None => format!("the operation is over: {}", state.status),
    };
    let reason = Reason {
        code: ReasonCode::Finished,
        detail,
        value: Some(state.status.to_string()),
        since: record.completed,
        set_by: None,
        ends_when: None,
    };
    Ok(Explanation {
        decision: Decision::Done,
        blocking: vec![reason],
        satisfied: Vec::new(),
        unknown: Vec::new(),
        history: Vec::new(),
        totals: Vec::new(),
        override_with: None,
    })
}

/// Where the bytes came from, and how they were checked.
#[utoipa::path(
    get,
    path = "/background-transfers/downloads/{id}/receipt",
    tag = "downloads",
    operation_id = "getDownloadReceipt",
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
    Ok(Json(journal.map(|journal| journal.receipt).unwrap_or_default()))
}

/// Reads the published file again, and compares size and every recorded digest. Without any, SHA-256 is computed.
#[utoipa::path(
    post,
    path = "/background-transfers/downloads/{id}/verify",
    tag = "downloads",
    operation_id = "verifyDownload",
    params(("id" = OperationId, Path, description = "Id of the operation")),
    responses((status = 200, description = "What the file is now", body = Verification), Problems)
)]
pub(crate) async fn verify(
    State(rooms): State<Arc<Rooms>>,
    caller: Caller,
    Id(target): Id,
) -> Answer<Json<Verification>> {
    let record = rooms.record(&caller, target).await?;
    let receipt = record.finished.map(|finished| finished.receipt);
    let Some((receipt, path)) = receipt.and_then(|receipt| receipt.path.clone().map(|path| (receipt, path)))
    else {
        let detail = format!("only a {} download has a file to verify", TransferStatus::Completed);
        return Err(Refused::new(ErrorCode::InvalidState, detail));
    };
    let _permit = rooms.verifications.acquire().await.map_err(|_| Refused::shutting_down())?;
    let mut algorithms: Vec<ChecksumAlgorithm> =
        receipt.digests.iter().map(|digest| digest.algorithm).collect();
    if algorithms.is_empty() {
        algorithms.push(ChecksumAlgorithm::Sha256);
    }
    let (size, found) = digest::digest_file(Path::new(&path), &algorithms)
        .await
        .map_err(|error| Refused::new(ErrorCode::InvalidState, format!("{path} cannot be read: {error}")))?;
    Ok(Json(compare(receipt, path, size, &found)))
}

fn compare(
    receipt: Receipt,
    path: String,
    size: u64,
    found: &[(ChecksumAlgorithm, Vec<u8>)],
) -> Verification {
    let computed: BTreeMap<ChecksumAlgorithm, String> =
        found.iter().map(|(algorithm, bytes)| (*algorithm, hex::encode(bytes))).collect();
    let mut digests: Vec<ReceiptDigest> = receipt
        .digests
        .into_iter()
        .filter_map(|recorded| {
            let value = computed.get(&recorded.algorithm)?.clone();
            let is_equal = value.eq_ignore_ascii_case(&recorded.value);
            let verdict = if is_equal { DigestVerdict::Equal } else { DigestVerdict::Different };
            Some(ReceiptDigest { value, verdict, ..recorded })
        })
        .collect();
    if digests.is_empty() {
        digests = computed
            .into_iter()
            .map(|(algorithm, value)| ReceiptDigest {
                algorithm,
                value,
                source: "verify".to_owned(),
                verdict: DigestVerdict::Recorded,
            })
            .collect();
    }
    let published_size = receipt.size.unwrap_or(size);
    let is_intact =
        size == published_size && digests.iter().all(|digest| digest.verdict != DigestVerdict::Different);
    Verification { path, size, published_size, digests, is_intact }
}
