//! A server that can misbehave in every way HTTP/1.1 and TLS allow, and in some they do not.
//!
//! A script sees each request and says byte for byte what happens next. Every connection has a thread of its own,
//! so a script may block; gates, pauses and pacing end at once when the server is dropped.

mod exchange;
mod gate;
pub mod http2;
mod request;
mod resource;
mod response;
mod wire;

use std::collections::HashMap;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustls::ServerConfig;

pub use self::exchange::Exchange;
pub use self::gate::Gate;
pub use self::request::Request;
pub use self::resource::Resource;
pub use self::response::{Body, Cut, Response};
pub use self::wire::Wire;
use crate::tls::Identity;

type RequestScript = dyn Fn(&mut Exchange<'_>) + Send + Sync;
type WireScript = dyn Fn(&mut Wire) + Send + Sync;

/// Where a server listens and whether it speaks TLS.
#[derive(Default)]
pub struct ServerBuilder {
    address: Option<SocketAddr>,
    tls: Option<Arc<ServerConfig>>,
    pace: Option<u64>,
}

/// A running server. Dropping it closes its port and all its connections.
pub struct Server {
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
    is_tls: bool,
}

/// What all connections of one server share.
pub(crate) struct Shared {
    address: SocketAddr,
    pub(crate) stop: Gate,
    pub(crate) pace: Mutex<Option<u64>>,
    log: Mutex<Vec<Request>>,
    logged: Condvar,
    live: Mutex<HashMap<usize, TcpStream>>,
    connections: AtomicUsize,
    failed_handshakes: AtomicUsize,
}

impl ServerBuilder {
    /// Listen on exactly this address, as a server does that comes back after an outage.
    #[must_use]
    pub fn at(mut self, address: SocketAddr) -> Self {
        self.address = Some(address);
        self
    }

    #[must_use]
    pub fn tls(self, identity: &Identity) -> Self {
        self.tls_with(identity.server_config(&["http/1.1"]))
    }

    #[must_use]
    pub fn tls_with(mut self, config: Arc<ServerConfig>) -> Self {
        self.tls = Some(config);
        self
    }

    /// Bytes per second of each connection.
    #[must_use]
    pub fn pace(mut self, bytes_per_second: u64) -> Self {
        self.pace = Some(bytes_per_second);
        self
    }

    /// Runs `script` for every request.
    #[must_use]
    pub fn start(self, script: impl Fn(&mut Exchange<'_>) + Send + Sync + 'static) -> Server {
        let script: Arc<RequestScript> = Arc::new(script);
        self.start_raw(move |wire| exchange::serve(wire, &*script))
    }

    /// Runs `script` for every connection, after the TLS handshake where there is one.
    ///
    /// # Panics
    /// The address is taken.
    #[must_use]
    pub fn start_raw(self, script: impl Fn(&mut Wire) + Send + Sync + 'static) -> Server {
        let address = self.address.unwrap_or_else(|| (Ipv4Addr::LOCALHOST, 0).into());
        let listener =
            TcpListener::bind(address).unwrap_or_else(|e| panic!("cannot listen on {address}: {e}"));
        let shared = Arc::new(Shared {
            address: listener.local_addr().expect("a bound socket has an address"),
            stop: Gate::new(),
            pace: Mutex::new(self.pace),
            log: Mutex::default(),
            logged: Condvar::new(),
            live: Mutex::default(),
            connections: AtomicUsize::new(0),
            failed_handshakes: AtomicUsize::new(0),
        });
        let is_tls = self.tls.is_some();
        let acceptor = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared, self.tls.as_ref(), &(Arc::new(script) as Arc<WireScript>))
        });
        Server { shared, acceptor: Some(acceptor), is_tls }
    }
}

fn accept(
    listener: &TcpListener,
    shared: &Arc<Shared>,
    tls: Option<&Arc<ServerConfig>>,
    script: &Arc<WireScript>,
) {
    while !shared.stop.is_open() {
        let Ok((stream, _)) = listener.accept() else {
            // Out of descriptors or told to stop; the stop flag ends the loop.
            shared.stop.wait_for(Duration::from_millis(10));
            continue;
        };
        let number = shared.connections.fetch_add(1, Ordering::SeqCst);
        let Some(mut wire) = Wire::new(stream, number, tls, shared) else { continue };
        let script = Arc::clone(script);
        std::thread::spawn(move || {
            if wire.handshake() {
                script(&mut wire);
            }
        });
    }
}

impl Server {
    #[must_use]
    pub fn build() -> ServerBuilder {
        ServerBuilder::default()
    }

    /// A server without TLS that runs `script` for every request.
    #[must_use]
    pub fn start(script: impl Fn(&mut Exchange<'_>) + Send + Sync + 'static) -> Self {
        Self::build().start(script)
    }

    /// A well-behaved server of one file at every path.
    #[must_use]
    pub fn of(resource: Resource) -> Self {
        Self::start(move |exchange| exchange.respond(resource.answer(&exchange.request)))
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.shared.address
    }

    #[must_use]
    pub fn url(&self, path: &str) -> String {
        let port = self.shared.address.port();
        if self.is_tls {
            format!("https://localhost:{port}{path}")
        } else {
            format!("http://127.0.0.1:{port}{path}")
        }
    }

    /// Every request so far, in the order of arrival.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.shared.log.lock().expect("no script panics with the log").clone()
    }

    /// Waits until `count` requests have arrived.
    #[track_caller]
    pub fn wait_for_requests(&self, count: usize, deadline: Duration) -> Vec<Request> {
        let end = Instant::now() + deadline;
        let mut log = self.shared.log.lock().expect("no script panics with the log");
        while log.len() < count {
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{} of {count} requests arrived within {deadline:?}", log.len());
            log = self.shared.logged.wait_timeout(log, left).expect("no script panics with the log").0;
        }
        log.clone()
    }

    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    #[must_use]
    pub fn failed_handshakes(&self) -> usize {
        self.shared.failed_handshakes.load(Ordering::SeqCst)
    }

    /// Body bytes handed to the kernel over all requests; what was under way when a client let go counts.
    #[must_use]
    pub fn body_bytes_sent(&self) -> u64 {
        self.requests().iter().map(Request::body_sent).sum()
    }

    /// Changes the pace of all connections, also live ones; `None` is unlimited.
    pub fn set_pace(&self, bytes_per_second: Option<u64>) {
        *self.shared.pace.lock().expect("a pace is only copied") = bytes_per_second;
    }

    /// Breaks all live connections; new ones are still accepted.
    pub fn drop_connections(&self) {
        self.shared.drop_connections();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stop.open();
        self.shared.drop_connections();
        // Wakes `accept`, which then sees the stop flag.
        let _ = TcpStream::connect_timeout(&self.shared.address, Duration::from_secs(1));
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

impl Shared {
    /// Numbers the request and keeps it.
    pub(crate) fn log(&self, mut request: Request) -> Request {
        let mut log = self.log.lock().expect("no script panics with the log");
        request.number = log.len();
        log.push(request.clone());
        self.logged.notify_all();
        request
    }

    pub(crate) fn handshake_failed(&self) {
        self.failed_handshakes.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn add_live(&self, number: usize, stream: TcpStream) {
        self.live.lock().expect("the list is only edited").insert(number, stream);
        if self.stop.is_open() {
            self.drop_connections();
        }
    }

    pub(crate) fn remove_live(&self, number: usize) {
        self.live.lock().expect("the list is only edited").remove(&number);
    }

    fn drop_connections(&self) {
        for (_, stream) in self.live.lock().expect("the list is only edited").drain() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}
