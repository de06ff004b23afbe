//! Addresses of files: the schemes that files can be fetched by, and what an FTP address names.
//!
//! The standard of URLs knows `ftp` and takes `ftps` and `ftpes` for schemes of which it knows nothing: their hosts
//! and ports have to be told here.

use percent_encoding::percent_decode_str;
use url::{Host, Url};

/// How a file can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    Http,
    Https,
    /// FTP in the clear (RFC 959).
    Ftp,
    /// FTP with TLS from the first byte on.
    Ftps,
    /// FTP that changes to TLS before anybody says who he is (RFC 4217).
    Ftpes,
}

/// Why an FTP address names no file that can be fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FtpPathError {
    #[error("it names a folder, and only files can be fetched by FTP")]
    Folder,
    #[error("a path with a line break or a zero byte cannot be said to an FTP server")]
    Control,
    #[error("only the binary type can be fetched: leave out ;type= or write ;type=i")]
    Type,
}

impl Scheme {
    pub const ALL: [Self; 5] = [Self::Http, Self::Https, Self::Ftp, Self::Ftps, Self::Ftpes];

    #[must_use]
    pub fn of(url: &Url) -> Option<Self> {
        Self::ALL.into_iter().find(|scheme| scheme.word() == url.scheme())
    }

    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Ftp => "ftp",
            Self::Ftps => "ftps",
            Self::Ftpes => "ftpes",
        }
    }

    #[must_use]
    pub const fn is_tls(self) -> bool {
        matches!(self, Self::Https | Self::Ftps | Self::Ftpes)
    }

    #[must_use]
    pub const fn is_ftp(self) -> bool {
        matches!(self, Self::Ftp | Self::Ftps | Self::Ftpes)
    }

    #[must_use]
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
            Self::Ftp | Self::Ftpes => 21,
            Self::Ftps => 990,
        }
    }
}

/// The host as a name or an address, also where the scheme is one of which the standard of URLs knows nothing.
#[must_use]
pub fn host(url: &Url) -> Option<Host<String>> {
    match url.host()? {
        Host::Domain(name) if !name.is_empty() => Host::parse(name).ok(),
        Host::Domain(_) => None,
        Host::Ipv4(address) => Some(Host::Ipv4(address)),
        Host::Ipv6(address) => Some(Host::Ipv6(address)),
    }
}

/// The port that is connected to.
#[must_use]
pub fn port(url: &Url) -> Option<u16> {
    url.port().or_else(|| Scheme::of(url).map(Scheme::default_port))
}

/// The path as it is said to an FTP server, relative to the folder of the login unless it begins with `%2F` or a second
/// slash (RFC 1738 section 3.2.2). FTP knows no queries: a question mark belongs to the name.
///
/// # Errors
/// It names no file, or cannot be said in one line.
pub fn ftp_path(url: &Url) -> Result<Vec<u8>, FtpPathError> {
    let path = url.path();
    let mut text = path.strip_prefix('/').unwrap_or(path).to_owned();
    if let Some(query) = url.query() {
        text.push('?');
        text.push_str(query);
    }
    let (text, kind) = split_type(&text);
    if kind.is_some_and(|kind| !kind.eq_ignore_ascii_case("i")) {
        return Err(FtpPathError::Type);
    }
    let decoded: Vec<u8> = percent_decode_str(text).collect();
    if decoded.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        return Err(FtpPathError::Control);
    }
    if decoded.is_empty() || decoded.ends_with(b"/") {
        return Err(FtpPathError::Folder);
    }
    Ok(decoded)
}

/// What stands before `;type=` and behind it.
pub(crate) fn split_type(text: &str) -> (&str, Option<&str>) {
    let last = text.rfind('/').map_or(0, |slash| slash + 1);
    match text[last..].rfind(';').map(|at| text.split_at(last + at)) {
        Some((path, parameter))
            if parameter.get(..6).is_some_and(|key| key.eq_ignore_ascii_case(";type=")) =>
        {
            (path, parameter.get(6..))
        }
        _ => (text, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn hosts_and_ports_of_all_schemes_are_known() {
        for (text, expected_host, expected_port) in [
            ("http://A.example/", "a.example", 80),
            ("https://[::1]/", "[::1]", 443),
            ("ftp://127.0.0.1/f", "127.0.0.1", 21),
            ("ftps://A.example/f", "a.example", 990),
            ("ftpes://0x7f.1/f", "127.0.0.1", 21),
            ("ftps://[::1]:2121/f", "[::1]", 2121),
        ] {
            let url = url(text);
            assert_eq!(host(&url).unwrap().to_string(), expected_host, "{text}");
            assert_eq!(port(&url), Some(expected_port), "{text}");
        }
        assert!(matches!(host(&url("ftps://127.0.0.1/")), Some(Host::Ipv4(_))));
        assert_eq!(Scheme::of(&url("sftp://a/")), None);
    }

    #[test]
    fn paths_are_said_to_the_server_decoded() {
        for (text, expected) in [
            ("ftp://h/a/b%20c", "a/b c"),
            ("ftps://h/f", "f"),
            ("ftp://h/%2Fetc/motd", "/etc/motd"),
            ("ftpes://h//etc/motd", "/etc/motd"),
            ("ftp://h/a/../b", "b"),
            ("ftp://h/f;type=i", "f"),
            ("ftp://h/f;TYPE=I", "f"),
            ("ftp://h/f;v=1", "f;v=1"),
            ("ftp://h/a;type=x/f", "a;type=x/f"),
            ("ftp://h/who?", "who?"),
            ("ftp://h/what?now", "what?now"),
        ] {
            assert_eq!(ftp_path(&url(text)), Ok(expected.as_bytes().to_vec()), "{text}");
        }
        assert_eq!(ftp_path(&url("ftp://h/%ff%fe")), Ok(vec![0xff, 0xfe]));
    }

    #[test]
    fn what_cannot_be_fetched_is_told() {
        for (text, why) in [
            ("ftp://h", FtpPathError::Folder),
            ("ftps://h", FtpPathError::Folder),
            ("ftp://h/a/", FtpPathError::Folder),
            ("ftp://h/a%2f", FtpPathError::Folder),
            ("ftp://h/f;type=a", FtpPathError::Type),
            ("ftp://h/a;type=d", FtpPathError::Type),
            ("ftp://h/f%0d%0aDELE%20g", FtpPathError::Control),
            ("ftp://h/f%00", FtpPathError::Control),
            ("ftp://h/f%0A;type=i", FtpPathError::Control),
        ] {
            assert_eq!(ftp_path(&url(text)), Err(why), "{text}");
        }
    }
}
