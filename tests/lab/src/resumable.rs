//! A server for resumable uploads, written from the text of draft-ietf-httpbis-resumable-upload (interop version 8).
//!
//! It keeps what arrives in memory and counts every byte of a body. A new request to an upload ends an older one that
//! is still under way there, as section "Concurrency" recommends.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::hostile::{Request, Server, Wire};

const INTEROP: &str = "8";
/// A 104 with the offset follows this many bytes.
const PROGRESS_BYTES: usize = 256 << 10;

/// What the server allows and how it behaves.
#[derive(Debug, Clone, Default)]
pub struct DraftOptions {
    /// Sent as `Upload-Limit`; `max-append-size` is enforced with 413.
    pub limits: String,
    pub max_append_size: Option<u64>,
    /// Speaks of no upload resource while a body is on its way.
    pub is_silent: bool,
    /// Bytes per second of what is read.
    pub reads_per_second: Option<u64>,
}

/// A running server; gone when dropped.
pub struct DraftServer {
    server: Server,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    options: DraftOptions,
    uploads: Mutex<HashMap<String, Partial>>,
    stored: Mutex<HashMap<String, Vec<u8>>>,
    received: AtomicU64,
    next: AtomicUsize,
    log: Mutex<Vec<Request>>,
}

#[derive(Default)]
struct Partial {
    /// Where the representation belongs.
    target: String,
    bytes: Vec<u8>,
    length: Option<u64>,
    is_complete: bool,
    /// Of the request that may append.
    generation: u64,
}

/// A response in the making.
struct Reply {
    status: u16,
    fields: Vec<(&'static str, String)>,
    text: String,
}

impl Reply {
    fn new(status: u16) -> Self {
        Self { status, fields: Vec::new(), text: String::new() }
    }

    fn field(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.fields.push((name, value.into()));
        self
    }

    fn text(mut self, text: String) -> Self {
        self.text = text;
        self
    }

    fn send(&self, wire: &mut Wire, is_head: bool) {
        let mut head = format!("HTTP/1.1 {} Answer\r\n", self.status);
        for (name, value) in &self.fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if self.status >= 200 && self.status != 204 {
            head.push_str(&format!("Content-Length: {}\r\n", self.text.len()));
        }
        head.push_str("\r\n");
        if !is_head {
            head.push_str(&self.text);
        }
        wire.write(head.as_bytes(), |_| {});
    }
}

impl DraftServer {
    #[must_use]
    pub fn start(options: DraftOptions) -> Self {
        let state = Arc::new(State { options, ..State::default() });
        let server = Server::build().start_raw({
            let state = Arc::clone(&state);
            move |wire| {
                while let Some(head) = wire.read_head() {
                    let Some(request) = Request::parse(&head, 0, 0) else { return };
                    state.log.lock().expect("the log is only pushed to").push(request.clone());
                    if !state.answer(wire, &request) || wire.is_broken() {
                        return;
                    }
                }
            }
        });
        Self { server, state }
    }

    #[must_use]
    pub fn url(&self, path: &str) -> String {
        self.server.url(path)
    }

    /// Every request so far, without bodies.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.state.log.lock().expect("the log is only pushed to").clone()
    }

    /// Body bytes that arrived, over all requests.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.state.received.load(Ordering::SeqCst)
    }

    /// What was stored at a path, once it is whole.
    #[must_use]
    pub fn stored(&self, path: &str) -> Option<Vec<u8>> {
        self.state.stored.lock().expect("the store is only edited").get(path).cloned()
    }

    /// Bytes of the uploads that are not complete.
    #[must_use]
    pub fn partial_bytes(&self) -> u64 {
        let uploads = self.state.uploads.lock().expect("uploads are only edited");
        uploads.values().filter(|upload| !upload.is_complete).map(|upload| upload.bytes.len() as u64).sum()
    }

    /// How many upload resources there are.
    #[must_use]
    pub fn uploads(&self) -> usize {
        self.state.uploads.lock().expect("uploads are only edited").len()
    }

    /// Breaks all live connections.
    pub fn drop_connections(&self) {
        self.server.drop_connections();
    }

    /// Loses all uploads that are not complete.
    pub fn forget(&self) {
        self.state.uploads.lock().expect("uploads are only edited").clear();
    }
}

