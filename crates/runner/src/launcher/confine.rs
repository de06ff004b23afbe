//! What a process does to itself before it becomes the program: limits, the file system sandbox, the network filter.
//! Each is best effort, and tells truly what it achieved.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use landlock::{
    ABI, Access as _, AccessFs, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetStatus, Scope,
};
use rustix::process::{Resource, Rlimit};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

use crate::enforcement::{Enforcement, Limit, Means};
use crate::launch::{Access, Grant, Limits, Network};

/// The newest kind of rule set that was looked at here; of an older kernel what it has.
const ABI_WANTED: ABI = ABI::V6;

/// What programs need to run at all: to be read and executed.
const SYSTEM: &[&str] =
    &["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/opt", "/nix/store", "/etc", "/proc", "/sys"];
/// Where name resolution and the time zone may point to from `/etc`.
const SYSTEM_STATE: &[&str] =
    &["/run/systemd/resolve", "/run/resolvconf", "/run/NetworkManager", "/var/lib/ca-certificates"];
const DEVICES: &[&str] = &["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"];

/// Resource limits of each process, where no cgroup holds them for all.
pub(super) fn limit(limits: Limits, uid: u32, enforcement: &mut Enforcement) {
    let mut set = |limit: Limit, resource: Resource, value: u64, remark: &str| match tighten(resource, value)
    {
        Ok(()) if remark.is_empty() => enforcement.hold(limit, Means::ResourceLimit),
        Ok(()) => enforcement.hold_partly(limit, Means::ResourceLimit, remark),
        Err(error) => enforcement.miss(limit, error.to_string()),
    };
    if let Some(bytes) = limits.memory_max {
        // Not the address space: run times of several languages reserve far more of it than they ever use.
        set(Limit::Memory, Resource::Data, bytes, "for each process by itself");
    }
    if let Some(time) = limits.cpu_time_max {
        set(Limit::CpuTime, Resource::Cpu, time.as_secs().max(1), "for each process by itself");
    }
    if let Some(count) = limits.processes_max {
        if uid == 0 {
            enforcement.miss(Limit::Processes, "only a cgroup limits the processes of root");
        } else {
            let value = u64::from(count) + threads_of(uid);
            set(Limit::Processes, Resource::Nproc, value, "counted with the user's other processes");
        }
    }
    if limits.cpu_percent_max.is_some() {
        enforcement.miss(Limit::Cpu, "only a cgroup limits the share of the processor");
    }
}

/// Lowers a limit, both what holds now and what the program could raise it to.
fn tighten(resource: Resource, value: u64) -> io::Result<()> {
    let old = rustix::process::getrlimit(resource);
    let value = value.min(old.maximum.unwrap_or(u64::MAX));
    rustix::process::setrlimit(resource, Rlimit { current: Some(value), maximum: Some(value) })?;
    Ok(())
}

/// Threads that a user has now: `RLIMIT_NPROC` counts them with those of the task.
fn threads_of(uid: u32) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let own = entries.filter(|entry| entry.metadata().is_ok_and(|metadata| metadata.uid() == uid));
    own.filter_map(|entry| {
        let _: u32 = entry.file_name().to_str()?.parse().ok()?;
        // Each folder there is a link to its parent's count.
        Some(entry.path().join("task").metadata().ok()?.nlink().saturating_sub(2))
    })
    .sum()
}

/// The file system sandbox (landlock(7)): what is not granted cannot be opened, and what lies outside cannot be signalled
/// or reached over abstract sockets.
pub(super) fn restrict_files(
    grants: &[Grant],
    program: &Path,
    temporary: &Path,
    enforcement: &mut Enforcement,
) {
    match apply_landlock(grants, program, temporary) {
        Ok((RulesetStatus::NotEnforced, _)) => {
            enforcement.miss(Limit::Filesystem, "the kernel has no Landlock");
        }
        Ok((status, missing)) => {
            let mut remarks = Vec::new();
            if status != RulesetStatus::FullyEnforced {
                remarks.push(
                    "the kernel's Landlock is an older one and leaves some kinds of access open".to_owned(),
                );
            }
            if !missing.is_empty() {
                remarks.push(format!("not there, and so not reachable: {}", missing.join(", ")));
            }
            if remarks.is_empty() {
                enforcement.hold(Limit::Filesystem, Means::Landlock);
            } else {
                enforcement.hold_partly(Limit::Filesystem, Means::Landlock, remarks.join("; "));
            }
        }
        Err(error) => enforcement.miss(Limit::Filesystem, error),
    }
}

