//! What an earlier attempt left: a table over what the journal says and what lies on disk.

use longhaul_contract::{Failure, OperationId};
use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags};
use rustix::io::Errno;

use super::failure::io_failure;
use super::part::{identity_from, identity_of, part_name};
use super::{Files, Folder, PartFile, blocking};
use crate::journal::{JournalRecord, PartIdentity};

/// What is there of an earlier attempt.
#[derive(Debug)]
pub enum Recovered {
    /// Its part file, holding what the journal recorded.
    Part(PartFile),
    /// The file has its final name already, durably.
    Published { name: String, size: u64 },
    /// Nothing.
    Missing,
    /// Another file has the part file's name; it is not ours to touch.
    Replaced,
}

pub(super) async fn recover(
    files: &Files,
    folder: &Folder,
    id: OperationId,
    record: &JournalRecord,
) -> Result<Recovered, Failure> {
    let (folder, record, pool) = (folder.clone(), record.clone(), files.pool.clone());
    blocking(move || {
        let part_name = part_name(&record.name, id);
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        match rustix::fs::openat(&folder.shared.descriptor, &part_name, flags, Mode::empty()) {
            Ok(descriptor) => {
                let identity =
                    identity_of(&descriptor).map_err(|errno| io_failure("look at", &part_name, errno))?;
                if identity != record.part {
                    return Ok(Recovered::Replaced);
                }
                Ok(Recovered::Part(PartFile::assemble(
                    folder,
                    record.name,
                    part_name,
                    descriptor,
                    identity,
                    pool,
                    record.ranges,
                )))
            }
            Err(Errno::NOENT) => find_published(&folder, &record),
            Err(errno) => Err(io_failure("open", &format!("{}/{part_name}", folder.path()), errno)),
        }
    })
    .await
}

fn find_published(folder: &Folder, record: &JournalRecord) -> Result<Recovered, Failure> {
    let Some(name) = &record.publish_as else { return Ok(Recovered::Missing) };
    match look_at(folder, name) {
        Ok(Some((identity, size))) if identity == record.part => {
            rustix::fs::fsync(&folder.shared.descriptor)
                .map_err(|errno| io_failure("make durable", folder.path(), errno))?;
            Ok(Recovered::Published { name: name.clone(), size })
        }
        Ok(_) => Ok(Recovered::Missing),
        Err(errno) => Err(io_failure("look at", &format!("{}/{name}", folder.path()), errno)),
    }
}

fn look_at(folder: &Folder, name: &str) -> Result<Option<(PartIdentity, u64)>, Errno> {
    let wanted = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
    match rustix::fs::statx(&folder.shared.descriptor, name, AtFlags::SYMLINK_NOFOLLOW, wanted) {
        Ok(seen) => Ok(Some((identity_from(&seen), seen.stx_size))),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

pub(super) async fn discard(
    folder_path: String,
    id: OperationId,
    record: &JournalRecord,
) -> Result<(), Failure> {
    let record = record.clone();
    blocking(move || {
        let folder = match Folder::open(&folder_path) {
            Ok(folder) => folder,
            Err(failure) if failure.cause == longhaul_contract::Cause::FolderMissing => return Ok(()),
            Err(failure) => return Err(failure),
        };
        let name = part_name(&record.name, id);
        let removed = match look_at(&folder, &name) {
            Ok(Some((identity, _))) if identity == record.part => {
                rustix::fs::unlinkat(&folder.shared.descriptor, &name, AtFlags::empty())
            }
            Ok(_) => Ok(()),
            Err(errno) => Err(errno),
        };
        removed.map_err(|errno| io_failure("remove", &format!("{folder_path}/{name}"), errno))
    })
    .await
}
