//! Starts programs.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, Mode, OFlags};
use rustix::pipe::PipeFlags;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, watch};

use crate::bus::{BusLaunch, Buses};
use crate::cgroup::{Delegation, Group};
use crate::enforcement::Enforcement;
use crate::environment::{self, CANCEL_REASON_FILE};
use crate::launch::{Grant, Launch, Limits, Network, ProcessView};
use crate::launcher::REASON_FILE;
use crate::line::Line;
use crate::output::Output;
use crate::running::Running;
use crate::watch::{Instance, Pipes};
use crate::wire::{self, Failure, Identity, Inbox, Order, Report, Spaces, Stage, Task};

/// How long a cgroup may take to become empty after its kill.
const GROUP_PATIENCE: Duration = Duration::from_secs(3);

/// What a runner needs to know of its surroundings.
#[derive(Debug)]
pub struct Settings {
    /// A folder of this runner alone, on this machine's memory if possible. Each instance has a folder in it while it
    /// runs; what is left in it from earlier is removed.
    pub run_folder: PathBuf,
    /// The binary that calls [`crate::launcher::main_if_asked`] first of all. `None`: this process's own.
    pub launcher: Option<PathBuf>,
    /// Where there is one, each instance gets a cgroup of its own.
    pub cgroups: Option<Delegation>,
}

/// Starts programs and looks after them. Meant to be one for the whole service, within a tokio runtime.
#[derive(Debug)]
pub struct Runner {
    line: Line,
    run_folder: PathBuf,
    cgroups: Option<Arc<Delegation>>,
    own_uid: u32,
    buses: Buses,
}

