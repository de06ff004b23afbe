//! `longhaul service`.

use std::time::Duration;

use longhaul_client::{Client, Endpoint};
use longhaul_contract::{Health, ServicePaths};
use serde::Serialize;

use crate::commands::daemon::Options;
use crate::connect::Context;
use crate::console::View;
use crate::exit::Exit;
use crate::service::process::{self, Stopped};
use crate::service::start;
use crate::service::systemd::{SERVICE_UNIT, SOCKET_UNIT, Systemd, UnitState};
use crate::table::pairs;
use crate::text::escape;
use crate::trouble::Trouble;

/// The background service: install, start, stop
///
/// Where systemd runs, `install` makes units for it, and downloads and tasks go on after a reboot. Elsewhere the service is
/// a plain background process that the first command starts.
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Have systemd run the service, now and after every reboot
    Install,
    /// Take it out of systemd; downloads and settings stay
    Uninstall,
    /// Start the service
    Start,
    /// Stop the service; downloads keep their bytes and go on after the next start
    Stop,
    /// Tell how the service is doing
    Status,
    /// Seal the secrets in the records with a new key, from the next start on
    ///
    /// The next start of the service seals everything anew and forgets the old key. Run it as the user of the service. A key
    /// that systemd hands over (`LoadCredential=longhaul.key`) is not changed by this: put a new one in the first line of the
    /// credential, before the old one, and take the old one out after the next start.
    RotateKey(Options),
}

/// The service finishes its commit and makes the bytes at hand durable before it ends.
const STOP_DEADLINE: Duration = Duration::from_secs(60);

pub(crate) async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Trouble> {
    let paths = context.paths()?;
    match arguments.command {
        Command::Install => install(context, &paths),
        Command::Uninstall => uninstall(context),
        Command::Start => start(context, &paths).await,
        Command::Stop => stop(context, &paths),
        Command::Status => status(context, &paths).await,
        Command::RotateKey(options) => rotate_key(options, context),
    }
}

fn no_systemd() -> Trouble {
    Trouble::new(Exit::State, "systemd does not run for this user, so there is nothing to install into").advise(
        "Nothing is needed: the first command starts the service in the background. After a reboot the next command \
         does, or have your system run `longhaul daemon`.",
    )
}

fn installed_systemd(paths: &ServicePaths) -> Option<Systemd> {
    Systemd::for_socket(paths).filter(Systemd::is_installed)
}

fn install(context: &Context, paths: &ServicePaths) -> Result<Exit, Trouble> {
    let systemd = Systemd::find().ok_or_else(no_systemd)?;
    if Systemd::for_socket(paths).is_none() {
        return Err(Trouble::usage("the units use the usual paths")
            .advise("Leave out --socket, LONGHAUL_SOCKET, LONGHAUL_STATE and LONGHAUL_CONFIG."));
    }
    if !systemd.is_installed() {
        // One that runs in the background would keep socket and state folder from systemd's.
        stop_process(paths)?;
    }
    let program = std::env::current_exe()
        .map_err(|error| Trouble::new(Exit::Internal, format!("this program cannot be found: {error}")))?;
    let files = systemd.install(&program)?;
    let lingers = systemd.lingers();
    context.console.data(&serde_json::json!({ "files": files, "lingers": lingers }), |_| {
        files.iter().map(|file| format!("{}\n", escape(&file.to_string_lossy()))).collect()
    })?;
    if !context.console.is_json {
        context.console.say("systemd runs the service now.");
        if lingers != Some(true) {
            context.console.say(
                "It ends with your last session. To have it run always, also before you log in: loginctl enable-linger",
            );
        }
    }
    Ok(Exit::Success)
}

fn uninstall(context: &Context) -> Result<Exit, Trouble> {
    let removed = Systemd::find().ok_or_else(no_systemd)?.uninstall()?;
    context.console.data(&serde_json::json!({ "files": removed }), |_| {
        removed.iter().map(|file| format!("{}\n", escape(&file.to_string_lossy()))).collect()
    })?;
    if !context.console.is_json {
        context.console.say(if removed.is_empty() {
            "It was not installed."
        } else {
            "Stopped and removed."
        });
    }
    Ok(Exit::Success)
}

async fn start(context: &Context, paths: &ServicePaths) -> Result<Exit, Trouble> {
    let endpoint = Endpoint::Unix { socket: paths.socket.clone() };
    let was_running = match Client::connect(endpoint).await {
        Ok(_) => true,
        Err(error) if error.is_not_listening() => false,
        Err(error) => return Err(error.into()),
    };
    if !was_running {
        start::ensure_running(context, paths).await?;
    }
    if !context.console.is_json {
        context.console.say(if was_running { "It is running already." } else { "Started." });
    }
    status(context, paths).await
}

fn stop(context: &Context, paths: &ServicePaths) -> Result<Exit, Trouble> {
    let was_running = match installed_systemd(paths) {
        Some(systemd) => {
            systemd.stop()?;
            // Somebody may have started one by hand as well.
            stop_process(paths)?;
            true
        }
        None => stop_process(paths)?,
    };
    let said = if was_running {
        "Stopped; downloads and tasks go on after the next start."
    } else {
        "It is not running."
    };
    context.console.data(&serde_json::json!({ "wasRunning": was_running }), |_| String::new())?;
    if !context.console.is_json {
        context.console.say(said);
    }
    Ok(Exit::Success)
}

