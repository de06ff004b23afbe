//! The part of the control group tree (cgroups(7), version 2) that was delegated to the service, and a group in it for
//! each instance: it holds limits of the whole tree and kills it at one stroke.
//!
//! Never takes what belongs to systemd: where that runs, only a group it has marked as delegated is used.

use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};

use crate::bus::Bus;
use crate::delegated;
use crate::enforcement::{Enforcement, Limit, Means};
use crate::launch::Limits;

/// Length of the period in which a share of the processor is counted, as the kernel's default (`cpu.max`).
const CPU_PERIOD_MICROSECONDS: u64 = 100_000;

/// The folder of a service's groups is named after its process.
const FOLDER_PREFIX: &str = "longhaul-tasks-";

/// A folder of the tree in which the service may make groups.
#[derive(Debug)]
pub struct Delegation {
    folder: PathBuf,
    controllers: Vec<String>,
}

/// The group of one instance. It is removed when it is empty, by [`Group::remove`].
#[derive(Debug)]
pub(crate) struct Group {
    folder: PathBuf,
    descriptor: OwnedFd,
}

impl Delegation {
    /// What was delegated to this process: its own group, where it may write to it and nobody else manages it.
    ///
    /// # Errors
    /// In words for people: why there is none.
    pub fn of_this_process() -> Result<Self, String> {
        let mount = mount_point().ok_or("no cgroup version 2 file system is mounted")?;
        let membership = fs::read_to_string("/proc/self/cgroup").map_err(|error| error.to_string())?;
        let path = membership.lines().find_map(|line| line.strip_prefix("0::"));
        let path = path.ok_or("this process is in no cgroup of version 2")?;
        Self::at(&mount.join(path.trim_start_matches('/')))
    }

    /// The same, where the user's service manager on this bus says that it was delegated to the unit of this process.
    ///
    /// # Errors
    /// In words for people: why there is none.
    pub async fn by_user_manager(bus: &Bus) -> Result<Self, String> {
        let group = delegated::group(bus).await?;
        let mount = mount_point().ok_or("no cgroup version 2 file system is mounted")?;
        Self::in_folder(&mount.join(group.trim_start_matches('/')))
    }

    /// The group that is this folder.
    ///
    /// # Errors
    /// In words for people: why it cannot be used.
    pub fn at(own: &Path) -> Result<Self, String> {
        // The service itself may have been put into a group below the delegated one (DelegateSubgroup=).
        let marked = [Some(own), own.parent()].into_iter().flatten().find(|folder| is_marked(folder));
        let own = match marked {
            Some(folder) => folder,
            None if Path::new("/run/systemd/system").is_dir() => {
                return Err(format!("systemd has not delegated {} (Delegate=yes)", own.display()));
            }
            None => own,
        };
        Self::in_folder(own)
    }

    /// In one that nobody else manages.
    fn in_folder(own: &Path) -> Result<Self, String> {
        remove_left_over(own);
        let folder = own.join(format!("{FOLDER_PREFIX}{}", std::process::id()));
        let failed = |what: &str, error: &io::Error| format!("{what} {}: {error}", folder.display());
        match fs::create_dir(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(failed("cannot make", &error));
            }
            _ => {}
        }
        if !folder.join("cgroup.kill").exists() {
            return Err("the kernel cannot kill a cgroup at one stroke (Linux 5.14)".to_owned());
        }
        let controllers = enabled_controllers(own, &folder);
        Ok(Self { folder, controllers })
    }

    /// Makes the group of an instance and sets its limits. What it cannot hold is left in the returned limits.
    pub(crate) fn make_group(
        &self,
        name: &str,
        limits: Limits,
        enforcement: &mut Enforcement,
    ) -> io::Result<(Group, Limits)> {
        let folder = self.folder.join(name);
        fs::create_dir(&folder)?;
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let descriptor = rustix::fs::open(&folder, flags, Mode::empty())?;
        let group = Group { folder, descriptor };
        let rest = self.limit(&group.folder, limits, enforcement);
        Ok((group, rest))
    }

    fn limit(&self, folder: &Path, limits: Limits, enforcement: &mut Enforcement) -> Limits {
        let mut rest = limits;
        let has = |controller: &str| self.controllers.iter().any(|known| known == controller);
        let mut hold = |limit: Limit, file: &str, value: String| {
            let is_written = fs::write(folder.join(file), value).is_ok();
            if is_written {
                enforcement.hold(limit, Means::Cgroup);
            }
            is_written
        };
        if let Some(bytes) = limits.memory_max.filter(|_| has("memory")) {
            if hold(Limit::Memory, "memory.max", bytes.to_string()) {
                rest.memory_max = None;
            }
            // What cannot be had in memory shall not be had on the disk; without swap there is no such file.
            let _ = fs::write(folder.join("memory.swap.max"), "0");
        }
        if let Some(percent) = limits.cpu_percent_max.filter(|_| has("cpu")) {
            let quota = u64::from(percent) * CPU_PERIOD_MICROSECONDS / 100;
            if hold(Limit::Cpu, "cpu.max", format!("{quota} {CPU_PERIOD_MICROSECONDS}")) {
                rest.cpu_percent_max = None;
            }
        }
        if let Some(count) = limits.processes_max.filter(|_| has("pids"))
            && hold(Limit::Processes, "pids.max", count.to_string())
        {
            rest.processes_max = None;
        }
        rest
    }
}

impl Drop for Delegation {
    fn drop(&mut self) {
        let _ = remove_tree(&self.folder);
    }
}

