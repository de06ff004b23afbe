//! Real web servers on free ports: nginx, Apache httpd, lighttpd and Caddy, in the foreground, plain and with TLS.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::process::{self, Guarded};
use crate::tls::{Authority, Flaw, Identity};

/// Folder below the document root into which nginx and Apache take files; nginx takes 1 MB at `/small/`.
pub const UPLOADS: &str = "uploads";
/// Folders that Apache opens for [`USER`] alone, by Digest and by Basic; it takes files into them as well.
pub const DIGEST: &str = "digest";
pub const BASIC: &str = "basic";
/// Folder that nginx opens over https for clients with a certificate of its authority; it takes files there.
pub const CLIENTS: &str = "clients";
pub const USER: &str = "ann";
pub const PASSWORD: &str = "open sesame";
/// [`USER`] and [`PASSWORD`] as `htdigest` and `openssl passwd -apr1` write them; the realm is `lab`.
pub(crate) const DIGEST_LINE: &str = "ann:lab:7b9a676d33340023c22a32b2b802a1f0";
pub(crate) const BASIC_LINE: &str = "ann:$apr1$lab12345$Y20x.uPXHG7fsVUIkEaci0";

/// Which program serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerKind {
    Nginx,
    Apache,
    Lighttpd,
    Caddy,
}

/// What [`WebServer::headers_log`] tells.
const LOGGED_HEADERS: [&str; 8] = [
    "accept",
    "accept-encoding",
    "accept-language",
    "authorization",
    "cookie",
    "referer",
    "user-agent",
    "x-note",
];

/// A running web server with a document root of its own; gone when dropped.
pub struct WebServer {
    kind: ServerKind,
    folder: TempDir,
    authority: Authority,
    http_port: u16,
    https_port: u16,
    _running: Guarded,
}

impl ServerKind {
    pub const ALL: [Self; 4] = [Self::Nginx, Self::Apache, Self::Lighttpd, Self::Caddy];

    const fn program_and_package(self) -> (&'static str, &'static str) {
        match self {
            Self::Nginx => ("nginx", "nginx"),
            Self::Apache => ("apache2", "apache2"),
            Self::Lighttpd => ("lighttpd", "lighttpd"),
            Self::Caddy => ("caddy", "caddy"),
        }
    }
}

impl WebServer {
    /// Starts the server and waits until both its ports answer.
    #[must_use]
    pub fn start(kind: ServerKind) -> Self {
        Self::start_with(kind, None)
    }

    /// Starts the server with a limit in bytes per second for each connection. Caddy has none of its own.
    ///
    /// # Panics
    /// The program is missing or does not start; the message holds its error log.
    #[must_use]
    pub fn start_with(kind: ServerKind, rate: Option<u64>) -> Self {
        assert!(rate.is_none() || kind != ServerKind::Caddy, "Caddy cannot limit rates");
        let (program, package) = kind.program_and_package();
        let program = process::program(program, package);
        let folder = tempfile::Builder::new().prefix("longhaul-web-").tempdir().expect("a temporary folder");
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(folder.path(), open).expect("the folder is ours");
        let root = folder.path().join("root");
        std::fs::create_dir(&root).expect("a writable temporary folder");
        // Apache runs as another user.
        for name in [UPLOADS, DIGEST, BASIC, CLIENTS, "../locks"] {
            let place = root.join(name);
            std::fs::create_dir(&place).expect("a writable temporary folder");
            let all = std::fs::Permissions::from_mode(0o777);
            std::fs::set_permissions(&place, all).expect("the folder is ours");
        }
        for (name, line) in [("digest.users", DIGEST_LINE), ("basic.users", BASIC_LINE)] {
            std::fs::write(folder.path().join(name), format!("{line}\n"))
                .expect("a writable temporary folder");
        }
        let authority = Authority::new();
        authority.issue(Flaw::None).write_to(folder.path());
        std::fs::write(folder.path().join("root.pem"), authority.root_pem())
            .expect("a writable temporary folder");
        let started = process::serve(|[http_port, https_port]| {
            SetUp { folder: folder.path(), http_port, https_port, rate }.spawn(kind, &program)
        });
        if let Some((running, [http_port, https_port])) = started {
            return Self { kind, folder, authority, http_port, https_port, _running: running };
        }
        let log = std::fs::read_to_string(folder.path().join("error.log")).unwrap_or_default();
        panic!("{} does not start:\n{log}", program.display());
    }

