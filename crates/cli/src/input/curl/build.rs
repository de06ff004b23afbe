//! From curl's options to those of `get`.

use std::path::{Path, PathBuf};

use longhaul_contract::{Credential, IfExists, Scheme, Secret};
use url::Url;

use super::options::Setting;
use super::{CurlLine, NetrcPlace, Place, Said, User};
use crate::input::source::{Source, decoded};
use crate::measure::parse_bytes;
use crate::text::escape;
use crate::trouble::Trouble;

/// How one address names its file, by the option at the same place.
enum Naming<'a> {
    Output(&'a str),
    Remote,
}

/// What is gathered before addresses and files are put together.
#[derive(Default)]
struct Gathered<'a> {
    urls: Vec<&'a str>,
    namings: Vec<Naming<'a>>,
    names_all_remotely: bool,
    server_names: bool,
    makes_folders: bool,
    is_globbing_off: bool,
    is_digest_alone: bool,
    scheme: Option<&'a str>,
    protos: Vec<&'a Said<'a>>,
    cookies: Vec<&'a str>,
    /// By a name of their own in curl; a header that was written out comes before them.
    named_headers: Vec<(&'static str, String)>,
    /// Names of headers that were written out, also to be left out.
    written: Vec<String>,
    /// Values of `Host`.
    hosts: Vec<String>,
}

pub(super) fn line(said: &[Said], place: Place) -> Result<CurlLine, Trouble> {
    let mut line = CurlLine::default();
    let mut gathered = Gathered::default();
    let mut proxy_user = None;
    for one in said {
        match one.setting {
            Setting::Header => header(one, &mut line, &mut gathered)?,
            Setting::User => line.user = Some(user(one, place)?),
            Setting::Netrc => line.netrc = line.netrc.or(Some(NetrcPlace::Usual)),
            Setting::NetrcFile => line.netrc = Some(NetrcPlace::File(one.value.into())),
            Setting::Proxy => proxy(one, place, "", &mut line)?,
            Setting::Socks5 => proxy(one, place, "socks5://", &mut line)?,
            Setting::Socks5Hostname => proxy(one, place, "socks5h://", &mut line)?,
            Setting::ProxyUser => proxy_user = Some(user(one, place)?),
            Setting::NoProxy => {
                line.noproxy = Some(
                    one.value.split([',', ' ']).filter(|host| !host.is_empty()).map(str::to_owned).collect(),
                );
            }
            Setting::Interface => {
                line.interface = Some(one.value.strip_prefix("if!").unwrap_or(one.value).to_owned());
            }
            Setting::LimitRate => {
                let rate =
                    parse_bytes(one.value).map_err(|_| one.refuse("is not a rate such as 500k or 2M"))?;
                line.rate_limit = (rate > 0).then_some(rate);
            }
            Setting::OutputDir => line.folder = Some(one.value.into()),
            Setting::Clobber => line.if_exists = Some(IfExists::Replace),
            Setting::NoClobber => line.if_exists = Some(IfExists::Rename),
            Setting::ContinueAt if !matches!(one.value, "-" | "0") => {
                return Err(one
                    .refuse("names a place to begin at")
                    .advise("Whole files are fetched. Write -C - or leave it out."));
            }
            Setting::MaxRedirs if !matches!(one.value.parse(), Ok(-1 | 1_i64..)) => {
                return Err(one.refuse("allows no redirect").advise("Redirects are followed. Leave it out."));
            }
            Setting::Request if one.value != "GET" => {
                return Err(one
                    .refuse("is not GET")
                    .advise("`longhaul put -X METHOD FILE URL` sends files by other methods."));
            }
            Setting::ContinueAt | Setting::MaxRedirs | Setting::Request => {}
            _ => gathered.take(one)?,
        }
    }
    line.proxy_user = proxy_user.or(line.proxy_user);
    gathered.add_headers(&mut line);
    line.sources = gathered.sources(&line, place)?;
    if line.user.is_some() {
        // curl's own order.
        line.netrc = None;
    }
    Ok(line)
}

