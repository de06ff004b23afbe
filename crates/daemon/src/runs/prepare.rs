//! What an instance is to run, put together from its registration and its application's manifest.

use std::path::Path;

use longhaul_contract::instance::Activation;
use longhaul_contract::manifest::{self, EntryPoint, EntryPointKind};
use longhaul_contract::{RegisterTaskRequest, paths};
use longhaul_runner::component;
use longhaul_runner::environment::{self, INSTANCE_ID, TASK_ID};
use longhaul_runner::{
    Access, Account, Bus, BusLaunch, Component, Grant, Launch, Leftovers, Limits, Network, OutputSize,
    ProcessView, Sandbox, Unenforceable,
};
use longhaul_store::Reader;

use super::details;
use super::live::Live;
use crate::admission::NO_COMPONENTS;
use crate::apps::Apps;

/// Names the application in a task's environment.
const APP: &str = "LONGHAUL_APP";

pub(super) enum Work {
    Process(Box<Launch>),
    OnBus(Box<BusLaunch>),
    InProcess(Box<Activation>),
}

/// # Errors
/// In words for people: why it cannot run.
pub(super) fn prepare(
    reader: &dyn Reader,
    apps: &Apps,
    live: &Live,
    socket: &Path,
    components: bool,
) -> Result<Work, String> {
    // The registration of a completion group is gone as it fires; what it asked for stays until the run is over.
    let spec = reader.task_spec(live.task).map_err(|error| error.to_string())?;
    let spec = spec.ok_or("its registration is gone")?;
    let details = details::whole(reader, &spec, &live.details)?;
    let declared = apps.manifest(&live.app).map_err(|error| error.to_string())?;
    let class = &spec.entry_point;
    let gone = || format!("the manifest of {} declares no entry point {class:?} any more", live.app);
    let entry_point = declared.as_ref().and_then(|declared| declared.entry_point(class)).ok_or_else(gone)?;
    match entry_point.kind().map_err(|error| error.to_string())? {
        EntryPointKind::Process(command) => launch(live, &spec, entry_point, command, (socket, details))
            .map(|launch| Work::Process(Box::new(launch))),
        EntryPointKind::InProcess => Ok(Work::InProcess(Box::new(Activation {
            task_id: live.task,
            instance_id: live.id,
            entry_point: class.clone(),
            task_name: spec.name.to_string(),
            trigger_details: parsed(&details)?,
            cancel_reason: None,
        }))),
        EntryPointKind::DBus(name, bus) => Ok(Work::OnBus(Box::new(BusLaunch {
            bus: match bus {
                manifest::Bus::Session => Bus::Session,
                manifest::Bus::System => Bus::System,
            },
            name: name.to_owned(),
            class: class.clone(),
            task_id: live.task.to_string(),
            instance_id: live.id.to_string(),
            details,
        }))),
        EntryPointKind::Wasm(_) if !components => Err(NO_COMPONENTS.to_owned()),
        EntryPointKind::Wasm(file) => component_launch(live, &spec, entry_point, file, (socket, details))
            .map(|launch| Work::Process(Box::new(launch))),
    }
}

fn parsed(details: &str) -> Result<serde_json::Value, String> {
    serde_json::from_str(details).map_err(|error| format!("the kept details are damaged: {error}"))
}

/// The parts of a launch that all kinds share.
struct Surroundings {
    account: Account,
    /// The documented set, without what is said for this task.
    base: Vec<(String, String)>,
    /// From the manifest and the registration.
    wished: Vec<(String, String)>,
    limits: Limits,
}

fn surroundings(spec: &RegisterTaskRequest, entry_point: &EntryPoint) -> Result<Surroundings, String> {
    let own_uid = rustix::process::geteuid().as_raw();
    let user = entry_point.sandbox.as_ref().and_then(|sandbox| sandbox.user.as_deref());
    let account = match user {
        Some(name) => Account::by_name(name),
        None => Account::current(),
    };
    let account = account.map_err(|error| error.to_string())?;
    let service = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let base = environment::base(&account, account.uid == own_uid, service);
    let declared = entry_point.environment.iter().map(|(name, value)| (name.clone(), value.clone()));
    let registered = spec.env.iter().map(|(name, value)| (name.clone(), value.reveal().to_owned()));
    let memory_max = entry_point.memory_max_bytes().map_err(|error| error.to_string())?;
    let limits = Limits {
        memory_max,
        cpu_percent_max: entry_point.cpu_max,
        cpu_time_max: None,
        processes_max: entry_point.tasks_max,
    };
    Ok(Surroundings { account, base, wished: declared.chain(registered).collect(), limits })
}

