//! What a program wrote: the beginning and the end of it, in memory of a fixed size, readable while it grows.
//!
//! Bytes are kept as they came. Whoever shows them on a terminal escapes them.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

/// How much is kept, in bytes, counting [`PIECE_BYTES`] for each piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutputSize {
    /// From the beginning.
    pub head: usize,
    /// Up to the end.
    pub tail: usize,
}

impl Default for OutputSize {
    fn default() -> Self {
        Self { head: 64 << 10, tail: 192 << 10 }
    }
}

/// What a piece costs beside its bytes: a program that writes single bytes must not cost more than its share.
pub const PIECE_BYTES: usize = 64;
/// What comes within this time from the same stream is one piece.
const PIECE_DURATION_MAX: Duration = Duration::from_millis(50);
const PIECE_LENGTH_MAX: usize = 8 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// Bytes that came together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Position of its first byte in all that both streams brought, in the order of arrival.
    pub offset: u64,
    /// When its first byte was read, by the machine's clock.
    pub at: SystemTime,
    pub stream: Stream,
    pub bytes: Vec<u8>,
}

/// Some of the output, from an offset on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excerpt {
    /// In order of their offsets; where one does not begin at the end of the one before, what lay between was dropped.
    pub pieces: Vec<Piece>,
    /// Where to go on reading.
    pub next: u64,
    /// Bytes written so far.
    pub total: u64,
    /// Bytes dropped so far. Not 0: truncated.
    pub dropped: u64,
    /// Nothing more will come.
    pub is_complete: bool,
}

/// The log of one instance.
#[derive(Debug)]
pub struct Output {
    log: Mutex<Log>,
    total: watch::Sender<u64>,
}

#[derive(Debug)]
struct Log {
    size: OutputSize,
    head: Vec<Piece>,
    head_cost: usize,
    tail: VecDeque<Piece>,
    tail_cost: usize,
    total: u64,
    dropped: u64,
    is_complete: bool,
}

impl Output {
    #[must_use]
    pub fn new(size: OutputSize) -> Self {
        let log = Log {
            size,
            head: Vec::new(),
            head_cost: 0,
            tail: VecDeque::new(),
            tail_cost: 0,
            total: 0,
            dropped: 0,
            is_complete: false,
        };
        Self { log: Mutex::new(log), total: watch::Sender::new(0) }
    }

    pub(crate) fn push(&self, stream: Stream, bytes: &[u8], at: SystemTime) {
        let mut log = self.log();
        log.push(stream, bytes, at);
        let total = log.total;
        drop(log);
        self.total.send_replace(total);
    }

    pub(crate) fn complete(&self) {
        self.log().is_complete = true;
        self.total.send_modify(|_| {});
    }

    /// What is kept from `offset` on, at most `bytes_max` bytes of it (one piece at least).
    #[must_use]
    pub fn read(&self, offset: u64, bytes_max: usize) -> Excerpt {
        self.log().read(offset, bytes_max)
    }

    /// Everything that is kept.
    #[must_use]
    pub fn read_all(&self) -> Excerpt {
        self.read(0, usize::MAX)
    }

    /// Follows the number of bytes written; it changes, or is marked as changed, whenever there is more to read and once
    /// at the end.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.total.subscribe()
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Excerpt {
    /// The bytes of one stream, put together.
    #[must_use]
    pub fn of(&self, stream: Stream) -> Vec<u8> {
        let pieces = self.pieces.iter().filter(|piece| piece.stream == stream);
        pieces.flat_map(|piece| piece.bytes.iter().copied()).collect()
    }
}

impl Piece {
    fn cost(&self) -> usize {
        self.bytes.len() + PIECE_BYTES
    }

    fn end(&self) -> u64 {
        self.offset + self.bytes.len() as u64
    }

    fn takes(&self, stream: Stream, offset: u64, at: SystemTime) -> bool {
        let is_near = at.duration_since(self.at).is_ok_and(|age| age < PIECE_DURATION_MAX);
        self.stream == stream && self.end() == offset && is_near && self.bytes.len() < PIECE_LENGTH_MAX
    }

    /// The piece without what lies before `offset`.
    fn from(&self, offset: u64) -> Self {
        let skipped = usize::try_from(offset.saturating_sub(self.offset)).unwrap_or(usize::MAX);
        let skipped = skipped.min(self.bytes.len());
        Self {
            offset: self.offset + skipped as u64,
            bytes: self.bytes[skipped..].to_vec(),
            at: self.at,
            stream: self.stream,
        }
    }
}

impl Log {
    fn push(&mut self, stream: Stream, bytes: &[u8], at: SystemTime) {
        let is_head_open = self.tail.is_empty() && self.dropped == 0;
        let offset = self.total;
        let continued = self.head.last_mut().filter(|last| last.takes(stream, offset, at));
        let begun = if continued.is_some() { 0 } else { PIECE_BYTES };
        let room = if is_head_open { self.size.head.saturating_sub(self.head_cost + begun) } else { 0 };
        let (first, rest) = bytes.split_at(room.min(bytes.len()));
        if !first.is_empty() {
            self.total += first.len() as u64;
            self.head_cost += first.len() + begun;
            match continued {
                Some(last) => last.bytes.extend_from_slice(first),
                None => self.head.push(Piece { offset, at, stream, bytes: first.to_vec() }),
            }
        }
        if !rest.is_empty() {
            self.push_tail(stream, rest, at);
        }
    }

