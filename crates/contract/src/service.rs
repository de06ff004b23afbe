//! Answers about the service itself.

use serde::{Deserialize, Serialize};

use crate::AppId;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    /// `ok`, or `degraded` while the store cannot write.
    pub status: String,
    pub version: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// An application that has operations or tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct App {
    pub id: AppId,
    /// Operations that are not final.
    pub live_operations: u64,
    /// How many tokens it has, and what any of them may do.
    pub tokens: u64,
    pub scopes: Vec<Scope>,
}

/// What a token may do.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum Scope {
    /// Create and control operations.
    Submit,
    /// Read operations, events and content.
    Read,
    /// Change what concerns the whole machine.
    Admin,
}

/// Body of `POST /apps/{id}/tokens` (Unix socket only).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateToken {
    pub scopes: Vec<Scope>,
}

/// A new token; this answer is the only place that ever shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NewToken {
    pub token: String,
    pub scopes: Vec<Scope>,
}
