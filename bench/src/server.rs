//! nginx as the other side of every transfer: one process, sendfile, no log.

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use longhaul_lab::process::{Guarded, program, spawn};
use longhaul_lab::tls::{Authority, Flaw};
use longhaul_lab::wait_until;
use tempfile::TempDir;

pub(crate) struct ServerOptions {
    pub(crate) address: IpAddr,
    pub(crate) offers_http2: bool,
}

pub(crate) struct Server {
    _folder: TempDir,
    authority: Authority,
    http: SocketAddr,
    https: SocketAddr,
    _running: Guarded,
}

impl Server {
    /// Serves `root`. The process ends with the thread that calls this.
    pub(crate) fn start(root: &Path, options: &ServerOptions) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("nginx-").tempdir()?;
        let authority = Authority::new();
        authority.issue(Flaw::None).write_to(folder.path());
        let free = || -> Result<SocketAddr> { Ok(TcpListener::bind((options.address, 0))?.local_addr()?) };
        let (http, https) = (free()?, free()?);
        let config = folder.path().join("nginx.conf");
        std::fs::write(&config, configuration(folder.path(), root, options, http, https))?;
        let log = std::fs::File::create(folder.path().join("output.log"))?;
        let mut command = Command::new(program("nginx", "nginx"));
        command.arg("-c").arg(&config).arg("-p").arg(folder.path());
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let running = spawn(command).context("nginx cannot be started")?;
        for address in [http, https] {
            wait_until("nginx", Duration::from_secs(20), || TcpStream::connect(address).ok());
        }
        Ok(Self { _folder: folder, authority, http, https, _running: running })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.http
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.http)
    }

    pub(crate) fn https_url(&self, path: &str) -> String {
        format!("https://localhost:{}/{path}", self.https.port())
    }

    /// The certificate that the server's is signed with.
    pub(crate) fn root_certificate(&self) -> PathBuf {
        self.authority.root_file()
    }
}

fn configuration(
    folder: &Path,
    root: &Path,
    options: &ServerOptions,
    http: SocketAddr,
    https: SocketAddr,
) -> String {
    let http2 = if options.offers_http2 { "http2" } else { "" };
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|name| format!("{name}_temp_path {}/{name};\n", folder.display()))
        .collect();
    format!(
        "daemon off;
master_process off;
{user}
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
worker_rlimit_nofile 8192;
events {{ worker_connections 4096; }}
http {{
{temporary}
access_log off;
default_type application/octet-stream;
sendfile on;
tcp_nopush on;
keepalive_requests 1000000;
root {root};
client_max_body_size 0;
server {{ listen {http} backlog=4096; location /dav/ {{ dav_methods PUT; }} }}
server {{
    listen {https} ssl {http2} backlog=4096;
    ssl_certificate {folder}/certificate.pem;
    ssl_certificate_key {folder}/key.pem;
    ssl_protocols TLSv1.3;
    ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;
}}
}}
",
        folder = folder.display(),
        root = root.display(),
    )
}
