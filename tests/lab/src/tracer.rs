//! Kills a program at its n-th call that changes a file below a folder.
//!
//! The kernel stops the program only at those calls (a seccomp filter chooses them), over all its threads, and the
//! count is one for all. The call at which it dies has not happened. What goes to memory-mapped files is not seen.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The calls that change files, and which argument is the descriptor that tells the file.
const CALLS: &[(libc::c_long, &str, Told)] = &[
    (libc::SYS_write, "write", Told::Descriptor),
    (libc::SYS_pwrite64, "pwrite64", Told::Descriptor),
    (libc::SYS_writev, "writev", Told::Descriptor),
    (libc::SYS_pwritev, "pwritev", Told::Descriptor),
    (libc::SYS_pwritev2, "pwritev2", Told::Descriptor),
    (libc::SYS_fsync, "fsync", Told::Descriptor),
    (libc::SYS_fdatasync, "fdatasync", Told::Descriptor),
    (libc::SYS_syncfs, "syncfs", Told::Always),
    (libc::SYS_sync_file_range, "sync_file_range", Told::Descriptor),
    (libc::SYS_ftruncate, "ftruncate", Told::Descriptor),
    (libc::SYS_fallocate, "fallocate", Told::Descriptor),
    (libc::SYS_renameat, "renameat", Told::Always),
    (libc::SYS_renameat2, "renameat2", Told::Always),
    (libc::SYS_linkat, "linkat", Told::Always),
    (libc::SYS_unlinkat, "unlinkat", Told::Always),
    (libc::SYS_mkdirat, "mkdirat", Told::Always),
    (libc::SYS_fchmod, "fchmod", Told::Descriptor),
    (libc::SYS_openat, "openat", Told::CreateFlag(2)),
    (libc::SYS_openat2, "openat2", Told::Always),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_rename, "rename", Told::Always),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_unlink, "unlink", Told::Always),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_open, "open", Told::CreateFlag(1)),
];

/// How a call shows that it concerns the watched folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// Its first argument is a descriptor of a file below the folder.
    Descriptor,
    /// Such calls are rare enough to count all of them.
    Always,
    /// The flags in this argument say that it may create a file.
    CreateFlag(usize),
}

/// A traced child; killed when dropped.
#[derive(Debug)]
pub struct Traced {
    pid: u32,
    shared: Arc<Shared>,
    tracer: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    /// Calls counted since [`Traced::arm`].
    count: AtomicU64,
    /// Die at the call of this number; 0 is never.
    die_at: AtomicU64,
    ended: Mutex<Option<Ended>>,
    has_ended: Condvar,
    folder: PathBuf,
}

/// How a traced program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// The call it was killed at.
    pub killed_at: Option<String>,
}

