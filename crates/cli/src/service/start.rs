//! Starting the service for a command that needs it.
//!
//! Two commands may do this at once. Both processes they start want the state folder; the one that finds it locked
//! ends with its own exit code, and both commands go on with whoever answers at the socket.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use longhaul_client::{Client, Endpoint};
use longhaul_contract::ServicePaths;
use tokio::time::Instant;

use crate::connect::Context;
use crate::exit::Exit;
use crate::service::systemd::Systemd;
use crate::text::escape;
use crate::trouble::Trouble;

/// A service with very many operations, or one that has to migrate its records, takes its time.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// After this long a person wants to know what the command waits for.
const PATIENCE: Duration = Duration::from_millis(1_500);
const CONNECT_INTERVAL: Duration = Duration::from_millis(20);
/// A log that is longer is put aside when the service is started.
const LOG_BYTES_MAX: u64 = 4 << 20;
/// How much of the log is shown when the service ends at once.
const LOG_LINES_SHOWN: usize = 8;

/// A client of the service, which is started if need be: by systemd where it knows the unit, else in the background.
pub(crate) async fn ensure_running(context: &Context, paths: &ServicePaths) -> Result<Client, Trouble> {
    if let Some(systemd) = Systemd::for_socket(paths)
        && systemd.is_installed()
    {
        systemd.start()?;
        return wait(context, paths, None).await;
    }
    let background = Background::start(context, paths)?;
    wait(context, paths, Some(background)).await
}

/// A service process of our own and the place in its log where its words begin.
struct Background {
    child: Child,
    log: File,
    begin: u64,
}

impl Background {
    fn start(context: &Context, paths: &ServicePaths) -> Result<Self, Trouble> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&paths.state)
            .map_err(|error| Trouble::file(&paths.state, &error))?;
        let path = paths.log();
        let log = open_log(&path).map_err(|error| Trouble::file(&path, &error))?;
        let begin = log.metadata().map_err(|error| Trouble::file(&path, &error))?.len();
        let cannot = |error: io::Error| {
            Trouble::new(Exit::Unreachable, format!("the service cannot be started: {error}"))
        };
        let program = std::env::current_exe().map_err(cannot)?;
        let mut command = Command::new(program);
        command.arg0("longhaul").args(["daemon", "--background"]);
        if let Some(socket) = &context.globals.socket {
            command.arg("--socket").arg(socket);
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(cannot)?)
            .stderr(log.try_clone().map_err(cannot)?)
            .spawn()
            .map_err(cannot)?;
        Ok(Self { child, log, begin })
    }

    /// Answers the exit code of a process that has ended.
    fn ended(&mut self) -> Option<i32> {
        self.child.try_wait().ok().flatten().map(|status| status.code().unwrap_or(-1))
    }

    fn last_lines(&mut self) -> String {
        let mut text = Vec::new();
        let read = self.log.seek(SeekFrom::Start(self.begin)).and_then(|_| self.log.read_to_end(&mut text));
        if read.is_err() {
            return String::new();
        }
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        let shown = &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..];
        shown.iter().map(|line| escape(line)).collect::<Vec<_>>().join("\n  ")
    }
}

fn open_log(path: &Path) -> io::Result<File> {
    if path.metadata().is_ok_and(|known| known.len() > LOG_BYTES_MAX) {
        std::fs::rename(path, path.with_extension("log.1"))?;
    }
    OpenOptions::new().create(true).append(true).read(true).mode(0o600).open(path)
}

async fn wait(
    context: &Context,
    paths: &ServicePaths,
    mut background: Option<Background>,
) -> Result<Client, Trouble> {
    let begin = Instant::now();
    let mut has_told = false;
    let last = loop {
        let endpoint = Endpoint::Unix { socket: paths.socket.clone() };
        let error = match Client::connect(endpoint).await {
            Ok(client) => return Ok(client),
            Err(error) => error,
        };
        if let Some(background) = &mut background
            && let Some(code) = background.ended()
            && code != i32::from(Exit::AlreadyRunning.code())
        {
            return Err(ended_at_once(paths, code, &background.last_lines()));
        }
        if begin.elapsed() > START_DEADLINE {
            break error;
        }
        if begin.elapsed() > PATIENCE && !has_told && context.console.is_err_terminal {
            has_told = true;
            context.console.say("The service is starting …");
        }
        tokio::time::sleep(CONNECT_INTERVAL).await;
    };
    let mut trouble = Trouble::new(
        Exit::Unreachable,
        format!("the service does not answer {} s after its start: {last}", START_DEADLINE.as_secs()),
    );
    if background.is_some() {
        trouble = trouble.advise(format!("Look into its log, {}.", paths.log().display()));
    }
    Err(trouble)
}

fn ended_at_once(paths: &ServicePaths, code: i32, last_lines: &str) -> Trouble {
    let said = if last_lines.is_empty() { String::new() } else { format!("; it said:\n  {last_lines}") };
    Trouble::new(Exit::Unreachable, format!("the service ended at once with exit code {code}{said}"))
        .advise(format!("Look into its log, {}, or run `longhaul doctor`.", paths.log().display()))
}
