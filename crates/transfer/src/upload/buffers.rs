//! Memory for the pieces that are on their way, used again and again.

use std::sync::{Arc, Mutex};

use bytes::Bytes;

/// Bytes that are read and sent at a time.
pub(crate) const PIECE_BYTES: usize = 256 << 10;
/// Buffers that are kept for later.
const KEPT_MAX: usize = 4;

/// Buffers of [`PIECE_BYTES`]. Cheap to clone; clones share them.
#[derive(Clone, Default)]
pub(crate) struct Buffers {
    free: Arc<Mutex<Vec<Vec<u8>>>>,
}

/// Goes back when the last one who looks at it lets go.
struct Lent {
    buffer: Vec<u8>,
    length: usize,
    home: Buffers,
}

impl Buffers {
    pub(crate) fn take(&self) -> Vec<u8> {
        let kept = self.free.lock().expect("no holder of this lock panics").pop();
        kept.unwrap_or_else(|| vec![0; PIECE_BYTES])
    }

    /// The first `length` bytes of a buffer that came from here.
    pub(crate) fn lend(&self, buffer: Vec<u8>, length: usize) -> Bytes {
        Bytes::from_owner(Lent { buffer, length, home: self.clone() })
    }
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[..self.length]
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut free = self.home.free.lock().expect("no holder of this lock panics");
        if free.len() < KEPT_MAX {
            free.push(std::mem::take(&mut self.buffer));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_when_its_last_piece_is_gone() {
        let buffers = Buffers::default();
        let buffer = buffers.take();
        let place = buffer.as_ptr();
        let piece = buffers.lend(buffer, 7);
        let part = piece.slice(2..5);
        drop(piece);
        let other = buffers.take();
        assert_ne!(other.as_ptr(), place);
        drop(part);
        let again = buffers.take();
        assert_eq!(again.as_ptr(), place);
    }
}
