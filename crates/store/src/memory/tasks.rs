//! Background tasks in memory: registrations, their instances and their output, access, manifests and settings.

use std::collections::{BTreeMap, VecDeque};

use longhaul_contract::{AccessStatus, AppId, Instance, InstanceId, RegisterTaskRequest, TaskId};
use longhaul_engine::task::{KnownSignals, TaskChange};

use crate::contract_types::{Adopt, INSTANCES_KEPT, OutputWrite, StoredOutput, StoredTask, WaitHistory};
use crate::wait::Waits;

#[derive(Debug, Clone)]
struct KeptTask {
    record: StoredTask,
    /// Oldest first, in the order of their beginning.
    instances: VecDeque<KeptInstance>,
    waits: Waits,
}

#[derive(Debug, Clone)]
struct KeptInstance {
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
    /// Instances that are not over and whose registration is gone, in the order of their beginning.
    left_over: Vec<(AppId, KeptInstance)>,
    /// What was asked for with their registrations.
    left_over_specs: BTreeMap<TaskId, RegisterTaskRequest>,
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
        for (app, kept) in &self.left_over {
            adopter.left_over(app.clone(), kept.instance.clone());
        }
    }

    pub(super) fn apply(&mut self, change: &TaskChange) {
        match change {
            TaskChange::Registered { row, spec, time } => {
                let record = StoredTask { row: row.clone(), spec: (**spec).clone(), created: *time };
                let left_over = self.left_over.extract_if(.., |(_, kept)| kept.instance.task_id == row.id);
                let instances = left_over.map(|(_, kept)| kept).collect();
                self.left_over_specs.remove(&row.id);
                let task = KeptTask { record, instances, waits: Waits::default() };
                self.tasks.entry(row.id).or_insert(task);
            }
            TaskChange::Updated { row } => {
                if let Some(kept) = self.tasks.get_mut(&row.id) {
                    kept.record.row = row.clone();
                }
            }
            TaskChange::Unregistered { id } => {
                if let Some(task) = self.tasks.remove(id) {
                    let app = task.record.row.app;
                    let left = task.instances.into_iter().filter(|kept| !kept.instance.state.is_over());
                    let left = left.map(|kept| (app.clone(), KeptInstance { output: None, ..kept }));
                    let before = self.left_over.len();
                    self.left_over.extend(left);
                    if self.left_over.len() > before {
                        self.left_over_specs.insert(*id, task.record.spec);
                    }
                }
            }
            TaskChange::Instance { instance, .. } => match self.tasks.get_mut(&instance.task_id) {
                Some(kept) => kept.keep(instance),
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

    fn keep_left_over(&mut self, instance: &Instance) {
        if let Some((_, kept)) = self.left_over.iter_mut().find(|(_, kept)| kept.instance.id == instance.id) {
            kept.instance = instance.clone();
        }
        self.left_over.retain(|(_, kept)| !kept.instance.state.is_over());
        let left_over = &self.left_over;
        let is_needed = |id: &TaskId| left_over.iter().any(|(_, kept)| kept.instance.task_id == *id);
        self.left_over_specs.retain(|id, _| is_needed(id));
    }

    pub(super) fn keep_output(&mut self, write: &OutputWrite) {
        let left_over = self.left_over.iter_mut().map(|(_, kept)| kept);
        let mut instances = self.tasks.values_mut().flat_map(|kept| &mut kept.instances).chain(left_over);
        if let Some(kept) = instances.find(|kept| kept.instance.id == write.instance) {
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
            None => self.manifests.remove(app),
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
        let kept = self.tasks.get(&task).map(|kept| &kept.instances);
        let left_over = self.left_over.iter().map(|(_, kept)| kept);
        let left_over = left_over.filter(|kept| kept.instance.task_id == task);
        let newest_first = kept.into_iter().flatten().chain(left_over).rev().map(|kept| &kept.instance);
        let newest_first: Vec<&Instance> = newest_first.collect();
        let skipped = match before {
            None => 0,
            Some(before) => newest_first
                .iter()
                .position(|instance| instance.id == before)
                .map_or(newest_first.len(), |place| place + 1),
        };
        newest_first.into_iter().skip(skipped).take(limit).cloned().collect()
    }

    fn find(&self, id: InstanceId) -> Option<&KeptInstance> {
        let left_over = self.left_over.iter().map(|(_, kept)| kept);
        self.tasks
            .values()
            .flat_map(|kept| &kept.instances)
            .chain(left_over)
            .find(|kept| kept.instance.id == id)
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
    fn keep(&mut self, instance: &Instance) {
        if let Some(kept) = self.instances.iter_mut().find(|kept| kept.instance.id == instance.id) {
            kept.instance = instance.clone();
            return;
        }
        self.instances.push_back(KeptInstance { instance: instance.clone(), output: None });
        while self.instances.len() > INSTANCES_KEPT {
            self.instances.pop_front();
        }
    }
}
