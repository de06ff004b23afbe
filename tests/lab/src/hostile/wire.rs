//! One connection, with everything a peer can do to it.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::{Gate, Shared};

/// Longest pause between two looks at whether the client has gone.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// Writes of a paced connection happen this often.
const PACE_INTERVAL: Duration = Duration::from_millis(20);

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ServerConnection, TcpStream>>),
    Closed,
}

/// A connection as a script sees it. Write errors do not panic: they make it *broken*, which scripts may ask.
pub struct Wire {
    stream: Stream,
    pub(crate) shared: Arc<Shared>,
    /// From 0, in the order of acceptance.
    pub number: usize,
    unread: Vec<u8>,
    is_broken: bool,
    pace: Option<u64>,
}

impl Wire {
    pub(crate) fn new(
        stream: TcpStream,
        number: usize,
        tls: Option<&Arc<ServerConfig>>,
        shared: &Arc<Shared>,
    ) -> Option<Self> {
        let _ = stream.set_nodelay(true);
        shared.add_live(number, stream.try_clone().ok()?);
        let stream = match tls {
            None => Stream::Plain(stream),
            Some(config) => {
                let session =
                    ServerConnection::new(Arc::clone(config)).expect("the lab's TLS set-up is sound");
                Stream::Tls(Box::new(StreamOwned::new(session, stream)))
            }
        };
        Some(Self {
            stream,
            shared: Arc::clone(shared),
            number,
            unread: Vec::new(),
            is_broken: false,
            pace: None,
        })
    }

    pub(crate) fn handshake(&mut self) -> bool {
        let Stream::Tls(stream) = &mut self.stream else { return true };
        while stream.conn.is_handshaking() {
            if stream.conn.complete_io(&mut stream.sock).is_err() {
                let _ = stream.conn.write_tls(&mut stream.sock);
                self.shared.handshake_failed();
                self.is_broken = true;
                return false;
            }
        }
        true
    }

