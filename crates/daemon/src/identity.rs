//! Who is calling, and how far that caller reaches. On the Unix socket the kernel says it, over TCP a token does; a
//! header is believed only where whoever sends it could as well do everything it claims.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderMap, HeaderName, header};
use longhaul_contract::{AppId, ErrorCode, Scope};
use longhaul_host::peer::{Peer, Sandbox};
use longhaul_store::Reader;
use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;

use crate::admission::Reach;
use crate::http::{Answer, Refused};

/// Names the application of an unsandboxed caller on the Unix socket.
const APP_HEADER: HeaderName = HeaderName::from_static("longhaul-app");

/// Before a wrong token is refused.
const WRONG_TOKEN_DELAY: Duration = Duration::from_millis(200);

/// Tokens remembered to be right.
const KNOWN_TOKENS_MAX: usize = 1024;

/// Beginning of every token, so that it can be told from other secrets.
const TOKEN_MARK: &str = "longhaul_";

/// The connection a request came by.
#[derive(Debug)]
pub(crate) enum Line {
    Unix { peer: Arc<Peer>, sandbox: OnceCell<Sandbox> },
    Tcp,
}

impl Line {
    pub(crate) fn unix(peer: Peer) -> Self {
        Self::Unix { peer: Arc::new(peer), sandbox: OnceCell::new() }
    }
}

/// One caller as all handlers see it.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) app: AppId,
    pub(crate) reach: Reach,
    scopes: Arc<[Scope]>,
    /// Unsandboxed on the Unix socket.
    pub(crate) is_owner: bool,
}

impl Caller {
    pub(crate) fn need(&self, scope: Scope) -> Answer<()> {
        if self.is_owner || self.scopes.contains(&scope) {
            return Ok(());
        }
        let word = match scope {
            Scope::Submit => "submit",
            Scope::Read => "read",
            Scope::Admin => "admin",
        };
        Err(Refused::new(ErrorCode::Forbidden, format!("this needs the scope {word}")))
    }

    pub(crate) fn need_owner(&self) -> Answer<()> {
        if self.is_owner {
            return Ok(());
        }
        Err(Refused::new(ErrorCode::Forbidden, "only the owner may do this, on the Unix socket"))
    }
}

/// Whom a token speaks for, and what it may do.
type Grant = (AppId, Arc<[Scope]>);

/// Tells callers apart.
pub(crate) struct Doorkeeper {
    reader: Arc<dyn Reader>,
    /// User id of the service.
    uid: u32,
    /// Tokens are never changed or taken back, so what was right stays right.
    known: Mutex<HashMap<[u8; 32], Grant>>,
}

impl Doorkeeper {
    pub(crate) fn new(reader: Arc<dyn Reader>, uid: u32) -> Self {
        Self { reader, uid, known: Mutex::default() }
    }

    pub(crate) async fn identify(&self, line: &Line, headers: &HeaderMap) -> Answer<Caller> {
        match line {
            Line::Unix { peer, sandbox } => {
                if peer.uid != self.uid && peer.uid != 0 {
                    return Err(Refused::new(ErrorCode::Forbidden, "this service belongs to another user"));
                }
                let sandbox = sandbox
                    .get_or_init(|| {
                        let peer = Arc::clone(peer);
                        async move {
                            let looked = tokio::task::spawn_blocking(move || peer.sandbox()).await;
                            looked.unwrap_or_else(|error| Sandbox::Unknown(error.to_string()))
                        }
                    })
                    .await;
                local_caller(sandbox, headers)
            }
            Line::Tcp => self.token_caller(headers).await,
        }
    }

    async fn token_caller(&self, headers: &HeaderMap) -> Answer<Caller> {
        let Some(token) = bearer(headers)? else {
            return Err(Refused::new(ErrorCode::Unauthorized, "the request has no token"));
        };
        let hash = hash(token);
        let Some((app, scopes)) = self.look_up(hash).await? else {
            tokio::time::sleep(WRONG_TOKEN_DELAY).await;
            return Err(Refused::new(ErrorCode::Unauthorized, "the token is wrong"));
        };
        if named_app(headers)?.is_some_and(|named| named != app) {
            return Err(Refused::new(ErrorCode::Forbidden, "the token belongs to another application"));
        }
        Ok(Caller { app, reach: Reach::Confined, scopes, is_owner: false })
    }

    /// Tokens are looked up by their hash, so how long it takes says nothing about any token.
    async fn look_up(&self, hash: [u8; 32]) -> Answer<Option<Grant>> {
        if let Some(known) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&hash) {
            return Ok(Some(known.clone()));
        }
        let reader = Arc::clone(&self.reader);
        let found = tokio::task::spawn_blocking(move || reader.token(&hash)).await;
        let Some((app, scopes)) = found.map_err(|error| Refused::internal(&error))?? else { return Ok(None) };
        let found = (app, Arc::from(scopes));
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KNOWN_TOKENS_MAX {
            known.clear();
        }
        known.insert(hash, found.clone());
        Ok(Some(found))
    }
}