#[derive(Debug, thiserror::Error)]
pub enum RunnerError {
    #[error("the folder of running instances {path} cannot be prepared: {source}")]
    RunFolder { path: PathBuf, source: io::Error },
    #[error("the launcher of tasks cannot be started: {0}")]
    Launcher(#[source] io::Error),
}

/// Why a program was not started. Nothing of it is left then.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the command is empty")]
    EmptyCommand,
    #[error("{0} holds a NUL")]
    Nul(&'static str),
    #[error("{0:?} is no name of a variable of the environment")]
    Variable(String),
    #[error("{0:?} is no name for an instance")]
    Name(String),
    #[error("the program {program} cannot be executed: {source}")]
    Program { program: String, source: io::Error },
    #[error("the working directory {path} cannot be entered: {source}")]
    WorkingDirectory { path: String, source: io::Error },
    #[error("it cannot become user {user}: {source}")]
    Account { user: String, source: io::Error },
    #[error("what was asked for cannot be held on this machine: {0}")]
    Unenforceable(String),
    #[error("it cannot be confined: {0}")]
    Confinement(#[source] io::Error),
    #[error("its run folder {path} cannot be made: {source}")]
    RunFolder { path: PathBuf, source: io::Error },
    #[error("its cgroup cannot be made: {0}")]
    Cgroup(#[source] io::Error),
    #[error("the message bus: {what}: {detail}")]
    Bus { what: &'static str, detail: String },
    /// Too many processes, descriptors or too little memory, most often.
    #[error("the system gives no process for it: {0}")]
    System(#[source] io::Error),
}

impl Runner {
    /// Prepares the run folder and starts the launcher. May block for a moment.
    ///
    /// # Errors
    /// One of the two fails.
    pub fn new(settings: Settings) -> Result<Self, RunnerError> {
        let Settings { run_folder, launcher, cgroups } = settings;
        let refused = |source| RunnerError::RunFolder { path: run_folder.clone(), source };
        fs::DirBuilder::new().recursive(true).mode(0o711).create(&run_folder).map_err(refused)?;
        for entry in fs::read_dir(&run_folder).map_err(refused)?.flatten() {
            let _ = fs::remove_dir_all(entry.path());
        }
        let line = Line::new(launcher.unwrap_or_else(|| "/proc/self/exe".into()));
        line.open().map_err(RunnerError::Launcher)?;
        let own_uid = rustix::process::geteuid().as_raw();
        Ok(Self { line, run_folder, cgroups: cgroups.map(Arc::new), own_uid, buses: Buses::default() })
    }

    /// Starts a program; answers once it runs, which is after its execve(2), or why it does not.
    ///
    /// # Errors
    /// It was not started. Dropping the future before it is ready leaves nothing behind either.
    pub async fn start(&self, launch: Launch) -> Result<Running, StartError> {
        check(&launch)?;
        let mut enforcement = Enforcement::default();
        let folder = RunFolder::make(&self.run_folder, &launch, self.own_uid)?;
        let (group, limits) = self.make_group(&launch, &mut enforcement)?;
        let mut place = Place { folder, group };
        let (pipes, given) = pipes(&launch).map_err(StartError::System)?;
        let (control, given_control) = std::os::unix::net::UnixStream::pair().map_err(StartError::System)?;
        let spaces = Spaces {
            processes: launch.sandbox.processes == ProcessView::Own,
            network: launch.sandbox.network == Network::Denied,
        };
        let mut descriptors: Vec<BorrowedFd<'_>> = vec![given_control.as_fd()];
        descriptors.extend(given.iter().map(AsFd::as_fd));
        descriptors.push(place.folder.descriptor.as_fd());
        descriptors.extend(place.group.as_ref().map(Group::descriptor));
        self.line.hand_over(spaces, &descriptors).await.map_err(StartError::System)?;
        drop((given, given_control));
        control.set_nonblocking(true).map_err(StartError::System)?;
        let mut control = UnixStream::from_std(control).map_err(StartError::System)?;
        let task = self.task(&launch, limits, enforcement, &place.folder);
        let order = wire::encode(&Order::Run(Box::new(task))).map_err(StartError::System)?;
        let _ = control.write_all(&order).await;
        let mut inbox = Inbox::default();
        let (pid, enforcement) = match hear(&mut control, &mut inbox).await.map_err(StartError::System)? {
            Report::Started { pid, enforcement } => (pid, enforcement),
            Report::Failed(failure) => {
                place.clear().await;
                return Err(refusal(failure, &launch));
            }
            Report::Ended { .. } => return Err(StartError::System(io::ErrorKind::InvalidData.into())),
        };
        let (wishes, wished) = mpsc::unbounded_channel();
        let (report, ended) = watch::channel(None);
        let (_, progress) = watch::channel(None);
        let output = Arc::new(Output::new(launch.output));
        let instance = Instance {
            control,
            inbox,
            pipes,
            output: Arc::clone(&output),
            wished,
            place,
            report,
            started: Instant::now(),
        };
        tokio::spawn(instance.look_after());
        Ok(Running { pid, enforcement, output, progress, wishes, ended })
    }

    /// The same for an entry point on the message bus. Answers once the program is on the bus; that it cannot do what it is
    /// called for shows at the end.
    ///
    /// # Errors
    /// There is no bus, or nothing there that answers to the name.
    pub async fn start_on_bus(&self, launch: BusLaunch) -> Result<Running, StartError> {
        self.buses.start(launch).await
    }

    fn make_group(
        &self,
        launch: &Launch,
        enforcement: &mut Enforcement,
    ) -> Result<(Option<Group>, Limits), StartError> {
        let Some(cgroups) = &self.cgroups else { return Ok((None, launch.limits)) };
        let (group, rest) =
            cgroups.make_group(&launch.name, launch.limits, enforcement).map_err(StartError::Cgroup)?;
        Ok((Some(group), rest))
    }

    fn task(&self, launch: &Launch, limits: Limits, enforcement: Enforcement, folder: &RunFolder) -> Task {
        let Launch { account, sandbox, .. } = launch;
        let mut environment = launch.environment.clone();
        let reason_file = folder.path.join(REASON_FILE).to_string_lossy().into_owned();
        environment::set(&mut environment, CANCEL_REASON_FILE, reason_file);
        if let Some(temporary) = &folder.temporary {
            environment::set(&mut environment, "TMPDIR", temporary.to_string_lossy().into_owned());
        }
        let home = |path: &Path| account.at_home(path);
        let grants = |grants: &Vec<Grant>| {
            let absolute = grants.iter().map(|grant| Grant { path: home(&grant.path), access: grant.access });
            absolute.collect()
        };
        Task {
            command: launch.command.clone(),
            environment,
            working_directory: working_directory(launch),
            identity: (account.uid != self.own_uid).then(|| Identity {
                uid: account.uid,
                gid: account.gid,
                groups: account.groups.clone(),
            }),
            limits,
            filesystem: sandbox.filesystem.as_ref().map(grants),
            network: sandbox.network,
            processes: sandbox.processes,
            unenforceable: launch.unenforceable,
            leftovers: launch.leftovers,
            enforcement,
        }
    }
}

fn check(launch: &Launch) -> Result<(), StartError> {
    let has_nul = |text: &String| text.contains('\0');
    let Launch { name, command, environment, .. } = launch;
    if name.is_empty() || name.len() > 200 || name.starts_with('.') || name.contains(['/', '\0']) {
        return Err(StartError::Name(name.clone()));
    }
    if command.first().is_none_or(String::is_empty) {
        return Err(StartError::EmptyCommand);
    }
    if command.iter().any(has_nul) {
        return Err(StartError::Nul("the command"));
    }
    if environment.iter().any(|(name, value)| has_nul(name) || has_nul(value)) {
        return Err(StartError::Nul("the environment"));
    }
    if let Some((name, _)) = environment.iter().find(|(name, _)| name.is_empty() || name.contains('=')) {
        return Err(StartError::Variable(name.clone()));
    }
    Ok(())
}

fn working_directory(launch: &Launch) -> String {
    let wished = launch.working_directory.as_deref().unwrap_or("~");
    launch.account.at_home(Path::new(wished)).to_string_lossy().into_owned()
}

/// Our ends of standard output and error, and the program's ends of all three.
fn pipes(launch: &Launch) -> io::Result<(Pipes, [OwnedFd; 3])> {
    let (stdout, given_stdout) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    let (stderr, given_stderr) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    for descriptor in [&given_stdout, &given_stderr] {
        // So that it may open them again by name (/dev/stdout).
        let owner = rustix::fs::Uid::from_raw(launch.account.uid);
        let _ = rustix::fs::fchown(descriptor, Some(owner), None);
    }
    for descriptor in [&stdout, &stderr] {
        rustix::io::ioctl_fionbio(descriptor, true)?;
    }
    let pipes = Pipes {
        stdout: Some(pipe::Receiver::from_owned_fd(stdout)?),
        stderr: Some(pipe::Receiver::from_owned_fd(stderr)?),
    };
    Ok((pipes, [input(&launch.input)?, given_stdout, given_stderr]))
}

/// A file in memory: whole from the start, so that nobody has to write behind a program that reads late or never.
fn input(bytes: &[u8]) -> io::Result<OwnedFd> {
    let make = |flags| rustix::fs::memfd_create("task-input", flags);
    let file = match make(MemfdFlags::CLOEXEC | MemfdFlags::NOEXEC_SEAL) {
        // The flag came with Linux 6.3, and hardened systems insist on it.
        Err(rustix::io::Errno::INVAL) => make(MemfdFlags::CLOEXEC)?,
        made => made?,
    };
    let mut file = fs::File::from(file);
    io::Write::write_all(&mut file, bytes)?;
    io::Seek::rewind(&mut file)?;
    Ok(file.into())
}

async fn hear(control: &mut UnixStream, inbox: &mut Inbox) -> io::Result<Report> {
    let mut buffer = [0; 4 << 10];
    loop {
        if let Some(report) = inbox.next()? {
            return Ok(report);
        }
        match control.read(&mut buffer).await? {
            0 => return Err(io::Error::other("its supervisor ended before it began")),
            count => inbox.push(&buffer[..count]),
        }
    }
}

fn refusal(failure: Failure, launch: &Launch) -> StartError {
    let Failure { stage, error, detail } = failure;
    let source =
        if error == 0 { io::Error::other(detail.clone()) } else { io::Error::from_raw_os_error(error) };
    match stage {
        Stage::Fork | Stage::Descriptors => StartError::System(source),
        Stage::Identity => StartError::Account { user: launch.account.name.clone(), source },
        Stage::WorkingDirectory => StartError::WorkingDirectory { path: working_directory(launch), source },
        Stage::Confinement => StartError::Confinement(source),
        Stage::Unenforceable => StartError::Unenforceable(detail),
        Stage::Program => {
            let program = launch.command.first().cloned().unwrap_or_default();
            StartError::Program { program, source }
        }
    }
}

/// The folder of one instance while it runs.
#[derive(Debug)]
pub(crate) struct RunFolder {
    path: PathBuf,
    descriptor: OwnedFd,
    /// Where a sandboxed program may put files for the moment.
    temporary: Option<PathBuf>,
}

impl RunFolder {
    fn make(parent: &Path, launch: &Launch, own_uid: u32) -> Result<Self, StartError> {
        let path = parent.join(&launch.name);
        let refused = |source| StartError::RunFolder { path: path.clone(), source };
        let is_own = launch.account.uid == own_uid;
        let make = || {
            fs::DirBuilder::new().mode(0o700).create(&path)?;
            if !is_own {
                // Another user has to reach the reason and its own temporary files.
                fs::set_permissions(&path, fs::Permissions::from_mode(0o711))?;
            }
            let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
            let descriptor = rustix::fs::open(&path, flags, Mode::empty())?;
            let temporary = launch.sandbox.filesystem.as_ref().map(|_| path.join("tmp"));
            if let Some(temporary) = &temporary {
                fs::DirBuilder::new().mode(0o700).create(temporary)?;
                if !is_own {
                    std::os::unix::fs::chown(temporary, Some(launch.account.uid), Some(launch.account.gid))?;
                }
            }
            Ok((descriptor, temporary))
        };
        let (descriptor, temporary) = make().map_err(|error: io::Error| {
            if error.kind() != io::ErrorKind::AlreadyExists {
                let _ = fs::remove_dir_all(&path);
            }
            refused(error)
        })?;
        Ok(Self { path, descriptor, temporary })
    }
}

/// What an instance occupies on the machine; freed when it is dropped, at the latest.
#[derive(Debug)]
pub(crate) struct Place {
    folder: RunFolder,
    group: Option<Group>,
}

impl Place {
    pub(crate) fn group(&self) -> Option<&Group> {
        self.group.as_ref()
    }

    /// Frees it, and waits for that without holding up other work.
    pub(crate) async fn clear(&mut self) {
        let group = self.group.take();
        let path = self.folder.path.clone();
        let _ = tokio::task::spawn_blocking(move || clear(group, &path)).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        clear(self.group.take(), &self.folder.path);
    }
}

fn clear(group: Option<Group>, folder: &Path) {
    if let Some(group) = group {
        let _ = group.remove(GROUP_PATIENCE);
    }
    let _ = fs::remove_dir_all(folder);
}
