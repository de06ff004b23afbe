//! Entry points that are programs on the message bus: activated by their name, called to run, and told to end.
//!
//! The interface is `io.longhaul.BackgroundTask1` (docs/reference/dbus-task.md). The bus starts the program, not we: it is
//! nobody's descendant here, so that limits and sandbox are its service file's, and only its process can be killed with
//! what descends from it.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{FutureExt, StreamExt};
use rustix::process::{Pid, PidfdFlags, Signal};
use tokio::sync::{Mutex, mpsc, watch};
use zbus::names::{BusName, OwnedUniqueName, WellKnownName};
use zbus::proxy::CacheProperties;
use zbus::{Connection, DBusError as _, fdo};

use crate::ended::{Ended, Outcome};
use crate::enforcement::Enforcement;
use crate::launcher::kill_with_descendants;
use crate::output::{Output, OutputSize};
use crate::runner::StartError;
use crate::running::{Running, Wish};

/// How long a bus may take to greet us.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
/// How long a killed program may take to vanish from the bus.
const PATIENCE: Duration = Duration::from_secs(3);

/// One run of an entry point on the bus.
#[derive(Debug, Clone)]
pub struct BusLaunch {
    pub bus: Bus,
    /// Well-known name that the bus can activate. The object is at the path of the same parts, with `_` for `-`.
    pub name: String,
    /// Which of the program's entry points is meant.
    pub class: String,
    pub task_id: String,
    pub instance_id: String,
    /// Details of the trigger, one JSON document.
    pub details: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Bus {
    Session,
    System,
    /// A bus at an address (D-Bus specification, "Server Addresses").
    Address(String),
}

const INTERFACE: &str = "io.longhaul.BackgroundTask1";

/// What a program on the bus has to offer, besides the property `Progress` (`a{su}`, by instances that run now).
#[zbus::proxy(interface = "io.longhaul.BackgroundTask1", assume_defaults = false)]
trait BackgroundTask {
    /// Answers when the instance has ended.
    fn run(&self, class: &str, task_id: &str, instance_id: &str, details: &str) -> zbus::Result<()>;

    #[zbus(no_reply)]
    fn cancel(&self, instance_id: &str, reason: &str) -> zbus::Result<()>;
}

/// Connections that were made so far.
#[derive(Debug, Default)]
pub(crate) struct Buses {
    known: Mutex<HashMap<Bus, Connection>>,
}

impl Buses {
    async fn connection(&self, bus: &Bus) -> zbus::Result<Connection> {
        let mut known = self.known.lock().await;
        if let Some(connection) = known.get(bus)
            && answers(connection).await
        {
            return Ok(connection.clone());
        }
        let connection = connect(bus).await?;
        known.insert(bus.clone(), connection.clone());
        Ok(connection)
    }

    /// Has the bus start the program where it does not run already, and has it run the instance.
    pub(crate) async fn start(&self, launch: BusLaunch) -> Result<Running, StartError> {
        let in_words = |what: &'static str| {
            move |error: zbus::Error| StartError::Bus { what, detail: error.to_string() }
        };
        let connection =
            self.connection(&launch.bus).await.map_err(in_words("there is no connection to it"))?;
        let peer = Peer::activate(&connection, &launch.name).await?;
        let proxy = BackgroundTaskProxy::builder(&connection)
            .destination(peer.name.clone())
            .path(object_path(&launch.name))
            .cache_properties(CacheProperties::No)
            .build()
            .await
            .map_err(in_words("the program cannot be addressed"))?;
        // Its changes come with their values: nobody has to ask a program that may not answer.
        let properties = fdo::PropertiesProxy::builder(&connection)
            .destination(peer.name.clone())
            .path(object_path(&launch.name))
            .cache_properties(CacheProperties::No)
            .build()
            .await
            .map_err(in_words("the program cannot be addressed"))?;
        let changes = properties
            .receive_properties_changed_with_args(&[(0, INTERFACE)])
            .await
            .map_err(in_words("the program's progress cannot be followed"))?;
        let (wishes, wished) = mpsc::unbounded_channel();
        let (report, ended) = watch::channel(None);
        let (progress_sender, progress) = watch::channel(None);
        let output = Arc::new(Output::new(OutputSize { head: 0, tail: 0 }));
        output.complete();
        let running =
            Running { pid: peer.pid, enforcement: Enforcement::default(), output, progress, wishes, ended };
        let call = Call { launch, peer, proxy, changes, wished, progress: progress_sender };
        tokio::spawn(async move {
            let begun = Instant::now();
            let mut ended = call.look_after().await;
            ended.duration = begun.elapsed();
            report.send_replace(Some(Arc::new(ended)));
        });
        Ok(running)
    }
}

pub(crate) async fn connect(bus: &Bus) -> zbus::Result<Connection> {
    let connect = async {
        match bus {
            Bus::Session => Connection::session().await,
            Bus::System => Connection::system().await,
            Bus::Address(address) => zbus::connection::Builder::address(address.as_str()).build().await,
        }
    };
    let silent = |_| zbus::Error::Failure(format!("no answer within {CONNECT_PATIENCE:?}"));
    tokio::time::timeout(CONNECT_PATIENCE, connect).await.map_err(silent)?
}

/// A bus that was started anew shows only when it is asked.
async fn answers(connection: &Connection) -> bool {
    let ask = async { fdo::DBusProxy::new(connection).await?.get_id().await };
    matches!(tokio::time::timeout(CONNECT_PATIENCE, ask).await, Ok(Ok(_)))
}

/// `org.example.My-App` is at `/org/example/My_App`, as for activatable applications of desktops.
fn object_path(name: &str) -> String {
    format!("/{}", name.replace('.', "/").replace('-', "_"))
}

