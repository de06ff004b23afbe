//! The same over HTTP/2: a scripted server on the `h2` crate, over TLS or with prior knowledge.
//!
//! What breaks the framing itself is out of reach of that crate; [`super::ServerBuilder::start_raw`] with `h2` in
//! the ALPN list and frames written by hand does that.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue};
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use super::{Request, Response};
use crate::tls::Identity;

/// A thread for a server, and a free port of loopback.
///
/// # Panics
/// There is none.
pub(crate) fn listen() -> (Runtime, TcpListener) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime starts");
    let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
    (runtime, listener.expect("a loopback port is free"))
}

type Answering = Pin<Box<dyn Future<Output = ()> + Send>>;
type Script = Arc<dyn Fn(Exchange2) -> Answering + Send + Sync>;

/// A running HTTP/2 server; gone when dropped.
pub struct Server2 {
    address: SocketAddr,
    is_tls: bool,
    shared: Arc<Shared2>,
    runtime: Option<Runtime>,
}

#[derive(Default)]
struct Shared2 {
    log: Mutex<Vec<Request>>,
    connections: AtomicUsize,
}

enum Command {
    /// The request it drops, if its stream is open, is held until the connection ends: to let go of it would reset
    /// the stream first.
    GoAway(Reason, Option<SendResponse<Bytes>>),
    FinishUp,
    Break,
}

/// One request over HTTP/2.
pub struct Exchange2 {
    pub request: Request,
    response: SendResponse<Bytes>,
    commands: mpsc::UnboundedSender<Command>,
}

impl Server2 {
    /// With TLS and ALPN `h2` when there is an identity, else for clients with prior knowledge.
    ///
    /// # Panics
    /// No port is free.
    #[must_use]
    pub fn start<F, A>(identity: Option<&Identity>, script: F) -> Self
    where
        F: Fn(Exchange2) -> A + Send + Sync + 'static,
        A: Future<Output = ()> + Send + 'static,
    {
        let (runtime, listener) = listen();
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared2::default());
        let script: Script = Arc::new(move |exchange| Box::pin(script(exchange)));
        let tls = identity.map(|identity| identity.server_config(&["h2"]));
        let is_tls = tls.is_some();
        runtime.spawn(accept(listener, tls, Arc::clone(&shared), script));
        Self { address, is_tls, shared, runtime: Some(runtime) }
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    #[must_use]
    pub fn url(&self, path: &str) -> String {
        let port = self.address.port();
        if self.is_tls {
            format!("https://localhost:{port}{path}")
        } else {
            format!("http://127.0.0.1:{port}{path}")
        }
    }

    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.shared.log.lock().expect("the log is only appended to").clone()
    }

    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Server2 {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn accept(listener: TcpListener, tls: Option<Arc<ServerConfig>>, shared: Arc<Shared2>, script: Script) {
    while let Ok((stream, _)) = listener.accept().await {
        let number = shared.connections.fetch_add(1, Ordering::SeqCst);
        let (tls, shared, script) = (tls.clone(), Arc::clone(&shared), Arc::clone(&script));
        tokio::spawn(async move {
            match tls {
                None => serve(stream, number, &shared, &script).await,
                Some(config) => {
                    let acceptor = tokio_rustls::TlsAcceptor::from(config);
                    if let Ok(stream) = acceptor.accept(stream).await {
                        serve(stream, number, &shared, &script).await;
                    }
                }
            }
        });
    }
}

async fn serve<S>(stream: S, number: usize, shared: &Arc<Shared2>, script: &Script)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    let (sender, mut commands) = mpsc::unbounded_channel();
    let mut number_on_connection = 0;
    let mut dropped = Vec::new();
    loop {
        tokio::select! {
            accepted = connection.accept() => {
                let Some(Ok((request, response))) = accepted else { return };
                let request = shared.log(number, number_on_connection, &request);
                number_on_connection += 1;
                tokio::spawn(script(Exchange2 { request, response, commands: sender.clone() }));
            }
            command = commands.recv() => match command {
                Some(Command::GoAway(reason, response)) => {
                    dropped.extend(response);
                    connection.abrupt_shutdown(reason);
                }
                Some(Command::FinishUp) => connection.graceful_shutdown(),
                Some(Command::Break) | None => return,
            },
        }
    }
}

