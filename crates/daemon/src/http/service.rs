//! The service itself: health, numbers, limits, its own contract.

use std::sync::{Arc, OnceLock};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};
use longhaul_contract::{ErrorCode, Health, Limits};
use longhaul_engine::Wish;

use super::json::Json;
use super::problems::Problems;
use super::refused::{Answer, Refused};
use super::rooms::Rooms;
use crate::heart::Condition;

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
    if limits.bytes_per_second.is_some_and(|rate| i64::try_from(rate).is_err()) {
        let detail = format!("must be at most {}", i64::MAX);
        return Err(Refused::new(ErrorCode::InvalidField, detail).with_field("/bytesPerSecond"));
    }
    rooms.heart.wish(Wish::PutLimits(limits)).await?;
    rooms.heart.ask(|engine, _| engine.limits()).await.map(Json)
}

/// The most that may run at once: more would only take memory from those that run.
const AT_ONCE_MAX: u32 = 1000;
