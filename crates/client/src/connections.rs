//! Connections to the service: opened on demand, kept while idle, a few at most.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::{ClientError, Endpoint};

const IDLE_CONNECTIONS_MAX: usize = 8;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) type Connection = SendRequest<Full<Bytes>>;

/// A request that can be sent again on another connection.
pub(crate) struct Outgoing {
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) target: String,
    pub(crate) headers: Vec<(http::HeaderName, String)>,
    pub(crate) body: Bytes,
}

impl Outgoing {
    /// `GET /healthz`, for messages.
    pub(crate) fn name(&self) -> String {
        format!("{} {}", self.method, self.target)
    }

    fn request(&self) -> Result<Request<Full<Bytes>>, ClientError> {
        let mut builder = Request::builder().method(self.method.clone()).uri(&self.target);
        for (name, value) in &self.headers {
            builder = builder.header(name, value);
        }
        builder
            .body(Full::new(self.body.clone()))
            .map_err(|error| ClientError::Protocol { call: self.name(), detail: error.to_string() })
    }
}

#[derive(Debug)]
pub(crate) struct Connections {
    pub(crate) endpoint: Endpoint,
    idle: Mutex<Vec<Connection>>,
}

impl Connections {
    pub(crate) fn new(endpoint: Endpoint) -> Self {
        Self { endpoint, idle: Mutex::default() }
    }

    /// Sends a request, on an idle connection where one is alive. The connection comes back with the response, to be
    /// returned with [`Connections::keep`] once the body has been read.
    pub(crate) async fn send(
        &self,
        outgoing: &Outgoing,
    ) -> Result<(Response<Incoming>, Connection), ClientError> {
        while let Some(mut connection) = self.take_idle() {
            if connection.ready().await.is_err() {
                continue;
            }
            match connection.try_send_request(outgoing.request()?).await {
                Ok(response) => return Ok((response, connection)),
                // A connection may die between two requests. What was not sent, or changes nothing, is sent again.
                Err(mut error) if error.message().is_some() || outgoing.method.is_idempotent() => {
                    drop(error.take_message());
                }
                Err(error) => return Err(self.unreachable(io::Error::other(error.into_error()))),
            }
        }
        let mut connection = self.open().await?;
        match connection.send_request(outgoing.request()?).await {
            Ok(response) => Ok((response, connection)),
            Err(error) => Err(self.unreachable(io::Error::other(error))),
        }
    }

    /// Keeps a connection whose response has been read to its end.
    pub(crate) async fn keep(&self, mut connection: Connection) {
        if connection.ready().await.is_err() {
            return;
        }
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_CONNECTIONS_MAX {
            idle.push(connection);
        }
    }

    pub(crate) async fn open(&self) -> Result<Connection, ClientError> {
        let opened = match &self.endpoint {
            Endpoint::Unix { socket } => match UnixStream::connect(socket).await {
                Ok(stream) => handshake(stream).await,
                Err(error) => Err(error),
            },
            Endpoint::Tcp { authority, .. } => {
                match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(authority)).await {
                    Ok(Ok(stream)) => match stream.set_nodelay(true) {
                        Ok(()) => handshake(stream).await,
                        Err(error) => Err(error),
                    },
                    Ok(Err(error)) => Err(error),
                    Err(_) => Err(io::ErrorKind::TimedOut.into()),
                }
            }
        };
        opened.map_err(|source| self.unreachable(source))
    }

    pub(crate) fn unreachable(&self, source: io::Error) -> ClientError {
        ClientError::Unreachable { endpoint: self.endpoint.to_string(), source }
    }

    fn take_idle(&self) -> Option<Connection> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }
}

async fn handshake<S>(stream: S) -> io::Result<Connection>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, driver) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    // The driver ends with the connection; its error reaches the caller through the request in flight.
    tokio::spawn(driver);
    Ok(sender)
}
