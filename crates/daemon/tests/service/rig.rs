//! A service on a folder of its own, started and stopped by the test.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use longhaul_contract::paths::ServicePaths;
use longhaul_daemon::{Configuration, GivenSockets, Service, StartError};
use longhaul_lab::Endpoint;
use serde_json::{Value, json};

pub(crate) const DOWNLOADS: &str = "/background-transfers/downloads";

/// An address where nobody listens: operations that go there stay live.
pub(crate) const NOWHERE: &str = "http://127.0.0.1:9/file";

pub(crate) struct Rig {
    pub(crate) configuration: Configuration,
    pub(crate) folder: Arc<tempfile::TempDir>,
    service: Option<Service>,
    runtime: tokio::runtime::Runtime,
}

impl Rig {
    pub(crate) fn start() -> Self {
        Self::start_with(|_| {})
    }

    pub(crate) fn start_with(change: impl FnOnce(&mut Configuration)) -> Self {
        let mut rig = Self::prepare(change);
        rig.launch().unwrap();
        rig
    }

    /// With a folder and settings, and not yet started.
    pub(crate) fn prepare(change: impl FnOnce(&mut Configuration)) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        std::fs::create_dir(folder.path().join("files")).unwrap();
        let mut configuration = Configuration::defaults(&ServicePaths {
            socket: folder.path().join("run/longhaul.sock"),
            state: folder.path().join("state"),
            config: folder.path().join("longhaul.toml"),
        });
        configuration.service.listen = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
        change(&mut configuration);
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        Self { configuration, folder, service: None, runtime }
    }

    pub(crate) fn launch(&mut self) -> Result<(), StartError> {
        let starting = Service::start(self.configuration.clone(), GivenSockets::default());
        self.service = Some(self.runtime.block_on(starting)?);
        Ok(())
    }

    pub(crate) fn stop(&mut self) {
        let service = self.service.take().unwrap();
        self.runtime.block_on(service.stop());
    }

    pub(crate) fn restart(&mut self) {
        self.stop();
        self.launch().unwrap();
    }

    pub(crate) fn api(&self) -> Endpoint {
        Endpoint::unix(self.configuration.service.socket.clone())
    }

    pub(crate) fn api_of(&self, app: &str) -> Endpoint {
        self.api().with_header("Longhaul-App", app)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.service.as_ref().unwrap().addresses()[0]
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("files").join(name)
    }

    pub(crate) fn state(&self) -> &Path {
        Path::new(&self.configuration.service.state)
    }

    /// The body of a download that is made and not started.
    pub(crate) fn idle(&self, name: &str) -> Value {
        json!({ "requestedUri": NOWHERE, "resultFile": self.path(name), "start": false })
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if self.service.is_some() {
            self.stop();
        }
    }
}

pub(crate) fn id_of(operation: &Value) -> &str {
    operation["id"].as_str().unwrap()
}