    #[must_use]
    pub fn kind(&self) -> ServerKind {
        self.kind
    }

    /// The folder whose files are served.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.http_port)
    }

    #[must_use]
    pub fn https_url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.https_port)
    }

    /// A certificate that nginx takes for [`CLIENTS`].
    #[must_use]
    pub fn client(&self) -> Identity {
        self.authority.issue(Flaw::None)
    }

    /// Where files can be PUT, by nginx and Apache; see [`UPLOADS`].
    #[must_use]
    pub fn uploads(&self) -> PathBuf {
        self.root().join(UPLOADS)
    }

    /// PEM file with the root that signed the server's certificate.
    #[must_use]
    pub fn root_certificate(&self) -> PathBuf {
        self.authority.root_file()
    }

    /// One line a request: method, target, protocol, status, bytes sent and the `Range` asked for, by nginx only.
    #[must_use]
    pub fn access_log(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.folder.path().join("access.log")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// For each request an object of some of its headers by their names in lower case, empty where there is none, by
    /// nginx only.
    ///
    /// # Panics
    /// The log holds no JSON.
    #[must_use]
    pub fn headers_log(&self) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(self.folder.path().join("headers.log")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).expect("nginx writes JSON")).collect()
    }
}

struct SetUp<'a> {
    folder: &'a Path,
    http_port: u16,
    https_port: u16,
    rate: Option<u64>,
}

