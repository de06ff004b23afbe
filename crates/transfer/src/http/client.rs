//! Sends one request to one origin over a connection that is at hand or made for it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Version};
use http_body::Body as _;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use longhaul_contract::{Cause, Failure};
use tokio::sync::watch;
use tokio_rustls::TlsConnector;

use super::address::{self, Reach};
use super::body::Body;
use super::exchange::{ExchangeError, HEAD_BYTES_MAX, exchange};
use super::failure::{calm, h2_reason, of_hyper, of_socket, transient};
use super::head::Head;
use super::origin::Origin;
use super::outgoing::{Course, Outgoing, Patience};
use super::pool::{Http2Connection, Pool, Route, Seat};
use super::proxy::Proxy;
use super::request::Ask;
use super::stream::{Stream, TLS_READ_BYTES};
use super::tls::{Protocols, Tls, is_protocol_refused, server_name};
use crate::client_identity::ClientIdentity;
use crate::transfers::{Settings, SettingsError};

/// Requests that provably were not processed are sent again this often.
const UNPROCESSED_MAX: u32 = 3;
/// How long to wait for another worker's first connection to show which protocol the origin speaks.
const GREETING_MAX: Duration = Duration::from_secs(3);
/// How long the end of a connection may take to tell its reason after a request on it has failed.
const FAREWELL_MAX: Duration = Duration::from_millis(100);
/// HTTP/2 flow control: what may be under way on one stream and on one connection.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
/// An HTTP/2 connection with requests under way is asked for a sign of life after this much silence.
const PING_INTERVAL: Duration = Duration::from_secs(20);

/// Of the count of changes: the upper half counts how often the machine has slept.
pub(crate) const ONE_SLEEP: u64 = 1 << 32;

/// Connections and TLS for all workers of one service.
pub(crate) struct Client {
    pub(crate) pool: Arc<Pool>,
    tls: Tls,
    connect_timeout: Duration,
    patience: Patience,
    pub(super) user_agent: HeaderValue,
    network: watch::Sender<u64>,
}

/// Which connections a request may use.
#[derive(Clone, Copy)]
pub(crate) struct Way<'w> {
    pub(crate) reach: Reach,
    pub(crate) protocols: Protocols,
    pub(crate) proxy: Option<&'w Proxy>,
    /// Shown to a server that asks for it.
    pub(crate) identity: Option<&'w ClientIdentity>,
}

impl<'w> Way<'w> {
    fn route(self) -> Route {
        Route {
            proxy: self.proxy.map(|proxy| Arc::clone(&proxy.key)),
            identity: self.identity.map(|identity| Arc::clone(identity.name())),
            reach: self.reach,
        }
    }

    /// The proxy that requests to `origin` go to themselves.
    fn forwarding(self, origin: &Origin) -> Option<&'w Proxy> {
        self.proxy.filter(|proxy| proxy.forwards(origin))
    }
}

pub(crate) struct Answer {
    pub(crate) head: Head,
    pub(crate) body: Body,
    pub(crate) remote: SocketAddr,
    pub(crate) local: SocketAddr,
}

enum Connection {
    Http1 { stream: Stream, is_used: bool },
    Http2(Http2Connection),
}

/// Why a request brought no answer.
struct SendError {
    failure: Failure,
    remedy: SendRemedy,
}

#[derive(PartialEq, Eq)]
enum SendRemedy {
    None,
    /// The peer has not processed it: repeat it on another connection.
    Repeat,
    RepeatOverHttp1,
}

impl Client {
    pub(crate) fn new(settings: &Settings) -> Result<Self, SettingsError> {
        Ok(Self {
            pool: Pool::new(settings.connections_per_host),
            tls: Tls::new(&settings.ca_certificates)?,
            connect_timeout: settings.connect_timeout,
            patience: Patience {
                response: settings.response_timeout,
                stall: settings.stall_timeout,
                stall_bytes_per_second: settings.stall_bytes_per_second,
            },
            user_agent: HeaderValue::from_str(&settings.user_agent)
                .unwrap_or(HeaderValue::from_static("longhaul")),
            network: watch::Sender::new(0),
        })
    }

