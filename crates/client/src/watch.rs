//! The event stream, kept up over reconnects.
//!
//! A worker holds the connection, reconnects with `Last-Event-ID` and passes on what comes. What the service no longer
//! remembers it announces with [`Event::Resync`] and a new snapshot: a consumer that replaces its picture at each
//! snapshot never has a gap.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use http::HeaderName;
use longhaul_contract::{Event, EventKind};
use tokio::sync::mpsc;

use crate::event_stream::EventStream;
use crate::server_sent_events::Message;
use crate::{Client, ClientError};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
pub(crate) const RECONNECT_DELAY_MIN: Duration = Duration::from_millis(100);
pub(crate) const RECONNECT_DELAY_MAX: Duration = Duration::from_secs(5);
/// Events that wait for a slow consumer before the connection itself is left unread.
const EVENTS_AHEAD: usize = 1024;

/// What a watch tells.
#[derive(Debug)]
pub enum Watched {
    /// The stream stands. After a loss, what happened meanwhile follows, or a `Resync`.
    Connected,
    Event(Event),
    /// The connection is gone, or could not be made; it is tried again after `delay`. Parts of a snapshot that was
    /// not finished are void.
    Lost {
        error: ClientError,
        delay: Duration,
    },
}

/// A [`Stream`] of what happens to the application's operations. It ends only with an error that trying again would
/// not help; dropping it ends the connection.
#[derive(Debug)]
pub struct Watch {
    received: mpsc::Receiver<Result<Watched, ClientError>>,
}

impl Watch {
    /// The next thing to know; `None` behind the error that ended the watch.
    ///
    /// # Errors
    /// What trying again would not help: a refusal such as `unauthorized`, or an answer that is no event stream.
    pub async fn next(&mut self) -> Result<Option<Watched>, ClientError> {
        self.received.recv().await.transpose()
    }
}

impl Stream for Watch {
    type Item = Result<Watched, ClientError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.received.poll_recv(context)
    }
}

impl Client {
    /// Watches the application's operations: a snapshot, then changes. `kinds` empty is all kinds.
    ///
    /// ```no_run
    /// # async fn example(client: longhaul_client::Client) -> Result<(), longhaul_client::ClientError> {
    /// use longhaul_client::Watched;
    /// use longhaul_client::contract::Event;
    ///
    /// let mut watch = client.watch(&[]);
    /// while let Some(watched) = watch.next().await? {
    ///     match watched {
    ///         Watched::Event(Event::Operation { operation }) => println!("{} {}", operation.id, operation.status),
    ///         Watched::Lost { error, delay } => eprintln!("{error}; again in {delay:?}"),
    ///         Watched::Connected | Watched::Event(_) => {}
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn watch(&self, kinds: &[EventKind]) -> Watch {
        let (sender, received) = mpsc::channel(EVENTS_AHEAD);
        let words: Vec<_> = kinds.iter().map(|kind| kind.word()).collect();
        let target = if words.is_empty() {
            "/events".to_owned()
        } else {
            format!("/events?kinds={}", words.join(","))
        };
        let worker = Worker { client: self.clone(), target, last_event_id: None, sender };
        tokio::spawn(worker.run());
        Watch { received }
    }
}

/// Why one connection ended.
enum End {
    /// Nobody listens any more.
    Dropped,
    /// The connection broke or ended.
    Lost(ClientError),
    /// Trying again would not help.
    Fatal(ClientError),
}

impl End {
    fn of(error: ClientError) -> Self {
        if error.is_passing() { Self::Lost(error) } else { Self::Fatal(error) }
    }
}

struct Worker {
    client: Client,
    target: String,
    last_event_id: Option<String>,
    sender: mpsc::Sender<Result<Watched, ClientError>>,
}

impl Worker {
    async fn run(mut self) {
        let sender = self.sender.clone();
        let mut delay = RECONNECT_DELAY_MIN;
        loop {
            let mut is_alive = false;
            let ended = tokio::select! {
                ended = self.stay_connected(&mut is_alive) => ended,
                () = sender.closed() => End::Dropped,
            };
            if is_alive {
                delay = RECONNECT_DELAY_MIN;
            }
            match ended {
                End::Dropped => return,
                End::Fatal(error) => {
                    // Nobody to tell is as good as told.
                    let _ = sender.send(Err(error)).await;
                    return;
                }
                End::Lost(error) => {
                    if sender.send(Ok(Watched::Lost { error, delay })).await.is_err() {
                        return;
                    }
                }
            }
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                () = sender.closed() => return,
            }
            delay = (delay * 2).min(RECONNECT_DELAY_MAX);
        }
    }

    /// One connection, from its request to its end. `is_alive` is set once a message has come.
    async fn stay_connected(&mut self, is_alive: &mut bool) -> End {
        let resume = self.last_event_id.clone().map(|id| (LAST_EVENT_ID, id));
        let mut stream = match EventStream::open(&self.client, &self.target, resume).await {
            Ok(stream) => stream,
            Err(error) => return End::of(error),
        };
        if self.sender.send(Ok(Watched::Connected)).await.is_err() {
            return End::Dropped;
        }
        loop {
            let message = match stream.next().await {
                Ok(message) => message,
                Err(error) => return End::of(error),
            };
            *is_alive = true;
            match self.pass_on(message).await {
                Ok(true) => {}
                Ok(false) => return End::Dropped,
                Err(error) => {
                    return End::Fatal(stream.protocol(format!("an event cannot be read: {error}")));
                }
            }
        }
    }

    /// Answers whether anybody still listens.
    async fn pass_on(&mut self, message: Message) -> Result<bool, serde_json::Error> {
        let is_known = EventKind::ALL.iter().any(|kind| kind.word() == message.kind);
        if !is_known {
            // A newer service may tell more than this client knows of.
            self.last_event_id = message.id.or(self.last_event_id.take());
            return Ok(true);
        }
        let event: Event = serde_json::from_str(&message.data)?;
        // Resuming behind a part of a snapshot would lose its other parts.
        let is_part = matches!(event, Event::Snapshot { is_last: false, .. });
        if !is_part && message.id.is_some() {
            self.last_event_id = message.id;
        }
        Ok(self.sender.send(Ok(Watched::Event(event))).await.is_ok())
    }
}
