//! Who asks an FTP server for a file.

use longhaul_contract::{Cause, Credential, Failure, Secret};
use url::Url;

use crate::http::failure::needs_input;
use crate::http::request::userinfo;

/// Who has no name (RFC 1635), and a password that tells nothing of him.
const ANONYMOUS: &str = "anonymous";
const ANONYMOUS_PASSWORD: &str = "anonymous@";

#[derive(Debug)]
pub(super) struct Login {
    user: String,
    password: Secret,
}

impl Login {
    pub(super) fn new(url: &Url, credential: Option<&Credential>) -> Self {
        match credential.cloned().or_else(|| userinfo(url)) {
            Some(Credential { user, password }) if !user.is_empty() => Self { user, password },
            nameless => {
                let given = nameless.map(|credential| credential.password);
                let password = given.unwrap_or_else(|| Secret::new(ANONYMOUS_PASSWORD));
                Self { user: ANONYMOUS.to_owned(), password }
            }
        }
    }

    pub(super) fn user(&self) -> &str {
        &self.user
    }

    pub(super) fn password(&self) -> &str {
        self.password.reveal()
    }

    /// # Errors
    /// A name or password that would end its line.
    pub(super) fn check(&self) -> Result<(), Failure> {
        let breaks = |text: &str| text.contains(['\r', '\n', '\0']);
        if breaks(&self.user) || breaks(self.password.reveal()) {
            let detail =
                "a user name or password with a line break or a zero byte cannot be said to an FTP server";
            return Err(needs_input(Cause::FtpReply, detail));
        }
        Ok(())
    }

    /// What a server said, without the password should it repeat it.
    pub(super) fn hide(&self, said: &str) -> String {
        match self.password.reveal() {
            "" => said.to_owned(),
            password => said.replace(password, "***"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(address: &str, credential: Option<(&str, &str)>) -> (String, String) {
        let credential = credential
            .map(|(user, password)| Credential { user: user.to_owned(), password: Secret::new(password) });
        let login = Login::new(&Url::parse(address).unwrap(), credential.as_ref());
        (login.user.clone(), login.password().to_owned())
    }

    #[test]
    fn a_named_credential_comes_before_userinfo_and_nobody_is_anonymous() {
        let pair = |user: &str, password: &str| (user.to_owned(), password.to_owned());
        assert_eq!(login("ftp://h/f", None), pair("anonymous", "anonymous@"));
        assert_eq!(login("ftp://me:p%40w@h/f", None), pair("me", "p@w"));
        assert_eq!(login("ftps://me@h/f", None), pair("me", ""));
        assert_eq!(login("ftp://other:x@h/f", Some(("u", "p"))), pair("u", "p"));
        assert_eq!(login("ftp://h/f", Some(("", "key"))), pair("anonymous", "key"));
    }

    #[test]
    fn fault_078_lines_cannot_be_broken_and_passwords_not_repeated() {
        for address in ["ftp://a%0d%0aDELE%20f@h/f", "ftp://a:b%0ac@h/f", "ftp://a:b%00@h/f"] {
            assert!(Login::new(&Url::parse(address).unwrap(), None).check().is_err(), "{address}");
        }
        let login = Login::new(&Url::parse("ftp://me:hunter2@h/f").unwrap(), None);
        assert!(login.check().is_ok());
        assert_eq!(login.hide("530 hunter2 is wrong"), "530 *** is wrong");
        assert!(!format!("{login:?}").contains("hunter2"));
    }
}
