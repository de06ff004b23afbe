//! A user name and a password, and how they are shown to one server or proxy: Basic (RFC 7617) and Digest (RFC 7616).
//!
//! Deliberately absent: Negotiate and NTLM. They authenticate connections and not requests, and take the user's tickets
//! with them.

mod challenge;
mod digest;

use std::sync::{Mutex, MutexGuard};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use longhaul_contract::Credential;

use super::head::Head;
use challenge::{Challenge, challenges, parameters};
use digest::Digest;

/// So often one request is made again with another answer: once for a challenge, and then for nonces that are too old.
const ANSWERS_MAX: u32 = 3;
/// Schemes that are named in the text of a failure.
const NAMED_MAX: usize = 5;
/// Of a scheme's name, which the server chooses.
const NAME_BYTES_MAX: usize = 32;

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    /// Gets the credential with the first request, as Basic, unless it is known to ask for Digest.
    Server,
    /// Gets nothing before it has asked.
    Proxy,
}

impl Peer {
    const fn status(self) -> u16 {
        match self {
            Self::Server => 401,
            Self::Proxy => 407,
        }
    }

    const fn challenge_field(self) -> HeaderName {
        match self {
            Self::Server => header::WWW_AUTHENTICATE,
            Self::Proxy => header::PROXY_AUTHENTICATE,
        }
    }

    const fn info_field(self) -> HeaderName {
        match self {
            Self::Server => HeaderName::from_static("authentication-info"),
            Self::Proxy => HeaderName::from_static("proxy-authentication-info"),
        }
    }
}

/// One credential at the one place it belongs to.
pub(crate) struct Account {
    credential: Credential,
    peer: Peer,
    state: Mutex<State>,
}

struct State {
    scheme: Scheme,
    /// Rises with each challenge that was taken up.
    generation: u64,
    /// A request with the credential was not refused.
    is_accepted: bool,
}

enum Scheme {
    /// Nothing is sent before a challenge.
    Silent,
    Basic,
    Digest(Box<Digest>),
}

/// One request, however often it has to be made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Round {
    generation: u64,
    answers: u32,
}

impl Account {
    pub(crate) fn new(credential: Credential, peer: Peer) -> Self {
        let scheme = if peer == Peer::Server { Scheme::Basic } else { Scheme::Silent };
        let state = State { scheme, generation: 0, is_accepted: false };
        Self { credential, peer, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }

    /// The server has asked for Digest before: the password is not sent to it as it is, unless it asks for that now.
    pub(crate) fn await_challenge(&self) {
        let mut state = self.state();
        if state.generation == 0 && !state.is_accepted {
            state.scheme = Scheme::Silent;
        }
    }

    /// Whether it is not known yet if the credential is accepted.
    pub(crate) fn is_unproved(&self) -> bool {
        !self.state().is_accepted
    }

    pub(crate) fn is_digest(&self) -> bool {
        matches!(self.state().scheme, Scheme::Digest(_))
    }

    pub(crate) fn round(&self) -> Round {
        Round { generation: self.state().generation, answers: 0 }
    }

    /// Authorization or Proxy-Authorization of the next request.
    pub(crate) fn field(&self, method: &Method, target: &str) -> Option<HeaderValue> {
        match &mut self.state().scheme {
            Scheme::Silent => None,
            Scheme::Basic => Some(basic(&self.credential)),
            Scheme::Digest(digest) => Some(digest.answer(&self.credential, method, target)),
        }
    }

    /// Heeds what the response says about the credential; whether the request is to be made again with another answer.
    pub(crate) fn heed(&self, round: &mut Round, head: &Head) -> bool {
        let mut state = self.state();
        if head.status != self.peer.status() {
            state.is_accepted = true;
            if let Scheme::Digest(digest) = &mut state.scheme {
                digest.is_proven = true;
                if let Some(nonce) = next_nonce(&head.headers, self.peer) {
                    digest.renew(&nonce);
                }
            }
            return false;
        }
        round.answers += 1;
        if round.answers > ANSWERS_MAX {
            return false;
        }
        if state.generation == round.generation {
            let offered = challenges(&head.headers, &self.peer.challenge_field());
            let Some(next) = next_scheme(&state.scheme, &offered) else { return false };
            state.scheme = next;
            state.generation += 1;
        }
        // Else another request has taken up a newer challenge meanwhile.
        round.generation = state.generation;
        true
    }
}

/// What to go on with; `None` when the credential itself was refused, or what is asked for is worse than what was.
fn next_scheme(known: &Scheme, offered: &[Challenge]) -> Option<Scheme> {
    let digest = strongest(offered);
    match (known, digest) {
        (Scheme::Digest(known), Some(new)) => {
            // A nonce that was good once may have grown too old without a word about it.
            let may_go_on = (new.is_stale || known.is_proven) && !new.is_weaker_than(known);
            may_go_on.then(|| Scheme::Digest(Box::new(new)))
        }
        (Scheme::Digest(_) | Scheme::Basic, None) => None,
        (Scheme::Silent | Scheme::Basic, Some(new)) => Some(Scheme::Digest(Box::new(new))),
        (Scheme::Silent, None) => offered.iter().any(|offer| offer.is("basic")).then_some(Scheme::Basic),
    }
}

/// The first of the strongest that can be answered.
fn strongest(offered: &[Challenge]) -> Option<Digest> {
    offered.iter().filter_map(Digest::of).fold(None, |best: Option<Digest>, next| match best {
        Some(best) if !best.is_weaker_than(&next) => Some(best),
        _ => Some(next),
    })
}

fn next_nonce(headers: &HeaderMap, peer: Peer) -> Option<String> {
    let text = headers.get(peer.info_field())?.to_str().ok()?;
    parameters(text).into_iter().find(|(name, _)| name == "nextnonce").map(|(_, nonce)| nonce)
}

/// RFC 7617 with UTF-8.
fn basic(credential: &Credential) -> HeaderValue {
    let text = format!("{}:{}", credential.user, credential.password.reveal());
    let mut value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(text)))
        .expect("base64 is ASCII without controls");
    value.set_sensitive(true);
    value
}

