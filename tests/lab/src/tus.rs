//! Real tus servers: `@tus/server` on Node.js, and one in Python.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::process::{self, Guarded};
use crate::service::free_address;

const START_DEADLINE: Duration = Duration::from_secs(30);

/// Listens on the port of its first argument and keeps files in the folder of its second.
const NODE_SERVER: &str = "
const { Server } = require('@tus/server');
const { FileStore } = require('@tus/file-store');
const [port, directory] = process.argv.slice(2);
new Server({ path: '/files', datastore: new FileStore({ directory }) })
  .listen({ host: '127.0.0.1', port: Number(port) });
";

/// A running tus server; gone when dropped.
pub struct TusServer {
    folder: TempDir,
    port: u16,
    running: Guarded,
}

impl TusServer {
    /// `@tus/server` with its store of files. `tools` is where `cargo xtask setup` puts it.
    ///
    /// # Panics
    /// Node.js or the package is missing, or the server does not start.
    #[must_use]
    pub fn node(tools: &Path) -> Self {
        let modules = tools.join("node/node_modules");
        assert!(
            modules.join("@tus/server").is_dir(),
            "{} has no @tus/server: cargo xtask setup installs it",
            modules.display()
        );
        let folder = tempfile::Builder::new().prefix("longhaul-tus-").tempdir().expect("a temporary folder");
        std::fs::create_dir(folder.path().join("store")).expect("a writable temporary folder");
        std::fs::write(folder.path().join("server.cjs"), NODE_SERVER).expect("a writable temporary folder");
        let (port, running) = Self::spawn(folder.path(), &modules, free_address().port());
        Self { folder, port, running }
    }

    fn spawn(folder: &Path, modules: &Path, port: u16) -> (u16, Guarded) {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(folder.join("log"))
            .expect("a writable temporary folder");
        let mut command = Command::new(process::program("node", "nodejs"));
        command
            .arg(folder.join("server.cjs"))
            .arg(port.to_string())
            .arg(folder.join("store"))
            .env("NODE_PATH", modules)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("one more descriptor"))
            .stderr(log);
        let mut running = process::spawn(command).expect("node starts");
        let end = Instant::now() + START_DEADLINE;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let log = || std::fs::read_to_string(folder.join("log")).unwrap_or_default();
            assert!(running.has_ended().is_none(), "@tus/server does not start:\n{}", log());
            assert!(Instant::now() < end, "@tus/server does not answer:\n{}", log());
            std::thread::sleep(Duration::from_millis(10));
        }
        (port, running)
    }

    /// Where uploads are created.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/files", self.port)
    }

    /// The files with the bytes of uploads.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.folder.path().join("store")).expect("the store exists");
        let paths = entries.map(|entry| entry.expect("a readable folder").path());
        paths.filter(|path| path.extension().is_none()).collect()
    }

    /// SIGKILL to the server.
    pub fn kill(&mut self) {
        self.running.kill();
    }
}
