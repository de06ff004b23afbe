//! What an instance is to run, put together from its registration and its application's manifest.

use std::path::Path;

use longhaul_contract::instance::Activation;
use longhaul_contract::manifest::{self, EntryPoint, EntryPointKind};
use longhaul_contract::{RegisterTaskRequest, paths};
use longhaul_runner::environment::{self, INSTANCE_ID, TASK_ID};
use longhaul_runner::{
    Access, Account, Bus, BusLaunch, Grant, Launch, Leftovers, Limits, Network, OutputSize, ProcessView,
    Sandbox, Unenforceable,
};
use longhaul_store::Reader;

use super::details;
use super::live::Live;
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
pub(super) fn prepare(reader: &dyn Reader, apps: &Apps, live: &Live, socket: &Path) -> Result<Work, String> {
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
        EntryPointKind::Wasm(_) => Err("this release runs no WebAssembly components".to_owned()),
    }
}

fn parsed(details: &str) -> Result<serde_json::Value, String> {
    serde_json::from_str(details).map_err(|error| format!("the kept details are damaged: {error}"))
}

fn launch(
    live: &Live,
    spec: &RegisterTaskRequest,
    entry_point: &EntryPoint,
    command: &[String],
    (socket, details): (&Path, String),
) -> Result<Launch, String> {
    let own_uid = rustix::process::geteuid().as_raw();
    let user = entry_point.sandbox.as_ref().and_then(|sandbox| sandbox.user.as_deref());
    let account = match user {
        Some(name) => Account::by_name(name),
        None => Account::current(),
    };
    let account = account.map_err(|error| error.to_string())?;
    let service = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let mut variables = environment::base(&account, account.uid == own_uid, service);
    for (name, value) in &entry_point.environment {
        environment::set(&mut variables, name, value.clone());
    }
    for (name, value) in &spec.env {
        environment::set(&mut variables, name, value.reveal().to_owned());
    }
    for (name, value) in [
        (TASK_ID, live.task.to_string()),
        (INSTANCE_ID, live.id.to_string()),
        (APP, live.app.to_string()),
        (paths::SOCKET_VARIABLE, socket.display().to_string()),
    ] {
        environment::set(&mut variables, name, value);
    }
    let invalid = |error: manifest::InvalidManifest| error.to_string();
    Ok(Launch {
        name: live.id.to_string(),
        command: command.to_vec(),
        environment: variables,
        working_directory: entry_point.working_directory.clone(),
        input: details.into_bytes(),
        account,
        limits: Limits {
            memory_max: entry_point.memory_max_bytes().map_err(invalid)?,
            cpu_percent_max: entry_point.cpu_max,
            cpu_time_max: None,
            processes_max: entry_point.tasks_max,
        },
        sandbox: sandbox(entry_point, socket),
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
