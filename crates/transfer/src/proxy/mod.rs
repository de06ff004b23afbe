//! By which proxy requests go: what was asked for, or what curl would read from the environment.
//!
//! Deliberately absent: the proxies of desktops (GNOME's settings, PAC files). They are those of a session, and a service
//! has none.

mod exempt;

use std::fmt;

use longhaul_contract::Credential;
use url::{Host, Url};

use crate::http::origin::Origin;
use crate::http::request::userinfo;
use exempt::Exemptions;

/// How a proxy is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyScheme {
    Http,
    /// HTTP over TLS to the proxy.
    Https,
    /// RFC 1928; names are looked up here.
    Socks5,
    /// RFC 1928; names are looked up by the proxy.
    Socks5h,
}

/// One proxy, and who we are to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyAddress {
    pub(crate) scheme: ProxyScheme,
    pub(crate) host: Host<String>,
    pub(crate) port: u16,
    credential: Option<Credential>,
    pub(crate) is_trusted: bool,
}

/// Why a text names no proxy. Never holds the text, which may have a password in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    #[error(
        "proxies of the scheme {0:?} are not supported: write http, https, socks5 (names are looked up here) or \
         socks5h (names are looked up by the proxy)"
    )]
    Scheme(String),
    #[error("it is no address of a proxy such as http://proxy.example:3128: {0}")]
    Address(String),
}

/// By which proxy the requests of a job go, if by any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProxyRules {
    http: ProxyChoice,
    https: ProxyChoice,
    exempt: Exemptions,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum ProxyChoice {
    #[default]
    Direct,
    By(ProxyAddress),
    /// One is named that cannot be used. To go without it would show to the network what was to be hidden.
    Unusable(String),
}

impl ProxyScheme {
    fn of(word: &str) -> Result<Self, ProxyError> {
        match word.to_ascii_lowercase().as_str() {
            "http" => Ok(Self::Http),
            "https" => Ok(Self::Https),
            "socks5" => Ok(Self::Socks5),
            "socks5h" => Ok(Self::Socks5h),
            other => Err(ProxyError::Scheme(other.chars().take(32).collect())),
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Socks5 => "socks5",
            Self::Socks5h => "socks5h",
        }
    }

    /// As curl has it.
    const fn default_port(self) -> u16 {
        match self {
            Self::Https => 443,
            Self::Http | Self::Socks5 | Self::Socks5h => 1080,
        }
    }
}

impl ProxyAddress {
    /// `[SCHEME://][USER[:PASSWORD]@]HOST[:PORT]`, http without a scheme.
    ///
    /// # Errors
    /// Another scheme, no host, or more than an address.
    pub fn parse(text: &str) -> Result<Self, ProxyError> {
        let refuse = |why: &str| Err(ProxyError::Address(why.to_owned()));
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return refuse("it has white space or control characters");
        }
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => (ProxyScheme::of(scheme)?, rest),
            None => (ProxyScheme::Http, text),
        };
        let parse = |scheme: &str| {
            Url::parse(&format!("{scheme}://{rest}")).map_err(|error| ProxyError::Address(error.to_string()))
        };
        let url = parse("http")?;
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return refuse("there is something behind host and port");
        }
        let Some(host) = url.host() else { return refuse("it has no host") };
        // The default of the scheme that the address is parsed with is left out, even where it is written.
        let port = match url.port() {
            Some(port) => port,
            None if parse("https")?.port() == Some(80) => 80,
            None => scheme.default_port(),
        };
        if port == 0 {
            return refuse("there is no port 0");
        }
        Ok(Self { scheme, host: host.to_owned(), port, credential: userinfo(&url), is_trusted: false })
    }

    /// Takes the place of what the address itself says.
    #[must_use]
    pub fn with_credential(self, credential: Option<Credential>) -> Self {
        Self { credential: credential.or(self.credential), ..self }
    }

    /// The owner of the service has named it: it may be at any address.
    #[must_use]
    pub fn trusted(self) -> Self {
        Self { is_trusted: true, ..self }
    }

    #[must_use]
    pub const fn scheme(&self) -> ProxyScheme {
        self.scheme
    }

    /// The user name and password that the address came with, or was given.
    #[must_use]
    pub const fn credential(&self) -> Option<&Credential> {
        self.credential.as_ref()
    }
}

/// Without user name and password.
impl fmt::Display for ProxyAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", self.scheme.word(), self.host, self.port)
    }
}

impl ProxyRules {
    /// By no proxy.
    #[must_use]
    pub fn direct() -> Self {
        Self::default()
    }

    /// All by one.
    #[must_use]
    pub fn all(address: ProxyAddress) -> Self {
        let choice = ProxyChoice::By(address);
        Self { http: choice.clone(), https: choice, exempt: Exemptions::default() }
    }

