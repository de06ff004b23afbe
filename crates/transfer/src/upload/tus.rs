//! tus 1.0: creation, offset, expiration, checksum, termination. Concatenation has a room of its own.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Mutex;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{self, HeaderMap};
use http::{HeaderValue, Method};
use longhaul_contract::{Cause, Failure};
use url::Url;

use super::attempt::Upload;
use super::call::{Order, Said};
use super::fields::{
    self, TUS_CHECKSUM_ALGORITHM, TUS_EXTENSION, TUS_MAX_SIZE, TUS_RESUMABLE, TUS_VERSION, UPLOAD_CHECKSUM,
    UPLOAD_LENGTH, UPLOAD_METADATA, UPLOAD_OFFSET,
};
use super::job::UploadProtocol;
use super::record::UsedProtocol;
use super::resumable::check_url;
use super::verdict::{Done, Trouble};
use crate::http::failure::{needs_input, permanent, transient};
use crate::http::pool::Seat;

const VERSION: &str = "1.0.0";
const OFFSET_STREAM: &str = "application/offset+octet-stream";
/// Bytes of one request where each has a checksum, which has to be known before its first byte.
const CHECKED_BYTES: u64 = 8 << 20;
/// Requests in a row after which the server has no more than before.
const FRUITLESS_MAX: u32 = 3;
/// How long to wait for a server that still holds the lock of a request it takes to be alive (423).
const LOCK_PAUSES: [Duration; 7] = [
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
    Duration::from_secs(8),
    Duration::from_secs(8),
];
/// How long an address has to say whether it speaks tus.
const DISCOVERY_MAX: Duration = Duration::from_secs(10);
/// Servers that are remembered.
const SERVERS_MAX: usize = 256;

/// What an address said that it speaks.
#[derive(Debug, Clone, Default)]
pub(crate) struct TusServer {
    is_tus: bool,
    extensions: Vec<String>,
    checksums: Vec<String>,
    max_size: Option<u64>,
}

/// What was learned of addresses where uploads are created, for the lifetime of the service.
#[derive(Default)]
pub(crate) struct TusServers {
    known: Mutex<HashMap<String, TusServer>>,
}

/// Where a partial upload stands, or what one request did to it.
pub(super) enum TusStanding {
    At(u64),
    Unclear,
    Gone,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Checksum {
    Sha256,
    Sha1,
}

impl TusServers {
    fn get(&self, url: &Url) -> Option<TusServer> {
        self.known.lock().expect("no holder of this lock panics").get(&key(url)).cloned()
    }

    fn learn(&self, url: &Url, server: TusServer) {
        let mut known = self.known.lock().expect("no holder of this lock panics");
        if known.len() >= SERVERS_MAX {
            known.clear();
        }
        known.insert(key(url), server);
    }
}

/// The address without what differs from upload to upload.
fn key(url: &Url) -> String {
    format!("{}{}", url.origin().ascii_serialization(), url.path())
}

impl TusServer {
    pub(super) fn offers(&self, extension: &str) -> bool {
        self.extensions.iter().any(|known| known == extension)
    }

    fn checksum(&self) -> Option<Checksum> {
        let has = |name: &str| self.offers("checksum") && self.checksums.iter().any(|known| known == name);
        if has("sha256") {
            return Some(Checksum::Sha256);
        }
        has("sha1").then_some(Checksum::Sha1)
    }
}

pub(super) fn greet(mut order: Order) -> Order {
    order.fields.insert(TUS_RESUMABLE, HeaderValue::from_static(VERSION));
    order
}

impl Upload {
    /// Whether the address takes tus uploads; asked once for each address.
    pub(super) async fn speaks_tus(&self) -> Result<bool, Trouble> {
        let Ok(asked) = tokio::time::timeout(DISCOVERY_MAX, self.tus_server()).await else {
            return Ok(false);
        };
        match asked {
            Ok(server) => Ok(server.is_tus),
            // It was there and had nothing to say to such a question.
            Err(trouble)
                if matches!(
                    trouble.failure.cause,
                    Cause::ResponseTimeout
                        | Cause::ConnectionClosed
                        | Cause::ConnectionReset
                        | Cause::InvalidResponse
                        | Cause::Redirect
                ) =>
            {
                Ok(false)
            }
            Err(trouble) => Err(trouble),
        }
    }

    async fn tus_server(&self) -> Result<TusServer, Trouble> {
        let servers = &self.shared.tus_servers;
        if let Some(known) = servers.get(&self.job.url) {
            return Ok(known);
        }
        let said = self.call(Order::new(Method::OPTIONS, self.job.url.clone()), None).await?;
        let headers = &said.head.headers;
        let speaks = fields::words(headers, &TUS_VERSION).iter().any(|version| version == VERSION)
            || fields::text(headers, &TUS_RESUMABLE) == Some(VERSION);
        let server = TusServer {
            is_tus: said.is_success() && speaks,
            extensions: fields::words(headers, &TUS_EXTENSION),
            checksums: fields::words(headers, &TUS_CHECKSUM_ALGORITHM),
            max_size: fields::number(headers, &TUS_MAX_SIZE),
        };
        // A server in trouble has said nothing about itself.
        if said.status() < 500 {
            servers.learn(&self.job.url, server.clone());
        }
        Ok(server)
    }

