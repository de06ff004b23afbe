//! What a running task says to the service, and asks of it (IBackgroundTaskInstance).

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use longhaul_contract::instance::{Cancellation, CompleteInstance, Deferral, PutProgress};
use longhaul_contract::{ErrorCode, InstanceId, TaskId};
use serde::Deserialize;
use tokio::time::Instant;

use super::extract::{InstanceOf, Last, Parameters};
use super::json::{Json, OptionalJson, json};
use super::problems::Problems;
use super::refused::{Answer, Refused};
use super::rooms::Rooms;
use crate::identity::Caller;
use crate::runs::ProtocolError;

/// Seconds that a question for a cancellation is left open at most.
const WAIT_MAX: u64 = 3600;

fn refuse(error: ProtocolError) -> Refused {
    match error {
        ProtocolError::Over => Refused::new(ErrorCode::InstanceOver, "the task has said that it is over"),
        ProtocolError::NoSuchDeferral => {
            Refused::new(ErrorCode::NotFound, "the instance has no such deferral, or it is completed")
        }
        ProtocolError::TooManyDeferrals => {
            Refused::new(ErrorCode::InvalidState, "the instance has too many deferrals: complete some first")
        }
    }
}

/// Tells the progress of a running instance. It is kept in memory, shown to watchers, and kept with its end.
#[utoipa::path(
    put,
    path = "/background-tasks/{taskId}/instances/{instanceId}/progress",
    tag = "instances",
    operation_id = "putTaskInstanceProgress",
    params(
        ("taskId" = TaskId, Path, description = "Id of the registration"),
        ("instanceId" = InstanceId, Path, description = "Id of the instance")
    ),
    request_body = PutProgress,
    responses((status = 204, description = "It has been noted"), Problems)
)]
pub(crate) async fn progress(
    State(rooms): State<Arc<Rooms>>,
    caller: Caller,
    InstanceOf(task, id): InstanceOf,
    Json(body): Json<PutProgress>,
) -> Answer<Response> {
    rooms.run_of(&caller, task, id).await?.set_progress(body.progress);
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Keeps an instance until the deferral is completed (GetDeferral), within its time limit: also beyond the end of a
/// program that ends well, with the processes that it leaves behind.
#[utoipa::path(
    post,
    path = "/background-tasks/{taskId}/instances/{instanceId}/deferrals",
    tag = "instances",
    operation_id = "createTaskInstanceDeferral",
    params(
        ("taskId" = TaskId, Path, description = "Id of the registration"),
        ("instanceId" = InstanceId, Path, description = "Id of the instance")
    ),
    responses((status = 201, description = "The deferral", body = Deferral), Problems)
)]
pub(crate) async fn defer(
    State(rooms): State<Arc<Rooms>>,
    caller: Caller,
    InstanceOf(task, id): InstanceOf,
) -> Answer<Response> {
    let deferral_id = rooms.run_of(&caller, task, id).await?.defer().await.map_err(refuse)?;
    Ok(json(StatusCode::CREATED, &Deferral { deferral_id }))
}

/// Completes a deferral (BackgroundTaskDeferral.Complete).
#[utoipa::path(
    delete,
    path = "/background-tasks/{taskId}/instances/{instanceId}/deferrals/{deferralId}",
    tag = "instances",
    operation_id = "completeTaskInstanceDeferral",
    params(
        ("taskId" = TaskId, Path, description = "Id of the registration"),
        ("instanceId" = InstanceId, Path, description = "Id of the instance"),
        ("deferralId" = String, Path, description = "Id of the deferral")
    ),
    responses((status = 204, description = "The deferral is completed"), Problems)
)]
pub(crate) async fn complete_deferral(
    State(rooms): State<Arc<Rooms>>,
    caller: Caller,
    InstanceOf(task, id): InstanceOf,
    Last(deferral): Last,
) -> Answer<Response> {
    rooms.run_of(&caller, task, id).await?.complete_deferral(&deferral).await.map_err(refuse)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Says that the task has returned, with a failure or without. A process need not: its exit says the same.
#[utoipa::path(
    post,
    path = "/background-tasks/{taskId}/instances/{instanceId}/complete",
    tag = "instances",
    operation_id = "completeTaskInstance",
    params(
        ("taskId" = TaskId, Path, description = "Id of the registration"),
        ("instanceId" = InstanceId, Path, description = "Id of the instance")
    ),
    request_body = Option<CompleteInstance>,
    responses((status = 204, description = "It has been noted"), Problems)
)]
pub(crate) async fn complete(
    State(rooms): State<Arc<Rooms>>,
    caller: Caller,
    InstanceOf(task, id): InstanceOf,
    OptionalJson(body): OptionalJson<CompleteInstance>,
) -> Answer<Response> {
    rooms.run_of(&caller, task, id).await?.complete(body.failure).map_err(refuse)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// How long to wait.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Patience {
    /// Seconds to wait for a cancellation, 0 to 3600; none when absent.
    #[param(minimum = 0, maximum = 3600)]
    wait: Option<u64>,
}

/// Whether an instance is asked to end, and why. Waits for that if it is told to.
#[utoipa::path(
    get,
    path = "/background-tasks/{taskId}/instances/{instanceId}/cancellation",
    tag = "instances",
    operation_id = "getTaskInstanceCancellation",
    params(
        ("taskId" = TaskId, Path, description = "Id of the registration"),
        ("instanceId" = InstanceId, Path, description = "Id of the instance"),
        Patience
    ),
    responses((status = 200, description = "The cancellation, or that there is none", body = Cancellation), Problems)
)]
pub(crate) async fn cancellation(
    State(rooms): State<Arc<Rooms>>,
    caller: Caller,
    InstanceOf(task, id): InstanceOf,
    Parameters(patience): Parameters<Patience>,
) -> Answer<Json<Cancellation>> {
    let wait = patience.wait.unwrap_or_default();
    if wait > WAIT_MAX {
        let detail = format!("must be 0 to {WAIT_MAX}");
        return Err(Refused::new(ErrorCode::InvalidParameter, detail).with_field("wait"));
    }
    let live = rooms.run_of(&caller, task, id).await?;
    let deadline = Instant::now() + Duration::from_secs(wait);
    let (mut wanted, mut count) = (live.wanted(), rooms.runs.subscribe());
    let mut stopping = rooms.stopping.clone();
    loop {
        wanted.borrow_and_update();
        count.borrow_and_update();
        let told = live.cancellation();
        if told.reason.is_some() {
            return Ok(Json(told));
        }
        if rooms.runs.find(id).is_none() {
            return Err(Refused::new(ErrorCode::InstanceOver, "the instance is over"));
        }
        tokio::select! {
            _ = wanted.changed() => {}
            _ = count.changed() => {}
            () = tokio::time::sleep_until(deadline) => return Ok(Json(told)),
            () = stops(&mut stopping) => {
                // The cancellation of all that runs follows at once.
                let asked = tokio::time::timeout(STOP_PATIENCE, wanted.changed()).await;
                return match asked {
                    Ok(Ok(())) => Ok(Json(live.cancellation())),
                    Ok(Err(_)) | Err(_) => Err(Refused::shutting_down()),
                };
            }
        }
    }
}

async fn stops(stopping: &mut tokio::sync::watch::Receiver<bool>) {
    // The sender lives as long as the service.
    let _ = stopping.wait_for(|stops| *stops).await;
}

/// For the engine to cancel what runs when the service stops.
const STOP_PATIENCE: Duration = Duration::from_secs(2);
