//! The real `longhaul` program as a service with folders of its own.

use std::ffi::OsString;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::http_client::Endpoint;
use crate::process::{self, Guarded};
use crate::tracer::Traced;
use crate::wait::wait_until;

/// How long the service may take from its start to its first answer, on a busy machine.
const START_DEADLINE: Duration = Duration::from_secs(30);

/// How to start the service.
#[derive(Debug, Clone, Default)]
pub struct ServiceOptions {
    /// Text of the configuration file.
    pub config: String,
    /// Listen on a free loopback port beside the Unix socket.
    pub is_listening: bool,
    /// Further arguments of `longhaul daemon`.
    pub arguments: Vec<String>,
    pub environment: Vec<(String, String)>,
    /// Words before those of the service: a program that becomes it, such as `ip netns exec NAME`.
    pub wrapper: Vec<String>,
}

/// A service and everything it owns: state, runtime and configuration folders, and a folder for results.
pub struct Service {
    folder: TempDir,
    options: ServiceOptions,
    address: Option<SocketAddr>,
    running: Option<Guarded>,
}

/// Words that a command has to be put behind, after others of that kind, to see nothing of how busy this machine is. Needs
/// root.
#[must_use]
pub fn calm_wrapper() -> Vec<String> {
    let script = "mount -t tmpfs none /proc/pressure && exec \"$0\" \"$@\"";
    ["unshare", "--mount", "sh", "-c", script].map(str::to_owned).to_vec()
}

/// The program under test: `LONGHAUL_BIN`, else `longhaul` in the folder cargo builds this profile into.
///
/// # Panics
/// It has not been built.
#[must_use]
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("LONGHAUL_BIN") {
        return PathBuf::from(path);
    }
    let test = std::env::current_exe().expect("a running program has a path");
    let built = test.ancestors().nth(2).expect("tests lie in target/PROFILE/deps").join("longhaul");
    assert!(
        built.is_file(),
        "{} is not built: run `cargo build --bin longhaul`, or set LONGHAUL_BIN",
        built.display()
    );
    built
}

impl Service {
    /// Starts a service and waits for its first answer.
    #[must_use]
    pub fn start(options: ServiceOptions) -> Self {
        let mut service = Self::prepare(options);
        service.launch();
        service
    }

    /// Makes the folders and starts nothing.
    ///
    /// # Panics
    /// The temporary folder cannot be written.
    #[must_use]
    pub fn prepare(options: ServiceOptions) -> Self {
        let folder = tempfile::Builder::new().prefix("longhaul-").tempdir().expect("a temporary folder");
        for name in ["state", "run", "config/longhaul/apps", "home", "results"] {
            std::fs::create_dir_all(folder.path().join(name)).expect("a writable temporary folder");
        }
        std::fs::write(folder.path().join("config/longhaul/longhaul.toml"), &options.config)
            .expect("a writable temporary folder");
        let address = options.is_listening.then(free_address);
        Self { folder, options, address, running: None }
    }

    /// Starts the service in the folders of before.
    #[track_caller]
    pub fn launch(&mut self) {
        self.launch_only();
        let api = self.api();
        wait_until("an answer of the service", START_DEADLINE, || {
            if let Some(status) = self.running.as_mut().and_then(Guarded::has_ended) {
                panic!("the service ended with {status}; its log:\n{}", self.log());
            }
            api.get("/healthz").ok().filter(|answer| answer.status == 200)
        });
    }

    /// Starts the service without waiting for anything.
    pub fn launch_only(&mut self) {
        assert!(self.running.is_none(), "the service runs already");
        let started = process::spawn(self.daemon_command());
        self.running = Some(started.unwrap_or_else(|e| panic!("the service cannot start: {e}")));
    }

    /// Starts the service under a tracer that can kill it at a call on a file of its folders, and waits for its first
    /// answer. The tracer's guard owns the process.
    #[track_caller]
    pub fn launch_traced(&self) -> Traced {
        assert!(self.running.is_none(), "the service runs already");
        let traced = Traced::spawn(self.daemon_command(), self.folder.path().to_owned());
        let traced = traced.unwrap_or_else(|e| panic!("the service cannot start: {e}"));
        let api = self.api();
        wait_until("an answer of the traced service", START_DEADLINE, || {
            assert!(traced.ended().is_none(), "the service ended; its log:\n{}", self.log());
            api.get("/healthz").ok().filter(|answer| answer.status == 200)
        });
        traced
    }

