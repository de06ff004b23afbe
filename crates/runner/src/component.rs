//! What the process is told that runs a WebAssembly component: a launch whose program is this binary itself, as the
//! launcher is. Whoever links the run time reads it back with [`Component::asked`].

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::launch::{Grant, Limits};

/// What the first argument of the binary is when it is to run a component.
const ASKED: &str = "@component";

/// The launcher and the processes that it forks are the service's binary, also after that was replaced on the disk.
const OWN_BINARY: &str = "/proc/self/exe";

/// Comes before the names of those variables of the process that are the component's.
const VARIABLE_PREFIX: &str = "@";

/// What its process may use beside the component's own memory: for the run time, and for compiling.
const PROCESS_BYTES: u64 = 256 << 20;

/// One component and what it may reach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Component {
    pub file: PathBuf,
    /// Absolute paths of folders, which the component finds under the same names.
    pub folders: Vec<Grant>,
    pub network: bool,
    /// Bytes of its linear memories and tables together.
    pub memory_max: Option<u64>,
}

impl Component {
    /// The command of a [`crate::Launch`].
    ///
    /// # Errors
    /// A path is not UTF-8.
    pub fn command(&self) -> Result<Vec<String>, serde_json::Error> {
        Ok(vec![OWN_BINARY.to_owned(), ASKED.to_owned(), serde_json::to_string(self)?])
    }

    /// Its limits are those of the component: they hold for its memory, which is why its process may have more, and it has
    /// neither threads nor processes.
    #[must_use]
    pub fn limits_of_process(limits: Limits) -> Limits {
        let memory_max = limits.memory_max.map(|bytes| bytes.saturating_add(PROCESS_BYTES));
        Limits { memory_max, processes_max: None, ..limits }
    }

    /// What this process was started for, if it was for a component.
    ///
    /// # Errors
    /// It was, and the rest is not what [`Component::command`] writes.
    pub fn asked() -> Option<Result<Self, serde_json::Error>> {
        let mut arguments = std::env::args_os().skip(1);
        (arguments.next()? == ASKED).then(|| {
            let order = arguments.next().unwrap_or_default();
            serde_json::from_str(&order.to_string_lossy())
        })
    }
}

/// The environment of the process, out of its own variables and the component's. A component shall not be able to say
/// anything to the loader of programs or to the run time.
#[must_use]
pub fn environment(own: Vec<(String, String)>, of_component: Vec<(String, String)>) -> Vec<(String, String)> {
    let marked = of_component.into_iter().map(|(name, value)| (format!("{VARIABLE_PREFIX}{name}"), value));
    own.into_iter().chain(marked).collect()
}

/// The component's variables among those of this process.
pub fn variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| {
        let name = name.into_string().ok()?.strip_prefix(VARIABLE_PREFIX)?.to_owned();
        Some((name, value.into_string().ok()?))
    })
}
