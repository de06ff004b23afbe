//! A small blocking HTTP/1.1 client for the service's own API: one connection a call, over its Unix socket or TCP.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

/// No answer of the service takes longer unless it was asked to wait.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Where the service listens, and the headers every call carries.
#[derive(Debug, Clone)]
pub struct Endpoint {
    target: Target,
    headers: Vec<(String, String)>,
}

#[derive(Debug, Clone)]
enum Target {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// An answer whose body is read as it comes.
pub struct Streaming {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    body: BodyReader,
}

/// One server-sent event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerEvent {
    pub kind: String,
    pub data: String,
    /// Its `id:`.
    pub number: Option<String>,
}

trait Connection: Read + Write + Send {}
impl<T: Read + Write + Send> Connection for T {}

enum Left {
    Bytes(u64),
    Chunk(u64),
    UntilEnd,
    Nothing,
}

struct BodyReader {
    reader: BufReader<Box<dyn Connection>>,
    left: Left,
}

impl Endpoint {
    #[must_use]
    pub fn unix(socket: impl Into<PathBuf>) -> Self {
        Self { target: Target::Unix(socket.into()), headers: Vec::new() }
    }

    #[must_use]
    pub fn tcp(address: SocketAddr) -> Self {
        Self { target: Target::Tcp(address), headers: vec![("Host".to_owned(), address.to_string())] }
    }

    /// Sends this header with every call, in place of one of the same name.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// # Errors
    /// Nobody listens, or the connection broke.
    pub fn get(&self, path: &str) -> io::Result<Answer> {
        self.call("GET", path, None)
    }

    /// Sends `body` as JSON.
    ///
    /// # Errors
    /// Nobody listens, or the connection broke.
    pub fn post(&self, path: &str, body: &Value) -> io::Result<Answer> {
        self.call("POST", path, Some(("application/json", body.to_string().as_bytes())))
    }

    /// # Errors
    /// Nobody listens, or the connection broke.
    pub fn call(&self, method: &str, path: &str, body: Option<(&str, &[u8])>) -> io::Result<Answer> {
        self.stream(method, path, body)?.finish()
    }

    /// Like [`Self::call`], without waiting for the body.
    ///
    /// # Errors
    /// Nobody listens, or the connection broke.
    pub fn stream(&self, method: &str, path: &str, body: Option<(&str, &[u8])>) -> io::Result<Streaming> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        if !self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            head.push_str("Host: localhost\r\n");
        }
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let mut bytes = Vec::new();
        if let Some((media_type, content)) = body {
            head.push_str(&format!("Content-Type: {media_type}\r\nContent-Length: {}\r\n", content.len()));
            bytes.extend_from_slice(content);
        }
        head.push_str("\r\n");
        self.exchange(&[head.as_bytes(), &bytes].concat())
    }

    /// Sends exactly these bytes and reads the answer's head.
    ///
    /// # Errors
    /// Nobody listens, the connection broke, or what came is not HTTP/1.
    pub fn exchange(&self, request: &[u8]) -> io::Result<Streaming> {
        let mut connection = self.connect()?;
        let sent = connection.write_all(request).and_then(|()| connection.flush());
        let mut reader = BufReader::new(connection);
        // A refusal may come before the whole request was taken: read it in spite of the broken pipe.
        let (status, headers) = read_head(&mut reader).map_err(|problem| sent.err().unwrap_or(problem))?;
        let left = framing(status, &headers);
        Ok(Streaming { status, headers, body: BodyReader { reader, left } })
    }

    fn connect(&self) -> io::Result<Box<dyn Connection>> {
        Ok(match &self.target {
            Target::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(TIMEOUT))?;
                Box::new(stream)
            }
            Target::Tcp(address) => {
                let stream = TcpStream::connect_timeout(address, TIMEOUT)?;
                stream.set_read_timeout(Some(TIMEOUT))?;
                Box::new(stream)
            }
        })
    }
}

fn read_head(reader: &mut impl BufRead) -> io::Result<(u16, Vec<(String, String)>)> {
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let status = line.split(' ').nth(1).and_then(|word| word.trim().parse().ok());
        let status = status.ok_or_else(|| io::Error::other(format!("not a status line: {line:?}")))?;
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        if !(100..200).contains(&status) {
            return Ok((status, headers));
        }
    }
}

