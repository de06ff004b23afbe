//! A file as a well-behaved server has it, with knobs for where behaviour may differ.

use super::request::{AskedRange, Request};
use super::response::{Body, Response};
use crate::content::Content;

/// A file with its validators (RFC 9110 sections 8.8 and 14).
#[derive(Debug, Clone)]
pub struct Resource {
    pub content: Content,
    /// With quotes and `W/`.
    pub etag: Option<String>,
    pub last_modified: Option<String>,
    pub date: Option<String>,
    pub content_type: Option<String>,
    /// The `Accept-Ranges` header.
    pub accept_ranges: Option<String>,
    /// Whether `Range` is honoured.
    pub has_ranges: bool,
    /// Whether `If-Range` is looked at; a server that ignores it sends 206 whatever has changed.
    pub has_if_range: bool,
}

impl Resource {
    /// Strong ETag after the content's seed, ranges, no date.
    #[must_use]
    pub fn new(content: Content) -> Self {
        Self {
            content,
            etag: Some(format!("\"v{}\"", content.seed)),
            last_modified: None,
            date: None,
            content_type: Some("application/octet-stream".to_owned()),
            accept_ranges: Some("bytes".to_owned()),
            has_ranges: true,
            has_if_range: true,
        }
    }

    #[must_use]
    pub fn etag(mut self, etag: Option<&str>) -> Self {
        self.etag = etag.map(str::to_owned);
        self
    }

    #[must_use]
    pub fn last_modified(mut self, date: &str) -> Self {
        self.last_modified = Some(date.to_owned());
        self
    }

    #[must_use]
    pub fn date(mut self, date: &str) -> Self {
        self.date = Some(date.to_owned());
        self
    }

    /// No ranges and no word about them.
    #[must_use]
    pub fn without_ranges(mut self) -> Self {
        self.has_ranges = false;
        self.accept_ranges = None;
        self
    }

    #[must_use]
    pub fn ignoring_if_range(mut self) -> Self {
        self.has_if_range = false;
        self
    }

    fn head(&self, status: u16) -> Response {
        [
            ("Date", &self.date),
            ("ETag", &self.etag),
            ("Last-Modified", &self.last_modified),
            ("Content-Type", &self.content_type),
            ("Accept-Ranges", &self.accept_ranges),
        ]
        .into_iter()
        .filter_map(|(name, value)| value.as_ref().map(|value| (name, value)))
        .fold(Response::new(status), |response, (name, value)| response.header(name, value))
    }

    /// 200 with everything.
    #[must_use]
    pub fn full(&self) -> Response {
        let Content { length, .. } = self.content;
        self.head(200).body(Body::Part { content: self.content, offset: 0, length })
    }

    /// 206 with the bytes from `start` up to and with `last`.
    #[must_use]
    pub fn part(&self, start: u64, last: u64) -> Response {
        let length = (last + 1).saturating_sub(start);
        self.head(206)
            .header("Content-Range", format!("bytes {start}-{last}/{}", self.content.length))
            .body(Body::Part { content: self.content, offset: start, length })
    }

    /// 416 naming the true length.
    #[must_use]
    pub fn unsatisfiable(&self) -> Response {
        self.head(416).header("Content-Range", format!("bytes */{}", self.content.length))
    }

    /// What RFC 9110 asks for, as far as the knobs allow. Requests for several ranges get everything.
    #[must_use]
    pub fn answer(&self, request: &Request) -> Response {
        let length = self.content.length;
        let Some(range) = request.range().filter(|_| self.has_ranges && self.is_if_range_true(request))
        else {
            return self.full();
        };
        let (start, last) = match range {
            AskedRange::From { start } => (start, length.saturating_sub(1)),
            AskedRange::Between { start, last } => (start, last.min(length.saturating_sub(1))),
            AskedRange::Last { length: wanted } => (length.saturating_sub(wanted), length.saturating_sub(1)),
        };
        if start >= length { self.unsatisfiable() } else { self.part(start, last) }
    }

    fn is_if_range_true(&self, request: &Request) -> bool {
        let Some(wanted) = request.header("if-range").filter(|_| self.has_if_range) else { return true };
        let is_same_etag = !wanted.starts_with("W/") && self.etag.as_deref() == Some(wanted);
        is_same_etag || self.last_modified.as_deref() == Some(wanted)
    }
}
