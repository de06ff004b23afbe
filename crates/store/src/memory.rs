//! A store in memory, for tests and for the simulation. It tells apart what has been committed from what would
//! survive a power cut, and it can be made to fail and to crash. Deliberately absent: anything that outlives it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use longhaul_contract::{
    AppId, CompletionGroupId, GroupName, Instance, InstanceId, Limits, OperationId, RegisterTaskRequest,
    Scope, Spec, TaskId, Timestamp, TransferBehavior,
};
use longhaul_engine::{Change, CompletionRow, Finished, Row};

use crate::contract_types::{
    Adopt, GroupStore, JournalWrite, ListQuery, Queue, Reader, Store, StoreError, StoredBody,
    StoredOperation, StoredOutput, StoredPastTask, StoredTask, TokenWrite, WaitHistory, Write,
};
use crate::matching::{Needle, prefix_bounds};
use crate::wait::Waits;

mod tasks;

use tasks::Tasks;

/// One operation and all that belongs to it.
#[derive(Debug, Clone)]
struct Kept {
    record: StoredOperation,
    keep_until: Option<Timestamp>,
    journal: Option<Vec<u8>>,
    response_body: Option<StoredBody>,
    waits: Waits,
}

impl Kept {
    fn new(row: &Row, spec: &Spec, created: Timestamp) -> Self {
        let record = StoredOperation {
            row: row.clone(),
            spec: spec.clone(),
            created,
            started: None,
            completed: None,
            consumed: None,
            received: 0,
            total: 0,
            finished: None,
            response: None,
        };
        Self { record, keep_until: None, journal: None, response_body: None, waits: Waits::default() }
    }

    fn is_final(&self) -> bool {
        self.record.completed.is_some()
    }
}

#[derive(Debug, Clone, Default)]
struct Contents {
    operations: BTreeMap<OperationId, Kept>,
    groups: BTreeMap<(AppId, GroupName), TransferBehavior>,
    completion_groups: BTreeMap<CompletionGroupId, CompletionRow>,
    limits: Option<Limits>,
    tokens: BTreeMap<[u8; 32], TokenWrite>,
    tasks: Tasks,
}

#[derive(Debug, Default)]
struct Shared {
    /// What readers see.
    committed: Contents,
    /// What a crash leaves.
    durable: Contents,
    /// Committed since the last durable write.
    lazy: Vec<Write>,
    failures: Vec<StoreError>,
    is_crashed: bool,
}

/// The writing side. Clone-free like every store; readers come from [`MemoryStore::reader`].
#[derive(Debug, Default)]
pub struct MemoryStore {
    shared: Arc<Mutex<Shared>>,
}

/// The reading side of a [`MemoryStore`].
#[derive(Debug, Clone)]
pub struct MemoryReader {
    shared: Arc<Mutex<Shared>>,
}

impl MemoryStore {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    #[must_use]
    pub fn reader(&self) -> MemoryReader {
        MemoryReader { shared: Arc::clone(&self.shared) }
    }

    /// The next commit fails so and keeps nothing; called twice, the next two do.
    pub fn fail_next(&self, error: StoreError) {
        lock(&self.shared).failures.push(error);
    }

    /// The power goes: a new store with what was durable. Whole commits that held only lazy changes are lost,
    /// and this store takes nothing any more.
    #[must_use]
    pub fn crash(&self) -> Self {
        self.crash_keeping(|_| 0)
    }

