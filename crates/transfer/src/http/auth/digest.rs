//! Digest access authentication (RFC 7616, and RFC 2069 for servers without `qop`).
//!
//! Deliberately absent: `qop=auth-int`, which needs the digest of a body before its first byte is sent.

use std::fmt::Write as _;

use http::{HeaderValue, Method};
use longhaul_contract::Credential;
use rand::RngCore as _;
use sha2::Digest as _;

use super::challenge::Challenge;

/// Longer values are no challenge but an attempt to make us send much.
const VALUE_BYTES_MAX: usize = 4096;

/// From the weakest to the strongest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Hash {
    Md5,
    Sha256,
    Sha512Part,
}

impl Hash {
    fn of(self, text: &str) -> String {
        match self {
            Self::Md5 => hex::encode(md5::Md5::digest(text)),
            Self::Sha256 => hex::encode(sha2::Sha256::digest(text)),
            Self::Sha512Part => hex::encode(sha2::Sha512_256::digest(text)),
        }
    }
}

/// A challenge that was taken up, and how often it has been answered.
pub(super) struct Digest {
    hash: Hash,
    /// The algorithm as the server wrote it; `None` means MD5.
    algorithm: Option<String>,
    is_session: bool,
    realm: String,
    nonce: String,
    opaque: Option<String>,
    has_qop: bool,
    is_utf8: bool,
    hides_user: bool,
    pub(super) is_stale: bool,
    /// An answer to it was accepted.
    pub(super) is_proven: bool,
    count: u32,
    cnonce: String,
    /// H(A1), once it was needed.
    secret: Option<String>,
}

impl Digest {
    /// `None` for an algorithm or a protection that this side does not have.
    pub(super) fn of(challenge: &Challenge) -> Option<Self> {
        if !challenge.is("digest") {
            return None;
        }
        let value = |name: &str| challenge.parameter(name).map(str::to_owned);
        let algorithm = value("algorithm");
        let word = algorithm.as_deref().unwrap_or("MD5").to_ascii_lowercase();
        let (word, is_session) =
            word.strip_suffix("-sess").map_or((word.as_str(), false), |word| (word, true));
        let hash = match word {
            "md5" => Hash::Md5,
            "sha-256" => Hash::Sha256,
            "sha-512-256" => Hash::Sha512Part,
            _ => return None,
        };
        let qop = value("qop");
        let has_qop = qop.is_some();
        if let Some(qop) = qop
            && !qop.split(',').any(|word| word.trim().eq_ignore_ascii_case("auth"))
        {
            return None;
        }
        let is_true = |name: &str| {
            challenge.parameter(name).is_some_and(|value| value.trim().eq_ignore_ascii_case("true"))
        };
        let charset = challenge.parameter("charset");
        let found = Self {
            hash,
            is_session,
            realm: value("realm")?,
            nonce: value("nonce")?,
            opaque: value("opaque"),
            has_qop,
            is_utf8: charset.is_some_and(|charset| charset.eq_ignore_ascii_case("utf-8")),
            hides_user: is_true("userhash"),
            is_stale: is_true("stale"),
            algorithm,
            is_proven: false,
            count: 0,
            cnonce: random(),
            secret: None,
        };
        let lengths = [found.realm.len(), found.nonce.len(), found.opaque.as_ref().map_or(0, String::len)];
        lengths.iter().all(|length| *length <= VALUE_BYTES_MAX).then_some(found)
    }

    pub(super) fn is_weaker_than(&self, other: &Self) -> bool {
        self.hash < other.hash
    }

    /// The next request is to use this nonce (RFC 7616 section 3.5).
    pub(super) fn renew(&mut self, nonce: &str) {
        if nonce.len() <= VALUE_BYTES_MAX && nonce != self.nonce {
            nonce.clone_into(&mut self.nonce);
            self.count = 0;
        }
    }

    /// The field that answers for one request.
    pub(super) fn answer(&mut self, credential: &Credential, method: &Method, target: &str) -> HeaderValue {
        self.count += 1;
        let text = self.write(credential, method, target);
        let mut value = HeaderValue::from_bytes(text.as_bytes())
            .expect("what came in a field and has no controls goes into one");
        value.set_sensitive(true);
        value
    }

