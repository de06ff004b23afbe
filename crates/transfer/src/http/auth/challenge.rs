//! Challenges of WWW-Authenticate and Proxy-Authenticate (RFC 9110 section 11.6.1).

use http::header::{HeaderMap, HeaderName};

/// More than any server sends; the rest is not looked at.
const CHALLENGES_MAX: usize = 32;
const PARAMETERS_MAX: usize = 32;

/// One way to authenticate that a server offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Challenge {
    /// As sent: a token.
    pub(super) scheme: String,
    /// Names in lower case.
    parameters: Vec<(String, String)>,
}

impl Challenge {
    pub(super) fn is(&self, scheme: &str) -> bool {
        self.scheme.eq_ignore_ascii_case(scheme)
    }

    /// The first value of a parameter, by its name in lower case.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// What all fields `name` offer, in order. A field that cannot be read counts as far as it can.
pub(super) fn challenges(headers: &HeaderMap, name: &HeaderName) -> Vec<Challenge> {
    let mut found = Vec::new();
    for value in headers.get_all(name) {
        read(&String::from_utf8_lossy(value.as_bytes()), &mut found);
    }
    found
}

/// `name="value", name=token` of a field that holds nothing else, such as Authentication-Info.
pub(super) fn parameters(text: &str) -> Vec<(String, String)> {
    let mut rest = Reader(text);
    let mut found = Vec::new();
    loop {
        rest.skip_separators();
        let Some(parameter) = rest.parameter() else { return found };
        if found.len() < PARAMETERS_MAX {
            found.push(parameter);
        }
    }
}

fn read(text: &str, found: &mut Vec<Challenge>) {
    let mut rest = Reader(text);
    let first = found.len();
    loop {
        rest.skip_separators();
        if found.len() > first
            && let Some(parameter) = rest.parameter()
        {
            if let Some(challenge) = found.last_mut().filter(|known| known.parameters.len() < PARAMETERS_MAX)
            {
                challenge.parameters.push(parameter);
            }
            continue;
        }
        let Some(scheme) = rest.token().filter(|_| found.len() < CHALLENGES_MAX) else { return };
        found.push(Challenge { scheme: scheme.to_owned(), parameters: Vec::new() });
        rest.skip_token68();
    }
}

/// What is left of a field.
struct Reader<'a>(&'a str);

impl<'a> Reader<'a> {
    fn skip_separators(&mut self) {
        self.0 = self.0.trim_start_matches([' ', '\t', ',']);
    }

    fn token(&mut self) -> Option<&'a str> {
        let end = self.0.find(|c: char| !is_token(c)).unwrap_or(self.0.len());
        let (token, rest) = self.0.split_at(end);
        self.0 = rest;
        (!token.is_empty()).then_some(token)
    }

    /// Nothing is read when what follows is no parameter.
    fn parameter(&mut self) -> Option<(String, String)> {
        let mut ahead = Reader(self.0);
        let name = ahead.token()?.to_ascii_lowercase();
        ahead.0 = ahead.0.trim_start_matches([' ', '\t']).strip_prefix('=')?.trim_start_matches([' ', '\t']);
        let value = match ahead.0.strip_prefix('"') {
            Some(quoted) => {
                ahead.0 = quoted;
                ahead.quoted()?
            }
            None => ahead.token().unwrap_or_default().to_owned(),
        };
        self.0 = ahead.0;
        Some((name, value))
    }

    /// The rest of a quoted string whose opening mark has been read.
    fn quoted(&mut self) -> Option<String> {
        let mut value = String::new();
        let mut characters = self.0.char_indices();
        loop {
            match characters.next()? {
                (at, '"') => {
                    self.0 = &self.0[at + 1..];
                    return Some(value);
                }
                (_, '\\') => value.push(characters.next()?.1),
                (_, character) => value.push(character),
            }
        }
    }

    /// What some schemes have in the place of parameters.
    fn skip_token68(&mut self) {
        let ahead = self.0.trim_start_matches([' ', '\t']);
        let end = ahead.find(',').unwrap_or(ahead.len());
        let text = ahead[..end].trim_end_matches([' ', '\t']).trim_end_matches('=');
        let is_token68 =
            !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-._~+/".contains(c));
        if is_token68 {
            self.0 = &ahead[end..];
        }
    }
}

const fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric()
        || matches!(
            c,
            '!' | '#' | '$' | '%' | '&' | '\'' | '*' | '+' | '-' | '.' | '^' | '_' | '`' | '|' | '~'
        )
}

#[cfg(test)]
mod tests {
    use http::header::{HeaderValue, WWW_AUTHENTICATE};

    use super::*;

    fn of(lines: &[&str]) -> Vec<Challenge> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        challenges(&headers, &WWW_AUTHENTICATE)
    }

    #[test]
    fn several_challenges_may_share_a_field() {
        let found = of(&[
            r#"Newauth realm="apps", type=1, title="Login to \"apps\"", Basic realm="simple""#,
            "Negotiate, NTLM TlRMTVNTUAAC+/==, Digest realm=\"a,b\" ,qop = \"auth,auth-int\", nonce=n=",
        ]);
        let schemes: Vec<_> = found.iter().map(|challenge| challenge.scheme.as_str()).collect();
        assert_eq!(schemes, ["Newauth", "Basic", "Negotiate", "NTLM", "Digest"]);
        assert_eq!(found[0].parameter("title"), Some("Login to \"apps\""));
        assert_eq!((found[0].parameter("type"), found[1].parameter("realm")), (Some("1"), Some("simple")));
        assert_eq!(found[4].parameter("realm"), Some("a,b"));
        assert_eq!(found[4].parameter("qop"), Some("auth,auth-int"));
        assert!(found[4].is("digest"));
    }

    #[test]
    fn nonsense_ends_the_reading_and_nothing_else() {
        for (text, count) in [
            ("", 0),
            (",,, ,", 0),
            ("=", 0),
            ("\"a\"", 0),
            ("Digest realm=\"open", 2),
            ("Basic realm=", 1),
            ("Basic realm=\"é\u{1f600}\\", 2),
            ("Digest realm=\"x\" nonce=\"y\"", 1),
        ] {
            assert_eq!(of(&[text]).len(), count, "{text:?}: {:?}", of(&[text]));
        }
        let many = vec!["Basic"; 100].join(",");
        assert_eq!(of(&[&many]).len(), CHALLENGES_MAX);
    }

    #[test]
    fn parameters_may_stand_alone() {
        assert_eq!(
            parameters(r#"nextnonce="abc", qop=auth, nc=00000001"#),
            [("nextnonce", "abc"), ("qop", "auth"), ("nc", "00000001")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
    }
}