impl Traced {
    /// Starts `command`, watching the files below `folder`. Counting begins with [`Self::arm`].
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn spawn(mut command: Command, folder: PathBuf) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            count: AtomicU64::new(0),
            die_at: AtomicU64::new(0),
            ended: Mutex::new(None),
            has_ended: Condvar::new(),
            folder,
        });
        let (sender, receiver) = mpsc::channel();
        // Every request of ptrace has to come from the thread that is the parent.
        let tracer = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                prepare(&mut command);
                match command.spawn() {
                    Err(problem) => {
                        let _ = sender.send(Err(problem));
                    }
                    Ok(child) => {
                        let pid = child.id();
                        // The loop below reaps the child itself.
                        drop(child);
                        let _ = sender.send(Ok(pid));
                        let killed_at = trace(pid, &shared);
                        *shared.ended.lock().expect("nobody panics with it") = Some(Ended { killed_at });
                        shared.has_ended.notify_all();
                    }
                }
            }
        });
        let pid = receiver.recv().expect("the tracer answers")?;
        Ok(Self { pid, shared, tracer: Some(tracer) })
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Begins to count anew, and kills the program at the call of number `die_at`, counted from 1; `None` only counts.
    pub fn arm(&self, die_at: Option<u64>) {
        self.shared.count.store(0, Ordering::SeqCst);
        self.shared.die_at.store(die_at.unwrap_or(0), Ordering::SeqCst);
    }

    /// Calls since [`Self::arm`].
    #[must_use]
    pub fn count(&self) -> u64 {
        self.shared.count.load(Ordering::SeqCst)
    }

    #[must_use]
    pub fn ended(&self) -> Option<Ended> {
        self.shared.ended.lock().expect("nobody panics with it").clone()
    }

    /// Waits for the end.
    #[track_caller]
    pub fn wait(&self, deadline: Duration) -> Ended {
        let end = Instant::now() + deadline;
        let mut ended = self.shared.ended.lock().expect("nobody panics with it");
        loop {
            if let Some(ended) = ended.as_ref() {
                return ended.clone();
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "the traced program did not end within {deadline:?}");
            ended = self.shared.has_ended.wait_timeout(ended, left).expect("nobody panics with it").0;
        }
    }

    /// Waits for the end, until `is_enough` or the deadline; `None` when the program still runs then.
    pub fn wait_or(&self, deadline: Duration, mut is_enough: impl FnMut() -> bool) -> Option<Ended> {
        let end = Instant::now() + deadline;
        while self.ended().is_none() && Instant::now() < end && !is_enough() {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.ended()
    }

    /// SIGKILL, and waits until the program is gone.
    pub fn kill(&mut self) {
        if self.ended().is_none() {
            kill(self.pid);
        }
        if let Some(tracer) = self.tracer.take() {
            let _ = tracer.join();
        }
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        self.kill();
    }
}

fn raw(pid: u32) -> libc::pid_t {
    libc::pid_t::try_from(pid).expect("a pid is positive and small")
}

#[expect(unsafe_code, reason = "kill is a system call")]
fn kill(pid: u32) {
    // SAFETY: the child has not been reaped: only the tracer does that, and it records the end first.
    unsafe { libc::kill(raw(pid), libc::SIGKILL) };
}

/// A filter that stops at [`CALLS`] and lets everything else pass.
fn filter() -> Vec<libc::sock_filter> {
    let instruction = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter {
        code: u16::try_from(code).expect("opcodes have 16 bits"),
        jt,
        jf,
        k,
    };
    // The call's number is the first word of seccomp_data.
    let mut filter = vec![instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0)];
    for (index, (number, _, _)) in CALLS.iter().enumerate() {
        let to_trace = u8::try_from(CALLS.len() - index).expect("a short list");
        let number = u32::try_from(*number).expect("system calls have small numbers");
        filter.push(instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, to_trace, 0, number));
    }
    filter.push(instruction(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW));
    filter.push(instruction(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_TRACE));
    filter
}

#[expect(unsafe_code, reason = "asking to be traced and filtered has to happen in the child")]
fn prepare(command: &mut Command) {
    let mut filter = filter();
    let check = |result: libc::c_long| if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
    // SAFETY: only system calls between fork and exec, on memory that was allocated before the fork.
    unsafe {
        command.pre_exec(move || {
            check(libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0))?;
            check(libc::c_long::from(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)))?;
            let program =
                libc::sock_fprog { len: filter.len() as libc::c_ushort, filter: filter.as_mut_ptr() };
            check(libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                0,
                std::ptr::from_ref(&program),
            ))
        });
    }
}

