//! Background tasks in memory: registrations, their instances and their output, access, manifests and settings.

use std::collections::{BTreeMap, VecDeque};

use longhaul_contract::{AccessStatus, AppId, Instance, InstanceId, TaskId};
use longhaul_engine::task::TaskChange;

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
}

impl Tasks {
    pub(super) fn load_into(&self, adopter: &mut dyn Adopt) {
        for kept in self.tasks.values() {
            adopter.task(kept.record.row.clone());
        }
        for (app, status) in &self.access {
            adopter.access(app.clone(), *status);
        }
    }

    pub(super) fn apply(&mut self, change: &TaskChange) {
        match change {
            TaskChange::Registered { row, spec, time } => {
                let record = StoredTask { row: row.clone(), spec: (**spec).clone(), created: *time };
                self.tasks.entry(row.id).or_insert_with(|| KeptTask {
                    record,
                    instances: VecDeque::new(),
                    waits: Waits::default(),
                });
            }
            TaskChange::Updated { row } => {
                if let Some(kept) = self.tasks.get_mut(&row.id) {
                    kept.record.row = row.clone();
                }
            }
            TaskChange::Unregistered { id } => {
                self.tasks.remove(id);
            }
            TaskChange::Instance { instance, .. } => {
                if let Some(kept) = self.tasks.get_mut(&instance.task_id) {
                    kept.keep(instance);
                }
            }
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

    pub(super) fn keep_output(&mut self, write: &OutputWrite) {
        let mut instances = self.tasks.values_mut().flat_map(|kept| &mut kept.instances);
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

    pub(super) fn instances(&self, task: TaskId, limit: usize, before: Option<InstanceId>) -> Vec<Instance> {
        let Some(kept) = self.tasks.get(&task) else { return Vec::new() };
        let newest_first = kept.instances.iter().rev().map(|kept| &kept.instance);
        match before {
            None => newest_first.take(limit).cloned().collect(),
            Some(before) => newest_first
                .skip_while(|instance| instance.id != before)
                .skip(1)
                .take(limit)
                .cloned()
                .collect(),
        }
    }

    fn find(&self, id: InstanceId) -> Option<&KeptInstance> {
        self.tasks.values().flat_map(|kept| &kept.instances).find(|kept| kept.instance.id == id)
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
