//! Byte ranges and sets of them.

use serde::{Deserialize, Serialize};

/// `length` bytes from `offset`. `length` is never 0 inside a [`RangeSet`].
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "camelCase")]
pub struct ByteRange {
    pub offset: u64,
    pub length: u64,
}

impl ByteRange {
    #[must_use]
    pub const fn new(offset: u64, length: u64) -> Self {
        Self { offset, length }
    }

    /// From `start` up to and without `end`.
    #[must_use]
    pub const fn from_bounds(start: u64, end: u64) -> Self {
        Self { offset: start, length: end.saturating_sub(start) }
    }

    /// The first byte behind the range.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.offset + self.length
    }
}

/// A set of bytes, kept as sorted ranges that neither touch nor overlap.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(transparent)]
pub struct RangeSet(Vec<ByteRange>);

impl RangeSet {
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    pub fn insert(&mut self, range: ByteRange) {
        if range.length == 0 {
            return;
        }
        let first = self.0.partition_point(|known| known.end() < range.offset);
        let last = self.0.partition_point(|known| known.offset <= range.end());
        let start = self.0.get(first).map_or(range.offset, |known| known.offset.min(range.offset));
        let end = if last > first { self.0[last - 1].end().max(range.end()) } else { range.end() };
        self.0.splice(first..last, [ByteRange::from_bounds(start.min(range.offset), end)]);
    }

    pub fn remove(&mut self, range: ByteRange) {
        if range.length == 0 {
            return;
        }
        let mut kept = Vec::with_capacity(self.0.len() + 1);
        for known in &self.0 {
            let left = ByteRange::from_bounds(known.offset, known.end().min(range.offset));
            let right = ByteRange::from_bounds(known.offset.max(range.end()), known.end());
            if range.offset >= known.end() || range.end() <= known.offset {
                kept.push(*known);
            } else {
                kept.extend([left, right].into_iter().filter(|part| part.length > 0));
            }
        }
        self.0 = kept;
    }

    pub fn extend(&mut self, other: &Self) {
        for range in &other.0 {
            self.insert(*range);
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = ByteRange> + '_ {
        self.0.iter().copied()
    }

    #[must_use]
    pub fn as_slice(&self) -> &[ByteRange] {
        &self.0
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many bytes the set holds.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.iter().map(|range| range.length).sum()
    }

    /// Whether every byte of `range` is in the set.
    #[must_use]
    pub fn contains(&self, range: ByteRange) -> bool {
        range.length == 0 || self.available_from(range.offset) >= range.length
    }

    /// How many bytes lie in the set without a gap from `offset` on.
    #[must_use]
    pub fn available_from(&self, offset: u64) -> u64 {
        let next = self.0.partition_point(|known| known.end() <= offset);
        match self.0.get(next) {
            Some(known) if known.offset <= offset => known.end() - offset,
            _ => 0,
        }
    }

    /// What of `0..total` is not in the set.
    #[must_use]
    pub fn missing(&self, total: u64) -> Self {
        let mut holes = Self(vec![ByteRange::new(0, total)]);
        if total == 0 {
            return Self::new();
        }
        for range in &self.0 {
            holes.remove(*range);
        }
        holes
    }
}

impl FromIterator<ByteRange> for RangeSet {
    fn from_iter<T: IntoIterator<Item = ByteRange>>(ranges: T) -> Self {
        let mut set = Self::new();
        for range in ranges {
            set.insert(range);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_agrees_with_a_bitmap() {
        let mut seed = 1u64;
        let mut next = move |limit: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % limit
        };
        for _ in 0..500 {
            let mut set = RangeSet::new();
            let mut model = [false; 64];
            for _ in 0..20 {
                let range = ByteRange::new(next(60), next(5));
                let is_insert = next(3) > 0;
                if is_insert {
                    set.insert(range);
                } else {
                    set.remove(range);
                }
                for byte in range.offset..range.end().min(64) {
                    model[usize::try_from(byte).unwrap()] = is_insert;
                }
            }
            let seen: RangeSet = (0..64).filter(|i| model[*i]).map(|i| ByteRange::new(i as u64, 1)).collect();
            set.remove(ByteRange::new(64, 10));
            assert_eq!(set, seen);
            assert!(set.as_slice().windows(2).all(|pair| pair[0].end() < pair[1].offset));
            assert_eq!(set.missing(64).bytes() + set.bytes(), 64);
            for offset in 0..64u64 {
                let run =
                    model[usize::try_from(offset).unwrap()..].iter().take_while(|held| **held).count() as u64;
                assert_eq!(set.available_from(offset), run);
            }
        }
    }
}
