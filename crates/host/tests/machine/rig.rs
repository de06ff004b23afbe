//! A machine that is put together for one test.

use std::path::Path;
use std::time::Duration;

use longhaul_contract::{HostState, Signal};
use longhaul_host::{HostChange, HostWatch, Machine};
use longhaul_lab::Bus;
use longhaul_lab::process::Guarded;
use tempfile::TempDir;

pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Somebody who is no account of the system.
pub(crate) const UID: u32 = 4242;

pub(crate) const MANAGER: &str = "org.freedesktop.NetworkManager";
pub(crate) const MANAGER_PATH: &str = "/org/freedesktop/NetworkManager";

pub(crate) struct Rig {
    folder: TempDir,
    pub(crate) bus: Bus,
}

impl Rig {
    /// A machine with nothing on it, not even a bus.
    pub(crate) fn bare() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["etc", "run"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        let bus = Bus::in_folder(&folder.path().join("run"));
        Self { folder, bus }
    }

    /// A machine with a bus and no daemon on it.
    pub(crate) fn with_bus() -> Self {
        let mut rig = Self::bare();
        rig.bus.start();
        rig
    }

    pub(crate) fn root(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn machine(&self) -> Machine {
        Machine {
            root: self.root().to_owned(),
            system_bus: Some(self.bus.address()),
            session_bus: None,
            time_zone: None,
            uid: UID,
        }
    }

    /// A mock of NetworkManager with a connection of some type that it takes for free.
    pub(crate) fn manager(&self, kind: &str) -> Guarded {
        let daemon = self.bus.start_network_manager(kind, 4);
        self.bus.set(MANAGER, MANAGER_PATH, MANAGER, "{'Metered': <uint32 4>}");
        daemon
    }

    pub(crate) async fn watch(&self) -> Watch {
        Watch(HostWatch::open(self.machine()).await)
    }
}

/// A watch that is waited for with a deadline.
pub(crate) struct Watch(pub(crate) HostWatch);

impl Watch {
    pub(crate) fn state(&self) -> &HostState {
        self.0.state()
    }

    #[track_caller]
    pub(crate) fn next(&mut self) -> impl Future<Output = HostChange> + '_ {
        let next = tokio::time::timeout(DEADLINE, self.0.next());
        async { next.await.expect("there is a change before the deadline") }
    }

    /// Waits for a state; other changes are of no concern.
    pub(crate) async fn until(&mut self, what: &str, is_so: impl Fn(&HostState) -> bool) {
        let reached = async {
            while !is_so(self.0.state()) {
                self.0.next().await;
            }
        };
        if tokio::time::timeout(DEADLINE, reached).await.is_err() {
            panic!("{what} did not come true: {:#?}", self.0.state());
        }
    }

    /// Waits for a change other than of the state.
    pub(crate) async fn event(&mut self) -> HostChange {
        loop {
            let change = self.next().await;
            if !matches!(change, HostChange::State) {
                return change;
            }
        }
    }
}

pub(crate) fn source<T>(signal: &Signal<T>) -> &str {
    match signal {
        Signal::Known { source, .. } => source,
        Signal::Unknown { reason } => reason,
    }
}

pub(crate) fn is<T: PartialEq>(signal: &Signal<T>, value: &T) -> bool {
    signal.value() == Some(value)
}