impl<'a> Gathered<'a> {
    fn take(&mut self, one: &'a Said<'a>) -> Result<(), Trouble> {
        match one.setting {
            Setting::Url => self.urls.push(one.value),
            Setting::Output if one.value == "-" => {
                return Err(one
                    .refuse("writes to standard output")
                    .advise("Name a file. `longhaul cat ID` writes out what arrives."));
            }
            Setting::Output if one.value.is_empty() => return Err(one.refuse("names no file")),
            Setting::Output => self.namings.push(Naming::Output(one.value)),
            Setting::RemoteName => self.namings.push(Naming::Remote),
            Setting::RemoteNameAll => self.names_all_remotely = true,
            Setting::RemoteHeaderName => self.server_names = true,
            Setting::CreateDirs => self.makes_folders = true,
            Setting::Globoff => self.is_globbing_off = true,
            Setting::Digest => self.is_digest_alone = true,
            Setting::ProtoDefault => self.scheme = Some(one.value),
            Setting::Proto => self.protos.push(one),
            Setting::Cookie if one.value.contains('=') => self.cookies.push(one.value),
            Setting::Cookie => {
                return Err(one
                    .refuse("names a file of cookies")
                    .advise("The service keeps no cookies. Give those that are needed: -b NAME=VALUE."));
            }
            Setting::UserAgent => self.named_headers.push(("User-Agent", one.value.to_owned())),
            Setting::Referer => {
                let referer = one.value.strip_suffix(";auto").unwrap_or(one.value);
                self.named_headers.push(("Referer", referer.to_owned()));
            }
            Setting::Bearer => self.named_headers.push(("Authorization", format!("Bearer {}", one.value))),
            _ => unreachable!("{} is mapped", one.option),
        }
        Ok(())
    }

    fn add_headers(&mut self, line: &mut CurlLine) {
        if !self.cookies.is_empty() {
            self.named_headers.push(("Cookie", self.cookies.join("; ")));
        }
        for (index, (name, value)) in self.named_headers.iter().enumerate() {
            let is_last = self.named_headers[index + 1..].iter().all(|(other, _)| other != name);
            let is_written = self.written.iter().any(|other| other.eq_ignore_ascii_case(name));
            if is_last && !is_written && !value.is_empty() {
                line.headers.push(format!("{name}: {value}"));
            }
        }
    }

    fn sources(&self, line: &CurlLine, place: Place) -> Result<Vec<Source>, Trouble> {
        if self.urls.is_empty() {
            return Err(Trouble::usage("the curl line has no address"));
        }
        if self.namings.len() > self.urls.len() {
            return Err(Trouble::usage("the curl line names more files (-o, -O) than it has addresses"));
        }
        let mut sources = Vec::new();
        for (index, text) in self.urls.iter().enumerate() {
            let mut source = self.source(text).map_err(|why| Trouble {
                message: format!("address {} of the curl line {}", index + 1, why.message),
                ..why
            })?;
            let has_password = |given: &Credential| given.password != Secret::default();
            if place == Place::CommandLine && source.credential.as_ref().is_some_and(has_password) {
                return Err(seen());
            }
            source.credential = source.credential.filter(|_| line.user.is_none());
            let is_known = line.user.is_some() || line.netrc.is_some() || source.credential.is_some();
            if self.is_digest_alone && is_known && source.url.scheme() == "http" {
                return Err(Trouble::usage("--digest of the curl line keeps the password to itself, and the service shows it to a server that it does not know yet")
                    .advise("Leave --digest out if the server and those on the way may see it, or use https."));
            }
            let name = match self.namings.get(index) {
                Some(Naming::Output(output)) => Some(PathBuf::from(output)),
                Some(Naming::Remote) => self.remote_name(&source.url),
                None if self.names_all_remotely => self.remote_name(&source.url),
                None => None,
            };
            (source.folder, source.output) = self.place(name)?;
            sources.push(source);
        }
        Ok(sources)
    }

