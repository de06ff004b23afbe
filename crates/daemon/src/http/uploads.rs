//! `/background-transfers/uploads`: make, list, look at, change, forget.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use longhaul_contract::{
    CreateUpload, CreateUploads, CreatedDownloads, ErrorCode, Operation, OperationId, OperationKind, Page,
    PatchUpload, Scope, Spec,
};
use longhaul_engine::{Command, Marks, NewOperation, StoredPhase, Wish};
use longhaul_store::{JournalWrite, StoredOperation, Write};
use longhaul_transfer::UploadJournalRecord;

use super::creation::{admit, check_batch, create_one};
use super::downloads;
use super::extract::{Id, Parameters, Target};
use super::json::{BATCH_BODY_MAX, Json, json};
use super::list::{self, Filter};
use super::problems::Problems;
use super::refused::{Answer, Refused};
use super::rooms::Rooms;
use crate::admission::{self, Look};
use crate::identity::Caller;
use crate::journal;

/// Makes an upload (BackgroundUploader.CreateUpload) and starts it unless `start` is false.
///
/// A 201 means that the operation is on disk and will be worked on whatever happens.
#[utoipa::path(
    post,
    path = "/background-transfers/uploads",
    tag = "uploads",
    operation_id = "createUpload",
    request_body = CreateUpload,
    responses(
        (status = 201, description = "The operation, durable from now on", body = Operation,
            headers(("Location" = String, description = "Path of the operation"))),
        Problems
    )
)]
pub(crate) async fn create(
    State(rooms): State<Arc<Rooms>>,
    caller: Caller,
    Json(spec): Json<CreateUpload, BATCH_BODY_MAX>,
) -> Answer<Response> {
    let made = admit(&rooms, &caller, vec![spec], new_operation).await.map_err(|(_, refused)| refused)?;
    create_one(&rooms, made).await
}

/// Makes up to 1,000 uploads at once, all or none.
#[utoipa::path(
    post,
    path = "/background-transfers/uploads/batch",
    tag = "uploads",
    operation_id = "createUploads",
    request_body = CreateUploads,
    responses(
        (status = 201, description = "The ids in the order of the operations, durable from now on",
            body = CreatedDownloads),
        Problems
    )
)]
pub(crate) async fn create_batch(
    State(rooms): State<Arc<Rooms>>,
    caller: Caller,
    Json(batch): Json<CreateUploads, BATCH_BODY_MAX>,
) -> Answer<Response> {
    check_batch(batch.operations.len())?;
    let made = admit(&rooms, &caller, batch.operations, new_operation)
        .await
        .map_err(|(index, refused)| refused.below(&format!("/operations/{index}")))?;
    let ids = made.iter().map(|operation| operation.id).collect();
    rooms.heart.wish(Wish::Create(made)).await?;
    Ok(json(StatusCode::CREATED, &CreatedDownloads { ids }))
}

fn new_operation(
    caller: &Caller,
    look: &mut Look<'_>,
    id: OperationId,
    mut spec: CreateUpload,
) -> Answer<NewOperation> {
    admission::check_upload(&mut spec)?;
    look.check_sources(&mut spec)?;
    Ok(NewOperation {
        id,
        kind: OperationKind::Upload,
        app: caller.app.clone(),
        group: spec.transfer_group.clone(),
        origin: admission::origin_of(spec.first_address())?,
        target: None,
        priority: spec.priority,
        cost_policy: spec.cost_policy,
        rate_limit: spec.rate_limit,
        not_before: spec.not_before,
        recoverable: spec.recoverable_web_error_statuses.as_slice().into(),
        completion_group: spec.completion_group,
        marks: Marks::notifying(spec.success_notification.is_some(), spec.failure_notification.is_some()),
        start: spec.start,
        spec: spec.into(),
    })
}

/// Uploads of the application: those that are not final, and final ones whose result nobody has taken
/// (GetCurrentUploadsAsync).
#[utoipa::path(
    get,
    path = "/background-transfers/uploads",
    tag = "uploads",
    operation_id = "listUploads",
    params(Filter),
    responses((status = 200, description = "One page", body = Page<Operation>), Problems)
)]
pub(crate) async fn list(
    State(rooms): State<Arc<Rooms>>,
    caller: Caller,
    Parameters(filter): Parameters<Filter>,
) -> Answer<Json<Page<Operation>>> {
    list::page(&rooms, &caller, filter, Some(OperationKind::Upload)).await
}

