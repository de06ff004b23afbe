//! From the file of a component to the end of its run.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use longhaul_client::InstanceConnection;
use longhaul_runner::Component as Order;
use rustix::process::{Resource, Rlimit};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use wasmtime::component::{Component, HasSelf, Linker};
use wasmtime::{Config, Engine, Store, Trap};
use wasmtime_wasi::I32Exit;
use wasmtime_wasi::p2::bindings::sync::Command;

use crate::guest::{Guest, INTERFACE, Imports, Service};

/// Why a component was not run to its own end.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("the process that is to run it cannot be set up: {0}")]
    Process(String),
    #[error("the component {path} cannot be read or is none: {detail}")]
    Component { path: PathBuf, detail: String },
    #[error("the folder {path} cannot be granted: {detail}")]
    Folder { path: PathBuf, detail: String },
    #[error("the component cannot be started: {0}")]
    Start(String),
    /// It has broken, as a program does that dies of a signal.
    #[error("the component was ended by a trap: {0}")]
    Trap(String),
}

/// Runs it. The end of this process is the end of the instance: a result as an exit code, a crash as SIGABRT.
pub(crate) fn run(order: &Order) -> ExitCode {
    // The memory of a crashed process is of no use to who wrote the component.
    let _ = rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let (runtime, service) = match connect() {
        Ok(connected) => connected,
        Err(failure) => {
            eprintln!("longhaul: {failure}");
            return ExitCode::FAILURE;
        }
    };
    let performed = perform(order, &runtime, &service);
    if let Err(failure) = &performed {
        eprintln!("longhaul: {failure}");
        let _ = runtime.block_on(service.instance.complete(Some(&failure.to_string())));
    }
    // What looks up names or reads on is not waited for.
    runtime.shutdown_background();
    match performed {
        Ok(code) => code,
        Err(Failure::Trap(_)) => {
            let _ = std::io::stdout().flush();
            std::process::abort()
        }
        Err(_) => ExitCode::FAILURE,
    }
}

fn connect() -> Result<(Runtime, Service), Failure> {
    // One thread beside the component's own: it talks to the service while that one computes.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Process(error.to_string()))?;
    let instance =
        InstanceConnection::from_environment().map_err(|error| Failure::Process(error.to_string()))?;
    let service = Service { runtime: runtime.handle().clone(), instance, reason: Arc::default() };
    Ok((runtime, service))
}

fn perform(order: &Order, runtime: &Runtime, service: &Service) -> Result<ExitCode, Failure> {
    // The interfaces of WASI find it by this.
    let _entered = runtime.enter();
    let engine = Engine::new(&Config::new()).map_err(|error| Failure::Process(error.to_string()))?;
    let component = Component::from_file(&engine, &order.file)
        .map_err(|error| Failure::Component { path: order.file.clone(), detail: causes(&error) })?;
    let mut linker = Linker::new(&engine);
    wasmtime_wasi::p2::add_to_linker_sync::<Guest>(&mut linker)
        .and_then(|()| Imports::add_to_linker::<_, HasSelf<_>>(&mut linker, |guest| guest))
        .map_err(|error| Failure::Process(error.to_string()))?;
    let ty = component.component_type();
    if ty.imports(&engine).any(|(name, _)| name.starts_with(INTERFACE)) {
        listen(runtime, service)?;
    }
    let mut store = Store::new(&engine, Guest::new(order, service.clone())?);
    store.limiter(|guest| &mut guest.limiter);
    let command = Command::instantiate(&mut store, &component, &linker)
        .map_err(|error| Failure::Start(with_remark(causes(&error), &store)))?;
    match command.wasi_cli_run().call_run(&mut store) {
        Ok(Ok(())) => Ok(ExitCode::SUCCESS),
        Ok(Err(())) => Ok(ExitCode::FAILURE),
        Err(error) => match error.downcast_ref::<I32Exit>() {
            Some(exit) => Ok(ExitCode::from(u8::try_from(exit.0).unwrap_or(1))),
            None => Err(crashed(&error, &store)),
        },
    }
}

/// From now on the component hears of a cancellation, and is not ended by its signal.
fn listen(runtime: &Runtime, service: &Service) -> Result<(), Failure> {
    let terminate = signal(SignalKind::terminate()).map_err(|error| Failure::Process(error.to_string()))?;
    let service = service.clone();
    runtime.spawn(async move {
        // Kept: the signal stays without effect as long as it lives.
        let _terminate = terminate;
        if let Ok(reason) = service.instance.cancelled().await {
            let _ = service.reason.set(reason);
        }
        std::future::pending::<()>().await;
    });
    Ok(())
}

fn crashed(error: &wasmtime::Error, store: &Store<Guest>) -> Failure {
    // With the way through its functions, for the log.
    eprintln!("longhaul: {error:?}");
    let detail = error.downcast_ref::<Trap>().map_or_else(|| causes(error), ToString::to_string);
    Failure::Trap(with_remark(detail, store))
}

fn with_remark(detail: String, store: &Store<Guest>) -> String {
    match store.data().limiter.remark() {
        Some(remark) => format!("{detail}; {remark}"),
        None => detail,
    }
}

fn causes(error: &wasmtime::Error) -> String {
    format!("{error:#}")
}
