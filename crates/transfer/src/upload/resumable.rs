//! Resumable uploads of the IETF draft (draft-ietf-httpbis-resumable-upload, interop version 8).
//!
//! The server is asked for its offset only when no request of ours is under way: such a question may end it there.

use http::header::{self, HeaderMap};
use http::{HeaderValue, Method};
use longhaul_contract::{Cause, Failure, Timestamp};
use url::Url;

use super::attempt::Upload;
use super::call::{Order, Said};
use super::fields::{self, INTEROP_VERSION, UPLOAD_COMPLETE, UPLOAD_LENGTH, UPLOAD_OFFSET};
use super::record::UsedProtocol;
use super::verdict::{Done, Trouble};
use crate::http::failure::{needs_input, permanent, transient};

pub(super) const INTEROP: u64 = 8;
/// Requests in a row after which the server has no more than before.
const FRUITLESS_MAX: u32 = 3;
const PARTIAL_UPLOAD: &str = "application/partial-upload";

/// What every request of the draft carries while it is one.
pub(super) fn greet(order: Order) -> Order {
    order.number(INTEROP_VERSION, INTEROP)
}

/// Where a partial upload stands.
pub(super) enum Standing {
    At(u64),
    /// The server has produced its final response already.
    Complete(Box<Said>),
    /// The server does not know it (any more).
    Gone,
}

/// How one append ended.
enum Appended {
    /// The server has all bytes before this one.
    UpTo(u64),
    /// It is to be asked how many it has.
    Unclear,
    /// The request was too large.
    TooLarge(Box<Said>),
    Gone,
    Done(Done),
}

/// # Errors
/// An upload URL that must not be used.
pub(super) fn check_url(asked: &Url, url: &Url) -> Result<(), Failure> {
    match (asked.scheme(), url.scheme()) {
        ("https", "https") | ("http", "http" | "https") => Ok(()),
        (_, scheme) => Err(needs_input(
            Cause::RedirectToHttp,
            format!("{} names an upload URL with {scheme}:", asked.host_str().unwrap_or_default()),
        )),
    }
}

impl Upload {
    pub(super) async fn resumable(&self) -> Result<Done, Trouble> {
        self.choose(UsedProtocol::Resumable);
        if self.is_expired() {
            self.start_over();
        }
        let mut was_created = false;
        let mut is_offset_known = false;
        let mut fruitless = 0;
        let mut append_max = u64::MAX;
        loop {
            let Some(url) = self.desk.upload_url() else {
                if was_created {
                    return Err(self.lost().into());
                }
                was_created = true;
                if let Some(done) = self.create_resumable().await? {
                    return Ok(done);
                }
                is_offset_known = true;
                continue;
            };
            if !is_offset_known {
                match self.ask_offset(&url).await? {
                    Standing::At(offset) => self.desk.acknowledged(offset),
                    Standing::Complete(said) => return self.replay(&url, *said).await,
                    Standing::Gone => {
                        self.start_over();
                        continue;
                    }
                }
                self.desk.save().await?;
            }
            let before = self.desk.offset();
            is_offset_known = true;
            match self.append(&url, before, append_max).await? {
                Appended::UpTo(offset) => self.desk.acknowledged(offset),
                Appended::Unclear => is_offset_known = false,
                Appended::Gone => self.start_over(),
                Appended::Done(done) => return Ok(done),
                Appended::TooLarge(said) => {
                    let tried = append_max.min(self.content.total - before);
                    append_max = self.smaller(tried).ok_or_else(|| self.refused(*said, true))?;
                    continue;
                }
            }
            fruitless = if self.desk.offset() > before { 0 } else { fruitless + 1 };
            if fruitless > FRUITLESS_MAX {
                return Err(self.fruitless().into());
            }
        }
    }

    pub(super) fn fruitless(&self) -> Failure {
        transient(Cause::InvalidResponse, format!("{} answers, but takes no more of the upload", self.host()))
    }