impl Group {
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }

    /// SIGKILL to all that is in it.
    pub(crate) fn kill(&self) -> io::Result<()> {
        kill(&self.descriptor)
    }

    /// Highest memory use in bytes, where the controller counts it.
    pub(crate) fn memory_peak(&self) -> Option<u64> {
        fs::read_to_string(self.folder.join("memory.peak")).ok()?.trim().parse().ok()
    }

    /// Whether the kernel has killed something in it for want of memory.
    pub(crate) fn ran_out_of_memory(&self) -> bool {
        let events = fs::read_to_string(self.folder.join("memory.events")).unwrap_or_default();
        events.lines().any(|line| line.strip_prefix("oom_kill ").is_some_and(|count| count != "0"))
    }

    /// Kills what is in it, waits until it is empty, and removes it. Blocks, at most for `patience`.
    pub(crate) fn remove(self, patience: Duration) -> io::Result<()> {
        let deadline = Instant::now() + patience;
        let mut events = File::open(self.folder.join("cgroup.events"))?;
        while is_populated(&mut events)? {
            self.kill()?;
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let timeout = rustix::event::Timespec::try_from(left).map_err(io::Error::other)?;
            let mut poll = [rustix::event::PollFd::new(&events, rustix::event::PollFlags::PRI)];
            rustix::event::poll(&mut poll, Some(&timeout))?;
        }
        remove_tree(&self.folder)
    }
}

/// SIGKILL to all that is in a group or below it, and to whatever they would fork meanwhile.
pub(crate) fn kill(group: impl AsFd) -> io::Result<()> {
    let file = rustix::fs::openat(group, "cgroup.kill", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(file, b"1")?;
    Ok(())
}

fn is_populated(events: &mut File) -> io::Result<bool> {
    let mut text = String::new();
    events.rewind()?;
    events.read_to_string(&mut text)?;
    Ok(text.lines().any(|line| line == "populated 1"))
}

/// A group, and those that the task may have made in it.
fn remove_tree(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(folder)
}

/// Kills and removes what a service left behind that has ended since.
fn remove_left_over(own: &Path) {
    for entry in fs::read_dir(own).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(process) = name.to_str().and_then(|name| name.strip_prefix(FOLDER_PREFIX)) else { continue };
        if !Path::new("/proc").join(process).exists() {
            if let Ok(group) =
                rustix::fs::open(entry.path(), OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            {
                let _ = kill(group);
            }
            let _ = remove_tree(&entry.path());
        }
    }
}

fn mount_point() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let path = fields.next()?;
        (fields.next()? == "cgroup2").then(|| PathBuf::from(path))
    })
}

/// systemd marks what it has delegated, for its own and for other users' eyes (systemd.resource-control(5)).
fn is_marked(folder: &Path) -> bool {
    ["user.delegate", "trusted.delegate"].iter().any(|name| {
        let mut value = [0; 1];
        rustix::fs::getxattr(folder, *name, &mut value).is_ok_and(|length| length == 1 && value == *b"1")
    })
}

/// Hands the controllers we use down to the folder of tasks, where the kernel and the place allow it.
///
/// A group with processes of its own cannot hand controllers down, so that the service first moves itself aside; it
/// does so only when nobody else is in its group.
fn enabled_controllers(own: &Path, folder: &Path) -> Vec<String> {
    let wanted = ["memory", "cpu", "pids"];
    let available = fs::read_to_string(own.join("cgroup.controllers")).unwrap_or_default();
    let available: Vec<&str> = available.split_whitespace().filter(|name| wanted.contains(name)).collect();
    if available.is_empty() {
        return Vec::new();
    }
    let alone = format!("{}\n", std::process::id());
    if fs::read_to_string(own.join("cgroup.procs")).is_ok_and(|processes| processes == alone) {
        let aside = own.join("service");
        let _ = fs::create_dir(&aside);
        let _ = fs::write(aside.join("cgroup.procs"), "0");
    }
    let hand_down = |controller: &&str| {
        let switch = format!("+{controller}");
        fs::write(own.join("cgroup.subtree_control"), &switch).is_ok()
            && fs::write(folder.join("cgroup.subtree_control"), &switch).is_ok()
    };
    available.into_iter().filter(hand_down).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A plain folder takes the same files.
    #[test]
    fn limits_are_written_as_far_as_there_are_controllers() {
        let folder = tempfile::tempdir().expect("a folder");
        let controllers = vec!["memory".to_owned(), "cpu".to_owned()];
        let delegation = Delegation { folder: folder.path().to_owned(), controllers };
        let limits = Limits {
            memory_max: Some(512 << 20),
            cpu_percent_max: Some(150),
            processes_max: Some(20),
            cpu_time_max: Some(Duration::from_secs(9)),
        };
        let mut enforcement = Enforcement::default();
        let (group, rest) = delegation.make_group("one", limits, &mut enforcement).expect("a group");
        let written = |file: &str| fs::read_to_string(folder.path().join("one").join(file)).expect("a file");
        assert_eq!(
            (written("memory.max").as_str(), written("cpu.max").as_str()),
            ("536870912", "150000 100000")
        );
        let left = Limits { memory_max: None, cpu_percent_max: None, ..limits };
        assert_eq!(rest, left, "what it cannot hold is left to others");
        let held: Vec<Limit> = enforcement.enforced.iter().map(|enforced| enforced.limit).collect();
        assert_eq!(held, [Limit::Memory, Limit::Cpu]);
        fs::write(folder.path().join("one/memory.peak"), "4096\n").expect("a file");
        assert_eq!(group.memory_peak(), Some(4096));
        assert!(!group.ran_out_of_memory());
        fs::write(folder.path().join("one/memory.events"), "low 0\noom 3\noom_kill 1\n").expect("a file");
        assert!(group.ran_out_of_memory());
    }
}
