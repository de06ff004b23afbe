//! `POST /push/{channel}`: a message for a PushNotificationTrigger, in the shape of RFC 8030.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use longhaul_contract::{ErrorCode, TaskId, Timestamp};
use longhaul_engine::Fact;
use longhaul_engine::task::TaskFact;

use super::extract::Last;
use super::json::Bytes;
use super::problems::Problems;
use super::refused::{Answer, Refused};
use super::rooms::Rooms;
use crate::identity::Caller;

/// A message has less than 5 KB.
const MESSAGE_BYTES_MAX: usize = 5 * 1024 - 1;
/// Seconds that a message may ask to be kept: 28 days.
const TTL_MAX: u32 = 2_419_200;
const TTL: HeaderName = HeaderName::from_static("ttl");
const URGENCY: HeaderName = HeaderName::from_static("urgency");
const TOPIC: HeaderName = HeaderName::from_static("topic");

/// Headers that speak of the way and of the caller, not of the message.
const NOT_TOLD: [HeaderName; 9] = [
    header::AUTHORIZATION,
    header::COOKIE,
    header::HOST,
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::PROXY_AUTHORIZATION,
    header::ACCEPT,
    HeaderName::from_static("longhaul-app"),
];

fn refuse(name: &HeaderName, detail: impl Into<String>) -> Refused {
    Refused::new(ErrorCode::InvalidHeader, detail).with_field(name.as_str())
}

/// Sends a message to a push channel: the tasks registered for it fire, with the message as their trigger's details. The
/// newest message is kept until its task can run, but no longer than its TTL: one of 0 starts its task at once or never.
#[utoipa::path(
    post,
    path = "/push/{channel}",
    tag = "triggers",
    operation_id = "sendPushMessage",
    params(
        ("channel" = String, Path, description = "The channel, as the task's trigger names it"),
        ("TTL" = u32, Header, description = "Seconds that the message is worth keeping (RFC 8030 section 5.2)"),
        ("Urgency" = Option<String>, Header,
            description = "`very-low`, `low`, `normal` or `high` (RFC 8030 section 5.3)"),
        ("Topic" = Option<String>, Header,
            description = "Up to 32 characters of A-Z a-z 0-9 - _ (RFC 8030 section 5.4)")
    ),
    request_body(content = Vec<u8>, content_type = "application/octet-stream",
        description = "1 to 5119 bytes of any type"),
    responses(
        (status = 201, description = "The message has been taken", headers(
            ("Location" = String, description = "Names the message"),
            ("TTL" = u32, description = "Seconds that it is worth keeping"))),
        Problems
    )
)]
pub(crate) async fn send(
    State(rooms): State<Arc<Rooms>>,
    caller: Caller,
    Last(channel): Last,
    headers: HeaderMap,
    Bytes(body): Bytes<MESSAGE_BYTES_MAX>,
) -> Answer<Response> {
    let ttl = check(&headers)?;
    if body.is_empty() {
        return Err(Refused::new(ErrorCode::InvalidField, "a message has at least one byte"));
    }
    let found = rooms.push.find(&channel, &caller.app);
    let asked = found.clone();
    let alive = rooms
        .heart
        .ask(move |engine, now| {
            let is_alive = |(app, id): &&(_, TaskId)| engine.task_live(now, app, *id).is_some();
            asked.iter().filter(is_alive).map(|(_, id)| *id).collect::<Vec<_>>()
        })
        .await?;
    let gone: Vec<TaskId> = found.iter().map(|(_, id)| *id).filter(|id| !alive.contains(id)).collect();
    rooms.push.forget(&channel, &gone);
    if alive.is_empty() {
        return Err(Refused::new(ErrorCode::NotFound, "no task is registered for this channel"));
    }
    let now = Timestamp::now();
    let details: Arc<str> = details(&channel, &headers, &body, Some(now.plus_seconds(i64::from(ttl)))).into();
    for id in alive {
        let details = Arc::clone(&details);
        let message = TaskFact::Message { id, details, lifetime_ms: u64::from(ttl) * 1_000 };
        rooms.heart.report(None, Fact::Task(message));
    }
    // An answer means that what was reported before it is on disk.
    rooms.heart.ask(|_, _| ()).await?;
    let mut response = StatusCode::CREATED.into_response();
    let location = format!("/push/{channel}/messages/{}", rooms.ids.next(now));
    let location = HeaderValue::try_from(location).map_err(|error| Refused::internal(&error))?;
    response.headers_mut().insert(header::LOCATION, location);
    response.headers_mut().insert(TTL, HeaderValue::from(ttl));
    Ok(response)
}

