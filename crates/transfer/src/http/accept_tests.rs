use http::header::{HeaderMap, HeaderName};

use super::*;

const ETAG: &str = "\"v1\"";

fn known() -> Validators {
    Validators { etag: Some(ETAG.to_owned()), total: Some(1000), ..Validators::default() }
}

fn resumed(known: &Validators) -> Asked<'_> {
    Asked { start: Some(400), known: Some(known), held: 500, holds_no_page: true }
}

const FRESH: Asked<'static> = Asked { start: None, known: None, held: 0, holds_no_page: false };

fn head(status: u16, length: Option<u64>, fields: &[(&str, &str)]) -> Head {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
    }
    Head { status, headers, length }
}

fn judged(asked: &Asked<'_>, expect: Option<&Expectation>, head: &Head) -> Verdict {
    let url = Url::parse("http://a.example/file.iso").unwrap();
    let demand = Demand { url: &url, expect, has_checksum: false, is_random_access: false };
    judge(asked, &demand, head, SystemTime::UNIX_EPOCH)
}

fn part(fields: &[(&str, &str)], length: u64) -> Verdict {
    judged(&resumed(&known()), None, &head(206, Some(length), fields))
}

fn is_part(verdict: &Verdict, start: u64, end: u64) -> bool {
    matches!(verdict, Verdict::Part { start: from, end: to, .. } if (*from, *to) == (start, end))
}

#[test]
fn fault_001_the_rest_of_the_same_version_is_taken() {
    let verdict = part(&[("content-range", "bytes 400-999/1000"), ("etag", ETAG)], 600);
    assert!(is_part(&verdict, 400, 1000), "{verdict:?}");
    assert!(matches!(verdict, Verdict::Part { is_resumable: true, total: Some(1000), .. }));
}

#[test]
fn fault_002_another_version_is_told_from_the_same() {
    let known = known();
    for (fields, expected) in [
        (vec![("etag", ETAG)], Version::Same),
        (vec![], Version::Same),
        (vec![("etag", "W/\"v1\"")], Version::Same),
        (vec![("etag", "\"v2\"")], Version::Other("ETag was \"v1\", is \"v2\"".to_owned())),
    ] {
        let verdict = judged(&resumed(&known), None, &head(200, Some(1000), &fields));
        let Verdict::Whole { versus_known, .. } = verdict else { panic!("{verdict:?}") };
        assert_eq!(versus_known, expected);
    }
    let verdict = judged(&resumed(&known), None, &head(200, Some(1001), &[("etag", ETAG)]));
    assert!(matches!(verdict, Verdict::Whole { versus_known: Version::Other(_), .. }), "{verdict:?}");
}

#[test]
fn fault_003_a_206_of_another_version_is_refused() {
    let dated = Validators { last_modified: Some("Mon, 05 Jan 2026 10:00:00 GMT".to_owned()), ..known() };
    for fields in [
        [("content-range", "bytes 400-999/1000"), ("etag", "\"v2\"")],
        [("content-range", "bytes 400-999/1000"), ("last-modified", "Tue, 06 Jan 2026 10:00:00 GMT")],
        [("content-range", "bytes 400-1000/1001"), ("etag", ETAG)],
    ] {
        let length = if fields[0].1.ends_with("1001") { 601 } else { 600 };
        let verdict = judged(&resumed(&dated), None, &head(206, Some(length), &fields));
        assert!(matches!(verdict, Verdict::Changed(_)), "{fields:?}: {verdict:?}");
    }
}

#[test]
fn parts_that_do_not_fit_are_refused() {
    for (row, content_range, length, other) in [
        (9, "bytes 401-999/1000", 599, None),
        (9, "bytes 0-399/1000", 400, None),
        (12, "", 600, None),
        (15, "lines 400-999/1000", 600, None),
        (15, "bytes */1000", 600, None),
        (12, "bytes 400-999/1000", 599, None),
        (18, "bytes 400-999/1000", 600, Some(("content-type", "multipart/byteranges; boundary=x"))),
        (27, "bytes 400-999/1000", 600, Some(("content-encoding", "gzip"))),
    ] {
        let mut fields = vec![("content-range", content_range)];
        fields.extend(other);
        let verdict = part(&fields, length);
        assert!(matches!(verdict, Verdict::NoRange(_)), "row {row}, {content_range:?}: {verdict:?}");
    }
}

#[test]
fn fault_008_and_010_a_part_may_begin_early_and_end_anywhere() {
    assert!(is_part(&part(&[("content-range", "bytes 0-999/1000")], 1000), 0, 1000));
    assert!(is_part(&part(&[("content-range", "bytes 400-450/1000")], 51), 400, 451));
    assert!(is_part(&part(&[("content-range", "bytes 400-999/*")], 600), 400, 1000));
}

#[test]
fn fault_019_and_020_416_is_complete_changed_or_a_refusal() {
    let known = Validators { total: None, ..known() };
    let asked = Asked { start: Some(500), known: Some(&known), held: 500, holds_no_page: true };
    for (content_range, expected) in
        [("bytes */500", 'C'), ("bytes */499", 'X'), ("bytes */501", 'N'), ("", 'N')]
    {
        let verdict = judged(&asked, None, &head(416, Some(0), &[("content-range", content_range)]));
        let letter = match verdict {
            Verdict::Complete => 'C',
            Verdict::Changed(_) => 'X',
            Verdict::NoRange(_) => 'N',
            _ => '?',
        };
        assert_eq!(letter, expected, "{content_range}");
    }
    let other = [("content-range", "bytes */500"), ("etag", "\"v2\"")];
    assert!(matches!(judged(&asked, None, &head(416, None, &other)), Verdict::Changed(_)));
}

