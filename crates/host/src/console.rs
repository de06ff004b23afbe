//! Who is logged in at terminals, and whether they touch them: the table of logins (utmp(5)) and the times at which
//! terminals were last read. A fallback for machines without logind.
//!
//! A login counts until its program says that it is over; what was killed leaves its line, so its process is looked for.
//! Deliberately absent: graphical sessions, of which the table knows no terminal.

use std::fs;
use std::io;
use std::mem::offset_of;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::folder::FolderWatch;

/// The name of this source in `GET /host`.
pub(crate) const SOURCE: &str = "utmp";

/// Below the root.
const TABLE_FOLDER: &str = "run";
const TABLE: &str = "utmp";

/// A terminal that nobody has touched for this long has nobody before it.
const IDLE: Duration = Duration::from_mins(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Consoles {
    pub(crate) is_connected: bool,
    /// Unknown while there are only logins without a terminal.
    pub(crate) is_present: Option<bool>,
}

/// A login.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    process: i32,
    line: String,
}

/// What a terminal tells of its user.
#[derive(Debug, Clone)]
struct Terminal {
    path: PathBuf,
    touched: SystemTime,
}

/// Must live inside a tokio runtime.
#[derive(Debug)]
pub(crate) struct ConsoleWatch {
    root: PathBuf,
    /// The user whose logins count, if not everybody's do.
    user: Option<u32>,
    table: FolderWatch,
    /// Tells of the first touch of a terminal, while nobody is present.
    touches: Option<AsyncFd<OwnedFd>>,
    /// When somebody present becomes idle if nothing is touched.
    idle_at: Option<SystemTime>,
}

impl ConsoleWatch {
    pub(crate) fn open(root: &Path, user: Option<u32>) -> io::Result<Self> {
        let table = FolderWatch::open(&root.join(TABLE_FOLDER))?;
        Ok(Self { root: root.to_owned(), user, table, touches: None, idle_at: None })
    }

    pub(crate) fn look(&mut self) -> io::Result<Consoles> {
        self.touches = None;
        self.idle_at = None;
        let bytes = fs::read(self.root.join(TABLE_FOLDER).join(TABLE))?;
        let entries: Vec<Entry> = entries(&bytes).into_iter().filter(|entry| self.is_alive(entry)).collect();
        let terminals: Vec<Terminal> =
            entries.iter().filter_map(|entry| terminal(&self.root.join("dev").join(&entry.line))).collect();
        // The owner of a terminal is who logged in there; other entries name no user id.
        let counted = entries.iter().filter(|entry| self.is_counted(entry)).count();
        let terminals: Vec<Terminal> =
            terminals.into_iter().filter(|terminal| self.is_owner(&terminal.path)).collect();
        let consoles = judge(counted, &terminals, SystemTime::now());
        match consoles.is_present {
            Some(true) => self.idle_at = terminals.iter().map(|terminal| terminal.touched + IDLE).max(),
            Some(false) => self.touches = watch_touches(&terminals)?,
            None => {}
        }
        Ok(consoles)
    }

    fn is_counted(&self, entry: &Entry) -> bool {
        self.user.is_none() || self.is_owner(&self.root.join("dev").join(&entry.line))
    }

    fn is_owner(&self, terminal: &Path) -> bool {
        self.user.is_none_or(|user| fs::metadata(terminal).is_ok_and(|metadata| metadata.uid() == user))
    }

    fn is_alive(&self, entry: &Entry) -> bool {
        // A root that is not the machine's has no processes.
        let processes = self.root.join("proc");
        !processes.join("self").exists() || processes.join(entry.process.to_string()).exists()
    }

