//! Files over FTP (RFC 959, RFC 2228, RFC 2428, RFC 3659, RFC 4217), told to the workers as the HTTP response that a
//! server with the same file would give: so one set of rules decides what is resumed, compared and tried again.
//!
//! Deliberately absent: sending, listings, the text type, active mode, and connections that outlive a file.

mod control;
mod dialogue;
mod failure;
mod login;
mod passive;
mod reply;
mod retrieval;

use std::time::SystemTime;

use http::header::{self, HeaderMap, HeaderValue};
use longhaul_contract::{Cause, Credential, Failure, address};
use url::Url;

use self::control::Control;
use self::dialogue::Facts;
use self::login::Login;
pub(crate) use self::retrieval::Retrieval;
use crate::http::address::Reach;
use crate::http::body::Body;
use crate::http::client::{Answer, Client};
use crate::http::failure::needs_input;
use crate::http::head::Head;
use crate::http::origin::{Origin, shown};
use crate::http::pool::Seat;
use crate::http::request::RangeFields;

/// Where a file is, and who asks for it.
pub(crate) struct Site {
    pub(crate) origin: Origin,
    /// As it is said to the server, or why it cannot be.
    path: Result<Vec<u8>, Failure>,
    login: Login,
}

/// What the answer is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plan {
    Whole,
    /// All from this byte on, of so many.
    Part {
        start: u64,
        total: u64,
    },
    /// No byte: the range begins behind the end, or cannot be had.
    Unsatisfied,
}

impl Site {
    /// A credential that was named comes before one in the address.
    pub(crate) fn new(url: &Url, origin: Origin, credential: Option<&Credential>) -> Self {
        let path = address::ftp_path(url).map_err(|error| {
            needs_input(Cause::UnsupportedScheme, format!("{} cannot be fetched: {error}", shown(url)))
        });
        Self { origin, path, login: Login::new(url, credential) }
    }

    /// Asks for the file over a connection of its own, in `seat`.
    ///
    /// # Errors
    /// No connection, or an answer other than the file.
    pub(crate) async fn ask(
        &self,
        client: &Client,
        seat: Seat,
        reach: Reach,
        range: Option<&RangeFields>,
    ) -> Result<Answer, Failure> {
        let path = self.path.as_ref().map_err(Clone::clone)?;
        let mut control = Control::open(client, &self.origin, reach).await?;
        let features = control.enter(&self.login, path).await?;
        let facts = control.facts(path, &features).await?;
        let plan = Plan::new(range, &facts);
        let head = plan.head(&facts, SystemTime::now());
        let start = match plan {
            Plan::Whole => 0,
            Plan::Part { start, .. } => start,
            Plan::Unsatisfied => {
                let (remote, local) = control.ends();
                control.say_goodbye();
                return Ok(Answer { head, body: Body::none(), remote, local });
            }
        };
        let data = control.retrieve(path, start).await?;
        let (remote, local) = (data.remote, data.local);
        let mut body = Body::ftp(Retrieval::new(data, control, head.length));
        body.sit(seat);
        Ok(Answer { head, body, remote, local })
    }
}

impl Plan {
    /// What HTTP would answer to `range` (RFC 9110 sections 13.1.5 and 14.2).
    fn new(range: Option<&RangeFields>, facts: &Facts) -> Self {
        let Some(range) = range else { return Self::Whole };
        let is_other = match (&range.if_range, &facts.modified) {
            (Some(wanted), Some(seen)) => wanted != seen,
            // Without its date the version is judged by its length and by the bytes that are compared.
            _ => false,
        };
        match facts.size {
            _ if is_other => Self::Whole,
            Some(0) => Self::Whole,
            Some(total) if facts.has_ranges && range.start < total => {
                Self::Part { start: range.start, total }
            }
            Some(_) if facts.has_ranges => Self::Unsatisfied,
            _ if range.start == 0 && range.if_range.is_none() => Self::Whole,
            _ => Self::Unsatisfied,
        }
    }

