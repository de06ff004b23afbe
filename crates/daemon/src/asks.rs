//! Asks for what operations need: a new address, header or credential. Who is asked stands in what was asked for; whether and
//! when is the engine's to say. Asking is repeatable: after a restart whatever still needs input is asked for again.

mod webhook;

pub(crate) use webhook::{WebhookError, address as webhook_address};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use longhaul_contract::input::InputNeeded;
use longhaul_contract::{AppId, OperationId, OperationKind, PatchDownload, TaskId, TransferStatus};
use longhaul_engine::task::TaskFact;
use longhaul_engine::{Command, Fact, Wish};
use longhaul_store::{Reader, StoredOperation};

use crate::admission::Reach;
use crate::heart::Heart;
use crate::{admission, view};

/// Pauses before a webhook that did not answer is asked again; after the last, the operation waits for its caller.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(10)];

/// Answers in a row that brought no byte after which nobody is asked any more.
const FRUITLESS_MAX: u32 = 3;
/// Operations whose answers are counted.
const COUNTED_MAX: usize = 4096;

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Asks {
    reader: Arc<dyn Reader>,
    heart: Heart,
    /// What tasks have been asked for and not yet repaired.
    asked: Arc<Mutex<BTreeMap<TaskId, BTreeSet<OperationId>>>>,
    /// Bytes that were there when somebody was asked, and how often that was since.
    rounds: Arc<Mutex<BTreeMap<OperationId, (u64, u32)>>>,
}

impl Asks {
    pub(crate) fn new(reader: Arc<dyn Reader>, heart: Heart) -> Self {
        Self { reader, heart, asked: Arc::default(), rounds: Arc::default() }
    }

    pub(crate) fn ask(&self, app: AppId, id: OperationId) {
        let asks = self.clone();
        tokio::spawn(async move {
            let reader = Arc::clone(&asks.reader);
            let record = tokio::task::spawn_blocking(move || reader.operation(id)).await;
            // Without a record there is nothing left that could be repaired.
            let Ok(Ok(Some(record))) = record else { return };
            let Some(callback) = record.spec.input_callback().cloned() else { return };
            if !asks.may_ask(id, record.received) {
                tracing::info!(%id, "what was answered has not helped: it waits for its caller");
                return;
            }
            match (callback.task, callback.webhook) {
                (Some(task), _) => asks.fire(app, task, id).await,
                (None, Some(webhook)) => asks.call(app, &webhook, record).await,
                (None, None) => {}
            }
        });
    }

    /// An answer that does not help must not become a storm of requests.
    fn may_ask(&self, id: OperationId, received: u64) -> bool {
        let mut rounds = self.rounds.lock().unwrap_or_else(PoisonError::into_inner);
        if rounds.len() >= COUNTED_MAX {
            rounds.clear();
        }
        let (at, count) = rounds.entry(id).or_insert((received, 0));
        if *at != received {
            (*at, *count) = (received, 0);
        }
        *count += 1;
        *count <= FRUITLESS_MAX
    }

    /// Fires the task with all that it has to look after: a firing that waits is replaced by the next.
    async fn fire(&self, app: AppId, task: TaskId, id: OperationId) {
        let candidates = {
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            let of_task = asked.entry(task).or_default();
            of_task.insert(id);
            of_task.clone()
        };
        let asked = self.heart.ask(move |engine, now| {
            engine.task_live(now, &app, task)?;
            let needs = |id: &OperationId| {
                let live = engine.live(now, &app, *id);
                live.is_some_and(|live| live.status == TransferStatus::PausedRecoverableWebErrorStatus)
            };
            Some(candidates.into_iter().filter(needs).collect::<Vec<_>>())
        });
        let Ok(found) = asked.await else { return };
        let Some(needs_input) = found else {
            tracing::info!(%id, %task, "the task that an operation wants to be asked is not registered");
            return;
        };
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.insert(task, needs_input.iter().copied().collect());
        drop(asked);
        if needs_input.is_empty() {
            return;
        }
        let details = serde_json::to_string(&InputNeeded { needs_input }).expect("ids are plain data");
        self.heart.report(None, Fact::Task(TaskFact::Fired { id: task, details: details.into() }));
    }

    async fn call(&self, app: AppId, webhook: &str, record: StoredOperation) {
        let id = record.row.id;
        let asked = app.clone();
        let live = self.heart.ask(move |engine, now| engine.live(now, &asked, id)).await;
        let Ok(Some(live)) = live else { return };
        let operation = view::of_record(record, live.into(), None);
        for pause in PAUSES.map(Some).into_iter().chain([None]) {
            match webhook::post(webhook, &operation).await {
                Ok(None) => return,
                Ok(Some(patch)) => return self.repair(app, id, patch).await,
                Err(error) => tracing::info!(%id, %error, "a webhook does not answer as it should"),
            }
            match pause {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return,
            }
        }
    }

    async fn repair(&self, app: AppId, id: OperationId, mut patch: PatchDownload) {
        let origin = match admission::check_patch(&mut patch, OperationKind::Download, Reach::Everywhere) {
            Ok(origin) => origin,
            Err(refused) => {
                tracing::info!(%id, problem = %refused.problem(), "a webhook answered what cannot be used");
                return;
            }
        };
        let patch = Command::Patch { patch: Box::new(patch), origin };
        for command in [patch, Command::Resume] {
            let wish = Wish::Command { app: app.clone(), id, command };
            if let Err(refused) = self.heart.wish(wish).await {
                // Its caller was faster, or canceled it.
                tracing::info!(%id, problem = %refused.problem(), "an operation cannot be repaired any more");
                return;
            }
        }
    }
}
