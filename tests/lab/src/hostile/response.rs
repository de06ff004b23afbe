//! Answers, right and wrong.

use super::Gate;
use crate::content::Content;

const PIECE: u64 = 64 << 10;

/// How an answer breaks off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// In order: close_notify where there is TLS, then FIN.
    Close,
    /// RST.
    Reset,
    /// FIN without a close_notify.
    CloseWithoutNotify,
    /// Silence, with the connection open.
    Stall,
}

/// Where body bytes come from.
#[derive(Debug, Clone)]
pub enum Body {
    Bytes(Vec<u8>),
    /// `length` bytes of a content from `offset`.
    Part {
        content: Content,
        offset: u64,
        length: u64,
    },
    /// The same byte for ever.
    Endless(u8),
}

impl Body {
    #[must_use]
    pub fn length(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Part { length, .. } => *length,
            Self::Endless(_) => u64::MAX,
        }
    }

    /// Up to `limit` bytes from `at` of the body; empty at its end.
    #[must_use]
    pub fn read(&self, at: u64, limit: u64) -> Vec<u8> {
        let count = self.length().saturating_sub(at).min(limit).min(PIECE);
        match self {
            Self::Bytes(bytes) => {
                let start = usize::try_from(at).expect("bytes are in memory").min(bytes.len());
                bytes[start..start + usize::try_from(count).expect("bytes are in memory")].to_vec()
            }
            Self::Part { content, offset, .. } => content.bytes(offset + at, count),
            Self::Endless(byte) => vec![*byte; usize::try_from(count).expect("a piece is small")],
        }
    }
}

/// How the end of the body is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// `Content-Length`, which may be a lie.
    Length(u64),
    Chunked,
    UntilClose,
    /// No header and no close: for statuses without body, and for scripts that frame by themselves.
    Bare,
}

impl Framing {
    pub(crate) fn frame(self, piece: Vec<u8>) -> Vec<u8> {
        if self != Self::Chunked {
            return piece;
        }
        let mut framed = format!("{:x}\r\n", piece.len()).into_bytes();
        framed.extend(piece);
        framed.extend_from_slice(b"\r\n");
        framed
    }

    pub(crate) fn end(self, trailers: &[(String, String)]) -> Vec<u8> {
        if self != Self::Chunked {
            return Vec::new();
        }
        let lines: String = trailers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        format!("0\r\n{lines}\r\n").into_bytes()
    }

    pub(crate) fn ends_by_close(self) -> bool {
        self == Self::UntilClose
    }
}

/// An answer in the making. Nothing is checked: what a test wants wrong goes out wrong.
#[derive(Debug, Clone)]
pub struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Body,
    pub(crate) framing: Framing,
    pub(crate) trailers: Vec<(String, String)>,
    /// At these body offsets, ascending, wait for the gate.
    pub(crate) holds: Vec<(u64, Gate)>,
    pub(crate) cut: Option<(u64, Cut)>,
}

impl Response {
    /// Without a body.
    #[must_use]
    pub fn new(status: u16) -> Self {
        let has_no_body = (100..200).contains(&status) || status == 204 || status == 304;
        Self {
            status,
            headers: Vec::new(),
            body: Body::Bytes(Vec::new()),
            framing: if has_no_body { Framing::Bare } else { Framing::Length(0) },
            trailers: Vec::new(),
            holds: Vec::new(),
            cut: None,
        }
    }

    /// Adds a header line; the same name may come again.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Replaces all header lines of this name.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self.header(name, value)
    }

    #[must_use]
    pub fn without_header(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self
    }

    /// The body, with its true `Content-Length` unless a framing is chosen afterwards.
    #[must_use]
    pub fn body(mut self, body: Body) -> Self {
        self.framing = Framing::Length(body.length());
        self.body = body;
        self
    }

    #[must_use]
    pub fn text(self, text: &str) -> Self {
        self.body(Body::Bytes(text.as_bytes().to_vec()))
    }

    /// Announces this length whatever the body has.
    #[must_use]
    pub fn announce_length(mut self, length: u64) -> Self {
        self.framing = Framing::Length(length);
        self
    }

    /// Transfer-Encoding: chunked.
    #[must_use]
    pub fn chunked(mut self) -> Self {
        self.framing = Framing::Chunked;
        self
    }

    /// A field after the last chunk.
    #[must_use]
    pub fn trailer(mut self, name: &str, value: impl Into<String>) -> Self {
        self.framing = Framing::Chunked;
        self.trailers.push((name.to_owned(), value.into()));
        self
    }

    /// No length: the end of the connection is the end of the body.
    #[must_use]
    pub fn until_close(mut self) -> Self {
        self.framing = Framing::UntilClose;
        self
    }

    /// No framing header at all; the script adds what it wants by [`Self::header`].
    #[must_use]
    pub fn bare(mut self) -> Self {
        self.framing = Framing::Bare;
        self
    }

    /// After this many body bytes, wait for the gate. Call in ascending order.
    #[must_use]
    pub fn hold_at(mut self, body_bytes: u64, gate: &Gate) -> Self {
        self.holds.push((body_bytes, gate.clone()));
        self
    }

    /// After this many body bytes, break off.
    #[must_use]
    pub fn cut_after(mut self, body_bytes: u64, cut: Cut) -> Self {
        self.cut = Some((body_bytes, cut));
        self
    }

    pub(crate) fn head(&self) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        match self.framing {
            Framing::Length(length) => head.push_str(&format!("Content-Length: {length}\r\n")),
            Framing::Chunked => head.push_str("Transfer-Encoding: chunked\r\n"),
            Framing::UntilClose => head.push_str("Connection: close\r\n"),
            Framing::Bare => {}
        }
        head.push_str("\r\n");
        head.into_bytes()
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        100..=199 => "Informational",
        200 => "OK",
        206 => "Partial Content",
        201..=299 => "Successful",
        300..=399 => "Redirection",
        400..=499 => "Client Error",
        _ => "Server Error",
    }
}
