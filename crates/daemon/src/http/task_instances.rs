//! `/background-tasks/{taskId}/instances`: runs of a task, as others see them.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use longhaul_contract::{ErrorCode, Instance, InstanceId, Page, TaskId};
use longhaul_engine::task::TaskWish;
use serde::Deserialize;

use super::extract::{InstanceOf, Parameters, Task};
use super::json::Json;
use super::problems::Problems;
use super::refused::{Answer, Refused};
use super::rooms::Rooms;
use crate::identity::Caller;
use crate::task_view;

const PAGE_MAX: usize = 50;

/// Which part of the history.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Window {
    /// At most so many, 1 to 50.
    #[param(minimum = 1, maximum = 50)]
    limit: Option<usize>,
    /// `nextCursor` of the page before.
    cursor: Option<String>,
}

/// The newest instances, newest first; also of a task that has unregistered itself. As many as 50 of one task are kept.
#[utoipa::path(
    get,
    path = "/background-tasks/{taskId}/instances",
    tag = "instances",
    operation_id = "listTaskInstances",
    params(("taskId" = TaskId, Path, description = "Id of the registration"), Window),
    responses((status = 200, description = "A page of the history", body = Page<Instance>), Problems)
)]
pub(crate) async fn list(
    State(rooms): State<Arc<Rooms>>,
    caller: Caller,
    Task(id): Task,
    Parameters(window): Parameters<Window>,
) -> Answer<Json<Page<Instance>>> {
    let refuse =
        |field: &str, detail: &str| Err(Refused::new(ErrorCode::InvalidParameter, detail).with_field(field));
    let limit = window.limit.unwrap_or(PAGE_MAX);
    if !(1..=PAGE_MAX).contains(&limit) {
        return refuse("limit", &format!("must be 1 to {PAGE_MAX}"));
    }
    let Ok(before) = window.cursor.map(|cursor| cursor.parse::<InstanceId>()).transpose() else {
        return refuse("cursor", "is not one of ours");
    };
    rooms.check_history(&caller, id).await?;
    let mut items = rooms.read(move |reader| reader.instances(id, limit + 1, before)).await?;
    let has_more = items.len() > limit;
    items.truncate(limit);
    let next_cursor = items.last().filter(|_| has_more).map(|instance| instance.id.to_string());
    let items = items.into_iter().map(|instance| task_view::instance(instance, &rooms.runs)).collect();
    Ok(Json(Page { items, next_cursor }))
}

/// One instance.
#[utoipa::path(
    get,
    path = "/background-tasks/{taskId}/instances/{instanceId}",
    tag = "instances",
    operation_id = "getTaskInstance",
    params(
        ("taskId" = TaskId, Path, description = "Id of the registration"),
        ("instanceId" = InstanceId, Path, description = "Id of the instance")
    ),
    responses((status = 200, description = "The instance as it is now", body = Instance), Problems)
)]
pub(crate) async fn get(
    State(rooms): State<Arc<Rooms>>,
    caller: Caller,
    InstanceOf(task, id): InstanceOf,
) -> Answer<Json<Instance>> {
    rooms.instance(&caller, task, id).await.map(Json)
}

/// Asks a running instance to end, with the reason Abort; what is left of it after its time to answer is killed.
#[utoipa::path(
    delete,
    path = "/background-tasks/{taskId}/instances/{instanceId}",
    tag = "instances",
    operation_id = "cancelTaskInstance",
    params(
        ("taskId" = TaskId, Path, description = "Id of the registration"),
        ("instanceId" = InstanceId, Path, description = "Id of the instance")
    ),
    responses((status = 204, description = "The instance has been asked to end"), Problems)
)]
pub(crate) async fn cancel(
    State(rooms): State<Arc<Rooms>>,
    caller: Caller,
    InstanceOf(task, id): InstanceOf,
) -> Answer<Response> {
    let instance = rooms.instance(&caller, task, id).await?;
    if instance.state.is_over() {
        return Err(Refused::new(ErrorCode::InstanceOver, "the instance is over"));
    }
    rooms.wish_task(TaskWish::CancelInstance { app: caller.app, id: task, instance: id }).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
