//! `/background-transfers/downloads`: make, list, look at, change, forget.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use longhaul_contract::{
    CreateDownload, CreateDownloads, CreatedDownloads, ErrorCode, Operation, OperationId, OperationKind,
    PatchDownload,
};
use longhaul_engine::{Command, Marks, NewOperation, Wish};

use super::creation::{admit, check_batch, create_one};
use super::extract::Id;
use super::json::{BATCH_BODY_MAX, Json, json};
use super::problems::Problems;
use super::refused::{Answer, Refused};
use super::rooms::Rooms;
use crate::admission::{self, Look, Reach};
use crate::identity::Caller;

/// Makes a download (BackgroundDownloader.CreateDownload) and starts it unless `start` is false.
///
/// A 201 means that the operation is on disk and will be worked on whatever happens.
#[utoipa::path(
    post,
    path = "/background-transfers/downloads",
    tag = "downloads",
    operation_id = "createDownload",
    request_body = CreateDownload,
    responses(
        (status = 201, description = "The operation, durable from now on", body = Operation,
            headers(("Location" = String, description = "Path of the operation"))),
        Problems
    )
)]
pub(crate) async fn create(
    State(rooms): State<Arc<Rooms>>,
    caller: Caller,
    Json(spec): Json<CreateDownload>,
) -> Answer<Response> {
    let made = admit(&rooms, &caller, vec![spec], new_operation).await.map_err(|(_, refused)| refused)?;
    check_asked_tasks(&rooms, &caller, &made).await.map_err(|(_, refused)| refused)?;
    create_one(&rooms, made).await
}

/// Makes up to 1,000 downloads at once, all or none.
#[utoipa::path(
    post,
    path = "/background-transfers/downloads/batch",
    tag = "downloads",
    operation_id = "createDownloads",
    request_body = CreateDownloads,
    responses(
        (status = 201, description = "The ids in the order of the operations, durable from now on",
            body = CreatedDownloads),
        Problems
    )
)]
pub(crate) async fn create_batch(
    State(rooms): State<Arc<Rooms>>,
    caller: Caller,
    Json(batch): Json<CreateDownloads, BATCH_BODY_MAX>,
) -> Answer<Response> {
    check_batch(batch.operations.len())?;
    let made = admit(&rooms, &caller, batch.operations, new_operation)
        .await
        .map_err(|(index, refused)| refused.below(&format!("/operations/{index}")))?;
    check_asked_tasks(&rooms, &caller, &made)
        .await
        .map_err(|(index, refused)| refused.below(&format!("/operations/{index}")))?;
    let ids = made.iter().map(|operation| operation.id).collect();
    rooms.heart.wish(Wish::Create(made)).await?;
    Ok(json(StatusCode::CREATED, &CreatedDownloads { ids }))
}

/// A task that is to be asked is there now; the index names the operation whose task is not.
async fn check_asked_tasks(
    rooms: &Rooms,
    caller: &Caller,
    made: &[NewOperation],
) -> Result<(), (usize, Refused)> {
    let task_of =
        |operation: &NewOperation| operation.spec.input_callback().and_then(|callback| callback.task);
    let asked: Vec<_> =
        made.iter().enumerate().filter_map(|(index, operation)| Some((index, task_of(operation)?))).collect();
    let Some((first, _)) = asked.first().copied() else { return Ok(()) };
    let app = caller.app.clone();
    let missing = rooms.heart.ask(move |engine, now| {
        asked.into_iter().find(|(_, task)| engine.task_live(now, &app, *task).is_none())
    });
    match missing.await.map_err(|refused| (first, refused))? {
        None => Ok(()),
        Some((index, task)) => {
            let detail = format!("the application has no task {task}: register it first");
            Err((index, Refused::new(ErrorCode::InvalidField, detail).with_field("/inputCallback/task")))
        }
    }
}

/// What the engine has to know of what was asked for. A confined caller reaches no webhook: it might be anybody's.
fn marks(caller: &Caller, spec: &CreateDownload) -> Answer<Marks> {
    let marks = Marks::notifying(spec.success_notification.is_some(), spec.failure_notification.is_some());
    let Some(callback) = &spec.input_callback else { return Ok(marks) };
    if callback.webhook.is_some() && caller.reach == Reach::Confined {
        let detail = "a confined application has no webhook: name a task";
        return Err(Refused::new(ErrorCode::Forbidden, detail).with_field("/inputCallback/webhook"));
    }
    Ok(marks.asking_for_input())
}

fn new_operation(
    caller: &Caller,
    look: &mut Look<'_>,
    id: OperationId,
    mut spec: CreateDownload,
) -> Answer<NewOperation> {
    admission::check_spec(&mut spec)?;
    let target = look.check(&mut spec)?;
    Ok(NewOperation {
        id,
        kind: OperationKind::Download,
        app: caller.app.clone(),
        group: spec.transfer_group.clone(),
        origin: admission::origin_of(&spec.requested_uri)?,
        target,
        priority: spec.priority,
        cost_policy: spec.cost_policy,
        rate_limit: spec.rate_limit,
        not_before: spec.not_before,
        recoverable: spec.recoverable_web_error_statuses.as_slice().into(),
        completion_group: spec.completion_group,
        marks: marks(caller, &spec)?,
        start: spec.start,
        spec: spec.into(),
    })
}

/// One download.
#[utoipa::path(
    get,
    path = "/background-transfers/downloads/{id}",
    tag = "downloads",
    operation_id = "getDownload",
    params(("id" = OperationId, Path, description = "Id of the operation")),
    responses((status = 200, description = "The operation as it is now", body = Operation), Problems)
)]
pub(crate) async fn get(
    State(rooms): State<Arc<Rooms>>,
    caller: Caller,
    Id(target): Id,
) -> Answer<Json<Operation>> {
    rooms.operation(&caller, target).await.map(Json)
}

/// Changes settings of a live download; what the body leaves out stays.
#[utoipa::path(
    patch,
    path = "/background-transfers/downloads/{id}",
    tag = "downloads",
    operation_id = "changeDownload",
    params(("id" = OperationId, Path, description = "Id of the operation")),
    request_body = PatchDownload,
    responses((status = 200, description = "The operation after the change", body = Operation), Problems)
)]
pub(crate) async fn change(
    State(rooms): State<Arc<Rooms>>,
    caller: Caller,
    Id(target): Id,
    Json(mut patch): Json<PatchDownload>,
) -> Answer<Json<Operation>> {
    let origin = admission::check_patch(&mut patch, OperationKind::Download, caller.reach)?;
    rooms.command(&caller, target, Command::Patch { patch: Box::new(patch), origin }).await?;
    rooms.operation(&caller, target).await.map(Json)
}

/// Cancels a download that is not over, and forgets it. A published file stays.
#[utoipa::path(
    delete,
    path = "/background-transfers/downloads/{id}",
    tag = "downloads",
    operation_id = "deleteDownload",
    params(("id" = OperationId, Path, description = "Id of the operation")),
    responses((status = 204, description = "The operation is forgotten"), Problems)
)]
pub(crate) async fn delete(
    State(rooms): State<Arc<Rooms>>,
    caller: Caller,
    Id(target): Id,
) -> Answer<Response> {
    rooms.command(&caller, target, Command::Remove).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
