//! What a program wrote, as text.

use longhaul_runner::Excerpt;
use longhaul_store::StoredOutput;

/// Puts pieces together; where something was dropped, a line says how much.
pub(crate) fn text_of(excerpt: &Excerpt) -> StoredOutput {
    let mut bytes = Vec::new();
    let mut next = excerpt.pieces.first().map_or(0, |piece| piece.offset);
    for piece in &excerpt.pieces {
        if piece.offset > next {
            bytes.extend_from_slice(format!("\n[{} bytes left out]\n", piece.offset - next).as_bytes());
        }
        bytes.extend_from_slice(&piece.bytes);
        next = piece.offset + piece.bytes.len() as u64;
    }
    StoredOutput { text: String::from_utf8_lossy(&bytes).into_owned(), dropped: excerpt.dropped }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use longhaul_runner::{Piece, Stream};

    use super::*;

    #[test]
    fn a_gap_is_told() {
        let piece = |offset, bytes: &[u8]| Piece {
            offset,
            at: SystemTime::UNIX_EPOCH,
            stream: Stream::Stdout,
            bytes: bytes.to_vec(),
        };
        // The two halves of a character may come as two pieces.
        let pieces = vec![piece(0, b"a\xc3"), piece(2, b"\xa4"), piece(10, b"z\xff")];
        let excerpt = Excerpt { pieces, next: 12, total: 12, dropped: 7, is_complete: true };
        let expected = StoredOutput { text: "a\u{e4}\n[7 bytes left out]\nz\u{fffd}".to_owned(), dropped: 7 };
        assert_eq!(text_of(&excerpt), expected);
    }
}
