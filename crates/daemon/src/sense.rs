//! Carries what the host senses to the loop and to the workers. Deliberately absent: what follows from it.

mod blockers;
mod devices;
mod meter;

use std::sync::Arc;
use std::time::Duration;

use longhaul_engine::Fact;
use longhaul_engine::task::TaskFact;
use longhaul_host::wants::WantId;
use longhaul_host::{Delay, HostChange, HostWatch, Machine};
use longhaul_transfer::Transfers;
use tokio::sync::mpsc;

use crate::heart::Heart;
use crate::host_desk::{HostDesk, Sensed};
use crate::http::details_of_push;
use crate::wants;

pub(crate) use blockers::{Blockers, Orders, keep_watch};
pub(crate) use devices::{Devices, attached, describe};
pub(crate) use meter::meter;

/// Time for a checkpoint that is under way when the machine wants to sleep, and for the one after it.
const SYNCS_MAX: Duration = Duration::from_secs(1);

/// From waking up to the first new connection.
const SETTLE: Duration = Duration::from_secs(1);

/// The first look at the host, and the watch that tells of changes. Sources that are missing leave their signals
/// unknown.
pub(crate) async fn look() -> (Sensed, HostWatch) {
    let watch = HostWatch::open(Machine::here()).await;
    (sensed(&watch), watch)
}

fn sensed(watch: &HostWatch) -> Sensed {
    Sensed { state: watch.state().clone(), connection: watch.connection().map(ToOwned::to_owned) }
}

/// Reports every change, for ever. `unsaved_max` is how long bytes that have arrived may wait to be made durable.
pub(crate) async fn sense(
    mut watch: HostWatch,
    desk: Arc<HostDesk>,
    heart: Heart,
    transfers: Transfers,
    devices: Devices,
    unsaved_max: Duration,
    kept: mpsc::UnboundedSender<(WantId, serde_json::Value)>,
) {
    loop {
        match watch.next().await {
            HostChange::State => {
                let state = watch.state();
                tracing::info!(level = ?state.network.level.value(), "the host changed");
                desk.sensed(sensed(&watch));
            }
            HostChange::Moved => {
                tracing::info!("the network changed");
                transfers.network_changed();
                desk.prod();
            }
            HostChange::Clock(change) => {
                tracing::info!(shift_micros = change.shift_micros, slept = ?change.slept, "the clock changed");
                desk.prod();
                heart.report(None, Fact::Task(TaskFact::ClockChanged));
            }
            HostChange::Suspending(delay) => {
                tracing::info!(waits = delay.is_held(), "the machine is about to sleep");
                desk.prod();
                tokio::spawn(hold(delay, heart.clone(), unsaved_max));
            }
            HostChange::Resumed => {
                tracing::info!("the machine woke up");
                transfers.network_changed();
                tokio::spawn(renew(transfers.clone()));
                heart.report(None, Fact::Task(TaskFact::ClockChanged));
            }
            HostChange::ShuttingDown(delay) => {
                tracing::info!(waits = delay.is_held(), "the machine is about to shut down");
                desk.prod();
                tokio::spawn(hold(delay, heart.clone(), unsaved_max));
            }
            HostChange::Device(event) => devices.seen(event),
            HostChange::Wanted(id, details) => {
                let (id, details) = (wants::task_of(id), Arc::from(details.to_string()));
                tracing::info!(task = %id, "what a task waits for has come");
                heart.report(None, Fact::Task(TaskFact::Fired { id, details }));
            }
            HostChange::Pushed { id, channel, message } => {
                let (id, details) = (wants::task_of(id), details_of_push(&channel, &message).into());
                tracing::info!(task = %id, "a push message has come");
                heart.report(None, Fact::Task(TaskFact::Fired { id, details }));
            }
            // Nobody keeps only while everything is being stopped.
            HostChange::Kept(id, value) => drop(kept.send((id, value))),
            HostChange::Event(event, details) => {
                tracing::info!(%event, "the machine tells of something");
                let details = Arc::from(details.to_string());
                heart.report(None, Fact::Task(TaskFact::System { event, app: None, details }));
            }
        }
    }
}

/// Connections from before a sleep are made anew, once the network has had time to come back: its own links, and what
/// gives out addresses. Where it needs longer, the level of the network tells.
async fn renew(transfers: Transfers) {
    tokio::time::sleep(SETTLE).await;
    transfers.resumed();
}

/// Lets the machine go on once what has arrived up to now is durable: the workers begin to see to that at least every
/// `unsaved_max`, and an answer of the loop comes after its commit.
async fn hold(delay: Delay, heart: Heart, unsaved_max: Duration) {
    if delay.is_held() {
        tokio::time::sleep(unsaved_max + SYNCS_MAX).await;
        // A loop that is gone has written everything down.
        let _ = heart.ask(|_, _| ()).await;
    }
    drop(delay);
}
