//! Background tasks in memory: registrations, their instances and their output, access, manifests and settings.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use longhaul_contract::{AccessStatus, AppId, Instance, InstanceId, RegisterTaskRequest, TaskId, Timestamp};
use longhaul_engine::task::{KnownSignals, TaskChange};

use crate::contract_types::{
    Adopt, INSTANCES_KEPT, OutputWrite, PAST_TASKS_KEPT, StoredOutput, StoredPastTask, StoredTask,
    WaitHistory,
};
use crate::wait::Waits;

#[derive(Debug, Clone)]
struct KeptTask {
    record: StoredTask,
    /// Oldest first, in the order of their beginning.
    instances: VecDeque<KeptInstance>,
    waits: Waits,
}

#[derive(Debug, Clone)]
struct PastTask {
    record: StoredPastTask,
    instances: VecDeque<KeptInstance>,
}

#[derive(Debug, Clone)]
struct KeptInstance {
    /// In the order of their beginning, over all registrations.
    number: u64,
    instance: Instance,
    output: Option<StoredOutput>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Tasks {
    tasks: BTreeMap<TaskId, KeptTask>,
    access: BTreeMap<AppId, AccessStatus>,
    manifests: BTreeMap<AppId, String>,
    settings: BTreeMap<String, String>,
    signals: Option<KnownSignals>,
    /// The last one to vanish at the end.
    past: Vec<PastTask>,
    /// Instances that are not over and whose registration is gone and was not kept.
    left_over: Vec<(AppId, KeptInstance)>,
    /// What was asked for with registrations that are gone, while an instance of them is not over.
    left_over_specs: BTreeMap<TaskId, RegisterTaskRequest>,
    instances_begun: u64,
}

impl Tasks {
    pub(super) fn load_into(&self, adopter: &mut dyn Adopt) {
        for kept in self.tasks.values() {
            adopter.task(kept.record.row.clone());
        }
        for (app, status) in &self.access {
            adopter.access(app.clone(), *status);
        }
        if let Some(signals) = &self.signals {
            adopter.signals(signals.clone());
        }
        let past =
            self.past.iter().flat_map(|past| past.instances.iter().map(|kept| (&past.record.app, kept)));
        let left_over = self.left_over.iter().map(|(app, kept)| (app, kept));
        let mut running: Vec<_> =
            past.chain(left_over).filter(|(_, kept)| !kept.instance.state.is_over()).collect();
        running.sort_by_key(|(_, kept)| kept.number);
        for (app, kept) in running {
            adopter.left_over(app.clone(), kept.instance.clone());
        }
    }

    pub(super) fn apply(&mut self, change: &TaskChange) {
        match change {
            TaskChange::Registered { row, spec, time } => {
                let record = StoredTask { row: row.clone(), spec: (**spec).clone(), created: *time };
                if self.tasks.contains_key(&row.id) {
                    return;
                }
                let left_over = self.left_over.extract_if(.., |(_, kept)| kept.instance.task_id == row.id);
                let past = self.past.extract_if(.., |past| past.record.id == row.id);
                let instances =
                    left_over.map(|(_, kept)| kept).chain(past.flat_map(|past| past.instances)).collect();
                self.left_over_specs.remove(&row.id);
                let task = KeptTask { record, instances, waits: Waits::default() };
                self.tasks.insert(row.id, task);
            }
            TaskChange::Updated { row } => {
                if let Some(kept) = self.tasks.get_mut(&row.id) {
                    kept.record.row = row.clone();
                }
            }
            TaskChange::Unregistered { id, vanished } => self.unregister(*id, *vanished),
            TaskChange::Instance { instance, .. } => match self.tasks.get_mut(&instance.task_id) {
                Some(kept) => kept.keep(instance, &mut self.instances_begun),
                None => self.keep_left_over(instance),
            },
            TaskChange::Signals(signals) => self.signals = Some((**signals).clone()),
            TaskChange::Access { app, status: Some(status) } => {
                self.access.insert(app.clone(), *status);
            }
            TaskChange::Access { app, status: None } => {
                self.access.remove(app);
            }
            TaskChange::Waited { id, code, from, to } => {
                if let Some(kept) = self.tasks.get_mut(id) {
                    kept.waits.add(*code, *from, *to);
                }
            }
        }
    }

    fn unregister(&mut self, id: TaskId, vanished: Option<Timestamp>) {
        let Some(KeptTask { record, instances, .. }) = self.tasks.remove(&id) else { return };
        let StoredTask { row, spec, created } = record;
        if instances.iter().any(|kept| !kept.instance.state.is_over()) {
            self.left_over_specs.insert(id, spec);
        }
        let app = row.app;
        match vanished {
            Some(vanished) => {
                let record = StoredPastTask { app: app.clone(), id, name: row.name, created, vanished };
                self.past.push(PastTask { record, instances });
                self.forget_past(&app, PAST_TASKS_KEPT);
            }
            None => self.leave(&app, instances),
        }
    }

    /// What is not over stays until it is.
    fn leave(&mut self, app: &AppId, instances: VecDeque<KeptInstance>) {
        let running = instances.into_iter().filter(|kept| !kept.instance.state.is_over());
        self.left_over.extend(running.map(|kept| (app.clone(), KeptInstance { output: None, ..kept })));
    }

