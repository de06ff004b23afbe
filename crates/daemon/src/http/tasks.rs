//! `/background-tasks`: register, list, look at, unregister.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use longhaul_contract::trigger::TriggerType;
use longhaul_contract::{
    BackgroundTask, BackgroundTaskDetail, OnConflict, PastTask, RegisterTaskRequest, TaskId, Timestamp,
};
use longhaul_engine::task::TaskWish;
use longhaul_store::StoredPastTask;
use serde::Deserialize;

use super::extract::{Parameters, Task};
use super::json::{Json, json};
use super::problems::Problems;
use super::refused::{Answer, Refused};
use super::rooms::Rooms;
use super::task_rooms::no_task;
use crate::identity::Caller;
use crate::{admission, push, task_view, triggers};

/// Instances in the detail of a task.
const HISTORY: usize = 50;

/// The application's tasks that are in no group, in the order of their registration (AllTasks).
#[utoipa::path(
    get,
    path = "/background-tasks",
    tag = "tasks",
    operation_id = "listBackgroundTasks",
    responses((status = 200, description = "The tasks", body = Vec<BackgroundTask>), Problems)
)]
pub(crate) async fn list(
    State(rooms): State<Arc<Rooms>>,
    caller: Caller,
) -> Answer<Json<Vec<BackgroundTask>>> {
    let app = caller.app.clone();
    let ids = rooms.heart.ask(move |engine, _| engine.task_ids(&app, None)).await?;
    rooms.task_views(ids).await.map(Json)
}

/// What to do when the name is taken.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Conflict {
    /// `fail` answers 409, `replace` unregisters the other task first, `allow` keeps both.
    #[serde(default)]
    #[param(inline)]
    on_conflict: OnConflict,
}

/// Registers a task (BackgroundTaskBuilder.Register).
///
/// A 201 means that the registration is on disk and will be acted upon whatever happens.
#[utoipa::path(
    post,
    path = "/background-tasks",
    tag = "tasks",
    operation_id = "registerBackgroundTask",
    params(Conflict),
    request_body = RegisterTaskRequest,
    responses(
        (status = 201, description = "The task, durable from now on", body = BackgroundTask,
            headers(("Location" = String, description = "Path of the task"))),
        Problems
    )
)]
pub(crate) async fn register(
    State(rooms): State<Arc<Rooms>>,
    caller: Caller,
    Parameters(conflict): Parameters<Conflict>,
    Json(mut spec): Json<RegisterTaskRequest>,
) -> Answer<Response> {
    let checked = admission::check_task(&mut spec, &rooms.host.reach())?;
    push::complete_channel(&mut spec);
    let (apps, app) = (Arc::clone(&rooms.apps), caller.app.clone());
    let manifest = tokio::task::spawn_blocking(move || apps.manifest(&app)).await;
    let manifest = manifest.map_err(|error| Refused::internal(&error))?;
    let id = rooms.ids.next_task(Timestamp::now());
    let (policy, components) = (&rooms.task_policy, rooms.components);
    let task = checked.into_new(id, caller.app.clone(), spec, manifest, policy, components)?;
    let kept = (*task.spec).clone();
    let wish = TaskWish::Register { task: Box::new(task), on_conflict: conflict.on_conflict };
    rooms.wish_task(wish).await.map_err(Refused::at_its_field)?;
    rooms.push.add(&caller.app, id, &kept);
    let view = rooms.task_views(vec![id]).await?.pop().ok_or_else(no_task)?;
    let mut response = json(StatusCode::CREATED, &view);
    let location = HeaderValue::try_from(format!("/background-tasks/{id}"));
    let location = location.map_err(|error| Refused::internal(&error))?;
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}

/// Everything about one task, with its newest instances.
#[utoipa::path(
    get,
    path = "/background-tasks/{taskId}",
    tag = "tasks",
    operation_id = "getBackgroundTask",
    params(("taskId" = TaskId, Path, description = "Id of the registration")),
    responses((status = 200, description = "The task as it is now", body = BackgroundTaskDetail), Problems)
)]
pub(crate) async fn get(
    State(rooms): State<Arc<Rooms>>,
    caller: Caller,
    Task(id): Task,
) -> Answer<Json<BackgroundTaskDetail>> {
    let (record, live) = rooms.task(&caller, id).await?;
    let history = rooms.read(move |reader| reader.instances(id, HISTORY, None)).await?;
    let mut detail = task_view::detail(record, live, history, &rooms.host.reach(), &rooms.runs);
    let endpoint = rooms.wants.endpoint(id).map(|endpoint| ("endpoint".to_owned(), endpoint));
    detail.trigger.parameters.extend(endpoint);
    Ok(Json(detail))
}

/// The application's tasks that have unregistered themselves, the last one first: those of a CompletionGroupTrigger do. The
/// newest 100 are kept with their instances, which are read as those of any task.
#[utoipa::path(
    get,
    path = "/background-tasks/past",
    tag = "tasks",
    operation_id = "listPastTasks",
    responses((status = 200, description = "The tasks that are gone", body = Vec<PastTask>), Problems)
)]
pub(crate) async fn past(State(rooms): State<Arc<Rooms>>, caller: Caller) -> Answer<Json<Vec<PastTask>>> {
    let app = caller.app;
    let past = rooms.read(move |reader| {
        let with_newest = |past: StoredPastTask| {
            let newest = reader.instances(past.id, 1, None)?.pop();
            Ok(task_view::past_task(past, newest))
        };
        reader.past_tasks(&app)?.into_iter().map(with_newest).collect()
    });
    past.await.map(Json)
}

/// What becomes of a running instance.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Unregistering {
    /// Whether a running instance is cancelled, with Abort; otherwise it may finish.
    #[serde(default = "is_canceled")]
    #[param(default = true, required = false)]
    cancel_running_task: bool,
}

const fn is_canceled() -> bool {
    true
}

/// Unregisters a task (Unregister). It is gone when this answers; a running instance is given its time to end.
#[utoipa::path(
    delete,
    path = "/background-tasks/{taskId}",
    tag = "tasks",
    operation_id = "unregisterBackgroundTask",
    params(("taskId" = TaskId, Path, description = "Id of the registration"), Unregistering),
    responses((status = 204, description = "The task is gone"), Problems)
)]
pub(crate) async fn unregister(
    State(rooms): State<Arc<Rooms>>,
    caller: Caller,
    Task(id): Task,
    Parameters(unregistering): Parameters<Unregistering>,
) -> Answer<Response> {
    let cancel_running = unregistering.cancel_running_task;
    rooms.wish_task(TaskWish::Unregister { app: caller.app, id, cancel_running }).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// All trigger types, and which of them this host can fire.
#[utoipa::path(
    get,
    path = "/background-tasks/triggers",
    tag = "triggers",
    operation_id = "listTriggerTypes",
    responses((status = 200, description = "The trigger types", body = Vec<TriggerType>), Problems)
)]
pub(crate) async fn trigger_types(State(rooms): State<Arc<Rooms>>) -> Json<Vec<TriggerType>> {
    Json(triggers::all(&rooms.host.reach()))
}
