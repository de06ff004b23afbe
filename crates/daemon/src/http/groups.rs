//! `/background-transfers/groups` (BackgroundTransferGroup).

use std::sync::Arc;

use axum::extract::State;
use longhaul_contract::group::PutGroup;
use longhaul_contract::{ErrorCode, Group, GroupName, Page, TransferBehavior};
use longhaul_engine::Wish;

use super::extract::Name;
use super::json::Json;
use super::problems::Problems;
use super::refused::{Answer, Refused};
use super::rooms::Rooms;
use crate::identity::Caller;

/// The groups that have members or were set.
#[utoipa::path(
    get,
    path = "/background-transfers/groups",
    tag = "groups",
    operation_id = "listGroups",
    responses((status = 200, description = "All groups, by name", body = Page<Group>), Problems)
)]
pub(crate) async fn list(State(rooms): State<Arc<Rooms>>, caller: Caller) -> Answer<Json<Page<Group>>> {
    let items = rooms.heart.ask(move |engine, _| engine.groups(&caller.app)).await?;
    Ok(Json(Page { items, next_cursor: None }))
}

/// One group.
#[utoipa::path(
    get,
    path = "/background-transfers/groups/{name}",
    tag = "groups",
    operation_id = "getGroup",
    params(("name" = GroupName, Path, description = "Name of the group")),
    responses((status = 200, description = "The group", body = Group), Problems)
)]
pub(crate) async fn get(
    State(rooms): State<Arc<Rooms>>,
    caller: Caller,
    Name(name): Name,
) -> Answer<Json<Group>> {
    let asked = name.clone();
    let found = rooms.heart.ask(move |engine, _| engine.group(&caller.app, &asked)).await?;
    let no_group = || Refused::new(ErrorCode::NotFound, format!("there is no group {name:?}"));
    found.map(Json).ok_or_else(no_group)
}

/// Sets how the members of a group share time; the group need not have any.
#[utoipa::path(
    put,
    path = "/background-transfers/groups/{name}",
    tag = "groups",
    operation_id = "putGroup",
    params(("name" = GroupName, Path, description = "Name of the group")),
    request_body = PutGroup,
    responses((status = 200, description = "The group as it is now", body = Group), Problems)
)]
pub(crate) async fn put(
    State(rooms): State<Arc<Rooms>>,
    caller: Caller,
    Name(name): Name,
    Json(body): Json<PutGroup>,
) -> Answer<Json<Group>> {
    let behavior: TransferBehavior = body.transfer_behavior;
    rooms.heart.wish(Wish::PutGroup { app: caller.app.clone(), name: name.clone(), behavior }).await?;
    let asked = name.clone();
    let found = rooms.heart.ask(move |engine, _| engine.group(&caller.app, &asked)).await?;
    Ok(Json(found.unwrap_or(Group { name, transfer_behavior: behavior, live_operations: 0 })))
}
