//! Which operations a list query means, where that is not a matter of indexes. Shared by all stores.

use longhaul_contract::OperationId;

/// The inclusive bounds of the ids that begin with these hexadecimal digits; dashes are ignored.
/// `None` when no id can begin so.
pub(crate) fn prefix_bounds(prefix: &str) -> Option<(OperationId, OperationId)> {
    let mut lower = [0u8; 16];
    let mut upper = [0xff_u8; 16];
    for (position, digit) in prefix.chars().filter(|c| *c != '-').enumerate() {
        let value = u8::try_from(digit.to_digit(16)?).ok()?;
        let byte = position / 2;
        let shift = if position % 2 == 0 { 4 } else { 0 };
        let low = lower.get_mut(byte)?;
        *low |= value << shift;
        upper[byte] &= !(0xf << shift) | (value << shift);
    }
    Some((OperationId::from_bytes(lower), OperationId::from_bytes(upper)))
}

/// Text to look for, without regard to ASCII case.
pub(crate) struct Needle(Vec<u8>);

impl Needle {
    pub(crate) fn new(text: &str) -> Self {
        Self(text.to_ascii_lowercase().into_bytes())
    }

    pub(crate) fn is_in(&self, text: &[u8]) -> bool {
        let Some((first, rest)) = self.0.split_first() else { return true };
        let mut from = 0;
        while let Some(found) = text[from..].iter().position(|byte| byte.eq_ignore_ascii_case(first)) {
            let behind = &text[from + found + 1..];
            if behind.len() < rest.len() {
                return false;
            }
            if behind[..rest.len()].eq_ignore_ascii_case(rest) {
                return true;
            }
            from += found + 1;
        }
        false
    }

    /// Whether JSON shows this text as it is, so that a text without it in its JSON is without it altogether.
    pub(crate) fn is_plain_in_json(&self) -> bool {
        !self.0.iter().any(|byte| *byte < 0x20 || matches!(byte, b'"' | b'\\' | 0x7f))
    }

    /// Whether it is in the URI, in the last part of a path or in the label.
    pub(crate) fn matches(&self, uri: &str, files: &[&str], label: Option<&str>) -> bool {
        let mut names = files.iter().map(|file| file.rsplit('/').next().unwrap_or_default());
        self.is_in(uri.as_bytes())
            || names.any(|name| self.is_in(name.as_bytes()))
            || label.is_some_and(|label| self.is_in(label.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_bounds_exactly_the_ids_that_begin_with_it() {
        let id: OperationId = "0193a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b".parse().unwrap();
        let text = id.to_string();
        for length in 0..=text.len() {
            let (lower, upper) = prefix_bounds(&text[..length].to_uppercase()).unwrap();
            assert!(lower <= id && id <= upper, "{length}");
        }
        let (lower, upper) = prefix_bounds("0193a").unwrap();
        assert_eq!(lower.to_string(), "0193a000-0000-0000-0000-000000000000");
        assert_eq!(upper.to_string(), "0193afff-ffff-ffff-ffff-ffffffffffff");
        assert_eq!(prefix_bounds("0193g"), None);
        assert_eq!(prefix_bounds(&format!("{text}0")), None);
    }

    #[test]
    fn a_needle_is_found_without_regard_to_ascii_case() {
        for (needle, text, expected) in [
            ("", "", true),
            ("", "abc", true),
            ("ABC", "xxabcxx", true),
            ("aab", "aaab", true),
            ("abc", "ab", false),
            ("abc", "xxab", false),
            ("Ä", "xÄ", true),
            ("Ä", "xä", false),
        ] {
            assert_eq!(Needle::new(needle).is_in(text.as_bytes()), expected, "{needle:?} in {text:?}");
        }
    }

    #[test]
    fn only_the_last_part_of_the_path_counts() {
        let needle = Needle::new("film");
        assert!(needle.matches("http://a/b", &["/a", "/home/me/Film.mkv"], None));
        assert!(!needle.matches("http://a/b", &["/home/film/x.mkv"], None));
        assert!(needle.matches("http://a/b", &["/home/film/x.mkv"], Some("my film")));
        assert!(needle.matches("http://films/b", &["/x/"], None));
    }
}
