//! The requests of one download, and what of the caller's secrets goes to whom.

use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Uri, Version};
use longhaul_contract::{Cause, Credential, Failure, Secret};
use url::Url;

use super::auth::{Account, Peer, Round};
use super::client::Client;
use super::failure::needs_input;
use super::head::Head;
use super::origin::{Origin, shown};
use super::outgoing::Outgoing;
use super::proxy::{Proxies, Proxy};
use crate::client_identity::ClientIdentity;
use crate::proxy::ProxyRules;

/// A request ready for the HTTP engine.
pub(crate) type Ask = Request<Outgoing>;

/// The Range and If-Range fields of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RangeFields {
    pub(crate) start: u64,
    /// First byte not wanted; `None` asks for all the rest.
    pub(crate) end: Option<u64>,
    pub(crate) if_range: Option<String>,
}

/// What every request of a download has in common.
pub(crate) struct Template {
    /// The caller's headers, credential and body belong to this origin and go nowhere else.
    home: Origin,
    method: Method,
    body: Bytes,
    headers: HeaderMap,
    account: Option<Account>,
    identity: Option<ClientIdentity>,
    proxies: Proxies,
    user_agent: HeaderValue,
    is_unconditional: AtomicBool,
}

/// Fields that frame the message or that this side decides; a caller's value for them is not sent.
const OWN_FIELDS: [HeaderName; 12] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
    header::RANGE,
    header::IF_RANGE,
    header::ACCEPT_ENCODING,
    header::TE,
    header::TRAILER,
    header::UPGRADE,
    header::EXPECT,
    header::PROXY_AUTHORIZATION,
];

const CONDITIONS: [HeaderName; 4] =
    [header::IF_MATCH, header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE, header::IF_UNMODIFIED_SINCE];

impl Template {
    /// # Errors
    /// A URL of a scheme that no file can be fetched by, or a header value with forbidden characters (fault 78).
    pub(crate) fn new(
        url: &Url,
        method: Method,
        body: Option<&Secret>,
        headers: &[(HeaderName, Secret)],
        credential: Option<&Credential>,
        user_agent: &str,
    ) -> Result<Self, Failure> {
        let home = Origin::of_any(url).ok_or_else(|| unsupported(url))?;
        let mut fields = HeaderMap::new();
        for (name, value) in headers {
            if OWN_FIELDS.contains(name) {
                continue;
            }
            let mut value = HeaderValue::from_bytes(value.reveal().as_bytes()).map_err(|_| {
                needs_input(Cause::HttpStatus, format!("the value of request header {name} is not allowed"))
            })?;
            value.set_sensitive(true);
            fields.append(name, value);
        }
        // A caller that writes the field itself has no credential beside it.
        let account = credential
            .cloned()
            .or_else(|| userinfo(url))
            .filter(|_| !fields.contains_key(header::AUTHORIZATION))
            .map(|credential| Account::new(credential, Peer::Server));
        Ok(Self {
            home,
            method,
            body: body.map(|body| Bytes::copy_from_slice(body.reveal().as_bytes())).unwrap_or_default(),
            headers: fields,
            account,
            identity: None,
            proxies: Proxies::default(),
            user_agent: HeaderValue::from_str(user_agent).unwrap_or(HeaderValue::from_static("longhaul")),
            is_unconditional: AtomicBool::new(false),
        })
    }

    #[must_use]
    pub(crate) fn by_proxies(self, rules: &ProxyRules) -> Self {
        Self { proxies: Proxies::new(rules), ..self }
    }

    #[must_use]
    pub(crate) fn with_identity(self, identity: Option<&ClientIdentity>) -> Self {
        Self { identity: identity.cloned(), ..self }
    }

    /// The certificate to show, where it belongs.
    pub(crate) fn identity(&self, origin: &Origin) -> Option<&ClientIdentity> {
        self.identity.as_ref().filter(|_| self.is_home(origin))
    }

    /// By which proxy requests to `origin` go.
    ///
    /// # Errors
    /// One is named that cannot be used.
    pub(crate) fn proxy(&self, origin: &Origin) -> Result<Option<&Proxy>, Failure> {
        self.proxies.of(origin)
    }

    pub(crate) fn is_home(&self, origin: &Origin) -> bool {
        self.home == *origin
    }

    /// The credential, where it belongs.
    fn account(&self, origin: &Origin) -> Option<&Account> {
        self.account.as_ref().filter(|_| self.is_home(origin))
    }

    /// Begins a request to `origin`; `None` where there is no credential to show.
    pub(crate) fn round(&self, client: &Client, origin: &Origin) -> Option<Round> {
        let account = self.account(origin)?;
        if client.pool.traits(origin).asks_digest {
            account.await_challenge();
        }
        Some(account.round())
    }

