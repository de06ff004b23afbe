//! What can be asked of one task: a firing, a run, why it does not run; and the groups of tasks.

use std::sync::Arc;

use axum::extract::State;
use longhaul_contract::task::{TaskGroup, TaskRequest, TaskRequestAnswer, TaskRunAnswer};
use longhaul_contract::{ErrorCode, Explanation, Page, RequestResult, Scope, TaskGroupId, TaskId};
use longhaul_engine::task::{TaskAnswer, TaskWish};
use longhaul_engine::{Engine, Now};

use super::extract::{Last, Parameters, Task};
use super::json::{Json, OptionalJson};
use super::problems::Problems;
use super::refused::{Answer, Refused};
use super::rooms::Rooms;
use super::supposition::{Supposition, add_history};
use super::task_rooms::no_task;
use crate::identity::Caller;
use crate::sense::{attached, describe};

/// Bytes of all names and values of a request's arguments.
const ARGUMENTS_BYTES_MAX: usize = 64 << 10;

/// Fires a task with ApplicationTrigger, MediaProcessingTrigger, DeviceUseTrigger or DeviceServicingTrigger
/// (RequestAsync).
///
/// `Allowed` means accepted, not started. `DeniedBySystem` is also the answer about a device that is not there.
#[utoipa::path(
    post,
    path = "/background-tasks/{taskId}/request",
    tag = "tasks",
    operation_id = "requestBackgroundTask",
    params(("taskId" = TaskId, Path, description = "Id of the registration")),
    request_body = Option<TaskRequest>,
    responses((status = 200, description = "What became of it", body = TaskRequestAnswer), Problems)
)]
pub(crate) async fn request(
    State(rooms): State<Arc<Rooms>>,
    caller: Caller,
    Task(id): Task,
    OptionalJson(request): OptionalJson<TaskRequest>,
) -> Answer<Json<TaskRequestAnswer>> {
    let size: usize = request.arguments.iter().map(|(name, value)| name.len() + value.len()).sum();
    if size > ARGUMENTS_BYTES_MAX {
        let detail = format!("the arguments have {size} bytes; at most {ARGUMENTS_BYTES_MAX} are taken");
        return Err(Refused::new(ErrorCode::InvalidField, detail).with_field("/arguments"));
    }
    let (record, _) = rooms.task(&caller, id).await?;
    let mut details = serde_json::json!({ "arguments": request.arguments });
    if record.spec.trigger.kind.has_device() {
        let Some(device) = attached(&record.spec.trigger).await? else {
            return Ok(Json(TaskRequestAnswer { result: RequestResult::DeniedBySystem }));
        };
        describe(&mut details, &record.spec.trigger, &device);
    }
    let details = details.to_string().into();
    match rooms.wish_task(TaskWish::Request { app: caller.app, id, details }).await? {
        Some(TaskAnswer::Request(result)) => Ok(Json(TaskRequestAnswer { result })),
        Some(TaskAnswer::Access(_) | TaskAnswer::Run(_) | TaskAnswer::Unconstrained(_)) | None => {
            Ok(Json(TaskRequestAnswer { result: RequestResult::UnknownError }))
        }
    }
}

/// Runs a task now, whatever its trigger and conditions say. It spends no period and no one-shot registration.
#[utoipa::path(
    post,
    path = "/background-tasks/{taskId}/run",
    tag = "tasks",
    operation_id = "runBackgroundTask",
    params(("taskId" = TaskId, Path, description = "Id of the registration")),
    responses((status = 200, description = "The instance that starts, if it need not wait", body = TaskRunAnswer), Problems)
)]
pub(crate) async fn run(
    State(rooms): State<Arc<Rooms>>,
    caller: Caller,
    Task(id): Task,
) -> Answer<Json<TaskRunAnswer>> {
    let instance_id = match rooms.wish_task(TaskWish::Run { app: caller.app, id }).await? {
        Some(TaskAnswer::Run(instance)) => instance,
        Some(TaskAnswer::Access(_) | TaskAnswer::Request(_) | TaskAnswer::Unconstrained(_)) | None => None,
    };
    Ok(Json(TaskRunAnswer { instance_id }))
}

/// Why a task runs or does not, by the rules of the decision itself, with all its waiting so far.
#[utoipa::path(
    get,
    path = "/background-tasks/{taskId}/explain",
    tag = "tasks",
    operation_id = "explainBackgroundTask",
    params(("taskId" = TaskId, Path, description = "Id of the registration"), Supposition),
    responses((status = 200, description = "The explanation", body = Explanation), Problems)
)]
pub(crate) async fn explain(
    State(rooms): State<Arc<Rooms>>,
    caller: Caller,
    Task(id): Task,
    Parameters(supposition): Parameters<Supposition>,
) -> Answer<Json<Explanation>> {
    let supposed = supposition.read()?;
    let app = caller.app.clone();
    let question = move |engine: &Engine, now: Now| {
        let host = supposed.host(engine.host(), now);
        engine.explain_task(supposed.time(now), &app, id, host.as_ref())
    };
    let mut explanation = rooms.heart.ask(question).await?.ok_or_else(no_task)?;
    add_history(&mut explanation, rooms.read(move |reader| reader.task_waits(id)).await?);
    Ok(Json(explanation))
}

/// The groups that have tasks (AllTaskGroups).
#[utoipa::path(
    get,
    path = "/background-tasks/groups",
    tag = "tasks",
    operation_id = "listTaskGroups",
    responses((status = 200, description = "All groups, by id", body = Page<TaskGroup>), Problems)
)]
pub(crate) async fn groups(State(rooms): State<Arc<Rooms>>, caller: Caller) -> Answer<Json<Page<TaskGroup>>> {
    caller.need(Scope::Read)?;
    let app = caller.app.clone();
    let ids = rooms.heart.ask(move |engine, _| engine.task_groups(&app)).await?;
    let mut items = Vec::with_capacity(ids.len());
    for id in ids {
        items.push(members(&rooms, &caller, id).await?);
    }
    items.retain(|group| !group.tasks.is_empty());
    Ok(Json(Page { items, next_cursor: None }))
}

async fn members(rooms: &Rooms, caller: &Caller, id: TaskGroupId) -> Answer<TaskGroup> {
    let (app, group) = (caller.app.clone(), id.clone());
    let ids = rooms.heart.ask(move |engine, _| engine.task_ids(&app, Some(&group))).await?;
    Ok(TaskGroup { id, tasks: rooms.task_views(ids).await? })
}

/// One group with its tasks (GetTaskGroup).
#[utoipa::path(
    get,
    path = "/background-tasks/groups/{id}",
    tag = "tasks",
    operation_id = "getTaskGroup",
    params(("id" = TaskGroupId, Path, description = "Id of the group")),
    responses((status = 200, description = "The group", body = TaskGroup), Problems)
)]
pub(crate) async fn group(
    State(rooms): State<Arc<Rooms>>,
    caller: Caller,
    Last(id): Last,
) -> Answer<Json<TaskGroup>> {
    let no_group = || Refused::new(ErrorCode::NotFound, "no task of the application is in this group");
    let id = TaskGroupId::new(&id).map_err(|_| no_group())?;
    let group = members(&rooms, &caller, id).await?;
    if group.tasks.is_empty() { Err(no_group()) } else { Ok(Json(group)) }
}
