//! Path and query parameters, refused as problems.

use axum::extract::{FromRequestParts, RawPathParams};
use http::request::Parts;
use longhaul_contract::{AppId, ErrorCode, GroupName, OperationId};
use serde::de::DeserializeOwned;

use super::refused::{Answer, Refused};
use crate::identity::Caller;

/// The parameter of the path; every route has at most one.
async fn parameter<S: Send + Sync>(parts: &mut Parts, state: &S) -> Answer<String> {
    let parameters = RawPathParams::from_request_parts(parts, state).await;
    let parameters = parameters.map_err(|error| {
        Refused::new(ErrorCode::InvalidParameter, format!("the path cannot be read: {error}"))
    })?;
    let value = parameters.iter().next().map(|(_, value)| value.to_owned());
    value.ok_or_else(|| Refused::internal(&"a route lacks its parameter"))
}

/// `{id}` of an operation. What is no id names nothing.
pub(crate) struct Id(pub(crate) OperationId);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Answer<Self> {
        parameter(parts, state).await?.parse().map(Self).map_err(|_| Refused::not_found())
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
