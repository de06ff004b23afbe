//! What an earlier attempt left: a table over what the journal says and what lies on disk.
//!
//! | part file | file at `publish_as` | means |
//! |---|---|---|
//! | ours | not ours, or none recorded | go on with what the journal says is there |
//! | ours | ours as well | the old way of renaming was cut short between link and unlink: published |
//! | gone | ours | published |
//! | gone | not ours, or none recorded | nothing is left |
//! | not ours | ours | published |
//! | not ours | not ours, or none recorded | replaced by somebody |

use std::os::fd::OwnedFd;

use longhaul_contract::{ByteRange, Cause, Failure, OperationId};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use super::failure::io_failure;
use super::folder::{Folder, OpenFolder};
use super::part::unlink_ours;
use super::shared::Parts;
use super::{Files, PartFile, blocking, identity};
use crate::journal::{JournalRecord, PartIdentity};

/// What is there of an earlier attempt.
#[derive(Debug)]
pub enum Recovered {
    /// Its part file, holding what the journal recorded and the file still is long enough for.
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
    let (files, folder, record) = (files.clone(), folder.clone(), record.clone());
    blocking(move || {
        let place = folder.shared.path.clone();
        recover_now(&files, folder, id, record)
            .map_err(|errno| io_failure("look for a part file in", &place, errno))
    })
    .await
}

/// What a directory entry is to a download.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    Ours { size: u64 },
    NotOurs,
    Gone,
}

fn recover_now(
    files: &Files,
    folder: Folder,
    id: OperationId,
    record: JournalRecord,
) -> Result<Recovered, Errno> {
    let (part, part_name) = find_part(&folder.shared, id, &record)?;
    let published = match &record.publish_as {
        Some(name) => look(&folder.shared, name, record.part)?,
        None => Entry::Gone,
    };
    match (part, published, record.publish_as.clone()) {
        (part, Entry::Ours { size }, Some(name)) => {
            if let Entry::Ours { .. } = part {
                unlink_ours(&folder.shared, &part_name, record.part)?;
            }
            rustix::fs::fsync(&folder.shared.descriptor)?;
            Ok(Recovered::Published { name, size })
        }
        (Entry::Ours { size }, ..) => open_part(files, folder, part_name, record, size),
        (Entry::Gone, ..) => Ok(Recovered::Missing),
        (Entry::NotOurs, ..) => Ok(Recovered::Replaced),
    }
}

fn look(folder: &OpenFolder, name: &str, expected: PartIdentity) -> Result<Entry, Errno> {
    Ok(match identity::look_for(folder, name)? {
        Some(seen)
            if identity::of_statx(&seen) == expected
                && FileType::from_raw_mode(u32::from(seen.stx_mode)).is_file() =>
        {
            Entry::Ours { size: seen.stx_size }
        }
        Some(_) => Entry::NotOurs,
        None => Entry::Gone,
    })
}

/// The part file under whichever of its names it has.
fn find_part(folder: &OpenFolder, id: OperationId, record: &JournalRecord) -> Result<(Entry, String), Errno> {
    let mut best = (Entry::Gone, String::new());
    for name in identity::part_names(&record.name, id) {
        match look(folder, &name, record.part)? {
            found @ Entry::Ours { .. } => return Ok((found, name)),
            Entry::NotOurs => best = (Entry::NotOurs, name),
            Entry::Gone => {}
        }
    }
    Ok(best)
}

fn open_part(
    files: &Files,
    folder: Folder,
    part_name: String,
    record: JournalRecord,
    size: u64,
) -> Result<Recovered, Errno> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let descriptor = match rustix::fs::openat(&folder.shared.descriptor, &part_name, flags, Mode::empty()) {
        Ok(descriptor) => descriptor,
        Err(Errno::NOENT) => return Ok(Recovered::Missing),
        Err(Errno::LOOP) => return Ok(Recovered::Replaced),
        Err(errno) => return Err(errno),
    };
    if opened_identity(&descriptor)? != record.part {
        return Ok(Recovered::Replaced);
    }
    let mut durable = record.ranges;
    durable.remove(ByteRange::from_bounds(size, u64::MAX));
    let (pool, ledger) = (files.shared.pool.clone(), files.shared.ledger.clone());
    let (name, identity) = (record.name, record.part);
    let parts = Parts { folder, name, part_name, identity, descriptor, pool, ledger, durable };
    Ok(Recovered::Part(PartFile::assemble(parts)))
}

fn opened_identity(descriptor: &OwnedFd) -> Result<PartIdentity, Errno> {
    Ok(identity::of_statx(&identity::look_at(descriptor)?))
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
            Err(failure) if failure.cause == Cause::FolderMissing => return Ok(()),
            Err(failure) => return Err(failure),
        };
        let removed = find_part(&folder.shared, id, &record).and_then(|(found, name)| match found {
            Entry::Ours { .. } => unlink_ours(&folder.shared, &name, record.part),
            Entry::NotOurs | Entry::Gone => Ok(()),
        });
        removed.map_err(|errno| io_failure("remove a part file in", &folder_path, errno))
    })
    .await
}
