//! The connection to the system bus or to that of a session, shared by all its sources, made again when it breaks.
//!
//! While there is none, the folder of the bus's socket is watched, so that a bus that starts later is found without
//! looking for it again and again.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;
use zbus::Connection;

use crate::folder::FolderWatch;

/// The address when DBUS_SYSTEM_BUS_ADDRESS says no other (D-Bus specification, well-known message bus instances).
const DEFAULT_ADDRESS: &str = "unix:path=/var/run/dbus/system_bus_socket";

/// No daemon takes that long for what it is asked here.
const ANSWER_MAX: Duration = Duration::from_secs(25);

/// Pauses after a refusal: the socket's name appears before the bus listens there. After the last, only the folder
/// tells.
const PAUSES: [u64; 6] = [20, 50, 200, 1000, 5000, 30_000];

/// Nothing before the first attempt; the reason while there is no connection.
type State = Option<Result<Connection, String>>;

/// A source's hold on the connection.
#[derive(Debug, Clone)]
pub(crate) struct Bus {
    state: watch::Receiver<State>,
}

impl Bus {
    /// Waits for a connection; tells `without` why there is none, each time that changes.
    pub(crate) async fn connection(&mut self, mut without: impl FnMut(&str)) -> Connection {
        loop {
            match &*self.state.borrow_and_update() {
                Some(Ok(connection)) if !connection.is_closed() => return connection.clone(),
                Some(Err(reason)) => without(reason),
                Some(Ok(_)) | None => {}
            }
            if self.state.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }
}

/// Makes the connection.
#[derive(Debug)]
pub(crate) struct Connector {
    /// Absent: there can be none.
    address: Option<String>,
    /// What people call the bus.
    called: &'static str,
    state: watch::Sender<State>,
}

impl Connector {
    pub(crate) fn system(address: Option<String>) -> (Self, Bus) {
        Self::new(Some(address.unwrap_or_else(|| DEFAULT_ADDRESS.to_owned())), "system bus")
    }

    /// Without an address the service belongs to no session.
    pub(crate) fn session(address: Option<String>) -> (Self, Bus) {
        Self::new(address, "session bus")
    }

    fn new(address: Option<String>, called: &'static str) -> (Self, Bus) {
        let (state, receiver) = watch::channel(None);
        (Self { address, called, state }, Bus { state: receiver })
    }

    /// Holds a connection for as long as there is a bus; never returns.
    pub(crate) async fn run(self) {
        let Some(address) = &self.address else {
            let reason =
                format!("the service runs outside of any session of a user: it has no {}", self.called);
            let _ = self.state.send_replace(Some(Err(reason)));
            return std::future::pending().await;
        };
        loop {
            let connection = self.connect(address).await;
            let _ = self.state.send_replace(Some(Ok(connection.clone())));
            connection.closed().await;
            let gone = format!("the {} at {address} went away", self.called);
            let _ = self.state.send_replace(Some(Err(gone)));
        }
    }

    /// Connects as soon as that can be done.
    async fn connect(&self, address: &str) -> Connection {
        let mut refusals = 0;
        loop {
            // Watched first: a socket that appears after the attempt is seen.
            let mut appearance = Appearance::watch(socket_path(address));
            let error = match attempt(address).await {
                Ok(connection) => return connection,
                Err(error) => error,
            };
            let reason = absence(self.called, address, &error);
            self.state.send_if_modified(|state| match state {
                Some(Err(told)) if *told == reason => false,
                state => {
                    *state = Some(Err(reason));
                    true
                }
            });
            // A socket that is not there will be seen; one that refuses may be about to listen.
            let is_awaited = is_missing(&error) && appearance.watch.is_some();
            let pause = PAUSES.get(refusals).copied().map(Duration::from_millis).filter(|_| !is_awaited);
            tokio::select! {
                () = appearance.seen() => refusals = 0,
                () = sleep_or_never(pause) => refusals += 1,
            }
        }
    }
}

async fn attempt(address: &str) -> zbus::Result<Connection> {
    let connecting = zbus::connection::Builder::address(address).method_timeout(ANSWER_MAX).build();
    match tokio::time::timeout(ANSWER_MAX, connecting).await {
        Ok(connected) => connected,
        Err(_) => Err(zbus::Error::InputOutput(std::sync::Arc::new(io::ErrorKind::TimedOut.into()))),
    }
}

/// A connection for one call.
///
/// # Errors
/// In words for people: why there is none.
pub(crate) async fn connect_once(address: Option<&str>) -> Result<Connection, String> {
    let address = address.unwrap_or(DEFAULT_ADDRESS);
    attempt(address).await.map_err(|error| absence("system bus", address, &error))
}

fn absence(called: &str, address: &str, error: &zbus::Error) -> String {
    if is_missing(error) {
        return format!("there is no {called} at {address}: install and start dbus");
    }
    format!("the {called} at {address} takes nobody in: {error}")
}

fn is_missing(error: &zbus::Error) -> bool {
    matches!(error, zbus::Error::Connection(error, _) if error.kind() == io::ErrorKind::NotFound)
}

async fn sleep_or_never(pause: Option<Duration>) {
    match pause {
        Some(pause) => tokio::time::sleep(pause).await,
        None => std::future::pending().await,
    }
}

/// The file of a bus's socket, where its address names one.
fn socket_path(address: &str) -> Option<PathBuf> {
    let path = address
        .split(';')
        .find_map(|one| one.strip_prefix("unix:")?.split(',').find_map(|pair| pair.strip_prefix("path=")))?;
    Some(PathBuf::from(path))
}

/// Waits for the socket, or for the first folder on the way to it that is missing.
struct Appearance {
    watch: Option<FolderWatch>,
    awaited: PathBuf,
}

impl Appearance {
    fn watch(path: Option<PathBuf>) -> Self {
        let Some(path) = path else { return Self { watch: None, awaited: PathBuf::new() } };
        let watch = FolderWatch::open_nearest(path.parent().unwrap_or(Path::new("/"))).ok();
        Self { watch, awaited: path }
    }

    async fn seen(&mut self) {
        let Some(watch) = &mut self.watch else { return std::future::pending().await };
        let next = self.awaited.strip_prefix(watch.folder()).ok().and_then(|rest| rest.iter().next());
        let next = next.map(ToOwned::to_owned);
        // An error means that the folder is gone: the next round watches the one above.
        let _ = watch.changed(|name| next.as_deref().is_none_or(|next| next == name)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_is_found_in_the_address() {
        for (address, expected) in [
            (DEFAULT_ADDRESS, Some("/var/run/dbus/system_bus_socket")),
            ("unix:guid=00,path=/run/bus", Some("/run/bus")),
            ("tcp:host=localhost,port=1;unix:path=/run/bus", Some("/run/bus")),
            ("unix:abstract=bus", None),
            ("", None),
        ] {
            assert_eq!(socket_path(address).as_deref(), expected.map(Path::new), "{address}");
        }
    }
}
