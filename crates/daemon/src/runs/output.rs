//! What a program wrote, as text.

use longhaul_runner::Excerpt;
use longhaul_store::StoredOutput;

/// Puts pieces together; where something was dropped, a line says how much.
pub(crate) fn text_of(excerpt: &Excerpt) -> StoredOutput {
    let mut decoder =
        Decoder { next: excerpt.pieces.first().map_or(0, |piece| piece.offset), rest: Vec::new() };
    let text = decoder.decode(excerpt) + &decoder.finish();
    StoredOutput { text, dropped: excerpt.dropped }
}

/// Makes text of one excerpt after the other. Bytes that are no UTF-8 are replaced.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    next: u64,
    /// The beginning of a letter whose end has not come.
    rest: Vec<u8>,
}

impl Decoder {
    /// Where the next excerpt has to begin.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    pub(crate) fn decode(&mut self, excerpt: &Excerpt) -> String {
        let mut text = String::new();
        for piece in &excerpt.pieces {
            if piece.offset > self.next {
                text.push_str(&self.finish());
                text.push_str(&format!("\n[{} bytes left out]\n", piece.offset - self.next));
            }
            self.rest.extend_from_slice(&piece.bytes);
            self.next = piece.offset + piece.bytes.len() as u64;
            let whole = self.rest.len() - unfinished(&self.rest);
            let letters: Vec<u8> = self.rest.drain(..whole).collect();
            text.push_str(&String::from_utf8_lossy(&letters));
        }
        text
    }

    /// What is left when nothing more comes.
    pub(crate) fn finish(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.rest)).into_owned()
    }
}

/// How many bytes at the end are the beginning of a letter.
fn unfinished(bytes: &[u8]) -> usize {
    let tail = &bytes[bytes.len().saturating_sub(3)..];
    let begins = |place: &usize| {
        std::str::from_utf8(&tail[*place..])
            .is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
    };
    (0..tail.len()).find(begins).map_or(0, |place| tail.len() - place)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use longhaul_runner::{Piece, Stream};

    use super::*;

    fn excerpt(pieces: &[(u64, &[u8])]) -> Excerpt {
        let pieces = pieces.iter().map(|(offset, bytes)| Piece {
            offset: *offset,
            at: SystemTime::UNIX_EPOCH,
            stream: Stream::Stdout,
            bytes: bytes.to_vec(),
        });
        Excerpt { pieces: pieces.collect(), next: 12, total: 12, dropped: 7, is_complete: true }
    }

    #[test]
    fn a_gap_is_told() {
        // The two halves of a character may come as two pieces.
        let written = excerpt(&[(0, b"a\xc3"), (2, b"\xa4"), (10, b"z\xff")]);
        let expected = StoredOutput { text: "a\u{e4}\n[7 bytes left out]\nz\u{fffd}".to_owned(), dropped: 7 };
        assert_eq!(text_of(&written), expected);
    }

    #[test]
    fn a_letter_waits_for_its_end() {
        let mut decoder = Decoder::default();
        assert_eq!(decoder.decode(&excerpt(&[(0, b"\xf0\x9f")])), "");
        assert_eq!(
            (decoder.decode(&excerpt(&[(2, b"\x98\x80!\xe2\x82")])), decoder.next()),
            ("\u{1f600}!".to_owned(), 7)
        );
        assert_eq!(decoder.finish(), "\u{fffd}");
        assert_eq!(decoder.decode(&excerpt(&[(9, b"b")])), "\n[2 bytes left out]\nb");
    }
}
