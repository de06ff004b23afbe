//! Just enough of Rust's lexical rules to look at source without being fooled by comments and strings.

/// What one token is; literals and lifetimes carry nothing, because no rule asks for their text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Word(String),
    Mark(char),
    Other,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    /// Counted from 1.
    pub(crate) line: usize,
}

impl Token {
    pub(crate) fn is_mark(&self, mark: char) -> bool {
        self.kind == Kind::Mark(mark)
    }

    pub(crate) fn word(&self) -> Option<&str> {
        match &self.kind {
            Kind::Word(word) => Some(word),
            Kind::Mark(_) | Kind::Other => None,
        }
    }
}

pub(crate) fn lex(source: &str) -> Vec<Token> {
    let mut lexer = Lexer { rest: source.chars().collect(), at: 0, line: 1, tokens: Vec::new() };
    while lexer.at < lexer.rest.len() {
        lexer.step();
    }
    lexer.tokens
}

struct Lexer {
    rest: Vec<char>,
    at: usize,
    line: usize,
    tokens: Vec<Token>,
}

impl Lexer {
    fn peek(&self, ahead: usize) -> char {
        self.rest.get(self.at + ahead).copied().unwrap_or('\0')
    }

    fn advance(&mut self) {
        if self.peek(0) == '\n' {
            self.line += 1;
        }
        self.at += 1;
    }

    fn push(&mut self, kind: Kind, line: usize) {
        self.tokens.push(Token { kind, line });
    }

    fn step(&mut self) {
        let line = self.line;
        match (self.peek(0), self.peek(1)) {
            (space, _) if space.is_whitespace() => self.advance(),
            ('/', '/') => self.skip_while(|character| character != '\n'),
            ('/', '*') => self.skip_block_comment(),
            ('"', _) => {
                self.skip_string();
                self.push(Kind::Other, line);
            }
            ('\'', _) => {
                self.skip_quote();
                self.push(Kind::Other, line);
            }
            (digit, _) if digit.is_ascii_digit() => {
                self.skip_while(|character| character.is_alphanumeric() || character == '_');
                self.push(Kind::Other, line);
            }
            (letter, _) if letter.is_alphabetic() || letter == '_' => self.word(line),
            (mark, _) => {
                self.advance();
                self.push(Kind::Mark(mark), line);
            }
        }
    }

    fn skip_while(&mut self, wanted: impl Fn(char) -> bool) {
        while self.at < self.rest.len() && wanted(self.peek(0)) {
            self.advance();
        }
    }

    fn skip_block_comment(&mut self) {
        let mut depth = 0_usize;
        while self.at < self.rest.len() {
            let change: isize = match (self.peek(0), self.peek(1)) {
                ('/', '*') => 1,
                ('*', '/') => -1,
                _ => 0,
            };
            self.advance();
            if change != 0 {
                self.advance();
                depth = depth.saturating_add_signed(change);
                if depth == 0 {
                    return;
                }
            }
        }
    }

    fn skip_string(&mut self) {
        self.advance();
        while self.at < self.rest.len() && self.peek(0) != '"' {
            if self.peek(0) == '\\' {
                self.advance();
            }
            self.advance();
        }
        self.advance();
    }

    /// A character literal, or a lifetime.
    fn skip_quote(&mut self) {
        let is_literal = self.peek(1) == '\\' || self.peek(2) == '\'';
        self.advance();
        if is_literal {
            if self.peek(0) == '\\' {
                self.advance();
            }
            self.advance();
            self.skip_while(|character| character != '\'');
            self.advance();
        } else {
            self.skip_while(|character| character.is_alphanumeric() || character == '_');
        }
    }

    fn word(&mut self, line: usize) {
        let start = self.at;
        self.skip_while(|character| character.is_alphanumeric() || character == '_');
        let word: String = self.rest[start..self.at].iter().collect();
        let is_prefix = matches!(word.as_str(), "r" | "b" | "br" | "c" | "cr");
        match self.peek(0) {
            '"' if is_prefix && !word.contains('r') => {
                self.skip_string();
                self.push(Kind::Other, line);
            }
            '"' | '#' if is_prefix && word.contains('r') && self.skip_raw_string() => {
                self.push(Kind::Other, line);
            }
            '#' if word == "r" => {
                self.advance();
                self.word(line);
            }
            '\'' if word == "b" => {
                self.skip_quote();
                self.push(Kind::Other, line);
            }
            _ => self.push(Kind::Word(word), line),
        }
    }

