//! One turn after the other: gather, decide, write down, let go.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use longhaul_contract::{AppId, CancelReason, HostState, Limits, Timestamp};
use longhaul_engine::task::{TaskChange, TaskFact};
use longhaul_engine::{AttemptEnd, BootTime, Change, Effect, Engine, Fact, Now, Plan, Policy, Wish};
use longhaul_host::clock::{self, Alarm};
use longhaul_store::{StoreError, Write, Writer};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::ahead::Ahead;
use super::{
    Circumstances, Condition, Granted, Inbox, Life, Message, Question, Reply, Reported, store_unavailable,
};
use crate::asks::Asks;
use crate::http::{Answer, Refused};
use crate::metrics::Metrics;
use crate::news::{Item, News};
use crate::notices::Notices;
use crate::runs::Runs;
use crate::wants::{WantChanges, WantDesk};
use crate::workers::Workers;

/// Operations in one commit, as far as single wishes allow.
const BATCH_OPERATIONS_MAX: usize = 4096;

/// After a commit failed, work is let go again after this time, and after twice as long each time it fails again.
const HOLD_MIN: Duration = Duration::from_secs(1);
const HOLD_MAX: Duration = Duration::from_mins(1);

/// What the loop is made of.
pub(crate) struct Parts {
    pub(crate) inbox: Inbox,
    pub(crate) writer: Writer,
    pub(crate) workers: Workers,
    pub(crate) runs: Runs,
    pub(crate) notices: Notices,
    pub(crate) asks: Asks,
    pub(crate) wants: Arc<WantDesk>,
    pub(crate) news: Arc<News>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) policy: Policy,
    /// In force until the store keeps others.
    pub(crate) limits: Limits,
    pub(crate) host: HostState,
    /// As [`Circumstances::held_back`].
    pub(crate) held_back: BTreeSet<AppId>,
}

/// The loop itself.
pub(crate) struct Beat {
    pub(super) parts: Parts,
    engine: Engine,
    alarm: Alarm,
    life: Life,
    pub(super) held: Option<Held>,
    pub(super) ahead: Ahead,
    is_over: bool,
}

/// Effects that wait until the store is believed to write again.
pub(super) struct Held {
    effects: Vec<Effect>,
    until: Instant,
    delay: Duration,
}

/// What gathers for one commit.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) plan: Plan,
    replies: Vec<(Reply, Answer<Granted>)>,
    questions: Vec<Question>,
    operations: usize,
    stop: Option<(Instant, oneshot::Sender<()>)>,
}

impl Batch {
    fn has_room(&self) -> bool {
        self.operations < BATCH_OPERATIONS_MAX && self.stop.is_none()
    }
}

fn now() -> Now {
    Now { wall: Timestamp::now(), boot: BootTime(clock::boot_micros()) }
}

impl Beat {
    /// `engine` has what the store has.
    ///
    /// # Errors
    /// The system gives no timer.
    pub(crate) fn new(parts: Parts, engine: Engine) -> std::io::Result<Self> {
        let alarm = Alarm::new()?;
        Ok(Self { parts, engine, alarm, life: 1, held: None, ahead: Ahead::default(), is_over: false })
    }

    /// Runs until it is asked to stop.
    pub(crate) async fn run(mut self) {
        self.parts.workers.begin_life(self.life);
        self.parts.runs.begin_life(self.life);
        let plan = self.engine.begin(now());
        self.settle(Batch { plan, ..Batch::default() }).await;
        while !self.is_over {
            let mut batch = self.next().await;
            self.gather(&mut batch);
            if let Some((deadline, reply)) = batch.stop.take() {
                let stop = TaskFact::Revoked { app: None, reason: CancelReason::Terminating };
                batch.plan.merge(self.engine.observe(now(), Fact::Task(stop)));
                self.settle(batch).await;
                self.finish(deadline).await;
                // Whoever asked may have given up waiting.
                let _ = reply.send(());
                return;
            }
            self.settle(batch).await;
        }
    }

