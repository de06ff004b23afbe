//! Passwords: from a file, from standard input, or typed unseen. Never from the command line, which everybody can read.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;

use longhaul_contract::{Credential, Secret};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::text::escape;
use crate::trouble::Trouble;

const PASSWORD_BYTES_MAX: u64 = 64 << 10;

/// Who it is that wants the password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    Server,
    Proxy,
}

impl Of {
    /// What the options begin with.
    const fn prefix(self) -> &'static str {
        match self {
            Self::Server => "--",
            Self::Proxy => "--proxy-",
        }
    }
}

/// The credential of `user`, whose password comes from `file` (`-` is standard input) or is asked for.
pub(crate) fn credential(user: &str, file: Option<&Path>, of: Of) -> Result<Credential, Trouble> {
    let option = of.prefix();
    if let Some((name, _)) = user.split_once(':') {
        return Err(Trouble::usage("a password on the command line is there for everybody to read").advise(
            format!("Give {option}user {} and type it, or use {option}password-file FILE.", escape(name)),
        ));
    }
    let password = match file {
        Some(path) => from_file(path).map_err(|error| Trouble::file(path, &error))?,
        None => from_terminal(user).map_err(|error| {
            Trouble::usage(format!("there is no terminal to type the password of {user} at: {error}"))
                .advise(format!("Use {option}password-file FILE, or - for standard input."))
        })?,
    };
    Ok(Credential { user: user.to_owned(), password })
}

fn from_file(path: &Path) -> io::Result<Secret> {
    let mut text = String::new();
    if path == Path::new("-") {
        io::stdin().lock().take(PASSWORD_BYTES_MAX).read_to_string(&mut text)?;
    } else {
        File::open(path)?.take(PASSWORD_BYTES_MAX).read_to_string(&mut text)?;
    }
    Ok(Secret::new(first_line(&text)))
}

fn from_terminal(user: &str) -> io::Result<Secret> {
    let terminal = OpenOptions::new().read(true).write(true).open("/dev/tty")?;
    let unseen = Unseen::begin(&terminal)?;
    write!(&terminal, "Password for {}: ", escape(user))?;
    let mut line = String::new();
    let read = BufReader::new(&terminal).read_line(&mut line);
    drop(unseen);
    writeln!(&terminal)?;
    if read? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Secret::new(first_line(&line)))
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// A terminal that does not show what is typed, until this is dropped.
struct Unseen<'a> {
    terminal: &'a File,
    before: Termios,
}

impl<'a> Unseen<'a> {
    fn begin(terminal: &'a File) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        silent.local_modes.insert(LocalModes::ECHONL);
        tcsetattr(terminal, OptionalActions::Flush, &silent)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Unseen<'_> {
    fn drop(&mut self) {
        // The terminal is gone if this fails.
        let _ = tcsetattr(self.terminal, OptionalActions::Flush, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_on_the_command_line_is_refused_and_not_repeated() {
        let trouble = credential("ann:secret", None, Of::Server).unwrap_err();
        assert_eq!(trouble.exit, crate::Exit::Usage);
        assert!(!format!("{trouble:?}").contains("secret"));
    }

    #[test]
    fn a_file_holds_the_password_in_its_first_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "pass word \r\nmore\n").unwrap();
        let credential = credential("ann", Some(file.path()), Of::Server).unwrap();
        assert_eq!((credential.user.as_str(), credential.password.reveal()), ("ann", "pass word "));
    }
}