    /// Takes the place of the list of hosts that are reached directly; see `no_proxy`.
    #[must_use]
    pub fn except(self, list: &str) -> Self {
        Self { exempt: Exemptions::parse(list), ..self }
    }

    /// Who the caller is to whichever proxy there is.
    #[must_use]
    pub fn with_credential(self, credential: &Credential) -> Self {
        let known = |choice| match choice {
            ProxyChoice::By(address) => ProxyChoice::By(address.with_credential(Some(credential.clone()))),
            other => other,
        };
        Self { http: known(self.http), https: known(self.https), exempt: self.exempt }
    }

    /// `http_proxy` (in lower case only, as in a CGI program a client could set the other), `https_proxy`,
    /// `all_proxy` and `no_proxy`.
    #[must_use]
    pub fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Self {
        let first = |names: &[&'static str]| {
            names.iter().find_map(|name| Some((*name, variable(name).filter(|text| !text.is_empty())?)))
        };
        let choice = |names: &[&'static str]| match first(names) {
            None => ProxyChoice::Direct,
            Some((name, text)) => match ProxyAddress::parse(&text) {
                Ok(address) => ProxyChoice::By(address.trusted()),
                Err(error) => ProxyChoice::Unusable(format!("{name} of the service's environment: {error}")),
            },
        };
        let exempt = first(&["no_proxy", "NO_PROXY"]).map(|(_, list)| list).unwrap_or_default();
        Self {
            http: choice(&["http_proxy", "all_proxy", "ALL_PROXY"]),
            https: choice(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]),
            exempt: Exemptions::parse(&exempt),
        }
    }

    pub(crate) const fn choices(&self) -> (&ProxyChoice, &ProxyChoice) {
        (&self.http, &self.https)
    }

    pub(crate) fn exempts(&self, origin: &Origin) -> bool {
        self.exempt.contain(&origin.host, origin.port)
    }
}

#[cfg(test)]
mod tests {
    use longhaul_contract::Secret;

    use super::*;

    #[test]
    fn addresses_are_read_as_curl_reads_them() {
        for (text, shown) in [
            ("proxy.example:3128", "http://proxy.example:3128"),
            ("http://proxy.example", "http://proxy.example:1080"),
            ("http://proxy.example:80/", "http://proxy.example:80"),
            ("HTTPS://proxy.example", "https://proxy.example:443"),
            ("https://proxy.example:8443", "https://proxy.example:8443"),
            ("socks5://127.0.0.1", "socks5://127.0.0.1:1080"),
            ("socks5h://u:p@[::1]:9050", "socks5h://[::1]:9050"),
        ] {
            assert_eq!(ProxyAddress::parse(text).unwrap().to_string(), shown, "{text}");
        }
        let address = ProxyAddress::parse("http://us%40er:p%3Aw@h:1").unwrap();
        let credential = Credential { user: "us@er".to_owned(), password: Secret::new("p:w") };
        assert_eq!(address.credential(), Some(&credential));
        assert!(matches!(address.host, Host::Domain(_)));
        assert!(matches!(ProxyAddress::parse("socks5://10.0.0.1").unwrap().host, Host::Ipv4(_)));
        for text in
            ["", "http://", "a b", "http://h:0", "http://h/path", "http://h?q", "socks4://h", "socks://h"]
        {
            assert!(ProxyAddress::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_environment_names_proxies_as_for_curl() {
        let rules = |pairs: &[(&str, &str)]| {
            ProxyRules::from_environment(|name| {
                pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
            })
        };
        let by = |choice: &ProxyChoice| match choice {
            ProxyChoice::Direct => "direct".to_owned(),
            ProxyChoice::By(address) => address.to_string(),
            ProxyChoice::Unusable(why) => why.clone(),
        };
        let both = |pairs: &[(&str, &str)]| {
            let rules = rules(pairs);
            (by(rules.choices().0), by(rules.choices().1))
        };
        assert_eq!(both(&[("HTTP_PROXY", "http://a:1")]).0, "direct", "a client of CGI could have set it");
        assert_eq!(both(&[("http_proxy", ""), ("ALL_PROXY", "b:2")]).0, "http://b:2");
        assert_eq!(
            both(&[("http_proxy", "a:1"), ("HTTPS_PROXY", "socks5h://c:3"), ("all_proxy", "b:2")]),
            ("http://a:1".to_owned(), "socks5h://c:3".to_owned())
        );
        let (unusable, _) = both(&[("all_proxy", "socks://u:secret@h:1")]);
        assert!(unusable.starts_with("all_proxy of") && !unusable.contains("secret"), "{unusable}");
        let exempting = rules(&[("http_proxy", "a:1"), ("NO_PROXY", "b.example")]);
        let origin = |url: &str| Origin::of(&Url::parse(url).unwrap()).unwrap();
        assert!(exempting.exempts(&origin("http://b.example/")));
        assert!(!exempting.exempts(&origin("http://c.example/")));
    }
}
