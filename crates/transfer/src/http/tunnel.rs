//! Connections by a proxy: to the proxy itself, or through it to the server (CONNECT, RFC 9110 section 9.3.6; SOCKS).
//!
//! What goes to the proxy is written here by hand, so that nothing of a request to the server can be in it.

use std::net::SocketAddr;

use bytes::BytesMut;
use http::Method;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use longhaul_contract::{Cause, Failure};
use tokio::io::AsyncReadExt as _;
use url::Host;

use super::address::{self, Reach};
use super::client::Client;
use super::failure::{needs_input, of_socket, transient};
use super::head::Head;
use super::origin::Origin;
use super::proxy::Proxy;
use super::socks::{self, SocksError, Target};
use super::stream::Stream;
use super::tls::Protocols;
use crate::proxy::ProxyScheme;

/// Bytes of the head of a proxy's answer.
const HEAD_BYTES_MAX: usize = 64 << 10;
const FIELDS_MAX: usize = 100;
/// So many addresses of a host a SOCKS proxy is asked for, one after the other.
const ADDRESSES_MAX: usize = 4;

impl Client {
    /// A connection by `proxy` over which requests to `origin` can be sent, before any TLS with the origin itself.
    ///
    /// # Errors
    /// The proxy cannot be reached or makes no connection, or the application may not go there.
    pub(super) async fn by_proxy(
        &self,
        proxy: &Proxy,
        origin: &Origin,
        reach: Reach,
    ) -> Result<Stream, Failure> {
        if proxy.forwards(origin) {
            if !reach.is_public_only {
                return self.to_proxy(proxy, reach).await;
            }
            // The proxy would look the name up anew, and could be led elsewhere than we have looked.
            return Err(needs_input(
                Cause::AddressForbidden,
                format!(
                    "this application may use public addresses only, and {proxy} cannot be held to that for plain \
                     http: use https, or let the owner allow private addresses"
                ),
            ));
        }
        match proxy.scheme() {
            ProxyScheme::Http | ProxyScheme::Https => self.connected(proxy, origin, reach).await,
            ProxyScheme::Socks5h if !reach.is_public_only => {
                let target = match &origin.host {
                    Host::Domain(name) => Target::Name(name.trim_end_matches('.'), origin.port),
                    Host::Ipv4(address) => Target::Address(SocketAddr::new((*address).into(), origin.port)),
                    Host::Ipv6(address) => Target::Address(SocketAddr::new((*address).into(), origin.port)),
                };
                let mut stream = self.to_proxy(proxy, reach).await?;
                match socks::open(&mut stream, target, proxy.credential()).await {
                    Ok(()) => Ok(stream),
                    Err(error) => Err(proxy.refused_by_socks(&error, origin)),
                }
            }
            ProxyScheme::Socks5 | ProxyScheme::Socks5h => self.by_address(proxy, origin, reach).await,
        }
    }

    async fn to_proxy(&self, proxy: &Proxy, reach: Reach) -> Result<Stream, Failure> {
        let is_public_only = reach.is_public_only && !proxy.is_trusted();
        let reach = Reach { is_public_only, ..reach };
        let stream = async {
            let socket = address::connect(&proxy.place, reach).await?;
            let stream = Stream::plain(socket)
                .map_err(|error| of_socket(&error, &format!("connecting to {}", proxy.place)))?;
            if proxy.place.is_tls() {
                self.secure(stream, &proxy.place, Protocols::Http1, None).await
            } else {
                Ok(stream)
            }
        };
        stream.await.map_err(|failure| proxy.failed(failure))
    }

    /// SOCKS with a name that is looked up here.
    async fn by_address(&self, proxy: &Proxy, origin: &Origin, reach: Reach) -> Result<Stream, Failure> {
        let mut last = None;
        for address in address::allowed(origin, reach).await?.into_iter().take(ADDRESSES_MAX) {
            let mut stream = self.to_proxy(proxy, reach).await?;
            match socks::open(&mut stream, Target::Address(address), proxy.credential()).await {
                Ok(()) => return Ok(stream),
                Err(error @ SocksError::Refused(_)) => last = Some(error),
                Err(error) => return Err(proxy.refused_by_socks(&error, origin)),
            }
        }
        Err(proxy.refused_by_socks(&last.unwrap_or(SocksError::Refused(4)), origin))
    }