    /// Waits for the first thing to do.
    async fn next(&mut self) -> Batch {
        if let Some(batch) = self.take_ahead() {
            return batch;
        }
        let mut batch = Batch::default();
        let held_until = self.held.as_ref().map(|held| held.until);
        let hold_is_over = async {
            match held_until {
                Some(until) => tokio::time::sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            Some(reported) = self.parts.inbox.facts.recv() => self.observe(&mut batch, reported),
            () = self.alarm.rang() => batch.plan.merge(self.engine.wake(now())),
            Some(message) = self.parts.inbox.messages.recv() => self.take(&mut batch, message),
            () = hold_is_over => self.release_held(),
        }
        batch
    }

    /// Takes what has arrived meanwhile.
    fn gather(&mut self, batch: &mut Batch) {
        while batch.has_room() {
            let reported = self.parts.inbox.facts.try_recv().ok();
            let message = self.parts.inbox.messages.try_recv().ok();
            if reported.is_none() && message.is_none() {
                return;
            }
            if let Some(reported) = reported {
                self.observe(batch, reported);
            }
            if let Some(message) = message {
                self.take(batch, message);
            }
        }
    }

    pub(super) fn observe(&mut self, batch: &mut Batch, Reported { life, fact }: Reported) {
        if life.is_some_and(|life| life != self.life) {
            return;
        }
        if let Fact::Host(state) = &fact {
            self.parts.host = (**state).clone();
        }
        if let Fact::Task(TaskFact::AccessRules(rules)) = &fact {
            self.parts.policy.tasks.access_rules.clone_from(rules);
        }
        if let Fact::HeldBack { app, is_held_back } = &fact {
            match is_held_back {
                true => self.parts.held_back.insert(app.clone()),
                false => self.parts.held_back.remove(app),
            };
        }
        batch.operations += 1;
        self.parts.metrics.facts.inc();
        batch.plan.merge(self.engine.observe(now(), fact));
    }

    fn take(&mut self, batch: &mut Batch, message: Message) {
        match message {
            Message::Wish(wish, reply) => {
                batch.operations += wish_size(&wish);
                let answer = self.decide(&mut batch.plan, wish);
                batch.replies.push((reply, answer));
            }
            Message::Question(question) => batch.questions.push(question),
            Message::Stop(deadline, reply) => batch.stop = Some((deadline, reply)),
        }
    }

    fn decide(&mut self, plan: &mut Plan, wish: Wish) -> Answer<Granted> {
        let now = now();
        let about: Vec<_> = match &wish {
            Wish::Create(operations) => {
                operations.iter().map(|operation| (operation.app.clone(), operation.id)).collect()
            }
            Wish::Command { app, id, .. } => vec![(app.clone(), *id)],
            Wish::Consume { .. }
            | Wish::PutGroup { .. }
            | Wish::PutLimits(_)
            | Wish::Forget { .. }
            | Wish::Completion(_)
            | Wish::Unconstrain { .. }
            | Wish::Task(_) => Vec::new(),
        };
        self.parts.metrics.wishes.inc();
        let mut decided = self.engine.command(now, wish)?;
        let task = decided.answer.take();
        plan.merge(decided);
        let live = about.iter().map(|(app, id)| self.engine.live(now, app, *id)).collect();
        Ok(Granted { time: now.wall, live, task })
    }

    /// Writes down what was decided, and only then lets it go.
    async fn settle(&mut self, batch: Batch) {
        let Batch { plan, replies, questions, .. } = batch;
        let task_news = task_news(&plan);
        let wants = WantChanges::of(&plan);
        let Plan { changes, effects, touched, removed, .. } = plan;
        if !changes.is_empty() {
            let needs_sync = changes.iter().any(Change::is_durable);
            match self.commit_and_go_on(changes).await {
                Ok(()) if needs_sync => self.believe_store(),
                Ok(()) => {}
                Err(error) => return self.recover(error, replies, questions).await,
            }
        }
        self.parts.wants.take(wants);
        for (reply, answer) in replies {
            // Whoever wished may have gone; what was granted stays granted.
            let _ = reply.send(answer);
        }
        match &mut self.held {
            Some(held) => held.effects.extend(effects),
            None => self.bring_about(effects),
        }
        self.parts.news.publish(touched, removed);
        self.parts.news.publish_tasks(task_news);
        self.answer(questions);
        self.set_alarm();
    }

    /// Submits at once; what comes back waits and borrows nothing.
    pub(super) fn commit(
        &self,
        changes: Vec<Change>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send + use<> {
        let began = std::time::Instant::now();
        let metrics = Arc::clone(&self.parts.metrics);
        metrics.commit_changes.observe(f64::from(u32::try_from(changes.len()).unwrap_or(u32::MAX)));
        let written = self.parts.writer.submit(changes.into_iter().map(Write::Change).collect());
        async move {
            let result = written.await;
            metrics.commit_seconds.observe(began.elapsed().as_secs_f64());
            result
        }
    }

    fn answer(&mut self, questions: Vec<Question>) {
        if questions.is_empty() {
            return;
        }
        let now = now();
        for question in questions {
            question(&self.engine, now);
        }
    }

    fn set_alarm(&mut self) {
        let wake = self.engine.next_wake();
        if let Err(error) = self.alarm.set(wake.boot.map(|boot| boot.0), wake.wall.map(Timestamp::micros)) {
            tracing::error!(%error, "the alarm cannot be set");
        }
    }

    /// The store has written: work need not be held back any longer.
    fn believe_store(&mut self) {
        self.parts.inbox.condition.send_if_modified(|condition| {
            let is_news = *condition != Condition::Well;
            *condition = Condition::Well;
            is_news
        });
        self.release_held();
    }

    fn release_held(&mut self) {
        if let Some(held) = self.held.take() {
            self.bring_about(held.effects);
        }
    }

    fn bring_about(&self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Task(effect) => self.parts.runs.bring_about(effect),
                Effect::AskInput { app, id } => self.parts.asks.ask(app, id),
                Effect::Notify { app, of, is_success } => self.parts.notices.show(app, of, is_success),
                effect => self.parts.workers.bring_about(&effect),
            }
        }
    }
}

