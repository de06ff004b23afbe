//! `GET /background-tasks/activations`: runs for a program that serves entry points itself (the in-process model).

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event as Message, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use longhaul_contract::ErrorCode;
use longhaul_contract::instance::Activation;
use url::form_urlencoded;

use super::problems::Problems;
use super::refused::{Answer, Refused};
use super::rooms::Rooms;
use crate::identity::Caller;
use crate::metrics::Counted;

const KEEP_ALIVE: Duration = Duration::from_secs(30);
const CLASSES_MAX: usize = 256;
const EVENT: &str = "activation";

/// Which entry points the program serves.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(
    dead_code,
    reason = "describes the query, which is read by hand: a name may come any number of times"
)]
pub(crate) struct Served {
    /// A class that the application's manifest declares with `in-process`; any number of times.
    #[param(rename = "entryPoint")]
    entry_point: Vec<String>,
}

/// Serves entry points as long as it is read: each run comes as an event `activation`, and once more when it has to end.
/// What still runs comes again to a program that reconnects.
#[utoipa::path(
    get,
    path = "/background-tasks/activations",
    tag = "instances",
    operation_id = "watchActivations",
    params(Served),
    responses(
        (status = 200, description = "Server-sent events; each `data:` is one Activation", body = Activation,
            content_type = "text/event-stream"),
        Problems
    )
)]
pub(crate) async fn activations(
    State(rooms): State<Arc<Rooms>>,
    caller: Caller,
    uri: http::Uri,
) -> Answer<Response> {
    let classes = classes(uri.query().unwrap_or_default())?;
    let room = Arc::clone(&rooms.streams).try_acquire_owned().map_err(|_| {
        Refused::new(ErrorCode::TooManyRequests, "too many readers of events and content at one time")
    })?;
    let counted = Counted::new(&rooms.metrics.streams);
    let presence = rooms.foreground.enter(caller.app.clone());
    let (program, receiver) = rooms.runs.activations().connect(caller.app, classes);
    let state = (receiver, rooms.stopping.clone(), program, presence, room, counted);
    let messages = stream::unfold(state, |mut state| async move {
        let activation = tokio::select! {
            activation = state.0.recv() => activation?,
            // A run of a service that stops is cancelled, which is to be told.
            () = stopped(&mut state.1) => return None,
        };
        let message = Message::default().event(EVENT).json_data(&activation);
        let message =
            message.unwrap_or_else(|_| Message::default().comment("an activation cannot be written"));
        Some((Ok::<_, Infallible>(message), state))
    });
    Ok(Sse::new(messages).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}

/// The service stops, and what runs has had its time.
async fn stopped(stopping: &mut tokio::sync::watch::Receiver<bool>) {
    // The sender lives as long as the service.
    let _ = stopping.wait_for(|stops| *stops).await;
    tokio::time::sleep(STOP_GRACE).await;
}

/// For programs to hear that what they run has to end.
const STOP_GRACE: Duration = Duration::from_secs(5);

fn classes(query: &str) -> Answer<BTreeSet<String>> {
    let refuse = |field: &str, detail: String| {
        Err(Refused::new(ErrorCode::InvalidParameter, detail).with_field(field))
    };
    let mut classes = BTreeSet::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if name != "entryPoint" {
            return refuse(&name, "there is no such parameter".to_owned());
        }
        if value.is_empty() || value.chars().count() > 256 || value.chars().any(char::is_control) {
            return refuse("entryPoint", "must be 1 to 256 characters without control characters".to_owned());
        }
        classes.insert(value.into_owned());
    }
    if classes.is_empty() || classes.len() > CLASSES_MAX {
        return refuse("entryPoint", format!("must come 1 to {CLASSES_MAX} times"));
    }
    Ok(classes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_come_any_number_of_times() {
        let found = classes("entryPoint=A.B&entryPoint=%C3%A4&entryPoint=A.B").unwrap();
        assert_eq!(found, BTreeSet::from(["A.B".to_owned(), "\u{e4}".to_owned()]));
        for bad in ["", "entryPoint=", "entryPoint=a%00", "class=A"] {
            assert_eq!(classes(bad).unwrap_err().problem().code, ErrorCode::InvalidParameter, "{bad}");
        }
    }
}