    fn push_tail(&mut self, stream: Stream, bytes: &[u8], at: SystemTime) {
        let offset = self.total;
        self.total += bytes.len() as u64;
        match self.tail.back_mut() {
            Some(last) if last.takes(stream, offset, at) => {
                last.bytes.extend_from_slice(bytes);
                self.tail_cost += bytes.len();
            }
            _ => {
                let piece = Piece { offset, at, stream, bytes: bytes.to_vec() };
                self.tail_cost += piece.cost();
                self.tail.push_back(piece);
            }
        }
        while self.tail_cost > self.size.tail {
            let excess = self.tail_cost - self.size.tail;
            let Some(first) = self.tail.front_mut() else { break };
            if excess >= first.bytes.len() {
                self.dropped += first.bytes.len() as u64;
                self.tail_cost -= first.cost();
                self.tail.pop_front();
            } else {
                *first = first.from(first.offset + excess as u64);
                self.dropped += excess as u64;
                self.tail_cost -= excess;
            }
        }
    }

    fn read(&self, offset: u64, bytes_max: usize) -> Excerpt {
        let mut pieces = Vec::new();
        let mut left = bytes_max;
        let mut next = self.total.max(offset);
        for piece in self.head.iter().chain(&self.tail).filter(|piece| piece.end() > offset) {
            let mut piece = piece.from(offset);
            if left == 0 {
                next = pieces.last().map_or(offset, Piece::end);
                break;
            }
            if piece.bytes.len() > left {
                piece.bytes.truncate(left);
            }
            left -= piece.bytes.len();
            next = piece.end();
            pieces.push(piece);
        }
        if pieces.is_empty() || left > 0 {
            next = self.total.max(offset);
        }
        Excerpt { pieces, next, total: self.total, dropped: self.dropped, is_complete: self.is_complete }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: OutputSize = OutputSize { head: 100 + PIECE_BYTES, tail: 200 + PIECE_BYTES };

    fn at(milliseconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(milliseconds)
    }

    fn kept(output: &Output) -> Vec<(u64, usize)> {
        output.read_all().pieces.iter().map(|piece| (piece.offset, piece.bytes.len())).collect()
    }

    #[test]
    fn keeps_the_beginning_and_the_end_and_counts_the_rest() {
        let output = Output::new(SMALL);
        let bytes: Vec<u8> = (0..=255).cycle().take(1000).collect();
        for part in bytes.chunks(70) {
            output.push(Stream::Stdout, part, at(0));
        }
        let all = output.read_all();
        assert_eq!((all.total, all.dropped, all.next), (1000, 700, 1000));
        assert_eq!(all.of(Stream::Stdout), [&bytes[..100], &bytes[800..]].concat());
        assert_eq!(kept(&output), [(0, 100), (800, 200)]);
    }

    #[test]
    fn streams_and_times_stay_apart_and_small_writes_come_together() {
        let output = Output::new(OutputSize::default());
        output.push(Stream::Stdout, b"a", at(0));
        output.push(Stream::Stdout, b"b", at(10));
        output.push(Stream::Stderr, b"c", at(20));
        output.push(Stream::Stderr, b"d", at(200));
        assert_eq!(kept(&output), [(0, 2), (2, 1), (3, 1)]);
        assert_eq!(output.read_all().of(Stream::Stderr), b"cd");
    }

    #[test]
    fn single_bytes_of_two_streams_cost_no_more_than_the_size() {
        let output = Output::new(OutputSize::default());
        for round in 0..100_000 {
            let stream = if round % 2 == 0 { Stream::Stdout } else { Stream::Stderr };
            output.push(stream, b"x", at(0));
        }
        let all = output.read_all();
        assert!(all.pieces.len() <= (256 << 10) / PIECE_BYTES, "{} pieces", all.pieces.len());
        assert_eq!(all.dropped + all.pieces.len() as u64, 100_000);
    }

    #[test]
    fn reads_on_from_where_it_stopped() {
        let output = Output::new(SMALL);
        output.push(Stream::Stdout, &[b'x'; 90], at(0));
        output.push(Stream::Stdout, &[b'y'; 90], at(1000));
        let first = output.read(0, 50);
        assert_eq!((first.next, first.pieces[0].bytes.len()), (50, 50));
        let second = output.read(first.next, 50);
        assert_eq!(second.next, 100);
        let last = output.read(second.next, 1000);
        assert_eq!((last.next, last.of(Stream::Stdout)), (180, vec![b'y'; 80]));
        assert_eq!(output.read(180, 10).pieces, []);
        assert_eq!(output.read(180, 10).next, 180);
    }
}
