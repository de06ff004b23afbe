//! What a piece of work cost: time, processor time and memory of every process that took part.

use std::fs::File;
use std::io;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// What one command used, from its start to its end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Used {
    pub(crate) wall: Duration,
    /// User and system time of the process and of all that it waited for.
    pub(crate) cpu: Duration,
    /// Largest resident size in bytes.
    pub(crate) peak: u64,
    pub(crate) status: ExitStatus,
}

/// Runs `command` to its end.
pub(crate) fn run(command: &mut Command) -> Result<Used> {
    let name = command.get_program().to_string_lossy().into_owned();
    // A new process inherits the peak of the one it was started from.
    Watched::new(std::process::id()).reset_peak()?;
    let started = Instant::now();
    let child = command.spawn().with_context(|| format!("{name} cannot be started"))?;
    let (status, usage) = wait(child.id())?;
    let wall = started.elapsed();
    Ok(Used {
        wall,
        cpu: duration(usage.ru_utime) + duration(usage.ru_stime),
        peak: u64::try_from(usage.ru_maxrss).unwrap_or(0) * 1024,
        status,
    })
}

/// Runs it like [`run`] and takes anything but success for a failure of the whole row.
pub(crate) fn run_well(command: &mut Command) -> Result<Used> {
    let used = run(command)?;
    if !used.status.success() {
        let name = command.get_program().to_string_lossy().into_owned();
        let arguments: Vec<_> = command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
        bail!("{name} {} ended with {}", arguments.join(" "), used.status);
    }
    Ok(used)
}

#[expect(unsafe_code, reason = "only wait4 tells what a child used; the standard library has no call for it")]
fn wait(pid: u32) -> Result<(ExitStatus, libc::rusage)> {
    use std::os::unix::process::ExitStatusExt;

    let pid = i32::try_from(pid)?;
    let mut status = 0;
    // SAFETY: all zeros is a valid rusage, and both pointers are to locals that live through the call.
    let (waited, usage) = unsafe {
        let mut usage = std::mem::zeroed::<libc::rusage>();
        let waited = loop {
            let waited = libc::wait4(pid, &raw mut status, 0, &raw mut usage);
            if waited >= 0 || io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
                break waited;
            }
        };
        (waited, usage)
    };
    if waited < 0 {
        return Err(io::Error::last_os_error()).context("wait4");
    }
    Ok((ExitStatus::from_raw(status), usage))
}

fn duration(time: libc::timeval) -> Duration {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let microseconds = u64::try_from(time.tv_usec).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_micros(microseconds)
}

/// A process that goes on running, looked at from outside.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Watched {
    pid: u32,
}

impl Watched {
    pub(crate) fn new(pid: u32) -> Self {
        Self { pid }
    }

    /// User and system time so far, of ended threads too, in steps of one clock tick.
    pub(crate) fn cpu(self) -> Result<Duration> {
        let text = self.read("stat")?;
        // The name in brackets may hold anything; user and system time are fields 14 and 15.
        let (_, fields) = text.rsplit_once(')').context("/proc/PID/stat has no name")?;
        let ticks: u64 =
            fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
        Ok(Duration::from_micros(ticks * 1_000_000 / rustix::param::clock_ticks_per_second()))
    }

    /// Begins a new measurement of the largest resident size.
    pub(crate) fn reset_peak(self) -> Result<()> {
        std::fs::write(format!("/proc/{}/clear_refs", self.pid), "5").context("the peak cannot be reset")
    }

    /// Largest resident size in bytes since the last reset.
    pub(crate) fn peak(self) -> Result<u64> {
        self.status_field("VmHWM:")
    }

    /// Resident memory in bytes that is not of a file.
    pub(crate) fn anonymous(self) -> Result<u64> {
        self.status_field("RssAnon:")
    }

    fn status_field(self, name: &str) -> Result<u64> {
        let text = self.read("status")?;
        let field =
            text.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no {name}"))?;
        let kibibytes: u64 =
            field.trim().trim_end_matches(" kB").parse().with_context(|| format!("{name} {field}"))?;
        Ok(kibibytes * 1024)
    }

    fn read(self, file: &str) -> Result<String> {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.pid))
            .with_context(|| format!("process {} is gone", self.pid))
    }
}

/// Makes free memory ours for a moment: a virtual machine gives free pages back to its host, and taking them again
/// would fall on whoever writes first.
pub(crate) fn touch_memory(bytes: u64) {
    let mut memory = vec![0_u8; usize::try_from(bytes).unwrap_or(0)];
    for page in memory.chunks_mut(4096) {
        page[0] = 1;
    }
    std::hint::black_box(&memory);
}

/// How long it takes until the file is on disk.
pub(crate) fn sync_file(path: &Path) -> Result<Duration> {
    let file = File::open(path).with_context(|| format!("{} is missing", path.display()))?;
    let started = Instant::now();
    file.sync_all()?;
    Ok(started.elapsed())
}

/// How long it takes until everything of the folder's file system is on disk: one call for many files.
pub(crate) fn sync_file_system(folder: &Path) -> Result<Duration> {
    let folder = File::open(folder)?;
    let started = Instant::now();
    rustix::fs::syncfs(folder)?;
    Ok(started.elapsed())
}
