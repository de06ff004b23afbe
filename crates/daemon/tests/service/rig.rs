//! A service on a folder of its own, started and stopped by the test.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use longhaul_contract::paths::ServicePaths;
use longhaul_daemon::{Configuration, GivenSockets, Service, StartError};
use longhaul_lab::{Endpoint, wait_until};
use serde_json::{Value, json};

pub(crate) const DOWNLOADS: &str = "/background-transfers/downloads";

/// Nobody listens on the discard port: operations that go there stay live.
pub(crate) const NOWHERE: &str = "http://127.0.0.1:9/file";

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Rig {
    pub(crate) configuration: Configuration,
    pub(crate) folder: Arc<tempfile::TempDir>,
    pub(crate) service: Option<Service>,
    pub(crate) runtime: tokio::runtime::Runtime,
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
            apps: folder.path().join("apps"),
        });
        std::fs::create_dir(folder.path().join("apps")).unwrap();
        configuration.launcher = Some(env!("CARGO_BIN_EXE_longhaul-daemon-lab").into());
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

    /// Over TCP with a new token of this application.
    pub(crate) fn tcp_of(&self, app: &str, scopes: &[&str]) -> Endpoint {
        let body = json!({ "scopes": scopes });
        let made = self.api().post(&format!("/apps/{app}/tokens"), &body).unwrap().expect_status(201).json();
        let token = made["token"].as_str().unwrap();
        Endpoint::tcp(self.address()).with_header("Authorization", &format!("Bearer {token}"))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("files").join(name)
    }

    /// Writes the manifest of an application, with these entry points in TOML.
    pub(crate) fn install(&self, app: &str, entry_points: &str) {
        let path = self.manifest(app);
        let text = format!("[app]\nid = \"{app}\"\n{entry_points}");
        let beside = path.with_extension("new");
        std::fs::write(&beside, text).unwrap();
        std::fs::set_permissions(&beside, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        std::fs::rename(beside, path).unwrap();
    }

    pub(crate) fn manifest(&self, app: &str) -> PathBuf {
        self.folder.path().join("apps").join(format!("{app}.toml"))
    }

    /// An application that may run in the background, with one class that is this shell script.
    pub(crate) fn app_with_script(&self, app: &str, script: &str) -> Endpoint {
        let exec = json!(["/bin/sh", "-c", script]);
        self.install(app, &format!("[[entry-point]]\nclass = \"Test.Task\"\nexec = {exec}\n"));
        self.api_with_access(app)
    }

    pub(crate) fn api_with_access(&self, app: &str) -> Endpoint {
        let api = self.api_of(app);
        let _ = api.call("POST", "/background-tasks/access", None).unwrap().expect_status(200);
        api
    }

    /// Sets a host signal by hand.
    pub(crate) fn set_host(&self, signal: &str, value: &str) {
        let body = json!({ "value": value }).to_string();
        let path = format!("/host/{signal}");
        let _ = self
            .api()
            .call("PUT", &path, Some(("application/json", body.as_bytes())))
            .unwrap()
            .expect_status(200);
    }

    pub(crate) fn state(&self) -> &Path {
        Path::new(&self.configuration.service.state)
    }

    /// The body of a download that is made and not started.
    pub(crate) fn idle(&self, name: &str) -> Value {
        json!({ "requestedUri": NOWHERE, "resultFile": self.path(name), "start": false })
    }

    pub(crate) fn download(&self, uri: &str, name: &str) -> Value {
        json!({ "requestedUri": uri, "resultFile": self.path(name) })
    }

    /// Makes a download; gives its path.
    pub(crate) fn create(&self, body: &Value) -> String {
        let made = self.api().post(DOWNLOADS, body).unwrap().expect_status(201);
        made.header("location").unwrap().to_owned()
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        self.api().get(path).unwrap().expect_status(200).json()
    }

    pub(crate) fn command(&self, path: &str, command: &str) -> Value {
        let path = format!("{path}/{command}");
        self.api().call("POST", &path, None).unwrap().expect_status(200).json()
    }

    #[track_caller]
    pub(crate) fn wait_for_status(&self, path: &str, status: &str) -> Value {
        wait_until(&format!("status {status}"), PATIENCE, || {
            Some(self.get(path)).filter(|operation| operation["status"] == status)
        })
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

/// The last part of an operation's path.
pub(crate) fn id_in(path: &str) -> &str {
    path.rsplit('/').next().unwrap()
}
