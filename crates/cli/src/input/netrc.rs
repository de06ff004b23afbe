//! User names and passwords from a netrc file, as ftp(1) and curl read it. The small libraries for it are no longer kept up.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use longhaul_contract::{Credential, Secret};
use url::Url;

use crate::trouble::Trouble;

const FILE_BYTES_MAX: u64 = 1 << 20;

#[derive(Debug, clap::Args)]
pub(crate) struct NetrcArguments {
    /// Take user name and password from ~/.netrc, or the file that the variable NETRC names, by the host of each address
    #[arg(short, long, conflicts_with = "user", help_heading = "Request")]
    pub(crate) netrc: bool,
    /// Take them from this file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["user", "netrc"], help_heading = "Request")]
    pub(crate) netrc_file: Option<PathBuf>,
}

impl NetrcArguments {
    pub(crate) const fn is_given(&self) -> bool {
        self.netrc || self.netrc_file.is_some()
    }

    pub(crate) fn read(&self) -> Result<Option<Netrc>, Trouble> {
        if let Some(path) = &self.netrc_file {
            return Netrc::read(path).map(Some);
        }
        if !self.netrc {
            return Ok(None);
        }
        let named = std::env::var_os("NETRC").filter(|path| !path.is_empty()).map(PathBuf::from);
        let in_home = || std::env::home_dir().map(|home| home.join(".netrc"));
        let path = named.or_else(in_home).ok_or_else(|| {
            Trouble::usage("there is no home folder to find .netrc in").advise("Use --netrc-file FILE.")
        })?;
        Netrc::read(&path).map(Some)
    }
}

/// What a file says, in its order.
#[derive(Debug)]
pub(crate) struct Netrc(Vec<Entry>);

#[derive(Debug, Default)]
struct Entry {
    /// `None` is `default`.
    machine: Option<String>,
    login: Option<String>,
    password: Option<Secret>,
}

impl Netrc {
    fn read(path: &Path) -> Result<Self, Trouble> {
        let trouble = |error: std::io::Error| Trouble::file(path, &error);
        let file = File::open(path).map_err(trouble)?;
        let is_open = file.metadata().map_err(trouble)?.mode() & 0o077 != 0;
        let mut text = String::new();
        file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(trouble)?;
        let netrc =
            Self::parse(&text).map_err(|problem| Trouble::usage(format!("{}: {problem}", path.display())))?;
        if is_open && netrc.0.iter().any(|entry| entry.password.is_some()) {
            return Err(Trouble::usage(format!("{} has passwords that others can read", path.display()))
                .advise(format!("Run `chmod 600 {}`.", path.display())));
        }
        Ok(netrc)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut words = Words { rest: text };
        let mut entries: Vec<Entry> = Vec::new();
        while let Some(word) = words.keyword()? {
            let mut value = || words.next()?.ok_or_else(|| format!("nothing follows the last {word:?}"));
            match (word.as_str(), entries.last_mut()) {
                ("machine", _) => entries.push(Entry { machine: Some(value()?), ..Entry::default() }),
                ("default", _) => entries.push(Entry::default()),
                ("macdef", _) => words.skip_macro(),
                ("login", Some(entry)) => entry.login = Some(value()?),
                ("password", Some(entry)) => entry.password = Some(Secret::new(value()?)),
                ("account", Some(_)) => drop(value()?),
                ("login" | "password" | "account", None) => {
                    return Err(format!("{word} comes before the first machine"));
                }
                // It may be a password: it is not shown.
                _ => {
                    return Err(
                        "a word is none of machine, default, login, password, account, macdef".to_owned()
                    );
                }
            }
        }
        Ok(Self(entries))
    }

    /// For the host of `url`, and for this user where the address names one.
    pub(crate) fn credential(&self, url: &Url, user: Option<&str>) -> Option<Credential> {
        let host = url.host_str()?;
        let fits = |entry: &&Entry| {
            let is_machine = entry.machine.as_ref().is_none_or(|machine| machine.eq_ignore_ascii_case(host));
            is_machine && user.is_none_or(|user| entry.login.as_deref().is_none_or(|login| login == user))
        };
        let entry = self.0.iter().find(fits)?;
        let user = user.map(str::to_owned).or_else(|| entry.login.clone())?;
        Some(Credential { user, password: entry.password.clone().unwrap_or_default() })
    }
}