    /// As [`Self::crash`], but of the lazy changes since the last durable one so many were written in time as `kept`
    /// says of their number.
    #[must_use]
    pub fn crash_keeping(&self, kept: impl FnOnce(usize) -> usize) -> Self {
        let mut shared = lock(&self.shared);
        shared.is_crashed = true;
        let mut durable = shared.durable.clone();
        let count = kept(shared.lazy.len());
        for write in shared.lazy.iter().take(count) {
            durable.apply(write);
        }
        let survivor = Shared { committed: durable.clone(), durable, ..Shared::default() };
        Self { shared: Arc::new(Mutex::new(survivor)) }
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store for MemoryStore {
    fn load_into(&mut self, adopter: &mut dyn Adopt) -> Result<(), StoreError> {
        let shared = lock(&self.shared);
        let contents = &shared.committed;
        adopter.limits(contents.limits.clone());
        for ((app, name), behavior) in &contents.groups {
            adopter.group(app.clone(), name.clone(), *behavior);
        }
        for row in contents.completion_groups.values() {
            adopter.completion_group(row.clone());
        }
        for kept in contents.operations.values().filter(|kept| !kept.is_final()) {
            adopter.row(kept.record.row.clone());
        }
        contents.tasks.load_into(adopter);
        Ok(())
    }

    fn commit(&mut self, writes: &[Write]) -> Result<(), StoreError> {
        let mut shared = lock(&self.shared);
        if shared.is_crashed {
            return Err(StoreError::Closed);
        }
        if writes.is_empty() {
            return Ok(());
        }
        if !shared.failures.is_empty() {
            return Err(shared.failures.remove(0));
        }
        for write in writes {
            shared.committed.apply(write);
        }
        if writes.iter().any(Write::is_durable) {
            let lazy = std::mem::take(&mut shared.lazy);
            for write in lazy.iter().chain(writes) {
                shared.durable.apply(write);
            }
        } else {
            shared.lazy.extend_from_slice(writes);
        }
        Ok(())
    }
}

impl GroupStore for MemoryStore {
    type Prepared = Vec<Write>;

    fn prepare(writes: Vec<Write>) -> Result<Self::Prepared, StoreError> {
        Ok(writes)
    }

    fn commit_group(&mut self, submissions: &[Self::Prepared]) -> Vec<Result<(), StoreError>> {
        submissions.iter().map(|writes| self.commit(writes)).collect()
    }

    fn tidy(&mut self, _queue: Queue) {}

    fn close(&mut self) -> Result<(), StoreError> {
        let mut shared = lock(&self.shared);
        let lazy = std::mem::take(&mut shared.lazy);
        for write in &lazy {
            shared.durable.apply(write);
        }
        Ok(())
    }
}

impl Contents {
    fn apply(&mut self, write: &Write) {
        match write {
            Write::Change(change) => self.apply_change(change),
            Write::Journal(journal) => self.apply_journal(journal),
            Write::Token(token) => {
                self.tokens.insert(token.hash, token.clone());
            }
            Write::Output(output) => self.tasks.keep_output(output),
            Write::ResponseBody(write) => {
                if let Some(kept) = self.operations.get_mut(&write.id) {
                    kept.response_body = Some(write.body.clone());
                }
            }
            Write::Setting { name, value } => self.tasks.keep_setting(name, value.as_deref()),
            Write::Manifest { app, identity } => self.tasks.keep_manifest(app, identity.as_deref()),
        }
    }

    fn live(&mut self, id: OperationId) -> Option<&mut Kept> {
        self.operations.get_mut(&id).filter(|kept| !kept.is_final())
    }

    fn apply_change(&mut self, change: &Change) {
        match change {
            Change::Created { row, spec, time } => {
                self.operations.entry(row.id).or_insert_with(|| Kept::new(row, spec, *time));
            }
            Change::Updated { row } => {
                if let Some(kept) = self.live(row.id) {
                    kept.record.row = row.clone();
                }
            }
            Change::Counted { id, fruitless_attempts, has_bytes } => {
                if let Some(kept) = self.live(*id) {
                    kept.record.row.fruitless_attempts = *fruitless_attempts;
                    kept.record.row.has_bytes = *has_bytes;
                }
            }
            Change::Patched { id, patch } => {
                if let Some(kept) = self.operations.get_mut(id) {
                    kept.record.spec.apply((**patch).clone());
                }
            }
            Change::Started { id, time } => {
                if let Some(kept) = self.operations.get_mut(id) {
                    kept.record.started.get_or_insert(*time);
                }
            }
            Change::Ended { row, time, finished, response, keep_until } => {
                if let Some(kept) = self.live(row.id) {
                    kept.end(row, *time, finished.as_deref());
                    kept.record.response.clone_from(response);
                    kept.keep_until = Some(*keep_until);
                }
            }
            Change::Consumed { id, time, keep_until } => {
                if let Some(kept) = self.operations.get_mut(id).filter(|kept| kept.is_final()) {
                    kept.record.consumed.get_or_insert(*time);
                    kept.keep_until = Some(*keep_until);
                }
            }
            Change::Removed { id } => {
                self.operations.remove(id);
            }
            Change::Waited { id, code, from, to } => {
                if let Some(kept) = self.operations.get_mut(id) {
                    kept.waits.add(*code, *from, *to);
                }
            }
            Change::Group { app, name, behavior } => {
                self.groups.insert((app.clone(), name.clone()), *behavior);
            }
            Change::GroupRemoved { app, name } => {
                self.groups.remove(&(app.clone(), name.clone()));
            }
            Change::Limits(limits) => self.limits = Some(limits.clone()),
            Change::CompletionGroup { row } => {
                let kept = self.completion_groups.entry(row.id).or_insert_with(|| row.clone());
                kept.state = row.state.clone();
            }
            Change::CompletionGroupRemoved { id } => {
                self.completion_groups.remove(id);
            }
            Change::Task(change) => self.tasks.apply(change),
        }
    }

    fn apply_journal(&mut self, journal: &JournalWrite) {
        if let Some(kept) = self.live(journal.id) {
            kept.record.received = journal.received;
            kept.record.total = journal.total;
            kept.journal = Some(journal.record.clone());
        }
    }

    fn ids<'a>(&'a self, query: &'a ListQuery) -> Box<dyn Iterator<Item = &'a Kept> + 'a> {
        let after = query.after;
        if query.descending {
            Box::new(
                self.operations
                    .iter()
                    .rev()
                    .skip_while(move |(id, _)| after.is_some_and(|after| **id >= after))
                    .map(|(_, kept)| kept),
            )
        } else {
            Box::new(
                self.operations
                    .iter()
                    .skip_while(move |(id, _)| after.is_some_and(|after| **id <= after))
                    .map(|(_, kept)| kept),
            )
        }
    }
}

impl Kept {
    fn end(&mut self, row: &Row, time: Timestamp, finished: Option<&Finished>) {
        self.record.row = row.clone();
        self.record.completed = Some(time);
        if let Some(size) = finished.and_then(|finished| finished.receipt.size) {
            self.record.received = size;
            self.record.total = size;
        }
        self.record.finished = finished.cloned();
        self.journal = None;
    }
}

fn is_listed(kept: &Kept, query: &ListQuery, needle: Option<&Needle>) -> bool {
    let StoredOperation { row, spec, consumed, .. } = &kept.record;
    query.app.as_ref().is_none_or(|app| *app == row.app)
        && query.kind.is_none_or(|kind| kind == row.kind)
        && query.group.as_ref().is_none_or(|group| row.group.as_ref() == Some(group))
        && !(query.only_ungrouped && row.group.is_some())
        && query.label.as_ref().is_none_or(|label| spec.label() == Some(label.as_str()))
        && query.is_final.is_none_or(|is_final| is_final == kept.is_final())
        && (query.include_consumed || consumed.is_none())
        && needle.is_none_or(|needle| needle.matches(spec.requested_uri(), &spec.files(), spec.label()))
}

impl Reader for MemoryReader {
    fn operation(&self, id: OperationId) -> Result<Option<StoredOperation>, StoreError> {
        Ok(lock(&self.shared).committed.operations.get(&id).map(|kept| kept.record.clone()))
    }

