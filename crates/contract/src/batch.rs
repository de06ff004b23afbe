//! Calls about many downloads at once.

use serde::{Deserialize, Serialize};

use crate::{CreateDownload, CreateUpload, OperationId};

/// Body of `POST /background-transfers/downloads/batch`: up to [`CreateDownloads::MAX`] operations, all or none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateDownloads {
    pub operations: Vec<CreateDownload>,
}

impl CreateDownloads {
    /// The most operations of one batch.
    pub const MAX: usize = 1_000;
}

/// Body of `POST /background-transfers/uploads/batch`: up to [`CreateDownloads::MAX`] operations, all or none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateUploads {
    pub operations: Vec<CreateUpload>,
}

/// Answer to a batch: the ids in the order of the operations asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreatedDownloads {
    pub ids: Vec<OperationId>,
}

/// Body of `POST /background-transfers/downloads/attach`: up to [`AttachDownloads::MAX`] operations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AttachDownloads {
    pub ids: Vec<OperationId>,
}

impl AttachDownloads {
    /// The most operations of one call.
    pub const MAX: usize = 1_000;
}

/// Answer to it: those whose results were taken by this call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AttachedDownloads {
    pub ids: Vec<OperationId>,
}