#[test]
fn statuses_are_sorted_by_remedy() {
    for (status, remedy, cause) in [
        (204, Remedy::Permanent, Cause::HttpStatus),
        (205, Remedy::Permanent, Cause::HttpStatus),
        (202, Remedy::Permanent, Cause::HttpStatus),
        (304, Remedy::Permanent, Cause::HttpStatus),
        (400, Remedy::Permanent, Cause::HttpStatus),
        (401, Remedy::NeedsInput, Cause::HttpStatus),
        (403, Remedy::NeedsInput, Cause::HttpStatus),
        (404, Remedy::NeedsInput, Cause::HttpStatus),
        (410, Remedy::NeedsInput, Cause::HttpStatus),
        (451, Remedy::NeedsInput, Cause::HttpStatus),
        (408, Remedy::Transient, Cause::HttpStatus),
        (425, Remedy::Transient, Cause::HttpStatus),
        (429, Remedy::Transient, Cause::RateLimitedByServer),
        (500, Remedy::Transient, Cause::HttpStatus),
        (503, Remedy::Transient, Cause::HttpStatus),
        (522, Remedy::Transient, Cause::HttpStatus),
        (511, Remedy::Blocked { on: Blocker::Portal }, Cause::CaptivePortal),
    ] {
        let verdict = judged(&FRESH, None, &head(status, None, &[]));
        let Verdict::Refused(failure) = verdict else { panic!("{status}: {verdict:?}") };
        assert_eq!((failure.remedy, failure.cause), (remedy, cause), "{status}");
        assert_eq!(failure.http_status, Some(status));
    }
    let limited = judged(&FRESH, None, &head(503, None, &[("retry-after", "7")]));
    let Verdict::Refused(failure) = limited else { panic!("{limited:?}") };
    assert_eq!((failure.cause, failure.retry_after_seconds), (Cause::RateLimitedByServer, Some(7)));
}

#[test]
fn fault_026_an_encoded_whole_is_kept_as_sent_and_cannot_be_resumed() {
    let fields = [("etag", ETAG), ("accept-ranges", "bytes"), ("content-encoding", "gzip")];
    let verdict = judged(&FRESH, None, &head(200, Some(10), &fields));
    assert!(matches!(verdict, Verdict::Whole { is_resumable: false, total: Some(10), .. }), "{verdict:?}");
}

#[test]
fn fault_038_a_page_in_place_of_the_file_is_taken_for_a_portal() {
    let expect = |size, content_type: Option<&str>| Expectation {
        size,
        content_type: content_type.map(str::to_owned),
    };
    let page = head(200, Some(50), &[("content-type", "text/html; charset=utf-8")]);
    for expect in [expect(Some(1000), None), expect(None, Some("application/*"))] {
        let verdict = judged(&FRESH, Some(&expect), &page);
        let Verdict::Refused(failure) = verdict else { panic!("{verdict:?}") };
        assert_eq!(failure.remedy, Remedy::Blocked { on: Blocker::Portal });
    }
    let verdict = judged(&resumed(&known()), None, &page);
    assert!(
        matches!(&verdict, Verdict::Refused(failure) if failure.cause == Cause::CaptivePortal),
        "{verdict:?}"
    );
    assert!(matches!(judged(&FRESH, None, &page), Verdict::Whole { .. }), "a page may be what was wanted");
    assert!(matches!(
        judged(&FRESH, Some(&expect(Some(50), Some("text/html"))), &page),
        Verdict::Whole { .. }
    ));
    let other = head(200, Some(50), &[("content-type", "image/png")]);
    for (expect, cause) in [
        (expect(Some(51), None), Cause::SizeMismatch),
        (expect(None, Some("image/jpeg")), Cause::ContentTypeMismatch),
    ] {
        let verdict = judged(&FRESH, Some(&expect), &other);
        assert!(matches!(&verdict, Verdict::Refused(failure) if failure.cause == cause), "{verdict:?}");
    }
    assert!(matches!(
        judged(&FRESH, Some(&expect(Some(50), Some("image/*"))), &other),
        Verdict::Whole { .. }
    ));
}

#[test]
fn random_access_needs_ranges_a_length_and_a_validator() {
    let url = Url::parse("http://a.example/film").unwrap();
    let demand = Demand { url: &url, expect: None, has_checksum: false, is_random_access: true };
    let asked = Asked { start: Some(0), ..FRESH };
    let range = ("content-range", "bytes 0-999/1000");
    let (etag, ranges) = (("etag", ETAG), ("accept-ranges", "bytes"));
    for (status, length, fields, refused) in [
        (206, Some(1000), vec![range, etag], None),
        (200, Some(1000), vec![ranges, etag], None),
        (200, Some(1000), vec![etag], Some(WebErrorStatus::InsufficientRangeSupport)),
        (206, Some(1000), vec![range], Some(WebErrorStatus::InsufficientRangeSupport)),
        (206, Some(1000), vec![range, ("etag", "W/\"v1\"")], Some(WebErrorStatus::InsufficientRangeSupport)),
        (200, None, vec![ranges, etag], Some(WebErrorStatus::MissingContentLengthSupport)),
        (206, None, vec![range, etag], Some(WebErrorStatus::MissingContentLengthSupport)),
    ] {
        let verdict = judge(&asked, &demand, &head(status, length, &fields), SystemTime::UNIX_EPOCH);
        match (refused, &verdict) {
            (None, Verdict::Part { .. } | Verdict::Whole { .. }) => {}
            (Some(expected), Verdict::Refused(failure)) => {
                assert_eq!((failure.web_error_status, failure.remedy), (expected, Remedy::Permanent));
            }
            _ => panic!("{status} {fields:?}: {verdict:?}"),
        }
    }
}