impl State {
    /// Answers one request; false when the connection cannot go on.
    fn answer(&self, wire: &mut Wire, request: &Request) -> bool {
        let is_upload = request.path().starts_with("/uploads/");
        match request.method.as_str() {
            "HEAD" if is_upload => self.tell_offset(wire, request),
            "DELETE" if is_upload => {
                self.uploads.lock().expect("uploads are only edited").remove(request.path());
                Reply::new(204).send(wire, false);
                true
            }
            "PATCH" if is_upload => self.append(wire, request),
            "OPTIONS" => {
                self.limits(Reply::new(204)).send(wire, false);
                true
            }
            _ => self.create(wire, request),
        }
    }

    fn limits(&self, reply: Reply) -> Reply {
        if self.options.limits.is_empty() {
            reply
        } else {
            reply.field("Upload-Limit", self.options.limits.as_str())
        }
    }

    fn tell_offset(&self, wire: &mut Wire, request: &Request) -> bool {
        let reply = {
            let mut uploads = self.uploads.lock().expect("uploads are only edited");
            match uploads.get_mut(request.path()) {
                None => Reply::new(404),
                Some(upload) => {
                    upload.generation += 1;
                    let reply = Reply::new(204)
                        .field("Upload-Offset", upload.bytes.len().to_string())
                        .field("Upload-Complete", if upload.is_complete { "?1" } else { "?0" })
                        .field("Cache-Control", "no-store");
                    let reply = match upload.length {
                        Some(length) => reply.field("Upload-Length", length.to_string()),
                        None => reply,
                    };
                    self.limits(reply)
                }
            }
        };
        reply.send(wire, true);
        true
    }

    fn create(&self, wire: &mut Wire, request: &Request) -> bool {
        let complete = request.header("upload-complete").map(str::to_owned);
        let speaks = request.header("upload-draft-interop-version") == Some(INTEROP);
        let length = content_length(request);
        let place = format!("/uploads/{}", self.next.fetch_add(1, Ordering::SeqCst));
        if complete.is_some() && self.is_too_large(length) {
            self.limits(Reply::new(413)).send(wire, false);
            return false;
        }
        let announced = request.header("upload-length").and_then(|text| text.parse().ok());
        let upload = Partial { target: request.path().to_owned(), length: announced, ..Partial::default() };
        self.uploads.lock().expect("uploads are only edited").insert(place.clone(), upload);
        let is_open = complete.is_some() && speaks && !self.options.is_silent;
        if is_open {
            let reply = Reply::new(104)
                .field("Upload-Draft-Interop-Version", INTEROP)
                .field("Location", place.as_str());
            self.limits(reply).send(wire, false);
        }
        if request.header("expect").is_some() {
            Reply::new(100).send(wire, false);
        }
        if !self.take(wire, &place, length, 0, is_open) {
            return false;
        }
        if complete.as_deref() == Some("?0") {
            let reply = Reply::new(201).field("Location", place.as_str()).field("Upload-Complete", "?0");
            self.limits(reply).send(wire, false);
            return true;
        }
        self.complete(&place, complete.is_some()).send(wire, false);
        true
    }

    fn is_too_large(&self, length: u64) -> bool {
        self.options.max_append_size.is_some_and(|most| length > most)
    }

