//! The one writer thread of a store, and the handle to it.
//!
//! While a commit syncs, whatever is submitted gathers and goes into the next one (group commit). Changes that
//! nobody was promised wait for company, or for a one-shot timer; with nothing pending the thread sleeps without
//! a timer. Deliberately absent: any knowledge of what is written.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::contract_types::{GroupStore, Loaded, Queue, StoreError, Write};

/// Writes in one transaction, unless a single submission brings more.
const GROUP_WRITES_MAX: usize = 4096;

/// How long changes that are not durable may wait for company.
const LAZY_DELAY: Duration = Duration::from_secs(1);

/// A handle to the writer thread; clones share it. The thread closes the store when [`Writer::close`] is called
/// or the last handle is dropped.
#[derive(Clone)]
pub struct Writer {
    queue: Arc<dyn Submit>,
}

/// What became of a submission. It need not be awaited: the writes are on their way.
#[must_use = "a submission may be refused"]
pub struct Acknowledgement(oneshot::Receiver<Result<(), StoreError>>);

impl Writer {
    /// Moves `store` into a thread of its own.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start<S: GroupStore>(store: S) -> Result<Self, StoreError> {
        let (sender, receiver) = channel();
        std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || WriterThread { store, receiver, group: Vec::new(), due: None }.run())
            .map_err(|error| StoreError::CannotWrite(format!("no thread for the writer: {error}")))?;
        Ok(Self { queue: Arc::new(SubmitQueue::<S> { sender }) })
    }

    /// Writes all or none. Submissions of one thread are applied in order. Resolves when the writes are durable;
    /// if none of them has to be, at once.
    pub fn submit(&self, writes: Vec<Write>) -> Acknowledgement {
        let (acknowledge, acknowledgement) = oneshot::channel();
        self.queue.submit(writes, acknowledge);
        Acknowledgement(acknowledgement)
    }

    /// What the store holds now, after everything that was submitted before: to begin anew after a failed commit.
    ///
    /// # Errors
    /// The store cannot be read, or is closed.
    pub async fn load(&self) -> Result<Loaded, StoreError> {
        let (reply, loaded) = oneshot::channel();
        self.queue.load(reply);
        loaded.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Writes what was submitted before and closes the store. Later submissions answer [`StoreError::Closed`].
    pub fn close(&self) -> Acknowledgement {
        let (acknowledge, acknowledgement) = oneshot::channel();
        self.queue.close(acknowledge);
        Acknowledgement(acknowledgement)
    }
}

impl Acknowledgement {
    /// Waits in a thread that may block.
    ///
    /// # Errors
    /// Nothing of the submission is kept.
    pub fn wait(self) -> Result<(), StoreError> {
        self.0.blocking_recv().unwrap_or(Err(StoreError::Closed))
    }
}

impl Future for Acknowledgement {
    type Output = Result<(), StoreError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|answer| answer.unwrap_or(Err(StoreError::Closed)))
    }
}

type Acknowledge = oneshot::Sender<Result<(), StoreError>>;
type LoadReply = oneshot::Sender<Result<Loaded, StoreError>>;

/// The queue to a writer thread, whatever its store is made of.
trait Submit: Send + Sync {
    fn submit(&self, writes: Vec<Write>, acknowledge: Acknowledge);
    fn load(&self, reply: LoadReply);
    fn close(&self, acknowledge: Acknowledge);
}

struct SubmitQueue<S: GroupStore> {
    sender: Sender<Message<S::Prepared>>,
}

enum Message<P> {
    Submission(Submission<P>),
    Load(LoadReply),
    Close(Acknowledge),
}

struct Submission<P> {
    prepared: P,
    /// How many writes it holds.
    writes: usize,
    /// `None` for one that may wait and has been acknowledged.
    acknowledge: Option<Acknowledge>,
}

impl<S: GroupStore> Submit for SubmitQueue<S> {
    fn submit(&self, writes: Vec<Write>, acknowledge: Acknowledge) {
        let count = writes.len();
        let is_durable = writes.iter().any(Write::is_durable);
        let prepared = match S::prepare(writes) {
            Ok(prepared) => prepared,
            Err(error) => {
                let _ = acknowledge.send(Err(error));
                return;
            }
        };
        let (later, at_once) = if is_durable { (Some(acknowledge), None) } else { (None, Some(acknowledge)) };
        let submission = Submission { prepared, writes: count, acknowledge: later };
        // A thread that has ended drops the message and with it the acknowledgement, which then says `Closed`.
        let is_open = self.sender.send(Message::Submission(submission)).is_ok();
        if let Some(acknowledge) = at_once {
            let _ = acknowledge.send(if is_open { Ok(()) } else { Err(StoreError::Closed) });
        }
    }