    fn daemon_command(&self) -> Command {
        let log = File::options().create(true).append(true).open(self.log_file()).expect("a log file");
        let mut words = self.options.wrapper.iter().map(OsString::from).chain([binary().into()]);
        let mut command = Command::new(words.next().expect("the program itself is among them"));
        command.args(words);
        command.arg("daemon").arg("--state").arg(self.state());
        if let Some(address) = self.address {
            command.arg("--listen").arg(address.to_string());
        }
        command.args(&self.options.arguments);
        self.set_environment(&mut command);
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("one more descriptor")).stderr(log);
        command
    }

    fn set_environment(&self, command: &mut Command) {
        let folder = self.folder.path();
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", folder.join("home"))
            .env("XDG_RUNTIME_DIR", folder.join("run"))
            .env("XDG_CONFIG_HOME", folder.join("config"))
            .env("XDG_STATE_HOME", folder.join("state-home"))
            .env("XDG_DATA_HOME", folder.join("data-home"))
            .env("LANG", "C.UTF-8")
            .envs(self.options.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(self.results());
    }

    /// kill -9.
    pub fn kill(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.kill();
        }
    }

    /// Sends a signal to the running service.
    ///
    /// # Panics
    /// It does not run.
    pub fn signal(&mut self, signal: Signal) {
        self.running.as_mut().expect("the service runs").signal(signal);
    }

    /// SIGTERM, and waits for the end.
    #[track_caller]
    pub fn stop(&mut self) -> std::process::ExitStatus {
        let mut running = self.running.take().expect("the service runs");
        running.signal(Signal::TERM);
        running.wait(Duration::from_secs(30))
    }

    /// Waits until the service ends by itself.
    #[track_caller]
    pub fn wait_for_end(&mut self, deadline: Duration) -> std::process::ExitStatus {
        self.running.take().expect("the service runs").wait(deadline)
    }

    /// Whether the process has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.running.as_mut().is_none_or(|running| running.has_ended().is_some())
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.running.as_ref().expect("the service runs").pid()
    }

    /// A command of the program with this service's environment.
    #[must_use]
    pub fn cli(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.args(arguments).stdin(Stdio::null());
        self.set_environment(&mut command);
        command
    }

    /// Runs a command of the program to its end.
    ///
    /// # Panics
    /// The program cannot be started.
    #[must_use]
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.cli(arguments).output().unwrap_or_else(|e| panic!("the program cannot be run: {e}"))
    }

    /// The API over the Unix socket.
    #[must_use]
    pub fn api(&self) -> Endpoint {
        Endpoint::unix(self.socket())
    }

    /// The API over TCP, without a token.
    ///
    /// # Panics
    /// The service does not listen on TCP.
    #[must_use]
    pub fn tcp_api(&self) -> Endpoint {
        Endpoint::tcp(self.address.expect("the service was told to listen"))
    }

    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("run/longhaul/longhaul.sock")
    }

    /// The state folder.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// The folder of manifests.
    #[must_use]
    pub fn apps(&self) -> PathBuf {
        self.folder.path().join("config/longhaul/apps")
    }

    /// Writes the manifest of an application, with these entry points in TOML, in one step.
    ///
    /// # Panics
    /// The folder cannot be written.
    pub fn install(&self, app: &str, entry_points: &str) {
        let beside = self.apps().join(format!("{app}.new"));
        std::fs::write(&beside, format!("[app]\nid = \"{app}\"\n{entry_points}")).expect("a manifest");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&beside, mode).expect("a mode");
        std::fs::rename(beside, self.apps().join(format!("{app}.toml"))).expect("a name for it");
    }

    /// A folder for downloaded files.
    #[must_use]
    pub fn results(&self) -> PathBuf {
        self.folder.path().join("results")
    }

    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("service.log")
    }

    /// Everything the service has written to its standard output and error, over all starts.
    #[must_use]
    pub fn log(&self) -> String {
        let bytes = std::fs::read(self.log_file()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Service {
    /// Also ends a service that a command of the program has started by itself.
    fn drop(&mut self) {
        self.kill();
        let Ok(stream) = UnixStream::connect(self.socket()) else { return };
        let Ok(credentials) = rustix::net::sockopt::socket_peercred(&stream) else { return };
        // A socket that was handed to the service belongs to whoever made it.
        let is_maker = credentials.pid == rustix::process::getpid() || credentials.pid.is_init();
        if !is_maker {
            let _ = rustix::process::kill_process(credentials.pid, Signal::KILL);
        }
    }
}

/// A loopback address nobody listens on at this moment.
///
/// # Panics
/// No port is free.
#[must_use]
pub fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port is free");
    listener.local_addr().expect("a bound socket has an address")
}