    fn append(&self, wire: &mut Wire, request: &Request) -> bool {
        let length = content_length(request);
        let is_last = request.header("upload-complete") == Some("?1");
        let offset: Option<u64> = request.header("upload-offset").and_then(|text| text.parse().ok());
        let found = {
            let mut uploads = self.uploads.lock().expect("uploads are only edited");
            uploads.get_mut(request.path()).map(|upload| {
                upload.generation += 1;
                (upload.bytes.len() as u64, upload.generation, upload.is_complete)
            })
        };
        let refusal = match found {
            None => Some(Reply::new(404)),
            Some(_) if request.header("content-type") != Some("application/partial-upload") => {
                Some(Reply::new(415))
            }
            Some((have, _, true)) if length == 0 && offset == Some(have) => {
                self.complete(request.path(), true).send(wire, false);
                return true;
            }
            Some((have, _, _)) if offset != Some(have) => Some(
                Reply::new(409)
                    .field("Upload-Offset", have.to_string())
                    .field("Upload-Complete", "?0")
                    .field("Content-Type", "application/problem+json")
                    .text(format!(
                        "{{\"type\":\"https://iana.org/assignments/http-problem-types#mismatching-upload-offset\",\
                         \"expected-offset\":{have}}}"
                    )),
            ),
            Some(_) if self.is_too_large(length) => Some(self.limits(Reply::new(413))),
            Some(_) => None,
        };
        if let Some(reply) = refusal {
            reply.send(wire, false);
            return length == 0;
        }
        if request.header("expect").is_some() {
            Reply::new(100).send(wire, false);
        }
        let generation = found.map_or(0, |(_, generation, _)| generation);
        let speaks = request.header("upload-draft-interop-version") == Some(INTEROP);
        if !self.take(wire, request.path(), length, generation, speaks && !self.options.is_silent) {
            return false;
        }
        if is_last {
            self.complete(request.path(), true).send(wire, false);
        } else {
            Reply::new(204).field("Upload-Complete", "?0").send(wire, false);
        }
        true
    }

    /// Takes a body, byte for byte; false when it did not come whole.
    fn take(&self, wire: &mut Wire, place: &str, length: u64, generation: u64, tells: bool) -> bool {
        let mut left = length;
        let mut untold = 0;
        while left > 0 {
            let wanted = usize::try_from(left.min(1 << 16)).expect("a piece is small");
            let begun = std::time::Instant::now();
            let piece = wire.read_at_most(wanted);
            if piece.is_empty() {
                return false;
            }
            self.received.fetch_add(piece.len() as u64, Ordering::SeqCst);
            let have = {
                let mut uploads = self.uploads.lock().expect("uploads are only edited");
                let Some(upload) = uploads.get_mut(place).filter(|upload| upload.generation == generation)
                else {
                    return false;
                };
                upload.bytes.extend_from_slice(&piece);
                upload.bytes.len()
            };
            left -= piece.len() as u64;
            untold += piece.len();
            if tells && untold >= PROGRESS_BYTES {
                untold = 0;
                Reply::new(104)
                    .field("Upload-Draft-Interop-Version", INTEROP)
                    .field("Upload-Offset", have.to_string())
                    .send(wire, false);
            }
            if let Some(rate) = self.options.reads_per_second {
                let due = std::time::Duration::from_secs_f64(piece.len() as f64 / rate as f64);
                wire.pause(due.saturating_sub(begun.elapsed()));
            }
        }
        true
    }

    fn complete(&self, place: &str, speaks: bool) -> Reply {
        let mut uploads = self.uploads.lock().expect("uploads are only edited");
        let Some(upload) = uploads.get_mut(place) else { return Reply::new(404) };
        if upload.length.is_some_and(|length| length != upload.bytes.len() as u64) {
            return Reply::new(400).field("Upload-Complete", "?0");
        }
        if !upload.is_complete {
            upload.is_complete = true;
            let mut stored = self.stored.lock().expect("the store is only edited");
            stored.insert(upload.target.clone(), upload.bytes.clone());
        }
        let reply = Reply::new(200).text(format!("stored {} bytes", upload.bytes.len()));
        if speaks { reply.field("Upload-Complete", "?1") } else { reply }
    }
}

fn content_length(request: &Request) -> u64 {
    request.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0)
}