    pub(super) fn learn_tus(&self, is_tus: bool) {
        self.shared.tus_servers.learn(&self.job.url, TusServer { is_tus, ..TusServer::default() });
    }

    pub(super) async fn tus(&self) -> Result<Done, Trouble> {
        let server = match self.tus_server().await {
            Ok(server) => server,
            // It was asked for by name; the server may not answer OPTIONS.
            Err(_) if self.job.protocol == UploadProtocol::Tus => TusServer::default(),
            Err(trouble) => return Err(trouble),
        };
        self.choose(UsedProtocol::Tus);
        if let Some(most) = server.max_size.filter(|most| *most < self.content.total) {
            self.desk.record().limits.max_size = Some(most);
            return Err(permanent(
                Cause::SizeMismatch,
                format!("{} takes at most {most} bytes, and these are {}", self.host(), self.content.total),
            )
            .into());
        }
        if self.is_expired() {
            self.start_over();
        }
        let mut starts = 0;
        loop {
            starts += 1;
            let ended = if self.wants_concatenation(&server) {
                self.tus_parts(&server).await?
            } else {
                self.tus_whole(&server).await?
            };
            match ended {
                Some(done) => return Ok(done),
                None if starts > 1 => return Err(self.lost().into()),
                None => self.start_over(),
            }
        }
    }

    /// The whole as one upload; `None` when the server has forgotten it.
    async fn tus_whole(&self, server: &TusServer) -> Result<Option<Done>, Trouble> {
        let total = self.content.total;
        let mut is_offset_known = false;
        let url = match self.desk.upload_url() {
            Some(url) => url,
            None => {
                let order =
                    greet(Order::new(Method::POST, self.job.url.clone())).number(UPLOAD_LENGTH, total);
                let (url, said) = self.create_tus(self.describe(order)?).await?;
                self.desk.set_upload_url(&url);
                self.note_expiry(&said.head.headers);
                self.desk.save().await?;
                if total == 0 {
                    return Ok(Some(self.done(said)));
                }
                is_offset_known = true;
                url
            }
        };
        let mut fruitless = 0;
        loop {
            if !is_offset_known {
                match self.tus_offset(&url, self.desk.offset(), total).await? {
                    (TusStanding::At(offset), said) => {
                        self.desk.acknowledged(offset);
                        self.desk.save().await?;
                        if offset == total {
                            return Ok(Some(self.done(said)));
                        }
                    }
                    (TusStanding::Gone | TusStanding::Unclear, _) => return Ok(None),
                }
            }
            let before = self.desk.offset();
            let (standing, said) = self.tus_patch(server, &url, before, before..total, None).await?;
            is_offset_known = true;
            match standing {
                TusStanding::At(offset) => self.desk.acknowledged(offset),
                TusStanding::Unclear => is_offset_known = false,
                TusStanding::Gone => return Ok(None),
            }
            let offset = self.desk.offset();
            if offset == total {
                return Ok(Some(self.done(said)));
            }
            fruitless = if offset > before { 0 } else { fruitless + 1 };
            if fruitless > FRUITLESS_MAX {
                return Err(self.fruitless().into());
            }
        }
    }

    /// Adds the name and the type of the file (tus 1.0, Upload-Metadata).
    pub(super) fn describe(&self, order: Order) -> Result<Order, Failure> {
        let mut pairs = Vec::new();
        if let Some(name) = self.content.file_name() {
            pairs.push(format!("filename {}", STANDARD.encode(name)));
        }
        if let Some(media_type) = self.content.media_type.as_deref().or(self.job.content_type.as_deref()) {
            pairs.push(format!("filetype {}", STANDARD.encode(media_type)));
        }
        if pairs.is_empty() { Ok(order) } else { order.field(UPLOAD_METADATA, &pairs.join(",")) }
    }

    /// Makes an upload and tells where it is.
    pub(super) async fn create_tus(&self, order: Order) -> Result<(Url, Said), Trouble> {
        let said = self.call(order, None).await?;
        if !said.is_success() {
            return Err(self.refused(said, false));
        }
        let location = fields::text(&said.head.headers, &header::LOCATION);
        let url = location.and_then(|location| said.url.join(location).ok()).ok_or_else(|| {
            needs_input(
                Cause::InvalidResponse,
                format!("{} made an upload without saying where", self.host()),
            )
        })?;
        check_url(&said.url, &url)?;
        Ok((url, said))
    }