    fn operations(&self, ids: &[OperationId]) -> Result<Vec<StoredOperation>, StoreError> {
        let shared = lock(&self.shared);
        let operations = &shared.committed.operations;
        Ok(ids.iter().filter_map(|id| operations.get(id)).map(|kept| kept.record.clone()).collect())
    }

    fn list(&self, query: &ListQuery) -> Result<Vec<StoredOperation>, StoreError> {
        let needle = query.text.as_deref().map(Needle::new);
        let shared = lock(&self.shared);
        Ok(shared
            .committed
            .ids(query)
            .filter(|kept| is_listed(kept, query, needle.as_ref()))
            .take(query.limit)
            .map(|kept| kept.record.clone())
            .collect())
    }

    fn ids_with_prefix(
        &self,
        app: &AppId,
        prefix: &str,
        limit: usize,
    ) -> Result<Vec<OperationId>, StoreError> {
        let Some((lower, upper)) = prefix_bounds(prefix) else { return Ok(Vec::new()) };
        let shared = lock(&self.shared);
        let matching = shared.committed.operations.range(lower..=upper);
        Ok(matching.filter(|(_, kept)| kept.record.row.app == *app).map(|(id, _)| *id).take(limit).collect())
    }

    fn unconsumed(&self, app: &AppId, ids: &[OperationId]) -> Result<Vec<OperationId>, StoreError> {
        let shared = lock(&self.shared);
        let is_unconsumed = |id: &&OperationId| {
            shared.committed.operations.get(id).is_some_and(|kept| {
                kept.is_final() && kept.record.consumed.is_none() && kept.record.row.app == *app
            })
        };
        Ok(ids.iter().filter(is_unconsumed).copied().collect())
    }

    fn response_body(&self, id: OperationId) -> Result<Option<StoredBody>, StoreError> {
        let shared = lock(&self.shared);
        Ok(shared.committed.operations.get(&id).and_then(|kept| kept.response_body.clone()))
    }

    fn journal(&self, id: OperationId) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(lock(&self.shared).committed.operations.get(&id).and_then(|kept| kept.journal.clone()))
    }

