//! One connection's bytes, plain or over TLS, that can be handed back and forth between the HTTP engine and us.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes};
use rustls::pki_types::ServerName;
use socket2::SockRef;
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, BufReader, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::path::Path;
use super::pool::Route;

/// What may wait in the kernel to be sent.
const UNSENT_BYTES: u32 = 512 << 10;
/// What rustls gets to see at a time: by itself it asks the socket for 4 KiB.
pub(crate) const TLS_READ_BYTES: usize = 128 << 10;

enum Transport {
    Plain(TcpStream),
    Tls(Box<Secured<TcpStream>>),
    /// TLS with the server within TLS with a proxy.
    Nested(Box<Secured<Secured<TcpStream>>>),
}

type Secured<S> = TlsStream<BufReader<S>>;

pub(crate) struct Stream {
    transport: Transport,
    /// Read from the socket already, not yet handed out.
    early: Bytes,
    /// Came behind bytes that were handed out.
    failed: Option<io::Error>,
    /// The peer takes nothing any more; what it has said before that is still to be read.
    is_write_broken: bool,
    /// Whether the last write had to wait.
    write_blocked: Arc<AtomicBool>,
    /// The other end of the socket: the server, or the proxy.
    pub(crate) remote: SocketAddr,
    pub(crate) local: SocketAddr,
    pub(crate) route: Route,
}

impl Stream {
    pub(crate) fn plain(socket: TcpStream) -> io::Result<Self> {
        let (remote, local) = (socket.peer_addr()?, socket.local_addr()?);
        Ok(Self {
            transport: Transport::Plain(socket),
            early: Bytes::new(),
            failed: None,
            is_write_broken: false,
            write_blocked: Arc::default(),
            remote,
            local,
            route: Route::default(),
        })
    }

    /// The same connection with TLS, over the TLS of a proxy if there is one; `read_bytes` are read from it at a time.
    pub(crate) async fn secured(
        self,
        tls: &TlsConnector,
        name: ServerName<'static>,
        read_bytes: usize,
    ) -> io::Result<Self> {
        let transport = match self.transport {
            Transport::Plain(socket) => {
                let buffered = BufReader::with_capacity(read_bytes, socket);
                Transport::Tls(Box::new(tls.connect(name, buffered).await?))
            }
            Transport::Tls(stream) => {
                let buffered = BufReader::with_capacity(read_bytes, *stream);
                Transport::Nested(Box::new(tls.connect(name, buffered).await?))
            }
            Transport::Nested(_) => return Err(io::Error::other("there is TLS with the server already")),
        };
        Ok(Self { transport, ..self })
    }

    /// Writes a few bytes. Other than in the course of a request, a peer that takes no more is an error at once.
    pub(crate) async fn say(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        std::future::poll_fn(|context| {
            while !rest.is_empty() {
                match Pin::new(&mut *self).poll_write(context, rest) {
                    Poll::Ready(written) => rest = &rest[written?..],
                    Poll::Pending if self.is_write_broken => {
                        return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
                    }
                    Poll::Pending => return Poll::Pending,
                }
            }
            Pin::new(&mut *self).poll_flush(context)
        })
        .await
    }

    /// The bare connection, if it is one and nothing of it was read ahead.
    pub(crate) fn into_plain(self) -> Option<TcpStream> {
        match self.transport {
            Transport::Plain(socket) if self.early.is_empty() => Some(socket),
            Transport::Plain(_) | Transport::Tls(_) | Transport::Nested(_) => None,
        }
    }

    fn socket(&self) -> &TcpStream {
        match &self.transport {
            Transport::Plain(socket) => socket,
            Transport::Tls(stream) => stream.get_ref().0.get_ref(),
            Transport::Nested(stream) => stream.get_ref().0.get_ref().get_ref().0.get_ref(),
        }
    }

    /// Keeps what waits in the kernel small, so that what was written is nearly what was sent.
    pub(crate) fn limit_unsent(&self) {
        // Without it the progress runs ahead, no more.
        let _ = SockRef::from(self.socket()).set_tcp_notsent_lowat(UNSENT_BYTES);
    }