fn framing(status: u16, headers: &[(String, String)]) -> Left {
    let header =
        |name: &str| headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    if status == 204 || status == 304 {
        Left::Nothing
    } else if header("transfer-encoding").is_some_and(|value| value.contains("chunked")) {
        Left::Chunk(0)
    } else {
        header("content-length").and_then(|text| text.parse().ok()).map_or(Left::UntilEnd, Left::Bytes)
    }
}

impl Read for BodyReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if matches!(self.left, Left::Chunk(0)) {
            self.next_chunk()?;
        }
        let limit = match self.left {
            Left::Nothing => 0,
            Left::UntilEnd => u64::MAX,
            Left::Bytes(left) | Left::Chunk(left) => left,
        };
        let count = (buffer.len() as u64).min(limit);
        if count == 0 {
            return Ok(0);
        }
        let count = self.reader.read(&mut buffer[..usize::try_from(count).expect("fits the buffer")])?;
        match &mut self.left {
            Left::Bytes(left) | Left::Chunk(left) => {
                if count == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                *left -= count as u64;
            }
            Left::UntilEnd | Left::Nothing => {}
        }
        Ok(count)
    }
}

impl BodyReader {
    /// Reads the next chunk's size line, and the line end of the chunk before it.
    fn next_chunk(&mut self) -> io::Result<()> {
        loop {
            let mut line = String::new();
            if self.reader.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let digits = line.trim_end();
            if digits.is_empty() {
                continue;
            }
            let size = u64::from_str_radix(digits, 16).map_err(io::Error::other)?;
            self.left = if size == 0 { Left::Nothing } else { Left::Chunk(size) };
            return Ok(());
        }
    }
}

impl Streaming {
    /// # Errors
    /// The connection broke before the end of the body.
    pub fn finish(mut self) -> io::Result<Answer> {
        let mut body = Vec::new();
        self.body.read_to_end(&mut body)?;
        Ok(Answer { status: self.status, headers: self.headers, body })
    }

    /// The next piece of the body; empty at its end.
    ///
    /// # Errors
    /// The connection broke, or nothing came for a minute.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.body.read(buffer)
    }

    /// The next server-sent event as (event, data); `None` at the end of the stream.
    ///
    /// # Errors
    /// The connection broke, or nothing came for a minute.
    pub fn next_event(&mut self) -> io::Result<Option<(String, String)>> {
        Ok(self.next_numbered_event()?.map(|event| (event.kind, event.data)))
    }

    /// The next server-sent event; `None` at the end of the stream.
    ///
    /// # Errors
    /// The connection broke, or nothing came for a minute.
    pub fn next_numbered_event(&mut self) -> io::Result<Option<ServerEvent>> {
        let mut event = ServerEvent::default();
        loop {
            let Some(line) = self.read_line()? else { return Ok(None) };
            match line.split_once(':') {
                None if line.is_empty() && !event.data.is_empty() => return Ok(Some(event)),
                Some(("event", value)) => value.trim_start().clone_into(&mut event.kind),
                Some(("data", value)) => event.data.push_str(value.trim_start()),
                Some(("id", value)) => event.number = Some(value.trim_start().to_owned()),
                _ => {}
            }
        }
    }

    fn read_line(&mut self) -> io::Result<Option<String>> {
        let mut line = Vec::new();
        let mut byte = [0];
        while self.body.read(&mut byte)? == 1 {
            if byte[0] == b'\n' {
                return Ok(Some(String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned()));
            }
            line.push(byte[0]);
        }
        Ok(None)
    }
}

impl Answer {
    /// The first value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// # Panics
    /// The body is not JSON.
    #[must_use]
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("{e} in an answer with status {}: {}", self.status, self.text()))
    }

    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Panics unless the status is `status`; returns the answer for more.
    #[track_caller]
    #[must_use]
    pub fn expect_status(self, status: u16) -> Self {
        assert_eq!(self.status, status, "answer: {}", self.text());
        self
    }
}
