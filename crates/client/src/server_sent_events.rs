//! A parser of the event stream format (HTML Living Standard, section 9.2.6), fed with whatever pieces arrive.

/// One dispatched event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Message {
    /// The `event:` field; empty when absent.
    pub(crate) kind: String,
    pub(crate) data: String,
    /// The `id:` field of this very message.
    pub(crate) id: Option<String>,
}

/// A message grew beyond [`Parser::MESSAGE_BYTES_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MessageTooLong;

#[derive(Debug, Default)]
pub(crate) struct Parser {
    line: Vec<u8>,
    /// The last byte was CR: a LF that follows belongs to it.
    is_after_carriage_return: bool,
    is_begun: bool,
    message: Message,
    has_data: bool,
}

impl Parser {
    pub(crate) const MESSAGE_BYTES_MAX: usize = 64 << 20;

    /// Takes bytes and appends the messages they complete to `messages`.
    pub(crate) fn feed(&mut self, bytes: &[u8], messages: &mut Vec<Message>) -> Result<(), MessageTooLong> {
        let mut rest = bytes;
        if self.is_after_carriage_return && !rest.is_empty() {
            self.is_after_carriage_return = false;
            rest = rest.strip_prefix(b"\n").unwrap_or(rest);
        }
        while let Some(end) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            self.line.extend_from_slice(&rest[..end]);
            let is_carriage_return = rest[end] == b'\r';
            rest = &rest[end + 1..];
            if is_carriage_return {
                self.is_after_carriage_return = rest.is_empty();
                rest = rest.strip_prefix(b"\n").unwrap_or(rest);
            }
            let line = std::mem::take(&mut self.line);
            messages.extend(self.take_line(&line));
        }
        self.line.extend_from_slice(rest);
        if self.line.len() + self.message.data.len() > Self::MESSAGE_BYTES_MAX {
            return Err(MessageTooLong);
        }
        Ok(())
    }

    fn take_line(&mut self, line: &[u8]) -> Option<Message> {
        let text = String::from_utf8_lossy(line);
        let mut text = text.as_ref();
        if !std::mem::replace(&mut self.is_begun, true) {
            text = text.strip_prefix('\u{feff}').unwrap_or(text);
        }
        if text.is_empty() {
            let message = std::mem::take(&mut self.message);
            return std::mem::take(&mut self.has_data).then_some(message);
        }
        let (field, value) = text.split_once(':').unwrap_or((text, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.message.kind),
            "data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.message.data.push('\n');
                }
                self.message.data.push_str(value);
            }
            "id" if !value.contains('\0') => self.message.id = Some(value.to_owned()),
            // Comments, `retry` (the delay is ours to choose) and fields that do not exist.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pieces: &[&[u8]]) -> Vec<Message> {
        let mut parser = Parser::default();
        let mut messages = Vec::new();
        for piece in pieces {
            parser.feed(piece, &mut messages).unwrap();
        }
        messages
    }

    const STREAM: &[u8] = b"\xef\xbb\xbf: hello\r\n\r\nid: 7\nevent: operation\ndata: {\"a\":\ndata:  1}\n\n\
        data\r\revent: lost without data\n\nid: 8\rdata:x\r\n\r\ndata: never ended\n";

    #[test]
    fn fields_comments_and_line_ends_are_told_apart() {
        let expected = vec![
            Message { kind: "operation".into(), data: "{\"a\":\n 1}".into(), id: Some("7".into()) },
            Message::default(),
            Message { kind: String::new(), data: "x".into(), id: Some("8".into()) },
        ];
        assert_eq!(parse(&[STREAM]), expected);
    }

    #[test]
    fn it_does_not_matter_where_the_stream_is_cut() {
        let whole = parse(&[STREAM]);
        for cut in 0..STREAM.len() {
            assert_eq!(parse(&[&STREAM[..cut], &STREAM[cut..]]), whole, "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = STREAM.chunks(1).collect();
        assert_eq!(parse(&bytes), whole);
    }

    #[test]
    fn a_message_without_end_is_given_up() {
        let mut parser = Parser::default();
        let mut messages = Vec::new();
        let piece = vec![b'a'; 1 << 20];
        let refused = (0..100).find(|_| parser.feed(&piece, &mut messages).is_err());
        assert_eq!(refused, Some(Parser::MESSAGE_BYTES_MAX >> 20));
    }
}
