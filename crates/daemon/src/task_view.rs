//! Registrations and instances as their applications see them: the stored record, what the engine says of this instant,
//! and the progress of a run.

use longhaul_contract::{BackgroundTask, BackgroundTaskDetail, Instance, InstanceState, PastTask};
use longhaul_engine::task::TaskLive;
use longhaul_store::{StoredPastTask, StoredTask};

use crate::admission;
use crate::runs::Runs;
use crate::triggers::Reach;

/// The view in lists.
pub(crate) fn task(record: &StoredTask, live: TaskLive, reach: &Reach) -> BackgroundTask {
    let StoredTask { row, spec, .. } = record;
    BackgroundTask {
        id: row.id,
        name: row.name.clone(),
        trigger_type: spec.trigger.kind,
        is_active: live.running.is_some(),
        conditions: spec.conditions.clone(),
        task_group: row.group.clone(),
        last_run_result: live.last.as_ref().map(|last| last.result.to_string()),
        last_completed_time: live.last.as_ref().map(|last| last.ended),
        waiting: live.waiting,
        warnings: admission::warnings(spec, reach),
    }
}

/// Everything about one.
pub(crate) fn detail(
    record: StoredTask,
    live: TaskLive,
    history: Vec<Instance>,
    reach: &Reach,
    runs: &Runs,
) -> BackgroundTaskDetail {
    let StoredTask { row, spec, created } = record;
    let running = live.running.as_ref().map(|running| running.id);
    let progress = match running {
        Some(id) => runs.find(id).map(|run| run.progress()).or(Some(0)),
        None => live.last.as_ref().map(|last| last.progress),
    };
    BackgroundTaskDetail {
        id: row.id,
        name: row.name,
        trigger: (&spec.trigger).into(),
        warnings: admission::warnings(&spec, reach),
        entry_point: spec.entry_point,
        conditions: spec.conditions,
        is_active: running.is_some(),
        is_network_requested: spec.is_network_requested,
        cancel_on_condition_loss: spec.cancel_on_condition_loss,
        task_group: row.group,
        retry: spec.retry,
        time_limit: spec.time_limit,
        progress: progress.map(|progress| progress.min(100)),
        created_time: created,
        next_fire_time: live.next_fire,
        pending_since: live.pending_since,
        is_consumed: live.is_consumed,
        is_quarantined: live.is_quarantined,
        running_instance: running,
        last_completed_time: live.last.as_ref().map(|last| last.ended),
        last_run_result: live.last.as_ref().map(|last| last.result.to_string()),
        waiting: live.waiting,
        history: history.into_iter().map(|instance| self::instance(instance, runs)).collect(),
    }
}

pub(crate) fn past_task(past: StoredPastTask, newest: Option<Instance>) -> PastTask {
    let StoredPastTask { id, name, created, vanished, .. } = past;
    let newest = newest.filter(|instance| instance.state.is_over());
    PastTask {
        id,
        name,
        registered_time: created,
        unregistered_time: vanished,
        last_completed_time: newest.as_ref().and_then(|instance| instance.ended_time),
        last_run_result: newest.and_then(|instance| instance.result),
    }
}

/// With the numbers of now while it runs.
pub(crate) fn instance(mut instance: Instance, runs: &Runs) -> Instance {
    if !instance.state.is_over()
        && let Some(run) = runs.find(instance.id)
    {
        if instance.state == InstanceState::Starting && run.is_up() {
            instance.state = InstanceState::Running;
        }
        instance.progress = run.progress();
        instance.suspended_count = run.suspended_count();
        instance.limits = run.limits();
        instance.keep_awake = run.keep_awake();
    }
    instance
}
