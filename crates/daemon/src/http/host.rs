//! What is known of the machine, and what an administrator sets in its place.

use std::sync::Arc;

use axum::extract::State;
use longhaul_contract::host::PutHostSignal;
use longhaul_contract::trigger::ConditionStanding;
use longhaul_contract::{ErrorCode, HostSignal, HostState, Page};

use super::extract::Last;
use super::json::Json;
use super::problems::Problems;
use super::refused::{Answer, Refused};
use super::rooms::Rooms;

/// What is known of the machine, signal by signal.
#[utoipa::path(
    get,
    path = "/host",
    tag = "service",
    operation_id = "getHost",
    responses((status = 200, description = "Every signal, or why it is unknown", body = HostState), Problems)
)]
pub(crate) async fn get(State(rooms): State<Arc<Rooms>>) -> Answer<Json<HostState>> {
    let data_plans = rooms.host.data_plans();
    let host = rooms.heart.ask(|engine, _| engine.host()).await?;
    Ok(Json(HostState { data_plans, ..host }))
}

/// Whether each condition holds now, by the rules that start tasks.
#[utoipa::path(
    get,
    path = "/host/conditions",
    tag = "service",
    operation_id = "getConditions",
    responses((status = 200, description = "All conditions", body = Page<ConditionStanding>), Problems)
)]
pub(crate) async fn conditions(State(rooms): State<Arc<Rooms>>) -> Answer<Json<Page<ConditionStanding>>> {
    let items = rooms.heart.ask(|engine, _| engine.conditions()).await?;
    Ok(Json(Page { items, next_cursor: None }))
}

fn signal(word: &str) -> Answer<HostSignal> {
    let found = HostSignal::ALL.iter().copied().find(|signal| signal.word() == word);
    found.ok_or_else(|| Refused::new(ErrorCode::NotFound, format!("there is no host signal {word:?}")))
}

/// Sets a signal by hand, in place of its source, until it is given back. It is kept over restarts.
#[utoipa::path(
    put,
    path = "/host/{signal}",
    tag = "service",
    operation_id = "putHostSignal",
    params(("signal" = HostSignal, Path, description = "Name of the signal")),
    request_body = PutHostSignal,
    responses((status = 200, description = "Every signal, as the deciding code sees it now", body = HostState), Problems)
)]
pub(crate) async fn put(
    State(rooms): State<Arc<Rooms>>,
    Last(word): Last,
    Json(body): Json<PutHostSignal>,
) -> Answer<Json<HostState>> {
    rooms.host.put(signal(&word)?, Some(body.value)).await.map(Json)
}

/// Gives a signal back to its source.
#[utoipa::path(
    delete,
    path = "/host/{signal}",
    tag = "service",
    operation_id = "deleteHostSignal",
    params(("signal" = HostSignal, Path, description = "Name of the signal")),
    responses((status = 200, description = "Every signal, as the deciding code sees it now", body = HostState), Problems)
)]
pub(crate) async fn delete(State(rooms): State<Arc<Rooms>>, Last(word): Last) -> Answer<Json<HostState>> {
    rooms.host.put(signal(&word)?, None).await.map(Json)
}
