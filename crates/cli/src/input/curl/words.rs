//! The words of a command line as a shell takes it apart. What a shell would do besides (variables, pipes, a second
//! command) is refused: nobody does it here.

use std::iter::Peekable;
use std::str::Chars;

use crate::trouble::Trouble;

/// Takes the line apart as bash does, `$'…'` too.
pub(super) fn split(line: &str) -> Result<Vec<String>, Trouble> {
    let plain = Plain::of(&line.replace("\r\n", "\n"))?;
    shell_words::split(&plain).map_err(|_| unclosed())
}

fn unclosed() -> Trouble {
    Trouble::usage("a quote in the curl line is not closed").advise(
        "Copy the line as \"cURL (bash)\" and put it into a file: --from-curl @FILE keeps a shell from its quotes.",
    )
}

/// Writes the line again with no quotes but those of POSIX.
struct Plain<'a> {
    rest: Peekable<Chars<'a>>,
    written: String,
    /// Whether a word has ended and no other begun.
    is_between: bool,
    /// Whether a line with words has ended.
    is_over: bool,
}

impl<'a> Plain<'a> {
    fn of(line: &'a str) -> Result<String, Trouble> {
        let mut plain =
            Self { rest: line.chars().peekable(), written: String::new(), is_between: true, is_over: false };
        while let Some(letter) = plain.rest.next() {
            plain.unquoted(letter)?;
        }
        Ok(plain.written)
    }

    fn unquoted(&mut self, letter: char) -> Result<(), Trouble> {
        let is_beginning = std::mem::replace(&mut self.is_between, false);
        match letter {
            '\n' => {
                self.is_over |= !self.written.trim().is_empty();
                self.is_between = true;
                self.written.push(' ');
                return Ok(());
            }
            ' ' | '\t' => {
                self.is_between = true;
                self.written.push(' ');
                return Ok(());
            }
            '\\' if self.rest.peek() == Some(&'\n') => {
                self.rest.next();
                self.is_between = is_beginning;
                return Ok(());
            }
            '#' if is_beginning => {
                while self.rest.next_if(|letter| *letter != '\n').is_some() {}
                self.is_between = true;
                return Ok(());
            }
            _ => {}
        }
        if self.is_over {
            return Err(several());
        }
        match letter {
            '\'' => self.single(),
            '"' => self.double(),
            '\\' => {
                self.written.push('\\');
                self.written.extend(self.rest.next());
                Ok(())
            }
            '$' if self.rest.next_if_eq(&'\'').is_some() => {
                let text = ansi_c(&mut self.rest)?;
                self.quote(&text);
                Ok(())
            }
            '$' if self.rest.next_if_eq(&'"').is_some() => self.double(),
            '$' if self.begins_expansion() => Err(expansion("a variable or a command in it")),
            '`' => Err(expansion("a command in it")),
            '~' if is_beginning && self.rest.peek().is_none_or(|next| matches!(next, '/' | ' ' | '\n')) => {
                let home = std::env::home_dir().and_then(|home| home.into_os_string().into_string().ok());
                self.quote(&home.ok_or_else(|| Trouble::usage("there is no home folder to put for ~"))?);
                Ok(())
            }
            ';' | '&' | '|' if self.is_last() => Err(several()),
            ';' | '&' | '|' | '<' | '>' | '(' | ')' => Err(operator(letter)),
            '^' if self.rest.peek() == Some(&'"') => {
                Err(Trouble::usage("the curl line is written for the command line of Windows")
                    .advise("Copy it as \"cURL (bash)\"."))
            }
            other => {
                self.written.push(other);
                Ok(())
            }
        }
    }

    fn is_last(&self) -> bool {
        self.rest.clone().all(char::is_whitespace)
    }

    fn begins_expansion(&mut self) -> bool {
        self.rest.peek().is_some_and(|next| {
            next.is_ascii_alphanumeric() || matches!(next, '_' | '{' | '(' | '@' | '*' | '?' | '$' | '!')
        })
    }

