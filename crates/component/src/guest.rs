//! What the component calls: its surroundings by WASI, and the service by `longhaul:task/instance`.

use std::sync::{Arc, OnceLock};

use longhaul_client::InstanceConnection;
use longhaul_contract::CancelReason;
use longhaul_runner::{Access, Component};
use tokio::runtime::Handle;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxView, WasiView};

use crate::limiter::Limiter;
use crate::run::Failure;

/// The bindings of `wit/instance.wit`.
mod bindings {
    wasmtime::component::bindgen!({ path: "wit", world: "longhaul:task/imports" });
}

pub(crate) use bindings::Imports;
pub(crate) use bindings::longhaul::task::instance as interface;

/// The interface's name in a component's imports, up to its version.
pub(crate) const INTERFACE: &str = "longhaul:task/instance@";

/// The host's side of one component.
pub(crate) struct Guest {
    wasi: WasiCtx,
    table: ResourceTable,
    pub(crate) limiter: Limiter,
    service: Service,
}

/// The way to the service. What cannot be told is lost: a component does not fail because its service restarts.
#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) runtime: Handle,
    pub(crate) instance: InstanceConnection,
    /// Set once it is asked to end.
    pub(crate) reason: Arc<OnceLock<CancelReason>>,
}

impl Guest {
    pub(crate) fn new(component: &Component, service: Service) -> Result<Self, Failure> {
        let wasi = surroundings(component)?;
        Ok(Self { wasi, table: ResourceTable::new(), limiter: Limiter::new(component.memory_max), service })
    }
}

fn surroundings(component: &Component) -> Result<WasiCtx, Failure> {
    let mut wasi = WasiCtx::builder();
    wasi.inherit_stdio().arg(component.file.to_string_lossy());
    for (name, value) in longhaul_runner::component::variables() {
        wasi.env(name, value);
    }
    for folder in &component.folders {
        let access = match folder.access {
            Access::ReadOnly => FsPerms::ReadOnly,
            Access::ReadWrite => FsPerms::ReadWrite,
        };
        let name = folder.path.to_string_lossy();
        // One that is not there is not reachable, as for any sandboxed program.
        if folder.path.exists() {
            let opened = wasi.preopened_dir(&folder.path, &name, access);
            opened
                .map_err(|error| Failure::Folder { path: folder.path.clone(), detail: error.to_string() })?;
        }
    }
    if component.network {
        wasi.inherit_network().allow_ip_name_lookup(true);
    }
    Ok(wasi.build())
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl interface::Host for Guest {
    fn progress(&mut self, value: u32) {
        let Service { runtime, instance, .. } = &self.service;
        let _ = runtime.block_on(instance.set_progress(value));
    }

    fn cancel_requested(&mut self) -> Option<interface::CancelReason> {
        self.service.reason.get().copied().map(translated)
    }

    fn suspended_count(&mut self) -> u32 {
        let Service { runtime, instance, .. } = &self.service;
        runtime.block_on(instance.suspended_count()).unwrap_or_default()
    }
}

fn translated(reason: CancelReason) -> interface::CancelReason {
    use interface::CancelReason as Told;
    match reason {
        CancelReason::Abort => Told::Abort,
        CancelReason::Terminating => Told::Terminating,
        CancelReason::LoggingOff => Told::LoggingOff,
        CancelReason::ServicingUpdate => Told::ServicingUpdate,
        CancelReason::IdleTask => Told::IdleTask,
        CancelReason::Uninstall => Told::Uninstall,
        CancelReason::ConditionLoss => Told::ConditionLoss,
        CancelReason::SystemPolicy => Told::SystemPolicy,
        CancelReason::QuietHoursEntered => Told::QuietHoursEntered,
        CancelReason::ExecutionTimeExceeded => Told::ExecutionTimeExceeded,
        CancelReason::ResourceRevocation => Told::ResourceRevocation,
        CancelReason::EnergySaver => Told::EnergySaver,
    }
}
