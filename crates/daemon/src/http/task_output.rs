//! What a run has written: all of it at once, or as it comes.

use std::io;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use http::{HeaderValue, header};
use longhaul_contract::instance::InstanceOutput;
use longhaul_contract::{ErrorCode, InstanceId, TaskId};
use serde::Deserialize;
use tokio::sync::OwnedSemaphorePermit;

use super::extract::{InstanceOf, Parameters};
use super::json::Json;
use super::problems::Problems;
use super::refused::{Answer, Refused};
use super::rooms::Rooms;
use crate::identity::Caller;
use crate::metrics::Counted;
use crate::runs::{Decoder, Live, text_of};

/// Bytes that are sent at one time.
const CHUNK_BYTES: usize = 64 << 10;

/// How it is answered.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Following {
    /// Answer the text alone, as it comes, until the instance is over.
    #[serde(default)]
    #[param(default = false, required = false)]
    follow: bool,
}

/// What an instance has written, so far or in whole; with `follow=true` as plain text that ends with the instance. When
/// that is over, its result is known.
#[utoipa::path(
    get,
    path = "/background-tasks/{taskId}/instances/{instanceId}/output",
    tag = "instances",
    operation_id = "getTaskInstanceOutput",
    params(
        ("taskId" = TaskId, Path, description = "Id of the registration"),
        ("instanceId" = InstanceId, Path, description = "Id of the instance"),
        Following
    ),
    responses(
        (status = 200, description = "Its output", content(
            (InstanceOutput = "application/json"), (String = "text/plain"))),
        Problems
    )
)]
pub(crate) async fn output(
    State(rooms): State<Arc<Rooms>>,
    caller: Caller,
    InstanceOf(task, id): InstanceOf,
    Parameters(following): Parameters<Following>,
) -> Answer<Response> {
    rooms.instance(&caller, task, id).await?;
    if following.follow {
        return follow(rooms, id);
    }
    let live = rooms.runs.find(id);
    let is_running = live.is_some();
    let written = match live.as_ref().and_then(|live| live.output()) {
        Some(output) => Some(text_of(&output.read_all())),
        None => rooms.read(move |reader| reader.instance_output(id)).await?,
    };
    let (text, dropped) = written.map(|output| (output.text, output.dropped)).unwrap_or_default();
    Ok(Json::<_>(InstanceOutput { text, dropped, is_running }).into_response())
}

fn follow(rooms: Arc<Rooms>, id: InstanceId) -> Answer<Response> {
    let room = Arc::clone(&rooms.streams).try_acquire_owned().map_err(|_| {
        Refused::new(ErrorCode::TooManyRequests, "too many readers of events and content at one time")
    })?;
    let counted = Counted::new(&rooms.metrics.streams);
    let live = rooms.runs.find(id);
    let follower = Follower {
        rooms,
        id,
        live,
        decoder: Decoder::default(),
        is_over: false,
        _room: room,
        _counted: counted,
    };
    let chunks = stream::unfold(follower, |mut follower| async move {
        let chunk = follower.next().await?;
        follower.is_over |= chunk.is_err();
        Some((chunk, follower))
    });
    let mut response = Body::from_stream(chunks).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// One reader of a run's output.
struct Follower {
    rooms: Arc<Rooms>,
    id: InstanceId,
    live: Option<Arc<Live>>,
    decoder: Decoder,
    is_over: bool,
    _room: OwnedSemaphorePermit,
    _counted: Counted,
}

impl Follower {
    /// `None` at the end.
    async fn next(&mut self) -> Option<io::Result<String>> {
        if self.is_over {
            return None;
        }
        let mut stopping = self.rooms.stopping.clone();
        tokio::select! {
            biased;
            chunk = self.advance() => chunk.transpose(),
            // The sender lives as long as the service.
            _ = stopping.wait_for(|stops| *stops) => Some(Err(io::Error::other("the service is stopping"))),
        }
    }

    /// May be dropped at any point.
    async fn advance(&mut self) -> io::Result<Option<String>> {
        let Some(live) = self.live.clone() else { return self.kept().await };
        if let Some(text) = self.written(&live).await {
            return Ok(Some(text));
        }
        self.until_over().await?;
        self.is_over = true;
        // The beginning of a letter that never came to its end.
        Ok(Some(self.decoder.finish()).filter(|text| !text.is_empty()))
    }

    /// Of an instance that was over before it was asked for.
    async fn kept(&mut self) -> io::Result<Option<String>> {
        self.is_over = true;
        let id = self.id;
        let kept = self.rooms.read(move |reader| reader.instance_output(id)).await;
        let kept = kept.map_err(|refused| io::Error::other(refused.problem().detail.clone()))?;
        Ok(kept.map(|kept| kept.text).filter(|text| !text.is_empty()))
    }

    /// What it has written since; waits for it. `None`: it will write no more.
    async fn written(&mut self, live: &Live) -> Option<String> {
        let (mut begun, mut count) = (live.watch_output(), self.rooms.runs.subscribe());
        loop {
            let output = begun.borrow_and_update().clone();
            let Some(output) = output else {
                count.borrow_and_update();
                self.rooms.runs.find(self.id)?;
                tokio::select! {
                    _ = begun.changed() => {}
                    _ = count.changed() => {}
                }
                continue;
            };
            let mut total = output.subscribe();
            loop {
                total.borrow_and_update();
                let excerpt = output.read(self.decoder.next(), CHUNK_BYTES);
                let is_all = excerpt.is_complete && excerpt.next >= excerpt.total;
                let text = self.decoder.decode(&excerpt);
                if !text.is_empty() {
                    return Some(text);
                }
                if is_all || total.changed().await.is_err() {
                    return None;
                }
            }
        }
    }

    /// Until its end is written down.
    async fn until_over(&self) -> io::Result<()> {
        let mut count = self.rooms.runs.subscribe();
        loop {
            count.borrow_and_update();
            if self.rooms.runs.find(self.id).is_none() {
                break;
            }
            if count.changed().await.is_err() {
                break;
            }
        }
        // Its end was reported before it was gone, and an answer means that what was reported is on disk.
        let told = self.rooms.heart.ask(|_, _| ()).await;
        told.map_err(|refused| io::Error::other(refused.problem().detail.clone()))
    }
}
