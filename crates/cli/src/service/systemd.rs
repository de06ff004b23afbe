//! The service as units of systemd: the user's own manager, or the system's for root.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use longhaul_contract::ServicePaths;

use crate::exit::Exit;
use crate::trouble::Trouble;

pub(crate) const SERVICE_UNIT: &str = "longhaul.service";
pub(crate) const SOCKET_UNIT: &str = "longhaul.socket";

/// A manager that answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Systemd {
    is_user: bool,
    /// Where the units of `service install` lie.
    folder: PathBuf,
}

/// What the manager says of one unit.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UnitState {
    pub(crate) unit: &'static str,
    /// `loaded`, `not-found`, `masked` …
    pub(crate) load: String,
    /// `active`, `inactive`, `failed` …
    pub(crate) active: String,
    /// `enabled`, `disabled` …
    pub(crate) enabled: String,
}

impl Systemd {
    /// The manager that would run this user's service; `None` where systemd does not run.
    pub(crate) fn find() -> Option<Self> {
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").filter(|folder| !folder.is_empty());
        if !Path::new("/run/systemd/system").is_dir() {
            return None;
        }
        match runtime {
            Some(runtime) => {
                let is_running = Path::new(&runtime).join("systemd/private").exists();
                let base = std::env::var_os("XDG_CONFIG_HOME")
                    .map(PathBuf::from)
                    .filter(|folder| folder.is_absolute())
                    .or_else(|| std::env::home_dir().map(|home| home.join(".config")))?;
                is_running.then(|| Self { is_user: true, folder: base.join("systemd/user") })
            }
            None if rustix::process::getuid().is_root() => {
                Some(Self { is_user: false, folder: PathBuf::from("/etc/systemd/system") })
            }
            None => None,
        }
    }

    /// The manager, if its unit is the one that listens at `paths.socket`: a service at a path of somebody's choosing
    /// is none of systemd's business.
    pub(crate) fn for_socket(paths: &ServicePaths) -> Option<Self> {
        let uid = rustix::process::getuid().as_raw();
        let ours = ["LONGHAUL_SOCKET", "LONGHAUL_STATE", "LONGHAUL_CONFIG"];
        let usual =
            ServicePaths::find(uid, |name| std::env::var_os(name).filter(|_| !ours.contains(&name))).ok()?;
        if usual == *paths { Self::find() } else { None }
    }

    fn systemctl(&self, arguments: &[&str]) -> Result<String, Trouble> {
        let mut command = Command::new("systemctl");
        if self.is_user {
            command.arg("--user");
        }
        let spoken =
            format!("systemctl{} {}", if self.is_user { " --user" } else { "" }, arguments.join(" "));
        let output = command
            .args(["--no-pager", "--no-ask-password"])
            .args(arguments)
            .output()
            .map_err(|error| Trouble::new(Exit::Unreachable, format!("{spoken}: {error}")))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(Trouble::new(Exit::Unreachable, format!("{spoken} failed: {said}")).advise(format!(
            "See `journalctl{} -u {SERVICE_UNIT}`.",
            if self.is_user { " --user" } else { "" }
        )))
    }

    pub(crate) fn state(&self, unit: &'static str) -> Result<UnitState, Trouble> {
        let answer = self.systemctl(&["show", "--property=LoadState,ActiveState,UnitFileState", unit])?;
        let value = |name: &str| {
            let line = answer.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            line.unwrap_or_default().to_owned()
        };
        Ok(UnitState {
            unit,
            load: value("LoadState"),
            active: value("ActiveState"),
            enabled: value("UnitFileState"),
        })
    }

    pub(crate) fn is_installed(&self) -> bool {
        self.state(SERVICE_UNIT).is_ok_and(|state| state.load == "loaded")
    }

    /// Starts the socket, where there is one, and the service.
    pub(crate) fn start(&self) -> Result<(), Trouble> {
        if self.state(SOCKET_UNIT)?.load == "loaded" {
            self.systemctl(&["start", SOCKET_UNIT])?;
        }
        self.systemctl(&["start", SERVICE_UNIT]).map(drop)
    }

    /// Stops both, so that nothing starts the service again by connecting.
    pub(crate) fn stop(&self) -> Result<(), Trouble> {
        if self.state(SOCKET_UNIT)?.load == "loaded" {
            self.systemctl(&["stop", SOCKET_UNIT, SERVICE_UNIT])?;
        } else {
            self.systemctl(&["stop", SERVICE_UNIT])?;
        }
        Ok(())
    }