    /// As curl does, not decoded. `None` leaves it to the server, and so to `get` itself.
    fn remote_name(&self, url: &Url) -> Option<PathBuf> {
        let name = url.path().rsplit('/').next()?;
        (!self.server_names && !name.is_empty()).then(|| PathBuf::from(name))
    }

    fn place(&self, name: Option<PathBuf>) -> Result<(Option<PathBuf>, Option<PathBuf>), Trouble> {
        let Some(path) = name.as_deref().filter(|_| self.makes_folders) else { return Ok((None, name)) };
        let file = path.file_name().ok_or_else(|| {
            Trouble::usage(format!("{} does not name a file", escape(&path.to_string_lossy())))
        })?;
        let folder = path.parent().filter(|parent| *parent != Path::new("")).map(Path::to_path_buf);
        Ok((folder, Some(file.into())))
    }

    /// The message of a failure goes on from "address N of the curl line".
    fn source(&self, text: &str) -> Result<Source, Trouble> {
        let text = self.without_globs(text.trim())?;
        let text = match scheme_length(&text) {
            Some(_) => text,
            None => format!("{}://{text}", self.guessed(&text)),
        };
        let url = Url::parse(&text).map_err(|error| Trouble::usage(format!("cannot be read: {error}")))?;
        let scheme = url.scheme().to_owned();
        if Scheme::of(&url).is_none() {
            return Err(Trouble::usage(format!("has the scheme {scheme}, which is not supported"))
                .advise("Use http, https, ftp, ftps or ftpes."));
        }
        let source = Source::parse(&text).map_err(|_| Trouble::usage("names no host"))?;
        if self.hosts.iter().any(|host| !host.eq_ignore_ascii_case(source.url.authority())) {
            return Err(Trouble::usage("is at another host than the header Host names")
                .advise("The service writes this header itself. Write that host into the address."));
        }
        for one in &self.protos {
            if !is_allowed(one.value, &scheme) {
                return Err(Trouble::usage(format!("has the scheme {scheme}, and {} has others", one.option))
                    .advise("--proto and --proto-redir may name http and https, as =https: plain http is never led to from https."));
            }
        }
        Ok(source)
    }

    /// curl's own guess.
    fn guessed(&self, text: &str) -> &str {
        let is_ftp = text.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("ftp."));
        self.scheme.unwrap_or(if is_ftp { "ftp" } else { "http" })
    }

    /// curl makes several addresses of one with braces or brackets, except of those with a backslash before them and of
    /// an address of IPv6.
    fn without_globs(&self, text: &str) -> Result<String, Trouble> {
        if self.is_globbing_off {
            return Ok(text.to_owned());
        }
        let host = scheme_length(text).unwrap_or(0);
        let path = text[host..].find(['/', '?', '#']).map_or(text.len(), |at| host + at);
        let mut written = text[..path].to_owned();
        let is_glob = |letter: char| matches!(letter, '{' | '}' | '[' | ']');
        let mut letters = text[path..].chars().peekable();
        while let Some(letter) = letters.next() {
            match letter {
                '\\' if letters.peek().is_some_and(|next| is_glob(*next)) => written.extend(letters.next()),
                _ if is_glob(letter) => return Err(globs()),
                _ => written.push(letter),
            }
        }
        if written[..path].contains(['{', '}']) {
            return Err(globs());
        }
        Ok(written)
    }
}

/// With the `://` behind it.
fn scheme_length(text: &str) -> Option<usize> {
    let (scheme, _) = text.split_once("://")?;
    let is_scheme =
        scheme.chars().all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '+' | '-' | '.'));
    is_scheme.then_some(scheme.len() + 3)
}

fn globs() -> Trouble {
    Trouble::usage("has braces or brackets, of which curl makes several addresses")
        .advise("Write each address out, or -g if they belong to it as they are.")
}