impl SetUp<'_> {
    fn spawn(&self, kind: ServerKind, program: &Path) -> Guarded {
        let config = self.folder.join("server.conf");
        let text = match kind {
            ServerKind::Nginx => self.nginx(),
            ServerKind::Apache => self.apache(),
            ServerKind::Lighttpd => self.lighttpd(),
            ServerKind::Caddy => self.caddy(),
        };
        std::fs::write(&config, text).expect("a writable temporary folder");
        let mut command = Command::new(program);
        match kind {
            ServerKind::Nginx => command.arg("-c").arg(&config).arg("-p").arg(self.folder),
            ServerKind::Apache => command.arg("-X").arg("-f").arg(&config),
            ServerKind::Lighttpd => command.arg("-D").arg("-f").arg(&config),
            ServerKind::Caddy => {
                command.arg("run").arg("--adapter").arg("caddyfile").arg("--config").arg(&config)
            }
        };
        command
            .env("HOME", self.folder)
            .env("XDG_DATA_HOME", self.folder)
            .env("XDG_CONFIG_HOME", self.folder);
        process::spawn_logged(command, &self.folder.join("error.log"))
    }

    fn nginx(&self) -> String {
        let folder = self.folder.display();
        let Self { http_port, https_port, .. } = self;
        let rate = self.rate.map_or_else(String::new, |rate| format!("limit_rate {rate};"));
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].iter().fold(
            String::new(),
            |mut text, name| {
                let _ = writeln!(text, "    {name}_temp_path {folder}/{name};");
                text
            },
        );
        let uploads = format!(
            "location /{UPLOADS}/ {{ dav_methods PUT; client_max_body_size 0; }}
        location /small/ {{ dav_methods PUT; client_max_body_size 1m; }}"
        );
        let clients = format!(
            "ssl_client_certificate {folder}/root.pem;
        ssl_verify_client optional;
        location /{CLIENTS}/ {{ if ($ssl_client_verify != SUCCESS) {{ return 403; }} dav_methods PUT; }}"
        );
        let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
        let headers = LOGGED_HEADERS.map(|name| format!(r#""{name}":"$http_{}""#, name.replace('-', "_")));
        let headers = headers.join(",");
        format!(
            "daemon off;
master_process off;
{user}
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 1024; }}
http {{
{temporary}    log_format lab '$request_method $request_uri $server_protocol $status $body_bytes_sent $http_range';
    access_log {folder}/access.log lab;
    log_format headers escape=json '{{{headers}}}';
    access_log {folder}/headers.log headers;
    default_type application/octet-stream;
    sendfile on;
    {rate}
    server {{ listen 127.0.0.1:{http_port}; root {folder}/root; {uploads} }}
    server {{
        listen 127.0.0.1:{https_port} ssl http2;
        ssl_certificate {folder}/certificate.pem;
        ssl_certificate_key {folder}/key.pem;
        root {folder}/root;
        {uploads}
        {clients}
    }}
}}
"
        )
    }

    fn apache(&self) -> String {
        let folder = self.folder.display();
        let Self { http_port, https_port, .. } = self;
        // The filter takes KiB per second.
        let rate = self.rate.map_or_else(String::new, |rate| {
            format!("SetOutputFilter RATE_LIMIT\n  SetEnv rate-limit {}", rate.div_ceil(1024))
        });
        let modules = "mpm_event authz_core authz_user authn_core authn_file auth_basic auth_digest env \
                       setenvif ratelimit ssl socache_shmcb http2 dav dav_fs"
            .split_whitespace()
            .fold(String::new(), |mut text, name| {
                let _ = writeln!(text, "LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so");
                text
            });
        format!(
            "{modules}ServerRoot {folder}
ServerName localhost
PidFile {folder}/apache.pid
ErrorLog {folder}/error.log
DefaultRuntimeDir {folder}
User www-data
Group www-data
Listen 127.0.0.1:{http_port}
Listen 127.0.0.1:{https_port}
DocumentRoot {folder}/root
EnableSendfile On
Protocols http/1.1
DavLockDB {folder}/locks/database
<Directory {folder}/root/{UPLOADS}>
  Dav On
</Directory>
<Directory {folder}/root>
  Require all granted
  {rate}
</Directory>
<Directory {folder}/root/{DIGEST}>
  Dav On
  AuthType Digest
  AuthName lab
  AuthUserFile {folder}/digest.users
  Require valid-user
</Directory>
<Directory {folder}/root/{BASIC}>
  Dav On
  AuthType Basic
  AuthName lab
  AuthUserFile {folder}/basic.users
  Require valid-user
</Directory>
<VirtualHost 127.0.0.1:{https_port}>
  SSLEngine on
  SSLCertificateFile {folder}/certificate.pem
  SSLCertificateKeyFile {folder}/key.pem
  Protocols h2 http/1.1
</VirtualHost>
"
        )
    }

    fn lighttpd(&self) -> String {
        let folder = self.folder.display();
        let Self { http_port, https_port, .. } = self;
        let rate = self.rate.map_or_else(String::new, |rate| {
            format!("connection.kbytes-per-second = {}", rate.div_ceil(1024))
        });
        format!(
            "server.modules = (\"mod_openssl\")
server.document-root = \"{folder}/root\"
server.bind = \"127.0.0.1\"
server.port = {http_port}
server.errorlog = \"{folder}/error.log\"
server.feature-flags = (\"server.h2proto\" => \"enable\")
{rate}
mimetype.assign = (\"\" => \"application/octet-stream\")
$SERVER[\"socket\"] == \"127.0.0.1:{https_port}\" {{
  ssl.engine = \"enable\"
  ssl.pemfile = \"{folder}/both.pem\"
}}
"
        )
    }

    fn caddy(&self) -> String {
        let folder = self.folder.display();
        let Self { http_port, https_port, .. } = self;
        format!(
            "{{
    admin off
    auto_https off
}}
http://127.0.0.1:{http_port} {{
    root * {folder}/root
    file_server
}}
https://localhost:{https_port} {{
    bind 127.0.0.1
    tls {folder}/certificate.pem {folder}/key.pem
    root * {folder}/root
    file_server
}}
"
        )
    }
}
