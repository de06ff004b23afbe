//! `/background-transfers/completion-groups` (BackgroundTransferCompletionGroup), and the request to run free of what
//! energy saver forbids.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use longhaul_contract::completion::{Unconstrain, Unconstrained};
use longhaul_contract::{
    CompletionGroup, CompletionGroupDetail, CompletionGroupId, CreateCompletionGroup, ErrorCode,
    OperationKind, Page, Timestamp,
};
use longhaul_engine::task::TaskAnswer;
use longhaul_engine::{CompletionWish, Wish};

use super::extract::CompletionGroupOf;
use super::json::{Json, OptionalJson, json};
use super::problems::Problems;
use super::refused::{Answer, Refused};
use super::rooms::Rooms;
use crate::admission;
use crate::identity::Caller;

/// Operations in one request.
const UNCONSTRAIN_MAX: usize = 1000;

/// Makes a completion group: a set of transfers whose common end fires the task that is registered for it.
///
/// Register the task with a CompletionGroupTrigger, make the transfers with this `completionGroup`, and enable the group
/// when all have been made.
#[utoipa::path(
    post,
    path = "/background-transfers/completion-groups",
    tag = "completion groups",
    operation_id = "createCompletionGroup",
    request_body = Option<CreateCompletionGroup>,
    responses(
        (status = 201, description = "The completion group, durable from now on", body = CompletionGroup,
            headers(("Location" = String, description = "Path of the completion group"))),
        Problems
    )
)]
pub(crate) async fn create(
    State(rooms): State<Arc<Rooms>>,
    caller: Caller,
    OptionalJson(spec): OptionalJson<CreateCompletionGroup>,
) -> Answer<Response> {
    let CreateCompletionGroup { success_notification, failure_notification } = spec;
    admission::check_notifications(success_notification.as_ref(), failure_notification.as_ref())?;
    let id = rooms.ids.next_completion_group(Timestamp::now());
    let wish = CompletionWish::Create {
        app: caller.app.clone(),
        id,
        success_notification: success_notification.map(Box::new),
        failure_notification: failure_notification.map(Box::new),
    };
    rooms.heart.wish(Wish::Completion(wish)).await?;
    let mut response = json(StatusCode::CREATED, &find(&rooms, &caller, id).await?);
    let location = HeaderValue::try_from(format!("/background-transfers/completion-groups/{id}"));
    let location = location.map_err(|error| Refused::internal(&error))?;
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}

/// The application's completion groups, oldest first. Those that are over are forgotten after some days.
#[utoipa::path(
    get,
    path = "/background-transfers/completion-groups",
    tag = "completion groups",
    operation_id = "listCompletionGroups",
    responses((status = 200, description = "All completion groups", body = Page<CompletionGroup>), Problems)
)]
pub(crate) async fn list(
    State(rooms): State<Arc<Rooms>>,
    caller: Caller,
) -> Answer<Json<Page<CompletionGroup>>> {
    let items = rooms.heart.ask(move |engine, _| engine.completion_groups(&caller.app)).await?;
    Ok(Json(Page { items, next_cursor: None }))
}

/// One completion group with its members as they are now.
#[utoipa::path(
    get,
    path = "/background-transfers/completion-groups/{id}",
    tag = "completion groups",
    operation_id = "getCompletionGroup",
    params(("id" = CompletionGroupId, Path, description = "Id of the completion group")),
    responses((status = 200, description = "The completion group", body = CompletionGroupDetail), Problems)
)]
pub(crate) async fn get(
    State(rooms): State<Arc<Rooms>>,
    caller: Caller,
    CompletionGroupOf(id): CompletionGroupOf,
) -> Answer<Json<CompletionGroupDetail>> {
    let group = find(&rooms, &caller, id).await?;
    let members = rooms.read(move |reader| reader.completion_members(id)).await?;
    let members = rooms.views(members).await?;
    let (downloads, uploads) =
        members.into_iter().partition(|operation| operation.kind == OperationKind::Download);
    Ok(Json(CompletionGroupDetail { group, downloads, uploads }))
}

/// Closes the set (Enable): nothing can join it any more, and its task runs once all members have ended.
#[utoipa::path(
    post,
    path = "/background-transfers/completion-groups/{id}/enable",
    tag = "completion groups",
    operation_id = "enableCompletionGroup",
    params(("id" = CompletionGroupId, Path, description = "Id of the completion group")),
    responses((status = 200, description = "The completion group as it is now", body = CompletionGroup), Problems)
)]
pub(crate) async fn enable(
    State(rooms): State<Arc<Rooms>>,
    caller: Caller,
    CompletionGroupOf(id): CompletionGroupOf,
) -> Answer<Json<CompletionGroup>> {
    let wish = CompletionWish::Enable { app: caller.app.clone(), id };
    rooms.heart.wish(Wish::Completion(wish)).await?;
    find(&rooms, &caller, id).await.map(Json)
}

/// Asks that energy saver shall not hold these operations back (RequestUnconstrainedDownloads, RequestUnconstrainedUploads).
///
/// The owner consents with `longhaul access grant`; without, nothing changes. Cost policies hold as ever.
#[utoipa::path(
    post,
    path = "/background-transfers/unconstrained",
    tag = "downloads",
    operation_id = "requestUnconstrained",
    request_body = Unconstrain,
    responses((status = 200, description = "Whether they run so", body = Unconstrained), Problems)
)]
pub(crate) async fn unconstrain(
    State(rooms): State<Arc<Rooms>>,
    caller: Caller,
    Json(body): Json<Unconstrain>,
) -> Answer<Json<Unconstrained>> {
    let ids = body.operations;
    if ids.is_empty() || ids.len() > UNCONSTRAIN_MAX {
        let detail = format!("name 1 to {UNCONSTRAIN_MAX} operations");
        return Err(Refused::new(ErrorCode::InvalidField, detail).with_field("/operations"));
    }
    let asked = ids.clone();
    let records = rooms.read(move |reader| reader.operations(&asked)).await?;
    let is_known = |id| records.iter().any(|record| record.row.id == id && record.row.app == caller.app);
    if let Some(index) = ids.iter().position(|id| !is_known(*id)) {
        return Err(Refused::not_found().with_field(format!("/operations/{index}")));
    }
    let granted = rooms.heart.wish(Wish::Unconstrain { app: caller.app, ids }).await?;
    match granted.task {
        Some(TaskAnswer::Unconstrained(is_unconstrained)) => Ok(Json(Unconstrained { is_unconstrained })),
        _ => Err(Refused::internal(&"a granted request has no answer")),
    }
}

async fn find(rooms: &Rooms, caller: &Caller, id: CompletionGroupId) -> Answer<CompletionGroup> {
    let app = caller.app.clone();
    let found = rooms.heart.ask(move |engine, _| engine.completion_group(&app, id)).await?;
    found.ok_or_else(|| {
        Refused::new(ErrorCode::NotFound, format!("the application has no completion group {id}"))
    })
}
