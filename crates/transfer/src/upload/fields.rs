//! Header fields of the upload protocols, read strictly: a value that is not what it should be counts as absent.

use std::time::SystemTime;

use http::{HeaderMap, HeaderName};
use longhaul_contract::Timestamp;
use sfv::{BareItem, Dictionary, Item, ListEntry, Parser};

use super::record::UploadLimits;

pub(super) const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");
pub(super) const UPLOAD_LENGTH: HeaderName = HeaderName::from_static("upload-length");
pub(super) const UPLOAD_COMPLETE: HeaderName = HeaderName::from_static("upload-complete");
pub(super) const UPLOAD_LIMIT: HeaderName = HeaderName::from_static("upload-limit");
pub(super) const INTEROP_VERSION: HeaderName = HeaderName::from_static("upload-draft-interop-version");
pub(super) const TUS_RESUMABLE: HeaderName = HeaderName::from_static("tus-resumable");
pub(super) const TUS_VERSION: HeaderName = HeaderName::from_static("tus-version");
pub(super) const TUS_EXTENSION: HeaderName = HeaderName::from_static("tus-extension");
pub(super) const TUS_MAX_SIZE: HeaderName = HeaderName::from_static("tus-max-size");
pub(super) const TUS_CHECKSUM_ALGORITHM: HeaderName = HeaderName::from_static("tus-checksum-algorithm");
pub(super) const UPLOAD_METADATA: HeaderName = HeaderName::from_static("upload-metadata");
pub(super) const UPLOAD_CONCAT: HeaderName = HeaderName::from_static("upload-concat");
pub(super) const UPLOAD_CHECKSUM: HeaderName = HeaderName::from_static("upload-checksum");
pub(super) const UPLOAD_EXPIRES: HeaderName = HeaderName::from_static("upload-expires");
pub(super) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// A field that may be there once.
pub(super) fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    if values.any(|other| other != first) {
        return None;
    }
    first.to_str().ok().map(str::trim)
}

/// Decimal digits and nothing else (tus 1.0).
pub(super) fn number(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    let value = text(headers, name)?;
    let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| value.parse().ok()).flatten()
}

/// A non-negative Integer (RFC 9651 section 3.3.1).
pub(super) fn integer(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    match item(headers, name)? {
        BareItem::Integer(value) => u64::try_from(i64::from(value)).ok(),
        _ => None,
    }
}

/// A Boolean (RFC 9651 section 3.3.6).
pub(super) fn boolean(headers: &HeaderMap, name: &HeaderName) -> Option<bool> {
    match item(headers, name)? {
        BareItem::Boolean(value) => Some(value),
        _ => None,
    }
}

fn item(headers: &HeaderMap, name: &HeaderName) -> Option<BareItem> {
    let value = headers.get(name)?;
    if headers.get_all(name).iter().any(|other| other != value) {
        return None;
    }
    Parser::new(value.as_bytes()).parse::<Item>().ok().map(|item| item.bare_item)
}

/// Upload-Limit: unknown members are ignored; a known one of the wrong type makes the whole field ignored.
pub(super) fn limits(headers: &HeaderMap) -> Option<(UploadLimits, Option<u64>)> {
    let lines: Vec<&[u8]> = headers.get_all(&UPLOAD_LIMIT).iter().map(http::HeaderValue::as_bytes).collect();
    if lines.is_empty() {
        return None;
    }
    let joined = lines.join(&b", "[..]);
    let dictionary = Parser::new(&joined).parse::<Dictionary>().ok()?;
    let mut limits = UploadLimits::default();
    let mut max_age = None;
    for (key, entry) in dictionary {
        let slot = match key.as_str() {
            "max-size" => &mut limits.max_size,
            "min-size" => &mut limits.min_size,
            "max-append-size" => &mut limits.max_append_size,
            "min-append-size" => &mut limits.min_append_size,
            "max-age" => &mut max_age,
            _ => continue,
        };
        let ListEntry::Item(item) = entry else { return None };
        let BareItem::Integer(value) = item.bare_item else { return None };
        *slot = Some(u64::try_from(i64::from(value)).ok()?);
    }
    Some((limits, max_age))
}

/// Words of a list, such as Tus-Extension.
pub(super) fn words(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .map(|word| word.trim().to_ascii_lowercase())
        .filter(|word| !word.is_empty())
        .collect()
}

/// Upload-Expires (tus 1.0), an HTTP date.
pub(super) fn expires(headers: &HeaderMap) -> Option<Timestamp> {
    let time = httpdate::parse_http_date(text(headers, &UPLOAD_EXPIRES)?).ok()?;
    let now = SystemTime::now();
    match time.duration_since(now) {
        Ok(left) => Some(in_seconds(left.as_secs())),
        Err(past) => {
            let seconds = i64::try_from(past.duration().as_secs()).unwrap_or(i64::MAX);
            Some(Timestamp::now().plus_seconds(-seconds.max(1)))
        }
    }
}

/// The moment `seconds` from now.
pub(super) fn in_seconds(seconds: u64) -> Timestamp {
    // A server that keeps it for longer than a year keeps it for ever, as far as an upload is concerned.
    let seconds = i64::try_from(seconds.min(366 * 24 * 3600)).unwrap_or(i64::MAX);
    Timestamp::now().plus_seconds(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn fault_104_an_offset_that_is_no_number_is_none() {
        for (value, tus, draft) in [
            ("0", Some(0), Some(0)),
            ("12345678901", Some(12_345_678_901), Some(12_345_678_901)),
            ("-1", None, None),
            ("+1", None, None),
            ("1.0", None, None),
            ("0x10", None, None),
            ("", None, None),
            ("?1", None, None),
            ("5;a=b", None, Some(5)),
            ("99999999999999999999999", None, None),
        ] {
            let headers = headers(&[("upload-offset", value)]);
            assert_eq!(number(&headers, &UPLOAD_OFFSET), tus, "{value}");
            assert_eq!(integer(&headers, &UPLOAD_OFFSET), draft, "{value}");
        }
        let twice = headers(&[("upload-offset", "1"), ("upload-offset", "2")]);
        assert_eq!((number(&twice, &UPLOAD_OFFSET), integer(&twice, &UPLOAD_OFFSET)), (None, None));
        assert_eq!(boolean(&headers(&[("upload-complete", "?1")]), &UPLOAD_COMPLETE), Some(true));
        assert_eq!(boolean(&headers(&[("upload-complete", "1")]), &UPLOAD_COMPLETE), None);
    }

    #[test]
    fn fault_109_limits_are_obeyed_unless_one_of_them_makes_no_sense() {
        let parse = |value: &str| limits(&headers(&[("upload-limit", value)]));
        let (known, max_age) = parse("max-size=100, max-append-size=10, colour=blue, max-age=60").unwrap();
        assert_eq!(
            known,
            UploadLimits { max_size: Some(100), max_append_size: Some(10), ..UploadLimits::default() }
        );
        assert_eq!(max_age, Some(60));
        for wrong in
            ["max-size=\"100\"", "max-size=(1 2)", "max-size=?1, min-size=1", "max-size=-1", "max size=1"]
        {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
        let lines = headers(&[("upload-limit", "max-size=1"), ("upload-limit", "min-size=2")]);
        assert_eq!(limits(&lines).unwrap().0.min_size, Some(2));
    }
}
