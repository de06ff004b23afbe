//! Whether an application may run in the background: its own request, and the owner's decision
//! (BackgroundExecutionManager).

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use longhaul_contract::task::{BackgroundAccessStatus, PutAccess, RequestAccess};
use longhaul_contract::{AppId, ErrorCode, Scope};
use longhaul_engine::task::TaskWish;

use super::extract::AppName;
use super::json::{Json, OptionalJson};
use super::problems::Problems;
use super::refused::{Answer, Refused};
use super::rooms::Rooms;
use crate::identity::Caller;

const REASON_MAX: usize = 1024;

async fn status_of(rooms: &Rooms, app: AppId) -> Answer<Json<BackgroundAccessStatus>> {
    let status = rooms.heart.ask(move |engine, _| engine.access(&app)).await?;
    Ok(Json(BackgroundAccessStatus { status }))
}

/// What the application may do in the background (GetAccessStatus).
#[utoipa::path(
    get,
    path = "/background-tasks/access",
    tag = "access",
    operation_id = "getBackgroundAccessStatus",
    responses((status = 200, description = "The status", body = BackgroundAccessStatus), Problems)
)]
pub(crate) async fn get(
    State(rooms): State<Arc<Rooms>>,
    caller: Caller,
) -> Answer<Json<BackgroundAccessStatus>> {
    status_of(&rooms, caller.app).await
}

/// Asks to run in the background (RequestAccessAsync); with a kind, for that kind of access (RequestAccessKindAsync).
/// Nobody is prompted: what the owner has not decided follows from the configuration.
#[utoipa::path(
    post,
    path = "/background-tasks/access",
    tag = "access",
    operation_id = "requestBackgroundAccess",
    request_body = Option<RequestAccess>,
    responses((status = 200, description = "The status after the request", body = BackgroundAccessStatus), Problems)
)]
pub(crate) async fn request(
    State(rooms): State<Arc<Rooms>>,
    caller: Caller,
    OptionalJson(request): OptionalJson<RequestAccess>,
) -> Answer<Json<BackgroundAccessStatus>> {
    if let Some(reason) = &request.reason {
        if reason.chars().count() > REASON_MAX {
            let detail = format!("must have at most {REASON_MAX} characters");
            return Err(Refused::new(ErrorCode::InvalidField, detail).with_field("/reason"));
        }
        tracing::info!(app = %caller.app, kind = ?request.kind, %reason, "an application asks for access");
    }
    rooms.wish_task(TaskWish::RequestAccess { app: caller.app.clone(), kind: request.kind }).await?;
    status_of(&rooms, caller.app).await
}

/// Gives the access back (RemoveAccess). What the owner has denied stays denied.
#[utoipa::path(
    delete,
    path = "/background-tasks/access",
    tag = "access",
    operation_id = "removeBackgroundAccess",
    responses((status = 204, description = "The application has no access of its own any more"), Problems)
)]
pub(crate) async fn remove(State(rooms): State<Arc<Rooms>>, caller: Caller) -> Answer<Response> {
    caller.need(Scope::Submit)?;
    rooms.wish_task(TaskWish::RemoveAccess { app: caller.app }).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// The owner's decision whether an application may run in the background. `Unspecified` takes it back.
#[utoipa::path(
    put,
    path = "/apps/{id}/access",
    tag = "access",
    operation_id = "putAppAccess",
    params(("id" = AppId, Path, description = "The application")),
    request_body = PutAccess,
    responses((status = 200, description = "The status from now on", body = BackgroundAccessStatus), Problems)
)]
pub(crate) async fn put(
    State(rooms): State<Arc<Rooms>>,
    AppName(app): AppName,
    Json(body): Json<PutAccess>,
) -> Answer<Json<BackgroundAccessStatus>> {
    rooms.wish_task(TaskWish::PutAccess { app: app.clone(), status: body.status }).await?;
    status_of(&rooms, app).await
}
