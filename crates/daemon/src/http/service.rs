//! The service itself: health, numbers, its own contract.

use std::sync::{Arc, OnceLock};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};
use longhaul_contract::Health;

use super::json::Json;
use super::problems::Problems;
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
