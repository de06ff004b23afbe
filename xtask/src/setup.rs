//! The programs that the checks need: real servers, peers to compare with, and tools of cargo.

use std::path::PathBuf;
use std::process::Command;

use crate::workspace::{Failure, Workspace};

/// Each program, or file, with the Debian package that brings it.
const PROGRAMS: &[(&str, &str)] = &[
    ("apache2", "apache2"),
    ("aria2c", "aria2"),
    ("caddy", "caddy"),
    ("curl", "curl"),
    ("danted", "dante-server"),
    ("dbus-daemon", "dbus-daemon"),
    ("ffmpeg", "ffmpeg"),
    ("ffprobe", "ffmpeg"),
    ("gdbus", "libglib2.0-bin"),
    ("git", "git"),
    ("ip", "iproute2"),
    ("lighttpd", "lighttpd"),
    ("/usr/lib/lighttpd/mod_openssl.so", "lighttpd-mod-openssl"),
    ("nginx", "nginx"),
    ("node", "nodejs"),
    ("npm", "npm"),
    ("openssl", "openssl"),
    ("python3", "python3"),
    ("/usr/share/doc/python3-venv/copyright", "python3-venv"),
    ("rpm", "rpm"),
    ("setpriv", "util-linux"),
    ("squid", "squid"),
    ("strace", "strace"),
    ("ModemManager", "modemmanager"),
    ("NetworkManager", "network-manager"),
    ("/usr/libexec/geoclue", "geoclue-2.0"),
    ("vsftpd", "vsftpd"),
    ("umockdev-wrapper", "umockdev"),
    ("/usr/lib/python3/dist-packages/dbusmock/__init__.py", "python3-dbusmock"),
    ("/usr/share/doc/gir1.2-umockdev-1.0/copyright", "gir1.2-umockdev-1.0"),
    ("/usr/libexec/upowerd", "upower"),
    ("/lib/systemd/systemd-logind", "systemd"),
    ("systemd-analyze", "systemd"),
    ("systemd-socket-activate", "systemd"),
    ("wget2", "wget2"),
];

/// What the contracts are held against a running service with, in a Python environment of its own.
const SCHEMATHESIS: &str = "schemathesis==4.32.5";

/// A tus server with its store, for Node.js.
const TUS_PACKAGES: &[&str] = &["@tus/server@2.4.5", "@tus/file-store@2.1.1"];

/// Another tus server, in a Python environment of its own.
const TUS_IN_PYTHON: &[&str] = &["tuspyserver==4.4.3", "uvicorn==0.54.0"];

/// An FTP server with TLS, in a Python environment of its own.
const FTP_IN_PYTHON: &[&str] = &["pyftpdlib==2.2.0", "pyOpenSSL==26.4.0"];

/// Tools of cargo with the version that is installed where there is none.
const CARGO_TOOLS: &[(&str, &str)] = &[("cargo-deny", "0.20.2"), ("cargo-nextest", "0.9.143")];

pub(crate) fn run(workspace: &Workspace) -> Result<(), Failure> {
    install_packages(workspace)?;
    install_in_python(workspace, "python", "bin/schemathesis", &[SCHEMATHESIS])?;
    install_in_python(workspace, "tus", "bin/uvicorn", TUS_IN_PYTHON)?;
    install_in_python(workspace, "ftp", "bin/ftpbench", FTP_IN_PYTHON)?;
    install_tus(workspace)?;
    install_cargo_tools(workspace)
}

/// Makes the environment `name` with `packages`, unless `proof` is in it already.
fn install_in_python(
    workspace: &Workspace,
    name: &str,
    proof: &str,
    packages: &[&str],
) -> Result<(), Failure> {
    let root = workspace.target()?.join("tools").join(name);
    if root.join(proof).is_file() {
        return Ok(());
    }
    println!("setup: installing {}", packages.join(" "));
    let root = root.display().to_string();
    workspace.succeed(workspace.command("python3").with_arguments(&["-m", "venv", &root])).map_err(
        |failure| {
            Failure::new(format!(
                "{failure}; the checks need Python's venv: sudo apt-get install python3-venv"
            ))
        },
    )?;
    let pip = format!("{root}/bin/pip");
    let mut arguments = vec!["install", "--quiet"];
    arguments.extend(packages);
    workspace.succeed(workspace.command(&pip).with_arguments(&arguments))
}