    /// Waits until there may be something new. May be dropped and called again at any point.
    pub(crate) async fn changed(&mut self) -> io::Result<()> {
        let touched = async {
            match &self.touches {
                Some(touches) => touches.readable().await.map(|mut ready| ready.clear_ready()),
                None => std::future::pending().await,
            }
        };
        let idle = async {
            match self.idle_at {
                Some(time) => {
                    let wait = time.duration_since(SystemTime::now()).unwrap_or_default();
                    tokio::time::sleep(wait + Duration::from_millis(10)).await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = self.table.changed(|name| name == TABLE) => changed,
            touched = touched => touched,
            () = idle => Ok(()),
        }
    }
}

fn judge(logins: usize, terminals: &[Terminal], now: SystemTime) -> Consoles {
    let is_idle = |terminal: &Terminal| now.duration_since(terminal.touched).is_ok_and(|idle| idle >= IDLE);
    let is_present = match (logins, terminals.is_empty()) {
        (0, _) => Some(false),
        (_, true) => None,
        (_, false) => Some(!terminals.iter().all(is_idle)),
    };
    Consoles { is_connected: logins > 0, is_present }
}

fn terminal(path: &Path) -> Option<Terminal> {
    let metadata = fs::metadata(path).ok()?;
    Some(Terminal { path: path.to_owned(), touched: metadata.accessed().ok()? })
}

fn watch_touches(terminals: &[Terminal]) -> io::Result<Option<AsyncFd<OwnedFd>>> {
    if terminals.is_empty() {
        return Ok(None);
    }
    let touches = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
    for terminal in terminals {
        // One that was closed meanwhile will be gone from the table too.
        let _ = inotify::add_watch(&touches, &terminal.path, WatchFlags::ACCESS | WatchFlags::ATTRIB);
    }
    // SAFETY: an `OwnedFd` that is never taken out names the same open file for its whole life.
    Ok(Some(unsafe { AsyncFd::register_with_interest(touches, Interest::READABLE) }?))
}

/// The logins of people in a table.
fn entries(table: &[u8]) -> Vec<Entry> {
    let (records, _) = table.as_chunks::<{ size_of::<libc::utmpx>() }>();
    records.iter().filter_map(|record| entry(record)).collect()
}

fn entry(record: &[u8]) -> Option<Entry> {
    let kind = record.get(offset_of!(libc::utmpx, ut_type)..)?.first_chunk().copied()?;
    if i16::from_ne_bytes(kind) != libc::USER_PROCESS {
        return None;
    }
    let process = record.get(offset_of!(libc::utmpx, ut_pid)..)?.first_chunk().copied()?;
    let line = record.get(offset_of!(libc::utmpx, ut_line)..offset_of!(libc::utmpx, ut_line) + LINE)?;
    let line = line.split(|byte| *byte == 0).next().unwrap_or_default();
    let line = std::str::from_utf8(line).ok()?;
    // A name of a terminal stays below the folder of devices.
    let is_name = !line.is_empty() && !line.starts_with('/') && line.split('/').all(|part| part != "..");
    is_name.then(|| Entry { process: i32::from_ne_bytes(process), line: line.to_owned() })
}

/// Bytes of the name of a terminal (UT_LINESIZE).
const LINE: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: i16, line: &str) -> Vec<u8> {
        let mut record = vec![0; size_of::<libc::utmpx>()];
        record[..2].copy_from_slice(&kind.to_ne_bytes());
        record[4..8].copy_from_slice(&7_i32.to_ne_bytes());
        record[8..8 + line.len()].copy_from_slice(line.as_bytes());
        record
    }

    #[test]
    fn only_logins_of_people_count() {
        let table: Vec<u8> = [
            record(2, "~"),
            record(libc::USER_PROCESS, "pts/3"),
            record(6, "tty1"),
            record(libc::USER_PROCESS, "../etc/passwd"),
            record(libc::USER_PROCESS, ":0"),
            vec![1, 2, 3],
        ]
        .concat();
        let lines: Vec<_> = entries(&table).into_iter().map(|entry| (entry.process, entry.line)).collect();
        assert_eq!(lines, [(7, "pts/3".to_owned()), (7, ":0".to_owned())]);
    }

    #[test]
    fn nobody_is_present_before_terminals_that_rest() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_hours(1);
        let at = |seconds| Terminal { path: PathBuf::new(), touched: now - Duration::from_secs(seconds) };
        let verdict = |logins, terminals: &[Terminal]| {
            let consoles = judge(logins, terminals, now);
            (consoles.is_connected, consoles.is_present)
        };
        assert_eq!(verdict(0, &[]), (false, Some(false)));
        assert_eq!(verdict(1, &[]), (true, None));
        assert_eq!(verdict(2, &[at(301), at(299)]), (true, Some(true)));
        assert_eq!(verdict(2, &[at(301), at(300)]), (true, Some(false)));
    }
}
