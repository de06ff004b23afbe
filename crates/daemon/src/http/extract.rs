//! Path and query parameters, refused as problems.

use axum::extract::{FromRequestParts, RawPathParams};
use http::request::Parts;
use longhaul_contract::{
    AppId, CompletionGroupId, ErrorCode, GroupName, InstanceId, OperationId, OperationKind, TaskId,
};
use serde::de::DeserializeOwned;

use super::refused::{Answer, Refused};
use crate::identity::Caller;

/// The parameters of the path, in its order.
async fn all_parameters<S: Send + Sync>(parts: &mut Parts, state: &S) -> Answer<Vec<String>> {
    let parameters = RawPathParams::from_request_parts(parts, state).await;
    let parameters = parameters.map_err(|error| {
        Refused::new(ErrorCode::InvalidParameter, format!("the path cannot be read: {error}"))
    })?;
    Ok(parameters.iter().map(|(_, value)| value.to_owned()).collect())
}

/// The first parameter of the path.
async fn parameter<S: Send + Sync>(parts: &mut Parts, state: &S) -> Answer<String> {
    let first = all_parameters(parts, state).await?.into_iter().next();
    first.ok_or_else(|| Refused::internal(&"a route lacks its parameter"))
}

/// Parameters of a path that are ids, in its order. What is no id names nothing.
fn id<T: std::str::FromStr>(parameters: &[String], index: usize) -> Answer<T> {
    let text = parameters.get(index).ok_or_else(|| Refused::internal(&"a route lacks a parameter"))?;
    text.parse().map_err(|_| Refused::not_found())
}

/// `{taskId}`.
pub(crate) struct Task(pub(crate) TaskId);

impl<S: Send + Sync> FromRequestParts<S> for Task {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Answer<Self> {
        id(&all_parameters(parts, state).await?, 0).map(Self)
    }
}

/// `{taskId}` and `{instanceId}`.
pub(crate) struct InstanceOf(pub(crate) TaskId, pub(crate) InstanceId);

impl<S: Send + Sync> FromRequestParts<S> for InstanceOf {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Answer<Self> {
        let parameters = all_parameters(parts, state).await?;
        Ok(Self(id(&parameters, 0)?, id(&parameters, 1)?))
    }
}

/// The last parameter of the path, as it is.
pub(crate) struct Last(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Last {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Answer<Self> {
        let last = all_parameters(parts, state).await?.pop();
        last.map(Self).ok_or_else(|| Refused::internal(&"a route lacks its parameter"))
    }
}

/// The operation that a path names: an id below the folder of its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) id: OperationId,
    pub(crate) kind: OperationKind,
}

/// Beginning of the paths of uploads; those of downloads have another.
const UPLOADS: &str = "/background-transfers/uploads/";

/// `{id}` of an operation. What is no id names nothing.
pub(crate) struct Id(pub(crate) Target);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Answer<Self> {
        let id = parameter(parts, state).await?.parse().map_err(|_| Refused::not_found())?;
        let is_upload = parts.uri.path().starts_with(UPLOADS);
        let kind = if is_upload { OperationKind::Upload } else { OperationKind::Download };
        Ok(Self(Target { id, kind }))
    }
}

/// `{id}` of a completion group. What is no id names nothing.
pub(crate) struct CompletionGroupOf(pub(crate) CompletionGroupId);

impl<S: Send + Sync> FromRequestParts<S> for CompletionGroupOf {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Answer<Self> {
        id(&all_parameters(parts, state).await?, 0).map(Self)
    }
}

/// `{name}` of a group.
pub(crate) struct Name(pub(crate) GroupName);

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Answer<Self> {
        GroupName::new(&parameter(parts, state).await?)
            .map(Self)
            .map_err(|error| Refused::new(ErrorCode::InvalidParameter, error.to_string()).with_field("name"))
    }
}

/// `{id}` of an application.
pub(crate) struct AppName(pub(crate) AppId);

impl<S: Send + Sync> FromRequestParts<S> for AppName {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Answer<Self> {
        AppId::new(&parameter(parts, state).await?)
            .map(Self)
            .map_err(|error| Refused::new(ErrorCode::InvalidParameter, error.to_string()).with_field("id"))
    }
}

/// Parameters behind the `?`; unknown ones are refused by the type.
pub(crate) struct Parameters<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Parameters<T> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Answer<Self> {
        axum::extract::Query::try_from_uri(&parts.uri).map(|query| Self(query.0)).map_err(|error| {
            let message = error.body_text();
            let detail = message.rsplit_once("query string: ").map_or(message.as_str(), |(_, rest)| rest);
            let refused = Refused::new(ErrorCode::InvalidParameter, detail);
            match detail.split_once("unknown field `").and_then(|(_, rest)| rest.split('`').next()) {
                Some(name) => refused.with_field(name),
                None => match detail.split_once(": ") {
                    Some((name, _)) if !name.contains(' ') => refused.with_field(name),
                    _ => refused,
                },
            }
        })
    }
}

/// The guard has put it there for every route that needs one.
impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Answer<Self> {
        let caller = parts.extensions.get::<Self>().cloned();
        caller.ok_or_else(|| Refused::internal(&"a route has no caller"))
    }
}
