//! Bodies as JSON: read with a limit on bytes and on time, refused with a pointer to what is wrong (RFC 6901).

use axum::extract::{FromRequest, Request};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use longhaul_contract::ErrorCode;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;

use super::App as State;
use super::objects::Objects;
use super::refused::{Answer, Refused};

/// Largest body of a call, in bytes.
pub(crate) const BODY_MAX: usize = 1 << 20;
/// Largest body of a batch, in bytes.
pub(crate) const BATCH_BODY_MAX: usize = 8 << 20;

/// A body of at most `MAX` bytes in JSON; as an answer it is `application/json`.
pub(crate) struct Json<T, const MAX: usize = BODY_MAX>(pub(crate) T);

impl<T: DeserializeOwned, const MAX: usize> FromRequest<State> for Json<T, MAX> {
    type Rejection = Refused;

    async fn from_request(request: Request, state: &State) -> Answer<Self> {
        check_media_type(request.headers())?;
        let bytes = read_body(request, MAX, state.settings.request_timeout).await?;
        parse(&bytes).map(Self)
    }
}

/// A body in JSON, or none at all; then it is the default.
pub(crate) struct OptionalJson<T>(pub(crate) T);

impl<T: DeserializeOwned + Default> FromRequest<State> for OptionalJson<T> {
    type Rejection = Refused;

    async fn from_request(request: Request, state: &State) -> Answer<Self> {
        let checked = check_media_type(request.headers());
        let bytes = read_body(request, BODY_MAX, state.settings.request_timeout).await?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        checked?;
        parse(&bytes).map(Self)
    }
}

/// A body of at most `MAX` bytes of any type.
pub(crate) struct Bytes<const MAX: usize>(pub(crate) bytes::Bytes);

impl<const MAX: usize> FromRequest<State> for Bytes<MAX> {
    type Rejection = Refused;

    async fn from_request(request: Request, state: &State) -> Answer<Self> {
        read_body(request, MAX, state.settings.request_timeout).await.map(Self)
    }
}

fn check_media_type(headers: &HeaderMap) -> Answer<()> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json")) {
        return Ok(());
    }
    let detail = if essence.is_empty() {
        "the request has no Content-Type".to_owned()
    } else {
        format!("the Content-Type is {essence:?}")
    };
    Err(Refused::new(ErrorCode::UnsupportedMediaType, detail))
}

async fn read_body(request: Request, max: usize, timeout: std::time::Duration) -> Answer<bytes::Bytes> {
    let too_large = || Refused::new(ErrorCode::PayloadTooLarge, format!("the limit is {max} bytes"));
    let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    if announced.and_then(|length| length.parse::<u64>().ok()).is_some_and(|length| length > max as u64) {
        return Err(too_large());
    }
    let body = Limited::new(request.into_body(), max).collect();
    match tokio::time::timeout(timeout, body).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.downcast_ref::<LengthLimitError>().is_some() => Err(too_large()),
        Ok(Err(_)) => Err(Refused::new(ErrorCode::MalformedJson, "the body broke off")),
        Err(_) => Err(Refused::new(
            ErrorCode::MalformedJson,
            format!("the body did not arrive within {} s", timeout.as_secs()),
        )),
    }
}

/// Reads one JSON document, structs from objects alone.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Answer<T> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(Objects(&mut deserializer)).map_err(|error| {
        let path = pointer(error.path());
        refuse_json(error.inner(), path)
    })?;
    deserializer.end().map_err(|error| refuse_json(&error, String::new()))?;
    Ok(value)
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    let mut pointer = String::new();
    for segment in path {
        let name = match segment {
            Segment::Seq { index } => index.to_string(),
            Segment::Map { key } => key.replace('~', "~0").replace('/', "~1"),
            Segment::Enum { .. } | Segment::Unknown => continue,
        };
        pointer.push('/');
        pointer.push_str(&name);
    }
    pointer
}

fn refuse_json(error: &serde_json::Error, mut path: String) -> Refused {
    let message = error.to_string();
    // serde_json appends its position, which means nothing to a caller that got a pointer.
    let detail = message.split(" at line ").next().unwrap_or(&message).to_owned();
    if !error.is_data() {
        return Refused::new(ErrorCode::MalformedJson, message);
    }
    let (code, rest) = if let Some(rest) = detail.strip_prefix("unknown field `") {
        (ErrorCode::UnknownField, rest)
    } else if let Some(rest) = detail.strip_prefix("duplicate field `") {
        (ErrorCode::MalformedJson, rest)
    } else {
        return Refused::new(ErrorCode::InvalidField, detail).with_field(path);
    };
    // The path of a field that is refused for its name may end at its parent.
    let name = rest.split('`').next().unwrap_or_default();
    if path.rsplit('/').next() != Some(name) {
        path = format!("{path}/{name}");
    }
    Refused::new(code, detail.clone()).with_field(path)
}

impl<T: Serialize, const MAX: usize> IntoResponse for Json<T, MAX> {
    fn into_response(self) -> Response {
        json(StatusCode::OK, &self.0)
    }
}

