//! What the head of a response says, parsed once and strictly.

use std::time::{Duration, SystemTime};

use http::header::{self, HeaderMap, HeaderName};
use longhaul_contract::ResponseInformation;
use url::Url;

use super::origin;
use crate::journal::Validators;

/// Bounds of what a server may ask for with Retry-After.
const RETRY_AFTER_MIN: Duration = Duration::from_secs(1);
const RETRY_AFTER_MAX: Duration = Duration::from_hours(1);

/// Last-Modified is a strong validator only if the response is this much younger (RFC 9110 section 8.8.2.2).
const STRONG_AGE: Duration = Duration::from_mins(1);

#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    /// Length of the body by its framing; `None` until it ends.
    pub(crate) length: Option<u64>,
}

/// Content-Range (RFC 9110 section 14.4), with an exclusive end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ContentRange {
    Part { start: u64, end: u64, total: Option<u64> },
    Unsatisfied { total: u64 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AcceptRanges {
    Bytes,
    None,
    Unsaid,
}

impl Head {
    /// The field's only value; several equal ones count as one, different ones as none.
    pub(crate) fn text(&self, name: &HeaderName) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let first = values.next()?;
        if values.any(|other| other != first) {
            return None;
        }
        std::str::from_utf8(first.as_bytes()).ok().map(str::trim)
    }

    pub(crate) fn content_range(&self) -> Option<ContentRange> {
        parse_content_range(self.text(&header::CONTENT_RANGE)?)
    }

    pub(crate) fn accept_ranges(&self) -> AcceptRanges {
        match self.text(&header::ACCEPT_RANGES) {
            Some(value) if value.split(',').any(|unit| unit.trim().eq_ignore_ascii_case("bytes")) => {
                AcceptRanges::Bytes
            }
            Some(_) => AcceptRanges::None,
            None => AcceptRanges::Unsaid,
        }
    }

    pub(crate) fn validators(&self, total: Option<u64>) -> Validators {
        let keep = |name| self.text(name).filter(|value| value.len() <= 1024).map(str::to_owned);
        Validators {
            etag: keep(&header::ETAG).filter(|etag| is_etag(etag)),
            last_modified: keep(&header::LAST_MODIFIED)
                .filter(|date| httpdate::parse_http_date(date).is_ok()),
            date: keep(&header::DATE),
            total,
        }
    }

    /// Whether the body is anything but the bytes of the file itself.
    pub(crate) fn is_encoded(&self) -> bool {
        self.headers
            .get_all(header::CONTENT_ENCODING)
            .iter()
            .any(|value| !value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity"))
    }

    /// Type and subtype in lower case, without parameters.
    pub(crate) fn media_type(&self) -> Option<String> {
        let value = self.text(&header::CONTENT_TYPE)?;
        Some(value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
    }

    /// Seconds to wait, bounded; `None` when the field is absent or makes no sense.
    pub(crate) fn retry_after(&self, now: SystemTime) -> Option<u32> {
        let value = self.text(&header::RETRY_AFTER)?;
        let wish = if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
            Duration::from_secs(value.parse().unwrap_or(u64::MAX))
        } else {
            httpdate::parse_http_date(value).ok()?.duration_since(now).unwrap_or_default()
        };
        u32::try_from(wish.clamp(RETRY_AFTER_MIN, RETRY_AFTER_MAX).as_secs()).ok()
    }

    pub(crate) fn information(&self, url: &Url, is_resumable: bool) -> ResponseInformation {
        const HIDDEN: [HeaderName; 3] =
            [header::SET_COOKIE, HeaderName::from_static("set-cookie2"), header::LOCATION];
        let headers = self
            .headers
            .iter()
            .filter(|(name, _)| {
                !HIDDEN.contains(name)
                    && !name.as_str().contains("authenticat")
                    && !name.as_str().contains("token")
            })
            .map(|(name, value)| {
                (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
            })
            .collect();
        ResponseInformation {
            actual_uri: origin::shown(url),
            status_code: self.status,
            is_resumable,
            headers,
        }
    }
}

fn is_etag(value: &str) -> bool {
    let opaque = value.strip_prefix("W/").unwrap_or(value);
    opaque.len() >= 2
        && opaque.starts_with('"')
        && opaque.ends_with('"')
        && opaque[1..opaque.len() - 1].bytes().all(|byte| byte == 0x21 || (0x23..0x7f).contains(&byte))
}

fn parse_content_range(value: &str) -> Option<ContentRange> {
    let (unit, rest) = value.split_once(' ')?;
    if !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    let number = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| text.parse::<u64>().ok()).flatten()
    };
    let (range, total) = rest.trim().split_once('/')?;
    if range == "*" {
        return Some(ContentRange::Unsatisfied { total: number(total)? });
    }
    let (first, last) = range.split_once('-')?;
    let (start, last) = (number(first)?, number(last)?);
    let end = last.checked_add(1)?;
    let total = if total == "*" { None } else { Some(number(total)?) };
    let is_sound = start < end && total.is_none_or(|total| end <= total);
    is_sound.then_some(ContentRange::Part { start, end, total })
}