    /// Writes the units for `program` and has them started now and at every start of the manager. Answers the files.
    pub(crate) fn install(&self, program: &Path) -> Result<Vec<PathBuf>, Trouble> {
        fs::create_dir_all(&self.folder).map_err(|error| Trouble::file(&self.folder, &error))?;
        let service = self.folder.join(SERVICE_UNIT);
        let socket = self.folder.join(SOCKET_UNIT);
        for (path, text) in [(&service, self.service_unit(program)), (&socket, self.socket_unit())] {
            fs::write(path, text).map_err(|error| Trouble::file(path, &error))?;
        }
        self.systemctl(&["daemon-reload"])?;
        self.systemctl(&["enable", "--now", SOCKET_UNIT, SERVICE_UNIT])?;
        Ok(vec![service, socket])
    }

    /// Stops and removes what `install` made. Answers the files that were there.
    pub(crate) fn uninstall(&self) -> Result<Vec<PathBuf>, Trouble> {
        let files: Vec<_> = [SERVICE_UNIT, SOCKET_UNIT].map(|unit| self.folder.join(unit)).into();
        if files.iter().all(|file| !file.exists()) {
            return Ok(Vec::new());
        }
        self.systemctl(&["disable", "--now", SOCKET_UNIT, SERVICE_UNIT])?;
        let mut removed = Vec::new();
        for file in files {
            match fs::remove_file(&file) {
                Ok(()) => removed.push(file),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(Trouble::file(&file, &error)),
            }
        }
        self.systemctl(&["daemon-reload"])?;
        Ok(removed)
    }

    /// Whether the user's services go on after the last session ends; `None` where nobody can tell.
    pub(crate) fn lingers(&self) -> Option<bool> {
        if !self.is_user {
            return Some(true);
        }
        let output = Command::new("loginctl")
            .args(["show-user", "--property=Linger", &rustix::process::getuid().as_raw().to_string()])
            .output()
            .ok()?;
        let answer = String::from_utf8_lossy(&output.stdout);
        answer.trim().strip_prefix("Linger=").map(|value| value == "yes")
    }

    fn service_unit(&self, program: &Path) -> String {
        let (wanted_by, hardening) = if self.is_user {
            ("default.target", "")
        } else {
            ("multi-user.target", "StateDirectory=longhaul\nStateDirectoryMode=0700\n")
        };
        format!(
            "[Unit]\n\
             Description=Longhaul background transfers\n\
             Requires={SOCKET_UNIT}\n\
             After={SOCKET_UNIT}\n\
             \n\
             [Service]\n\
             Type=notify\n\
             ExecStart={} daemon\n\
             Restart=always\n\
             RestartSec=1\n\
             WatchdogSec=300\n\
             TimeoutStopSec=60\n\
             KillMode=mixed\n\
             Delegate=memory cpu pids\n\
             NoNewPrivileges=yes\n\
             LockPersonality=yes\n\
             SystemCallArchitectures=native\n\
             {hardening}\
             \n\
             [Install]\n\
             WantedBy={wanted_by}\n",
            quoted(program)
        )
    }

    fn socket_unit(&self) -> String {
        let runtime = if self.is_user { "%t" } else { "/run" };
        format!(
            "[Unit]\n\
             Description=Socket of Longhaul background transfers\n\
             \n\
             [Socket]\n\
             ListenStream={runtime}/longhaul/longhaul.sock\n\
             SocketMode=0600\n\
             DirectoryMode=0700\n\
             \n\
             [Install]\n\
             WantedBy=sockets.target\n"
        )
    }
}

/// A path as one word of a unit file (systemd.syntax(7)).
fn quoted(path: &Path) -> String {
    let text = path
        .to_string_lossy()
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('%', "%%")
        .replace('$', "$$");
    format!("\"{text}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_of_a_user() {
        let systemd = Systemd { is_user: true, folder: PathBuf::new() };
        insta::assert_snapshot!(systemd.service_unit(Path::new("/opt/my tools/100%/longhaul")));
        insta::assert_snapshot!(systemd.socket_unit());
    }

    #[test]
    fn systemd_understands_them() {
        for is_user in [true, false] {
            let folder = tempfile::tempdir().unwrap();
            let systemd = Systemd { is_user, folder: folder.path().to_owned() };
            let units = [SERVICE_UNIT, SOCKET_UNIT].map(|unit| folder.path().join(unit));
            fs::write(&units[0], systemd.service_unit(&std::env::current_exe().unwrap())).unwrap();
            fs::write(&units[1], systemd.socket_unit()).unwrap();
            let output = Command::new("systemd-analyze")
                .args(is_user.then_some("--user"))
                .arg("verify")
                .args(&units)
                .env("XDG_RUNTIME_DIR", folder.path())
                .output()
                .expect("systemd-analyze is installed (package systemd)");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && said.is_empty(), "{}: {said}", output.status);
        }
    }

    #[test]
    fn units_of_the_system() {
        let systemd = Systemd { is_user: false, folder: PathBuf::new() };
        insta::assert_snapshot!(systemd.service_unit(Path::new("/usr/bin/longhaul")));
        insta::assert_snapshot!(systemd.socket_unit());
    }
}
