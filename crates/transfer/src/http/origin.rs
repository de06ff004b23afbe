//! Origins (RFC 6454) and URLs as they may be shown.

use std::fmt;

use longhaul_contract::{Scheme, address};
use url::{Host, Url};

/// Scheme, host and port: the boundary for credentials, headers and connections.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    pub(crate) scheme: Scheme,
    pub(crate) host: Host<String>,
    pub(crate) port: u16,
}

impl Origin {
    /// `None` for a URL that is neither http nor https, or has no host.
    pub(crate) fn of(url: &Url) -> Option<Self> {
        Self::of_any(url).filter(|origin| !origin.scheme.is_ftp())
    }

    /// The same, and of the schemes of FTP too.
    pub(crate) fn of_any(url: &Url) -> Option<Self> {
        let scheme = Scheme::of(url)?;
        Some(Self { scheme, host: address::host(url)?, port: address::port(url)? })
    }

    pub(crate) const fn is_tls(&self) -> bool {
        self.scheme.is_tls()
    }

    /// Value of the Host field and `:authority` (RFC 9110 section 7.2).
    pub(crate) fn authority(&self) -> String {
        if self.port == self.scheme.default_port() {
            self.host.to_string()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.word(), self.authority())
    }
}

/// Parts of a query key that tell a bearer secret.
const SECRET_KEYS: [&str; 14] = [
    "sig",
    "token",
    "secret",
    "key",
    "password",
    "passwd",
    "auth",
    "credential",
    "hmac",
    "policy",
    "expires",
    "session",
    "ticket",
    "jwt",
];

/// The URL for receipts, errors and logs: no userinfo, no fragment, and of a signed query only the names.
pub(crate) fn shown(url: &Url) -> String {
    let mut url = without_userinfo(url);
    let is_signed = url.query_pairs().any(|(key, value)| {
        let key = key.to_ascii_lowercase();
        SECRET_KEYS.iter().any(|part| key.contains(part))
            || looks_like_a_token(&key)
            || looks_like_a_token(&value)
    });
    if is_signed {
        let query = url.query().unwrap_or_default();
        let hidden = query
            .split('&')
            .map(|pair| match pair.split_once('=') {
                Some((key, _)) => format!("{key}=***"),
                None if looks_like_a_token(pair) => "***".to_owned(),
                None => pair.to_owned(),
            })
            .collect::<Vec<_>>()
            .join("&");
        url.set_query(Some(&hidden));
    }
    url.into()
}

/// The URL as it may be requested and compared: without userinfo and fragment.
pub(crate) fn without_userinfo(url: &Url) -> Url {
    let mut url = url.clone();
    url.set_fragment(None);
    if !url.username().is_empty() || url.password().is_some() {
        // Both setters fail only for URLs without a host, which carry no userinfo either.
        let _ = url.set_username("");
        let _ = url.set_password(None);
    }
    url
}

fn looks_like_a_token(value: &str) -> bool {
    value.len() >= 20
        && value.bytes().any(|byte| byte.is_ascii_digit())
        && value.bytes().any(|byte| byte.is_ascii_alphabetic())
        && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_+/=.~%".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_compare_scheme_host_and_port() {
        let origin = |text: &str| Origin::of(&Url::parse(text).unwrap());
        assert_eq!(origin("http://A.example/x"), origin("http://a.example:80/y"));
        for other in ["https://a.example/", "http://b.example/", "http://a.example:81/", "http://a.example./"]
        {
            assert_ne!(origin("http://a.example/"), origin(other), "{other}");
        }
        assert_eq!(origin("ftp://a.example/"), None);
        assert_eq!(origin("sftp://a.example/"), None);
        let of_any = |text: &str| Origin::of_any(&Url::parse(text).unwrap()).unwrap();
        assert_eq!(of_any("ftps://a.example/").to_string(), "ftps://a.example");
        assert_eq!(of_any("ftpes://a.example/").port, 21);
        assert_ne!(of_any("ftp://a.example/"), of_any("ftpes://a.example/"));
        assert_eq!(origin("http://[::1]:8080/").unwrap().authority(), "[::1]:8080");
        assert_eq!(origin("https://a.example:443/").unwrap().authority(), "a.example");
    }

    #[test]
    fn shown_urls_keep_no_secret() {
        for (url, expected) in [
            ("http://user:pass@a.example/f#part", "http://a.example/f"),
            ("http://a.example/f?page=2&lang=en", "http://a.example/f?page=2&lang=en"),
            (
                "http://a.example/f?X-Amz-Signature=abc&page=2",
                "http://a.example/f?X-Amz-Signature=***&page=***",
            ),
            ("http://a.example/f?h=0a1b2c3d4e5f60718293a4b5c6d7", "http://a.example/f?h=***"),
            ("http://a.example/f?0a1b2c3d4e5f60718293a4b5c6d7", "http://a.example/f?***"),
        ] {
            assert_eq!(shown(&Url::parse(url).unwrap()), expected);
        }
    }
}
