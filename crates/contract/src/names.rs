//! File names and result paths out of servers, URLs, lists and callers: made harmless, or refused, before anything
//! touches a disk.
//!
//! Names that others chose lose what could climb out of the folder, hide the file or mislead a reader, and the
//! characters that some file systems refuse; this is what browsers do. Names that the caller chose are taken as they
//! are or refused.

use percent_encoding::percent_decode;
use url::Url;

use crate::address::{Scheme, split_type};

/// What a name becomes when nothing of it is left.
pub const FALLBACK_NAME: &str = "download";

/// Bytes a file name may have on Linux (NAME_MAX).
pub const NAME_BYTES_MAX: usize = 255;

/// Bytes a path may have on Linux (PATH_MAX without the closing NUL).
pub const PATH_BYTES_MAX: usize = 4095;

/// Longer ends than this are no extensions worth keeping when a name is cut.
const EXTENSION_BYTES_MAX: usize = 24;

/// A harmless file name out of a name that a server, a URL or a list chose: the last component, without control and
/// direction characters, without dots at its start, at most [`NAME_BYTES_MAX`] bytes. Never empty, `.` or `..`.
#[must_use]
pub fn sanitize(name: &str) -> String {
    let visible: String = name.chars().filter(|letter| !is_invisible(*letter)).collect();
    let last = visible
        .rsplit(['/', '\\'])
        .find(|component| !component.trim_matches(is_dropped_at_ends).is_empty())
        .unwrap_or_default();
    let kept: String =
        without_drive(last).trim_end_matches(is_dropped_at_ends).chars().map(portable).collect();
    if kept.is_empty() { FALLBACK_NAME.to_owned() } else { with_suffix(&kept, "", NAME_BYTES_MAX) }
}

/// Dots at the start hide a file or climb, spaces at the ends deceive, a drive letter is no name.
fn without_drive(name: &str) -> &str {
    let mut rest = name;
    loop {
        rest = rest.trim_start_matches(is_dropped_at_ends);
        match rest.as_bytes() {
            [drive, b':', ..] if drive.is_ascii_alphabetic() => rest = &rest[2..],
            _ => return rest,
        }
    }
}

fn is_dropped_at_ends(letter: char) -> bool {
    letter == '.' || letter.is_whitespace()
}

fn portable(letter: char) -> char {
    match letter {
        '"' | '*' | ':' | '<' | '>' | '?' | '|' | char::REPLACEMENT_CHARACTER => '_',
        other => other,
    }
}

/// Controls (C0, C1), line separators, direction marks and other format characters that show nothing; the two joiners
/// that scripts and emoji need are kept.
fn is_invisible(letter: char) -> bool {
    letter.is_control()
        || matches!(letter,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e007f}')
}

/// The name the path of `url` gives: its last component, decoded once.
#[must_use]
pub fn from_url(url: &Url) -> String {
    let last = url.path_segments().and_then(|segments| segments.rev().find(|segment| !segment.is_empty()));
    let mut last = last.unwrap_or_default();
    if Scheme::of(url).is_some_and(Scheme::is_ftp) {
        last = split_type(last).0;
    }
    sanitize(&percent_decode(last.as_bytes()).decode_utf8_lossy())
}

/// The sanitised name a `Content-Disposition` value gives (RFC 6266, RFC 8187), if any: `filename*` before `filename`,
/// and junk between the parameters is stepped over, as browsers do.
#[must_use]
pub fn from_content_disposition(value: &[u8]) -> Option<String> {
    let mut plain = None;
    for (name, value) in parameters(value) {
        if name.eq_ignore_ascii_case(b"filename*") {
            if let Some(decoded) = extended_value(&value) {
                return Some(sanitize(&decoded));
            }
        } else if name.eq_ignore_ascii_case(b"filename") && plain.is_none() && !value.is_empty() {
            plain = Some(plain_value(&value));
        }
    }
    plain.map(|name| sanitize(&name))
}

