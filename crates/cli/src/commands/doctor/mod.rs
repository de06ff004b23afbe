//! `longhaul doctor`.

mod tasks;

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use longhaul_client::{Client, Endpoint};
use longhaul_contract::ServicePaths;
use serde::Serialize;

use crate::DaemonOptions;
use crate::connect::Context;
use crate::console::View;
use crate::exit::Exit;
use crate::measure;
use crate::service::process;
use crate::service::systemd::{SERVICE_UNIT, Systemd};
use crate::text::escape;
use crate::trouble::Trouble;

/// Check whether the service can work here, without starting it
///
/// Ends with 1 when something is wrong.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
enum Grade {
    Good,
    /// Works, and somebody should know.
    Remark,
    Bad,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Check {
    name: &'static str,
    grade: Grade,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

impl Check {
    fn new(name: &'static str, grade: Grade, detail: impl Into<String>) -> Self {
        Self { name, grade, detail: detail.into(), advice: None }
    }

    fn advise(self, advice: impl Into<String>) -> Self {
        Self { advice: Some(advice.into()), ..self }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    is_well: bool,
    checks: &'a [Check],
}

/// Less free space than this in the state folder is worth a remark.
const FREE_BYTES_LOW: u64 = 256 << 20;
const FREE_BYTES_NONE: u64 = 4 << 20;

pub(crate) async fn run(_: Arguments, context: &Context) -> Result<Exit, Trouble> {
    let paths = context.paths()?;
    let mut checks = vec![Check::new(
        "program",
        Grade::Good,
        format!(
            "{} at {}",
            env!("CARGO_PKG_VERSION"),
            std::env::current_exe().map_or_else(|error| error.to_string(), |path| path.display().to_string())
        ),
    )];
    checks.push(configuration(context, &paths));
    checks.extend(state_folder(&paths.state));
    checks.push(manager(&paths));
    checks.extend(tasks::manifests(&paths));
    checks.extend(answer(&paths).await);
    let is_well = checks.iter().all(|check| check.grade < Grade::Bad);
    context.console.data(&Report { is_well, checks: &checks }, |view| render(&checks, view))?;
    Ok(if is_well { Exit::Success } else { Exit::Internal })
}

fn configuration(context: &Context, paths: &ServicePaths) -> Check {
    let options = DaemonOptions { socket: context.globals.socket.clone(), ..DaemonOptions::default() };
    let file = paths.config.display();
    match (context.service.configuration)(&options) {
        Ok(_) if paths.config.exists() => Check::new("configuration", Grade::Good, file.to_string()),
        Ok(_) => Check::new(
            "configuration",
            Grade::Good,
            format!("no file at {file}: everything is at its default"),
        ),
        Err(trouble) => {
            let check = Check::new("configuration", Grade::Bad, trouble.message);
            Check { advice: trouble.advice, ..check }
        }
    }
}

fn state_folder(folder: &Path) -> Vec<Check> {
    let name = "state folder";
    let shown = folder.display();
    let metadata = match folder.metadata() {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return vec![Check::new(name, Grade::Good, format!("{shown} will be made at the first start"))];
        }
        Err(error) => return vec![Check::new(name, Grade::Bad, format!("{shown}: {error}"))],
    };
    let uid = rustix::process::getuid().as_raw();
    let mode = metadata.mode() & 0o777;
    let check = if !metadata.is_dir() {
        Check::new(name, Grade::Bad, format!("{shown} is not a folder"))
    } else if metadata.uid() != uid {
        Check::new(
            name,
            Grade::Bad,
            format!("{shown} belongs to user {}, not to you ({uid})", metadata.uid()),
        )
    } else if mode & 0o077 != 0 {
        Check::new(name, Grade::Remark, format!("{shown} can be read by others (mode {mode:o})"))
            .advise(format!("chmod 700 {shown}"))
    } else {
        Check::new(name, Grade::Good, shown.to_string())
    };
    vec![check, free_space(folder)]
}

fn free_space(folder: &Path) -> Check {
    let name = "free space";
    let free = match rustix::fs::statvfs(folder) {
        Ok(file_system) => file_system.f_bavail.saturating_mul(file_system.f_frsize),
        Err(error) => return Check::new(name, Grade::Bad, format!("{}: {error}", folder.display())),
    };
    let detail = format!("{} for the records in {}", measure::bytes(free), folder.display());
    match free {
        0..FREE_BYTES_NONE => Check::new(name, Grade::Bad, detail)
            .advise("Free space there: the service cannot write its records, and accepts nothing new."),
        FREE_BYTES_NONE..FREE_BYTES_LOW => Check::new(name, Grade::Remark, detail),
        FREE_BYTES_LOW.. => Check::new(name, Grade::Good, detail),
    }
}

fn manager(paths: &ServicePaths) -> Check {
    let name = "after a reboot";
    let Some(systemd) = Systemd::for_socket(paths) else {
        return Check::new(name, Grade::Remark, "no systemd here: the next command starts the service again");
    };
    match systemd.state(SERVICE_UNIT) {
        Ok(unit) if unit.load != "loaded" => {
            Check::new(name, Grade::Remark, "not installed: the next command starts the service again")
                .advise("longhaul service install")
        }
        Ok(unit) if unit.active == "failed" => {
            Check::new(name, Grade::Bad, format!("{SERVICE_UNIT} has failed"))
                .advise("See journalctl --user -u longhaul.service")
        }
        Ok(unit) if unit.enabled != "enabled" => {
            Check::new(name, Grade::Remark, format!("{SERVICE_UNIT} is {}", unit.enabled))
                .advise("longhaul service install")
        }
        Ok(_) if systemd.lingers() == Some(true) => {
            Check::new(name, Grade::Good, "systemd starts the service")
        }
        Ok(_) => Check::new(name, Grade::Remark, "systemd starts the service when you log in")
            .advise("loginctl enable-linger"),
        Err(trouble) => Check::new(name, Grade::Bad, trouble.message),
    }
}

async fn answer(paths: &ServicePaths) -> Vec<Check> {
    let socket = paths.socket.display();
    let pid = match process::listener(&paths.socket) {
        Ok(Some(pid)) => pid,
        Ok(None) => {
            let detail = format!("not running (nobody listens at {socket}); the first command starts it");
            return vec![Check::new("service", Grade::Good, detail)];
        }
        Err(error) => return vec![Check::new("service", Grade::Bad, format!("{socket}: {error}"))],
    };
    let client = Client::new(Endpoint::Unix { socket: paths.socket.clone() });
    let health = match client.health().await {
        Ok(health) => health,
        Err(error) => {
            let detail = format!("process {} listens and does not answer: {error}", pid.as_raw_nonzero());
            return vec![Check::new("service", Grade::Bad, detail).advise("longhaul service stop")];
        }
    };
    let detail = health.detail.map(|detail| format!(": {detail}")).unwrap_or_default();
    let grade = if health.status == "ok" { Grade::Good } else { Grade::Bad };
    let mut checks = vec![Check::new("service", grade, format!("{}{detail} at {socket}", health.status))];
    let ours = env!("CARGO_PKG_VERSION");
    checks.push(if health.version == ours {
        Check::new("versions", Grade::Good, format!("service and command line are both {ours}"))
    } else {
        Check::new("versions", Grade::Remark, format!("the service is {}, this is {ours}", health.version))
            .advise("longhaul service stop, then longhaul service start")
    });
    checks.extend(tasks::service(&client).await);
    checks
}

fn render(checks: &[Check], view: &View) -> String {
    let mut text = String::new();
    for check in checks {
        let mark = match check.grade {
            Grade::Good => view.paint.good_mark(),
            Grade::Remark => view.paint.warning_mark(),
            Grade::Bad => view.paint.bad_mark(),
        };
        text.push_str(&format!("{mark} {}: {}\n", check.name, escape(&check.detail)));
        if let Some(advice) = &check.advice {
            text.push_str(&format!("    try: {}\n", escape(advice)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::sample;

    #[test]
    fn a_state_folder_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let mode =
            |mode| std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        mode(0o700);
        assert_eq!(state_folder(folder.path())[0].grade, Grade::Good);
        mode(0o755);
        assert_eq!(state_folder(folder.path())[0].grade, Grade::Remark);
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert_eq!(state_folder(&file)[0].grade, Grade::Bad);
        assert_eq!(state_folder(&folder.path().join("none"))[0].grade, Grade::Good);
    }

    #[test]
    fn a_report() {
        let checks = [
            Check::new("program", Grade::Good, "0.1.0 at /usr/bin/longhaul"),
            Check::new("after a reboot", Grade::Remark, "not installed").advise("longhaul service install"),
            Check::new("free space", Grade::Bad, "1.0 MiB for the records"),
        ];
        insta::assert_snapshot!(render(&checks, &sample::view(80)));
    }
}
