//! What a client asked, as a script and a test see it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// One request. Clones share the count of bytes sent.
#[derive(Debug, Clone)]
pub struct Request {
    /// Among all requests of the server, from 0.
    pub number: usize,
    /// Connection it came on, from 0.
    pub connection: usize,
    /// Among the requests of its connection, from 0.
    pub number_on_connection: usize,
    pub method: String,
    /// As on the request line; over HTTP/2 the path with the query.
    pub target: String,
    /// Names as sent.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub(crate) body_sent: Arc<AtomicU64>,
}

/// `Range: bytes=…` with one range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AskedRange {
    From { start: u64 },
    Between { start: u64, last: u64 },
    Last { length: u64 },
}

impl Request {
    /// The first value of a header, by its name in any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    #[must_use]
    pub fn path(&self) -> &str {
        self.target.split('?').next().expect("split yields at least one part")
    }

    /// The value of `name` in the query; empty for a parameter without `=`.
    #[must_use]
    pub fn query(&self, name: &str) -> Option<&str> {
        let (_, query) = self.target.split_once('?')?;
        query.split('&').find_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (key == name).then_some(value)
        })
    }

    /// The one byte range asked for; `None` without `Range` and for anything else than one range of bytes.
    #[must_use]
    pub fn range(&self) -> Option<AskedRange> {
        let spec = self.header("range")?.strip_prefix("bytes=")?;
        let (start, last) = spec.split_once('-')?;
        Some(match (start, last) {
            ("", length) => AskedRange::Last { length: length.parse().ok()? },
            (start, "") => AskedRange::From { start: start.parse().ok()? },
            (start, last) => AskedRange::Between { start: start.parse().ok()?, last: last.parse().ok()? },
        })
    }

    /// The first byte asked for: 0 without `Range`.
    #[must_use]
    pub fn range_start(&self) -> u64 {
        match self.range() {
            Some(AskedRange::From { start } | AskedRange::Between { start, .. }) => start,
            Some(AskedRange::Last { .. }) | None => 0,
        }
    }

    /// Body bytes of the answer handed to the kernel so far.
    #[must_use]
    pub fn body_sent(&self) -> u64 {
        self.body_sent.load(Ordering::SeqCst)
    }

    pub(crate) fn count_sent(&self, bytes: usize) {
        self.body_sent.fetch_add(bytes as u64, Ordering::SeqCst);
    }

    /// Reads a request head without its final empty line; `None` where it is not HTTP/1.
    pub(crate) fn parse(head: &[u8], connection: usize, number_on_connection: usize) -> Option<Self> {
        let text = String::from_utf8_lossy(head);
        let mut lines = text.split("\r\n");
        let mut words = lines.next()?.split(' ');
        let (method, target, version) = (words.next()?, words.next()?, words.next()?);
        if !version.starts_with("HTTP/1.") {
            return None;
        }
        let headers = lines
            .filter(|line| !line.is_empty())
            .map(|line| {
                let (name, value) = line.split_once(':')?;
                Some((name.to_owned(), value.trim().to_owned()))
            })
            .collect::<Option<Vec<_>>>()?;
        Some(Self {
            number: 0,
            connection,
            number_on_connection,
            method: method.to_owned(),
            target: target.to_owned(),
            headers,
            body: Vec::new(),
            body_sent: Arc::default(),
        })
    }
}
