//! The client itself, and how a call becomes a request and an answer.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, Method, Response, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use longhaul_contract::{AppId, Problem};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::connections::{Connection, Connections, Outgoing};
use crate::{ClientError, Endpoint};

/// Names the calling application on the Unix socket.
const APP_HEADER: HeaderName = HeaderName::from_static("longhaul-app");
/// The longest document that is read.
const ANSWER_BYTES_MAX: usize = 256 << 20;
/// How long a call that does not wait for a transfer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);
/// The unreserved characters of RFC 3986 section 2.3 stay as they are in a path segment.
const SEGMENT: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

pub(crate) const DOWNLOADS: &str = "/background-transfers/downloads";
pub(crate) const UPLOADS: &str = "/background-transfers/uploads";
/// Both kinds.
pub(crate) const OPERATIONS: &str = "/background-transfers/operations";

/// A client of one service on behalf of one application. Clones share their connections.
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) connections: Arc<Connections>,
    app: Option<AppId>,
}

impl Client {
    /// Opens a first connection.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`] when nothing answers at `endpoint`.
    pub async fn connect(endpoint: Endpoint) -> Result<Self, ClientError> {
        let client = Self::new(endpoint);
        let connection = client.connections.open().await?;
        client.connections.keep(connection).await;
        Ok(client)
    }

    /// A client that connects at its first call.
    #[must_use]
    pub fn new(endpoint: Endpoint) -> Self {
        Self { connections: Arc::new(Connections::new(endpoint)), app: None }
    }

    /// The same service for another application. Only an unsandboxed caller on the Unix socket may choose; elsewhere
    /// the application follows from the peer or the token, and another name is refused.
    #[must_use]
    pub fn for_app(&self, app: AppId) -> Self {
        Self { connections: Arc::clone(&self.connections), app: Some(app) }
    }

    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.connections.endpoint
    }

    pub(crate) fn outgoing(&self, method: Method, target: impl Into<String>) -> Outgoing {
        let mut headers = vec![(header::HOST, self.endpoint().host().to_owned())];
        if let Endpoint::Tcp { token, .. } = self.endpoint() {
            headers.push((header::AUTHORIZATION, format!("Bearer {}", token.reveal())));
        }
        if let Some(app) = &self.app {
            headers.push((APP_HEADER, app.to_string()));
        }
        Outgoing { method, target: target.into(), headers, body: Bytes::new() }
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, target: impl Into<String>) -> Result<T, ClientError> {
        let outgoing = self.outgoing(Method::GET, target);
        read(&outgoing, &self.answer(&outgoing).await?)
    }

    pub(crate) async fn call<B: Serialize, T: DeserializeOwned>(
        &self,
        method: Method,
        target: impl Into<String>,
        body: &B,
    ) -> Result<T, ClientError> {
        let outgoing = self.outgoing_json(method, target, body)?;
        read(&outgoing, &self.answer(&outgoing).await?)
    }

    /// As [`Client::call`], where the answer has nothing to say.
    pub(crate) async fn tell<B: Serialize>(
        &self,
        method: Method,
        target: impl Into<String>,
        body: &B,
    ) -> Result<(), ClientError> {
        let outgoing = self.outgoing_json(method, target, body)?;
        self.answer(&outgoing).await.map(drop)
    }

    fn outgoing_json<B: Serialize>(
        &self,
        method: Method,
        target: impl Into<String>,
        body: &B,
    ) -> Result<Outgoing, ClientError> {
        let mut outgoing = self.outgoing(method, target);
        outgoing.body = serde_json::to_vec(body)
            .map_err(|error| ClientError::Protocol { call: outgoing.name(), detail: error.to_string() })?
            .into();
        outgoing.headers.push((header::CONTENT_TYPE, "application/json".to_owned()));
        Ok(outgoing)
    }

    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        target: impl Into<String>,
    ) -> Result<T, ClientError> {
        let outgoing = self.outgoing(Method::POST, target);
        read(&outgoing, &self.answer(&outgoing).await?)
    }

    /// The body of a successful answer.
    pub(crate) async fn answer(&self, outgoing: &Outgoing) -> Result<Bytes, ClientError> {
        tokio::time::timeout(ANSWER_TIMEOUT, self.answer_of_transfer(outgoing))
            .await
            .map_err(|_| self.connections.unreachable(io::ErrorKind::TimedOut.into()))?
    }

    /// As [`Client::answer`], for calls that may wait as long as a transfer takes.
    pub(crate) async fn answer_of_transfer(&self, outgoing: &Outgoing) -> Result<Bytes, ClientError> {
        let (response, connection) = self.open(outgoing).await?;
        let body = self.collect(outgoing, response).await?;
        self.connections.keep(connection).await;
        Ok(body)
    }

    /// A successful response whose body is still to be read. A refusal is read and becomes an error.
    pub(crate) async fn open(
        &self,
        outgoing: &Outgoing,
    ) -> Result<(Response<Incoming>, Connection), ClientError> {
        let (response, connection) = self.connections.send(outgoing).await?;
        if response.status().is_success() {
            return Ok((response, connection));
        }
        let status = response.status();
        let body = self.collect(outgoing, response).await?;
        self.connections.keep(connection).await;
        Err(refusal(outgoing, status, &body))
    }

    async fn collect(&self, outgoing: &Outgoing, response: Response<Incoming>) -> Result<Bytes, ClientError> {
        match Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => Err(ClientError::Protocol {
                call: outgoing.name(),
                detail: format!("the answer has more than {ANSWER_BYTES_MAX} bytes"),
            }),
            Err(error) => Err(self.connections.unreachable(io::Error::other(error))),
        }
    }
}

/// One segment of a path.
pub(crate) fn segment(text: &str) -> impl std::fmt::Display {
    utf8_percent_encode(text, &SEGMENT)
}

pub(crate) fn read<T: DeserializeOwned>(outgoing: &Outgoing, body: &[u8]) -> Result<T, ClientError> {
    serde_json::from_slice(body).map_err(|error| ClientError::Protocol {
        call: outgoing.name(),
        detail: format!("the answer cannot be read: {error}"),
    })
}

fn refusal(outgoing: &Outgoing, status: StatusCode, body: &[u8]) -> ClientError {
    match serde_json::from_slice::<Problem>(body) {
        Ok(problem) => ClientError::Refused(Box::new(problem)),
        Err(_) => ClientError::Protocol {
            call: outgoing.name(),
            detail: format!("the answer is {status} without a problem document this client knows"),
        },
    }
}
