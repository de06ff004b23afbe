//! Real FTP servers: vsftpd, and pyftpdlib in Python, in the clear and with TLS of both kinds.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::process::{self, Guarded};
use crate::tls::{Authority, Flaw};

/// Whom pyftpdlib knows beside the anonymous.
pub const USER: &str = "ann";
pub const PASSWORD: &str = "correct horse";

/// Serves the folder of its second argument on the port of its first; the third says how TLS begins.
const PYTHON_SERVER: &str = "
import sys
from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler, TLS_FTPHandler
from pyftpdlib.servers import FTPServer

port, root, mode, identity, user, password = sys.argv[1:]
authorizer = DummyAuthorizer()
authorizer.add_user(user, password, root, perm='elr')
authorizer.add_anonymous(root)

class Implicit(TLS_FTPHandler):
    def handle(self):
        self.secure_connection(self.ssl_context)

    def handle_ssl_established(self):
        TLS_FTPHandler.handle(self)

handler = {'Plain': FTPHandler, 'Explicit': TLS_FTPHandler, 'Implicit': Implicit}[mode]
handler.authorizer = authorizer
handler.auth_failed_timeout = 0
if mode != 'Plain':
    handler.certfile = identity
    handler.tls_control_required = True
    handler.tls_data_required = True
if mode == 'Implicit':
    handler.ssl_context = handler.get_ssl_context()
FTPServer(('127.0.0.1', int(port)), handler).serve_forever()
";

/// Which program serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FtpKind {
    /// Only for the anonymous; with TLS it demands that data connections resume the session of the control connection.
    Vsftpd,
    /// `pyftpdlib`, which knows [`USER`] too.
    Python,
}

/// How TLS begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FtpMode {
    Plain,
    /// By `AUTH TLS`.
    Explicit,
    /// At once.
    Implicit,
}

/// A running FTP server with a folder of its own; gone when dropped.
pub struct FtpServer {
    mode: FtpMode,
    folder: TempDir,
    authority: Authority,
    port: u16,
    _running: Guarded,
}

impl FtpServer {
    #[must_use]
    pub fn start(kind: FtpKind, mode: FtpMode) -> Self {
        Self::start_with(kind, mode, None)
    }

    /// With a limit in bytes per second for each connection, by vsftpd only.
    ///
    /// # Panics
    /// The program is missing or does not start; the message holds its log.
    #[must_use]
    pub fn start_with(kind: FtpKind, mode: FtpMode, rate: Option<u64>) -> Self {
        assert!(rate.is_none() || kind == FtpKind::Vsftpd, "only vsftpd is limited");
        let folder = tempfile::Builder::new().prefix("longhaul-ftp-").tempdir().expect("a temporary folder");
        // vsftpd serves as another user.
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(folder.path(), open).expect("the folder is ours");
        for name in ["root", "empty"] {
            std::fs::create_dir(folder.path().join(name)).expect("a writable temporary folder");
        }
        let authority = Authority::new();
        authority.issue(Flaw::None).write_to(folder.path());
        let log = folder.path().join("error.log");
        let started = process::serve(|[port]| {
            let command = match kind {
                FtpKind::Vsftpd => vsftpd(folder.path(), mode, port, rate),
                FtpKind::Python => python(folder.path(), mode, port),
            };
            process::spawn_logged(command, &log)
        });
        if let Some((running, [port])) = started {
            return Self { mode, folder, authority, port, _running: running };
        }
        let log = std::fs::read_to_string(log).unwrap_or_default();
        panic!("the FTP server {kind:?} does not start:\n{log}");
    }

    /// The folder whose files are served.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base(""))
    }

    /// The same with [`USER`] and [`PASSWORD`] in the address.
    #[must_use]
    pub fn user_url(&self, path: &str) -> String {
        format!("{}{path}", self.base(&format!("{USER}:{}@", PASSWORD.replace(' ', "%20"))))
    }

    fn base(&self, who: &str) -> String {
        let scheme = match self.mode {
            FtpMode::Plain => "ftp",
            FtpMode::Explicit => "ftpes",
            FtpMode::Implicit => "ftps",
        };
        format!("{scheme}://{who}localhost:{}", self.port)
    }

    /// PEM file with the root that signed the server's certificate.
    #[must_use]
    pub fn root_certificate(&self) -> PathBuf {
        self.authority.root_file()
    }

    /// The commands it was given and what it said, by vsftpd only.
    #[must_use]
    pub fn protocol_log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("protocol.log")).unwrap_or_default()
    }
}

fn vsftpd(folder: &Path, mode: FtpMode, port: u16, rate: Option<u64>) -> Command {
    let program = process::program("vsftpd", "vsftpd");
    let place = folder.display();
    let yes = |is: bool| if is { "YES" } else { "NO" };
    let is_tls = yes(mode != FtpMode::Plain);
    let text = format!(
        "listen=YES
listen_address=127.0.0.1
listen_port={port}
background=NO
run_as_launching_user={}
anonymous_enable=YES
local_enable=NO
anon_root={place}/root
anon_max_rate={}
secure_chroot_dir={place}/empty
seccomp_sandbox=NO
isolate=NO
isolate_network=NO
xferlog_enable=YES
log_ftp_protocol=YES
vsftpd_log_file={place}/protocol.log
delay_failed_login=0
ssl_enable={is_tls}
implicit_ssl={}
allow_anon_ssl=YES
force_anon_data_ssl={is_tls}
force_anon_logins_ssl={is_tls}
require_ssl_reuse=YES
ssl_ciphers=HIGH
rsa_cert_file={place}/certificate.pem
rsa_private_key_file={place}/key.pem
",
        yes(!rustix::process::geteuid().is_root()),
        rate.unwrap_or(0),
        yes(mode == FtpMode::Implicit),
    );
    let config = folder.join("server.conf");
    std::fs::write(&config, text).expect("a writable temporary folder");
    let mut command = Command::new(program);
    command.arg(config);
    command
}

fn python(folder: &Path, mode: FtpMode, port: u16) -> Command {
    let test = std::env::current_exe().expect("a running program has a path");
    let target = test.ancestors().nth(3).expect("tests lie in target/PROFILE/deps");
    let script = folder.join("server.py");
    std::fs::write(&script, PYTHON_SERVER).expect("a writable temporary folder");
    let mut command = Command::new(target.join("tools/ftp/bin/python"));
    command.arg(script).arg(port.to_string()).arg(folder.join("root")).arg(format!("{mode:?}"));
    command.arg(folder.join("both.pem")).arg(USER).arg(PASSWORD);
    command
}
