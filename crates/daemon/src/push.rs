//! Push channels: which registrations a message to a channel fires (PushNotificationTrigger).
//!
//! A channel that was made here is an address nobody can guess, and whoever has it may send. A channel that an
//! application named itself is its own and means nothing to others.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use longhaul_contract::{AppId, RegisterTaskRequest, TaskId, TriggerKind};
use longhaul_store::{Reader, StoreError};

/// Beginning of every channel that was made here.
const MARK: &str = "push_";

const PARAMETER: &str = "channel";

#[derive(Debug, Default)]
pub(crate) struct PushDesk {
    channels: Mutex<HashMap<String, Vec<(AppId, TaskId)>>>,
}

impl PushDesk {
    /// With the registrations there are at start. May block.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(crate) fn load(tasks: &[TaskId], reader: &dyn Reader) -> Result<Self, StoreError> {
        let desk = Self::default();
        for record in reader.tasks(tasks)? {
            desk.add(&record.row.app, record.row.id, &record.spec);
        }
        Ok(desk)
    }

    fn channels(&self) -> MutexGuard<'_, HashMap<String, Vec<(AppId, TaskId)>>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add(&self, app: &AppId, id: TaskId, spec: &RegisterTaskRequest) {
        if spec.trigger.kind == TriggerKind::PushNotificationTrigger
            && let Some(channel) = spec.trigger.parameters.get(PARAMETER)
        {
            self.channels().entry(channel.clone()).or_default().push((app.clone(), id));
        }
    }

    /// The registrations that a message of `sender` fires; some may be gone by now.
    pub(crate) fn find(&self, channel: &str, sender: &AppId) -> Vec<(AppId, TaskId)> {
        let is_open = channel.starts_with(MARK);
        let channels = self.channels();
        let found = channels.get(channel).into_iter().flatten();
        found.filter(|(app, _)| is_open || app == sender).cloned().collect()
    }

    /// These are gone.
    pub(crate) fn forget(&self, channel: &str, gone: &[TaskId]) {
        let mut channels = self.channels();
        if let Some(found) = channels.get_mut(channel) {
            found.retain(|(_, id)| !gone.contains(id));
            if found.is_empty() {
                channels.remove(channel);
            }
        }
    }
}

/// Gives a registration that names no channel one of its own. Nobody but us makes channels that begin so.
pub(crate) fn complete_channel(spec: &mut RegisterTaskRequest) {
    if spec.trigger.kind == TriggerKind::PushNotificationTrigger {
        let channel = || format!("{MARK}{}", hex::encode(rand::random::<[u8; 24]>()));
        spec.trigger.parameters.entry(PARAMETER.to_owned()).or_insert_with(channel);
    }
}

/// Whether an application may name a channel so.
pub(crate) fn is_name_free(channel: &str) -> bool {
    !channel.starts_with(MARK)
}
