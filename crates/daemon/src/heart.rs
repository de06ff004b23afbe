//! The loop at the centre: wishes and facts come in by one queue, the engine decides, the store commits, and only
//! then do replies, work and news leave. While a commit syncs, the next batch gathers in the queue.
//!
//! A commit that fails leaves the engine ahead of the store. Then everything of the batch is refused, the workers let
//! go, and a new engine is built from what the store has: the same path as after a crash.

mod adopting;
mod ahead;
mod beat;

use longhaul_contract::{ErrorCode, Timestamp};
use longhaul_engine::task::TaskAnswer;
use longhaul_engine::{Engine, Fact, Live, Now, Wish};
use tokio::sync::{mpsc, oneshot, watch};

use crate::http::{Answer, Refused};

pub(crate) use adopting::Circumstances;
pub(crate) use beat::{Beat, Parts};

/// Wishes and questions that may wait; more callers wait at the door.
const QUEUE_MAX: usize = 4096;

/// Number of the engine's life: it grows when the engine is built anew, and facts of earlier lives are void.
pub(crate) type Life = u64;

/// What is granted, once it is on disk.
#[derive(Debug)]
pub(crate) struct Granted {
    /// The instant of the decision.
    pub(crate) time: Timestamp,
    /// How the operations of the wish are now, in its order.
    pub(crate) live: Vec<Option<Live>>,
    /// What a wish about tasks answers.
    pub(crate) task: Option<TaskAnswer>,
}

type Reply = oneshot::Sender<Answer<Granted>>;
type Question = Box<dyn FnOnce(&Engine, Now) + Send>;

enum Message {
    Wish(Wish, Reply),
    Question(Question),
    /// Let go of all work; answered when no worker is left or the deadline has passed.
    Stop(tokio::time::Instant, oneshot::Sender<()>),
}

/// What workers and the host report.
#[derive(Debug)]
pub(crate) struct Reported {
    /// `None` for facts that hold in every life.
    pub(crate) life: Option<Life>,
    pub(crate) fact: Fact,
}

/// Whether the service can keep its promises.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Condition {
    Well,
    /// The store cannot write.
    Degraded(String),
}

/// A handle to the loop.
#[derive(Clone)]
pub(crate) struct Heart {
    messages: mpsc::Sender<Message>,
    facts: mpsc::UnboundedSender<Reported>,
    condition: watch::Receiver<Condition>,
}

/// The other ends of a [`Heart`].
pub(crate) struct Inbox {
    messages: mpsc::Receiver<Message>,
    facts: mpsc::UnboundedReceiver<Reported>,
    condition: watch::Sender<Condition>,
}

impl Heart {
    pub(crate) fn new() -> (Self, Inbox) {
        let (message_sender, messages) = mpsc::channel(QUEUE_MAX);
        let (fact_sender, facts) = mpsc::unbounded_channel();
        let (condition_sender, condition) = watch::channel(Condition::Well);
        let heart = Self { messages: message_sender, facts: fact_sender, condition };
        (heart, Inbox { messages, facts, condition: condition_sender })
    }

    /// Resolves when the wish is refused, or granted and on disk.
    pub(crate) async fn wish(&self, wish: Wish) -> Answer<Granted> {
        let (reply, granted) = oneshot::channel();
        self.messages.send(Message::Wish(wish, reply)).await.map_err(|_| Refused::shutting_down())?;
        granted.await.unwrap_or_else(|_| Err(Refused::shutting_down()))
    }

    /// Asks the engine; what the answer tells is on disk.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Engine, Now) -> T + Send + 'static,
    ) -> Answer<T> {
        let (reply, answer) = oneshot::channel();
        let question: Question = Box::new(move |engine, now| {
            // Whoever asked may have gone.
            let _ = reply.send(question(engine, now));
        });
        self.messages.send(Message::Question(question)).await.map_err(|_| Refused::shutting_down())?;
        answer.await.map_err(|_| Refused::shutting_down())
    }

    /// Resolves once the loop has come to this question; answers whether it goes on. A loop that cannot answer because
    /// the store is away still turns, and starting the service again would not bring the store back.
    pub(crate) async fn turns(&self) -> bool {
        // Answered or dropped: either way somebody has taken it.
        let _ = self.ask(|_, _| ()).await;
        !self.messages.is_closed()
    }

    /// Never waits and never loses: facts may not.
    pub(crate) fn report(&self, life: Option<Life>, fact: Fact) {
        // Without a loop there is nobody to whom it could matter.
        let _ = self.facts.send(Reported { life, fact });
    }

    pub(crate) fn condition(&self) -> Condition {
        self.condition.borrow().clone()
    }

    /// Stops the loop: all workers let go and keep their bytes, and what they report until `deadline` is kept.
    pub(crate) async fn stop(&self, deadline: tokio::time::Instant) {
        let (reply, stopped) = oneshot::channel();
        if self.messages.send(Message::Stop(deadline, reply)).await.is_ok() {
            // An error means that the loop has ended, which is what was asked for.
            let _ = stopped.await;
        }
    }
}

fn store_unavailable() -> Refused {
    Refused::new(ErrorCode::StoreUnavailable, "nothing was changed; the log of the service has the details")
}