    /// Tells whether the last write had to wait.
    pub(crate) fn write_blocked(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.write_blocked)
    }

    /// A peer that refuses a request closes its side while we still send. Its answer lies in the socket then, and
    /// would be lost if the failed write ended the exchange: the reading side tells what has happened.
    fn settle_write(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let is_broken = matches!(&written, Poll::Ready(Err(error)) if matches!(
            error.kind(),
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
        ));
        self.is_write_broken |= is_broken;
        self.write_blocked.store(is_broken || written.is_pending(), Ordering::Relaxed);
        if is_broken { Poll::Pending } else { written }
    }

    pub(crate) fn is_http2_agreed(&self) -> bool {
        match &self.transport {
            Transport::Plain(_) => false,
            Transport::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(b"h2"),
            Transport::Nested(stream) => stream.get_ref().1.alpn_protocol() == Some(b"h2"),
        }
    }

    /// Puts bytes back in front of those still to be read.
    pub(crate) fn unread(&mut self, bytes: Bytes) {
        debug_assert!(self.early.is_empty(), "bytes are put back once per response");
        self.early = bytes;
    }

    pub(crate) fn has_early_bytes(&self) -> bool {
        !self.early.is_empty()
    }

    /// What is known of the way to the peer.
    pub(crate) fn path(&self) -> Option<Path> {
        Path::of(self.socket())
    }

    /// Resolves when a read would not wait.
    pub(crate) fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.early.is_empty() || self.failed.is_some() {
            return Poll::Ready(Ok(()));
        }
        match &mut self.transport {
            Transport::Plain(socket) => socket.poll_read_ready(context),
            Transport::Tls(stream) => Pin::new(&mut **stream).poll_fill_buf(context).map_ok(|_| ()),
            Transport::Nested(stream) => Pin::new(&mut **stream).poll_fill_buf(context).map_ok(|_| ()),
        }
    }

    /// Whether the peer has neither closed nor spoken out of turn, as far as this side knows by now.
    pub(crate) fn is_quiet(&mut self) -> bool {
        self.last_word().is_none()
    }

    /// What the peer did instead of keeping quiet; with the error that reading it was, such as an alert of TLS.
    pub(crate) fn last_word(&mut self) -> Option<io::Result<()>> {
        if !self.early.is_empty() {
            return Some(Ok(()));
        }
        let mut byte = [0_u8; 1];
        let mut buffer = ReadBuf::new(&mut byte);
        match Pin::new(self).poll_read(&mut Context::from_waker(Waker::noop()), &mut buffer) {
            Poll::Pending => None,
            Poll::Ready(read) => Some(read),
        }
    }
}

/// Reads as many records as are there and fit: what is done for each read would else be done for each record.
fn poll_records<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut TlsStream<S>,
    context: &mut Context<'_>,
    buffer: &mut ReadBuf<'_>,
) -> Poll<io::Result<()>> {
    let before = buffer.filled().len();
    while buffer.remaining() > 0 {
        let data = match Pin::new(&mut *stream).poll_fill_buf(context) {
            Poll::Ready(data) => data?,
            Poll::Pending if buffer.filled().len() == before => return Poll::Pending,
            Poll::Pending => break,
        };
        if data.is_empty() {
            break;
        }
        let count = data.len().min(buffer.remaining());
        buffer.put_slice(&data[..count]);
        Pin::new(&mut *stream).consume(count);
    }
    Poll::Ready(Ok(()))
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.early.is_empty() {
            let count = this.early.len().min(buffer.remaining());
            buffer.put_slice(&this.early[..count]);
            this.early.advance(count);
            if this.early.is_empty() {
                this.early = Bytes::new();
            }
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        if this.failed.is_some() {
            return Poll::Ready(this.failed.take().map_or(Ok(()), Err));
        }
        let read = match &mut this.transport {
            Transport::Plain(socket) => return Pin::new(socket).poll_read(context, buffer),
            Transport::Tls(stream) => poll_records(stream, context, buffer),
            Transport::Nested(stream) => poll_records(stream, context, buffer),
        };
        match ready!(read) {
            Err(error) if buffer.filled().len() > before => {
                this.failed = Some(error);
                Poll::Ready(Ok(()))
            }
            read => Poll::Ready(read),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_write_broken {
            return Poll::Pending;
        }
        let written = match &mut self.transport {
            Transport::Plain(socket) => Pin::new(socket).poll_write(context, bytes),
            Transport::Tls(stream) => Pin::new(&mut **stream).poll_write(context, bytes),
            Transport::Nested(stream) => Pin::new(&mut **stream).poll_write(context, bytes),
        };
        self.settle_write(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.is_write_broken {
            return Poll::Pending;
        }
        let written = match &mut self.transport {
            Transport::Plain(socket) => Pin::new(socket).poll_write_vectored(context, pieces),
            Transport::Tls(stream) => Pin::new(&mut **stream).poll_write_vectored(context, pieces),
            Transport::Nested(stream) => Pin::new(&mut **stream).poll_write_vectored(context, pieces),
        };
        self.settle_write(written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_write_broken {
            return Poll::Ready(Ok(()));
        }
        let flushed = match &mut self.transport {
            Transport::Plain(socket) => Pin::new(socket).poll_flush(context),
            Transport::Tls(stream) => Pin::new(&mut **stream).poll_flush(context),
            Transport::Nested(stream) => Pin::new(&mut **stream).poll_flush(context),
        };
        match self.settle_write(flushed.map_ok(|()| 0)) {
            Poll::Pending if self.is_write_broken => Poll::Ready(Ok(())),
            settled => settled.map_ok(|_| ()),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Plain(socket) => Pin::new(socket).poll_shutdown(context),
            Transport::Tls(stream) => Pin::new(&mut **stream).poll_shutdown(context),
            Transport::Nested(stream) => Pin::new(&mut **stream).poll_shutdown(context),
        }
    }
}
