//! Answers about the service itself.

use serde::{Deserialize, Serialize};

use crate::trigger::TriggerKind;
use crate::{AccessStatus, AppId};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    /// `ok`, or `degraded` while the store cannot write.
    pub status: String,
    pub version: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// An application that has operations, tokens, tasks or a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct App {
    pub id: AppId,
    /// Operations that are not final.
    pub live_operations: u64,
    /// How many tokens it has, and what any of them may do.
    pub tokens: u64,
    pub scopes: Vec<Scope>,
    /// Registrations of background tasks.
    #[serde(default)]
    pub tasks: u64,
    /// Whether it may run in the background.
    #[serde(default = "unspecified")]
    pub access: AccessStatus,
    /// Its transfers run only while a program of it is there.
    #[serde(default)]
    pub foreground_only: bool,
    /// What its manifest calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What its manifest declares; absent without a manifest that counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry_points: Option<Vec<AppEntryPoint>>,
    /// Why its manifest does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest_problem: Option<String>,
}

const fn unspecified() -> AccessStatus {
    AccessStatus::Unspecified
}

impl App {
    /// One that has nothing.
    #[must_use]
    pub const fn new(id: AppId) -> Self {
        Self {
            id,
            live_operations: 0,
            tokens: 0,
            scopes: Vec::new(),
            tasks: 0,
            access: AccessStatus::Unspecified,
            foreground_only: false,
            name: None,
            entry_points: None,
            manifest_problem: None,
        }
    }
}

/// What the owner allows an application (`/apps/{id}/policy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AppPolicy {
    /// Its transfers run only while a program of it is there: while it has a stream of events or of activations open.
    /// Otherwise they are PausedSystemPolicy.
    pub foreground_only: bool,
}

/// A class that an application's manifest declares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AppEntryPoint {
    pub class: String,
    /// `process`, `dbus`, `wasm` or `in-process`.
    pub kind: String,
    /// Which trigger types may start it; all when empty.
    pub triggers: Vec<TriggerKind>,
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