/// Answers whether there was one.
fn stop_process(paths: &ServicePaths) -> Result<bool, Trouble> {
    let unstoppable =
        |error: std::io::Error| Trouble::new(Exit::Access, format!("the service cannot be stopped: {error}"));
    let Some(pid) = process::listener(&paths.socket).map_err(unstoppable)? else { return Ok(false) };
    match process::stop(pid, STOP_DEADLINE).map_err(unstoppable)? {
        Stopped::Ended => Ok(true),
        Stopped::StillThere => Err(Trouble::new(
            Exit::State,
            format!("process {} has not ended within {} s", pid.as_raw_nonzero(), STOP_DEADLINE.as_secs()),
        )),
    }
}

fn rotate_key(options: Options, context: &Context) -> Result<Exit, Trouble> {
    let file = (context.service.rotate_key)(&options.resolve(context)?)?;
    context
        .console
        .data(&serde_json::json!({ "file": file }), |_| format!("{}\n", escape(&file.to_string_lossy())))?;
    if !context.console.is_json {
        context.console.say("The next start of the service seals everything with the new key.");
    }
    Ok(Exit::Success)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    is_running: bool,
    /// `systemd`, `process`, or none.
    run_by: Option<&'static str>,
    process: Option<i32>,
    health: Option<Health>,
    units: Vec<UnitState>,
    socket: String,
    state: String,
    /// Of a process that a command started in the background.
    log: Option<String>,
}

async fn status(context: &Context, paths: &ServicePaths) -> Result<Exit, Trouble> {
    let units = match Systemd::for_socket(paths) {
        Some(systemd) => vec![systemd.state(SOCKET_UNIT)?, systemd.state(SERVICE_UNIT)?],
        None => Vec::new(),
    };
    let is_systemd = units.iter().any(|unit| unit.unit == SERVICE_UNIT && unit.active == "active");
    let process = process::listener(&paths.socket).map_err(|error| Trouble::file(&paths.socket, &error))?;
    let health = match process {
        Some(_) => Some(Client::new(Endpoint::Unix { socket: paths.socket.clone() }).health().await?),
        None => None,
    };
    let run_by = match process {
        None => None,
        Some(_) if is_systemd => Some("systemd"),
        Some(_) => Some("process"),
    };
    let status = Status {
        is_running: process.is_some(),
        run_by,
        // With socket activation the peer is systemd itself.
        process: process.filter(|_| !is_systemd).map(|pid| pid.as_raw_nonzero().get()),
        health,
        units,
        socket: paths.socket.to_string_lossy().into_owned(),
        state: paths.state.to_string_lossy().into_owned(),
        log: Some(paths.log())
            .filter(|log| run_by == Some("process") && log.exists())
            .map(|log| log.to_string_lossy().into_owned()),
    };
    context.console.data(&status, |view| render(&status, view))?;
    Ok(if status.is_running { Exit::Success } else { Exit::Unreachable })
}

fn render(status: &Status, view: &View) -> String {
    let mut lines = Vec::new();
    let running = match (status.run_by, status.process) {
        (None, _) => "not running".to_owned(),
        (Some("systemd"), _) => "running under systemd".to_owned(),
        (Some(_), Some(pid)) => format!("running as process {pid}, not under systemd"),
        (Some(_), None) => "running, not under systemd".to_owned(),
    };
    lines.push(("service", running));
    if let Some(health) = &status.health {
        let detail = health.detail.as_deref().map(|detail| format!(", {detail}")).unwrap_or_default();
        lines.push(("health", escape(&format!("{}{detail}", health.status)).into_owned()));
        lines.push(("version", escape(&health.version).into_owned()));
    }
    for unit in &status.units {
        let enabled = if unit.enabled.is_empty() { String::new() } else { format!(", {}", unit.enabled) };
        let state =
            if unit.load == "loaded" { format!("{}{enabled}", unit.active) } else { unit.load.clone() };
        lines.push((unit.unit, escape(&state).into_owned()));
    }
    lines.push(("socket", escape(&status.socket).into_owned()));
    lines.push(("state folder", escape(&status.state).into_owned()));
    lines.extend(status.log.as_deref().map(|log| ("log", escape(log).into_owned())));
    pairs(view, lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    fn status() -> Status {
        Status {
            is_running: true,
            run_by: Some("process"),
            process: Some(42),
            health: Some(Health { status: "ok".to_owned(), version: "1.2.3".to_owned(), detail: None }),
            units: Vec::new(),
            socket: "/run/user/1000/longhaul/longhaul.sock".to_owned(),
            state: "/home/ann/.local/state/longhaul".to_owned(),
            log: Some("/home/ann/.local/state/longhaul/service.log".to_owned()),
        }
    }

    #[test]
    fn a_background_service() {
        insta::assert_snapshot!(render(&status(), &sample::view(80)));
    }

    #[test]
    fn a_service_of_systemd() {
        let unit = |unit, enabled: &str| UnitState {
            unit,
            load: "loaded".to_owned(),
            active: "active".to_owned(),
            enabled: enabled.to_owned(),
        };
        let status = Status {
            run_by: Some("systemd"),
            process: None,
            units: vec![unit(SOCKET_UNIT, "enabled"), unit(SERVICE_UNIT, "")],
            log: None,
            ..status()
        };
        insta::assert_snapshot!(render(&status, &sample::view(80)));
    }
}
