//! A runner with a folder of its own, launches of the lab's programs, and a look at what is left of them.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use longhaul_runner::cgroup::Delegation;
use longhaul_runner::{
    Account, Ended, Launch, Leftovers, Limits, Outcome, OutputSize, Runner, Running, Sandbox, Settings,
    StartError, Stream, Unenforceable,
};

/// Nothing here takes that long unless it is broken, even on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
/// Within this time of a cancellation everything is gone: 5 s to answer, and one to be killed.
pub(crate) const GONE_WITHIN: Duration = Duration::from_secs(6);
pub(crate) const GRACE: Duration = Duration::from_secs(5);

pub(crate) struct World {
    pub(crate) runner: Runner,
    folder: tempfile::TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with_cgroups(None)
    }

    pub(crate) fn with_cgroups(cgroups: Option<Delegation>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = Settings { run_folder: folder.path().join("run"), launcher: Some(lab()), cgroups };
        Self { runner: Runner::new(settings).expect("a runner"), folder }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What is in the folder of running instances.
    pub(crate) fn instances(&self) -> usize {
        fs::read_dir(self.folder().join("run")).expect("the run folder").count()
    }

    /// An empty folder in which processes leave their numbers.
    pub(crate) fn marks(&self) -> PathBuf {
        let marks = self.folder().join("marks");
        fs::create_dir_all(&marks).expect("a folder for marks");
        marks
    }

    pub(crate) async fn start(&self, launch: Launch) -> Running {
        self.try_start(launch).await.expect("a start")
    }

    pub(crate) async fn try_start(&self, launch: Launch) -> Result<Running, StartError> {
        within(self.runner.start(launch)).await
    }

    pub(crate) async fn run(&self, launch: Launch) -> (Arc<Ended>, Running) {
        let running = self.start(launch).await;
        let ended = within(running.wait()).await;
        (ended, running)
    }
}

/// The binary with the programs, where the unprivileged can reach it.
pub(crate) fn lab() -> PathBuf {
    std::env::var_os("LONGHAUL_TEST_LAB")
        .map_or_else(|| env!("CARGO_BIN_EXE_longhaul-runner-lab").into(), Into::into)
}

/// A launch of one of the lab's programs.
pub(crate) fn lab_launch(arguments: &[&str]) -> Launch {
    let lab = lab().to_string_lossy().into_owned();
    launch(&[&[lab.as_str()], arguments].concat())
}

pub(crate) fn shell(script: &str) -> Launch {
    launch(&["sh", "-c", script])
}

pub(crate) fn launch(command: &[&str]) -> Launch {
    static NUMBER: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    Launch {
        name: format!("instance-{}-{number}", std::process::id()),
        command: command.iter().map(|part| (*part).to_owned()).collect(),
        environment: vec![("PATH".into(), "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin".into())],
        working_directory: Some("/".into()),
        input: Vec::new(),
        account: Account::current().expect("the current user"),
        limits: Limits::default(),
        sandbox: Sandbox::default(),
        unenforceable: Unenforceable::Report,
        leftovers: Leftovers::Kill,
        output: OutputSize::default(),
    }
}

pub(crate) fn exited(code: i32) -> Outcome {
    Outcome::Exited { code }
}

pub(crate) fn stdout(running: &Running) -> String {
    String::from_utf8_lossy(&running.output().read_all().of(Stream::Stdout)).into_owned()
}

pub(crate) fn stderr(running: &Running) -> String {
    String::from_utf8_lossy(&running.output().read_all().of(Stream::Stderr)).into_owned()
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(DEADLINE, future).await.expect("an answer in time")
}

/// Waits until the program has written `word`.
pub(crate) async fn until_said(running: &Running, word: &str) {
    let mut total = running.output().subscribe();
    let said = async {
        while !stdout(running).contains(word) {
            total.changed().await.expect("output goes on");
        }
    };
    within(said).await;
}

/// Waits until something holds that nobody announces.
pub(crate) async fn until(what: &str, holds: impl FnMut() -> bool) {
    assert!(holds_within(DEADLINE, holds).await, "it never came that {what}");
}

pub(crate) async fn holds_within(time: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + time;
    while !holds() {
        if Instant::now() > deadline {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    true
}

/// The processes that left their numbers.
pub(crate) fn marked(folder: &Path) -> HashSet<u32> {
    let entries = fs::read_dir(folder).expect("marks").flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Those of them that live, by `/proc`: a zombie does not.
pub(crate) fn alive(processes: &HashSet<u32>) -> Vec<u32> {
    processes.iter().copied().filter(|pid| is_alive(*pid)).collect()
}

pub(crate) fn is_alive(pid: u32) -> bool {
    let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else { return false };
    !status.lines().any(|line| line.starts_with("State:") && (line.contains('Z') || line.contains('X')))
}