    /// The protocol chosen by ALPN.
    #[must_use]
    pub fn protocol(&self) -> Option<String> {
        match &self.stream {
            Stream::Tls(stream) => {
                stream.conn.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned())
            }
            Stream::Plain(_) | Stream::Closed => None,
        }
    }

    /// Whether the client has gone or the connection was closed by the script.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// Bytes per second of this connection from now on, in place of the server's pace.
    pub fn set_pace(&mut self, bytes_per_second: Option<u64>) {
        self.pace = bytes_per_second;
    }

    /// Writes all of `bytes`, at the pace of the connection; `written` hears of each piece.
    pub fn write(&mut self, bytes: &[u8], mut written: impl FnMut(usize)) {
        let mut rest = bytes;
        while !rest.is_empty() && !self.is_broken {
            let begun = Instant::now();
            let pace = self.pace.or(*self.shared.pace.lock().expect("a pace is only copied"));
            let share = pace.map_or(rest.len() as u64, |rate| (rate * 20 / 1_000).max(1));
            let count = rest.len().min(usize::try_from(share).unwrap_or(usize::MAX));
            let (now, later) = rest.split_at(count);
            let outcome = self.write_now(now);
            self.is_broken |= outcome.is_err();
            if outcome.is_ok() {
                written(count);
            }
            rest = later;
            if let Some(rate) = pace {
                let due = Duration::from_secs_f64(count as f64 / rate.max(1) as f64);
                self.pause(due.saturating_sub(begun.elapsed()));
            }
        }
    }

    fn write_now(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Plain(stream) => stream.write_all(bytes),
            Stream::Tls(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
            Stream::Closed => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// More bytes from the client; empty at its end.
    pub fn read(&mut self) -> Vec<u8> {
        if !self.unread.is_empty() {
            return std::mem::take(&mut self.unread);
        }
        let mut buffer = vec![0; 1 << 16];
        let count = match &mut self.stream {
            Stream::Plain(stream) => stream.read(&mut buffer),
            Stream::Tls(stream) => stream.read(&mut buffer),
            Stream::Closed => Ok(0),
        };
        buffer.truncate(count.unwrap_or(0));
        self.is_broken |= buffer.is_empty();
        buffer
    }

    /// Reads up to and without the next empty line; `None` when the client ends first.
    pub fn read_head(&mut self) -> Option<Vec<u8>> {
        let mut head = Vec::new();
        loop {
            if let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") {
                self.unread = head.split_off(end + 4);
                head.truncate(end);
                return Some(head);
            }
            let more = self.read();
            if more.is_empty() || head.len() > 1 << 20 {
                return None;
            }
            head.extend(more);
        }
    }

    /// More bytes from the client, at most so many; empty at its end.
    pub fn read_at_most(&mut self, most: usize) -> Vec<u8> {
        let mut piece = self.read();
        if piece.len() > most {
            self.unread = piece.split_off(most);
        }
        piece
    }

    /// Reads exactly `length` bytes, fewer at the client's end.
    pub fn read_exactly(&mut self, length: usize) -> Vec<u8> {
        let mut body = Vec::new();
        while body.len() < length {
            let more = self.read();
            if more.is_empty() {
                return body;
            }
            body.extend(more);
        }
        self.unread = body.split_off(length);
        body
    }

    /// Does nothing for `time`; less when the server stops.
    pub fn pause(&self, time: Duration) {
        if !time.is_zero() {
            self.shared.stop.wait_for(time);
        }
    }

    /// Waits until the gate is open, the client has gone or the server stops. Nothing is sent meanwhile.
    pub fn hold(&mut self, gate: &Gate) {
        while !gate.wait_for(LOOK_AGAIN) && !self.shared.stop.is_open() {
            if self.has_client_gone() {
                self.is_broken = true;
                return;
            }
        }
    }

    /// Whether the client closed its side within `time`.
    pub fn wait_for_disconnect(&mut self, time: Duration) -> bool {
        let end = Instant::now() + time;
        while !self.has_client_gone() {
            if Instant::now() > end || self.shared.stop.is_open() {
                return false;
            }
            self.pause(LOOK_AGAIN);
        }
        self.is_broken = true;
        true
    }

    fn has_client_gone(&self) -> bool {
        let socket = match &self.stream {
            Stream::Plain(stream) => stream,
            Stream::Tls(stream) => &stream.sock,
            Stream::Closed => return true,
        };
        let mut descriptors = [PollFd::new(socket, PollFlags::RDHUP)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut descriptors, Some(&now)).is_ok()
            && descriptors[0].revents().intersects(PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR)
    }

    /// Ends in order: close_notify where there is TLS, then FIN.
    pub fn close(&mut self) {
        if let Stream::Tls(stream) = &mut self.stream {
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
        self.close_without_notify();
    }

    /// FIN, without a close_notify before it (RFC 9112 section 9.8).
    pub fn close_without_notify(&mut self) {
        if let Some(socket) = self.take_socket() {
            let _ = socket.shutdown(Shutdown::Write);
            // A close with unread bytes would become a reset: take what the client still sends.
            let _ = socket.set_read_timeout(Some(PACE_INTERVAL));
            let _ = (&socket).read(&mut [0; 4096]);
        }
    }

    /// RST in place of FIN; what the client has not read yet is lost.
    pub fn reset(&mut self) {
        if let Some(socket) = self.take_socket() {
            let _ = rustix::net::sockopt::set_socket_linger(&socket, Some(Duration::ZERO));
        }
    }

    fn take_socket(&mut self) -> Option<TcpStream> {
        self.is_broken = true;
        self.shared.remove_live(self.number);
        match std::mem::replace(&mut self.stream, Stream::Closed) {
            Stream::Plain(stream) => Some(stream),
            Stream::Tls(stream) => Some(stream.sock),
            Stream::Closed => None,
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if matches!(self.stream, Stream::Closed) {
            return;
        }
        self.close();
    }
}