/// The field value for If-Range, if a strong validator is known (RFC 9110 section 13.1.5).
pub(crate) fn strong_validator(validators: &Validators) -> Option<&str> {
    if let Some(etag) = validators.etag.as_deref() {
        // A weak entity tag says that the origin tells versions apart by less than their bytes.
        return (!etag.starts_with("W/")).then_some(etag);
    }
    let modified = httpdate::parse_http_date(validators.last_modified.as_deref()?).ok()?;
    let date = httpdate::parse_http_date(validators.date.as_deref()?).ok()?;
    let is_strong = date.duration_since(modified).is_ok_and(|age| age >= STRONG_AGE);
    is_strong.then_some(validators.last_modified.as_deref()).flatten()
}

/// What differs between the version of the bytes at hand and that of a response; fields only one side has say nothing.
pub(crate) fn difference(known: &Validators, seen: &Validators) -> Option<String> {
    let opaque = |etag: &str| etag.strip_prefix("W/").unwrap_or(etag).to_owned();
    match (&known.etag, &seen.etag) {
        (Some(old), Some(new)) if opaque(old) != opaque(new) => {
            return Some(format!("ETag was {old}, is {new}"));
        }
        _ => {}
    }
    match (&known.last_modified, &seen.last_modified) {
        (Some(old), Some(new)) if old != new => return Some(format!("Last-Modified was {old}, is {new}")),
        _ => {}
    }
    match (known.total, seen.total) {
        (Some(old), Some(new)) if old != new => Some(format!("length was {old}, is {new}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(fields: &[(&str, &str)]) -> Head {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        Head { status: 200, headers, length: None }
    }

    #[test]
    fn content_range_is_parsed_strictly() {
        let part = |start, end, total| Some(ContentRange::Part { start, end, total });
        for (value, expected) in [
            ("bytes 0-0/1", part(0, 1, Some(1))),
            ("Bytes 5-9/*", part(5, 10, None)),
            ("bytes */77", Some(ContentRange::Unsatisfied { total: 77 })),
            ("bytes */*", None),
            ("bytes 5-4/10", None),
            ("bytes 0-10/10", None),
            ("bytes -5/10", None),
            ("bytes 0-/10", None),
            ("bytes 0-18446744073709551615/*", None),
            ("bytes +1-2/3", None),
            ("lines 0-1/2", None),
            ("0-1/2", None),
            ("", None),
        ] {
            assert_eq!(parse_content_range(value), expected, "{value}");
        }
        let twice = head(&[("content-range", "bytes 0-1/2"), ("content-range", "bytes 0-0/2")]);
        assert_eq!(twice.content_range(), None);
    }

    #[test]
    fn fault_004_only_strong_validators_are_used_in_if_range() {
        let old = "Sun, 06 Nov 1994 08:49:37 GMT";
        let cases = [
            (Some("\"a\""), None, None, Some("\"a\"")),
            (Some("W/\"a\""), None, None, None),
            (Some("W/\"a\""), Some(old), Some("Mon, 07 Nov 1994 08:49:37 GMT"), None),
            (None, Some(old), Some("Sun, 06 Nov 1994 08:50:37 GMT"), Some(old)),
            (None, Some(old), Some("Sun, 06 Nov 1994 08:50:36 GMT"), None),
            (None, Some(old), None, None),
            (None, None, None, None),
        ];
        for (etag, last_modified, date, expected) in cases {
            let own = |text: Option<&str>| text.map(str::to_owned);
            let validators = Validators {
                etag: own(etag),
                last_modified: own(last_modified),
                date: own(date),
                total: None,
            };
            assert_eq!(strong_validator(&validators), expected, "{validators:?}");
        }
    }

    #[test]
    fn fault_057_retry_after_is_bounded() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        for (value, expected) in [
            ("120", Some(120)),
            ("0", Some(1)),
            ("1000000000", Some(3600)),
            ("99999999999999999999999999", Some(3600)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Sat, 06 Nov 1993 08:50:37 GMT", Some(1)),
            ("soon", None),
            ("-5", None),
            ("", None),
        ] {
            assert_eq!(head(&[("retry-after", value)]).retry_after(now), expected, "{value}");
        }
    }

    #[test]
    fn malformed_validators_do_not_count() {
        let seen = head(&[("etag", "unquoted"), ("last-modified", "yesterday")]).validators(Some(1));
        assert_eq!(seen, Validators { total: Some(1), ..Validators::default() });
    }

    #[test]
    fn secrets_are_left_out_of_what_is_shown() {
        let url = Url::parse("http://a.example/f?token=abc").unwrap();
        let shown =
            head(&[("set-cookie", "a=b"), ("etag", "\"1\""), ("x-auth-token", "t")]).information(&url, true);
        assert_eq!(shown.headers, [("etag".to_owned(), "\"1\"".to_owned())]);
        assert_eq!(shown.actual_uri, "http://a.example/f?token=***");
    }
}
