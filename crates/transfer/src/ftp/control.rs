//! The control connection: commands, replies, and TLS for it and for the data that it is about.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use longhaul_contract::{Cause, Failure, Remedy, Scheme};
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::failure::{nonsense, refused};
use super::reply::{Replies, Reply};
use crate::http::address::{Reach, connect};
use crate::http::client::{Client, in_time};
use crate::http::failure::{failure, of_socket, permanent, transient};
use crate::http::origin::Origin;
use crate::http::stream::{Stream, TLS_READ_BYTES};
use crate::http::tls::{Protocols, server_name};
use crate::interface::Interface;

/// While the data flows nobody speaks here, and routers forget connections on which nobody speaks.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// What of a TLS connection is read at a time that carries only replies.
const READ_BYTES: usize = 4 << 10;
/// Sessions that may be resumed: those of this very connection.
const SESSIONS_MAX: usize = 8;
/// Replies in a row that only announce another.
pub(super) const PRELIMINARY_MAX: usize = 16;

pub(crate) struct Control {
    stream: Stream,
    replies: Replies,
    pub(super) host: String,
    pub(super) connect_timeout: Duration,
    /// Where data connections begin too.
    pub(super) from: Option<Interface>,
    patience: Duration,
    tls: Option<Tls>,
}

/// The TLS of one control connection. Servers demand that data connections resume the session of the control
/// connection, to know that both are of the same peer; so each has a memory of its own.
#[derive(Clone)]
pub(super) struct Tls {
    configuration: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Control {
    /// Connects, and makes the connection secure where the scheme says so.
    ///
    /// # Errors
    /// No connection, nobody who speaks FTP, or no TLS.
    pub(super) async fn open(client: &Client, origin: &Origin, reach: Reach) -> Result<Self, Failure> {
        let tls = if origin.is_tls() {
            let mut configuration = (*client.tls().configuration(Protocols::Unnamed, None)?).clone();
            configuration.resumption = Resumption::in_memory_sessions(SESSIONS_MAX);
            Some(Tls { configuration: Arc::new(configuration), name: server_name(&origin.host)? })
        } else {
            None
        };
        let connect_timeout = client.connect_timeout();
        let connected = async {
            let socket = connect(origin, reach).await?;
            // A connection without it is only more easily forgotten.
            let _ = SockRef::from(&socket).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEP_ALIVE));
            match &tls {
                Some(tls) if origin.scheme == Scheme::Ftps => {
                    let doing = format!("TLS with {}", origin.authority());
                    tls.secure(socket, READ_BYTES, &doing).await
                }
                _ => plain(socket, &format!("connecting to {origin}")),
            }
        };
        let stream = in_time(connect_timeout, &origin.to_string(), connected).await?;
        let mut control = Self {
            stream,
            replies: Replies::default(),
            host: origin.host.to_string(),
            connect_timeout,
            from: reach.from,
            patience: client.response_timeout(),
            tls,
        };
        control.greet().await?;
        if origin.scheme == Scheme::Ftpes { control.upgrade().await } else { Ok(control) }
    }

    async fn greet(&mut self) -> Result<(), Failure> {
        for _ in 0..PRELIMINARY_MAX {
            let reply = self.reply().await?;
            if reply.is_positive() {
                return Ok(());
            }
            if !reply.is_preliminary() {
                return Err(refused(&reply, "the connection", &self.host));
            }
        }
        Err(permanent(Cause::InvalidResponse, format!("{} promises to begin and does not", self.host)))
    }

    /// RFC 4217 section 4.
    async fn upgrade(mut self) -> Result<Self, Failure> {
        let reply = self.command("AUTH", b"TLS").await?;
        if reply.code == 421 {
            return Err(refused(&reply, "TLS", &self.host));
        }
        if reply.code != 234 {
            return Err(self.no_tls(&reply));
        }
        // What somebody on the way has put in before TLS must not be taken for what the server says.
        let (Some(socket), true) = (self.stream.into_plain(), self.replies.is_drained()) else {
            let detail = format!("{} spoke on in the clear where TLS was to begin", self.host);
            return Err(permanent(Cause::TlsProtocol, detail));
        };
        let tls = self.tls.as_ref().expect("this scheme has TLS");
        let doing = format!("TLS with {}", self.host);
        let secured = tls.secure(socket, READ_BYTES, &doing);
        self.stream = in_time(self.connect_timeout, &self.host, secured).await?;
        Ok(self)
    }

    /// The server would have the password or the file go in the clear.
    pub(super) fn no_tls(&self, reply: &Reply) -> Failure {
        failure(
            Remedy::NeedsInput,
            Cause::TlsProtocol,
            format!(
                "{} offers no TLS here ({}), and without it nothing is said that others may not hear: ftps: is for \
                 servers with TLS from the start, ftp: for those without",
                self.host,
                reply.said()
            ),
        )
    }

    /// The other end and this one.
    pub(super) const fn ends(&self) -> (SocketAddr, SocketAddr) {
        (self.stream.remote, self.stream.local)
    }

    pub(super) fn tls(&self) -> Option<Tls> {
        self.tls.clone()
    }

    /// Says a command and waits for the reply.
    ///
    /// # Errors
    /// No reply in time, or what is none. A refusal is a reply.
    pub(super) async fn command(&mut self, verb: &str, argument: &[u8]) -> Result<Reply, Failure> {
        let patience = self.patience;
        let replied = async {
            match self.stream.say(&line(verb, argument)).await {
                // What a server that has gone said before is still to be heard.
                Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                    Err(of_socket(&error, &format!("speaking to {}", self.host)))
                }
                Ok(()) | Err(_) => std::future::poll_fn(|context| self.poll_reply(context)).await,
            }
        };
        match tokio::time::timeout(patience, replied).await {
            Ok(replied) => replied,
            Err(_) => Err(self.silent()),
        }
    }

    pub(super) async fn reply(&mut self) -> Result<Reply, Failure> {
        let replied =
            tokio::time::timeout(self.patience, std::future::poll_fn(|context| self.poll_reply(context)));
        match replied.await {
            Ok(replied) => replied,
            Err(_) => Err(self.silent()),
        }
    }

    fn silent(&self) -> Failure {
        let seconds = self.patience.as_secs_f32();
        transient(Cause::ResponseTimeout, format!("{} did not answer within {seconds} s", self.host))
    }

    pub(super) fn poll_reply(&mut self, context: &mut Context<'_>) -> Poll<Result<Reply, Failure>> {
        loop {
            match self.replies.next() {
                Ok(Some(reply)) => return Poll::Ready(Ok(reply)),
                Ok(None) => {}
                Err(what) => return Poll::Ready(Err(nonsense(&what, &self.host))),
            }
            let mut bytes = [0; 1 << 10];
            let mut buffer = ReadBuf::new(&mut bytes);
            match ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer)) {
                Ok(()) if buffer.filled().is_empty() => return Poll::Ready(Err(self.closed())),
                Ok(()) => self.replies.feed(buffer.filled()),
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                    return Poll::Ready(Err(self.closed()));
                }
                Err(error) => {
                    return Poll::Ready(Err(of_socket(&error, &format!("listening to {}", self.host))));
                }
            }
        }
    }

    fn closed(&self) -> Failure {
        transient(Cause::ConnectionClosed, format!("{} closed the connection of its replies", self.host))
    }

    /// Says goodbye if that needs no waiting.
    pub(super) fn say_goodbye(mut self) {
        let mut context = Context::from_waker(Waker::noop());
        // Who does not hear it sees the connection end.
        if Pin::new(&mut self.stream).poll_write(&mut context, &line("QUIT", b"")).is_ready() {
            let _ = Pin::new(&mut self.stream).poll_flush(&mut context);
        }
        let _ = Pin::new(&mut self.stream).poll_shutdown(&mut context);
    }
}

impl Tls {
    /// # Errors
    /// No handshake, or a certificate that is not the server's.
    async fn secure(&self, socket: TcpStream, read_bytes: usize, doing: &str) -> Result<Stream, Failure> {
        let connector = TlsConnector::from(Arc::clone(&self.configuration));
        plain(socket, doing)?
            .secured(&connector, self.name.clone(), read_bytes)
            .await
            .map_err(|error| of_socket(&error, doing))
    }

    pub(super) async fn secure_data(&self, socket: TcpStream, doing: &str) -> Result<Stream, Failure> {
        self.secure(socket, TLS_READ_BYTES, doing).await
    }
}

pub(super) fn plain(socket: TcpStream, doing: &str) -> Result<Stream, Failure> {
    Stream::plain(socket).map_err(|error| of_socket(&error, doing))
}

/// Arguments are known to hold no end of a line.
fn line(verb: &str, argument: &[u8]) -> Vec<u8> {
    debug_assert!(!argument.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)), "one command is one line");
    let mut line = verb.as_bytes().to_vec();
    if !argument.is_empty() {
        line.push(b' ');
        line.extend_from_slice(argument);
    }
    line.extend_from_slice(b"\r\n");
    line
}
