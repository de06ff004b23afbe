//! A slow link: a TCP relay with delay and rate.
//!
//! It carries bytes, not packets, so it cannot lose any: a loss that TCP would notice needs the packets of
//! [`crate::netns`]. What it does show is a long, thin path with a buffer of its own.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::hostile::Gate;

/// Bytes that may be under way in one direction.
const IN_FLIGHT_MAX: usize = 4 << 20;

/// What the link is like, in each direction.
#[derive(Debug, Clone, Copy)]
pub struct Link {
    pub delay: Duration,
    /// Bytes per second over all connections of one direction; `None` is unlimited.
    pub rate: Option<u64>,
}

/// A running relay; gone when dropped, with its connections.
pub struct Relay {
    address: SocketAddr,
    stop: Gate,
    state: Arc<State>,
    acceptor: Option<JoinHandle<()>>,
}

struct State {
    link: Mutex<Link>,
    /// When the line of each direction is free again.
    free_at: [Mutex<Instant>; 2],
    live: Mutex<Vec<TcpStream>>,
    is_cut: Mutex<bool>,
    /// Bytes that came from clients.
    received: AtomicU64,
}

/// Bytes on their way in one direction of one connection.
#[derive(Default)]
struct Pipe {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    /// With the instant at which they come out; an empty piece is the end.
    pieces: VecDeque<(Instant, Vec<u8>)>,
    bytes: usize,
    is_broken: bool,
}

impl Relay {
    /// Listens on a free loopback port and connects every client to `target` over `link`.
    ///
    /// # Panics
    /// No port is free.
    #[must_use]
    pub fn start(target: SocketAddr, link: Link) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port is free");
        let address = listener.local_addr().expect("a bound socket has an address");
        let now = Instant::now();
        let state = Arc::new(State {
            link: Mutex::new(link),
            free_at: [Mutex::new(now), Mutex::new(now)],
            live: Mutex::default(),
            is_cut: Mutex::new(false),
            received: AtomicU64::new(0),
        });
        let stop = Gate::new();
        let acceptor = std::thread::spawn({
            let (state, stop) = (Arc::clone(&state), stop.clone());
            move || {
                while let Ok((client, _)) = listener.accept() {
                    if stop.is_open() {
                        return;
                    }
                    state.connect(&client, target);
                }
            }
        });
        Self { address, stop, state, acceptor: Some(acceptor) }
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Bytes that clients have sent so far, with all that belongs to their protocol.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.state.received.load(Ordering::Relaxed)
    }

    pub fn set_link(&self, link: Link) {
        *self.state.link.lock().expect("a link is only copied") = link;
    }

    /// Refuses new connections and breaks the live ones, until the link is joined again.
    pub fn cut(&self) {
        *self.state.is_cut.lock().expect("a flag cannot break") = true;
        self.state.drop_connections();
    }

    pub fn join(&self) {
        *self.state.is_cut.lock().expect("a flag cannot break") = false;
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.open();
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
        self.state.drop_connections();
    }
}

impl State {
    fn connect(self: &Arc<Self>, client: &TcpStream, target: SocketAddr) {
        if *self.is_cut.lock().expect("a flag cannot break") {
            return;
        }
        let Ok(server) = TcpStream::connect(target) else { return };
        let clones = [client, &server].map(TcpStream::try_clone);
        let [Ok(client_too), Ok(server_too)] = clones else { return };
        self.live.lock().expect("the list is only edited").extend([client_too, server_too]);
        for (direction, from, to) in [(0, client, &server), (1, &server, client)] {
            let (Ok(mut from), Ok(mut to)) = (from.try_clone(), to.try_clone()) else { return };
            let pipe = Arc::new(Pipe::default());
            let (state, entry) = (Arc::clone(self), Arc::clone(&pipe));
            std::thread::spawn(move || state.take_in(direction, &mut from, &entry));
            std::thread::spawn(move || pipe.put_out(&mut to));
        }
    }

    fn take_in(&self, direction: usize, from: &mut TcpStream, pipe: &Pipe) {
        let mut buffer = vec![0; 16 << 10];
        loop {
            let count = from.read(&mut buffer).unwrap_or(0);
            if direction == 0 {
                self.received.fetch_add(count as u64, Ordering::Relaxed);
            }
            let due = self.due(direction, count);
            if !pipe.push(due, buffer[..count].to_vec()) || count == 0 {
                return;
            }
        }
    }

    /// When bytes taken in now come out at the other end.
    fn due(&self, direction: usize, bytes: usize) -> Instant {
        let link = *self.link.lock().expect("a link is only copied");
        let mut free_at = self.free_at[direction].lock().expect("an instant is only copied");
        let start = (*free_at).max(Instant::now());
        let on_the_line = link
            .rate
            .map_or(Duration::ZERO, |rate| Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64));
        *free_at = start + on_the_line;
        *free_at + link.delay
    }

    fn drop_connections(&self) {
        for stream in self.live.lock().expect("the list is only edited").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Pipe {
    /// Waits for room; false when the other end is gone.
    fn push(&self, due: Instant, bytes: Vec<u8>) -> bool {
        let mut queue = self.queue.lock().expect("a queue is only edited");
        while queue.bytes > IN_FLIGHT_MAX && !queue.is_broken {
            queue = self.changed.wait(queue).expect("a queue is only edited");
        }
        queue.bytes += bytes.len();
        queue.pieces.push_back((due, bytes));
        self.changed.notify_all();
        !queue.is_broken
    }

    fn put_out(&self, to: &mut TcpStream) {
        loop {
            let (due, bytes) = self.next();
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            if bytes.is_empty() || to.write_all(&bytes).is_err() {
                let _ = to.shutdown(Shutdown::Write);
                self.queue.lock().expect("a queue is only edited").is_broken = true;
                self.changed.notify_all();
                return;
            }
        }
    }

    fn next(&self) -> (Instant, Vec<u8>) {
        let mut queue = self.queue.lock().expect("a queue is only edited");
        loop {
            if let Some((due, bytes)) = queue.pieces.pop_front() {
                queue.bytes -= bytes.len();
                self.changed.notify_all();
                return (due, bytes);
            }
            queue = self.changed.wait(queue).expect("a queue is only edited");
        }
    }
}
