//! Real proxies on free ports: squid for HTTP, dante for SOCKS 5.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::process::{self, Guarded};
use crate::servers::{BASIC_LINE, DIGEST_LINE};

/// Which program, and whom it lets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyKind {
    Squid,
    /// Only [`crate::servers::USER`], by Basic.
    SquidBasic,
    /// Only [`crate::servers::USER`], by Digest.
    SquidDigest,
    /// Anybody, but not to port 1.
    Dante,
}

/// A running proxy; gone when dropped.
pub struct RealProxy {
    kind: ProxyKind,
    folder: TempDir,
    port: u16,
    _running: Guarded,
    // After the process: it must not be there any more.
    _memory: SharedMemory,
}

/// What a squid of this name leaves behind when it is killed; removed when dropped.
struct SharedMemory(String);

impl Drop for SharedMemory {
    fn drop(&mut self) {
        for part in ["metadata", "queues", "readers"] {
            let _ = std::fs::remove_file(format!("/dev/shm/{}-cf__{part}.shm", self.0));
        }
    }
}

/// Its name among all the machine's: two of one name share their memory, and only one of them may.
fn service(port: u16) -> String {
    format!("lab{}p{port}", std::process::id())
}

impl RealProxy {
    /// Starts the proxy and waits until it answers.
    ///
    /// # Panics
    /// The program is missing or does not start; the message holds its log.
    #[must_use]
    pub fn start(kind: ProxyKind) -> Self {
        let folder =
            tempfile::Builder::new().prefix("longhaul-proxy-").tempdir().expect("a temporary folder");
        // squid runs as another user when root starts it.
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).expect("it is ours");
        for (name, line) in [("digest.users", DIGEST_LINE), ("basic.users", BASIC_LINE)] {
            std::fs::write(folder.path().join(name), format!("{line}\n"))
                .expect("a writable temporary folder");
        }
        if let Some((running, [port])) = process::serve(|[port]| spawn(kind, folder.path(), port)) {
            return Self { kind, folder, port, _running: running, _memory: SharedMemory(service(port)) };
        }
        panic!("{kind:?} does not start:\n{}", log(folder.path()));
    }

    /// The address as a client names it; socks5h for dante.
    #[must_use]
    pub fn url(&self) -> String {
        match self.kind {
            ProxyKind::Dante => format!("socks5h://127.0.0.1:{}", self.port),
            _ => format!("http://127.0.0.1:{}", self.port),
        }
    }

    /// What it has written down.
    #[must_use]
    pub fn log(&self) -> String {
        log(self.folder.path())
    }
}

fn log(folder: &Path) -> String {
    let read = |name| std::fs::read_to_string(folder.join(name)).unwrap_or_default();
    format!("{}{}{}", read("access.log"), read("cache.log"), read("out.log"))
}

fn spawn(kind: ProxyKind, folder: &Path, port: u16) -> Guarded {
    let config = folder.join("proxy.conf");
    let (name, package, text) = match kind {
        ProxyKind::Dante => ("danted", "dante-server", dante(folder, port)),
        _ => ("squid", "squid", squid(kind, folder, port)),
    };
    std::fs::write(&config, text).expect("a writable temporary folder");
    let mut command = Command::new(process::program(name, package));
    match kind {
        ProxyKind::Dante => command.arg("-f").arg(&config).arg("-p").arg(folder.join("pid")),
        _ => command.arg("-N").arg("-n").arg(service(port)).arg("-f").arg(&config),
    };
    process::spawn_logged(command, &folder.join("out.log"))
}

fn squid(kind: ProxyKind, folder: &Path, port: u16) -> String {
    let folder = folder.display();
    let scheme = match kind {
        ProxyKind::SquidBasic => "basic program /usr/lib/squid/basic_ncsa_auth {folder}/basic.users",
        ProxyKind::SquidDigest => "digest program /usr/lib/squid/digest_file_auth -c {folder}/digest.users",
        ProxyKind::Squid | ProxyKind::Dante => "",
    };
    let rules = match scheme.split_once(' ') {
        None => "http_access allow all".to_owned(),
        Some((word, _)) => format!(
            "auth_param {}\nauth_param {word} children 1 startup=1\nauth_param {word} realm lab\n\
             acl known proxy_auth REQUIRED\nhttp_access allow known\nhttp_access deny all",
            scheme.replace("{folder}", &folder.to_string())
        ),
    };
    format!(
        "http_port 127.0.0.1:{port}
visible_hostname lab
pid_filename none
cache deny all
cache_mem 8 MB
access_log stdio:{folder}/access.log
cache_log {folder}/cache.log
coredump_dir {folder}
netdb_filename none
pinger_enable off
shutdown_lifetime 0 seconds
{rules}
"
    )
}

fn dante(folder: &Path, port: u16) -> String {
    let folder = folder.display();
    let all = "from: 127.0.0.0/8 to: 0.0.0.0/0";
    format!(
        "logoutput: {folder}/access.log
internal: 127.0.0.1 port = {port}
external: 127.0.0.1
clientmethod: none
socksmethod: none
user.unprivileged: nobody
client pass {{ {all} }}
socks block {{ from: 127.0.0.0/8 to: 0.0.0.0/0 port = 1 log: connect }}
socks pass {{ {all} log: connect }}
"
    )
}
