//! The service itself: health, numbers, limits, applications, the machine, its own contract.

use std::sync::{Arc, OnceLock};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use longhaul_contract::service::{App, CreateToken, NewToken};
use longhaul_contract::{AppId, ErrorCode, Health, HostState, Limits, Page, Scope, Timestamp};
use longhaul_engine::{Engine, Now, Wish};
use longhaul_store::{TokenWrite, Write};

use super::extract::AppName;
use super::json::{Json, json};
use super::problems::Problems;
use super::refused::{Answer, Refused};
use super::rooms::Rooms;
use crate::heart::Condition;
use crate::identity::new_token;

/// Whether the service works.
#[utoipa::path(
    get,
    path = "/healthz",
    tag = "service",
    operation_id = "getHealth",
    responses((status = 200, description = "How the service is", body = Health), Problems)
)]
pub(crate) async fn health(State(rooms): State<Arc<Rooms>>) -> Json<Health> {
    let (status, detail) = match rooms.heart.condition() {
        Condition::Well => ("ok", None),
        Condition::Degraded(detail) => ("degraded", Some(detail)),
    };
    Json(Health { status: status.to_owned(), version: env!("CARGO_PKG_VERSION").to_owned(), detail })
}

/// This document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "service",
    operation_id = "getContract",
    responses((status = 200, description = "The contract in OpenAPI 3.1", content_type = "application/json"), Problems)
)]
pub(crate) async fn contract() -> Response {
    static CONTRACT: OnceLock<String> = OnceLock::new();
    let mut response = CONTRACT.get_or_init(super::openapi_json).as_str().into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Numbers about the service for Prometheus.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "service",
    operation_id = "getMetrics",
    responses(
        (status = 200, description = "OpenMetrics text", body = String, content_type = "application/openmetrics-text"),
        Problems
    )
)]
pub(crate) async fn metrics(State(rooms): State<Arc<Rooms>>) -> Answer<Response> {
    let live = rooms.heart.ask(|engine, _| engine.live_operations(None)).await?;
    let text =
        rooms.metrics.encode(rooms.workers.count(), live).map_err(|error| Refused::internal(&error))?;
    let mut response = text.into_response();
    let media_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    Ok(response)
}

/// What is known of the machine, signal by signal.
#[utoipa::path(
    get,
    path = "/host",
    tag = "service",
    operation_id = "getHost",
    responses((status = 200, description = "Every signal, or why it is unknown", body = HostState), Problems)
)]
pub(crate) async fn host(State(rooms): State<Arc<Rooms>>) -> Answer<Json<HostState>> {
    rooms.heart.ask(|engine, _| engine.host()).await.map(Json)
}

/// Rate limits, and how many operations run at once.
#[utoipa::path(
    get,
    path = "/limits",
    tag = "service",
    operation_id = "getLimits",
    responses((status = 200, description = "The limits in force", body = Limits), Problems)
)]
pub(crate) async fn limits(State(rooms): State<Arc<Rooms>>) -> Answer<Json<Limits>> {
    rooms.heart.ask(|engine, _| engine.limits()).await.map(Json)
}

/// Replaces the limits; they hold at once and are kept.
#[utoipa::path(
    put,
    path = "/limits",
    tag = "service",
    operation_id = "putLimits",
    request_body = Limits,
    responses((status = 200, description = "The limits in force", body = Limits), Problems)
)]
pub(crate) async fn put_limits(
    State(rooms): State<Arc<Rooms>>,
    Json(limits): Json<Limits>,
) -> Answer<Json<Limits>> {
    for (field, count) in [
        ("/runningAtOnce", limits.running_at_once),
        ("/runningAtOncePerApplication", limits.running_at_once_per_application),
        ("/connectionsPerHost", limits.connections_per_host),
    ] {
        if !(1..=AT_ONCE_MAX).contains(&count) {
            let detail = format!("must be 1 to {AT_ONCE_MAX}");
            return Err(Refused::new(ErrorCode::InvalidField, detail).with_field(field));
        }
    }
    rooms.heart.wish(Wish::PutLimits(limits)).await?;
    rooms.heart.ask(|engine, _| engine.limits()).await.map(Json)
}

/// The most that may run at once: more would only take memory from those that run.
const AT_ONCE_MAX: u32 = 1000;

/// Applications that have operations, groups or tokens.
#[utoipa::path(
    get,
    path = "/apps",
    tag = "service",
    operation_id = "listApps",
    responses((status = 200, description = "All applications, by name", body = Page<App>), Problems)
)]
pub(crate) async fn apps(State(rooms): State<Arc<Rooms>>) -> Answer<Json<Page<App>>> {
    let found = rooms
        .read(|reader| {
            let apps = reader.applications()?.into_iter();
            apps.map(|app| reader.tokens(&app).map(|tokens| (app, tokens))).collect::<Result<Vec<_>, _>>()
        })
        .await?;
    let count = move |engine: &Engine, _: Now| {
        found.into_iter().map(|(app, tokens)| app_view(engine, app, tokens)).collect()
    };
    Ok(Json(Page { items: rooms.heart.ask(count).await?, next_cursor: None }))
}

/// One application.
#[utoipa::path(
    get,
    path = "/apps/{id}",
    tag = "service",
    operation_id = "getApp",
    params(("id" = AppId, Path, description = "The application")),
    responses((status = 200, description = "The application", body = App), Problems)
)]
pub(crate) async fn app(State(rooms): State<Arc<Rooms>>, AppName(app): AppName) -> Answer<Json<App>> {
    let asked = app.clone();
    let (is_known, tokens) = rooms
        .read(move |reader| Ok((reader.applications()?.contains(&asked), reader.tokens(&asked)?)))
        .await?;
    if !is_known {
        return Err(Refused::new(ErrorCode::NotFound, format!("nothing is kept of an application {app}")));
    }
    rooms.heart.ask(move |engine, _| app_view(engine, app, tokens)).await.map(Json)
}

fn app_view(engine: &Engine, id: AppId, tokens: Vec<Vec<Scope>>) -> App {
    let count = tokens.len() as u64;
    let mut scopes: Vec<Scope> = tokens.into_iter().flatten().collect();
    scopes.sort();
    scopes.dedup();
    App { live_operations: engine.live_operations(Some(&id)), id, tokens: count, scopes }
}

/// Makes a token for calls over TCP. This answer is the only one that ever shows it.
#[utoipa::path(
    post,
    path = "/apps/{id}/tokens",
    tag = "service",
    operation_id = "createToken",
    params(("id" = AppId, Path, description = "The application it will speak for")),
    request_body = CreateToken,
    responses((status = 201, description = "The token", body = NewToken), Problems)
)]
pub(crate) async fn create_token(
    State(rooms): State<Arc<Rooms>>,
    AppName(app): AppName,
    Json(body): Json<CreateToken>,
) -> Answer<Response> {
    let mut scopes = body.scopes;
    scopes.sort();
    scopes.dedup();
    if scopes.is_empty() {
        return Err(Refused::new(ErrorCode::InvalidField, "a token needs a scope").with_field("/scopes"));
    }
    let (token, hash) = new_token();
    let write = TokenWrite { hash, app, scopes: scopes.clone(), created: Timestamp::now() };
    rooms.writer.submit(vec![Write::Token(write)]).await?;
    Ok(json(StatusCode::CREATED, &NewToken { token, scopes }))
}