/// What watchers of tasks should hear of. An instance comes before its task: the end of the run, then what is next.
pub(super) fn task_news(plan: &Plan) -> Vec<(AppId, Item)> {
    let instances = plan.changes.iter().filter_map(|change| match change {
        Change::Task(TaskChange::Instance { app, instance }) => {
            Some((app.clone(), Item::Instance(instance.id)))
        }
        _ => None,
    });
    let touched = plan.tasks_touched.iter().map(|(app, id)| (app.clone(), Item::Task(*id)));
    let removed = plan.tasks_removed.iter().map(|(app, id)| (app.clone(), Item::TaskRemoved(*id)));
    instances.chain(touched).chain(removed).collect()
}

/// After a commit that failed.
impl Beat {
    /// Refuses the batch, and begins again from what the store has.
    async fn recover(
        &mut self,
        error: StoreError,
        replies: Vec<(Reply, Answer<Granted>)>,
        questions: Vec<Question>,
    ) {
        self.tell_failure(&error);
        self.ahead.forget_decisions();
        for (reply, answer) in replies {
            // A refusal stands; what was granted is not on disk. Whoever wished may have gone.
            let _ = reply.send(answer.and_then(|_| Err(store_unavailable())));
        }
        let mut delay = self.held.take().map_or(HOLD_MIN, |held| (held.delay * 2).min(HOLD_MAX));
        while !self.is_over {
            let Some(plan) = self.begin_again().await else { break };
            let Plan { changes, effects, .. } = plan;
            match self.commit(changes).await {
                Ok(()) => {
                    self.held = Some(Held { effects, until: Instant::now() + delay, delay });
                    break;
                }
                Err(error) => self.tell_failure(&error),
            }
            self.refuse_until(tokio::time::sleep(delay)).await;
            delay = (delay * 2).min(HOLD_MAX);
        }
        self.parts.news.publish_everything();
        self.answer(questions);
        self.set_alarm();
    }

    fn tell_failure(&self, error: &StoreError) {
        tracing::error!(%error, "the store cannot write; beginning again from what it has");
        self.parts.metrics.commit_failures.inc();
        self.parts.inbox.condition.send_replace(Condition::Degraded(error.to_string()));
    }

