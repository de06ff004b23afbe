//! The replies of an FTP server (RFC 959 section 4.2), read from whatever pieces they come in.

/// Bytes of one line and of one reply. Greetings and lists of features are long, and not as long as this.
const LINE_BYTES_MAX: usize = 8 << 10;
const REPLY_BYTES_MAX: usize = 64 << 10;
/// What of a server's words is repeated in an error.
const SAID_CHARS_MAX: usize = 200;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) code: u16,
    /// Without codes.
    pub(super) lines: Vec<String>,
}

/// What is no reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Nonsense {
    #[error("a reply that does not end")]
    TooLong,
    #[error("what is no reply")]
    NoCode,
}

/// Puts replies together.
#[derive(Debug, Default)]
pub(super) struct Replies {
    /// What has come and was not taken.
    buffer: Vec<u8>,
    /// So many bytes of it hold no end of a line.
    searched: usize,
    /// The reply that is being read, and its bytes so far.
    open: Option<Reply>,
    bytes: usize,
}

impl Reply {
    pub(super) const fn is_preliminary(&self) -> bool {
        self.code < 200
    }

    pub(super) const fn is_positive(&self) -> bool {
        matches!(self.code, 200..300)
    }

    pub(super) const fn is_refusal(&self) -> bool {
        self.code >= 400
    }

    /// The text of a reply with one line, or of the last one.
    pub(super) fn text(&self) -> &str {
        self.lines.last().map_or("", String::as_str)
    }

    /// Code and words, for a person.
    pub(super) fn said(&self) -> String {
        let words: Vec<&str> =
            self.lines.iter().map(|line| line.trim()).filter(|line| !line.is_empty()).collect();
        let text: String = words.join(" ").chars().filter(|letter| !letter.is_control()).collect();
        let mut said: String = text.chars().take(SAID_CHARS_MAX).collect();
        if said.len() < text.len() {
            said.push('…');
        }
        format!("{} {said}", self.code).trim_end().to_owned()
    }
}

impl Replies {
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Whether nothing has come behind the replies that were taken.
    pub(super) const fn is_drained(&self) -> bool {
        self.buffer.is_empty() && self.open.is_none()
    }

    /// The next whole reply.
    ///
    /// # Errors
    /// What has come is none.
    pub(super) fn next(&mut self) -> Result<Option<Reply>, Nonsense> {
        while let Some(line) = self.line()? {
            self.bytes += line.len() + 1;
            if self.bytes > REPLY_BYTES_MAX {
                return Err(Nonsense::TooLong);
            }
            let is_last = match &mut self.open {
                None => {
                    let (code, is_last, text) = split(&line).ok_or(Nonsense::NoCode)?;
                    self.open = Some(Reply { code, lines: vec![text] });
                    is_last
                }
                Some(reply) => match split(&line) {
                    // Only the same code with a blank ends it; other lines may begin with numbers as they like.
                    Some((code, is_last, text)) if code == reply.code => {
                        reply.lines.push(text);
                        is_last
                    }
                    _ => {
                        reply.lines.push(line);
                        false
                    }
                },
            };
            if is_last {
                self.bytes = 0;
                return Ok(self.open.take());
            }
        }
        Ok(None)
    }

    fn line(&mut self) -> Result<Option<String>, Nonsense> {
        let Some(at) = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') else {
            self.searched = self.buffer.len();
            return if self.searched > LINE_BYTES_MAX { Err(Nonsense::TooLong) } else { Ok(None) };
        };
        let end = self.searched + at;
        if end > LINE_BYTES_MAX {
            return Err(Nonsense::TooLong);
        }
        let line = String::from_utf8_lossy(&self.buffer[..end]).trim_end_matches('\r').to_owned();
        self.buffer.drain(..=end);
        self.searched = 0;
        Ok(Some(line))
    }
}

/// Code, whether the reply ends with this line, and the text behind.
fn split(line: &str) -> Option<(u16, bool, String)> {
    let code = line.get(..3).filter(|code| code.bytes().all(|byte| byte.is_ascii_digit()))?;
    let code: u16 = code.parse().ok().filter(|code| matches!(code, 100..600))?;
    match line.as_bytes().get(3) {
        None => Some((code, true, String::new())),
        Some(b' ') => Some((code, true, line[4..].to_owned())),
        Some(b'-') => Some((code, false, line[4..].to_owned())),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(pieces: &[&[u8]]) -> Result<Vec<Reply>, Nonsense> {
        let mut replies = Replies::default();
        let mut found = Vec::new();
        for piece in pieces {
            replies.feed(piece);
            while let Some(reply) = replies.next()? {
                found.push(reply);
            }
        }
        Ok(found)
    }

    fn reply(code: u16, lines: &[&str]) -> Reply {
        Reply { code, lines: lines.iter().map(|line| (*line).to_owned()).collect() }
    }

    #[test]
    fn replies_come_in_any_pieces() {
        let text: &[u8] =
            b"220-Welcome\r\n 123 not yet\r\n221 nor this\r\n220-still\r\n220 now\r\n200\r\n331 pw?\n";
        let expected = vec![
            reply(220, &["Welcome", " 123 not yet", "221 nor this", "still", "now"]),
            reply(200, &[""]),
            reply(331, &["pw?"]),
        ];
        assert_eq!(all(&[text]).unwrap(), expected);
        let single: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(all(&single).unwrap(), expected);
        assert_eq!(all(&[b"226 half"]).unwrap(), []);
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        for text in [
            &b"SSH-2.0-OpenSSH\r\n"[..],
            b"22 x\r\n",
            b"999 x\r\n",
            b"099 x\r\n",
            b"220x\r\n",
            b"\r\n",
            "2é0 x\r\n".as_bytes(),
        ] {
            assert_eq!(all(&[text]), Err(Nonsense::NoCode), "{text:?}");
        }
    }

    #[test]
    fn a_reply_has_a_size() {
        assert_eq!(all(&[b"220 ", &vec![b'a'; LINE_BYTES_MAX]]), Err(Nonsense::TooLong));
        assert_eq!(all(&[b"220 ", &vec![b'a'; 2 * LINE_BYTES_MAX], b"\r\n"]), Err(Nonsense::TooLong));
        let many = b"220-more\r\n".repeat(REPLY_BYTES_MAX / 8);
        assert_eq!(all(&[&many]), Err(Nonsense::TooLong));
    }

    #[test]
    fn what_is_repeated_is_short_and_without_controls() {
        assert_eq!(reply(550, &["No\u{1b}[31m such file"]).said(), "550 No[31m such file");
        assert_eq!(reply(530, &["", " a ", "b"]).said(), "530 a b");
        assert!(reply(550, &["é".repeat(500).as_str()]).said().chars().count() < 210);
    }
}