struct Words<'a> {
    rest: &'a str,
}

impl Words<'_> {
    /// Words are parted by white space; one in quotes may have some, and `\"`, `\\`, `\n`, `\r` and `\t`, as with curl. A
    /// word that begins with # begins a comment where a keyword could stand, and a password elsewhere.
    fn next(&mut self) -> Result<Option<String>, String> {
        self.rest = self.rest.trim_start();
        let Some(quoted) = self.rest.strip_prefix('"') else {
            let end = self.rest.find(char::is_whitespace).unwrap_or(self.rest.len());
            let (word, rest) = self.rest.split_at(end);
            self.rest = rest;
            return Ok((!word.is_empty()).then(|| word.to_owned()));
        };
        let mut word = String::new();
        let mut letters = quoted.char_indices();
        while let Some((at, letter)) = letters.next() {
            match letter {
                '"' => {
                    self.rest = &quoted[at + 1..];
                    return Ok(Some(word));
                }
                '\\' => word.extend(letters.next().map(|(_, letter)| match letter {
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    other => other,
                })),
                other => word.push(other),
            }
        }
        Err("a quote is not closed".to_owned())
    }

    fn keyword(&mut self) -> Result<Option<String>, String> {
        loop {
            match self.next()? {
                Some(word) if word.starts_with('#') => {
                    self.rest = self.rest.split_once('\n').map_or("", |(_, rest)| rest);
                }
                word => return Ok(word),
            }
        }
    }

    /// A macro ends at the first empty line.
    fn skip_macro(&mut self) {
        self.rest = self.rest.split_once("\n\n").map_or("", |(_, rest)| rest);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const FILE: &str = "# ours\nmachine files.example login ann password one\n\
        macdef init\ncd /pub\nmachine none.example\n\n\
        machine files.example\n\tlogin bob\n\taccount x\n\tpassword \"two \\\"\\\\\"\n\
        machine token.example password #3\n\
        default login anonymous password me@example\n";

    fn found(url: &str, user: Option<&str>) -> Option<(String, String)> {
        let netrc = Netrc::parse(FILE).unwrap();
        let credential = netrc.credential(&Url::parse(url).unwrap(), user)?;
        Some((credential.user, credential.password.reveal().to_owned()))
    }

    #[test]
    fn the_first_entry_that_fits_is_taken() {
        let pair = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        assert_eq!(found("https://FILES.example:8443/a", None), pair("ann", "one"));
        assert_eq!(found("ftp://files.example/a", Some("bob")), pair("bob", "two \"\\"));
        assert_eq!(found("http://token.example/", Some("eve")), pair("eve", "#3"));
        assert_eq!(found("http://token.example/", None), None, "it names no user");
        assert_eq!(
            found("http://none.example/", None),
            pair("anonymous", "me@example"),
            "a macro is none of ours"
        );
        assert_eq!(found("http://none.example/", Some("ann")), None);
        assert!(Netrc::parse("").unwrap().credential(&Url::parse("http://a/").unwrap(), None).is_none());
    }

    #[test]
    fn what_is_wrong_is_told_without_a_password() {
        for (text, says) in [
            ("machine", "nothing follows"),
            ("login ann", "before the first machine"),
            ("machine a login b password \"c", "not closed"),
            ("machine a login b password c secret", "is none of"),
        ] {
            let problem = Netrc::parse(text).unwrap_err();
            assert!(problem.contains(says) && !problem.contains("secret"), "{text}: {problem}");
        }
    }

    #[test]
    fn passwords_that_others_can_read_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("netrc");
        std::fs::write(&path, FILE).unwrap();
        let set = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        set(0o600);
        assert!(Netrc::read(&path).is_ok());
        set(0o640);
        let trouble = Netrc::read(&path).unwrap_err();
        assert!(trouble.message.contains("others can read") && !trouble.message.contains("one"));
        std::fs::write(&path, "machine a login b\n").unwrap();
        assert!(Netrc::read(&path).is_ok(), "there is none in it");
    }
}