    fn write(&mut self, credential: &Credential, method: &Method, target: &str) -> String {
        let hash = self.hash;
        let plain = format!("{}:{}:{}", credential.user, self.realm, credential.password.reveal());
        let secret = self.secret.get_or_insert_with(|| {
            let plain = hash.of(&plain);
            if self.is_session { hash.of(&format!("{plain}:{}:{}", self.nonce, self.cnonce)) } else { plain }
        });
        let request = hash.of(&format!("{method}:{target}"));
        let count = format!("{:08x}", self.count);
        let response = if self.has_qop {
            hash.of(&format!("{secret}:{}:{count}:{}:auth:{request}", self.nonce, self.cnonce))
        } else {
            hash.of(&format!("{secret}:{}:{request}", self.nonce))
        };
        let mut text = format!(
            "Digest {}, realm={}, nonce={}, uri={}, response=\"{response}\"",
            self.user(&credential.user),
            quoted(&self.realm),
            quoted(&self.nonce),
            quoted(target),
        );
        let mut add = |part: std::fmt::Arguments<'_>| {
            let _ = write!(text, ", {part}");
        };
        if let Some(algorithm) = &self.algorithm {
            add(format_args!("algorithm={}", token(algorithm)));
        }
        if self.has_qop {
            add(format_args!("qop=auth, nc={count}, cnonce=\"{}\"", self.cnonce));
        } else if self.is_session {
            add(format_args!("cnonce=\"{}\"", self.cnonce));
        }
        if let Some(opaque) = &self.opaque {
            add(format_args!("opaque={}", quoted(opaque)));
        }
        if self.hides_user {
            add(format_args!("userhash=true"));
        }
        text
    }

    fn user(&self, user: &str) -> String {
        if self.hides_user {
            return format!("username=\"{}\"", self.hash.of(&format!("{user}:{}", self.realm)));
        }
        if user.is_ascii() || !self.is_utf8 {
            return format!("username={}", quoted(user));
        }
        let encoded = percent_encoding::utf8_percent_encode(user, percent_encoding::NON_ALPHANUMERIC);
        format!("username*=UTF-8''{encoded}")
    }
}

fn random() -> String {
    let mut bytes = [0_u8; 16];
    rand::rng().fill_bytes(&mut bytes);
    hex::encode(bytes)
}

/// RFC 9110 section 5.6.4. Controls cannot be written; none comes in a field, and credentials have none.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars().filter(|character| !character.is_control()) {
        if matches!(character, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted.push('"');
    quoted
}

/// An algorithm is written without marks; one of the known words has only these.
fn token(text: &str) -> String {
    text.chars().filter(|character| character.is_ascii_alphanumeric() || *character == '-').collect()
}

#[cfg(test)]
mod tests {
    use http::header::{HeaderMap, WWW_AUTHENTICATE};
    use longhaul_contract::Secret;

    use super::super::challenge::challenges;
    use super::*;

