//! The world's small numbers as the types of the contract.

use longhaul_contract::{
    AppId, CostPolicy, CreateDownload, CreateUpload, GroupName, HostState, Limits, Network, NetworkCost,
    NetworkLevel, OperationId, OperationKind, PatchDownload, Priority, ScheduledRate, Signal, Timestamp,
    WebErrorStatus,
};
use longhaul_engine::{Marks, NewOperation, Origin};

use crate::event::{Command, Cost, Level, Machine, NewLimits};
use crate::model::Operation;

pub(crate) fn app(number: u8) -> AppId {
    AppId::new(&format!("org.example.App{number}")).expect("a reverse-DNS name")
}

pub(crate) fn group(number: u8) -> GroupName {
    GroupName::new(&format!("group{number}")).expect("a short name")
}

pub(crate) fn origin(host: u8) -> Origin {
    Origin { name: format!("https://host{host}:443").as_str().into(), is_local: host == 0 }
}

pub(crate) fn new_operation(id: OperationId, operation: &Operation, start: bool) -> NewOperation {
    let recoverable: &[WebErrorStatus] =
        if operation.is_recoverable { &[WebErrorStatus::Forbidden] } else { &[] };
    NewOperation {
        id,
        kind: if operation.is_upload { OperationKind::Upload } else { OperationKind::Download },
        app: operation.app.clone(),
        group: operation.group.clone(),
        origin: origin(operation.host),
        target: None,
        priority: priority(operation.priority),
        cost_policy: cost_policy(operation.cost_policy),
        rate_limit: operation.rate,
        not_before: operation.not_before.map(|seconds| Timestamp(seconds * 1_000_000)),
        recoverable: recoverable.into(),
        completion_group: operation.set,
        marks: Marks::default(),
        start,
        spec: if operation.is_upload {
            CreateUpload::new("https://host/file", "/folder/file").into()
        } else {
            CreateDownload::new("https://host/file", "/folder/file").into()
        },
    }
}

fn priority(number: u8) -> Priority {
    Priority::from_number(number).expect("0 to 2")
}

fn cost_policy(number: u8) -> CostPolicy {
    CostPolicy::from_number(number).expect("0 to 2")
}

pub(crate) fn engine_command(command: Command) -> longhaul_engine::Command {
    let patch = |patch, origin| longhaul_engine::Command::Patch { patch: Box::new(patch), origin };
    let none = PatchDownload::default();
    match command {
        Command::Start => longhaul_engine::Command::Start,
        Command::Pause => longhaul_engine::Command::Pause,
        Command::Resume => longhaul_engine::Command::Resume,
        Command::Cancel => longhaul_engine::Command::Cancel,
        Command::Remove => longhaul_engine::Command::Remove,
        Command::Consume => longhaul_engine::Command::Consume,
        Command::MakeCurrent => longhaul_engine::Command::MakeCurrent,
        Command::Priority(number) => patch(PatchDownload { priority: Some(priority(number)), ..none }, None),
        Command::CostPolicy(number) => {
            patch(PatchDownload { cost_policy: Some(cost_policy(number)), ..none }, None)
        }
        Command::Rate(rate) => patch(PatchDownload { rate_limit: Some(rate), ..none }, None),
        Command::Renew { host } => patch(
            PatchDownload { requested_uri: Some(format!("https://host{host}/new")), ..none },
            Some(origin(host)),
        ),
    }
}

pub(crate) fn contract_limits(limits: &NewLimits) -> Limits {
    let schedule = limits.closed_hours.map(|(from, to)| ScheduledRate {
        weekdays: Vec::new(),
        from: format!("{from:02}:00"),
        to: format!("{to:02}:00"),
        time_zone: Some("UTC".to_owned()),
        bytes_per_second: 0,
    });
    Limits {
        bytes_per_second: limits.rate,
        schedule: schedule.into_iter().collect(),
        running_at_once: limits.running_at_once,
        running_at_once_per_application: limits.per_application,
        connections_per_host: limits.per_host,
    }
}

pub(crate) fn known<T>(value: T) -> Signal<T> {
    Signal::Known { value, since: Timestamp(0), source: "simulation".to_owned() }
}

fn signal<T>(value: Option<T>) -> Signal<T> {
    value.map_or_else(|| Signal::unknown("not measured"), known)
}

pub(crate) fn host_state(machine: Machine) -> HostState {
    let level = machine.level.map(|level| match level {
        Level::None => NetworkLevel::None,
        Level::Local => NetworkLevel::Local,
        Level::Constrained => NetworkLevel::ConstrainedInternet,
        Level::Internet => NetworkLevel::Internet,
    });
    let cost = machine.cost.map(|cost| {
        let metered = NetworkCost { is_metered: true, ..NetworkCost::default() };
        match cost {
            Cost::Unmetered => NetworkCost::default(),
            Cost::Metered => metered,
            Cost::ApproachingLimit => NetworkCost { is_approaching_data_limit: true, ..metered },
            Cost::Roaming => NetworkCost { is_roaming: true, ..metered },
            Cost::OverLimit => NetworkCost { is_over_data_limit: true, ..metered },
        }
    });
    HostState {
        network: Network { level: signal(level), cost: signal(cost) },
        energy_saver: signal(machine.energy_saver),
        ..HostState::unmeasured()
    }
}