/// Of `=https`, `http,https`, `-all,https`: whether what is allowed at last has `scheme`, and https too, since http may
/// lead there.
fn is_allowed(protos: &str, scheme: &str) -> bool {
    let names = |wanted: &str| {
        protos.split(',').map(str::trim).fold(true, |is_in, entry| {
            let (sign, name) = match entry.as_bytes().first() {
                Some(sign @ (b'=' | b'-' | b'+')) => (*sign, &entry[1..]),
                _ => (b'+', entry),
            };
            let fits = name.eq_ignore_ascii_case(wanted) || name.eq_ignore_ascii_case("all");
            match sign {
                b'=' => fits,
                b'-' => is_in && !fits,
                _ => is_in || fits,
            }
        })
    };
    names(scheme) && (names("https") || !scheme.starts_with("http"))
}

/// Headers that the service itself sets, each as it is right for a whole file.
const OURS: [&str; 6] = ["accept-encoding", "connection", "expect", "if-range", "keep-alive", "te"];

fn header(one: &Said, line: &mut CurlLine, gathered: &mut Gathered) -> Result<(), Trouble> {
    if one.value == "@-" {
        return Err(one.refuse("reads standard input").advise("Name a file: -H @FILE."));
    }
    if one.value.starts_with('@') {
        line.headers.push(one.value.to_owned());
        return Ok(());
    }
    // `NAME;` is a header without a value, and `NAME:` leaves out what curl would send.
    let (name, value) = match one.value.split_once(':') {
        Some((name, value)) => (name.trim(), Some(value.trim()).filter(|value| !value.is_empty())),
        None => match one.value.trim().strip_suffix(';') {
            Some(name) => (name, Some("")),
            None => return Err(one.refuse("is not written as \"Name: value\"")),
        },
    };
    gathered.written.push(name.to_owned());
    let Some(value) = value else { return Ok(()) };
    let lower = name.to_ascii_lowercase();
    match lower.as_str() {
        "range" if value.replace(' ', "") == "bytes=0-" => {}
        "range" => {
            return Err(one
                .refuse("asks for a range")
                .advise("Whole files are fetched. `longhaul cat` reads a part of one while it arrives."));
        }
        "host" => gathered.hosts.push(value.to_owned()),
        lower if OURS.contains(&lower) => {}
        _ => line.headers.push(format!("{name}: {value}")),
    }
    Ok(())
}

fn user(one: &Said, place: Place) -> Result<User, Trouble> {
    let (name, password) = match one.value.split_once(':') {
        Some((name, password)) => (name, Some(Secret::new(password))),
        None => (one.value, None),
    };
    if place == Place::CommandLine && password.as_ref().is_some_and(|password| *password != Secret::default())
    {
        return Err(seen());
    }
    if name.is_empty() {
        return Err(one.refuse("names nobody"));
    }
    Ok(User { name: name.to_owned(), password })
}

fn proxy(one: &Said, place: Place, scheme: &str, line: &mut CurlLine) -> Result<(), Trouble> {
    let (scheme, rest) = match scheme_length(one.value) {
        Some(length) => one.value.split_at(length),
        None => (scheme, one.value),
    };
    let (user, host) = rest.rsplit_once('@').map_or((None, rest), |(user, host)| (Some(user), host));
    if host.is_empty() {
        line.proxy = Some("none".to_owned());
        return Ok(());
    }
    line.proxy = Some(format!("{scheme}{host}"));
    if let Some(user) = user {
        let given = self::user(&Said { value: user, ..*one }, place)?;
        let password = given.password.map(|password| Secret::new(decoded(password.reveal())));
        line.proxy_user = Some(User { name: decoded(&given.name), password });
    }
    Ok(())
}

fn seen() -> Trouble {
    Trouble::usage("a password on the command line is there for everybody to read")
        .advise("Put the curl line into a file, and give --from-curl @FILE, or - for standard input.")
}