/// Follows the program to its end; returns the call at which it was killed.
#[expect(unsafe_code, reason = "ptrace and waitpid are system calls")]
fn trace(pid: u32, shared: &Shared) -> Option<String> {
    let options = libc::PTRACE_O_EXITKILL
        | libc::PTRACE_O_TRACECLONE
        | libc::PTRACE_O_TRACEFORK
        | libc::PTRACE_O_TRACEVFORK
        | libc::PTRACE_O_TRACESECCOMP;
    let mut killed_at = None;
    let mut is_set_up = false;
    loop {
        let mut status = 0;
        // SAFETY: `status` is ours; only children of this very thread are waited for.
        let thread = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL | libc::__WNOTHREAD) };
        if thread < 0 {
            return killed_at;
        }
        if !libc::WIFSTOPPED(status) {
            if thread == raw(pid) {
                return killed_at;
            }
            continue;
        }
        if !is_set_up {
            // SAFETY: the thread is stopped and ours; this request takes its options as data.
            unsafe { libc::ptrace(libc::PTRACE_SETOPTIONS, thread, 0, options) };
            is_set_up = true;
        }
        let event = status >> 16;
        if event == libc::PTRACE_EVENT_SECCOMP && killed_at.is_none() {
            killed_at = counted(thread, shared);
            if killed_at.is_some() {
                kill(pid);
            }
        }
        let signal = match libc::WSTOPSIG(status) {
            // New threads begin with a stop, and events show as traps: the program shall see neither.
            libc::SIGSTOP | libc::SIGTRAP => 0,
            _ if event != 0 => 0,
            signal => signal,
        };
        // SAFETY: the thread is stopped and ours; one that was killed meanwhile makes the request fail harmlessly.
        unsafe { libc::ptrace(libc::PTRACE_CONT, thread, 0, signal) };
    }
}

/// Counts the call the thread is about to make; its description if this is the last one.
fn counted(thread: libc::pid_t, shared: &Shared) -> Option<String> {
    let (number, arguments) = call_of(thread)?;
    let (_, name, told) = CALLS.iter().find(|(known, _, _)| *known == number)?;
    let target = std::fs::read_link(format!("/proc/{thread}/fd/{}", arguments[0])).unwrap_or_default();
    let is_ours = match told {
        Told::Always => true,
        Told::Descriptor => {
            target.starts_with(&shared.folder) && target.extension().is_none_or(|end| end != "log")
        }
        Told::CreateFlag(index) => arguments[*index] & u64::from(libc::O_CREAT.cast_unsigned()) != 0,
    };
    if !is_ours {
        return None;
    }
    let count = shared.count.fetch_add(1, Ordering::SeqCst) + 1;
    (count == shared.die_at.load(Ordering::SeqCst)).then(|| format!("{name} on {}", target.display()))
}

#[expect(unsafe_code, reason = "ptrace is a system call")]
fn call_of(thread: libc::pid_t) -> Option<(libc::c_long, [u64; 6])> {
    // SAFETY: the structure is plain numbers, and the kernel writes at most its size into it.
    unsafe {
        let mut info: libc::ptrace_syscall_info = std::mem::zeroed();
        let size = size_of_val(&info);
        let written = libc::ptrace(libc::PTRACE_GET_SYSCALL_INFO, thread, size, &raw mut info);
        if written <= 0 || info.op != libc::PTRACE_SYSCALL_INFO_SECCOMP {
            return None;
        }
        let seccomp = info.u.seccomp;
        Some((libc::c_long::try_from(seccomp.nr).ok()?, seccomp.args))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shell that writes five lines into a file.
    fn writer(folder: &std::path::Path) -> Command {
        let mut command = Command::new("sh");
        command.arg("-c").arg("read go; for i in 1 2 3 4 5; do echo $i; done > out");
        command.current_dir(folder);
        command
    }

    #[test]
    fn a_program_dies_at_the_call_it_was_told_to() {
        for die_at in 1..=7 {
            let folder = tempfile::tempdir().unwrap();
            let (reader, go) = io::pipe().unwrap();
            let mut command = writer(folder.path());
            command.stdin(reader);
            let traced = Traced::spawn(command, folder.path().to_owned()).unwrap();
            traced.arm(Some(die_at));
            io::Write::write_all(&mut &go, b"\n").unwrap();
            let ended = traced.wait(Duration::from_secs(20));
            let lines =
                std::fs::read_to_string(folder.path().join("out")).map_or(0, |text| text.lines().count());
            // The first call creates the file.
            let expected = usize::try_from(die_at.saturating_sub(2)).unwrap().min(5);
            assert_eq!(lines, expected, "died at {die_at}: {ended:?}");
            assert_eq!(ended.killed_at.is_some(), die_at <= 6, "{ended:?}");
        }
    }
}
