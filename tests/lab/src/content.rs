//! Files whose every byte follows from a seed and its offset, so that any part of a file of any size can be sent
//! and checked without keeping it.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

const CHUNK: usize = 1 << 16;

/// A pseudo-random file; contents of different seeds differ nearly everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    pub seed: u64,
    pub length: u64,
}

impl Content {
    #[must_use]
    pub const fn new(seed: u64, length: u64) -> Self {
        Self { seed, length }
    }

    /// The bytes from `offset` on that fit into `buffer` and into the file; returns how many.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> usize {
        let wanted = self.length.saturating_sub(offset).min(buffer.len() as u64);
        let count = usize::try_from(wanted).expect("not more than the buffer");
        let mut done = 0;
        while done < count {
            let position = offset + done as u64;
            let word = word(self.seed, position / 8).to_le_bytes();
            let skip = usize::try_from(position % 8).expect("below 8");
            let take = (8 - skip).min(count - done);
            buffer[done..done + take].copy_from_slice(&word[skip..skip + take]);
            done += take;
        }
        count
    }

    #[must_use]
    pub fn bytes(&self, offset: u64, length: u64) -> Vec<u8> {
        let length = length.min(self.length.saturating_sub(offset));
        let mut buffer = vec![0; usize::try_from(length).expect("a part fits into memory")];
        self.read_at(offset, &mut buffer);
        buffer
    }

    #[must_use]
    pub fn all(&self) -> Vec<u8> {
        self.bytes(0, self.length)
    }

    /// Lower-case hexadecimal.
    #[must_use]
    pub fn sha256(&self) -> String {
        hex::encode(self.sha256_bytes())
    }

    #[must_use]
    pub fn sha256_bytes(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        self.chunks(|chunk| hash.update(chunk));
        hash.finalize().into()
    }

    /// # Panics
    /// The file cannot be written.
    pub fn write_to(&self, path: &Path) {
        let mut file = File::create(path).unwrap_or_else(|e| panic!("cannot create {}: {e}", path.display()));
        self.chunks(|chunk| file.write_all(chunk).expect("the lab's disk has room"));
    }

    /// Panics with the first difference between the file and this content.
    #[track_caller]
    pub fn assert_file(&self, path: &Path) {
        let mut file = File::open(path).unwrap_or_else(|e| panic!("cannot open {}: {e}", path.display()));
        let length = file.metadata().expect("an open file has metadata").len();
        assert_eq!(length, self.length, "length of {}", path.display());
        let mut offset = 0;
        self.chunks(|expected| {
            let mut seen = vec![0; expected.len()];
            file.read_exact(&mut seen).expect("the length was checked");
            if let Some(at) = expected.iter().zip(&seen).position(|(left, right)| left != right) {
                panic!("{} differs at byte {}", path.display(), offset + at as u64);
            }
            offset += expected.len() as u64;
        });
    }

    fn chunks(&self, mut each: impl FnMut(&[u8])) {
        let mut buffer = vec![0; CHUNK];
        let mut offset = 0;
        while offset < self.length {
            let count = self.read_at(offset, &mut buffer);
            each(&buffer[..count]);
            offset += count as u64;
        }
    }
}

/// SplitMix64 of the word's index.
const fn word(seed: u64, index: u64) -> u64 {
    let mut state =
        seed.wrapping_mul(0xD134_2543_DE82_EF95).wrapping_add(index.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    state = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    state = (state ^ (state >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    state ^ (state >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_part_equals_the_same_part_of_the_whole() {
        let content = Content::new(7, 1_003);
        let whole = content.all();
        for (offset, length) in [(0, 1), (1, 7), (5, 16), (999, 100), (1_003, 5)] {
            let end = (offset + length).min(1_003);
            let start = usize::try_from(offset).unwrap();
            assert_eq!(content.bytes(offset, length), whole[start..usize::try_from(end).unwrap()]);
        }
        assert_ne!(whole, Content::new(8, 1_003).all());
    }
}