/// Gives the time to live in seconds.
fn check(headers: &HeaderMap) -> Answer<u32> {
    let one = |name: &HeaderName| {
        let mut values = headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (Some(_), Some(_)) => Err(refuse(name, format!("{name} comes more than once"))),
            (value, _) => Ok(value.map(|value| value.to_str().unwrap_or_default())),
        }
    };
    let ttl = one(&TTL)?.ok_or_else(|| refuse(&TTL, "a message needs TTL, in seconds"))?;
    let is_number = !ttl.is_empty() && ttl.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number {
        return Err(refuse(&TTL, "TTL must be a number of seconds"));
    }
    if let Some(urgency) = one(&URGENCY)?
        && !["very-low", "low", "normal", "high"].contains(&urgency)
    {
        return Err(refuse(&URGENCY, "Urgency is one of very-low, low, normal, high"));
    }
    if let Some(topic) = one(&TOPIC)? {
        let is_fit = topic.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        if !is_fit || !(1..=32).contains(&topic.len()) {
            return Err(refuse(&TOPIC, "Topic has 1 to 32 characters of A-Z a-z 0-9 - _"));
        }
    }
    Ok(ttl.parse::<u32>().unwrap_or(u32::MAX).min(TTL_MAX))
}

/// RawNotification, as one JSON document: the content as text, or in base64 where it is none.
fn details(channel: &str, headers: &HeaderMap, body: &[u8], expires: Option<Timestamp>) -> String {
    let told: BTreeMap<&str, String> = headers
        .iter()
        .filter(|(name, _)| !NOT_TOLD.contains(name))
        .map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    let mut details = serde_json::json!({
        "channelId": channel,
        "headers": told,
    });
    if let Some(expires) = expires {
        details["expiresTime"] = serde_json::json!(expires);
    }
    match std::str::from_utf8(body) {
        Ok(text) => details["content"] = text.into(),
        Err(_) => details["contentBytes"] = STANDARD.encode(body).into(),
    }
    details.to_string()
}

/// The same of a message that a distributor brought, which says nothing but the message.
pub(crate) fn details_of_push(channel: &str, body: &[u8]) -> String {
    details(channel, &HeaderMap::new(), body, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        pairs.collect()
    }

    #[test]
    fn headers_are_those_of_rfc_8030() {
        assert_eq!(check(&headers(&[("ttl", "60")])).unwrap(), 60);
        assert_eq!(check(&headers(&[("ttl", "99999999999999")])).unwrap(), TTL_MAX);
        assert!(check(&headers(&[("ttl", "0"), ("urgency", "high"), ("topic", "mail-1_2")])).is_ok());
        for bad in [
            &[][..],
            &[("ttl", "-1")],
            &[("ttl", "")],
            &[("ttl", "1"), ("urgency", "High")],
            &[("ttl", "1"), ("topic", "a b")],
            &[("ttl", "1"), ("topic", "")],
        ] {
            assert_eq!(check(&headers(bad)).unwrap_err().problem().code, ErrorCode::InvalidHeader, "{bad:?}");
        }
    }

    #[test]
    fn details_tell_the_message_and_nothing_of_the_caller() {
        let headers =
            headers(&[("content-type", "text/plain"), ("authorization", "Bearer x"), ("topic", "t")]);
        let parse = |text: String| serde_json::from_str::<serde_json::Value>(&text).unwrap();
        let told = parse(details("c", &headers, b"hi", Some(Timestamp(0))));
        assert_eq!(told["content"], "hi");
        assert_eq!(told["headers"], serde_json::json!({"content-type": "text/plain", "topic": "t"}));
        let told = parse(details("c", &headers, b"\xff\x00", None));
        assert_eq!((told["contentBytes"].clone(), told.get("content")), ("/wA=".into(), None));
    }
}
