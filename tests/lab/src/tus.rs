//! Real tus servers: `@tus/server` on Node.js, and one in Python.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::process::{self, Guarded};

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
        if let Some((running, [port])) = process::serve(|[port]| spawn(kind, folder.path(), port)) {
            return Self { kind, folder, port, _running: running };
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
    let mut command = Command::new(&program);
    command
        .arg(script)
        .arg(port.to_string())
        .arg(folder.join("store"))
        .env("NODE_PATH", tools().join("node/node_modules"));
    process::spawn_logged(command, &folder.join("log"))
}