fn install_tus(workspace: &Workspace) -> Result<(), Failure> {
    let root = workspace.target()?.join("tools/node");
    if root.join("node_modules/@tus/server").is_dir() {
        return Ok(());
    }
    println!("setup: installing {}", TUS_PACKAGES.join(" "));
    let root = root.display().to_string();
    let mut arguments = vec!["install", "--silent", "--no-audit", "--no-fund", "--prefix", &root];
    arguments.extend(TUS_PACKAGES);
    workspace.succeed(workspace.command("npm").with_arguments(&arguments))
}

/// Where a program is, or a file by its path; also when the caller's `PATH` leaves out the folders of servers.
fn find(program: &str, additional: &[PathBuf]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin", "/sbin"].map(PathBuf::from))
        .chain(additional.iter().cloned())
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}

fn install_packages(workspace: &Workspace) -> Result<(), Failure> {
    let missing = |program: &&(&str, &str)| find(program.0, &[]).is_none();
    let mut packages: Vec<&str> = PROGRAMS.iter().filter(missing).map(|(_, package)| *package).collect();
    packages.dedup();
    if packages.is_empty() {
        return Ok(());
    }
    let wanted = packages.join(" ");
    let is_root = workspace.read(workspace.command("id").with_arguments(&["-u"]))?.trim() == "0";
    if !is_root || find("apt-get", &[]).is_none() {
        return Err(Failure::new(format!("the checks need more programs: sudo apt-get install {wanted}")));
    }
    println!("setup: installing {wanted}");
    let apt = |arguments: &[&str]| {
        let mut command = workspace.command("apt-get").with_arguments(arguments);
        // RUNLEVEL=1 keeps the packages from starting their servers: the tests start their own.
        command.env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1");
        workspace.succeed(command)
    };
    apt(&["update", "-qq"])?;
    let mut install = vec!["install", "-qq", "--yes", "--no-install-recommends"];
    install.extend(&packages);
    apt(&install)?;
    match PROGRAMS.iter().find(missing) {
        None => Ok(()),
        Some((program, package)) => Err(Failure::new(format!("package {package} brought no {program}"))),
    }
}

/// Built without optimisation and kept beside the builds: it is the wait for them that counts, not their speed.
fn install_cargo_tools(workspace: &Workspace) -> Result<(), Failure> {
    let root = workspace.target()?.join("tools");
    for (tool, version) in CARGO_TOOLS {
        if find(tool, &[root.join("bin")]).is_some() {
            continue;
        }
        println!("setup: building {tool} {version}");
        let mut command =
            workspace.cargo(&["install", "--quiet", "--locked", "--debug", "--version", version, tool]);
        command
            .arg("--root")
            .arg(&root)
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            .env("CARGO_TARGET_DIR", root.join("build"));
        workspace.succeed(command)?;
        let _ = std::fs::remove_dir_all(root.join("build"));
    }
    Ok(())
}

/// `cargo TOOL …` with the tools of [`run`] in reach.
pub(crate) fn cargo_tool(workspace: &Workspace, arguments: &[&str]) -> Result<Command, Failure> {
    let mut command = workspace.cargo(arguments);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([workspace.target()?.join("tools/bin")]);
    let joined = std::env::join_paths(folders).map_err(|error| Failure::new(format!("PATH: {error}")))?;
    command.env("PATH", joined);
    Ok(command)
}

trait WithArguments {
    fn with_arguments(self, arguments: &[&str]) -> Self;
}

impl WithArguments for Command {
    fn with_arguments(mut self, arguments: &[&str]) -> Self {
        self.args(arguments);
        self
    }
}