/// The `name=value` parameters behind the disposition type, values unquoted.
fn parameters(value: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut found = Vec::new();
    let mut piece = Vec::new();
    let mut equals = None;
    let mut is_quoted = false;
    let mut bytes = value.iter().copied();
    loop {
        match bytes.next() {
            Some(b'\\') if is_quoted => piece.extend(bytes.next()),
            Some(b'"') if equals.is_some() => is_quoted = !is_quoted,
            Some(b'=') if equals.is_none() => equals = Some(piece.len()),
            Some(byte) if byte != b';' || is_quoted => piece.push(byte),
            end => {
                if let Some(equals) = equals {
                    let (name, value) = piece.split_at(equals);
                    found.push((name.trim_ascii().to_vec(), value.trim_ascii().to_vec()));
                }
                if end.is_none() {
                    return found;
                }
                (piece, equals, is_quoted) = (Vec::new(), None, false);
            }
        }
    }
}

/// `charset'language'percent-encoded` (RFC 8187 section 3.2) with one of the two charsets that are in use.
fn extended_value(value: &[u8]) -> Option<String> {
    let mut parts = value.splitn(3, |byte| *byte == b'\'');
    let (charset, _language, encoded) = (parts.next()?, parts.next()?, parts.next()?);
    let decoded: Vec<u8> = percent_decode(encoded).collect();
    if decoded.is_empty() {
        return None;
    }
    if charset.eq_ignore_ascii_case(b"utf-8") {
        String::from_utf8(decoded).ok()
    } else if charset.eq_ignore_ascii_case(b"iso-8859-1") {
        Some(decoded.into_iter().map(char::from).collect())
    } else {
        None
    }
}

/// Servers send UTF-8, Latin-1 and percent-encoding here, all without saying so (RFC 6266 appendix C).
fn plain_value(value: &[u8]) -> String {
    let decoded: Vec<u8> = percent_decode(value).collect();
    String::from_utf8(decoded).unwrap_or_else(|_| match std::str::from_utf8(value) {
        Ok(text) => text.to_owned(),
        Err(_) => value.iter().copied().map(char::from).collect(),
    })
}

/// The other names a file gets while `name` is taken: `name (1).ext`, `name (2).ext` … without end.
pub fn candidates(name: &str) -> impl Iterator<Item = String> + use<> {
    let name = name.to_owned();
    (1_u64..).map(move |number| with_suffix(&name, &format!(" ({number})"), NAME_BYTES_MAX))
}

/// `name` with `suffix` before its extension, cut to `bytes_max` bytes on a character boundary without losing either.
fn with_suffix(name: &str, suffix: &str, bytes_max: usize) -> String {
    let (stem, extension) = name.split_at(name.len() - extension_length(name));
    let mut end = stem.len().min(bytes_max.saturating_sub(suffix.len() + extension.len()));
    while !stem.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{suffix}{extension}", &stem[..end])
}

/// Length of `.ext` or `.tar.ext` at the end of `name`; 0 when there is none.
fn extension_length(name: &str) -> usize {
    let length = |name: &str| match name.rfind('.') {
        Some(dot) if dot > 0 && dot + 1 < name.len() && name.len() - dot <= EXTENSION_BYTES_MAX => {
            name.len() - dot
        }
        _ => 0,
    };
    let last = length(name);
    let stem = &name[..name.len() - last];
    if last > 0 && stem.len() > 4 && stem.to_ascii_lowercase().ends_with(".tar") { last + 4 } else { last }
}

/// Where a caller wants the result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResultPath {
    /// Absolute, without `.` components, doubled slashes or a slash at the end (but `/` itself).
    pub folder: String,
    /// `None` when the path ended in `/`: then the server or the URL names the file.
    pub name: Option<String>,
}

/// Why a result path was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPath {
    #[error("the path must be absolute")]
    Relative,
    #[error("the path must not contain '..'")]
    Climbs,
    #[error("the path must not contain NUL")]
    Nul,
    #[error("the path must end in a file name, or in '/' for a folder")]
    Unnamed,
    #[error("a file or folder name has at most 255 bytes")]
    NameTooLong,
    #[error("a path has at most 4095 bytes")]
    PathTooLong,
}