    fn of(field: &str) -> Option<Digest> {
        let mut headers = HeaderMap::new();
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_str(field).unwrap());
        challenges(&headers, &WWW_AUTHENTICATE).iter().find_map(Digest::of)
    }

    fn credential(user: &str, password: &str) -> Credential {
        Credential { user: user.to_owned(), password: Secret::new(password) }
    }

    fn answer(digest: &mut Digest, credential: &Credential, target: &str) -> String {
        digest.write(credential, &Method::GET, target)
    }

    #[track_caller]
    fn assert_has(answer: &str, parts: &[&str]) {
        for part in parts {
            assert!(answer.contains(part), "{part} is not in {answer}");
        }
    }

    /// RFC 7616 section 3.9.1.
    #[test]
    fn the_examples_of_rfc_7616_come_out() {
        for (algorithm, response) in [
            ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
            ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ] {
            let mut digest = of(&format!(
                "Digest realm=\"http-auth@example.org\", qop=\"auth, auth-int\", algorithm={algorithm}, \
                 nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", \
                 opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\""
            ))
            .unwrap();
            digest.cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ".to_owned();
            digest.count = 1;
            let user = credential("Mufasa", "Circle of Life");
            let text = answer(&mut digest, &user, "/dir/index.html");
            assert_has(
                &text,
                &[
                    &format!("response=\"{response}\""),
                    "username=\"Mufasa\"",
                    "uri=\"/dir/index.html\"",
                    "nc=00000001, ",
                    "opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\"",
                    &format!("algorithm={algorithm}"),
                    "qop=auth, ",
                ],
            );
        }
    }

    /// RFC 7616 section 3.9.2: SHA-512-256, the user name hidden.
    #[test]
    fn the_user_name_is_hidden_where_the_server_wants_that() {
        let mut digest = of("Digest realm=\"api@example.org\", qop=\"auth\", algorithm=SHA-512-256, \
             nonce=\"5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK\", \
             opaque=\"HRPCssKJSGjCrkzDg8OhwpzCiGPChXYjwrI2QmXDnsOS\", charset=UTF-8, userhash=true")
        .unwrap();
        digest.cnonce = "NTg6RKcb9boFIAS3KrFK9BGeh+niz/sm".to_owned();
        digest.count = 1;
        let text = answer(&mut digest, &credential("J\u{e4}s\u{f8}n Doe", "Secret, or not?"), "/doe.json");
        assert_has(
            &text,
            &[
                "userhash=true",
                "username=\"793263caabb707a56211940d90411ea4a575adeccb7e360aeb624ed06ece9b0b\"",
            ],
        );
    }

    /// RFC 2069 section 2.4, with the response of its errata.
    #[test]
    fn a_server_without_qop_gets_the_older_answer() {
        let mut digest = of("Digest realm=\"testrealm@host.com\", \
             nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", opaque=\"5ccc069c403ebaf9f0171e9517f40e41\"")
        .unwrap();
        let text = answer(&mut digest, &credential("Mufasa", "CircleOfLife"), "/dir/index.html");
        assert_has(&text, &["response=\"1949323746fe6a43ef61f9606e7febea\""]);
        assert!(!text.contains("qop") && !text.contains("nc=") && !text.contains("algorithm"), "{text}");
    }

    #[test]
    fn a_session_keeps_its_secret_and_counts() {
        let mut digest =
            of("Digest realm=\"r\", nonce=\"n\", algorithm=MD5-sess, qop=auth, stale=TRUE").unwrap();
        assert!(digest.is_stale && digest.is_session);
        let user = credential("u", "p");
        let fields: Vec<_> = ["/a", "/b"]
            .map(|target| digest.answer(&user, &Method::PUT, target).to_str().unwrap().to_owned())
            .to_vec();
        assert_has(&fields[0], &["nc=00000001", "algorithm=MD5-sess"]);
        assert_has(&fields[1], &["nc=00000002"]);
        let a1 = Hash::Md5.of(&format!("{}:n:{}", Hash::Md5.of("u:r:p"), digest.cnonce));
        assert_eq!(digest.secret.as_deref(), Some(a1.as_str()));
        digest.renew("other");
        let third = digest.answer(&user, &Method::PUT, "/c");
        assert_has(third.to_str().unwrap(), &["nc=00000001", "nonce=\"other\""]);
        assert_eq!(digest.secret.as_deref(), Some(a1.as_str()));
    }

    #[test]
    fn names_are_written_so_that_they_come_through() {
        let plain = |user: &str, charset: &str| {
            let mut digest = of(&format!("Digest realm=\"a \\\"b\\\"\", nonce=\"n\"{charset}")).unwrap();
            let text = digest.answer(&credential(user, "p"), &Method::GET, "/");
            String::from_utf8(text.as_bytes().to_vec()).unwrap()
        };
        assert_has(&plain("a\"b\\c", ""), &[r#"username="a\"b\\c""#, r#"realm="a \"b\"""#]);
        assert_has(&plain("J\u{e4}s", ""), &["username=\"J\u{e4}s\""]);
        assert_has(&plain("J\u{e4}s", ", charset=UTF-8"), &["username*=UTF-8''J%C3%A4s"]);
    }

    #[test]
    fn what_this_side_does_not_have_is_not_taken_up() {
        for field in [
            "Digest realm=\"r\", nonce=\"n\", qop=\"auth-int\"",
            "Digest realm=\"r\", nonce=\"n\", algorithm=SHA-1",
            "Digest realm=\"r\"",
            "Digest nonce=\"n\"",
            "Basic realm=\"r\"",
            &format!("Digest realm=\"r\", nonce=\"{}\"", "n".repeat(VALUE_BYTES_MAX + 1)),
        ] {
            assert!(of(field).is_none(), "{field}");
        }
        assert!(Hash::Md5 < Hash::Sha256);
    }
}
