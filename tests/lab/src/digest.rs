//! A server's side of Digest authentication with SHA-256 (RFC 7616), written apart from the client's.

use std::collections::HashMap;
use std::sync::Mutex;

use sha2::{Digest as _, Sha256};

use crate::hostile::Request;

/// Judges answers to a challenge whose nonce can change.
pub struct DigestDesk {
    user: &'static str,
    password: &'static str,
    is_session: bool,
    nonce: Mutex<String>,
}

impl DigestDesk {
    #[must_use]
    pub fn new(user: &'static str, password: &'static str, is_session: bool) -> Self {
        Self { user, password, is_session, nonce: Mutex::new("first".to_owned()) }
    }

    fn nonce(&self) -> String {
        self.nonce.lock().expect("no holder of this lock panics").clone()
    }

    /// From now on only answers with this nonce count.
    pub fn set_nonce(&self, nonce: &str) {
        nonce.clone_into(&mut self.nonce.lock().expect("no holder of this lock panics"));
    }

    /// Value of WWW-Authenticate or Proxy-Authenticate.
    #[must_use]
    pub fn challenge(&self) -> String {
        format!(
            "Digest realm=\"lab, \\\"quoted\\\"\", qop=\"auth\", algorithm={}, nonce=\"{}\", opaque=\"o\"",
            self.algorithm(),
            self.nonce()
        )
    }

    const fn algorithm(&self) -> &'static str {
        if self.is_session { "SHA-256-sess" } else { "SHA-256" }
    }

    /// Whether `field` of the request is a right answer for the present nonce.
    #[must_use]
    pub fn accepts(&self, request: &Request, field: &str) -> bool {
        let Some(text) = request.header(field).and_then(|text| text.strip_prefix("Digest ")) else {
            return false;
        };
        let rest = text.replace("realm=\"lab, \\\"quoted\\\"\", ", "");
        if rest.len() == text.len() {
            return false;
        }
        let given: HashMap<&str, &str> = rest
            .split(", ")
            .filter_map(|part| part.split_once('='))
            .map(|(name, value)| (name, value.trim_matches('"')))
            .collect();
        let value = |name: &str| given.get(name).copied().unwrap_or_default();
        let nonce = self.nonce();
        let mut secret = hash(&format!("{}:lab, \"quoted\":{}", self.user, self.password));
        if self.is_session {
            secret = hash(&format!("{secret}:{nonce}:{}", value("cnonce")));
        }
        let asked = hash(&format!("{}:{}", request.method, value("uri")));
        let (count, cnonce) = (value("nc"), value("cnonce"));
        let expected = hash(&format!("{secret}:{nonce}:{count}:{cnonce}:auth:{asked}"));
        value("response") == expected
            && value("username") == self.user
            && value("nonce") == nonce
            && value("opaque") == "o"
            && value("qop") == "auth"
            && value("algorithm") == self.algorithm()
            && request.target.ends_with(value("uri"))
    }
}

fn hash(text: &str) -> String {
    hex::encode(Sha256::digest(text))
}
