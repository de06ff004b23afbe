//! Refusals as `application/problem+json` (RFC 9457). A 5xx hides its detail from the caller and logs it under the id
//! that `instance` names.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use longhaul_contract::{ErrorCode, Problem};
use longhaul_engine::Refusal;
use longhaul_store::StoreError;

/// A request that is refused.
#[derive(Debug)]
pub(crate) struct Refused(Box<Problem>);

pub(crate) type Answer<T> = Result<T, Refused>;

impl Refused {
    pub(crate) fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self(Box::new(Problem::new(code, detail)))
    }

    /// An empty name is no name.
    pub(crate) fn with_field(mut self, field: impl Into<String>) -> Self {
        self.0.field = Some(field.into()).filter(|field| !field.is_empty());
        self
    }

    /// Puts `prefix` before the JSON pointer of the field.
    pub(crate) fn below(mut self, prefix: &str) -> Self {
        self.0.field = Some(format!("{prefix}{}", self.0.field.as_deref().unwrap_or_default()));
        self
    }

    /// The refusal of a batch of one that the caller did not send as a batch.
    pub(crate) fn of_the_only_one(mut self) -> Self {
        self.0.field = self
            .0
            .field
            .map(|field| field.strip_prefix("/operations/0").map_or(field.clone(), str::to_owned))
            .filter(|field| !field.is_empty());
        self
    }

    /// The refusal of a registration by the engine, which knows no fields: with the one that it is about.
    pub(crate) fn at_its_field(self) -> Self {
        match self.0.code {
            ErrorCode::TaskNameTaken => self.with_field("/name"),
            ErrorCode::TaskQuota => self.with_field("/trigger/type"),
            ErrorCode::InvalidTrigger
            | ErrorCode::CompletionGroupTaken
            | ErrorCode::CompletionGroupEnabled => self.with_field("/trigger/parameters/completionGroup"),
            _ => self,
        }
    }

    pub(crate) fn not_found() -> Self {
        Self::new(ErrorCode::NotFound, "nothing with this id belongs to this application")
    }

    pub(crate) fn shutting_down() -> Self {
        Self::new(ErrorCode::ShuttingDown, "the service is stopping")
    }

    /// Our own failure: logged in full, told without detail.
    pub(crate) fn internal(error: &dyn std::fmt::Display) -> Self {
        Self::logged(ErrorCode::Internal, "the service failed; its log has the details", error)
    }

    fn logged(code: ErrorCode, detail: &str, error: &dyn std::fmt::Display) -> Self {
        let instance = format!("urn:uuid:{}", uuid::Uuid::new_v4());
        tracing::error!(%instance, code = code.word(), "{error}");
        let mut problem = Problem::new(code, detail);
        problem.instance = Some(instance);
        Self(Box::new(problem))
    }

    pub(crate) fn problem(&self) -> &Problem {
        &self.0
    }
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self(Box::new(problem))
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        let refused = Self::new(refusal.code, refusal.detail);
        match refusal.index {
            Some(index) => {
                // The only fields of an operation that the engine judges.
                let field = match refusal.code {
                    ErrorCode::InvalidField | ErrorCode::CompletionGroupEnabled => "/completionGroup",
                    _ => "",
                };
                refused.with_field(format!("/operations/{index}{field}"))
            }
            None => refused,
        }
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Closed => Self::shutting_down(),
            StoreError::CannotWrite(_) => {
                Self::logged(ErrorCode::StoreUnavailable, "nothing was changed", &error)
            }
            _ => Self::internal(&error),
        }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self.0).expect("a problem is plain data");
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"longhaul\""));
        }
        if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
