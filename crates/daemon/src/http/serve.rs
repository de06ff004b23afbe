//! Connections: accepted up to a number, each HTTP/1.1 or h2c, ended gracefully when the service stops.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::Request;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use longhaul_contract::{ErrorCode, Problem};
use longhaul_host::peer::Peer;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, watch};
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::identity::Line;
use crate::metrics::{Counted, Metrics};

/// Bytes of the request line and all headers together.
const HEAD_BYTES_MAX: usize = 64 << 10;
const HEADERS_MAX: usize = 100;
const STREAMS_PER_CONNECTION: u32 = 128;

/// Between attempts to accept while descriptors are short.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A listening socket.
pub(crate) enum Door {
    Unix(UnixListener),
    Tcp(TcpListener),
}

impl Door {
    /// The address, of a door on TCP.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Unix(_) => None,
            Self::Tcp(listener) => listener.local_addr().ok(),
        }
    }
}

/// What every connection is served with.
pub(crate) struct House {
    router: Router,
    metrics: Arc<Metrics>,
    room: Arc<Semaphore>,
    /// For a request's head to arrive, and for the next request of an idle connection to begin.
    head_timeout: Duration,
    stopping: watch::Receiver<bool>,
    connections: TaskTracker,
}

/// Serves all doors until `stopping` says so; then resolves when the last connection has ended.
pub(crate) async fn serve(
    doors: Vec<Door>,
    router: Router,
    metrics: Arc<Metrics>,
    connections_max: usize,
    head_timeout: Duration,
    stopping: watch::Receiver<bool>,
) {
    let house = Arc::new(House {
        router,
        metrics,
        room: Arc::new(Semaphore::new(connections_max)),
        head_timeout,
        stopping,
        connections: TaskTracker::new(),
    });
    let doorways: Vec<_> =
        doors.into_iter().map(|door| tokio::spawn(stand_at(door, Arc::clone(&house)))).collect();
    for doorway in doorways {
        if let Err(error) = doorway.await {
            tracing::error!(%error, "a listener failed");
        }
    }
    house.connections.close();
    house.connections.wait().await;
}

async fn stand_at(door: Door, house: Arc<House>) {
    let mut stopping = house.stopping.clone();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stopping.wait_for(|stops| *stops) => return,
            accepted = accept(&door) => accepted,
        };
        match accepted {
            Ok((Stream::Unix(stream), line)) => house.admit(stream, line),
            Ok((Stream::Tcp(stream), line)) => house.admit(stream, line),
            // The peer was gone before it was let in.
            Err(error) if is_of_one_peer(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

enum Stream {
    Unix(tokio::net::UnixStream),
    Tcp(tokio::net::TcpStream),
}

async fn accept(door: &Door) -> io::Result<(Stream, Line)> {
    match door {
        Door::Unix(listener) => {
            let (stream, _) = listener.accept().await?;
            let line = Line::unix(Peer::of(&stream)?);
            Ok((Stream::Unix(stream), line))
        }
        Door::Tcp(listener) => {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            Ok((Stream::Tcp(stream), Line::Tcp))
        }
    }
}

fn is_of_one_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, InvalidInput, NotConnected};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | InvalidInput | NotConnected
    )
}

impl House {
    fn admit<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(self: &Arc<Self>, stream: S, line: Line) {
        let house = Arc::clone(self);
        match Arc::clone(&self.room).try_acquire_owned() {
            Ok(permit) => self.connections.spawn(async move {
                let _counted = Counted::new(&house.metrics.connections);
                house.talk(stream, Arc::new(line)).await;
                drop(permit);
            }),
            Err(_) => self.connections.spawn(turn_away(stream)),
        };
    }

    async fn talk<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(&self, stream: S, line: Arc<Line>) {
        let router = self.router.clone();
        let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(Arc::clone(&line));
            router.clone().oneshot(request)
        });
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(self.head_timeout)
            .max_headers(HEADERS_MAX)
            .max_buf_size(HEAD_BYTES_MAX)
            .http2()
            .timer(TokioTimer::new())
            .max_header_list_size(u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX))
            .max_concurrent_streams(STREAMS_PER_CONNECTION);
        let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
        let mut stopping = self.stopping.clone();
        let stops = async move { stopping.wait_for(|stops| *stops).await.is_ok() };
        let result = tokio::select! {
            result = connection.as_mut() => result,
            _ = stops => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = result {
            tracing::debug!(%error, "a connection broke off");
        }
    }
}

/// One connection too many hears why before it is closed.
async fn turn_away<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) {
    let problem = Problem::new(ErrorCode::TooManyRequests, "too many connections are open");
    let body = serde_json::to_string(&problem).expect("a problem is plain data");
    let head = format!(
        "HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/problem+json\r\nContent-Length: {}\r\n\
         Retry-After: 1\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let written = async {
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body.as_bytes()).await?;
        stream.shutdown().await
    };
    // Whoever does not read the refusal loses it.
    let _ = tokio::time::timeout(Duration::from_secs(1), written).await;
}
