//! File names out of servers, URLs and lists: made harmless before anything touches a disk.

use url::Url;

/// What a name becomes when nothing of it is left.
pub const FALLBACK_NAME: &str = "download";

/// The other names a file gets while `name` is taken: `name (1).ext`, `name (2).ext` … without end.
pub fn candidates(name: &str) -> impl Iterator<Item = String> + use<> {
    let (stem, extension) = match name.rfind('.') {
        Some(dot) if dot > 0 => name.split_at(dot),
        _ => (name, ""),
    };
    let (stem, extension) = (stem.to_owned(), extension.to_owned());
    (1_u64..).map(move |number| format!("{stem} ({number}){extension}"))
}

/// The last component of `name`, without what could harm.
#[must_use]
pub fn sanitize(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let kept: String = last.chars().filter(|letter| !letter.is_control()).collect();
    let kept = kept.trim_start_matches('.');
    if kept.is_empty() { FALLBACK_NAME.to_owned() } else { kept.to_owned() }
}

/// The name the path of `url` gives.
#[must_use]
pub fn from_url(url: &Url) -> String {
    sanitize(url.path_segments().and_then(|mut segments| segments.next_back()).unwrap_or_default())
}

/// The name a `Content-Disposition` value gives (RFC 6266), if any.
#[must_use]
pub fn from_content_disposition(value: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(value).ok()?;
    let (_, name) = text.split_once("filename=")?;
    Some(sanitize(name.trim_matches('"')))
}
