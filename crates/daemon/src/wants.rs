//! What registered tasks want the machine to watch for, and what has to be kept of that over a restart.
//!
//! Sources that cost something run only for these. Deliberately absent: what a want means; the host knows.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use longhaul_contract::{RegisterTaskRequest, TaskId, Timestamp, TriggerSpec};
use longhaul_engine::task::TaskChange;
use longhaul_engine::{Change, Plan};
use longhaul_host::wants::{Want, WantId, Wants};
use longhaul_store::{Reader, StoreError, Write, Writer};
use serde_json::Value;
use tokio::sync::{mpsc, watch};

use crate::admission;
use crate::heart::Heart;

/// The settings of the store that hold what is kept, one for each registration.
fn setting(id: TaskId) -> String {
    format!("wanted/{id}")
}

fn want_of(id: TaskId) -> WantId {
    WantId(*id.as_bytes())
}

pub(crate) fn task_of(id: WantId) -> TaskId {
    TaskId::from_bytes(id.0)
}

pub(crate) struct WantDesk {
    wants: watch::Sender<Wants>,
    writer: Writer,
    /// What was kept for tasks that want something.
    kept: Mutex<BTreeMap<TaskId, Value>>,
}

/// Registrations of one commit that concern the sources.
#[derive(Debug, Default)]
pub(crate) struct WantChanges {
    added: Vec<(TaskId, TriggerSpec, Timestamp)>,
    removed: Vec<TaskId>,
}

impl WantChanges {
    pub(crate) fn of(plan: &Plan) -> Self {
        let mut changes = Self::default();
        for change in &plan.changes {
            if let Change::Task(TaskChange::Registered { row, spec, time }) = change
                && admission::is_watched_for(spec.trigger.kind)
            {
                changes.added.push((row.id, spec.trigger.clone(), *time));
            }
        }
        changes.removed.extend(plan.tasks_removed.iter().map(|(_, id)| *id));
        changes
    }
}

/// What there is at start.
#[derive(Debug, Default)]
pub(crate) struct FirstWants {
    wants: Wants,
    kept: BTreeMap<TaskId, Value>,
}

impl FirstWants {
    /// Of these registrations. May block.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(crate) fn load(tasks: &[TaskId], reader: &dyn Reader) -> Result<Self, StoreError> {
        let mut first = Self::default();
        for record in reader.tasks(tasks)? {
            let (id, RegisterTaskRequest { trigger, .. }) = (record.row.id, &record.spec);
            if admission::is_watched_for(trigger.kind) {
                let kept = reader.setting(&setting(id))?;
                let kept = kept.and_then(|text| serde_json::from_str::<Value>(&text).ok());
                first.kept.extend(kept.clone().map(|kept| (id, kept)));
                first.wants.extend(wish(id, trigger, record.created, kept));
            }
        }
        Ok(first)
    }
}

impl WantDesk {
    pub(crate) fn new(first: FirstWants, wants: watch::Sender<Wants>, writer: Writer) -> Self {
        let FirstWants { wants: found, kept } = first;
        if !found.is_empty() {
            wants.send_modify(|wants| wants.extend(found));
        }
        Self { wants, writer, kept: Mutex::new(kept) }
    }

    fn kept(&self) -> MutexGuard<'_, BTreeMap<TaskId, Value>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a push message for the task is to be sent, as its distributor said.
    pub(crate) fn endpoint(&self, id: TaskId) -> Option<String> {
        self.kept().get(&id)?.get("endpoint")?.as_str().map(str::to_owned)
    }

    /// These are on disk.
    pub(crate) fn take(&self, changes: WantChanges) {
        let WantChanges { added, removed } = changes;
        let removed: Vec<TaskId> =
            removed.into_iter().filter(|id| self.wants.borrow().contains_key(&want_of(*id))).collect();
        if added.is_empty() && removed.is_empty() {
            return;
        }
        self.wants.send_modify(|wants| {
            wants.extend(added.iter().filter_map(|(id, spec, time)| wish(*id, spec, *time, None)));
            for id in &removed {
                wants.remove(&want_of(*id));
            }
        });
        let mut kept = self.kept();
        let gone = removed.into_iter().filter(|id| kept.remove(id).is_some());
        let writes: Vec<Write> = gone.map(|id| Write::Setting { name: setting(id), value: None }).collect();
        if !writes.is_empty() {
            // What stays behind of a registration that is gone is of no harm.
            drop(self.writer.submit(writes));
        }
    }

    /// Writes down what the host wants to find again. Answers once what it rests on has been decided and kept.
    async fn keep(&self, heart: &Heart, id: TaskId, value: Value) {
        // A loop that is gone has written everything down.
        let _ = heart.ask(|_, _| ()).await;
        if !self.wants.borrow().contains_key(&want_of(id)) {
            return;
        }
        let text = value.to_string();
        self.kept().insert(id, value);
        let write = Write::Setting { name: setting(id), value: Some(text) };
        if let Err(error) = self.writer.submit(vec![write]).await {
            tracing::error!(task = %id, %error, "where a task's trigger stands cannot be kept");
        }
    }

    /// Keeps what comes, in its order, until nobody sends any more.
    pub(crate) async fn keep_all(&self, heart: Heart, mut kept: mpsc::UnboundedReceiver<(WantId, Value)>) {
        while let Some((id, value)) = kept.recv().await {
            self.keep(&heart, task_of(id), value).await;
        }
    }
}

fn wish(id: TaskId, spec: &TriggerSpec, since: Timestamp, kept: Option<Value>) -> Option<(WantId, Want)> {
    match admission::want(spec, since, kept) {
        Ok(want) => Some((want_of(id), want?)),
        Err(error) => {
            tracing::error!(task = %id, ?error, "a registration's trigger cannot be read any more");
            None
        }
    }
}