/// Splits a result path into folder and name.
///
/// # Errors
/// The path is relative, climbs, has a NUL, ends in `.`, or is longer than Linux takes.
pub fn validate_result_path(path: &str) -> Result<ResultPath, InvalidPath> {
    if !path.starts_with('/') {
        return Err(InvalidPath::Relative);
    }
    if path.contains('\0') {
        return Err(InvalidPath::Nul);
    }
    if path.len() > PATH_BYTES_MAX {
        return Err(InvalidPath::PathTooLong);
    }
    let (folders, name) = path.rsplit_once('/').expect("it starts with a slash");
    let mut folder = String::new();
    for component in folders.split('/').chain([name]) {
        match component {
            ".." => return Err(InvalidPath::Climbs),
            _ if component.len() > NAME_BYTES_MAX => return Err(InvalidPath::NameTooLong),
            _ => {}
        }
    }
    if name == "." {
        return Err(InvalidPath::Unnamed);
    }
    for component in folders.split('/').filter(|component| !matches!(*component, "" | ".")) {
        folder.push('/');
        folder.push_str(component);
    }
    if folder.is_empty() {
        folder.push('/');
    }
    Ok(ResultPath { folder, name: (!name.is_empty()).then(|| name.to_owned()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disposition(value: &str) -> Option<String> {
        from_content_disposition(value.as_bytes())
    }

    #[test]
    fn fault_082_names_from_servers_cannot_climb() {
        for (given, expected) in [
            ("../../.bashrc", "bashrc"),
            ("/etc/passwd", "passwd"),
            ("C:\\Windows\\x.dll", "x.dll"),
            ("C:x", "x"),
            ("a:..c:.hidden", "hidden"),
            ("a/b", "b"),
            ("a/b/", "b"),
            ("..", "download"),
            ("../..", "download"),
            (".", "download"),
            ("", "download"),
            ("...", "download"),
            (" . .", "download"),
            ("\0", "download"),
            ("a\0b", "ab"),
            (".\u{202e}./.\u{200b}./x", "x"),
            ("..\u{0}/", "download"),
            ("plain.iso", "plain.iso"),
            ("Ünïcode – 東京.tar.gz", "Ünïcode – 東京.tar.gz"),
        ] {
            assert_eq!(sanitize(given), expected, "{given:?}");
        }
    }

    #[test]
    fn fault_082_content_disposition_is_decoded_once_and_sanitised() {
        for (given, expected) in [
            ("attachment; filename=\"../../.bashrc\"", Some("bashrc")),
            ("attachment; filename=..%2f.bashrc", Some("bashrc")),
            ("attachment; filename=%2e%2e/x", Some("x")),
            ("attachment; filename=%252e%252e%252fx", Some("%2e%2e%2fx")),
            ("attachment; filename*=UTF-8''..%2F..%2Fx", Some("x")),
            (
                "attachment; filename*=utf-8'en'%e2%82%ac%20rates.txt; filename=\"EURO rates.txt\"",
                Some("€ rates.txt"),
            ),
            ("attachment; filename=plain.txt; filename*=UTF-8''star.txt", Some("star.txt")),
            ("attachment; filename*=iso-8859-1''%A3%20rates", Some("£ rates")),
            ("attachment; filename*=UTF-8''%c0%ae%c0%ae%c0%af; filename=safe", Some("safe")),
            ("attachment; filename*=koi8-r''x; filename=y", Some("y")),
            ("attachment; filename=\"a \\\"b\\\" c;d.txt\"", Some("a _b_ c;d.txt")),
            ("attachment; FileName=x", Some("x")),
            ("filename=no-type.txt", Some("no-type.txt")),
            ("attachment;;; junk; =; filename = spaced.txt ;", Some("spaced.txt")),
            ("attachment; filename=\"unclosed", Some("unclosed")),
            ("attachment; filename=", None),
            ("attachment; xfilename=no", None),
            ("inline", None),
            ("", None),
        ] {
            assert_eq!(disposition(given).as_deref(), expected, "{given:?}");
        }
        assert_eq!(
            from_content_disposition(b"attachment; filename=caf\xe9.txt").as_deref(),
            Some("café.txt")
        );
        assert_eq!(
            from_content_disposition("attachment; filename=café.txt".as_bytes()).as_deref(),
            Some("café.txt")
        );
    }

    #[test]
    fn fault_083_hidden_names_come_into_sight() {
        for name in [".wgetrc", ".netrc", "..netrc", ". .netrc"] {
            assert!(!sanitize(name).starts_with('.'), "{name}");
        }
        assert_eq!(sanitize(".wgetrc"), "wgetrc");
    }

    #[test]
    fn fault_086_the_url_names_the_file_as_it_was_asked_for() {
        for (url, expected) in [
            ("https://example.org/a/b.iso?x=/y.exe#z", "b.iso"),
            ("https://example.org/a/%2e%2e%2f.bashrc", "bashrc"),
            ("https://example.org/a%2Fb", "b"),
            ("https://example.org/dir/", "dir"),
            ("https://example.org/", "download"),
            ("https://example.org", "download"),
            ("https://example.org/%c0%ae%c0%ae", "____"),
            ("https://example.org/100%25%20sure.txt", "100% sure.txt"),
            ("https://example.org/%25%32%66", "%2f"),
        ] {
            assert_eq!(from_url(&Url::parse(url).unwrap()), expected, "{url}");
        }
    }

    #[test]
    fn fault_089_names_carry_no_escapes_and_no_direction_marks() {
        assert_eq!(sanitize("\u{1b}]0;owned\u{7}x\u{9b}31m"), "]0;ownedx31m");
        assert_eq!(sanitize("photo\u{202e}gpj.exe"), "photogpj.exe");
        assert_eq!(sanitize("a\r\nb\u{2028}c\u{feff}d"), "abcd");
        assert_eq!(sanitize("क्‍ष.txt"), "क्‍ष.txt", "joiners belong to some scripts");
    }

    #[test]
    fn characters_that_some_file_systems_refuse_are_replaced() {
        assert_eq!(sanitize("talk 12:30 <a|b>?*\".mp3"), "talk 12_30 _a_b____.mp3");
        assert_eq!(sanitize("trailing. . "), "trailing");
    }

    #[test]
    fn long_names_keep_their_extension_and_their_characters() {
        let cut = sanitize(&format!("{}.tar.xz", "ä".repeat(300)));
        assert!(cut.len() <= NAME_BYTES_MAX && cut.len() >= NAME_BYTES_MAX - 1, "{}", cut.len());
        assert!(cut.ends_with("ä.tar.xz"));
        let without = sanitize(&"x".repeat(1000));
        assert_eq!(without.len(), NAME_BYTES_MAX);
        let dots = sanitize(&format!("x.{}", "y".repeat(1000)));
        assert_eq!(dots.len(), NAME_BYTES_MAX);
    }

    #[test]
    fn candidates_number_the_stem() {
        let first = |name: &str| candidates(name).take(2).collect::<Vec<_>>();
        assert_eq!(first("a.iso"), ["a (1).iso", "a (2).iso"]);
        assert_eq!(first("a.tar.gz"), ["a (1).tar.gz", "a (2).tar.gz"]);
        assert_eq!(first("noext"), ["noext (1)", "noext (2)"]);
        assert_eq!(first(".hidden"), [".hidden (1)", ".hidden (2)"]);
        assert_eq!(first("ends."), ["ends. (1)", "ends. (2)"]);
        let long = "ü".repeat(125) + ".txt";
        for name in first(&long) {
            assert!(name.len() <= NAME_BYTES_MAX && name.ends_with(").txt"), "{name}");
        }
    }

    #[test]
    fn result_paths_are_absolute_and_do_not_climb() {
        let good = |path| validate_result_path(path).unwrap();
        assert_eq!(good("/a/b.iso"), ResultPath { folder: "/a".into(), name: Some("b.iso".into()) });
        assert_eq!(good("/b"), ResultPath { folder: "/".into(), name: Some("b".into()) });
        assert_eq!(good("/a/b/"), ResultPath { folder: "/a/b".into(), name: None });
        assert_eq!(good("//a/./b//c"), ResultPath { folder: "/a/b".into(), name: Some("c".into()) });
        assert_eq!(good("/"), ResultPath { folder: "/".into(), name: None });
        assert_eq!(good("/a/..b"), ResultPath { folder: "/a".into(), name: Some("..b".into()) });
        for (bad, why) in [
            ("", InvalidPath::Relative),
            ("a", InvalidPath::Relative),
            ("~/a", InvalidPath::Relative),
            ("/a/../b", InvalidPath::Climbs),
            ("/..", InvalidPath::Climbs),
            ("/a/.", InvalidPath::Unnamed),
            ("/a\0b", InvalidPath::Nul),
            (&format!("/{}", "x".repeat(256)), InvalidPath::NameTooLong),
            (&"/xxxxxxx".repeat(1000), InvalidPath::PathTooLong),
        ] {
            assert_eq!(validate_result_path(bad), Err(why), "{bad:?}");
        }
    }
}
