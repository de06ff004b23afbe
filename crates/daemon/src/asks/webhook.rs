//! One question to a webhook on this machine: HTTP/1.1 over a connection of its own.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use longhaul_contract::{Operation, PatchDownload};
use tokio::net::TcpStream;
use url::{Host, Url};

const ANSWER_BYTES_MAX: usize = 64 << 10;
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
pub(crate) enum WebhookError {
    #[error("it must be an http address of this machine's loopback, such as http://127.0.0.1:8080/renew")]
    NotLoopback,
    #[error("it cannot be reached: {0}")]
    Unreachable(#[from] std::io::Error),
    #[error("the exchange broke: {0}")]
    Http(String),
    #[error("it answered {0}")]
    Status(StatusCode),
    #[error("its answer cannot be read: {0}")]
    Answer(String),
    #[error("it did not answer in time")]
    Timeout,
}

/// Where a webhook listens.
pub(crate) fn address(webhook: &str) -> Result<(SocketAddr, Url), WebhookError> {
    let url = Url::parse(webhook).map_err(|_| WebhookError::NotLoopback)?;
    let ip = match url.host() {
        Some(Host::Ipv4(ip)) => IpAddr::V4(ip),
        Some(Host::Ipv6(ip)) => IpAddr::V6(ip),
        Some(Host::Domain("localhost")) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        _ => return Err(WebhookError::NotLoopback),
    };
    let is_plain = url.scheme() == "http" && url.username().is_empty() && url.password().is_none();
    match url.port_or_known_default() {
        Some(port) if ip.is_loopback() && is_plain => Ok((SocketAddr::new(ip, port), url)),
        _ => Err(WebhookError::NotLoopback),
    }
}

/// What the webhook wants to be changed; `None` when it leaves the operation as it is.
pub(super) async fn post(
    webhook: &str,
    operation: &Operation,
) -> Result<Option<PatchDownload>, WebhookError> {
    let asking = ask(webhook, operation);
    tokio::time::timeout(PATIENCE, asking).await.map_err(|_| WebhookError::Timeout)?
}

async fn ask(webhook: &str, operation: &Operation) -> Result<Option<PatchDownload>, WebhookError> {
    let (address, url) = address(webhook)?;
    let broken = |error: &dyn std::fmt::Display| WebhookError::Http(error.to_string());
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
    let driver = tokio::spawn(connection);
    let target = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
    let body = serde_json::to_vec(operation).map_err(|error| broken(&error))?;
    let request = Request::builder()
        .method(Method::POST)
        .uri(target)
        .header(header::HOST, address.to_string())
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| broken(&error))?;
    let response = sender.send_request(request).await.map_err(|error| broken(&error))?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    drop(sender);
    driver.abort();
    let body = body.map_err(|error| broken(&error))?.to_bytes();
    match status {
        StatusCode::NO_CONTENT => Ok(None),
        StatusCode::OK => serde_json::from_slice(&body)
            .map(Some)
            // The place, and never the text, which may hold secrets.
            .map_err(|error| {
                WebhookError::Answer(format!("line {}, column {}", error.line(), error.column()))
            }),
        status => Err(WebhookError::Status(status)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn webhooks_are_on_this_machine() {
        for good in ["http://127.0.0.1:8080/renew?a=b", "http://[::1]/", "http://localhost:99/"] {
            assert!(address(good).is_ok(), "{good}");
        }
        for bad in [
            "https://127.0.0.1/",
            "http://example.org/",
            "http://10.0.0.1/",
            "http://me:secret@127.0.0.1/",
            "http://localhost.example.org/",
            "ftp://127.0.0.1/",
            "nonsense",
        ] {
            assert!(matches!(address(bad), Err(WebhookError::NotLoopback)), "{bad}");
        }
    }
}
