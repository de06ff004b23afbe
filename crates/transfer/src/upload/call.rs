//! One request of an upload, from the first byte to what is kept of the answer.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use http::header::{self, HeaderMap, HeaderValue};
use http::{HeaderName, Method};
use longhaul_contract::Failure;
use tokio::sync::mpsc;
use tokio::time::Instant;
use url::Url;

use super::attempt::Upload;
use super::content::{Reading, Witness};
use super::fields::IDEMPOTENCY_KEY;
use super::record::ResponseBody;
use super::verdict::Trouble;
use crate::http::body::Body;
use crate::http::deliver::{Call, Delivered, Undelivered};
use crate::http::head::Head;
use crate::http::outgoing::{Course, Interim};
use crate::http::pool::Seat;
use crate::http::request::header_value;
use crate::http::stall::StallWatch;
use crate::http::tls::Protocols;

/// What is read of a response at a time.
const READ_BYTES: usize = 16 << 10;

/// One request, in the terms of the upload.
pub(super) struct Order {
    pub(super) url: Url,
    pub(super) method: Method,
    pub(super) fields: HeaderMap,
    /// Bytes of the content that the request carries.
    pub(super) range: Range<u64>,
    /// Whether the status 104 has a meaning, which the engine of HTTP/2 does not tell of.
    pub(super) wants_interims: bool,
    /// Whether it is to be recorded beforehand that the whole body is about to leave.
    pub(super) notes_last: bool,
}

/// A final response.
pub(super) struct Said {
    pub(super) head: Head,
    pub(super) url: Url,
    pub(super) body: ResponseBody,
}

impl Order {
    pub(super) fn new(method: Method, url: Url) -> Self {
        Self { url, method, fields: HeaderMap::new(), range: 0..0, wants_interims: false, notes_last: false }
    }

    pub(super) fn field(mut self, name: HeaderName, value: &str) -> Result<Self, Failure> {
        self.fields.insert(name, header_value(value)?);
        Ok(self)
    }

    pub(super) fn number(mut self, name: HeaderName, value: u64) -> Self {
        self.fields.insert(name, HeaderValue::from(value));
        self
    }

    pub(super) fn range(mut self, range: Range<u64>) -> Self {
        self.range = range;
        self
    }
}

impl Said {
    pub(super) const fn status(&self) -> u16 {
        self.head.status
    }

    pub(super) const fn is_success(&self) -> bool {
        self.head.status >= 200 && self.head.status < 300
    }
}

impl Upload {
    /// Makes the request and hears the answer. While it lasts, what left is recorded now and then, and what a server
    /// says in between is noted.
    pub(super) async fn call(&self, order: Order, seat: Option<Seat>) -> Result<Said, Trouble> {
        let (sender, mut notices) = mpsc::unbounded_channel();
        let interim = order.wants_interims.then(|| {
            Interim(Arc::new(move |status, headers: &HeaderMap| {
                if status.as_u16() == 104 {
                    // The receiver lives as long as the request.
                    let _ = sender.send(headers.clone());
                }
            }))
        });
        let pieces = |course: Arc<Course>| self.pieces(&order, course);
        let call = Call {
            template: &self.template,
            url: order.url.clone(),
            method: order.method.clone(),
            fields: order.fields.clone(),
            defaults: self.defaults(&order)?,
            length: order.range.end - order.range.start,
            pieces: if order.range.is_empty() { None } else { Some(&pieces) },
            interim,
            reach: self.reach,
            protocols: if order.wants_interims { Protocols::Http1 } else { Protocols::Http1AndHttp2 },
            redirects_max: self.shared.settings.redirects_max,
        };
        if !order.range.is_empty() {
            self.desk.record().receipt.requests += 1;
        }
        let made = self.attend(call.make(&self.shared.client, seat), &order.url, &mut notices).await?;
        // What came with the answer came before it.
        while let Ok(headers) = notices.try_recv() {
            self.note_interim(&order.url, &headers).await?;
        }
        let Delivered { answer, url, chain } = made?;
        let body = self.receive(answer.body).await;
        // An upload URL is a capability and is not shown.
        if order.url == self.job.url || !self.job.part_urls.is_empty() {
            self.desk.record().receipt.chain = chain;
        }
        Ok(Said { head: answer.head, url, body })
    }

    /// Waits for the answer, and meanwhile keeps the books.
    async fn attend(
        &self,
        request: impl Future<Output = Result<Delivered, Undelivered>>,
        asked: &Url,
        notices: &mut mpsc::UnboundedReceiver<HeaderMap>,
    ) -> Result<Result<Delivered, Undelivered>, Trouble> {
        let mut request = std::pin::pin!(request);
        let mut tick =
            tokio::time::interval(self.shared.settings.checkpoint_interval.max(Duration::from_millis(10)));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        tick.reset();
        loop {
            tokio::select! {
                biased;
                Some(headers) = notices.recv() => self.note_interim(asked, &headers).await?,
                made = &mut request => return Ok(made),
                _ = tick.tick() => {
                    if self.desk.is_behind() {
                        self.desk.save().await?;
                    }
                }
            }
        }
    }

    fn pieces(&self, order: &Order, course: Arc<Course>) -> BoxStream<'static, io::Result<Bytes>> {
        let reading = Reading {
            content: Arc::clone(&self.content),
            rate: self.desk.live.rate.clone(),
            buffers: self.buffers.clone(),
            witness: Arc::clone(&self.desk) as Arc<dyn Witness>,
            notes_last: order.notes_last,
        };
        // A request that is made again begins where it began before.
        if self.job.part_urls.is_empty() && self.desk.record().parts.is_empty() {
            self.desk.live.meter.set_sent(order.range.start);
        }
        reading.stream(order.range.clone(), course)
    }

    fn defaults(&self, order: &Order) -> Result<HeaderMap, Failure> {
        let mut defaults = HeaderMap::new();
        let media_type = self.content.media_type.as_deref().or(self.job.content_type.as_deref());
        if let Some(media_type) = media_type.filter(|_| !order.range.is_empty()) {
            defaults.insert(header::CONTENT_TYPE, header_value(media_type)?);
        }
        if let Some(key) = self.job.idempotency_key.as_deref().filter(|_| order.method == self.job.method) {
            defaults.insert(IDEMPOTENCY_KEY, header_value(key)?);
        }
        Ok(defaults)
    }

    /// The body of a response, as far as it is wanted and comes in time.
    async fn receive(&self, mut body: Body) -> ResponseBody {
        let settings = &self.shared.settings;
        let most = usize::try_from(self.job.response_body_max).unwrap_or(usize::MAX);
        let mut kept = Vec::new();
        let mut buffer = vec![0; READ_BYTES];
        let mut watch = StallWatch::new(settings.stall_timeout, settings.stall_bytes_per_second);
        let is_truncated = loop {
            let begun = Instant::now();
            let read = std::future::poll_fn(|context| body.poll_read(context, &mut buffer));
            match tokio::time::timeout(watch.patience().max(Duration::from_millis(1)), read).await {
                Ok(Ok(0)) => break false,
                Ok(Ok(count)) => {
                    watch.arrived(count as u64);
                    self.desk.live.meter.arrived_response(count as u64);
                    let room = most - kept.len();
                    kept.extend_from_slice(&buffer[..count.min(room)]);
                    if count > room {
                        break true;
                    }
                }
                Ok(Err(_)) => break true,
                Err(_) => {}
            }
            if watch.is_stalled(begun.elapsed()) {
                break true;
            }
        };
        if is_truncated {
            body.discard();
        } else {
            body.finish();
        }
        ResponseBody { bytes: kept.into(), is_truncated }
    }
}