    fn load(&self, reply: LoadReply) {
        let _ = self.sender.send(Message::Load(reply));
    }

    fn close(&self, acknowledge: Acknowledge) {
        let _ = self.sender.send(Message::Close(acknowledge));
    }
}

struct WriterThread<S: GroupStore> {
    store: S,
    receiver: Receiver<Message<S::Prepared>>,
    /// What the next transaction will hold, in the order of submission.
    group: Vec<Submission<S::Prepared>>,
    /// When the group is written although nothing in it is durable.
    due: Option<Instant>,
}

/// What ends the thread.
enum End {
    Asked(Acknowledge),
    Abandoned,
}

impl<S: GroupStore> WriterThread<S> {
    fn run(mut self) {
        let end = self.serve();
        self.commit();
        let closed = self.store.close();
        drop(self.store);
        match (end, closed) {
            (End::Asked(acknowledge), closed) => {
                let _ = acknowledge.send(closed);
            }
            (End::Abandoned, Err(error)) => tracing::warn!(%error, "the store was not closed cleanly"),
            (End::Abandoned, Ok(())) => {}
        }
    }

    fn serve(&mut self) -> End {
        let mut next = None;
        loop {
            let message = match next.take() {
                Some(message) => message,
                None => match self.receive() {
                    Ok(Some(message)) => message,
                    Ok(None) => {
                        self.commit();
                        self.store.tidy(Queue::Empty);
                        continue;
                    }
                    Err(end) => return end,
                },
            };
            if let Some(end) = self.gather(message) {
                return end;
            }
            if self.group.is_empty() {
                continue;
            }
            if self.group.iter().all(|submission| submission.acknowledge.is_none()) {
                self.due.get_or_insert_with(|| Instant::now() + LAZY_DELAY);
                if self.gathered_writes() < GROUP_WRITES_MAX {
                    continue;
                }
            }
            self.commit();
            next = match self.receiver.try_recv() {
                Ok(message) => Some(message),
                Err(TryRecvError::Empty) => None,
                Err(TryRecvError::Disconnected) => return End::Abandoned,
            };
            self.store.tidy(if next.is_some() { Queue::Waiting } else { Queue::Empty });
        }
    }

    /// Waits for a message; `None` when what may wait has waited long enough.
    fn receive(&self) -> Result<Option<Message<S::Prepared>>, End> {
        match self.due {
            None => self.receiver.recv().map(Some).map_err(|_| End::Abandoned),
            Some(due) => match self.receiver.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(message) => Ok(Some(message)),
                Err(RecvTimeoutError::Timeout) => Ok(None),
                Err(RecvTimeoutError::Disconnected) => Err(End::Abandoned),
            },
        }
    }

    /// Takes `message` and all that is queued behind it, up to the size of one transaction.
    fn gather(&mut self, message: Message<S::Prepared>) -> Option<End> {
        let mut writes = self.gathered_writes();
        let mut next = Some(message);
        while let Some(message) = next {
            match message {
                Message::Submission(submission) => {
                    writes += submission.writes;
                    self.group.push(submission);
                }
                Message::Load(reply) => {
                    self.commit();
                    writes = 0;
                    let _ = reply.send(self.store.load());
                }
                Message::Close(acknowledge) => return Some(End::Asked(acknowledge)),
            }
            next = if writes < GROUP_WRITES_MAX { self.receiver.try_recv().ok() } else { None };
        }
        None
    }

    fn gathered_writes(&self) -> usize {
        self.group.iter().map(|submission| submission.writes).sum()
    }

    fn commit(&mut self) {
        self.due = None;
        if self.group.is_empty() {
            return;
        }
        let (prepared, acknowledges): (Vec<_>, Vec<_>) =
            self.group.drain(..).map(|submission| (submission.prepared, submission.acknowledge)).unzip();
        let results = self.store.commit_group(&prepared);
        for (acknowledge, result) in acknowledges.into_iter().zip(results) {
            match (acknowledge, result) {
                (Some(acknowledge), result) => {
                    let _ = acknowledge.send(result);
                }
                (None, Err(error)) => tracing::debug!(%error, "changes that nobody waits for were not kept"),
                (None, Ok(())) => {}
            }
        }
    }
}
