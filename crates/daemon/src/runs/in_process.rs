//! A run inside a program that is connected.

use std::sync::Arc;
use std::time::Duration;

use longhaul_contract::instance::Activation;
use longhaul_engine::task::{InstanceEnd, InstanceOutcome};

use super::activations::Activations;
use super::failed;
use super::live::{Live, Said};

/// How long a program may be away before what ran in it counts as lost with it.
const AWAY_MAX: Duration = Duration::from_secs(10);

pub(super) async fn run(
    activations: &Arc<Activations>,
    activation: Activation,
    live: &Arc<Live>,
    report_running: impl FnOnce(),
) -> InstanceEnd {
    let mut to = activations.begin(&live.app, activation);
    let (mut wanted, mut said) = (live.wanted(), live.said());
    if to.borrow().is_some() {
        report_running();
    }
    let end = loop {
        let is_away = to.borrow_and_update().is_none();
        if let Some(canceled) = wanted.borrow_and_update().canceled {
            activations.cancel(live.id, canceled.reason);
        }
        tokio::select! {
            biased;
            over = said.wait_for(Said::is_over) => {
                break match over.ok().and_then(|said| said.completed.clone().flatten()) {
                    None => InstanceOutcome::Completed,
                    Some(detail) => InstanceOutcome::Failed { detail, is_host_crash: false },
                };
            }
            _ = wanted.changed() => {}
            _ = to.changed() => {}
            () = tokio::time::sleep(AWAY_MAX), if is_away => {
                let detail = "the program that ran it has gone".to_owned();
                break InstanceOutcome::Failed { detail, is_host_crash: true };
            }
        }
        if wanted.borrow().is_killed {
            activations.end(live.id);
            return InstanceEnd {
                was_killed: true,
                ..with_numbers(failed("it did not end when asked"), live)
            };
        }
    };
    activations.end(live.id);
    with_numbers(InstanceEnd { outcome: end, ..failed("") }, live)
}

fn with_numbers(end: InstanceEnd, live: &Live) -> InstanceEnd {
    InstanceEnd { progress: live.progress(), suspended_count: live.suspended_count(), ..end }
}