    pub(crate) const fn tls(&self) -> &Tls {
        &self.tls
    }

    pub(crate) const fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }

    /// How long an answer may take.
    pub(crate) const fn response_timeout(&self) -> Duration {
        self.patience.response
    }

    /// Changes whenever addresses or routes of the machine did, and by [`ONE_SLEEP`] when it has slept.
    pub(crate) fn network(&self) -> watch::Receiver<u64> {
        self.network.subscribe()
    }

    pub(crate) fn network_changed(&self) {
        self.pool.drop_idle();
        self.network.send_modify(|generation| *generation += 1);
    }

    pub(crate) fn resumed(&self) {
        self.pool.drop_idle();
        self.network.send_modify(|generation| *generation += ONE_SLEEP);
    }

    /// Sends the request that `ask` makes for the protocol of the connection, in `seat`.
    ///
    /// # Errors
    /// No connection, no answer in time, or one that is not HTTP.
    pub(crate) async fn send(
        &self,
        seat: Seat,
        way: Way<'_>,
        ask: &(dyn Fn(Version) -> Result<Ask, Failure> + Sync),
    ) -> Result<Answer, Failure> {
        let origin = seat.origin().clone();
        let mut way = way;
        let mut seat = Some(seat);
        let forwarding = way.forwarding(&origin);
        let mut round = forwarding.and_then(Proxy::round);
        let mut repeats = 0;
        loop {
            if self.pool.traits(&origin).needs_http1 {
                way.protocols = Protocols::Http1;
            }
            let connection = self.connection(&origin, way).await?;
            let sent = match connection {
                Connection::Http1 { stream, is_used } => {
                    self.over_http1(stream, is_used, (&origin, forwarding), ask).await
                }
                Connection::Http2(connection) => {
                    if let Some(seat) = &mut seat {
                        seat.use_shared(&connection);
                    }
                    self.over_http2(connection, &origin, ask).await
                }
            };
            match sent {
                Ok(answer) if forwarding.is_some_and(|proxy| proxy.heed(round.as_mut(), &answer.head)) => {
                    answer.body.discard();
                }
                Ok(mut answer) => {
                    if let Some(proxy) = forwarding.filter(|_| answer.head.status == 407) {
                        return Err(proxy.refused(&answer.head, &origin));
                    }
                    if let Some(seat) = seat.take() {
                        answer.body.sit(seat);
                    }
                    return Ok(answer);
                }
                Err(error) if error.remedy == SendRemedy::None || repeats == UNPROCESSED_MAX => {
                    return Err(error.failure);
                }
                Err(error) => {
                    repeats += 1;
                    if error.remedy == SendRemedy::RepeatOverHttp1 {
                        self.pool.learn(&origin, |traits| traits.needs_http1 = true);
                    }
                }
            }
        }
    }

    async fn connection(&self, origin: &Origin, way: Way<'_>) -> Result<Connection, Failure> {
        let may_use_http2 = origin.is_tls() && way.protocols == Protocols::Http1AndHttp2;
        let route = way.route();
        let at_hand = || {
            if may_use_http2 && let Some(shared) = self.pool.http2(origin, &route) {
                return Some(Connection::Http2(shared));
            }
            let stream = self.pool.take_idle(origin, &route)?;
            Some(Connection::Http1 { stream, is_used: true })
        };
        if let Some(connection) = at_hand() {
            return Ok(connection);
        }
        let is_protocol_unknown = may_use_http2 && !self.pool.traits(origin).chose_http1;
        let greeting = self.pool.greeting(origin);
        let _first = if is_protocol_unknown {
            let turn = tokio::time::timeout(GREETING_MAX, greeting.lock()).await.ok();
            if let Some(connection) = at_hand() {
                return Ok(connection);
            }
            turn
        } else {
            None
        };
        let by = way.proxy.map_or_else(String::new, |proxy| format!(" by the proxy {proxy}"));
        in_time(self.connect_timeout, &format!("{origin}{by}"), self.connect(origin, way)).await
    }

    async fn connect(&self, origin: &Origin, way: Way<'_>) -> Result<Connection, Failure> {
        let mut stream = match way.proxy {
            Some(proxy) => self.by_proxy(proxy, origin, way.reach).await?,
            None => {
                let socket = address::connect(origin, way.reach).await?;
                Stream::plain(socket)
                    .map_err(|error| of_socket(&error, &format!("connecting to {origin}")))?
            }
        };
        stream.route = way.route();
        if !origin.is_tls() {
            return Ok(Connection::Http1 { stream, is_used: false });
        }
        let stream = self.secure(stream, origin, way.protocols, way.identity).await?;
        if stream.is_http2_agreed() {
            return Ok(Connection::Http2(self.greet_http2(origin, stream).await?));
        }
        if way.protocols == Protocols::Http1AndHttp2 {
            self.pool.learn(origin, |traits| traits.chose_http1 = true);
        }
        Ok(Connection::Http1 { stream, is_used: false })
    }

    pub(super) async fn secure(
        &self,
        stream: Stream,
        origin: &Origin,
        protocols: Protocols,
        identity: Option<&ClientIdentity>,
    ) -> Result<Stream, Failure> {
        let doing = format!("TLS with {}", origin.authority());
        let configuration = self.tls.configuration(protocols, identity)?;
        let name = server_name(&origin.host)?;
        match stream.secured(&TlsConnector::from(configuration), name, TLS_READ_BYTES).await {
            Ok(stream) => Ok(stream),
            Err(error) if is_protocol_refused(&error) => {
                Err(transient(Cause::TlsProtocol, format!("{doing} failed: it speaks no HTTP that we do")))
            }
            Err(error) => Err(of_socket(&error, &doing)),
        }
    }

    async fn greet_http2(&self, origin: &Origin, stream: Stream) -> Result<Http2Connection, Failure> {
        let (remote, local, route) = (stream.remote, stream.local, stream.route.clone());
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_header_list_size(u32::try_from(HEAD_BYTES_MAX).expect("a few hundred KiB"))
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_INTERVAL)
            .handshake::<_, Outgoing>(TokioIo::new(stream))
            .await
            .map_err(|error| of_hyper(&error, &format!("HTTP/2 with {origin}")))?;
        let (goodbye, farewell) = watch::channel(None);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                // Whoever has a request under way learns of it there.
                tracing::debug!(%error, "an HTTP/2 connection ended");
                goodbye.send_replace(h2_reason(&error));
            }
        });
        let shared = Http2Connection { sender, remote, local, route, users: Arc::new(()), farewell };
        self.pool.share_http2(origin, shared.clone());
        Ok(shared)
    }

    async fn over_http1(
        &self,
        stream: Stream,
        is_used: bool,
        (origin, forwarding): (&Origin, Option<&Proxy>),
        ask: &(dyn Fn(Version) -> Result<Ask, Failure> + Sync),
    ) -> Result<Answer, SendError> {
        let (remote, local) = (stream.remote, stream.local);
        let mut ask = ask(Version::HTTP_11).map_err(SendError::is_final)?;
        if let Some(proxy) = forwarding {
            proxy.dress(&mut ask, origin).map_err(SendError::is_final)?;
        }
        let is_repeatable = is_used && ask.method().is_idempotent();
        let host = origin.authority();
        let course = ask.extensions().get::<Arc<Course>>().cloned();
        let answered = tokio::select! {
            answered = exchange(stream, ask, &host) => answered,
            failure = self.overdue(course.as_deref(), &host) => return Err(SendError::is_final(failure)),
        };
        match answered {
            Ok((head, body)) => Ok(Answer { head, body, remote, local }),
            Err(ExchangeError { failure, is_unanswered }) => {
                let remedy =
                    if is_unanswered && is_repeatable { SendRemedy::Repeat } else { SendRemedy::None };
                Err(SendError { failure, remedy })
            }
        }
    }

    async fn over_http2(
        &self,
        mut connection: Http2Connection,
        origin: &Origin,
        ask: &(dyn Fn(Version) -> Result<Ask, Failure> + Sync),
    ) -> Result<Answer, SendError> {
        let (remote, local) = (connection.remote, connection.local);
        let ask = ask(Version::HTTP_2).map_err(SendError::is_final)?;
        let host = origin.authority();
        let course = ask.extensions().get::<Arc<Course>>().cloned();
        let _abandoned = AbandonAtEnd(course.clone());
        let sent = async {
            let response = connection.sender.send_request(ask).await?;
            let is_sent = match &course {
                Some(course) if response.status().is_success() => course.done().await,
                _ => true,
            };
            Ok::<_, hyper::Error>((response, is_sent))
        };
        let answered = tokio::select! {
            answered = sent => Ok(answered),
            failure = self.overdue(course.as_deref(), &host) => Err(failure),
        };
        match answered {
            Ok(Ok((_, false))) => Err(SendError::is_final(transient(
                Cause::ConnectionClosed,
                format!("{host} answered before it had the whole body and took no more of it"),
            ))),
            Ok(Ok((response, true))) => {
                let (parts, incoming) = response.into_parts();
                let length = incoming.size_hint().exact();
                let head = Head { status: parts.status.as_u16(), headers: parts.headers, length };
                Ok(Answer { head, body: Body::http2(incoming), remote, local })
            }
            Ok(Err(error)) => {
                if let Some(failure) = calm_down(&mut connection, &host).await {
                    self.pool.retire_http2(origin);
                    return Err(SendError::is_final(failure));
                }
                let remedy = remedy_of(&error);
                if remedy != SendRemedy::None {
                    self.pool.retire_http2(origin);
                }
                Err(SendError { failure: of_hyper(&error, &format!("the request to {host}")), remedy })
            }
            Err(failure) => {
                self.pool.retire_http2(origin);
                Err(SendError::is_final(failure))
            }
        }
    }

    /// Resolves when the peer has let us wait for too long: for the response, or for taking a streamed body.
    async fn overdue(&self, course: Option<&Course>, host: &str) -> Failure {
        match course {
            Some(course) => course.overdue(self.patience, host).await,
            None => {
                tokio::time::sleep(self.patience.response).await;
                transient(
                    Cause::ResponseTimeout,
                    format!("{host} did not answer within {} s", self.patience.response.as_secs_f32()),
                )
            }
        }
    }
}