    fn single(&mut self) -> Result<(), Trouble> {
        self.written.push('\'');
        for letter in self.rest.by_ref() {
            self.written.push(letter);
            if letter == '\'' {
                return Ok(());
            }
        }
        Err(unclosed())
    }

    fn double(&mut self) -> Result<(), Trouble> {
        self.written.push('"');
        while let Some(letter) = self.rest.next() {
            match letter {
                '$' if self.begins_expansion() => return Err(expansion("a variable or a command in it")),
                '`' => return Err(expansion("a command in it")),
                _ => self.written.push(letter),
            }
            match letter {
                '"' => return Ok(()),
                '\\' => self.written.extend(self.rest.next()),
                _ => {}
            }
        }
        Err(unclosed())
    }

    fn quote(&mut self, text: &str) {
        self.written.push_str(&format!("'{}'", text.replace('\'', "'\\''")));
    }
}

fn several() -> Trouble {
    Trouble::usage("there is more than one command where one curl line belongs")
        .advise("Give each curl command to a `longhaul get --from-curl` of its own.")
}

fn operator(letter: char) -> Trouble {
    Trouble::usage(format!(
        "the curl line has a {letter} outside of quotes, which only a shell can carry out"
    ))
    .advise("Put addresses into quotes, and leave out pipes and redirections: -o names the file.")
}

fn expansion(what: &str) -> Trouble {
    Trouble::usage(format!("the curl line has {what}, which only a shell can carry out")).advise(
        "Let the shell write the line: printf '%s\\n' \"curl …\" | longhaul get --from-curl -; or use single quotes for what is meant as it stands.",
    )
}

/// What stands behind `$'` up to the closing quote, as bash reads it. Browsers write characters beyond the Basic
/// Multilingual Plane as two `\u`, halves of one.
fn ansi_c(rest: &mut Peekable<Chars>) -> Result<String, Trouble> {
    let mut bytes = Vec::new();
    let mut high = None;
    loop {
        let letter = rest.next().ok_or_else(unclosed)?;
        if letter == '\'' {
            break;
        }
        let escape = if letter == '\\' { Some(rest.next().ok_or_else(unclosed)?) } else { None };
        let first = high.take();
        if let Some('u' | 'U') = escape {
            let digits = if escape == Some('u') { 4 } else { 8 };
            let unit = number(rest, 16, digits).ok_or_else(malformed)?;
            match (first, unit) {
                (None, 0xD800..=0xDBFF) => high = Some(unit),
                (Some(high), 0xDC00..=0xDFFF) => {
                    push(&mut bytes, 0x1_0000 + ((high - 0xD800) << 10) + (unit - 0xDC00))?;
                }
                (None, unit) => push(&mut bytes, unit)?,
                (Some(_), _) => return Err(malformed()),
            }
            continue;
        }
        if first.is_some() {
            return Err(malformed());
        }
        match escape {
            None => push(&mut bytes, u32::from(letter))?,
            Some(escape) => bytes.extend(escaped(escape, rest)?),
        }
    }
    if high.is_some() || bytes.contains(&0) {
        return Err(malformed());
    }
    String::from_utf8(bytes).map_err(|_| malformed())
}

fn escaped(letter: char, rest: &mut Peekable<Chars>) -> Result<Vec<u8>, Trouble> {
    let byte = match letter {
        'a' => 0x07,
        'b' => 0x08,
        'e' | 'E' => 0x1B,
        'f' => 0x0C,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 0x0B,
        '\\' | '\'' | '"' | '?' => letter as u8,
        'x' => number(rest, 16, 2).and_then(|byte| u8::try_from(byte).ok()).ok_or_else(malformed)?,
        'c' => {
            let control = rest.next().filter(char::is_ascii).ok_or_else(malformed)?;
            control.to_ascii_uppercase() as u8 & 0x1F
        }
        '0'..='7' => {
            let first = letter.to_digit(8).unwrap_or_default();
            let mut value = first;
            for _ in 0..2 {
                let Some(digit) = rest.peek().and_then(|next| next.to_digit(8)) else { break };
                rest.next();
                value = value * 8 + digit;
            }
            u8::try_from(value & 0xFF).map_err(|_| malformed())?
        }
        other => return Ok(format!("\\{other}").into_bytes()),
    };
    Ok(vec![byte])
}