    fn note_expiry(&self, headers: &HeaderMap) {
        if let Some(expires) = fields::expires(headers) {
            self.desk.record().expires = Some(expires);
        }
    }

    /// Asks how many bytes the server has. A lock that a dead request of ours still holds is waited for.
    pub(super) async fn tus_offset(
        &self,
        url: &Url,
        known: u64,
        total: u64,
    ) -> Result<(TusStanding, Said), Trouble> {
        let mut pauses = LOCK_PAUSES.iter();
        loop {
            let said = self.call(greet(Order::new(Method::HEAD, url.clone())), None).await?;
            let headers = &said.head.headers;
            match said.status() {
                200..=299 => {
                    self.note_expiry(headers);
                    let length = fields::number(headers, &UPLOAD_LENGTH);
                    let offset = fields::number(headers, &UPLOAD_OFFSET);
                    let offset = sound(self.host(), offset, length, known, total)?;
                    return Ok((TusStanding::At(offset), said));
                }
                404 | 410 => return Ok((TusStanding::Gone, said)),
                423 => match pauses.next() {
                    Some(pause) => tokio::time::sleep(*pause).await,
                    None => return Err(self.refused(said, false)),
                },
                _ => return Err(self.refused(said, false)),
            }
        }
    }

    /// Sends bytes of the upload at `url`, which has `offset` of them; `range` are those of the content.
    pub(super) async fn tus_patch(
        &self,
        server: &TusServer,
        url: &Url,
        offset: u64,
        range: Range<u64>,
        seat: Option<Seat>,
    ) -> Result<(TusStanding, Said), Trouble> {
        let checksum = server.checksum();
        let end = match checksum {
            Some(_) => range.end.min(range.start + CHECKED_BYTES),
            None => range.end,
        };
        let range = range.start..end;
        let mut order = greet(Order::new(Method::PATCH, url.clone()))
            .field(header::CONTENT_TYPE, OFFSET_STREAM)?
            .number(UPLOAD_OFFSET, offset)
            .range(range.clone());
        if let Some(checksum) = checksum {
            let digest = self.digest(checksum, range.clone()).await?;
            let name = if checksum == Checksum::Sha256 { "sha256" } else { "sha1" };
            order = order.field(UPLOAD_CHECKSUM, &format!("{name} {}", STANDARD.encode(digest)))?;
        }
        let said = self.call(order, seat).await?;
        let headers = &said.head.headers;
        let length = range.end - range.start;
        match said.status() {
            200..=299 => {
                self.note_expiry(headers);
                let told = fields::number(headers, &UPLOAD_OFFSET);
                let offset = sound(self.host(), told, None, offset, offset + length)?;
                Ok((TusStanding::At(offset), said))
            }
            409 | 423 => Ok((TusStanding::Unclear, said)),
            // The bytes were changed on their way: they are sent again.
            460 if checksum.is_some() => Ok((TusStanding::At(offset), said)),
            404 | 410 => Ok((TusStanding::Gone, said)),
            412 => Err(Trouble {
                failure: permanent(
                    Cause::HttpStatus,
                    format!("{} does not speak tus {VERSION}", self.host()),
                ),
                ..self.refused(said, true)
            }),
            _ => Err(self.refused(said, true)),
        }
    }

    async fn digest(&self, checksum: Checksum, range: Range<u64>) -> Result<Vec<u8>, Failure> {
        let content = std::sync::Arc::clone(&self.content);
        let algorithm = match checksum {
            Checksum::Sha256 => &ring::digest::SHA256,
            Checksum::Sha1 => &ring::digest::SHA1_FOR_LEGACY_USE_ONLY,
        };
        let digest = tokio::task::spawn_blocking(move || {
            let mut digest = ring::digest::Context::new(algorithm);
            content.read(range, |bytes| digest.update(bytes))?;
            Ok(digest.finish().as_ref().to_vec())
        });
        digest.await.unwrap_or_else(|_| Err(transient(Cause::FileIo, "reading the source was broken off")))
    }
}

/// An offset of a tus upload that can be gone on from.
fn sound(
    host: &str,
    offset: Option<u64>,
    length: Option<u64>,
    known: u64,
    total: u64,
) -> Result<u64, Failure> {
    let problem = match offset {
        None => "does not tell how many bytes it has".to_owned(),
        Some(offset) if offset > total => format!("has {offset} of at most {total} bytes"),
        Some(offset) if offset < known => format!("had {known} bytes and has {offset} now"),
        Some(_) if length.is_some_and(|length| length != total) => {
            format!("expects {} bytes, and these are {total}", length.unwrap_or_default())
        }
        Some(offset) => return Ok(offset),
    };
    Err(needs_input(Cause::SizeMismatch, format!("{host} {problem}: the upload cannot go on")))
}