/// What is to be done about a 401 or 407, to be put behind what happened.
pub(crate) fn advice(head: &Head, peer: Peer) -> Option<String> {
    let offered = challenges(&head.headers, &peer.challenge_field());
    let is_answerable = |offer: &Challenge| offer.is("basic") || Digest::of(offer).is_some();
    if offered.is_empty() || offered.iter().any(is_answerable) {
        return None;
    }
    let mut names: Vec<_> =
        offered.iter().map(|offer| &offer.scheme[..offer.scheme.len().min(NAME_BYTES_MAX)]).collect();
    names.dedup();
    names.truncate(NAMED_MAX);
    let names = names.join(", ");
    let is_ambient = |offer: &Challenge| offer.is("negotiate") || offer.is("ntlm");
    let way_out = match peer {
        Peer::Server if offered.iter().all(is_ambient) => {
            "let its operator allow Basic or Digest, or use a link that carries its own signature or token"
        }
        Peer::Server => "put what it wants into a request header Authorization",
        Peer::Proxy => "let its operator allow Basic or Digest, or go by another proxy",
    };
    Some(format!("it accepts {names} only, which is not supported: {way_out}"))
}

#[cfg(test)]
mod tests {
    use longhaul_contract::Secret;

    use super::*;

    fn account(peer: Peer) -> Account {
        Account::new(Credential { user: "u".to_owned(), password: Secret::new("p") }, peer)
    }