    fn head(self, facts: &Facts, now: SystemTime) -> Head {
        let mut headers = HeaderMap::new();
        let mut put = |name, text: &str| {
            if let Ok(value) = HeaderValue::from_str(text) {
                headers.insert(name, value);
            }
        };
        put(header::DATE, &httpdate::fmt_http_date(now));
        if let Some(modified) = &facts.modified {
            put(header::LAST_MODIFIED, modified);
        }
        put(header::ACCEPT_RANGES, if facts.has_ranges { "bytes" } else { "none" });
        let (status, length) = match self {
            Self::Whole => (200, facts.size),
            Self::Part { start, total } => {
                put(header::CONTENT_RANGE, &format!("bytes {start}-{}/{total}", total - 1));
                (206, Some(total - start))
            }
            Self::Unsatisfied => {
                if let Some(total) = facts.size.filter(|_| facts.has_ranges) {
                    put(header::CONTENT_RANGE, &format!("bytes */{total}"));
                }
                (416, Some(0))
            }
        };
        if let Some(length) = length {
            put(header::CONTENT_LENGTH, &length.to_string());
        }
        Head { status, headers, length }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "Mon, 05 Jan 2026 10:00:00 GMT";

    fn facts(size: Option<u64>, has_ranges: bool) -> Facts {
        Facts { size, modified: Some(OLD.to_owned()), has_ranges }
    }

    fn range(start: u64, if_range: Option<&str>) -> RangeFields {
        RangeFields { start, end: None, if_range: if_range.map(str::to_owned) }
    }

    #[test]
    fn ranges_are_answered_as_http_answers_them() {
        let part = Plan::Part { start: 5, total: 9 };
        for (asked, facts, plan) in [
            (range(5, None), facts(Some(9), true), part),
            (range(5, Some(OLD)), facts(Some(9), true), part),
            (range(5, Some("other")), facts(Some(9), true), Plan::Whole),
            (range(9, None), facts(Some(9), true), Plan::Unsatisfied),
            (range(0, None), facts(Some(0), true), Plan::Whole),
            (range(0, None), facts(Some(9), false), Plan::Whole),
            (range(0, Some(OLD)), facts(Some(9), false), Plan::Unsatisfied),
            (range(5, None), facts(Some(9), false), Plan::Unsatisfied),
            (range(5, None), facts(None, true), Plan::Unsatisfied),
            (range(5, Some(OLD)), Facts { modified: None, ..facts(Some(9), true) }, part),
        ] {
            assert_eq!(Plan::new(Some(&asked), &facts), plan, "{asked:?} of {facts:?}");
        }
        assert_eq!(Plan::new(None, &facts(None, false)), Plan::Whole);
    }

    #[test]
    fn heads_say_what_is_known() {
        let now = SystemTime::now();
        let text = |head: &Head, name| head.text(&name).map(str::to_owned);
        let part = Plan::Part { start: 5, total: 9 }.head(&facts(Some(9), true), now);
        assert_eq!((part.status, part.length), (206, Some(4)));
        assert_eq!(text(&part, header::CONTENT_RANGE).as_deref(), Some("bytes 5-8/9"));
        assert_eq!(text(&part, header::LAST_MODIFIED).as_deref(), Some(OLD));
        let behind = Plan::Unsatisfied.head(&facts(Some(9), true), now);
        assert_eq!(text(&behind, header::CONTENT_RANGE).as_deref(), Some("bytes */9"));
        let none = Plan::Unsatisfied.head(&facts(Some(9), false), now);
        assert_eq!((none.status, text(&none, header::CONTENT_RANGE)), (416, None));
        let whole = Plan::Whole.head(&Facts { size: None, modified: None, has_ranges: false }, now);
        assert_eq!((whole.status, whole.length), (200, None));
        assert_eq!(text(&whole, header::ACCEPT_RANGES).as_deref(), Some("none"));
    }
}
