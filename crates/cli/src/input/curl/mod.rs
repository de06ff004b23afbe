//! curl's command lines, as browsers copy them and scripts have them. No error repeats a value, which may be a secret.

mod build;
mod options;
mod words;

use std::io::Read;
use std::path::{Path, PathBuf};

use longhaul_contract::{IfExists, Secret};

use self::options::{CurlOption, Meaning, Setting};
use super::source::Source;
use crate::text::escape;
use crate::trouble::Trouble;

const LINE_BYTES_MAX: u64 = 1 << 20;

/// What a line asks for, in terms of `get`.
#[derive(Debug, Default)]
pub(crate) struct CurlLine {
    pub(crate) sources: Vec<Source>,
    /// As the option `--header` has them.
    pub(crate) headers: Vec<String>,
    pub(crate) user: Option<User>,
    pub(crate) netrc: Option<NetrcPlace>,
    pub(crate) proxy: Option<String>,
    pub(crate) proxy_user: Option<User>,
    pub(crate) noproxy: Option<Vec<String>>,
    pub(crate) interface: Option<String>,
    /// Bytes per second.
    pub(crate) rate_limit: Option<u64>,
    pub(crate) folder: Option<PathBuf>,
    pub(crate) if_exists: Option<IfExists>,
}

/// `NAME` or `NAME:PASSWORD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) name: String,
    /// `None` is asked for.
    pub(crate) password: Option<Secret>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NetrcPlace {
    Usual,
    File(PathBuf),
}

/// Where the line stands: who reads the arguments of a process sees it there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    CommandLine,
    Unseen,
}

impl CurlLine {
    /// Reads the line: `-` is standard input, `@FILE` a file, and all else the line itself.
    pub(crate) fn read(given: &str) -> Result<Self, Trouble> {
        if given == "-" {
            let text = limited(std::io::stdin().lock(), Path::new("standard input"))?;
            return Self::parse(&text, Place::Unseen);
        }
        let Some(path) = given.strip_prefix('@').map(Path::new) else {
            return Self::parse(given, Place::CommandLine);
        };
        let file = std::fs::File::open(path).map_err(|error| Trouble::file(path, &error))?;
        Self::parse(&limited(file, path)?, Place::Unseen)
    }

    fn parse(text: &str, place: Place) -> Result<Self, Trouble> {
        let words = words::split(text)?;
        let (program, arguments) =
            words.split_first().ok_or_else(|| Trouble::usage("the curl line is empty"))?;
        if Path::new(program).file_name().is_none_or(|name| name != "curl") {
            return Err(Trouble::usage("the curl line does not begin with the word curl"));
        }
        build::line(&said(arguments)?, place)
    }
}

fn limited(source: impl Read, name: &Path) -> Result<String, Trouble> {
    let mut text = String::new();
    let count =
        source.take(LINE_BYTES_MAX).read_to_string(&mut text).map_err(|error| Trouble::file(name, &error))?;
    if count as u64 == LINE_BYTES_MAX {
        return Err(Trouble::usage(format!("{} is too long to be a curl line", name.display())));
    }
    Ok(text)
}

/// One option of the line that says something, and its value.
struct Said<'a> {
    option: &'static CurlOption,
    setting: Setting,
    value: &'a str,
}

impl Said<'_> {
    fn refuse(&self, why: &str) -> Trouble {
        Trouble::usage(format!("{} of the curl line {why}", self.option))
    }
}

/// Takes options and values apart as curl does; what needs no attention is left out.
fn said(arguments: &[String]) -> Result<Vec<Said<'_>>, Trouble> {
    let mut reader = Reader { rest: arguments.iter(), found: Vec::new() };
    let mut are_options_over = false;
    while let Some(word) = reader.rest.next() {
        if are_options_over || word == "-" || !word.starts_with('-') {
            reader.take(CurlOption::url(), Some(word))?;
        } else if word == "--" {
            are_options_over = true;
        } else if let Some(long) = word.strip_prefix("--") {
            let (name, value) =
                long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
            reader.take(CurlOption::long(name).ok_or_else(|| unknown(&format!("--{name}")))?, value)?;
        } else {
            reader.cluster(word)?;
        }
    }
    Ok(reader.found)
}

struct Reader<'a> {
    rest: std::slice::Iter<'a, String>,
    found: Vec<Said<'a>>,
}

impl<'a> Reader<'a> {
    /// `-sSLo FILE`
    fn cluster(&mut self, word: &'a str) -> Result<(), Trouble> {
        for (at, letter) in word.char_indices().skip(1) {
            let option = CurlOption::short(letter).ok_or_else(|| unknown(&format!("-{letter}")))?;
            let behind = &word[at + letter.len_utf8()..];
            self.take(option, Some(behind).filter(|behind| option.takes_value && !behind.is_empty()))?;
            if option.takes_value {
                break;
            }
        }
        Ok(())
    }

    fn take(&mut self, option: &'static CurlOption, attached: Option<&'a str>) -> Result<(), Trouble> {
        let wrong = |how: &str| Trouble::usage(format!("{option} of the curl line {how}"));
        let value = match (option.takes_value, attached) {
            (false, Some(_)) => return Err(wrong("takes no value")),
            (false, None) => "",
            (true, Some(attached)) => attached,
            (true, None) => self.rest.next().ok_or_else(|| wrong("lacks its value"))?,
        };
        match option.meaning {
            Meaning::Accepted => {}
            Meaning::Set(setting) => self.found.push(Said { option, setting, value }),
            Meaning::Refused(instead) => {
                return Err(wrong("is nothing that get does").advise(instead));
            }
        }
        Ok(())
    }
}

fn unknown(name: &str) -> Trouble {
    Trouble::usage(format!("get knows no {} of curl", escape(name)))
        .advise("Leave it out of the line if the file is the same without it.")
}

#[cfg(test)]
mod tests;