    /// Heeds what `origin` says about the credential; whether the request is to be made again.
    pub(crate) fn heed(
        &self,
        client: &Client,
        origin: &Origin,
        round: Option<&mut Round>,
        head: &Head,
    ) -> bool {
        let (Some(account), Some(round)) = (self.account(origin), round) else { return false };
        let is_again = account.heed(round, head);
        if is_again && account.is_digest() {
            client.pool.learn(origin, |traits| traits.asks_digest = true);
        }
        is_again
    }

    /// Whether a body sent to `origin` may be in vain, as nobody knows yet if the credential is accepted.
    pub(crate) fn is_unproved(&self, origin: &Origin) -> bool {
        let proxy = self.proxy(origin).ok().flatten().filter(|proxy| proxy.forwards(origin));
        self.account(origin).is_some_and(Account::is_unproved) || proxy.is_some_and(Proxy::is_unproved)
    }

    pub(crate) const fn method(&self) -> &Method {
        &self.method
    }

    pub(crate) fn has_body(&self) -> bool {
        !self.body.is_empty()
    }

    /// Leaves out from now on what makes the request depend on what the caller holds (RFC 9110 section 13); false
    /// when there is nothing to leave out.
    pub(crate) fn drop_conditions(&self) -> bool {
        let has_conditions = CONDITIONS.iter().any(|name| self.headers.contains_key(name));
        !self.is_unconditional.swap(true, Ordering::Relaxed) && has_conditions
    }

    /// The request for `url` as `method`, which is the template's own or GET after a redirect.
    ///
    /// # Errors
    /// A URL that cannot be written as a request target.
    pub(crate) fn ask(
        &self,
        url: &Url,
        method: &Method,
        range: Option<&RangeFields>,
        version: Version,
    ) -> Result<Ask, Failure> {
        let body = if *method == self.method { self.body.clone() } else { Bytes::new() };
        let mut ask = self.dress(url, method, version, Outgoing::whole(body))?;
        let fields = ask.headers_mut();
        if range.is_some() || self.is_unconditional.load(Ordering::Relaxed) {
            for name in &CONDITIONS {
                fields.remove(name);
            }
        }
        if let Some(range) = range {
            let last = range.end.map_or(String::new(), |end| (end - 1).to_string());
            fields.insert(header::RANGE, header_value(&format!("bytes={}-{last}", range.start))?);
            if let Some(validator) = &range.if_range {
                fields.insert(header::IF_RANGE, header_value(validator)?);
            }
        }
        Ok(ask)
    }

    /// A request with what every one to this URL has, and with the caller's secrets where they belong.
    ///
    /// # Errors
    /// A URL that cannot be written as a request target.
    pub(crate) fn dress(
        &self,
        url: &Url,
        method: &Method,
        version: Version,
        body: Outgoing,
    ) -> Result<Ask, Failure> {
        let origin = Origin::of(url).ok_or_else(|| unsupported(url))?;
        let mut ask = Request::new(body);
        *ask.method_mut() = method.clone();
        *ask.version_mut() = version;
        *ask.uri_mut() = target(url, &origin, version)?;
        let fields = ask.headers_mut();
        if version != Version::HTTP_2 {
            fields.insert(header::HOST, header_value(&origin.authority())?);
        }
        fields.insert(header::USER_AGENT, self.user_agent.clone());
        fields.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
        fields.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if self.is_home(&origin) {
            let shown = self.account.as_ref().and_then(|account| account.field(method, &origin_form(url)));
            if let Some(authorization) = shown {
                fields.insert(header::AUTHORIZATION, authorization);
            }
            for name in self.headers.keys() {
                fields.remove(name);
            }
            for (name, value) in &self.headers {
                fields.append(name, value.clone());
            }
        }
        Ok(ask)
    }
}

pub(crate) fn unsupported(url: &Url) -> Failure {
    needs_input(
        Cause::UnsupportedScheme,
        format!("{} cannot be fetched: only http, https, ftp, ftps and ftpes can", shown(url)),
    )
}

/// Path and query (RFC 9112 section 3.2.1).
fn origin_form(url: &Url) -> String {
    match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    }
}

fn target(url: &Url, origin: &Origin, version: Version) -> Result<Uri, Failure> {
    let path = origin_form(url);
    let text = if version == Version::HTTP_2 { format!("{origin}{path}") } else { path };
    text.parse().map_err(|error| {
        needs_input(Cause::HttpStatus, format!("{} is no request target: {error}", shown(url)))
    })
}

