//! `/background-transfers/downloads`: make, list, look at, change, forget.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use longhaul_contract::{
    CreateDownload, CreateDownloads, CreatedDownloads, ErrorCode, Operation, OperationId, OperationKind,
    PatchDownload, Progress, Timestamp,
};
use longhaul_engine::{Command, Marks, NewOperation, Wish};

use super::extract::Id;
use super::json::{BATCH_BODY_MAX, Json, json};
use super::problems::Problems;
use super::refused::{Answer, Refused};
use super::rooms::Rooms;
use crate::admission::{self, Look, Reach};
use crate::identity::Caller;
use crate::view::{self, Times};

/// Operations in one batch.
const BATCH_MAX: usize = 1000;

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
    let made = admit(&rooms, &caller, vec![spec]).await.map_err(|(_, refused)| refused)?;
    let specs: Vec<CreateDownload> = made.iter().map(|operation| (*operation.spec).clone()).collect();
    let ids: Vec<OperationId> = made.iter().map(|operation| operation.id).collect();
    let granted = rooms.heart.wish(Wish::Create(made)).await.map_err(Refused::of_the_only_one)?;
    let now = granted.live.into_iter().next().flatten();
    let (Some(id), Some(spec), Some(now)) = (ids.first(), specs.into_iter().next(), now) else {
        return Err(Refused::internal(&"a granted creation has no operation"));
    };
    let times = Times { created: granted.time, started: None, completed: None, consumed: None };
    let view = view::of_spec(*id, OperationKind::Download, spec, times, now.into(), Progress::default());
    let mut response = json(StatusCode::CREATED, &view);
    let location = format!("/background-transfers/downloads/{id}");
    let location = HeaderValue::try_from(location).map_err(|error| Refused::internal(&error))?;
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
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
    if batch.operations.is_empty() || batch.operations.len() > BATCH_MAX {
        let detail = format!("a batch has 1 to {BATCH_MAX} operations");
        return Err(Refused::new(ErrorCode::InvalidField, detail).with_field("/operations"));
    }
    let made = admit(&rooms, &caller, batch.operations)
        .await
        .map_err(|(index, refused)| refused.below(&format!("/operations/{index}")))?;
    let ids = made.iter().map(|operation| operation.id).collect();
    rooms.heart.wish(Wish::Create(made)).await?;
    Ok(json(StatusCode::CREATED, &CreatedDownloads { ids }))
}

/// Checks form and place of new downloads; the index names the one that is refused.
async fn admit(
    rooms: &Arc<Rooms>,
    caller: &Caller,
    specs: Vec<CreateDownload>,
) -> Result<Vec<NewOperation>, (usize, Refused)> {
    let rooms = Arc::clone(rooms);
    let caller = caller.clone();
    let admitted = tokio::task::spawn_blocking(move || {
        let mut look = rooms.places.look(&caller.app, caller.reach);
        let now = Timestamp::now();
        specs
            .into_iter()
            .enumerate()
            .map(|(index, spec)| {
                let id = rooms.ids.next(now);
                new_operation(&caller, &mut look, id, spec).map_err(|refused| (index, refused))
            })
            .collect()
    });
    admitted.await.map_err(|error| (0, Refused::internal(&error)))?
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
        spec: Box::new(spec),
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
    Id(id): Id,
) -> Answer<Json<Operation>> {
    rooms.operation(&caller, id).await.map(Json)
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
    Id(id): Id,
    Json(mut patch): Json<PatchDownload>,
) -> Answer<Json<Operation>> {
    let origin = admission::check_patch(&mut patch)?;
    rooms.command(&caller, id, Command::Patch { patch: Box::new(patch), origin }).await?;
    rooms.operation(&caller, id).await.map(Json)
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
pub(crate) async fn delete(State(rooms): State<Arc<Rooms>>, caller: Caller, Id(id): Id) -> Answer<Response> {
    rooms.command(&caller, id, Command::Remove).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
