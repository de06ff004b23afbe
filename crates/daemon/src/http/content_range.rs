//! `Range` with one range of bytes (RFC 9110 section 14). More than one, or another unit, is answered with the whole.

use http::HeaderValue;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    Whole,
    /// Both ends belong to it.
    Part {
        first: u64,
        last: u64,
    },
    Unsatisfiable,
}

pub(super) fn parse_range(value: &HeaderValue, total: u64) -> Asked {
    let Some((unit, set)) = value.to_str().ok().and_then(|text| text.split_once('=')) else {
        return Asked::Whole;
    };
    let Some((first, last)) = set.trim().split_once('-').filter(|_| !set.contains(',')) else {
        return Asked::Whole;
    };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Asked::Whole;
    }
    match (number(first), number(last)) {
        (Some(Some(first)), Some(last)) => {
            if last.is_some_and(|last| last < first) {
                return Asked::Whole;
            }
            if first >= total {
                return Asked::Unsatisfiable;
            }
            Asked::Part { first, last: last.map_or(total - 1, |last| last.min(total - 1)) }
        }
        (Some(None), Some(Some(suffix))) => {
            if suffix == 0 || total == 0 {
                return Asked::Unsatisfiable;
            }
            Asked::Part { first: total.saturating_sub(suffix), last: total - 1 }
        }
        _ => Asked::Whole,
    }
}

/// Digits, nothing at all, or neither. A number that is too large is behind every end.
fn number(text: &str) -> Option<Option<u64>> {
    let text = text.trim();
    if text.is_empty() {
        return Some(None);
    }
    text.bytes().all(|b| b.is_ascii_digit()).then(|| Some(text.parse().unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_of_bytes_is_understood() {
        let part = |first, last| Asked::Part { first, last };
        for (text, asked) in [
            ("bytes=0-9", part(0, 9)),
            ("bytes=90-", part(90, 99)),
            ("bytes=90-1000", part(90, 99)),
            ("bytes=-10", part(90, 99)),
            ("bytes=-1000", part(0, 99)),
            ("Bytes = 5-5", part(5, 5)),
            ("bytes=100-", Asked::Unsatisfiable),
            ("bytes=99999999999999999999999-", Asked::Unsatisfiable),
            ("bytes=-0", Asked::Unsatisfiable),
            ("bytes=9-5", Asked::Whole),
            ("bytes=0-1,5-6", Asked::Whole),
            ("bytes=a-b", Asked::Whole),
            ("bytes=-", Asked::Whole),
            ("lines=0-9", Asked::Whole),
            ("0-9", Asked::Whole),
        ] {
            assert_eq!(parse_range(&HeaderValue::from_str(text).unwrap(), 100), asked, "{text}");
        }
        assert_eq!(parse_range(&HeaderValue::from_static("bytes=0-"), 0), Asked::Unsatisfiable);
    }
}