fn apply_landlock(
    grants: &[Grant],
    program: &Path,
    temporary: &Path,
) -> Result<(RulesetStatus, Vec<String>), String> {
    let in_words = |error: landlock::RulesetError| error.to_string();
    let read = AccessFs::from_read(ABI_WANTED);
    let all = AccessFs::from_all(ABI_WANTED);
    let device = AccessFs::ReadFile | AccessFs::WriteFile;
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(all)
        .and_then(|rules| rules.scope(Scope::from_all(ABI_WANTED)))
        .and_then(Ruleset::create)
        .map_err(in_words)?;
    let system = SYSTEM.iter().chain(SYSTEM_STATE).map(|path| (Path::new(path), read));
    let devices = DEVICES.iter().map(|path| (Path::new(path), device));
    let own = [(program, read), (temporary, all)];
    // The reason of a cancellation comes to lie beside its temporary files.
    let run_folder = temporary.parent().map(|folder| (folder, AccessFs::ReadFile.into()));
    for (path, access) in system.chain(devices).chain(own).chain(run_folder) {
        (rules, _) = allow(rules, path, access).map_err(in_words)?;
    }
    let mut missing = Vec::new();
    for grant in grants {
        let access = if grant.access == Access::ReadOnly { read } else { all };
        let is_there;
        (rules, is_there) = allow(rules, &grant.path, access).map_err(in_words)?;
        if !is_there {
            missing.push(grant.path.display().to_string());
        }
    }
    let status = rules.restrict_self().map_err(in_words)?;
    Ok((status.ruleset, missing))
}

/// Adds a path if it is there.
fn allow(
    rules: RulesetCreated,
    path: &Path,
    access: landlock::BitFlags<AccessFs>,
) -> Result<(RulesetCreated, bool), landlock::RulesetError> {
    let Ok(descriptor) = PathFd::new(path) else { return Ok((rules, false)) };
    let access = if path.is_dir() { access } else { access & AccessFs::from_file(ABI_WANTED) };
    Ok((rules.add_rule(PathBeneath::new(descriptor, access))?, true))
}

/// The network filter (seccomp(2)) where no namespace holds the network off: no sockets but those of the Unix family.
pub(super) fn restrict_network(network: Network, enforcement: &mut Enforcement) {
    if network == Network::Allowed {
        return;
    }
    match network_filter()
        .and_then(|filter| seccompiler::apply_filter(&filter).map_err(|error| error.to_string()))
    {
        Ok(()) => enforcement.hold(Limit::Network, Means::Seccomp),
        Err(error) => enforcement.miss(Limit::Network, error),
    }
}

fn network_filter() -> Result<BpfProgram, String> {
    let in_words = |error: seccompiler::BackendError| error.to_string();
    let local = libc::AF_UNIX as u64;
    let is_remote =
        SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, local).map_err(in_words)?;
    let remote = SeccompRule::new(vec![is_remote]).map_err(in_words)?;
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    rules.insert(libc::SYS_socket, vec![remote]);
    // Its requests make sockets too, and pass by a filter of calls.
    rules.insert(libc::SYS_io_uring_setup, Vec::new());
    #[cfg(target_arch = "x86_64")]
    {
        // The same calls by the numbers of the x32 interface.
        const X32: i64 = 0x4000_0000;
        rules.insert(X32 | libc::SYS_socket, Vec::new());
        rules.insert(X32 | libc::SYS_io_uring_setup, Vec::new());
    }
    let architecture = std::env::consts::ARCH.try_into().map_err(in_words)?;
    let refused = SeccompAction::Errno(libc::EACCES as u32);
    SeccompFilter::new(rules, SeccompAction::Allow, refused, architecture)
        .and_then(TryInto::try_into)
        .map_err(in_words)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::unix::net::UnixStream;

    use super::*;

    /// A filter binds the thread that it was given to, and no other.
    #[test]
    fn the_network_filter_leaves_only_unix_sockets() {
        let filtered = std::thread::spawn(|| {
            rustix::thread::set_no_new_privs(true).expect("no new privileges");
            let mut enforcement = Enforcement::default();
            restrict_network(Network::Denied, &mut enforcement);
            assert_eq!(enforcement.holds(Limit::Network).map(|held| held.means), Some(Means::Seccomp));
            let refused = TcpListener::bind("127.0.0.1:0").map_err(|error| error.kind());
            assert_eq!(refused.err(), Some(io::ErrorKind::PermissionDenied));
            UnixStream::pair().expect("a local pair");
            // SAFETY: the call is refused before it looks at its arguments.
            let ring = unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, 0) };
            assert_eq!((ring, io::Error::last_os_error().raw_os_error()), (-1, Some(libc::EACCES)));
        });
        filtered.join().expect("what was filtered");
        TcpListener::bind("127.0.0.1:0").expect("others are free");
    }
}