    /// False, and nothing skipped, when what follows is no raw string (`r#type`).
    fn skip_raw_string(&mut self) -> bool {
        let mut hashes = 0;
        while self.peek(hashes) == '#' {
            hashes += 1;
        }
        if self.peek(hashes) != '"' {
            return false;
        }
        for _ in 0..=hashes {
            self.advance();
        }
        while self.at < self.rest.len() {
            let closes = self.peek(0) == '"' && (1..=hashes).all(|ahead| self.peek(ahead) == '#');
            self.advance();
            if closes {
                for _ in 0..hashes {
                    self.advance();
                }
                break;
            }
        }
        true
    }
}

/// Every path written in the source (`std::fs::read`), with `use` trees written out, and its line.
pub(crate) fn paths(tokens: &[Token]) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at].word().is_some() {
            at = path(tokens, at, &mut Vec::new(), &mut found);
        } else {
            at += 1;
        }
    }
    found
}

/// Reads one path that begins at `at` and returns where it ended.
fn path(
    tokens: &[Token],
    mut at: usize,
    prefix: &mut Vec<String>,
    found: &mut Vec<(String, usize)>,
) -> usize {
    let depth = prefix.len();
    let line = tokens[at].line;
    let mut is_group = false;
    while let Some(token) = tokens.get(at) {
        if let Some(word) = token.word() {
            prefix.push(word.to_owned());
            at += 1;
        } else if token.is_mark('*') {
            prefix.push("*".to_owned());
            at += 1;
        } else if token.is_mark('{') {
            is_group = true;
            at = group(tokens, at + 1, prefix, found);
        }
        let continues = |at: usize| tokens.get(at).is_some_and(|token| token.is_mark(':'));
        let follows = tokens
            .get(at + 2)
            .is_some_and(|token| token.word().is_some() || token.is_mark('{') || token.is_mark('*'));
        if is_group || !(continues(at) && continues(at + 1) && follows) {
            break;
        }
        at += 2;
    }
    if !is_group {
        found.push((prefix.join("::"), line));
    }
    prefix.truncate(depth);
    at
}

fn group(
    tokens: &[Token],
    mut at: usize,
    prefix: &mut Vec<String>,
    found: &mut Vec<(String, usize)>,
) -> usize {
    while let Some(token) = tokens.get(at) {
        if token.is_mark('}') {
            return at + 1;
        }
        at = match token.word() {
            // `as NAME`: the name is only an alias.
            Some("as") => at + 2,
            None if !token.is_mark('*') && !token.is_mark('{') => at + 1,
            _ => path(tokens, at, prefix, found),
        };
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(source: &str) -> Vec<String> {
        lex(source).iter().filter_map(|token| token.word().map(str::to_owned)).collect()
    }

    fn written(source: &str) -> Vec<String> {
        paths(&lex(source)).into_iter().map(|(path, _)| path).collect()
    }

    #[test]
    fn comments_and_strings_are_no_words() {
        assert_eq!(words("a // b\n/* c /* d */ e */ f"), ["a", "f"]);
        assert_eq!(words(r##"a "b \" c" r#"d " e"# b"f" 'g' '\'' h"##), ["a", "h"]);
        assert_eq!(words("fn r#type<'a>(b: &'a str) {}"), ["fn", "type", "b", "str"]);
    }

    #[test]
    fn lines_are_counted_through_strings() {
        let tokens = lex("a\n\"b\nc\"\n/*\n*/ d");
        assert_eq!(tokens.last().map(|token| token.line), Some(5));
    }

    #[test]
    fn paths_are_written_out() {
        assert_eq!(
            written("use std::{fs, time::{Duration, Instant as Later}};"),
            ["use", "std::fs", "std::time::Duration", "std::time::Instant"]
        );
        assert_eq!(written("let x = ::std::net::lookup::<u8>();"), ["let", "x", "std::net::lookup", "u8"]);
        assert_eq!(written("use std::time::*;"), ["use", "std::time::*"]);
        assert_eq!(written("struct A { b: c::D }"), ["struct", "A", "b", "c::D"]);
    }
}