    fn waits(&self, id: OperationId) -> Result<WaitHistory, StoreError> {
        let shared = lock(&self.shared);
        Ok(shared.committed.operations.get(&id).map(|kept| kept.waits.history()).unwrap_or_default())
    }

    fn token(&self, hash: &[u8; 32]) -> Result<Option<(AppId, Vec<Scope>)>, StoreError> {
        let shared = lock(&self.shared);
        Ok(shared.committed.tokens.get(hash).map(|token| (token.app.clone(), token.scopes.clone())))
    }

    fn tokens(&self, app: &AppId) -> Result<Vec<Vec<Scope>>, StoreError> {
        let shared = lock(&self.shared);
        let mut tokens: Vec<&TokenWrite> =
            shared.committed.tokens.values().filter(|token| token.app == *app).collect();
        tokens.sort_by_key(|token| (token.created, token.hash));
        Ok(tokens.into_iter().map(|token| token.scopes.clone()).collect())
    }

    fn applications(&self) -> Result<Vec<AppId>, StoreError> {
        let shared = lock(&self.shared);
        let Contents { operations, groups, completion_groups, tokens, tasks, .. } = &shared.committed;
        let mut apps: Vec<AppId> = operations.values().map(|kept| kept.record.row.app.clone()).collect();
        apps.extend(groups.keys().map(|(app, _)| app.clone()));
        apps.extend(completion_groups.values().map(|row| row.app.clone()));
        apps.extend(tokens.values().map(|token| token.app.clone()));
        apps.extend(tasks.applications().cloned());
        apps.sort();
        apps.dedup();
        Ok(apps)
    }

    fn prunable(&self, time: Timestamp, limit: usize) -> Result<Vec<(AppId, OperationId)>, StoreError> {
        let shared = lock(&self.shared);
        let mut due: Vec<_> = shared
            .committed
            .operations
            .iter()
            .filter_map(|(id, kept)| Some((kept.keep_until?, *id, kept.record.row.app.clone())))
            .filter(|(keep_until, _, _)| *keep_until < time)
            .collect();
        due.sort();
        Ok(due.into_iter().take(limit).map(|(_, id, app)| (app, id)).collect())
    }

    fn completion_members(&self, group: CompletionGroupId) -> Result<Vec<StoredOperation>, StoreError> {
        let shared = lock(&self.shared);
        let records = shared.committed.operations.values().map(|kept| &kept.record);
        Ok(records.filter(|record| record.row.completion_group == Some(group)).cloned().collect())
    }

    fn task_spec(&self, id: TaskId) -> Result<Option<RegisterTaskRequest>, StoreError> {
        Ok(lock(&self.shared).committed.tasks.spec(id))
    }

    fn task(&self, id: TaskId) -> Result<Option<StoredTask>, StoreError> {
        Ok(lock(&self.shared).committed.tasks.task(id))
    }

    fn tasks(&self, ids: &[TaskId]) -> Result<Vec<StoredTask>, StoreError> {
        let shared = lock(&self.shared);
        Ok(ids.iter().filter_map(|id| shared.committed.tasks.task(*id)).collect())
    }

    fn past_task(&self, id: TaskId) -> Result<Option<StoredPastTask>, StoreError> {
        Ok(lock(&self.shared).committed.tasks.past_task(id))
    }

    fn past_tasks(&self, app: &AppId) -> Result<Vec<StoredPastTask>, StoreError> {
        Ok(lock(&self.shared).committed.tasks.past_tasks(app))
    }

    fn instances(
        &self,
        task: TaskId,
        limit: usize,
        before: Option<InstanceId>,
    ) -> Result<Vec<Instance>, StoreError> {
        Ok(lock(&self.shared).committed.tasks.instances(task, limit, before))
    }

    fn instance(&self, id: InstanceId) -> Result<Option<Instance>, StoreError> {
        Ok(lock(&self.shared).committed.tasks.instance(id))
    }

    fn instance_output(&self, id: InstanceId) -> Result<Option<StoredOutput>, StoreError> {
        Ok(lock(&self.shared).committed.tasks.output(id))
    }

    fn task_waits(&self, id: TaskId) -> Result<WaitHistory, StoreError> {
        Ok(lock(&self.shared).committed.tasks.waits(id))
    }

    fn setting(&self, name: &str) -> Result<Option<String>, StoreError> {
        Ok(lock(&self.shared).committed.tasks.setting(name))
    }

    fn manifests(&self) -> Result<Vec<(AppId, String)>, StoreError> {
        Ok(lock(&self.shared).committed.tasks.manifests())
    }
}
