//! One proxy as a worker uses it: who we are to it, and what its refusals mean.

use std::fmt;
use std::sync::Arc;

use http::header::{self, HeaderValue};
use http::{Method, StatusCode, Uri};
use longhaul_contract::{Cause, Credential, Failure, Remedy, Scheme, WebErrorStatus};
use ring::digest::{SHA256, digest};

use super::auth::{Account, Peer, Round, advice};
use super::failure::{failure, needs_input};
use super::head::Head;
use super::origin::Origin;
use super::request::Ask;
use super::socks::SocksError;
use crate::proxy::{ProxyAddress, ProxyChoice, ProxyRules, ProxyScheme};

/// The proxies of one job.
#[derive(Default)]
pub(crate) struct Proxies {
    rules: ProxyRules,
    http: Option<Arc<Proxy>>,
    https: Option<Arc<Proxy>>,
}

/// A proxy, and what it has asked for so far.
pub(crate) struct Proxy {
    address: ProxyAddress,
    /// Where it listens, as if it were a server.
    pub(crate) place: Origin,
    account: Option<Account>,
    /// Tells connections by this proxy, for this account, from all others.
    pub(crate) key: Arc<str>,
}

impl Proxies {
    pub(crate) fn new(rules: &ProxyRules) -> Self {
        let made = |choice: &ProxyChoice| match choice {
            ProxyChoice::By(address) => Some(Arc::new(Proxy::new(address.clone()))),
            ProxyChoice::Direct | ProxyChoice::Unusable(_) => None,
        };
        let (http, https) = rules.choices();
        let made_http = made(http);
        // One proxy has one account, whatever goes by it.
        let made_https = if http == https { made_http.clone() } else { made(https) };
        Self { rules: rules.clone(), http: made_http, https: made_https }
    }

    /// By which proxy requests to `origin` go.
    ///
    /// # Errors
    /// One is named that cannot be used.
    pub(crate) fn of(&self, origin: &Origin) -> Result<Option<&Proxy>, Failure> {
        if self.rules.exempts(origin) {
            return Ok(None);
        }
        let (http, https) = self.rules.choices();
        let (choice, made) = if origin.is_tls() { (https, &self.https) } else { (http, &self.http) };
        if let ProxyChoice::Unusable(why) = choice {
            return Err(needs_input(Cause::CannotConnect, format!("no proxy for {origin}: {why}")));
        }
        Ok(made.as_deref())
    }
}

impl Proxy {
    fn new(address: ProxyAddress) -> Self {
        let credential = address.credential();
        let (user, password) = credential
            .map_or((None, None), |known| (Some(known.user.as_str()), Some(known.password.reveal())));
        let told_apart = format!("{address}\0{user:?}\0{password:?}\0{}", address.is_trusted);
        let place = Origin {
            scheme: if address.scheme == ProxyScheme::Https { Scheme::Https } else { Scheme::Http },
            host: address.host.clone(),
            port: address.port,
        };
        Self {
            account: credential.cloned().map(|credential| Account::new(credential, Peer::Proxy)),
            key: hex::encode(digest(&SHA256, told_apart.as_bytes())).into(),
            place,
            address,
        }
    }

    pub(crate) const fn scheme(&self) -> ProxyScheme {
        self.address.scheme
    }

    pub(crate) const fn is_trusted(&self) -> bool {
        self.address.is_trusted
    }

    pub(crate) const fn credential(&self) -> Option<&Credential> {
        self.address.credential()
    }

    /// Whether requests to `origin` go to the proxy itself, and not through it by a connection of their own.
    pub(crate) const fn forwards(&self, origin: &Origin) -> bool {
        !origin.is_tls() && matches!(self.address.scheme, ProxyScheme::Http | ProxyScheme::Https)
    }

