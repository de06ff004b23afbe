//! Commands to one download: start, pause, resume, cancel, make-current, attach.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use longhaul_contract::{
    AttachDownloads, AttachedDownloads, ErrorCode, Operation, OperationId, Scope, TransferStatus,
};
use longhaul_engine::{Command, Wish};
use serde::Deserialize;
use tokio::time::Instant;

use super::extract::{Id, Parameters};
use super::json::Json;
use super::problems::Problems;
use super::refused::{Answer, Refused};
use super::rooms::Rooms;
use crate::identity::Caller;

/// How long `pause` waits for the worker to let go; it goes on letting go after that.
const PAUSE_WAIT: Duration = Duration::from_secs(10);

const ATTACH_WAIT_MAX: u64 = 3600;

/// Starts a download that was made with `start: false` (StartAsync).
#[utoipa::path(
    post,
    path = "/background-transfers/downloads/{id}/start",
    tag = "downloads",
    operation_id = "startDownload",
    params(("id" = OperationId, Path, description = "Id of the operation")),
    responses((status = 200, description = "The operation after the command", body = Operation), Problems)
)]
pub(crate) async fn start(
    State(rooms): State<Arc<Rooms>>,
    caller: Caller,
    Id(target): Id,
) -> Answer<Json<Operation>> {
    rooms.command(&caller, target, Command::Start).await?;
    rooms.operation(&caller, target).await.map(Json)
}

/// Pauses and keeps the bytes (Pause). Answers when the operation has let go.
#[utoipa::path(
    post,
    path = "/background-transfers/downloads/{id}/pause",
    tag = "downloads",
    operation_id = "pauseDownload",
    params(("id" = OperationId, Path, description = "Id of the operation")),
    responses((status = 200, description = "The operation after the command", body = Operation), Problems)
)]
pub(crate) async fn pause(
    State(rooms): State<Arc<Rooms>>,
    caller: Caller,
    Id(target): Id,
) -> Answer<Json<Operation>> {
    let mut bell = rooms.news.watch(target.id);
    rooms.command(&caller, target, Command::Pause).await?;
    let deadline = Instant::now() + PAUSE_WAIT;
    loop {
        let operation = rooms.operation(&caller, target).await?;
        let has_let_go =
            operation.status != TransferStatus::Running && rooms.workers.handle(target.id).is_none();
        if has_let_go || tokio::time::timeout_at(deadline, bell.rang()).await.is_err() {
            return Ok(Json(operation));
        }
    }
}

/// Goes on with what was paused, or what waited for a new address, header or credential (Resume).
#[utoipa::path(
    post,
    path = "/background-transfers/downloads/{id}/resume",
    tag = "downloads",
    operation_id = "resumeDownload",
    params(("id" = OperationId, Path, description = "Id of the operation")),
    responses((status = 200, description = "The operation after the command", body = Operation), Problems)
)]
pub(crate) async fn resume(
    State(rooms): State<Arc<Rooms>>,
    caller: Caller,
    Id(target): Id,
) -> Answer<Json<Operation>> {
    rooms.command(&caller, target, Command::Resume).await?;
    rooms.operation(&caller, target).await.map(Json)
}

/// Cancels and deletes the bytes that have come; the operation stays to be seen, as Canceled.
#[utoipa::path(
    post,
    path = "/background-transfers/downloads/{id}/cancel",
    tag = "downloads",
    operation_id = "cancelDownload",
    params(("id" = OperationId, Path, description = "Id of the operation")),
    responses((status = 200, description = "The operation after the command", body = Operation), Problems)
)]
pub(crate) async fn cancel(
    State(rooms): State<Arc<Rooms>>,
    caller: Caller,
    Id(target): Id,
) -> Answer<Json<Operation>> {
    rooms.command(&caller, target, Command::Cancel).await?;
    rooms.operation(&caller, target).await.map(Json)
}

