//! Commands to one upload. What they do is what the commands to downloads do, at paths of their own.

use std::sync::Arc;

use axum::extract::State;
use longhaul_contract::{AttachDownloads, AttachedDownloads, Operation, OperationId};

use super::commands::{self, Attachment};
use super::extract::{Id, Parameters};
use super::json::Json;
use super::problems::Problems;
use super::refused::Answer;
use super::rooms::Rooms;
use super::uploads;
use crate::identity::Caller;

/// Starts an upload that was made with `start: false` (StartAsync).
#[utoipa::path(
    post,
    path = "/background-transfers/uploads/{id}/start",
    tag = "uploads",
    operation_id = "startUpload",
    params(("id" = OperationId, Path, description = "Id of the operation")),
    responses((status = 200, description = "The operation after the command", body = Operation), Problems)
)]
pub(crate) async fn start(rooms: State<Arc<Rooms>>, caller: Caller, id: Id) -> Answer<Json<Operation>> {
    commands::start(rooms, caller, id).await
}

/// Breaks the upload off until it is resumed. What the server has kept of a resumable one is gone on from then; a plain one
/// begins again at byte 0. Answers when the operation has let go.
#[utoipa::path(
    post,
    path = "/background-transfers/uploads/{id}/pause",
    tag = "uploads",
    operation_id = "pauseUpload",
    params(("id" = OperationId, Path, description = "Id of the operation")),
    responses((status = 200, description = "The operation after the command", body = Operation), Problems)
)]
pub(crate) async fn pause(rooms: State<Arc<Rooms>>, caller: Caller, id: Id) -> Answer<Json<Operation>> {
    commands::pause(rooms, caller, id).await
}

/// Goes on with what was paused, or what waited for a new address, header or credential. A request that got no answer and
/// must not be repeated blindly is made again: to resume it is to say so.
#[utoipa::path(
    post,
    path = "/background-transfers/uploads/{id}/resume",
    tag = "uploads",
    operation_id = "resumeUpload",
    params(("id" = OperationId, Path, description = "Id of the operation")),
    responses((status = 200, description = "The operation after the command", body = Operation), Problems)
)]
pub(crate) async fn resume(rooms: State<Arc<Rooms>>, caller: Caller, id: Id) -> Answer<Json<Operation>> {
    let Id(target) = id;
    uploads::allow_repetition(&rooms, &caller, target).await?;
    commands::resume(rooms, caller, Id(target)).await
}

/// Cancels, and asks the server to forget what it has kept where the protocol can; the operation stays to be seen, as
/// Canceled.
#[utoipa::path(
    post,
    path = "/background-transfers/uploads/{id}/cancel",
    tag = "uploads",
    operation_id = "cancelUpload",
    params(("id" = OperationId, Path, description = "Id of the operation")),
    responses((status = 200, description = "The operation after the command", body = Operation), Problems)
)]
pub(crate) async fn cancel(rooms: State<Arc<Rooms>>, caller: Caller, id: Id) -> Answer<Json<Operation>> {
    commands::cancel(rooms, caller, id).await
}

/// Moves the operation, and those behind it in its group, to the front (MakeCurrentInTransferGroup).
#[utoipa::path(
    post,
    path = "/background-transfers/uploads/{id}/make-current",
    tag = "uploads",
    operation_id = "makeUploadCurrent",
    params(("id" = OperationId, Path, description = "Id of the operation")),
    responses((status = 200, description = "The operation after the command", body = Operation), Problems)
)]
pub(crate) async fn make_current(
    rooms: State<Arc<Rooms>>,
    caller: Caller,
    id: Id,
) -> Answer<Json<Operation>> {
    commands::make_current(rooms, caller, id).await
}

/// Waits for the final state and takes the result (AttachAsync): it is forgotten some time after that. When the wait
/// is over before, the operation is answered as it is and nothing is taken.
#[utoipa::path(
    post,
    path = "/background-transfers/uploads/{id}/attach",
    tag = "uploads",
    operation_id = "attachUpload",
    params(("id" = OperationId, Path, description = "Id of the operation"), Attachment),
    responses((status = 200, description = "The operation, with its result if it is over", body = Operation), Problems)
)]
pub(crate) async fn attach(
    rooms: State<Arc<Rooms>>,
    caller: Caller,
    id: Id,
    attachment: Parameters<Attachment>,
) -> Answer<Json<Operation>> {
    commands::attach(rooms, caller, id, attachment).await
}

/// Takes the results of up to 1,000 operations at once (AttachAsync of each, without waiting). Those that are not over,
/// or whose result was taken before, are left out of the answer.
#[utoipa::path(
    post,
    path = "/background-transfers/uploads/attach",
    tag = "uploads",
    operation_id = "attachUploads",
    request_body = AttachDownloads,
    responses((status = 200, description = "Whose results were taken", body = AttachedDownloads), Problems)
)]
pub(crate) async fn attach_batch(
    rooms: State<Arc<Rooms>>,
    caller: Caller,
    asked: Json<AttachDownloads>,
) -> Answer<Json<AttachedDownloads>> {
    commands::attach_batch(rooms, caller, asked).await
}