/// The HTTP/2 engine sends a body on its own: it has to be told when nobody waits for the answer any more.
struct AbandonAtEnd(Option<Arc<Course>>);

impl Drop for AbandonAtEnd {
    fn drop(&mut self) {
        if let Some(course) = &self.0 {
            course.abandon();
        }
    }
}

impl SendError {
    const fn is_final(failure: Failure) -> Self {
        Self { failure, remedy: SendRemedy::None }
    }
}

/// A server that ends the whole connection with ENHANCE_YOUR_CALM says so to the connection, not to the request that
/// was under way.
async fn calm_down(connection: &mut Http2Connection, host: &str) -> Option<Failure> {
    let farewell = connection.farewell.wait_for(Option::is_some);
    let reason = tokio::time::timeout(FAREWELL_MAX, farewell).await.ok()?.ok().and_then(|reason| *reason)?;
    (reason == h2::Reason::ENHANCE_YOUR_CALM)
        .then(|| calm(format!("{host} asks to be left alone for a while")))
}

/// RFC 9113 sections 6.8, 7 and 8.7: which HTTP/2 errors say that the request was not processed.
fn remedy_of(error: &hyper::Error) -> SendRemedy {
    match h2_reason(error) {
        Some(h2::Reason::HTTP_1_1_REQUIRED) => SendRemedy::RepeatOverHttp1,
        Some(h2::Reason::REFUSED_STREAM) => SendRemedy::Repeat,
        Some(h2::Reason::NO_ERROR) if super::failure::is_go_away(error) => SendRemedy::Repeat,
        None if error.is_canceled() || error.is_closed() => SendRemedy::Repeat,
        _ => SendRemedy::None,
    }
}

/// # Errors
/// What `work` says, or that it took too long to connect to `whom`.
pub(crate) async fn in_time<T>(
    most: Duration,
    whom: &str,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(most, work).await {
        Ok(done) => done,
        Err(_) => Err(transient(
            Cause::ConnectTimeout,
            format!("no connection to {whom} within {} s", most.as_secs_f32()),
        )),
    }
}