impl Shared2 {
    fn log<B>(&self, connection: usize, number_on_connection: usize, request: &http::Request<B>) -> Request {
        let headers = request.headers().iter();
        let mut log = self.log.lock().expect("the log is only appended to");
        let request = Request {
            number: log.len(),
            connection,
            number_on_connection,
            method: request.method().to_string(),
            target: request.uri().path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string),
            headers: headers
                .map(|(name, value)| {
                    (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
                })
                .collect(),
            body: Vec::new(),
            body_sent: Arc::default(),
        };
        log.push(request.clone());
        request
    }
}

impl Exchange2 {
    /// Answers in full; trailers of the response follow its body. Cuts and holds are for [`Self::begin`].
    pub async fn respond(self, response: Response) {
        let trailers = response.trailers.clone();
        let length = response.body.length();
        let Some(mut stream) = self.begin(&response, length).await else { return };
        if trailers.is_empty() {
            let _ = stream.send_data(Bytes::new(), true);
            return;
        }
        let trailers = trailers.iter().map(|(name, value)| header(name, value)).collect::<HeaderMap>();
        let _ = stream.send_trailers(trailers);
    }

    /// Sends the head and the first `limit` body bytes and leaves the stream open for whatever comes next.
    pub async fn begin(mut self, response: &Response, limit: u64) -> Option<Begun> {
        let mut head = http::Response::new(());
        *head.status_mut() = response.status.try_into().expect("a status of three digits");
        *head.headers_mut() = response.headers.iter().map(|(name, value)| header(name, value)).collect();
        if let super::response::Framing::Length(length) = response.framing {
            head.headers_mut().insert(http::header::CONTENT_LENGTH, length.into());
        }
        let mut stream = self.response.send_response(head, false).ok()?;
        let mut offset = 0;
        loop {
            let piece = response.body.read(offset, limit - offset);
            if piece.is_empty() {
                return Some(Begun { stream, commands: self.commands });
            }
            offset += piece.len() as u64;
            send(&mut stream, piece, &self.request).await?;
        }
    }

    /// RST_STREAM without an answer.
    pub fn reset(mut self, reason: Reason) {
        self.response.send_reset(reason);
    }

    /// GOAWAY that drops this request and all others of the connection.
    pub fn go_away(self, reason: Reason) {
        let _ = self.commands.send(Command::GoAway(reason, Some(self.response)));
    }
}

/// An answer of which a part was sent.
pub struct Begun {
    stream: SendStream<Bytes>,
    commands: mpsc::UnboundedSender<Command>,
}

impl Begun {
    fn send_data(&mut self, data: Bytes, is_last: bool) -> Result<(), h2::Error> {
        self.stream.send_data(data, is_last)
    }

    fn send_trailers(&mut self, trailers: HeaderMap) -> Result<(), h2::Error> {
        self.stream.send_trailers(trailers)
    }

    /// RST_STREAM in the middle of the body.
    pub fn reset(mut self, reason: Reason) {
        self.stream.send_reset(reason);
    }

    /// GOAWAY that breaks the body off.
    pub fn go_away(self, reason: Reason) {
        let _ = self.commands.send(Command::GoAway(reason, None));
    }

    /// GOAWAY without an error, after which the body goes on and ends at once.
    pub fn finish_up(mut self) {
        let _ = self.commands.send(Command::FinishUp);
        let _ = self.stream.send_data(Bytes::new(), true);
    }

    /// The TCP connection ends in the middle of the body.
    pub fn break_connection(self) {
        let _ = self.commands.send(Command::Break);
    }

    /// END_STREAM now, whatever length was announced.
    pub fn end(mut self) {
        let _ = self.stream.send_data(Bytes::new(), true);
    }
}

async fn send(stream: &mut SendStream<Bytes>, piece: Vec<u8>, request: &Request) -> Option<()> {
    let mut rest = Bytes::from(piece);
    while !rest.is_empty() {
        stream.reserve_capacity(rest.len());
        let granted = std::future::poll_fn(|context| stream.poll_capacity(context)).await?.ok()?;
        let now = rest.split_to(granted.min(rest.len()));
        request.count_sent(now.len());
        stream.send_data(now, false).ok()?;
    }
    Some(())
}

fn header(name: &str, value: &str) -> (HeaderName, HeaderValue) {
    let name = HeaderName::from_bytes(name.to_ascii_lowercase().as_bytes()).expect("a valid header name");
    (name, HeaderValue::from_bytes(value.as_bytes()).expect("a valid header value"))
}
