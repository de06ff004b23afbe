//! Real tus servers: `@tus/server` on Node.js, and one in Python.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
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

/// The same in Python, with the server's own defaults.
const PYTHON_SERVER: &str = "
import sys
import uvicorn
from fastapi import FastAPI
from tuspyserver import create_tus_router
app = FastAPI()
app.include_router(create_tus_router(files_dir=sys.argv[2], prefix='files', max_size=1 << 40))
uvicorn.run(app, host='127.0.0.1', port=int(sys.argv[1]), log_level='warning')
";

/// Which server it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TusKind {
    /// `@tus/server` with its store of files.
    Node,
    /// `tuspyserver`.
    Python,
}

/// A running tus server; gone when dropped.
pub struct TusServer {
    kind: TusKind,
    folder: TempDir,
    port: u16,
    _running: Guarded,
}

impl TusServer {
    /// Starts the server, from where `cargo xtask setup` puts it.
    ///
    /// # Panics
    /// It is missing, or does not start.
    #[must_use]
    pub fn start(kind: TusKind) -> Self {
        let folder = tempfile::Builder::new().prefix("longhaul-tus-").tempdir().expect("a temporary folder");
        std::fs::create_dir(folder.path().join("store")).expect("a writable temporary folder");
        // A port found free may be taken by somebody else before the server binds it: then try others.
        for _ in 0..5 {
            let port = free_address().port();
            let mut running = spawn(kind, folder.path(), port);
            if has_started(&mut running, port) {
                return Self { kind, folder, port, _running: running };
            }
        }
        let log = std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
        panic!("the tus server {kind:?} does not start:\n{log}");
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Where uploads are created.
    #[must_use]
    pub fn url(&self) -> String {
        let slash = if self.kind == TusKind::Python { "/" } else { "" };
        format!("http://{}/files{slash}", self.address())
    }

    /// The files with the bytes of uploads.
    ///
    /// # Panics
    /// The store cannot be read.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.folder.path().join("store")).expect("the store exists");
        let paths = entries.map(|entry| entry.expect("a readable folder").path());
        paths.filter(|path| path.is_file() && path.extension().is_none()).collect()
    }
}

fn tools() -> PathBuf {
    let test = std::env::current_exe().expect("a running program has a path");
    let target = test.ancestors().nth(3).expect("tests lie in target/PROFILE/deps");
    target.join("tools")
}

fn spawn(kind: TusKind, folder: &Path, port: u16) -> Guarded {
    let (program, name, text) = match kind {
        TusKind::Node => (process::program("node", "nodejs"), "server.cjs", NODE_SERVER),
        TusKind::Python => (tools().join("tus/bin/python"), "server.py", PYTHON_SERVER),
    };
    let script = folder.join(name);
    std::fs::write(&script, text).expect("a writable temporary folder");
    let log = std::fs::File::options().create(true).append(true).open(folder.join("log"));
    let log = log.expect("a writable temporary folder");
    let mut command = Command::new(&program);
    command
        .arg(script)
        .arg(port.to_string())
        .arg(folder.join("store"))
        .env("NODE_PATH", tools().join("node/node_modules"))
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("one more descriptor"))
        .stderr(log);
    process::spawn(command).unwrap_or_else(|error| {
        panic!("{} cannot be started (cargo xtask setup installs it): {error}", program.display())
    })
}

fn has_started(running: &mut Guarded, port: u16) -> bool {
    let end = Instant::now() + START_DEADLINE;
    while running.has_ended().is_none() && Instant::now() < end {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    false
}