    pub(super) fn is_expired(&self) -> bool {
        let record = self.desk.record();
        record.upload_url.is_some() && record.expires.is_some_and(|expires| expires <= Timestamp::now())
    }

    pub(super) fn lost(&self) -> Failure {
        needs_input(Cause::HttpStatus, format!("{} has forgotten the upload twice", self.host()))
    }

    /// The next smaller size of a request, if the server may take one.
    fn smaller(&self, tried: u64) -> Option<u64> {
        let limits = self.desk.record().limits;
        let least = limits.min_append_size.unwrap_or(1).max(1);
        let next = limits.max_append_size.filter(|most| *most < tried).unwrap_or(tried / 2).max(least);
        (next < tried).then_some(next)
    }

    /// Asks for an upload URL without sending a byte, so that it is recorded before any goes there.
    async fn create_resumable(&self) -> Result<Option<Done>, Trouble> {
        let total = self.content.total;
        let order = greet(Order::new(self.job.method.clone(), self.job.url.clone()));
        let complete = if total == 0 { "?1" } else { "?0" };
        let mut order = order.field(UPLOAD_COMPLETE, complete)?.number(UPLOAD_LENGTH, total);
        if let Some(media_type) = self.content.media_type.as_deref().or(self.job.content_type.as_deref()) {
            order = order.field(header::CONTENT_TYPE, media_type)?;
        }
        order.wants_interims = true;
        let said = self.call(order, None).await?;
        if !said.is_success() {
            return Err(self.refused(said, false));
        }
        if total == 0 {
            return Ok(Some(self.done(said)));
        }
        self.note_location(&said)?;
        if self.desk.upload_url().is_none() {
            return Err(needs_input(
                Cause::InvalidResponse,
                format!("{} does not take resumable uploads (no Location in its answer)", self.host()),
            )
            .into());
        }
        self.note_limits(&said.head.headers)?;
        self.desk.save().await?;
        Ok(None)
    }

    /// Takes over the upload URL of a final response, which has to be the one the server named before, if it did.
    fn note_location(&self, said: &Said) -> Result<(), Failure> {
        let Some(location) = fields::text(&said.head.headers, &header::LOCATION) else { return Ok(()) };
        let url = said.url.join(location).map_err(|error| {
            needs_input(Cause::InvalidResponse, format!("{} names no upload URL: {error}", self.host()))
        })?;
        match self.desk.upload_url() {
            Some(known) if known != url => {
                let detail = format!("{} named two upload URLs for one request", self.host());
                Err(permanent(Cause::InvalidResponse, detail))
            }
            Some(_) => Ok(()),
            None => {
                check_url(&said.url, &url)?;
                self.desk.set_upload_url(&url);
                Ok(())
            }
        }
    }

    /// What the server allows; tells whether it said anything new.
    ///
    /// # Errors
    /// The content does not fit.
    pub(super) fn note_limits(&self, headers: &HeaderMap) -> Result<bool, Failure> {
        let Some((limits, max_age)) = fields::limits(headers) else { return Ok(false) };
        {
            let mut record = self.desk.record();
            record.limits = limits;
            if let Some(seconds) = max_age {
                record.expires = Some(fields::in_seconds(seconds));
            }
        }
        match limits.max_size {
            Some(most) if most < self.content.total => Err(permanent(
                Cause::SizeMismatch,
                format!("{} takes at most {most} bytes, and these are {}", self.host(), self.content.total),
            )),
            _ => Ok(true),
        }
    }

    /// An offset the server told while a request is under way.
    pub(super) fn note_offset(&self, offset: u64) {
        self.desk.acknowledged_on_the_way(offset);
    }

    async fn ask_offset(&self, url: &Url) -> Result<Standing, Trouble> {
        let said = self.call(greet(Order::new(Method::HEAD, url.clone())), None).await?;
        let headers = &said.head.headers;
        match said.status() {
            200..=299 => {}
            404 | 410 => return Ok(Standing::Gone),
            _ => return Err(self.refused(said, false)),
        }
        self.note_limits(headers)?;
        if fields::boolean(headers, &UPLOAD_COMPLETE) == Some(true) {
            return Ok(Standing::Complete(Box::new(said)));
        }
        let length = fields::integer(headers, &UPLOAD_LENGTH);
        let offset = self.sound_offset(fields::integer(headers, &UPLOAD_OFFSET), length)?;
        Ok(Standing::At(offset))
    }