    fn forget_past(&mut self, app: &AppId, kept: usize) {
        let count = self.past.iter().filter(|past| past.record.app == *app).count();
        for _ in kept..count {
            let oldest = self
                .past
                .iter()
                .position(|past| past.record.app == *app)
                .expect("there are more than are kept");
            let oldest = self.past.remove(oldest);
            self.leave(app, oldest.instances);
        }
    }

    fn keep_left_over(&mut self, instance: &Instance) {
        if let Some(kept) = self.all_mut().find(|kept| kept.instance.id == instance.id) {
            kept.instance = instance.clone();
        }
        self.left_over.retain(|(_, kept)| !kept.instance.state.is_over());
        let past = self.past.iter().flat_map(|past| &past.instances);
        let running: BTreeSet<TaskId> = past
            .chain(self.left_over.iter().map(|(_, kept)| kept))
            .filter(|kept| !kept.instance.state.is_over())
            .map(|kept| kept.instance.task_id)
            .collect();
        self.left_over_specs.retain(|id, _| running.contains(id));
    }

    fn all_mut(&mut self) -> impl Iterator<Item = &mut KeptInstance> {
        let past = self.past.iter_mut().flat_map(|past| &mut past.instances);
        let left_over = self.left_over.iter_mut().map(|(_, kept)| kept);
        self.tasks.values_mut().flat_map(|kept| &mut kept.instances).chain(past).chain(left_over)
    }

    pub(super) fn keep_output(&mut self, write: &OutputWrite) {
        if let Some(kept) = self.all_mut().find(|kept| kept.instance.id == write.instance) {
            kept.output = Some(write.output.clone());
        }
    }

    pub(super) fn keep_setting(&mut self, name: &str, value: Option<&str>) {
        match value {
            Some(value) => self.settings.insert(name.to_owned(), value.to_owned()),
            None => self.settings.remove(name),
        };
    }

    pub(super) fn keep_manifest(&mut self, app: &AppId, identity: Option<&str>) {
        match identity {
            Some(identity) => self.manifests.insert(app.clone(), identity.to_owned()),
            None => {
                self.forget_past(app, 0);
                self.manifests.remove(app)
            }
        };
    }

    pub(super) fn applications(&self) -> impl Iterator<Item = &AppId> {
        self.tasks.values().map(|kept| &kept.record.row.app).chain(self.access.keys())
    }

    pub(super) fn task(&self, id: TaskId) -> Option<StoredTask> {
        self.tasks.get(&id).map(|kept| kept.record.clone())
    }

    pub(super) fn spec(&self, id: TaskId) -> Option<RegisterTaskRequest> {
        let registered = self.tasks.get(&id).map(|kept| &kept.record.spec);
        registered.or_else(|| self.left_over_specs.get(&id)).cloned()
    }

    pub(super) fn instances(&self, task: TaskId, limit: usize, before: Option<InstanceId>) -> Vec<Instance> {
        let mut of_task: Vec<_> = self.all().filter(|kept| kept.instance.task_id == task).collect();
        of_task.sort_by_key(|kept| std::cmp::Reverse(kept.number));
        let newest_first: Vec<&Instance> = of_task.into_iter().map(|kept| &kept.instance).collect();
        let skipped = match before {
            None => 0,
            Some(before) => newest_first
                .iter()
                .position(|instance| instance.id == before)
                .map_or(newest_first.len(), |place| place + 1),
        };
        newest_first.into_iter().skip(skipped).take(limit).cloned().collect()
    }

    fn all(&self) -> impl Iterator<Item = &KeptInstance> {
        let past = self.past.iter().flat_map(|past| &past.instances);
        let left_over = self.left_over.iter().map(|(_, kept)| kept);
        self.tasks.values().flat_map(|kept| &kept.instances).chain(past).chain(left_over)
    }

    fn find(&self, id: InstanceId) -> Option<&KeptInstance> {
        self.all().find(|kept| kept.instance.id == id)
    }

    pub(super) fn past_task(&self, id: TaskId) -> Option<StoredPastTask> {
        self.past.iter().map(|past| &past.record).find(|record| record.id == id).cloned()
    }

    pub(super) fn past_tasks(&self, app: &AppId) -> Vec<StoredPastTask> {
        self.past.iter().rev().map(|past| &past.record).filter(|record| record.app == *app).cloned().collect()
    }

    pub(super) fn instance(&self, id: InstanceId) -> Option<Instance> {
        self.find(id).map(|kept| kept.instance.clone())
    }

    pub(super) fn output(&self, id: InstanceId) -> Option<StoredOutput> {
        self.find(id).and_then(|kept| kept.output.clone())
    }

    pub(super) fn waits(&self, id: TaskId) -> WaitHistory {
        self.tasks.get(&id).map(|kept| kept.waits.history()).unwrap_or_default()
    }

    pub(super) fn setting(&self, name: &str) -> Option<String> {
        self.settings.get(name).cloned()
    }

    pub(super) fn manifests(&self) -> Vec<(AppId, String)> {
        self.manifests.iter().map(|(app, identity)| (app.clone(), identity.clone())).collect()
    }
}

impl KeptTask {
    fn keep(&mut self, instance: &Instance, begun: &mut u64) {
        if let Some(kept) = self.instances.iter_mut().find(|kept| kept.instance.id == instance.id) {
            kept.instance = instance.clone();
            return;
        }
        *begun += 1;
        self.instances.push_back(KeptInstance { number: *begun, instance: instance.clone(), output: None });
        while self.instances.len() > INSTANCES_KEPT {
            self.instances.pop_front();
        }
    }
}