pub(crate) fn header_value(text: &str) -> Result<HeaderValue, Failure> {
    HeaderValue::from_str(text).map_err(|error| {
        needs_input(Cause::HttpStatus, format!("a request header cannot be written: {error}"))
    })
}

pub(crate) fn userinfo(url: &Url) -> Option<Credential> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let decode = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
    let password = Secret::new(decode(url.password().unwrap_or_default()));
    Some(Credential { user: decode(url.username()), password })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    fn template(address: &str, headers: &[(&str, &str)], credential: Option<(&str, &str)>) -> Template {
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_bytes(name.as_bytes()).unwrap(), Secret::new(*value)))
            .collect();
        let credential = credential
            .map(|(user, password)| Credential { user: user.to_owned(), password: Secret::new(password) });
        Template::new(&url(address), Method::GET, None, &headers, credential.as_ref(), "test/1").unwrap()
    }

    fn field<'a>(ask: &'a Ask, name: &str) -> Option<&'a str> {
        ask.headers().get(name).map(|value| value.to_str().unwrap())
    }

    #[test]
    fn secrets_stay_at_the_origin_of_the_url() {
        let template =
            template("https://a.example/f", &[("x-api-key", "k"), ("cookie", "c=1")], Some(("u", "p")));
        let home = template.ask(&url("https://a.example/g"), &Method::GET, None, Version::HTTP_11).unwrap();
        assert_eq!(field(&home, "authorization"), Some("Basic dTpw"));
        assert_eq!((field(&home, "x-api-key"), field(&home, "cookie")), (Some("k"), Some("c=1")));
        for other in
            ["http://a.example/g", "https://b.example/", "https://a.example:444/", "https://x.a.example/"]
        {
            let ask = template.ask(&url(other), &Method::GET, None, Version::HTTP_11).unwrap();
            for name in ["authorization", "x-api-key", "cookie"] {
                assert_eq!(field(&ask, name), None, "{name} to {other}");
            }
        }
    }

    #[test]
    fn userinfo_becomes_a_credential_and_never_a_target() {
        let template = template("http://us%40er:p%3Aw@a.example/f?q=1", &[], None);
        let ask = template
            .ask(&url("http://us%40er:p%3Aw@a.example/f?q=1#x"), &Method::GET, None, Version::HTTP_2)
            .unwrap();
        assert_eq!(field(&ask, "authorization"), Some("Basic dXNAZXI6cDp3"));
        assert_eq!(ask.uri(), "http://a.example/f?q=1");
    }

    #[test]
    fn fault_067_a_named_credential_is_not_mixed_with_userinfo() {
        let template = template("http://other@a.example/", &[], Some(("u", "p")));
        let ask = template.ask(&url("http://a.example/"), &Method::GET, None, Version::HTTP_11).unwrap();
        assert_eq!(field(&ask, "authorization"), Some("Basic dTpw"));
    }

    #[test]
    fn ranges_are_written_with_an_inclusive_end() {
        let template = template("http://a.example/f", &[("range", "bytes=7-"), ("if-none-match", "*")], None);
        let range = RangeFields { start: 5, end: Some(10), if_range: Some("\"e\"".to_owned()) };
        let ask =
            template.ask(&url("http://a.example/f"), &Method::GET, Some(&range), Version::HTTP_11).unwrap();
        assert_eq!((field(&ask, "range"), field(&ask, "if-range")), (Some("bytes=5-9"), Some("\"e\"")));
        assert_eq!((field(&ask, "accept-encoding"), field(&ask, "if-none-match")), (Some("identity"), None));
        let open = RangeFields { start: 5, end: None, if_range: None };
        let ask =
            template.ask(&url("http://a.example/f"), &Method::GET, Some(&open), Version::HTTP_11).unwrap();
        assert_eq!((field(&ask, "range"), field(&ask, "if-range")), (Some("bytes=5-"), None));
        assert_eq!(field(&ask, "host"), Some("a.example"));
    }

    #[test]
    fn a_caller_may_name_its_own_agent_but_not_frame_the_message() {
        let template =
            template("http://a.example/f", &[("user-agent", "mine"), ("content-length", "9")], None);
        let ask = template.ask(&url("http://a.example/f"), &Method::GET, None, Version::HTTP_11).unwrap();
        assert_eq!((field(&ask, "user-agent"), field(&ask, "content-length")), (Some("mine"), None));
    }

    #[test]
    fn fault_078_control_characters_in_a_header_are_refused() {
        let headers = [(HeaderName::from_static("x-a"), Secret::new("a\r\nb: c"))];
        let refused = Template::new(&url("http://a.example/"), Method::GET, None, &headers, None, "t");
        assert!(refused.is_err());
    }
}