/// One upload.
#[utoipa::path(
    get,
    path = "/background-transfers/uploads/{id}",
    tag = "uploads",
    operation_id = "getUpload",
    params(("id" = OperationId, Path, description = "Id of the operation")),
    responses((status = 200, description = "The operation as it is now", body = Operation), Problems)
)]
pub(crate) async fn get(rooms: State<Arc<Rooms>>, caller: Caller, id: Id) -> Answer<Json<Operation>> {
    downloads::get(rooms, caller, id).await
}

/// Changes settings of a live upload; what the body leaves out stays. At another server it begins again at byte 0.
#[utoipa::path(
    patch,
    path = "/background-transfers/uploads/{id}",
    tag = "uploads",
    operation_id = "changeUpload",
    params(("id" = OperationId, Path, description = "Id of the operation")),
    request_body = PatchUpload,
    responses((status = 200, description = "The operation after the change", body = Operation), Problems)
)]
pub(crate) async fn change(
    State(rooms): State<Arc<Rooms>>,
    caller: Caller,
    Id(target): Id,
    Json(mut patch): Json<PatchUpload>,
) -> Answer<Json<Operation>> {
    let mut origin = admission::check_patch(&mut patch, OperationKind::Upload, caller.reach)?;
    let record = rooms.record(&caller, target).await?;
    if let Some(uris) = &patch.part_uris {
        let pieces = pieces_of(&record);
        if uris.len() != pieces {
            let detail = format!("the upload has {pieces} pieces, and there are {} addresses", uris.len());
            return Err(Refused::new(ErrorCode::InvalidField, detail).with_field("/partUris"));
        }
        origin = uris.first().map(|uri| admission::origin_of(uri.reveal())).transpose()?;
    }
    let moves = origin.as_ref().is_some_and(|origin| *origin != record.row.origin);
    rooms.command(&caller, target, Command::Patch { patch: Box::new(patch), origin }).await?;
    if moves {
        // What the other server has kept is of no use here.
        keep_journal(&rooms, target, &UploadJournalRecord::default()).await?;
    }
    rooms.operation(&caller, target).await.map(Json)
}

/// To be called while no worker of the upload runs.
async fn keep_journal(rooms: &Rooms, target: Target, record: &UploadJournalRecord) -> Answer<()> {
    let write = JournalWrite {
        id: target.id,
        received: record.offset,
        total: record.total,
        record: serde_json::to_vec(record).map_err(|error| Refused::internal(&error))?,
    };
    rooms.writer.submit(vec![Write::Journal(write)]).await?;
    Ok(())
}

fn pieces_of(record: &StoredOperation) -> usize {
    match &record.spec {
        Spec::Upload(spec) => spec.part_uris.len(),
        Spec::Download(_) => 0,
    }
}

/// Cancels an upload that is not over, and forgets it.
#[utoipa::path(
    delete,
    path = "/background-transfers/uploads/{id}",
    tag = "uploads",
    operation_id = "deleteUpload",
    params(("id" = OperationId, Path, description = "Id of the operation")),
    responses((status = 204, description = "The operation is forgotten"), Problems)
)]
pub(crate) async fn delete(rooms: State<Arc<Rooms>>, caller: Caller, id: Id) -> Answer<Response> {
    downloads::delete(rooms, caller, id).await
}

/// A request that got no answer is noted as such, so that no attempt makes it again by itself. The caller may.
pub(super) async fn allow_repetition(rooms: &Rooms, caller: &Caller, target: Target) -> Answer<()> {
    caller.need(Scope::Submit)?;
    let record = rooms.record(caller, target).await?;
    // While it is held for its application, no worker writes its journal.
    let is_held =
        matches!(record.row.phase, StoredPhase::NeedsInput { .. } | StoredPhase::PausedByApplication);
    if !is_held || rooms.workers.handle(target.id).is_some() {
        return Ok(());
    }
    let kept = rooms.read(move |reader| reader.journal(target.id)).await?;
    let kept = kept.map(|bytes| journal::decode_upload(&bytes)).transpose();
    let Some(kept) = kept.map_err(|error| Refused::internal(&error))?.filter(|kept| kept.is_unanswered)
    else {
        return Ok(());
    };
    keep_journal(rooms, target, &UploadJournalRecord { is_unanswered: false, ..kept }).await
}
