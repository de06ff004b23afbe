//! Fixed operations and tasks for the tests of renderings.

use jiff::tz::TimeZone;
use longhaul_contract::instance::{InstanceLimit, KeepAwake, LimitKind};
use longhaul_contract::trigger::TriggerView;
use longhaul_contract::{
    BackgroundTask, BackgroundTaskDetail, Cause, Instance, InstanceState, Operation, OperationError,
    Progress, ReasonCode, Remedy, RunCause, Timestamp, TransferStatus, TriggerKind, TriggerSpec,
    WaitingReason, WebErrorStatus,
};

use crate::console::{Paint, View};

/// 2026-01-31 12:00:00 UTC.
pub(crate) const NOW: Timestamp = Timestamp(1_769_860_800_000_000);

pub(crate) fn view(width: usize) -> View {
    View { paint: Paint { has_color: false, has_unicode: true }, width, now: NOW, zone: TimeZone::UTC }
}

/// A download of 2 GiB that has just begun.
pub(crate) fn operation(id: &str) -> Operation {
    Operation {
        id: id.parse().unwrap(),
        kind: longhaul_contract::OperationKind::Download,
        requested_uri: "https://example.org/films/film.mkv".to_owned(),
        result_file: Some("/home/ann/film.mkv".to_owned()),
        source_file: None,
        part_files: Vec::new(),
        method: None,
        protocol: None,
        status: TransferStatus::Running,
        status_code: TransferStatus::Running.number(),
        progress: Progress { total_bytes_to_receive: 2 << 30, ..Progress::default() },
        cost_policy: longhaul_contract::CostPolicy::Default,
        priority: longhaul_contract::Priority::Default,
        transfer_group: None,
        completion_group: None,
        current_web_error_status: None,
        error: None,
        waiting: Vec::new(),
        created_time: NOW.plus_seconds(-60),
        started_time: Some(NOW.plus_seconds(-60)),
        completed_time: None,
        consumed_time: None,
        label: None,
        is_random_access_required: false,
        rate_limit: None,
        not_before: None,
        checksum: None,
    }
}

/// The numbered operation `number`, named after it.
pub(crate) fn numbered(number: u32, name: &str) -> Operation {
    Operation {
        result_file: Some(format!("/home/ann/{name}")),
        ..operation(&format!("019c8a3b-7f2e-7{number:03x}-8000-000000000000"))
    }
}

/// An upload of the same.
pub(crate) fn upload(number: u32, name: &str) -> Operation {
    let download = numbered(number, name);
    Operation {
        kind: longhaul_contract::OperationKind::Upload,
        source_file: download.result_file.clone(),
        result_file: None,
        method: Some("PUT".to_owned()),
        protocol: Some(longhaul_contract::UploadProtocol::Auto),
        progress: Progress { total_bytes_to_send: 2 << 30, bytes_sent: 1 << 30, ..Progress::default() },
        ..download
    }
}

pub(crate) fn with_progress(mut operation: Operation, received: u64, per_second: u64) -> Operation {
    operation.progress.bytes_received = received;
    operation.progress.bytes_per_second = per_second;
    let left = operation.progress.total_bytes_to_receive.saturating_sub(received);
    operation.progress.seconds_left = left.checked_div(per_second);
    operation
}

pub(crate) fn with_status(mut operation: Operation, status: TransferStatus) -> Operation {
    operation.status = status;
    operation.status_code = status.number();
    if status.is_final() {
        operation.completed_time = Some(NOW);
    }
    operation
}

pub(crate) fn waiting(
    mut operation: Operation,
    code: ReasonCode,
    detail: &str,
    seconds: Option<i64>,
) -> Operation {
    let until = seconds.map(|seconds| NOW.plus_seconds(seconds));
    operation.waiting = vec![WaitingReason { code, detail: detail.to_owned(), until }];
    operation
}