    /// Makes a request to `origin` one to the proxy (RFC 9112 section 3.2.2).
    ///
    /// # Errors
    /// The target cannot be written so.
    pub(crate) fn dress(&self, ask: &mut Ask, origin: &Origin) -> Result<(), Failure> {
        let path = ask.uri().path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string);
        *ask.uri_mut() = format!("{origin}{path}").parse::<Uri>().map_err(|error| {
            needs_input(Cause::HttpStatus, format!("{origin} cannot be asked for by {self}: {error}"))
        })?;
        if let Some(field) = self.field(&ask.method().clone(), &path) {
            ask.headers_mut().insert(header::PROXY_AUTHORIZATION, field);
        }
        Ok(())
    }

    pub(crate) fn field(&self, method: &Method, target: &str) -> Option<HeaderValue> {
        self.account.as_ref()?.field(method, target)
    }

    /// Whether what is sent first may be in vain, as the proxy asks who we are.
    pub(crate) fn is_unproved(&self) -> bool {
        self.account.as_ref().is_some_and(Account::is_unproved)
    }

    pub(crate) fn round(&self) -> Option<Round> {
        self.account.as_ref().map(Account::round)
    }

    /// Heeds what the proxy says about the credential; whether it is to be asked again.
    pub(crate) fn heed(&self, round: Option<&mut Round>, head: &Head) -> bool {
        let (Some(account), Some(round)) = (&self.account, round) else { return false };
        account.heed(round, head)
    }

    /// The same failure, on the way to the proxy.
    pub(crate) fn failed(&self, mut failure: Failure) -> Failure {
        failure.detail = format!("the proxy {self}: {}", failure.detail);
        failure
    }

    /// What a status of the proxy's own means, in answer to a request for `origin`.
    pub(crate) fn refused(&self, head: &Head, origin: &Origin) -> Failure {
        let status = head.status;
        let of_status = WebErrorStatus::from_http(status);
        let (remedy, cause, web_error_status) = match status {
            407 => (Remedy::NeedsInput, Cause::HttpStatus, of_status),
            400..=499 => (Remedy::NeedsInput, Cause::CannotConnect, of_status),
            504 => (Remedy::Transient, Cause::ConnectTimeout, WebErrorStatus::Timeout),
            502 | 503 => (Remedy::Transient, Cause::CannotConnect, WebErrorStatus::CannotConnect),
            500..=599 => (Remedy::Transient, Cause::CannotConnect, of_status),
            _ => (Remedy::Permanent, Cause::InvalidResponse, of_status),
        };
        let reason = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
        let answer = format!("{status} {}", reason.unwrap_or_default());
        let detail = match (status, advice(head, Peer::Proxy)) {
            (407, Some(advice)) => format!("the proxy {self} answered {}; {advice}", answer.trim_end()),
            (407, None) => self.unknown_here(),
            _ => format!("the proxy {self} answered {} to a connection to {origin}", answer.trim_end()),
        };
        Failure {
            http_status: Some(status),
            web_error_status,
            retry_after_seconds: head.retry_after(std::time::SystemTime::now()),
            ..failure(remedy, cause, detail)
        }
    }

    fn unknown_here(&self) -> String {
        match self.credential() {
            None => format!("the proxy {self} wants a user name and a password: give a credential for it"),
            Some(_) => format!("the proxy {self} does not accept the user name or the password given for it"),
        }
    }

    /// What the end of the opening of a connection to `origin` by SOCKS means.
    pub(crate) fn refused_by_socks(&self, error: &SocksError, origin: &Origin) -> Failure {
        use WebErrorStatus as Web;
        let by_reply = |reply: u8| match reply {
            1 => (Remedy::Transient, Web::CannotConnect, "it failed in general"),
            2 => (Remedy::NeedsInput, Web::Forbidden, "its rules do not allow it"),
            3 => (Remedy::Transient, Web::ServerUnreachable, "the network cannot be reached"),
            4 => (Remedy::Transient, Web::ServerUnreachable, "the host cannot be reached"),
            5 => (Remedy::Transient, Web::CannotConnect, "the connection was refused"),
            6 => (Remedy::Transient, Web::Timeout, "the way took too long"),
            7 => (Remedy::NeedsInput, Web::CannotConnect, "it makes no connections"),
            8 => (Remedy::NeedsInput, Web::CannotConnect, "it knows no such addresses"),
            _ => (Remedy::Transient, Web::CannotConnect, "it gave an unknown reason"),
        };
        let (remedy, web_error_status, why) = match error {
            SocksError::Broken(error) => {
                return self.failed(super::failure::of_socket(error, &format!("connecting to {origin}")));
            }
            SocksError::AccountWanted | SocksError::AccountRefused => {
                let failure = needs_input(Cause::CannotConnect, self.unknown_here());
                return Failure { web_error_status: Web::ProxyAuthenticationRequired, ..failure };
            }
            SocksError::Refused(reply) => by_reply(*reply),
            SocksError::TooLong(what) => {
                let detail = format!("the {what} for the proxy {self} is longer than 255 bytes");
                return needs_input(Cause::CannotConnect, detail);
            }
            SocksError::NotSocks => (Remedy::NeedsInput, Web::CannotConnect, "it does not speak SOCKS 5"),
        };
        let detail = format!("the proxy {self} made no connection to {origin}: {why}");
        Failure { web_error_status, ..failure(remedy, Cause::CannotConnect, detail) }
    }
}

/// Without user name and password.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}