/// Moves the operation, and those behind it in its group, to the front (MakeCurrentInTransferGroup).
#[utoipa::path(
    post,
    path = "/background-transfers/downloads/{id}/make-current",
    tag = "downloads",
    operation_id = "makeDownloadCurrent",
    params(("id" = OperationId, Path, description = "Id of the operation")),
    responses((status = 200, description = "The operation after the command", body = Operation), Problems)
)]
pub(crate) async fn make_current(
    State(rooms): State<Arc<Rooms>>,
    caller: Caller,
    Id(target): Id,
) -> Answer<Json<Operation>> {
    rooms.command(&caller, target, Command::MakeCurrent).await?;
    rooms.operation(&caller, target).await.map(Json)
}

/// How long to wait.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Attachment {
    /// Seconds to wait for the final state, 0 to 3600; an hour when absent.
    wait: Option<u64>,
}

/// Waits for the final state and takes the result (AttachAsync): it is forgotten some time after that. When the wait
/// is over before, the operation is answered as it is and nothing is taken.
#[utoipa::path(
    post,
    path = "/background-transfers/downloads/{id}/attach",
    tag = "downloads",
    operation_id = "attachDownload",
    params(("id" = OperationId, Path, description = "Id of the operation"), Attachment),
    responses((status = 200, description = "The operation, with its result if it is over", body = Operation), Problems)
)]
pub(crate) async fn attach(
    State(rooms): State<Arc<Rooms>>,
    caller: Caller,
    Id(target): Id,
    Parameters(attachment): Parameters<Attachment>,
) -> Answer<Json<Operation>> {
    caller.need(Scope::Submit)?;
    let wait = attachment.wait.unwrap_or(ATTACH_WAIT_MAX);
    if wait > ATTACH_WAIT_MAX {
        let detail = format!("must be 0 to {ATTACH_WAIT_MAX}");
        return Err(Refused::new(ErrorCode::InvalidParameter, detail).with_field("wait"));
    }
    let deadline = Instant::now() + Duration::from_secs(wait);
    let mut bell = rooms.news.watch(target.id);
    let mut stopping = rooms.stopping.clone();
    let operation = loop {
        let operation = rooms.operation(&caller, target).await?;
        if operation.status.is_final() {
            break operation;
        }
        tokio::select! {
            () = bell.rang() => {}
            () = tokio::time::sleep_until(deadline) => return Ok(Json(operation)),
            _ = stopping.wait_for(|stops| *stops) => return Err(Refused::shutting_down()),
        }
    };
    if operation.consumed_time.is_some() {
        return Ok(Json(operation));
    }
    rooms.command(&caller, target, Command::Consume).await?;
    rooms.operation(&caller, target).await.map(Json)
}

/// Takes the results of up to 1,000 downloads at once (AttachAsync of each, without waiting). Those that are not over,
/// or whose result was taken before, are left out of the answer.
#[utoipa::path(
    post,
    path = "/background-transfers/downloads/attach",
    tag = "downloads",
    operation_id = "attachDownloads",
    request_body = AttachDownloads,
    responses((status = 200, description = "Whose results were taken", body = AttachedDownloads), Problems)
)]
pub(crate) async fn attach_batch(
    State(rooms): State<Arc<Rooms>>,
    caller: Caller,
    Json(asked): Json<AttachDownloads>,
) -> Answer<Json<AttachedDownloads>> {
    caller.need(Scope::Submit)?;
    if asked.ids.len() > AttachDownloads::MAX {
        let detail = format!("at most {} at once", AttachDownloads::MAX);
        return Err(Refused::new(ErrorCode::InvalidField, detail).with_field("/ids"));
    }
    let app = caller.app.clone();
    let ids = rooms.read(move |reader| reader.unconsumed(&app, &asked.ids)).await?;
    if !ids.is_empty() {
        rooms.heart.wish(Wish::Consume { app: caller.app.clone(), ids: ids.clone() }).await?;
    }
    Ok(Json(AttachedDownloads { ids }))
}