pub(crate) fn failed(operation: Operation, status: TransferStatus, cause: Cause, detail: &str) -> Operation {
    let mut operation = with_status(operation, status);
    operation.error = Some(OperationError {
        web_error_status: WebErrorStatus::NotFound,
        http_status: Some(404),
        cause,
        detail: detail.to_owned(),
        remedy: if status.is_final() { Remedy::Permanent } else { Remedy::NeedsInput },
    });
    operation
}

/// The numbered task `number`, which has not run yet.
pub(crate) fn task(number: u32, name: &str) -> BackgroundTask {
    BackgroundTask {
        id: format!("019c8a3b-7f2e-7{number:03x}-8000-000000000000").parse().unwrap(),
        name: name.parse().unwrap(),
        trigger_type: TriggerKind::TimeTrigger,
        is_active: false,
        conditions: Vec::new(),
        task_group: None,
        last_run_result: None,
        last_completed_time: None,
        waiting: Vec::new(),
        warnings: Vec::new(),
    }
}

/// A task with one run of each end, newest first.
pub(crate) fn task_detail(name: &str) -> BackgroundTaskDetail {
    let thin = task(1, name);
    BackgroundTaskDetail {
        id: thin.id,
        name: thin.name,
        entry_point: format!("command:{name}"),
        trigger: TriggerView::from(&TriggerSpec {
            freshness_time: Some(60),
            ..TriggerSpec::new(TriggerKind::TimeTrigger)
        }),
        conditions: Vec::new(),
        is_active: false,
        is_network_requested: false,
        cancel_on_condition_loss: false,
        task_group: None,
        retry: None,
        time_limit: None,
        progress: None,
        created_time: NOW.plus_seconds(-86_400),
        next_fire_time: None,
        pending_since: None,
        is_consumed: false,
        is_quarantined: false,
        running_instance: None,
        last_completed_time: Some(NOW),
        last_run_result: Some("Completed".to_owned()),
        waiting: Vec::new(),
        warnings: Vec::new(),
        history: vec![
            Instance {
                result: None,
                ended_time: None,
                progress: 40,
                limits: vec![
                    limit(LimitKind::Memory, Some("cgroup"), None),
                    limit(LimitKind::Network, Some("seccomp"), Some("Unix sockets stay")),
                    limit(LimitKind::Filesystem, None, Some("the kernel has no Landlock\u{1b}[1m")),
                ],
                keep_awake: Some(KeepAwake { is_held: true, detail: "logind holds off idle".to_owned() }),
                ..instance(4, InstanceState::Running)
            },
            instance(3, InstanceState::Completed),
            Instance {
                result: Some("Failed:exit code 3".to_owned()),
                exit_code: Some(3),
                ..instance(2, InstanceState::Failed)
            },
            Instance {
                result: Some("Canceled:ExecutionTimeExceeded".to_owned()),
                exit_code: None,
                signal: Some(9),
                was_killed: true,
                ..instance(1, InstanceState::Canceled)
            },
        ],
    }
}

fn limit(limit: LimitKind, means: Option<&str>, detail: Option<&str>) -> InstanceLimit {
    InstanceLimit {
        limit,
        is_enforced: means.is_some(),
        means: means.map(str::to_owned),
        detail: detail.map(str::to_owned),
    }
}

/// A run of half a minute that was asked for by hand.
pub(crate) fn instance(number: u32, state: InstanceState) -> Instance {
    Instance {
        id: format!("019c8a3b-7f2e-7{number:03x}-9000-000000000000").parse().unwrap(),
        task_id: task(1, "a").id,
        state,
        cause: RunCause::Manual,
        attempt: 1,
        fired_time: NOW.plus_seconds(-60),
        started_time: NOW.plus_seconds(-60),
        ended_time: Some(NOW.plus_seconds(-30)),
        trigger_details: serde_json::json!({}),
        progress: 100,
        suspended_count: 0,
        cancel_reason: None,
        result: Some("Completed".to_owned()),
        exit_code: Some(0),
        signal: None,
        was_killed: false,
        cpu_milliseconds: None,
        memory_peak: None,
        ran_out_of_memory: false,
        limits: Vec::new(),
        keep_awake: None,
    }
}