    /// An offset that the bytes at hand can go on from.
    ///
    /// # Errors
    /// There is none: the upload at the server is not this one.
    pub(super) fn sound_offset(&self, offset: Option<u64>, length: Option<u64>) -> Result<u64, Failure> {
        let (known, total) = (self.desk.offset(), self.content.total);
        let problem = match offset {
            None => "does not tell how many bytes it has".to_owned(),
            Some(offset) if offset > total => format!("has {offset} of {total} bytes"),
            Some(offset) if offset < known => format!("had {known} bytes and has {offset} now"),
            Some(_) if length.is_some_and(|length| length != total) => {
                format!("expects {} bytes, and these are {total}", length.unwrap_or_default())
            }
            Some(offset) => return Ok(offset),
        };
        Err(needs_input(Cause::SizeMismatch, format!("{} {problem}: the upload cannot go on", self.host())))
    }

    async fn append(&self, url: &Url, offset: u64, append_max: u64) -> Result<Appended, Trouble> {
        let total = self.content.total;
        let most = self.desk.record().limits.max_append_size.unwrap_or(u64::MAX).min(append_max).max(1);
        let end = total.min(offset.saturating_add(most));
        let is_last = end == total;
        let order = greet(Order::new(Method::PATCH, url.clone()))
            .field(UPLOAD_COMPLETE, if is_last { "?1" } else { "?0" })?
            .number(UPLOAD_OFFSET, offset)
            .range(offset..end);
        let mut order = order.field(header::CONTENT_TYPE, PARTIAL_UPLOAD)?;
        order.wants_interims = true;
        let said = self.call(order, None).await?;
        let headers = &said.head.headers;
        let is_complete = fields::boolean(headers, &UPLOAD_COMPLETE) == Some(true);
        match said.status() {
            200..=299 if is_complete => Ok(Appended::Done(self.done(said))),
            // The answer to the last append has to say that it was the last.
            200..=299 if is_last => Ok(Appended::Unclear),
            200..=299 => {
                self.note_limits(headers)?;
                Ok(Appended::UpTo(end))
            }
            _ if is_complete => Err(self.refused(said, end > offset)),
            409 => {
                let told = fields::integer(headers, &UPLOAD_OFFSET);
                if told.is_none() {
                    return Ok(Appended::Unclear);
                }
                Ok(Appended::UpTo(self.sound_offset(told, None)?))
            }
            413 => {
                self.note_limits(headers)?;
                Ok(Appended::TooLarge(Box::new(said)))
            }
            404 | 410 => Ok(Appended::Gone),
            _ => Err(self.refused(said, end > offset)),
        }
    }

    /// The final response was produced and lost; the server may say it again.
    async fn replay(&self, url: &Url, standing: Said) -> Result<Done, Trouble> {
        let order = greet(Order::new(Method::PATCH, url.clone()))
            .field(UPLOAD_COMPLETE, "?1")?
            .number(UPLOAD_OFFSET, self.content.total);
        let mut order = order.field(header::CONTENT_TYPE, PARTIAL_UPLOAD)?;
        order.fields.insert(header::CONTENT_LENGTH, HeaderValue::from(0));
        order.wants_interims = true;
        let said = self.call(order, None).await?;
        let is_complete = fields::boolean(&said.head.headers, &UPLOAD_COMPLETE) == Some(true);
        match said.status() {
            200..=299 => Ok(self.done(said)),
            _ if is_complete => Err(self.refused(said, false)),
            500..=599 => Err(self.refused(said, false)),
            // It is complete; what the server said to that is not to be had any more.
            _ => Ok(self.done(standing)),
        }
    }
}