fn number(rest: &mut Peekable<Chars>, radix: u32, digits_max: usize) -> Option<u32> {
    let mut value = None;
    for _ in 0..digits_max {
        let Some(digit) = rest.peek().and_then(|next| next.to_digit(radix)) else { break };
        rest.next();
        value = Some(value.unwrap_or(0_u32) * radix + digit);
    }
    value
}

fn push(bytes: &mut Vec<u8>, unit: u32) -> Result<(), Trouble> {
    let letter = char::from_u32(unit).ok_or_else(malformed)?;
    bytes.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
    Ok(())
}

fn malformed() -> Trouble {
    Trouble::usage("the curl line has a $'…' with an escape that stands for no text in UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_bash() {
        for (line, words) in [
            ("curl 'a b' \"c \\\"d\\\" \\$e\" f\\ g", &["curl", "a b", "c \"d\" $e", "f g"][..]),
            ("curl \\\n  -H 'A: b' \\\r\n  c\n", &["curl", "-H", "A: b", "c"]),
            ("\n# a note\ncurl a#b # another\n\n", &["curl", "a#b"]),
            ("curl $'it\\'s \\u0021\\x41\\101\\n\\\\\\q'", &["curl", "it's !AA\n\\\\q"]),
            ("curl $'\\u00e9\\xc3\\xa9 \\ud83d\\ude00 \\U0001f600'", &["curl", "éé 😀 😀"]),
            ("curl a$'b\\tc'd $\"e\" ''", &["curl", "ab\tcd", "e", ""]),
            ("curl '$HOME `x` | > & ;' a?b=c a$ 50%", &["curl", "$HOME `x` | > & ;", "a?b=c", "a$", "50%"]),
            ("curl '{\"a\":1}' -H$'x: \\cA'", &["curl", "{\"a\":1}", "-Hx: \u{1}"]),
        ] {
            assert_eq!(split(line).unwrap(), words, "{line}");
        }
        let home = std::env::home_dir().unwrap();
        assert_eq!(
            split("a ~/b c~/d '~/e'").unwrap(),
            ["a", home.join("b").to_str().unwrap(), "c~/d", "~/e"]
        );
    }

    #[test]
    fn what_only_a_shell_can_do_is_refused_and_nothing_is_repeated() {
        for (line, says) in [
            ("curl secret 'a", "not closed"),
            ("curl secret \"a", "not closed"),
            ("curl secret $'a\\'", "not closed"),
            ("curl -H \"A: $secret\" u", "a variable"),
            ("curl ${secret}", "a variable"),
            ("curl \"$(secret)\"", "a variable or a command"),
            ("curl `secret`", "a command"),
            ("curl secret?a=b&c=d", "outside of quotes"),
            ("curl secret | sh", "outside of quotes"),
            ("curl secret > f", "outside of quotes"),
            ("curl secret ;\ncurl b", "outside of quotes"),
            ("curl secret;", "more than one command"),
            ("curl secret\ncurl b", "more than one command"),
            ("curl ^\"secret^\"", "Windows"),
            ("curl $'secret\\xff'", "UTF-8"),
            ("curl $'secret\\ud83d'", "UTF-8"),
            ("curl $'secret\\0'", "UTF-8"),
            ("curl $'secret\\Uffffffff'", "UTF-8"),
        ] {
            let trouble = split(line).unwrap_err();
            assert!(trouble.message.contains(says), "{line}: {trouble}");
            assert!(!format!("{trouble:?}").contains("secret"), "{trouble:?}");
        }
    }
}
