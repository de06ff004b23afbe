//! One open event stream, message by message.

use std::collections::VecDeque;
use std::io;

use http::{Method, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::connections::Connection;
use crate::server_sent_events::{Message, Parser};
use crate::{Client, ClientError};

pub(crate) struct EventStream {
    client: Client,
    call: String,
    body: Incoming,
    /// Lives as long as its body is read.
    _connection: Connection,
    parser: Parser,
    messages: VecDeque<Message>,
}

impl EventStream {
    /// # Errors
    /// As every call; [`ClientError::Protocol`] when the answer is no event stream.
    pub(crate) async fn open(
        client: &Client,
        target: &str,
        headers: impl IntoIterator<Item = (http::HeaderName, String)>,
    ) -> Result<Self, ClientError> {
        let mut outgoing = client.outgoing(Method::GET, target);
        outgoing.headers.push((header::ACCEPT, "text/event-stream".to_owned()));
        outgoing.headers.extend(headers);
        let (response, connection) = client.open(&outgoing).await?;
        let media_type = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        if !media_type.is_some_and(|value| value.starts_with("text/event-stream")) {
            let detail = format!("the answer is no event stream but {media_type:?}");
            return Err(ClientError::Protocol { call: outgoing.name(), detail });
        }
        Ok(Self {
            client: client.clone(),
            call: outgoing.name(),
            body: response.into_body(),
            _connection: connection,
            parser: Parser::default(),
            messages: VecDeque::new(),
        })
    }

    /// The next message. A stream that ends is an error, because the service ends none by itself.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`] when the connection is gone, [`ClientError::Protocol`] for what is no event.
    pub(crate) async fn next(&mut self) -> Result<Message, ClientError> {
        loop {
            if let Some(message) = self.messages.pop_front() {
                return Ok(message);
            }
            let bytes = match self.body.frame().await {
                None => return Err(self.lost(io::ErrorKind::UnexpectedEof.into())),
                Some(Err(error)) => return Err(self.lost(io::Error::other(error))),
                Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
            };
            let mut messages = Vec::new();
            if self.parser.feed(&bytes, &mut messages).is_err() {
                return Err(self.protocol("an event is too long"));
            }
            self.messages.extend(messages);
        }
    }

    pub(crate) fn protocol(&self, detail: impl Into<String>) -> ClientError {
        ClientError::Protocol { call: self.call.clone(), detail: detail.into() }
    }

    fn lost(&self, source: io::Error) -> ClientError {
        self.client.connections.unreachable(source)
    }
}
