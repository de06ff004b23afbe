//! Looks at the counts of data plans while bytes move, when the network or the clock changed, and when a verdict ends by
//! itself. While nothing moves there is one timer, for the end of the period.

use std::sync::Arc;
use std::time::Duration;

use longhaul_contract::Timestamp;

use crate::host_desk::HostDesk;
use crate::workers::Workers;

/// Between two looks while bytes move: what a plan can be overrun by is what arrives in this time.
const PERIOD: Duration = Duration::from_secs(1);

/// Timers do not run on while the machine sleeps, and the clock may be set; both are told and looked at then.
const WAIT_MAX: Duration = Duration::from_hours(24 * 32);

/// Counts for ever; returns at once without plans.
pub(crate) async fn meter(desk: Arc<HostDesk>, workers: Workers) {
    if !desk.has_data_plans() {
        return;
    }
    let mut moving = workers.subscribe();
    loop {
        let is_moving = *moving.borrow_and_update() > 0;
        let changes_at = desk.count(!is_moving).await;
        let wait = if is_moving { PERIOD } else { changes_at.map_or(WAIT_MAX, until) };
        tokio::select! {
            _ = moving.changed() => {}
            () = desk.prodded() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

fn until(time: Timestamp) -> Duration {
    let micros = u64::try_from(time.0.saturating_sub(Timestamp::now().0)).unwrap_or(0);
    // A moment later, so that it is over by the clock of the wall as well.
    Duration::from_micros(micros).saturating_add(Duration::from_secs(1)).min(WAIT_MAX)
}
