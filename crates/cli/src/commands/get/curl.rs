//! A curl command line in the place of options. What both say is a mistake of one of them.

use longhaul_contract::{Credential, IfExists};

use super::arguments::{Arguments, IfExistsWord, RateLimit};
use crate::input::curl::{CurlLine, NetrcPlace, User};
use crate::input::source::Source;
use crate::text::escape;
use crate::trouble::Trouble;

/// What a curl line says that options do not: with passwords in it, or of each address.
#[derive(Debug, Default)]
pub(super) struct FromCurl {
    pub(super) sources: Vec<Source>,
    pub(super) credential: Option<Credential>,
    pub(super) proxy_credential: Option<Credential>,
}

/// Puts what the line of `--from-curl` says into the options; passwords that it leaves out are asked for.
pub(super) fn read(arguments: &mut Arguments) -> Result<FromCurl, Trouble> {
    let Some(given) = &arguments.from_curl else { return Ok(FromCurl::default()) };
    if given == "-" && reads_input(arguments) {
        return Err(Trouble::usage("the curl line and a password cannot both come from standard input"));
    }
    let line = CurlLine::read(given)?;
    if arguments.output.is_some() && line.sources.iter().any(|source| source.output.is_some()) {
        return Err(twice("--output"));
    }
    fill("--directory", &mut arguments.directory, line.folder)?;
    fill("--interface", &mut arguments.interface, line.interface)?;
    fill("--if-exists", &mut arguments.if_exists, line.if_exists.map(IfExistsWord::from))?;
    fill("--limit-rate", &mut arguments.limit_rate, line.rate_limit.map(|rate| RateLimit(Some(rate))))?;
    fill("--proxy", &mut arguments.proxy.proxy, line.proxy)?;
    fill("--noproxy", &mut arguments.proxy.noproxy, line.noproxy)?;
    fill_headers(&mut arguments.header, line.headers)?;
    if let Some(place) = line.netrc {
        if arguments.netrc.is_given() || arguments.user.is_some() {
            return Err(twice("--netrc or --user"));
        }
        match place {
            NetrcPlace::Usual => arguments.netrc.netrc = true,
            NetrcPlace::File(path) => arguments.netrc.netrc_file = Some(path),
        }
    }
    if line.user.is_some() && arguments.netrc.is_given() {
        return Err(twice("--netrc or --user"));
    }
    // Whatever its name is, it is kept as it comes, as curl would.
    arguments.as_is = true;
    Ok(FromCurl {
        sources: line.sources,
        credential: credential("--user", &mut arguments.user, line.user)?,
        proxy_credential: credential("--proxy-user", &mut arguments.proxy.proxy_user, line.proxy_user)?,
    })
}

fn reads_input(arguments: &Arguments) -> bool {
    let files = [&arguments.password_file, &arguments.proxy.proxy_password_file];
    files.into_iter().flatten().any(|path| path.as_os_str() == "-")
}

fn twice(option: &str) -> Trouble {
    Trouble::usage(format!("{option} and the curl line say the same thing"))
        .advise("Leave it out, or take it out of the line.")
}

fn fill<T>(option: &str, ours: &mut Option<T>, theirs: Option<T>) -> Result<(), Trouble> {
    match (&ours, theirs) {
        (Some(_), Some(_)) => Err(twice(option)),
        (None, Some(theirs)) => {
            *ours = Some(theirs);
            Ok(())
        }
        (_, None) => Ok(()),
    }
}

/// Headers of both are sent.
fn fill_headers(ours: &mut Vec<String>, theirs: Vec<String>) -> Result<(), Trouble> {
    let name = |header: &str| {
        let name = header.split_once(':').map(|(name, _)| name.trim().to_ascii_lowercase());
        name.filter(|_| !header.starts_with('@'))
    };
    let names: Vec<_> = ours.iter().filter_map(|header| name(header)).collect();
    if let Some(name) = theirs.iter().filter_map(|header| name(header)).find(|name| names.contains(name)) {
        return Err(twice(&format!("--header with {}", escape(&name))));
    }
    ours.extend(theirs);
    Ok(())
}

/// A user without a password is left to the option, which may stand beside it to name the same.
fn credential(
    option: &str,
    ours: &mut Option<String>,
    theirs: Option<User>,
) -> Result<Option<Credential>, Trouble> {
    match (&ours, theirs) {
        (_, None) => Ok(None),
        (Some(name), Some(User { name: theirs, password: None })) if *name == theirs => Ok(None),
        (Some(_), Some(_)) => Err(twice(option)),
        (None, Some(User { name, password: None })) => {
            *ours = Some(name);
            Ok(None)
        }
        (None, Some(User { name, password: Some(password) })) => {
            Ok(Some(Credential { user: name, password }))
        }
    }
}

impl From<IfExists> for IfExistsWord {
    fn from(what: IfExists) -> Self {
        match what {
            IfExists::Fail => Self::Fail,
            IfExists::Rename => Self::Rename,
            IfExists::Replace => Self::Replace,
        }
    }
}
