//! What devices that come and go mean for tasks: the one that waits for it fires, and the one that works with it ends.
//! Deliberately absent: which devices there are, and when (see `longhaul_host::devices`).

use std::path::Path;
use std::sync::Arc;

use longhaul_contract::{TaskId, TriggerKind, TriggerSpec};
use longhaul_engine::Fact;
use longhaul_engine::task::TaskFact;
use longhaul_host::devices::{Device, DeviceEvent, DeviceId};
use longhaul_store::Reader;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::heart::Heart;
use crate::http::{Answer, Refused};

/// Where the files of this machine begin.
const ROOT: &str = "/";

/// A handle to the one who attends to devices; it ends with the last one.
pub(crate) struct Devices(mpsc::UnboundedSender<Option<DeviceEvent>>);

impl Devices {
    pub(crate) fn attend(heart: Heart, reader: Arc<dyn Reader>) -> Self {
        let (sender, mut events) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                if look(&heart, &reader, event).await.is_none() {
                    return;
                }
            }
        });
        Self(sender)
    }

    /// A device came or went; `None`: some did and nobody knows which.
    pub(crate) fn seen(&self, event: Option<DeviceEvent>) {
        // Nobody attends only while everything is being stopped.
        let _ = self.0.send(event);
    }
}

/// `None` when the service is stopping.
async fn look(heart: &Heart, reader: &Arc<dyn Reader>, event: Option<DeviceEvent>) -> Option<()> {
    let tasks = heart.ask(|engine, _| engine.device_tasks()).await.ok()?;
    if tasks.is_empty() {
        return Some(());
    }
    let reader = Arc::clone(reader);
    let facts = tokio::task::spawn_blocking(move || {
        tasks.into_iter().filter_map(|(id, kind)| consequence(&*reader, id, kind, event.as_ref())).collect()
    });
    let facts: Vec<TaskFact> = facts.await.ok()?;
    for fact in facts {
        heart.report(None, Fact::Task(fact));
    }
    Some(())
}

/// What the event means for one registration. It is believed as far as the kernel's tree agrees: of two devices of one
/// kind one may have gone, and what came may be gone again.
fn consequence(
    reader: &dyn Reader,
    id: TaskId,
    kind: TriggerKind,
    event: Option<&DeviceEvent>,
) -> Option<TaskFact> {
    let trigger = reader.task(id).ok()??.spec.trigger;
    let device: DeviceId = trigger.parameters.get("deviceId")?.parse().ok()?;
    if event.is_some_and(|event| !device.is_concerned(event)) {
        return None;
    }
    let found = device.find(Path::new(ROOT));
    if kind != TriggerKind::DeviceConnectionChangeTrigger {
        tracing::info!(%id, is_there = found.is_some(), "a device that a task may work with came or went");
        return found.is_none().then_some(TaskFact::DeviceGone { id });
    }
    // Of events that were lost it is not known what changed.
    let has_come = event?.has_come;
    if has_come != found.is_some() {
        return None;
    }
    let mut details = json!({ "isConnected": has_come });
    match &found {
        Some(found) => describe(&mut details, &trigger, found),
        None => details["deviceId"] = trigger.parameters.get("deviceId").cloned().into(),
    }
    Some(TaskFact::Fired { id, details: details.to_string().into() })
}

/// The device of a trigger, if it is there.
pub(crate) async fn attached(trigger: &TriggerSpec) -> Answer<Option<Device>> {
    let Some(Ok(device)) = trigger.parameters.get("deviceId").map(|id| id.parse::<DeviceId>()) else {
        return Ok(None);
    };
    let found = tokio::task::spawn_blocking(move || device.find(Path::new(ROOT))).await;
    found.map_err(|error| Refused::internal(&error))
}

/// Puts into the details of a trigger what its task needs to find the device.
pub(crate) fn describe(details: &mut Value, trigger: &TriggerSpec, device: &Device) {
    details["deviceId"] = trigger.parameters.get("deviceId").cloned().into();
    details["devicePath"] = device.path.display().to_string().into();
    if let Some(node) = &device.node {
        details["deviceNode"] = node.display().to_string().into();
    }
}
