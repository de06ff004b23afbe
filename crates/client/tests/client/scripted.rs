//! A service that answers what a test tells it to, byte by byte.

use std::sync::{Arc, Mutex};

use longhaul_client::contract::Secret;
use longhaul_client::{Client, Endpoint};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// One request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    /// `GET /healthz`
    pub(crate) call: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
    /// Which connection it came on, counted from 0.
    pub(crate) connection: usize,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// What to do with one request.
pub(crate) enum Reply {
    /// These bytes, and the connection stays open for the next request.
    Keep(String),
    /// These bytes, then the connection is closed.
    Close(String),
    /// These bytes, and then nothing for ever.
    Hold(String),
}

/// A JSON answer of this status.
pub(crate) fn json(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// An event stream that ends with the connection.
pub(crate) fn events(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n{body}")
}

pub(crate) struct ScriptedService {
    pub(crate) client: Client,
    received: mpsc::UnboundedReceiver<Received>,
}

impl ScriptedService {
    /// Answers each request with what `reply` says of it.
    pub(crate) async fn start(reply: impl FnMut(&Received) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        let (sender, received) = mpsc::unbounded_channel();
        let reply = Arc::new(Mutex::new(reply));
        tokio::spawn(async move {
            for connection in 0.. {
                let Ok((stream, _)) = listener.accept().await else { return };
                let (sender, reply) = (sender.clone(), Arc::clone(&reply));
                tokio::spawn(async move {
                    serve(stream, connection, sender, |request| (*reply.lock().unwrap())(request)).await;
                });
            }
        });
        let endpoint = Endpoint::tcp(&authority, Secret::new("the-token")).unwrap();
        Self { client: Client::new(endpoint), received }
    }

    /// The requests so far.
    pub(crate) fn received(&mut self) -> Vec<Received> {
        std::iter::from_fn(|| self.received.try_recv().ok()).collect()
    }
}

async fn serve(
    mut stream: TcpStream,
    connection: usize,
    sender: mpsc::UnboundedSender<Received>,
    mut reply: impl FnMut(&Received) -> Reply,
) {
    while let Some(request) = read_request(&mut stream, connection).await {
        let answer = reply(&request);
        if sender.send(request).is_err() {
            return;
        }
        match answer {
            Reply::Keep(bytes) => stream.write_all(bytes.as_bytes()).await.unwrap(),
            Reply::Close(bytes) => {
                stream.write_all(bytes.as_bytes()).await.unwrap();
                return;
            }
            Reply::Hold(bytes) => {
                stream.write_all(bytes.as_bytes()).await.unwrap();
                // Until the client goes away.
                while stream.read(&mut [0; 64]).await.is_ok_and(|count| count > 0) {}
                return;
            }
        }
    }
}

async fn read_request(stream: &mut TcpStream, connection: usize) -> Option<Received> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.lines();
    let call = lines.next().unwrap().trim_end_matches(" HTTP/1.1").to_owned();
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let mut body = vec![0; length.map_or(0, |(_, value)| value.parse().unwrap())];
    stream.read_exact(&mut body).await.ok()?;
    Some(Received { call, headers, body: String::from_utf8(body).unwrap(), connection })
}
