//! A forward proxy that writes down whatever it is given: requests that it forwards, and CONNECT.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

use crate::digest::DigestDesk;
use crate::hostile::Request;
use crate::hostile::http2::listen;

/// Bytes of the head of a request.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// What the proxy wants of its clients.
pub enum Entry {
    Open,
    /// The value of Proxy-Authorization.
    Basic(String),
    Digest(DigestDesk),
    /// Challenges that nobody answers, or a refusal of another kind: the whole answer.
    Never(String),
}

/// A running proxy; gone when dropped.
pub struct Recorder {
    address: SocketAddr,
    is_tls: bool,
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
}

struct Shared {
    entry: Entry,
    seen: Mutex<Vec<Request>>,
}

trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

impl Recorder {
    /// With TLS to the proxy itself where there is a configuration for it.
    ///
    /// # Panics
    /// No port is free.
    #[must_use]
    pub fn start(entry: Entry, tls: Option<Arc<ServerConfig>>) -> Self {
        let (runtime, listener) = listen();
        let address = listener.local_addr().expect("a bound socket has an address");
        let is_tls = tls.is_some();
        let shared = Arc::new(Shared { entry, seen: Mutex::default() });
        let serving = Arc::clone(&shared);
        runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (shared, tls) = (Arc::clone(&serving), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => shared.serve(client).await,
                        Some(tls) => match tokio_rustls::TlsAcceptor::from(tls).accept(client).await {
                            Ok(client) => shared.serve(client).await,
                            Err(_) => None,
                        },
                    }
                });
            }
        });
        Self { address, is_tls, shared, runtime: Some(runtime) }
    }

    /// The address as a client names it.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.is_tls { "https" } else { "http" };
        format!("{scheme}://localhost:{}", self.address.port())
    }

    /// All requests so far, in order; of those by CONNECT only the CONNECT.
    ///
    /// # Panics
    /// Never: nobody panics while the list is held.
    #[must_use]
    pub fn seen(&self) -> Vec<Request> {
        self.shared.seen.lock().expect("the list is only edited").clone()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Shared {
    /// One request of one connection; what goes wrong ends it.
    async fn serve(&self, mut client: impl Duplex) -> Option<()> {
        let mut bytes = Vec::new();
        let end = loop {
            if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                break at;
            }
            if bytes.len() > HEAD_BYTES_MAX || client.read_buf(&mut bytes).await.ok()? == 0 {
                return None;
            }
        };
        let rest = bytes.split_off(end + 4);
        let request = Request::parse(&bytes[..end], 0, 0)?;
        self.seen.lock().expect("the list is only edited").push(request.clone());
        if let Some(refusal) = self.refusal(&request) {
            client.write_all(refusal.as_bytes()).await.ok()?;
            return client.shutdown().await.ok();
        }
        let mut server = self.connect(&request).await?;
        if request.method == "CONNECT" {
            client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.ok()?;
        } else {
            server.write_all(&forwarded(&request)).await.ok()?;
        }
        server.write_all(&rest).await.ok()?;
        tokio::io::copy_bidirectional(&mut client, &mut server).await.ok().map(drop)
    }

    fn refusal(&self, request: &Request) -> Option<String> {
        const FIELD: &str = "Proxy-Authorization";
        let challenge = match &self.entry {
            Entry::Open => return None,
            Entry::Basic(wanted) if request.header(FIELD) == Some(wanted) => return None,
            Entry::Digest(desk) if desk.accepts(request, FIELD) => return None,
            Entry::Basic(_) => "Basic realm=\"lab\"".to_owned(),
            Entry::Digest(desk) => desk.challenge(),
            Entry::Never(answer) => return Some(answer.clone()),
        };
        Some(format!(
            "HTTP/1.1 407 Who\r\nProxy-Authenticate: {challenge}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        ))
    }

    async fn connect(&self, request: &Request) -> Option<TcpStream> {
        let target = request.target.strip_prefix("http://").unwrap_or(&request.target);
        let authority = target.split('/').next()?;
        TcpStream::connect(authority).await.ok()
    }
}

/// The request as the server gets it: the path alone, for one connection, without what was for the proxy.
fn forwarded(request: &Request) -> Vec<u8> {
    let rest = request.target.strip_prefix("http://").unwrap_or(&request.target);
    let path = rest.find('/').map_or("/", |at| &rest[at..]);
    let mut text = format!("{} {path} HTTP/1.1\r\nConnection: close\r\n", request.method);
    for (name, value) in &request.headers {
        if !name.to_ascii_lowercase().starts_with("proxy-") {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    text.push_str("\r\n");
    text.into_bytes()
}