    fn head(status: u16, fields: &[(&'static str, &str)]) -> Head {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        Head { status, headers, length: Some(0) }
    }

    fn refused(challenge: &str) -> Head {
        head(401, &[("www-authenticate", challenge)])
    }

    fn sent(account: &Account) -> String {
        account
            .field(&Method::GET, "/f")
            .map_or_else(|| "nothing".to_owned(), |value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn the_strongest_scheme_is_taken_and_never_given_up_for_a_weaker_one() {
        let account = account(Peer::Server);
        assert_eq!(sent(&account), "Basic dTpw");
        let mut round = account.round();
        let offers = "Basic realm=\"r\", Digest realm=\"r\", nonce=\"1\", Digest realm=\"r\", nonce=\"2\", \
                      algorithm=SHA-256, Negotiate";
        assert!(account.heed(&mut round, &refused(offers)));
        assert!(sent(&account).contains("nonce=\"2\""), "{}", sent(&account));
        assert!(!account.heed(&mut round, &head(200, &[])));
        for worse in ["Basic realm=\"r\"", "Digest realm=\"r\", nonce=\"3\", stale=true"] {
            assert!(!account.heed(&mut account.round(), &refused(worse)), "{worse}");
        }
    }

    #[test]
    fn a_refused_credential_is_not_shown_again() {
        let digest = account(Peer::Server);
        let mut round = digest.round();
        let challenge = |nonce: &str| refused(&format!("Digest realm=\"r\", nonce=\"{nonce}\", qop=auth"));
        assert!(digest.heed(&mut round, &challenge("1")));
        assert!(!digest.heed(&mut round, &challenge("2")), "the password was wrong");
        let basic = account(Peer::Server);
        assert!(!basic.heed(&mut basic.round(), &refused("Basic realm=\"r\"")));
    }

    #[test]
    fn nonces_that_are_too_old_are_replaced_but_not_for_ever() {
        let account = account(Peer::Server);
        let mut round = account.round();
        let stale =
            |nonce: u32| refused(&format!("Digest realm=\"r\", nonce=\"{nonce}\", qop=auth, stale=true"));
        assert!((0..ANSWERS_MAX).all(|nonce| account.heed(&mut round, &stale(nonce))));
        assert!(!account.heed(&mut round, &stale(9)), "a server that is never content");
        let mut round = account.round();
        account.heed(&mut round, &head(200, &[("authentication-info", "nextnonce=\"n\", qop=auth")]));
        assert!(sent(&account).contains("nonce=\"n\""));
        // It says nothing about age, but the answer before was good.
        assert!(account.heed(&mut round, &refused("Digest realm=\"r\", nonce=\"m\", qop=auth")));
        assert!(!account.heed(&mut round, &refused("Digest realm=\"r\", nonce=\"l\", qop=auth")));
    }

    #[test]
    fn two_requests_take_up_one_challenge() {
        let account = account(Peer::Server);
        let (mut one, mut two) = (account.round(), account.round());
        let challenge = |nonce: &str| refused(&format!("Digest realm=\"r\", nonce=\"{nonce}\", qop=auth"));
        assert!(account.heed(&mut one, &challenge("1")));
        assert!(account.heed(&mut two, &challenge("2")));
        assert!(sent(&account).contains("nonce=\"1\", "), "{}", sent(&account));
        assert!(sent(&account).contains("nc=00000002"));
    }

    #[test]
    fn a_proxy_and_a_server_that_wants_digest_are_waited_for() {
        let proxy = account(Peer::Proxy);
        assert_eq!(sent(&proxy), "nothing");
        let asks = head(407, &[("proxy-authenticate", "Basic realm=\"p\"")]);
        let mut round = proxy.round();
        assert!(proxy.heed(&mut round, &asks));
        assert_eq!(sent(&proxy), "Basic dTpw");
        assert!(!proxy.heed(&mut round, &asks));
        let server = account(Peer::Server);
        server.await_challenge();
        assert_eq!(sent(&server), "nothing");
        assert!(server.heed(&mut server.round(), &refused("Digest realm=\"r\", nonce=\"1\"")));
        server.await_challenge();
        assert!(sent(&server).starts_with("Digest "));
    }

    #[test]
    fn what_cannot_be_answered_is_told_with_a_way_out() {
        let ambient = head(401, &[("www-authenticate", "Negotiate"), ("www-authenticate", "NTLM")]);
        let text = advice(&ambient, Peer::Server).unwrap();
        assert!(text.contains("Negotiate, NTLM only") && text.contains("not supported"), "{text}");
        assert!(!account(Peer::Server).heed(&mut account(Peer::Server).round(), &ambient));
        assert!(advice(&refused("Bearer realm=\"x\""), Peer::Server).unwrap().contains("Authorization"));
        assert_eq!(advice(&refused("Basic realm=\"x\", NTLM"), Peer::Server), None);
        assert_eq!(advice(&head(401, &[]), Peer::Server), None);
    }
}