/// By these a task knows which one it is.
fn names(live: &Live) -> [(&'static str, String); 3] {
    [(TASK_ID, live.task.to_string()), (INSTANCE_ID, live.id.to_string()), (APP, live.app.to_string())]
}

fn launch(
    live: &Live,
    spec: &RegisterTaskRequest,
    entry_point: &EntryPoint,
    command: &[String],
    (socket, details): (&Path, String),
) -> Result<Launch, String> {
    let Surroundings { account, base: mut variables, wished, limits } = surroundings(spec, entry_point)?;
    for (name, value) in wished {
        environment::set(&mut variables, &name, value);
    }
    for (name, value) in names(live) {
        environment::set(&mut variables, name, value);
    }
    environment::set(&mut variables, paths::SOCKET_VARIABLE, socket.display().to_string());
    Ok(Launch {
        name: live.id.to_string(),
        command: command.to_vec(),
        environment: variables,
        working_directory: entry_point.working_directory.clone(),
        input: details.into_bytes(),
        account,
        limits,
        sandbox: sandbox(entry_point, socket),
        unenforceable: Unenforceable::Report,
        leftovers: Leftovers::Kill,
        output: OutputSize::default(),
    })
}

/// The process that runs a component is confined like the component: it reaches what that is granted, and what it needs
/// itself.
fn component_launch(
    live: &Live,
    spec: &RegisterTaskRequest,
    entry_point: &EntryPoint,
    file: &Path,
    (socket, details): (&Path, String),
) -> Result<Launch, String> {
    let Surroundings { account, base, wished, limits } = surroundings(spec, entry_point)?;
    let sandbox = entry_point.sandbox.clone().unwrap_or_default();
    let granted = sandbox.filesystem.iter().map(|text| Grant::from_notation(text));
    let folders: Vec<Grant> =
        granted.map(|grant| Grant { path: account.at_home(&grant.path), ..grant }).collect();
    let file = file.to_owned();
    let mut grants = folders.clone();
    grants.push(Grant { path: socket.to_owned(), access: Access::ReadWrite });
    grants.push(Grant { path: file.clone(), access: Access::ReadOnly });
    let component = Component { file, folders, network: sandbox.network, memory_max: limits.memory_max };
    let is_of_language = |name: &str| name == "LANG" || name == "TZ" || name.starts_with("LC_");
    let mut seen: Vec<_> = base.iter().filter(|(name, _)| is_of_language(name)).cloned().collect();
    let mut own = base;
    for (name, value) in wished {
        environment::set(&mut seen, &name, value);
    }
    for (name, value) in names(live) {
        environment::set(&mut seen, name, value.clone());
        environment::set(&mut own, name, value);
    }
    environment::set(&mut own, paths::SOCKET_VARIABLE, socket.display().to_string());
    Ok(Launch {
        name: live.id.to_string(),
        command: component.command().map_err(|error| error.to_string())?,
        environment: component::environment(own, seen),
        working_directory: Some("/".to_owned()),
        input: details.into_bytes(),
        account,
        limits: Component::limits_of_process(limits),
        sandbox: Sandbox {
            filesystem: Some(grants),
            network: if sandbox.network { Network::Allowed } else { Network::Denied },
            processes: ProcessView::Shared,
        },
        unenforceable: Unenforceable::Report,
        leftovers: Leftovers::Kill,
        output: OutputSize::default(),
    })
}

/// A sandboxed task still reaches the service's socket.
fn sandbox(entry_point: &EntryPoint, socket: &Path) -> Sandbox {
    let Some(wished) = &entry_point.sandbox else { return Sandbox::default() };
    let mut grants: Vec<Grant> = wished.filesystem.iter().map(|text| Grant::from_notation(text)).collect();
    grants.push(Grant { path: socket.to_owned(), access: Access::ReadWrite });
    Sandbox {
        filesystem: Some(grants),
        network: if wished.network { Network::Allowed } else { Network::Denied },
        processes: ProcessView::Shared,
    }
}