    /// A new life: the workers let go, and a new engine takes over what the store has. `None` if the end comes first.
    async fn begin_again(&mut self) -> Option<Plan> {
        self.life += 1;
        self.parts.workers.begin_life(self.life);
        self.parts.runs.begin_life(self.life);
        let workers = self.parts.workers.clone();
        let runs = self.parts.runs.clone();
        let writer = self.parts.writer.clone();
        let loaded = self
            .refuse_until(async move {
                let deadline = Instant::now() + HOLD_MIN;
                workers.none_left(deadline).await;
                runs.none_left(deadline).await;
                let mut delay = HOLD_MIN;
                loop {
                    match writer.load().await {
                        Ok(loaded) => return loaded,
                        Err(error) => tracing::error!(%error, "the store cannot be read"),
                    }
                    tokio::time::sleep(delay).await;
                    delay = (delay * 2).min(HOLD_MAX);
                }
            })
            .await?;
        let circumstances = Circumstances {
            policy: self.parts.policy.clone(),
            limits: self.parts.limits.clone(),
            host: self.parts.host.clone(),
            held_back: self.parts.held_back.clone(),
        };
        self.engine = circumstances.engine_with(loaded);
        Some(self.engine.begin(now()))
    }

    /// Refuses whatever is wished until `future` resolves; `None` if the service is asked to stop before.
    async fn refuse_until<T>(&mut self, future: impl Future<Output = T>) -> Option<T> {
        let mut future = std::pin::pin!(future);
        loop {
            tokio::select! {
                biased;
                output = &mut future => return Some(output),
                message = self.parts.inbox.messages.recv() => match message {
                    Some(Message::Wish(_, reply)) => {
                        // Whoever wished may have gone.
                        let _ = reply.send(Err(store_unavailable()));
                    }
                    // Dropped without an answer: whoever asked is told that the service cannot say.
                    Some(Message::Question(_)) => {}
                    // A store that fails has nothing more to lose: the answer may come at once.
                    Some(Message::Stop(..)) | None => {
                        self.is_over = true;
                        return None;
                    }
                },
            }
        }
    }

    /// The end: all workers let go, and what they still have to tell is kept. New work is not begun.
    async fn finish(&mut self, deadline: Instant) {
        self.parts.workers.let_go();
        self.parts.runs.let_go();
        if let Some(batch) = self.take_ahead()
            && !self.keep_last(batch).await
        {
            return;
        }
        loop {
            let none_left = async {
                self.parts.workers.none_left(deadline).await;
                self.parts.runs.none_left(deadline).await;
            };
            tokio::select! {
                biased;
                Some(reported) = self.parts.inbox.facts.recv() => {
                    let mut batch = Batch::default();
                    let more = std::iter::from_fn(|| self.parts.inbox.facts.try_recv().ok());
                    let all: Vec<_> = std::iter::once(reported).chain(more).collect();
                    for reported in all {
                        if !is_plain_stop(&reported.fact) {
                            self.observe(&mut batch, reported);
                        }
                    }
                    if !self.keep_last(batch).await {
                        return;
                    }
                }
                Some(message) = self.parts.inbox.messages.recv() => match message {
                    Message::Wish(_, reply) => {
                        // Whoever wished may have gone.
                        let _ = reply.send(Err(Refused::shutting_down()));
                    }
                    Message::Question(question) => self.answer(vec![question]),
                    Message::Stop(_, reply) => drop(reply),
                },
                () = none_left => return,
            }
        }
    }
}

impl Beat {
    /// Writes down what was decided at the end; its effects are for the next start. `false` if the store cannot.
    async fn keep_last(&mut self, batch: Batch) -> bool {
        let task_news = task_news(&batch.plan);
        let Plan { changes, touched, removed, .. } = batch.plan;
        if !changes.is_empty()
            && let Err(error) = self.commit(changes).await
        {
            tracing::error!(%error, "the last changes could not be kept");
            return false;
        }
        self.parts.news.publish(touched, removed);
        self.parts.news.publish_tasks(task_news);
        true
    }
}

/// What the stop itself brings about is no news for the engine: the next start begins with what the store has.
fn is_plain_stop(fact: &Fact) -> bool {
    matches!(fact, Fact::Ended { end: AttemptEnd::Stopped, .. })
}

fn wish_size(wish: &Wish) -> usize {
    match wish {
        Wish::Create(operations) => operations.len(),
        Wish::Consume { ids, .. } => ids.len(),
        Wish::Forget { ids } => ids.len(),
        Wish::Unconstrain { ids, .. } => ids.len(),
        Wish::Command { .. }
        | Wish::PutGroup { .. }
        | Wish::PutLimits(_)
        | Wish::Completion(_)
        | Wish::Task(_) => 1,
    }
}
