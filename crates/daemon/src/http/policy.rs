//! `/apps/{id}/policy`: what the owner allows an application beside running in the background.

use std::sync::Arc;

use axum::extract::State;
use longhaul_contract::AppId;
use longhaul_contract::service::AppPolicy;

use super::extract::AppName;
use super::json::Json;
use super::problems::Problems;
use super::refused::Answer;
use super::rooms::Rooms;

/// What the owner allows an application.
#[utoipa::path(
    get,
    path = "/apps/{id}/policy",
    tag = "access",
    operation_id = "getAppPolicy",
    params(("id" = AppId, Path, description = "The application")),
    responses((status = 200, description = "What holds now", body = AppPolicy), Problems)
)]
pub(crate) async fn get(State(rooms): State<Arc<Rooms>>, AppName(app): AppName) -> Json<AppPolicy> {
    Json(AppPolicy { foreground_only: rooms.foreground.is_restricted(&app) })
}

/// The owner's word on an application's transfers.
#[utoipa::path(
    put,
    path = "/apps/{id}/policy",
    tag = "access",
    operation_id = "putAppPolicy",
    params(("id" = AppId, Path, description = "The application")),
    request_body = AppPolicy,
    responses((status = 200, description = "What holds from now on", body = AppPolicy), Problems)
)]
pub(crate) async fn put(
    State(rooms): State<Arc<Rooms>>,
    AppName(app): AppName,
    Json(policy): Json<AppPolicy>,
) -> Answer<Json<AppPolicy>> {
    rooms.foreground.put(&app, policy.foreground_only).await?;
    Ok(Json(policy))
}