/// An answer in JSON that no cache may keep.
pub(crate) fn json<T: Serialize>(status: StatusCode, value: &T) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => {
            let mut response = (status, body).into_response();
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response
        }
        Err(error) => Refused::internal(&error).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use longhaul_contract::{CreateDownload, CreateDownloads};

    use super::*;

    fn refusal(text: &str) -> (ErrorCode, String) {
        let refused = parse::<CreateDownload>(text.as_bytes()).expect_err(text);
        (refused.problem().code, refused.problem().field.clone().unwrap_or_default())
    }

    #[track_caller]
    fn refused_as_array<T: DeserializeOwned>(text: &str, field: &str) {
        let refused = parse::<T>(text.as_bytes()).err().expect(text);
        let problem = refused.problem();
        assert_eq!(
            (problem.code, problem.field.as_deref().unwrap_or_default()),
            (ErrorCode::InvalidField, field)
        );
        assert!(problem.detail.contains("must be an object"), "{text}: {}", problem.detail);
    }

    /// An array of the values in the order of the fields is no body, and no part of one.
    #[test]
    fn an_array_is_no_object_however_deep() {
        use longhaul_contract::group::PutGroup;
        use longhaul_contract::host::PutHostSignal;
        use longhaul_contract::instance::{CompleteInstance, PutProgress};
        use longhaul_contract::service::CreateToken;
        use longhaul_contract::task::{PutAccess, RequestAccess, TaskRequest};
        use longhaul_contract::{AttachDownloads, Limits, PatchDownload, RegisterTaskRequest};
        assert!(parse::<RequestAccess>(b" {}").is_ok());
        refused_as_array::<RequestAccess>("\n[null, null]", "");
        refused_as_array::<RequestAccess>("[null", "");
        refused_as_array::<PutAccess>(r#"["AlwaysAllowed"]"#, "");
        refused_as_array::<CreateToken>(r#"[["read"]]"#, "");
        refused_as_array::<PutGroup>(r#"["Serialized"]"#, "");
        refused_as_array::<PutHostSignal>(r#"["true"]"#, "");
        refused_as_array::<PutProgress>("[1]", "");
        refused_as_array::<CompleteInstance>("[null]", "");
        refused_as_array::<TaskRequest>("[{}]", "");
        refused_as_array::<AttachDownloads>("[[]]", "");
        refused_as_array::<PatchDownload>("[]", "");
        refused_as_array::<Limits>("[null,[],1,1,1]", "");
        refused_as_array::<Limits>(r#"{"schedule":[["Mon","08:00","09:00",null,1]]}"#, "/schedule/0");
        refused_as_array::<CreateDownloads>("[[]]", "");
        refused_as_array::<CreateDownloads>(r#"{"operations":[["http://a/",null,"/a"]]}"#, "/operations/0");
        let download = |rest: &str| format!(r#"{{"requestedUri":"http://a/","resultFile":"/a",{rest}}}"#);
        refused_as_array::<CreateDownload>(&download(r#""expect":[1,null]"#), "/expect");
        refused_as_array::<CreateDownload>(&download(r#""serverCredential":["u","p"]"#), "/serverCredential");
        refused_as_array::<CreateDownload>(&download(r#""requestHeaders":[["a","b"]]"#), "/requestHeaders/0");
        assert!(
            parse::<CreateDownload>(download(r#""requestHeaders":[{"name":"a","value":"b"}]"#).as_bytes())
                .is_ok()
        );
        refused_as_array::<PatchDownload>(r#"{"requestHeaders":[["a","b"]]}"#, "/requestHeaders/0");
        let task = |rest: &str| format!(r#"{{"name":"a","entryPoint":"A",{rest}}}"#);
        refused_as_array::<RegisterTaskRequest>(&task(r#""trigger":["TimeTrigger"]"#), "/trigger");
        let timed =
            |rest: &str| task(&format!(r#""trigger":{{"type":"TimeTrigger","freshnessTime":15}},{rest}"#));
        assert!(parse::<RegisterTaskRequest>(timed(r#""conditions":["UserPresent"]"#).as_bytes()).is_ok());
        refused_as_array::<RegisterTaskRequest>(&timed(r#""retry":[3,60,false]"#), "/retry");
        assert!(parse::<RegisterTaskRequest>(timed(r#""env":[["A","B"]]"#).as_bytes()).is_err());
    }

    #[test]
    fn a_refusal_points_at_the_mistake() {
        for (text, code, field) in [
            ("{", ErrorCode::MalformedJson, ""),
            ("", ErrorCode::MalformedJson, ""),
            (r#"{"requestedUri":NaN}"#, ErrorCode::MalformedJson, ""),
            (r#"{"requestedUri":"http://a/","resultFile":"/a"} x"#, ErrorCode::MalformedJson, ""),
            (
                r#"{"requestedUri":"http://a/","requestedUri":"http://b/"}"#,
                ErrorCode::MalformedJson,
                "/requestedUri",
            ),
            (r#"{"requestedUri":1,"resultFile":"/a"}"#, ErrorCode::InvalidField, "/requestedUri"),
            (
                r#"{"requestedUri":"http://a/","resultFile":"/a","colour":1}"#,
                ErrorCode::UnknownField,
                "/colour",
            ),
            (
                r#"{"requestedUri":"http://a/","resultFile":"/a","expect":{"size":-1}}"#,
                ErrorCode::InvalidField,
                "/expect/size",
            ),
            (
                r#"{"requestedUri":"http://a/","resultFile":"/a","requestHeaders":[{"name":"a","value":"b"},{"nom":1}]}"#,
                ErrorCode::UnknownField,
                "/requestHeaders/1/nom",
            ),
            (
                r#"{"requestedUri":"http://a/","resultFile":"/a","priority":"Urgent"}"#,
                ErrorCode::InvalidField,
                "/priority",
            ),
        ] {
            assert_eq!(refusal(text), (code, field.to_owned()), "{text}");
        }
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let text = format!(r#"{{"operations":{deep}}}"#);
        let refused = parse::<CreateDownloads>(text.as_bytes()).err().unwrap();
        assert!(matches!(refused.problem().code, ErrorCode::InvalidField | ErrorCode::MalformedJson));
        let refused = parse::<serde_json::Value>(deep.as_bytes()).err().unwrap();
        assert_eq!(refused.problem().code, ErrorCode::MalformedJson);
    }
}