fn local_caller(sandbox: &Sandbox, headers: &HeaderMap) -> Answer<Caller> {
    let named = named_app(headers)?;
    match sandbox {
        Sandbox::None => Ok(Caller {
            app: named.unwrap_or_default(),
            reach: Reach::Everywhere,
            scopes: Arc::new([]),
            is_owner: true,
        }),
        Sandbox::Application(app) => {
            if named.is_some_and(|named| named != *app) {
                let detail = format!("a sandboxed caller is {app} and cannot name another application");
                return Err(Refused::new(ErrorCode::Forbidden, detail));
            }
            Ok(Caller {
                app: app.clone(),
                reach: Reach::Confined,
                scopes: Arc::new([Scope::Submit, Scope::Read]),
                is_owner: false,
            })
        }
        Sandbox::Unknown(reason) => {
            tracing::warn!(%reason, "a local caller is refused");
            Err(Refused::new(ErrorCode::Forbidden, "it cannot be found out which application is calling"))
        }
    }
}

fn named_app(headers: &HeaderMap) -> Answer<Option<AppId>> {
    let mut values = headers.get_all(APP_HEADER).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let refuse =
        |detail: String| Refused::new(ErrorCode::InvalidParameter, detail).with_field("Longhaul-App");
    if values.next().is_some() {
        return Err(refuse("there is more than one application named".to_owned()));
    }
    let name = value.to_str().map_err(|_| refuse("the name is not ASCII".to_owned()))?;
    AppId::new(name).map(Some).map_err(|error| refuse(error.to_string()))
}

fn bearer(headers: &HeaderMap) -> Answer<Option<&str>> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let refuse = |detail: &str| Refused::new(ErrorCode::Unauthorized, detail);
    if values.next().is_some() {
        return Err(refuse("there is more than one Authorization"));
    }
    let text = value.to_str().map_err(|_| refuse("Authorization is not ASCII"))?;
    match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(Some(token.trim())),
        _ => Err(refuse("Authorization is not of the scheme Bearer")),
    }
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// A new token of 256 random bits, and the hash that is kept of it.
pub(crate) fn new_token() -> (String, [u8; 32]) {
    let token = format!("{TOKEN_MARK}{}", hex::encode(rand::random::<[u8; 32]>()));
    let hash = hash(&token);
    (token, hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), http::HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn a_sandboxed_caller_cannot_be_somebody_else() {
        let photos = AppId::new("org.example.Photos").unwrap();
        let sandbox = Sandbox::Application(photos.clone());
        let caller = local_caller(&sandbox, &headers(&[])).unwrap();
        assert_eq!((caller.app.clone(), caller.reach, caller.is_owner), (photos, Reach::Confined, false));
        assert!(caller.need(Scope::Submit).is_ok());
        assert!(caller.need(Scope::Admin).is_err());
        assert!(caller.need_owner().is_err());
        let other = headers(&[("longhaul-app", "org.example.Other")]);
        assert_eq!(local_caller(&sandbox, &other).unwrap_err().problem().code, ErrorCode::Forbidden);
        let unknown = Sandbox::Unknown("gone".to_owned());
        assert_eq!(local_caller(&unknown, &other).unwrap_err().problem().code, ErrorCode::Forbidden);
    }

    #[test]
    fn the_owner_may_name_any_application() {
        let caller =
            local_caller(&Sandbox::None, &headers(&[("longhaul-app", "org.example.Other")])).unwrap();
        assert_eq!(caller.app.as_str(), "org.example.Other");
        assert!(caller.is_owner && caller.need(Scope::Admin).is_ok());
        for bad in ["other", "org.example.Oth er", ""] {
            let refused = local_caller(&Sandbox::None, &headers(&[("longhaul-app", bad)])).unwrap_err();
            assert_eq!(refused.problem().code, ErrorCode::InvalidParameter);
        }
        let twice = headers(&[("longhaul-app", "org.a"), ("longhaul-app", "org.b")]);
        assert!(local_caller(&Sandbox::None, &twice).is_err());
    }

    #[test]
    fn only_one_bearer_token_counts() {
        assert_eq!(bearer(&headers(&[("authorization", "bearer abc ")])).unwrap(), Some("abc"));
        assert_eq!(bearer(&headers(&[])).unwrap(), None);
        assert!(bearer(&headers(&[("authorization", "Basic abc")])).is_err());
        assert!(bearer(&headers(&[("authorization", "Bearer a"), ("authorization", "Bearer b")])).is_err());
    }

    #[test]
    fn tokens_are_long_and_differ() {
        let ((one, hash_of_one), (other, _)) = (new_token(), new_token());
        assert_ne!(one, other);
        assert_eq!(hash(&one), hash_of_one);
        assert_eq!(one.len(), TOKEN_MARK.len() + 64);
    }
}
