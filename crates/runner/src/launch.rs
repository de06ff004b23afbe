//! What to run: everything about one start, as plain data.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::account::Account;
use crate::output::OutputSize;

/// One start of one program.
#[derive(Debug, Clone)]
pub struct Launch {
    /// Names the instance among those that run now: a file name, used for its run folder and its cgroup.
    pub name: String,
    /// The program and its arguments. No shell takes part; a program without a slash is looked for in the `PATH` of
    /// [`Launch::environment`].
    pub command: Vec<String>,
    /// All variables that the program gets, apart from `LONGHAUL_CANCEL_REASON_FILE` and, with a file system sandbox,
    /// `TMPDIR`, which are set here. See [`crate::environment::base`].
    pub environment: Vec<(String, String)>,
    /// `~` and `~/…` are the account's home folder. `None`: the home folder.
    pub working_directory: Option<String>,
    /// What the program reads from standard input, followed by its end.
    pub input: Vec<u8>,
    /// Who it runs as. Anyone but the service's own user needs the service to be root.
    pub account: Account,
    pub limits: Limits,
    pub sandbox: Sandbox,
    /// What becomes of a limit or sandbox that this machine cannot hold.
    pub unenforceable: Unenforceable,
    pub leftovers: Leftovers,
    pub output: OutputSize,
}

/// Resources of the whole tree where there is a cgroup, of each process otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes (`memory.max`, else `RLIMIT_DATA` of each process).
    pub memory_max: Option<u64>,
    /// Hundredths of one processor (`cpu.max`); only a cgroup can hold it.
    pub cpu_percent_max: Option<u32>,
    /// Processor time that each process may use (`RLIMIT_CPU`, whole seconds, at least one).
    pub cpu_time_max: Option<Duration>,
    /// Processes and threads (`pids.max`, else `RLIMIT_NPROC`, which counts the user's others along).
    pub processes_max: Option<u32>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sandbox {
    /// `None`: no file system sandbox. Else what may be reached beyond the system's programs and libraries.
    pub filesystem: Option<Vec<Grant>>,
    pub network: Network,
    pub processes: ProcessView,
}

/// A file or folder, with all below it, that a sandboxed program may reach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Absolute, or `~/…`.
    pub path: PathBuf,
    pub access: Access,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    ReadOnly,
    ReadWrite,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    #[default]
    Allowed,
    /// No sockets to anything but this machine's own local ones.
    Denied,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProcessView {
    /// It sees the processes of the machine as its user does.
    #[default]
    Shared,
    /// It sees and can signal only its own tree (a PID namespace with a `/proc` of its own).
    Own,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unenforceable {
    /// Start all the same, and say in [`crate::Enforcement`] what does not hold.
    #[default]
    Report,
    /// Do not start.
    Refuse,
}

/// What becomes of descendants when the program itself has ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Leftovers {
    /// They are killed at once.
    #[default]
    Kill,
    /// The instance lasts until the last of them has ended.
    Await,
    /// The same after an exit with code 0; after any other end they are killed at once.
    AwaitAfterSuccess,
}

impl Grant {
    /// The notation of manifests: `PATH` or `PATH:ro`.
    #[must_use]
    pub fn from_notation(text: &str) -> Self {
        match text.strip_suffix(":ro") {
            Some(path) => Self { path: path.into(), access: Access::ReadOnly },
            None => Self { path: text.strip_suffix(":rw").unwrap_or(text).into(), access: Access::ReadWrite },
        }
    }
}
