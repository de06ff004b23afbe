//! What a failed file call means for the download: which remedy, which words.

use longhaul_contract::{Blocker, Cause, Failure, Remedy, WebErrorStatus};
use rustix::io::Errno;

/// A failure of a file or folder, which the web has no word for.
pub(crate) fn failure(remedy: Remedy, cause: Cause, detail: impl Into<String>) -> Failure {
    Failure {
        remedy,
        cause,
        web_error_status: WebErrorStatus::Unknown,
        http_status: None,
        detail: detail.into(),
        retry_after_seconds: None,
    }
}

/// The failure of a call on `place` (a path for people): `cannot ACTION PLACE: ERROR`.
pub(crate) fn io_failure(action: &str, place: &str, errno: Errno) -> Failure {
    let (remedy, cause) = classify(errno);
    failure(remedy, cause, format!("cannot {action} {place}: {}", words(errno)))
}

fn classify(errno: Errno) -> (Remedy, Cause) {
    let blocked = |on| Remedy::Blocked { on };
    match errno {
        Errno::NOSPC | Errno::DQUOT => (blocked(Blocker::DiskSpace), Cause::DiskFull),
        Errno::NOENT
        | Errno::NOTDIR
        | Errno::LOOP
        | Errno::XDEV
        | Errno::STALE
        | Errno::NODEV
        | Errno::NXIO
        | Errno::NOTCONN
        | Errno::SHUTDOWN => (blocked(Blocker::Folder), Cause::FolderMissing),
        Errno::ROFS | Errno::ACCESS | Errno::PERM => (blocked(Blocker::ReadOnly), Cause::FolderNotWritable),
        Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::AGAIN => {
            (blocked(Blocker::Resources), Cause::Resources)
        }
        Errno::FBIG => (Remedy::Permanent, Cause::FileTooLarge),
        Errno::EXIST | Errno::ISDIR | Errno::NOTEMPTY => (Remedy::Permanent, Cause::NameExists),
        Errno::NAMETOOLONG | Errno::ILSEQ | Errno::INVAL => (Remedy::Permanent, Cause::InvalidName),
        _ => (Remedy::Permanent, Cause::FileIo),
    }
}

fn words(errno: Errno) -> String {
    std::io::Error::from(errno).to_string()
}