    /// CONNECT, again on another connection where the proxy asks who we are.
    async fn connected(&self, proxy: &Proxy, origin: &Origin, reach: Reach) -> Result<Stream, Failure> {
        let target = if reach.is_public_only {
            // A name would be looked up by the proxy, and could lead elsewhere than we have looked.
            let addresses = address::allowed(origin, reach).await?;
            addresses.front().map(ToString::to_string).expect("there is one, else it is a failure")
        } else {
            format!("{}:{}", origin.host, origin.port)
        };
        let mut round = proxy.round();
        loop {
            let mut stream = self.to_proxy(proxy, reach).await?;
            let field = proxy.field(&Method::CONNECT, &target);
            let head = connect(&mut stream, &target, field.as_ref(), &self.user_agent)
                .await
                .map_err(|failure| proxy.failed(failure))?;
            let is_again = proxy.heed(round.as_mut(), &head);
            if (200..300).contains(&head.status) {
                return Ok(stream);
            }
            if !is_again {
                return Err(proxy.refused(&head, origin));
            }
        }
    }
}

/// Asks for a connection to `target` and reads the head of the answer.
async fn connect(
    stream: &mut Stream,
    target: &str,
    authorization: Option<&HeaderValue>,
    user_agent: &HeaderValue,
) -> Result<Head, Failure> {
    let doing = "asking it for a connection";
    let mut text = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n").into_bytes();
    for (name, value) in [("User-Agent", Some(user_agent)), ("Proxy-Authorization", authorization)] {
        if let Some(value) = value {
            text.extend_from_slice(name.as_bytes());
            text.extend_from_slice(b": ");
            text.extend_from_slice(value.as_bytes());
            text.extend_from_slice(b"\r\n");
        }
    }
    text.extend_from_slice(b"\r\n");
    stream.say(&text).await.map_err(|error| of_socket(&error, doing))?;
    let mut answer = BytesMut::with_capacity(1024);
    loop {
        let count = stream.read_buf(&mut answer).await.map_err(|error| of_socket(&error, doing))?;
        if count == 0 {
            return Err(transient(Cause::ConnectionClosed, "it closed the connection without an answer"));
        }
        let invalid = |what: &str| transient(Cause::InvalidResponse, what.to_owned());
        match parse(&answer).map_err(|error| invalid(&format!("what it answers is not HTTP: {error}")))? {
            Some((head, length)) if answer.len() == length || !(200..300).contains(&head.status) => {
                return Ok(head);
            }
            // The server cannot speak first, as TLS begins with us.
            Some(_) => return Err(invalid("it sent more than the head of its answer")),
            None if answer.len() >= HEAD_BYTES_MAX => return Err(invalid("its answer is too large")),
            None => {}
        }
    }
}

/// The head of an answer and its length, once it is whole.
fn parse(bytes: &[u8]) -> Result<Option<(Head, usize)>, httparse::Error> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut response = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(length) = response.parse(bytes)? else { return Ok(None) };
    let mut headers = HeaderMap::new();
    for field in response.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(field.value)) {
            headers.append(name, value);
        }
    }
    Ok(Some((Head { status: response.code.unwrap_or_default(), headers, length: Some(0) }, length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_of_an_answer_is_read_once_it_is_whole() {
        let text = b"HTTP/1.0 407 Who\r\nProxy-Authenticate: Basic realm=\"x\"\r\n\r\nrest";
        for length in 0..text.len() - 4 {
            assert!(parse(&text[..length]).unwrap().is_none(), "{length}");
        }
        let (head, length) = parse(text).unwrap().unwrap();
        assert_eq!((head.status, length), (407, text.len() - 4));
        assert_eq!(head.headers["proxy-authenticate"], "Basic realm=\"x\"");
        assert!(parse(b"SSH-2.0-x\r\n").is_err());
    }
}
