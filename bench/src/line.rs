//! A TCP relay that holds all its connections together to one rate and counts what they carried to the client.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Result;

const PIECE: usize = 64 << 10;

pub(crate) struct Line {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    target: SocketAddr,
    bytes_per_second: u64,
    /// When the line has carried all that it has accepted.
    free_at: Mutex<Instant>,
    carried: AtomicU64,
    is_closed: AtomicBool,
}

impl Line {
    pub(crate) fn start(target: SocketAddr, bytes_per_second: u64) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            target,
            bytes_per_second,
            free_at: Mutex::new(Instant::now()),
            carried: AtomicU64::new(0),
            is_closed: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if accepting.is_closed.load(Ordering::Relaxed) {
                    return;
                }
                if let Ok(client) = client {
                    let shared = Arc::clone(&accepting);
                    // A connection that breaks is the client's affair: that is what is measured.
                    std::thread::spawn(move || shared.serve(&client));
                }
            }
        });
        Ok(Self { address, shared })
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    /// Bytes handed to clients so far, heads included.
    pub(crate) fn carried(&self) -> u64 {
        self.shared.carried.load(Ordering::Relaxed)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.shared.is_closed.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn serve(&self, client: &TcpStream) -> io::Result<()> {
        // A small buffer of our own: what is in it when a client dies is counted as carried.
        rustix::net::sockopt::set_socket_send_buffer_size(client, PIECE)?;
        let server = TcpStream::connect(self.target)?;
        let (mut requests, mut to_server) = (client.try_clone()?, server.try_clone()?);
        std::thread::spawn(move || {
            let _ = io::copy(&mut requests, &mut to_server);
            let _ = to_server.shutdown(Shutdown::Both);
        });
        let carried = self.carry(&server, client);
        let _ = client.shutdown(Shutdown::Both);
        let _ = server.shutdown(Shutdown::Both);
        carried
    }

    fn carry(&self, mut server: &TcpStream, mut client: &TcpStream) -> io::Result<()> {
        let mut piece = vec![0; PIECE];
        loop {
            let count = server.read(&mut piece)?;
            if count == 0 {
                return Ok(());
            }
            std::thread::sleep(self.reserve(count as u64));
            client.write_all(&piece[..count])?;
            self.carried.fetch_add(count as u64, Ordering::Relaxed);
        }
    }

    /// Takes its place on the line and returns how long to wait for it.
    fn reserve(&self, count: u64) -> Duration {
        let takes = Duration::from_nanos(count * 1_000_000_000 / self.bytes_per_second);
        let mut free_at = self.free_at.lock().expect("nothing panics while it holds the line");
        let now = Instant::now();
        *free_at = (*free_at).max(now) + takes;
        *free_at - now
    }
}
