//! What the machine can do: receive in large pieces, and write them past the page cache in a second thread.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};

use anyhow::{Context, Result};

const PIECE: usize = 1 << 20;
const ALIGNMENT: usize = 4096;
const PIECES: usize = 4;

/// A buffer of [`PIECE`] bytes that begins on a page.
struct Piece {
    memory: Vec<u8>,
    start: usize,
    filled: usize,
    offset: u64,
}

impl Piece {
    fn new() -> Self {
        let memory = vec![0; PIECE + ALIGNMENT];
        let start = memory.as_ptr().align_offset(ALIGNMENT);
        Self { memory, start, filled: 0, offset: 0 }
    }

    fn room(&mut self, length: usize) -> &mut [u8] {
        &mut self.memory[self.start..self.start + length]
    }
}

pub(crate) fn receive(address: &str, path: &str, output: &Path) -> Result<()> {
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut reader = BufReader::with_capacity(16 << 10, stream);
    let total = read_length(&mut reader)?;
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .custom_flags(libc::O_DIRECT)
        .open(output)
        .with_context(|| format!("{} cannot be opened past the page cache", output.display()))?;
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, total)?;
    let (to_writer, filled) = channel::<Piece>();
    let (to_reader, free) = channel::<Piece>();
    for _ in 0..PIECES {
        to_reader.send(Piece::new())?;
    }
    std::thread::scope(|scope| {
        let file = &file;
        let writer = scope.spawn(move || write_pieces(file, &filled, &to_reader));
        let received = read_pieces(&mut reader, total, &free, to_writer);
        writer.join().expect("the writer does not panic").and(received)
    })?;
    file.set_len(total)?;
    file.sync_all()?;
    Ok(())
}

fn read_length(reader: &mut impl BufRead) -> Result<u64> {
    let mut length = None;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            if line.trim_end().is_empty() {
                break;
            }
            continue;
        };
        if name.eq_ignore_ascii_case("content-length") {
            length = Some(value.trim().parse()?);
        }
    }
    length.context("the answer has no length")
}

fn read_pieces(
    reader: &mut impl Read,
    total: u64,
    free: &Receiver<Piece>,
    full: Sender<Piece>,
) -> Result<()> {
    let mut offset = 0;
    while offset < total {
        let mut piece = free.recv().context("the writer gave up")?;
        let length = usize::try_from((total - offset).min(PIECE as u64))?;
        reader.read_exact(piece.room(length))?;
        (piece.filled, piece.offset) = (length, offset);
        offset += length as u64;
        full.send(piece).map_err(|_| anyhow::anyhow!("the writer gave up"))?;
    }
    drop(full);
    Ok(())
}

fn write_pieces(file: &File, full: &Receiver<Piece>, free: &Sender<Piece>) -> Result<()> {
    while let Ok(mut piece) = full.recv() {
        // The last piece is written up to its page; the file is cut to its length at the end.
        let length = piece.filled.next_multiple_of(ALIGNMENT);
        let offset = piece.offset;
        file.write_all_at(piece.room(length), offset)?;
        // The reader needs no more pieces once it has read everything.
        let _ = free.send(piece);
    }
    Ok(())
}