/// The program that answers to the name.
struct Peer {
    name: OwnedUniqueName,
    pid: u32,
    /// Stands for that very process.
    process: Option<OwnedFd>,
}

impl Peer {
    async fn activate(connection: &Connection, name: &str) -> Result<Self, StartError> {
        let not_started = |error: fdo::Error| StartError::Program {
            program: name.to_owned(),
            source: io::Error::other(error.to_string()),
        };
        let bus = fdo::DBusProxy::new(connection)
            .await
            .map_err(|error| StartError::Bus { what: "it does not answer", detail: error.to_string() })?;
        let known = WellKnownName::try_from(name)
            .map_err(|_| StartError::Bus { what: "no name of a program", detail: name.to_owned() })?;
        bus.start_service_by_name(known.clone(), 0).await.map_err(not_started)?;
        let owner = bus.get_name_owner(BusName::from(known)).await.map_err(not_started)?;
        let pid_of = async || bus.get_connection_unix_process_id(BusName::from(owner.clone())).await;
        let pid = pid_of().await.map_err(not_started)?;
        let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let process = number.and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok());
        // Only if the program is still there now was it the one that was opened.
        let process = if pid_of().await.ok() == Some(pid) { process } else { None };
        Ok(Self { name: owner, pid, process })
    }

    /// Kills it with what descends from it. It may hold more than this instance: who does not answer loses its process, as with
    /// Windows' in-process tasks.
    async fn kill(&self) {
        let Some(process) = self.process.as_ref().and_then(|process| process.try_clone().ok()) else {
            return;
        };
        let pid = self.pid;
        let _ = tokio::task::spawn_blocking(move || {
            let has_ended = rustix::process::pidfd_send_signal(&process, Signal::CONT).is_err();
            if !has_ended && let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                kill_with_descendants(pid, &process);
            }
        })
        .await;
    }
}

struct Call {
    launch: BusLaunch,
    peer: Peer,
    proxy: BackgroundTaskProxy<'static>,
    changes: fdo::PropertiesChangedStream,
    wished: mpsc::UnboundedReceiver<Wish>,
    progress: watch::Sender<Option<u32>>,
}

impl Call {
    async fn look_after(mut self) -> Ended {
        let BusLaunch { class, task_id, instance_id, details, .. } = self.launch;
        let run = self.proxy.run(&class, &task_id, &instance_id, &details);
        tokio::pin!(run);
        let mut canceled = None;
        let mut deadline = None;
        let mut is_wanted = true;
        let mut is_killed = false;
        loop {
            tokio::select! {
                answer = &mut run => {
                    // What it told before it answered counts.
                    while let Some(Some(change)) = self.changes.next().now_or_never() {
                        tell(&self.progress, &change, &instance_id);
                    }
                    return Ended { canceled, ..Ended::bare(judge(answer, is_killed), 0) };
                }
                wish = self.wished.recv(), if is_wanted => {
                    is_wanted = wish.is_some();
                    let now = Instant::now();
                    let latest = match wish {
                        Some(Wish::Cancel { reason, grace }) => {
                            if canceled.is_none() {
                                let _ = self.proxy.cancel(&instance_id, &reason).await;
                                canceled = Some(reason);
                            }
                            now + grace
                        }
                        // What descends from the program is the bus's.
                        Some(Wish::Leftovers { .. }) => continue,
                        Some(Wish::Kill) | None => now,
                    };
                    deadline = Some(deadline.map_or(latest, |earlier: Instant| earlier.min(latest)));
                }
                Some(change) = self.changes.next() => tell(&self.progress, &change, &instance_id),
                () = crate::watch::until(deadline) => {
                    if is_killed {
                        return Ended { canceled, ..Ended::bare(Outcome::Lost { why: "it could not be killed".to_owned() }, 1) };
                    }
                    self.peer.kill().await;
                    is_killed = true;
                    deadline = Some(Instant::now() + PATIENCE);
                }
            }
        }
    }
}

fn tell(progress: &watch::Sender<Option<u32>>, change: &fdo::PropertiesChanged, instance_id: &str) {
    if let Some(number) = progress_of(change, instance_id) {
        progress.send_replace(Some(number));
    }
}

fn progress_of(change: &fdo::PropertiesChanged, instance_id: &str) -> Option<u32> {
    let arguments = change.args().ok()?;
    let progress = arguments.changed_properties().get("Progress")?.try_clone().ok()?;
    HashMap::<String, u32>::try_from(progress).ok()?.remove(instance_id)
}

fn judge(answer: zbus::Result<()>, is_killed: bool) -> Outcome {
    match answer {
        Ok(()) => Outcome::Returned,
        Err(_) if is_killed => Outcome::Killed,
        Err(zbus::Error::MethodError(name, message, _)) => {
            refused(name.as_str(), message.unwrap_or_default())
        }
        Err(zbus::Error::FDO(error)) => {
            refused(error.name().as_str(), error.description().unwrap_or_default().to_owned())
        }
        Err(error) => Outcome::Lost { why: error.to_string() },
    }
}

/// An error of the program, or what the bus answers in the name of one that has left.
fn refused(error: &str, message: String) -> Outcome {
    if is_absence(error) {
        Outcome::Lost { why: "it left the bus before it answered".to_owned() }
    } else {
        Outcome::Failed { error: error.to_owned(), message }
    }
}

fn is_absence(error: &str) -> bool {
    matches!(
        error,
        "org.freedesktop.DBus.Error.NoReply"
            | "org.freedesktop.DBus.Error.ServiceUnknown"
            | "org.freedesktop.DBus.Error.NameHasNoOwner"
            | "org.freedesktop.DBus.Error.Disconnected"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_follows_from_the_name() {
        assert_eq!(object_path("org.example.My-App2"), "/org/example/My_App2");
    }
}
