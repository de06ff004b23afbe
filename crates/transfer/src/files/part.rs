//! The part file of one download, as its worker holds it.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use longhaul_contract::{
    Blocker, ByteRange, Cause, ChecksumAlgorithm, Failure, OperationId, RangeSet, Remedy,
};
use rustix::fs::{AtFlags, FallocateFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use tokio::sync::watch;

use super::buffer::{BUFFER_BYTES_MAX, Buffer, PAGE};
use super::failure::{failure, io_failure};
use super::folder::{Folder, OpenFolder};
use super::reader::PartReader;
use super::shared::{Parts, Shared};
use super::{Files, blocking, identity};
use crate::journal::PartIdentity;

/// Files up to this size are not worth a reservation: their blocks are found when they are written.
const RESERVE_BYTES_MIN: u64 = 1 << 20;

/// An open part file. Cheap to clone; all clones mean the same file. Dropping it leaves the file on disk.
#[derive(Debug, Clone)]
pub struct PartFile {
    pub(super) shared: Arc<Shared>,
    _owner: Arc<Owner>,
}

/// Tells readers when the last [`PartFile`] is gone.
#[derive(Debug)]
struct Owner(Arc<Shared>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.is_closed.store(true, Ordering::Release);
        self.0.growth.send_modify(|generation| *generation = generation.wrapping_add(1));
    }
}

impl PartFile {
    pub(super) async fn create(
        files: &Files,
        folder: &Folder,
        name: &str,
        id: OperationId,
    ) -> Result<Self, Failure> {
        let (folder, name) = (folder.clone(), name.to_owned());
        // As with small writes: on a disk of this machine it is over sooner than a change of threads.
        let (part_name, descriptor, identity) = if folder.shared.is_local {
            create_in(&folder.shared, &name, id)?
        } else {
            let (folder, name) = (folder.clone(), name.clone());
            blocking(move || create_in(&folder.shared, &name, id)).await?
        };
        let (pool, ledger) = (files.shared.pool.clone(), files.shared.ledger.clone());
        let durable = RangeSet::new();
        Ok(Self::assemble(Parts { folder, name, part_name, identity, descriptor, pool, ledger, durable }))
    }

    pub(super) fn assemble(parts: Parts) -> Self {
        let shared = Arc::new(Shared::new(parts));
        Self { _owner: Arc::new(Owner(Arc::clone(&shared))), shared }
    }

    #[must_use]
    pub fn identity(&self) -> PartIdentity {
        self.shared.identity
    }

    /// The name it was created for; to be kept as [`crate::JournalRecord::name`].
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    #[must_use]
    pub fn folder(&self) -> &Folder {
        &self.shared.folder
    }

    /// Reserves disk space for a file of `total` bytes: with blocks where the file system can, never by writing
    /// zeros, else in the ledger of what admitted downloads still need. Repeatable, also with another size.
    ///
    /// # Errors
    /// The disk or quota cannot hold them (blocked on disk space), or the file system or this process may not have
    /// files that large (permanent).
    pub async fn reserve(&self, total: u64) -> Result<(), Failure> {
        let shared = Arc::clone(&self.shared);
        if total <= RESERVE_BYTES_MIN {
            shared.state().reserved = Some(total);
            return Ok(());
        }
        blocking(move || reserve(&shared, total)).await
    }

    /// Memory for at most `wanted` bytes (at least one) that will be written at `offset`. The capacity may be smaller
    /// than `wanted`, never larger. Waits while the service's budget is exhausted, so ask for no more than will soon
    /// arrive: a buffer that is held is one that others wait for.
    ///
    /// Large runs of whole pages take the fastest way to the disk. A buffer that is filled to its end leaves the next
    /// offset on a page boundary, unless `wanted` ended it before.
    pub async fn buffer(&self, offset: u64, wanted: usize) -> Buffer {
        let lead = usize::try_from(offset % PAGE as u64).expect("less than a page");
        self.shared.pool.take(lead, wanted.min(BUFFER_BYTES_MAX)).await
    }

    /// Queues `data` for writing at `offset` and for hashing; waits while too much is queued already. The write
    /// overlaps with what the caller does next. `data` should come from [`Self::buffer`] for the same offset.
    ///
    /// # Errors
    /// An earlier write failed. Each error is told once, here or by [`Self::sync`]; [`Self::readable`] is the truth.
    pub async fn write(&self, offset: u64, data: Buffer) -> Result<(), Failure> {
        self.shared.tell_error()?;
        if data.is_empty() {
            return Ok(());
        }
        let data = Arc::new(data);
        self.shared.offer_to_hashing(offset, &data).await;
        self.shared.enqueue(offset, data).await;
        self.shared.tell_error()
    }

    /// What is written and can be read, durable or not.
    #[must_use]
    pub fn readable(&self) -> RangeSet {
        self.shared.state().written.clone()
    }

    /// Makes durable all that was queued before and tells what now is durable. Cheap when nothing is new.
    ///
    /// # Errors
    /// An earlier write failed, or the sync did: then whatever was not durable before is void.
    pub async fn sync(&self) -> Result<RangeSet, Failure> {
        self.shared.settle().await;
        self.shared.tell_error()?;
        let shared = Arc::clone(&self.shared);
        blocking(move || shared.sync_written()).await
    }

    /// Reads what is there from `offset` on, at most `length` bytes; empty when nothing is.
    ///
    /// # Errors
    /// The disk cannot read.
    pub async fn read_at(&self, offset: u64, length: usize) -> Result<Bytes, Failure> {
        self.reader().read_at(offset, length).await
    }

    /// The bytes of `range` are void and will be fetched again.
    pub async fn forget(&self, range: ByteRange) {
        self.shared.settle().await;
        {
            let mut state = self.shared.state();
            state.written.remove(range);
            state.durable.remove(range);
            state.voided += 1;
        }
        self.shared.hashing.forget_from(range.offset);
    }

    /// All bytes are void: truncates to 0, which also gives up the reservation.
    ///
    /// # Errors
    /// The file cannot be truncated.
    pub async fn restart(&self) -> Result<(), Failure> {
        self.shared.settle().await;
        {
            let mut state = self.shared.state();
            state.written = RangeSet::new();
            state.durable = RangeSet::new();
            state.voided += 1;
            state.error = None;
            state.claim = None;
            state.reserved = None;
        }
        self.shared.hashing.start_over();
        let shared = Arc::clone(&self.shared);
        blocking(move || {
            rustix::fs::ftruncate(shared.sink.descriptor(), 0)
                .map_err(|errno| shared.failed("truncate", errno))
        })
        .await
    }

    /// Changes whenever [`Self::readable`] grows.
    #[must_use]
    pub fn growth(&self) -> watch::Receiver<u64> {
        self.shared.growth.subscribe()
    }

    /// For others that read while this file is being filled.
    #[must_use]
    pub fn reader(&self) -> PartReader {
        PartReader::new(Arc::clone(&self.shared))
    }

    /// Hashes with `algorithms` from now on; nothing is hashed otherwise. Bytes that arrive in order are hashed on
    /// their way to disk, what lies in the file already or came out of order is read back in the background.
    pub fn start_digests(&self, algorithms: Vec<ChecksumAlgorithm>) {
        self.shared.hashing.start(algorithms);
        self.shared.continue_hashing();
    }

    /// The digests of bytes `0..total`, all of which must have been written; empty when none were started. Ends
    /// hashing.
    ///
    /// # Errors
    /// A write failed, or the file cannot be read back.
    pub async fn finish_digests(&self, total: u64) -> Result<Vec<(ChecksumAlgorithm, Vec<u8>)>, Failure> {
        self.shared.settle().await;
        self.shared.tell_error()?;
        self.shared.finish_hashing(total).await
    }

    /// Deletes the file, if its name still is that of the file we made.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub async fn discard(self) -> Result<(), Failure> {
        self.shared.settle().await;
        let shared = Arc::clone(&self.shared);
        blocking(move || {
            unlink_ours(shared.open_folder(), &shared.part_name, shared.identity)
                .map_err(|errno| shared.failed("remove", errno))
        })
        .await
    }
}

/// Removes `name` only if it is the file of that identity (row 92 of the faults).
pub(super) fn unlink_ours(folder: &OpenFolder, name: &str, identity: PartIdentity) -> Result<(), Errno> {
    if !identity::is_still(folder, name, identity)? {
        return Ok(());
    }
    match rustix::fs::unlinkat(&folder.descriptor, name, AtFlags::empty()) {
        Err(Errno::NOENT) => Ok(()),
        removed => removed,
    }
}

type Created = (String, OwnedFd, PartIdentity);

fn create_in(folder: &OpenFolder, name: &str, id: OperationId) -> Result<Created, Failure> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let explain = |errno| io_failure("create a file in", &folder.path, errno);
    for part_name in identity::part_names(name, id) {
        let made = rustix::fs::openat(&folder.descriptor, &part_name, flags, Mode::RUSR | Mode::WUSR);
        let descriptor = match made {
            Ok(descriptor) => Some(descriptor),
            Err(Errno::EXIST) => adopt(folder, &part_name).map_err(explain)?,
            Err(errno) => return Err(explain(errno)),
        };
        if let Some(descriptor) = descriptor {
            let seen = identity::look_at(&descriptor).map_err(explain)?;
            return Ok((part_name, descriptor, identity::of_statx(&seen)));
        }
    }
    let detail =
        format!("other files in {} have all the names a part file of {name:?} could have", folder.path);
    Err(failure(Remedy::Permanent, Cause::NameExists, detail))
}

/// A part file that was made and never recorded, because the service died in between. Its name carries the id of the
/// operation, and it has the owner and the mode this service gives: its bytes are void, the file is taken over.
fn adopt(folder: &OpenFolder, part_name: &str) -> Result<Option<OwnedFd>, Errno> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let Ok(descriptor) = rustix::fs::openat(&folder.descriptor, part_name, flags, Mode::empty()) else {
        return Ok(None);
    };
    let seen = rustix::fs::fstat(&descriptor)?;
    let is_orphan = FileType::from_raw_mode(seen.st_mode).is_file()
        && Mode::from_raw_mode(seen.st_mode) == Mode::RUSR | Mode::WUSR
        && seen.st_nlink == 1
        && seen.st_uid == rustix::process::geteuid().as_raw();
    if !is_orphan {
        return Ok(None);
    }
    rustix::fs::ftruncate(&descriptor, 0)?;
    Ok(Some(descriptor))
}

fn reserve(shared: &Shared, total: u64) -> Result<(), Failure> {
    let too_large =
        |detail: &str| failure(Remedy::Permanent, Cause::FileTooLarge, format!("{total} bytes: {detail}"));
    if shared.sink.check_size(total).is_err() {
        return Err(too_large("the service may not make files that large (ulimit -f)"));
    }
    if i64::try_from(total).is_err() {
        return Err(too_large("Linux has no files that large"));
    }
    let folder = shared.open_folder();
    match allocate(shared.sink.descriptor(), total) {
        Ok(()) => {
            let mut state = shared.state();
            state.reserved = Some(total);
            state.claim = None;
            Ok(())
        }
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => claim(shared, total),
        Err(Errno::FBIG) => {
            Err(too_large(&format!("the file system of {} has no files that large", folder.path)))
        }
        Err(errno @ (Errno::NOSPC | Errno::DQUOT)) => {
            // Part of the space may have been taken before it ran out.
            if let Ok(seen) = rustix::fs::fstat(shared.sink.descriptor()) {
                let _ = rustix::fs::ftruncate(shared.sink.descriptor(), seen.st_size.cast_unsigned());
            }
            let free = available(folder).map_or_else(|_| String::new(), |free| format!(", {free} are free"));
            Err(disk_full(folder, total, &format!("{}{free}", std::io::Error::from(errno))))
        }
        Err(errno) => Err(shared.failed("reserve space for", errno)),
    }
}

fn allocate(descriptor: &OwnedFd, total: u64) -> Result<(), Errno> {
    loop {
        match rustix::fs::fallocate(descriptor, FallocateFlags::KEEP_SIZE, 0, total) {
            Err(Errno::INTR) => {}
            allocated => return allocated,
        }
    }
}

/// Without blocks to hold, the ledger keeps admitted downloads from promising the same space twice.
fn claim(shared: &Shared, total: u64) -> Result<(), Failure> {
    let folder = shared.open_folder();
    let available = available(folder).map_err(|errno| shared.failed("look at the free space for", errno))?;
    let mut state = shared.state();
    state.claim = None;
    let needed = total.saturating_sub(state.written.bytes());
    match shared.ledger.claim(shared.identity.device, needed, available) {
        Ok(claim) => {
            state.claim = Some(claim);
            state.reserved = Some(total);
            Ok(())
        }
        Err(short) => {
            let why = format!("{} are free and not promised to other downloads", short.free);
            Err(disk_full(folder, needed, &why))
        }
    }
}

fn available(folder: &OpenFolder) -> Result<u64, Errno> {
    let seen = rustix::fs::fstatvfs(&folder.descriptor)?;
    Ok(seen.f_bavail.saturating_mul(seen.f_frsize))
}

fn disk_full(folder: &OpenFolder, needed: u64, why: &str) -> Failure {
    let detail = format!("{} has no room for {needed} bytes: {why}", folder.path);
    failure(Remedy::Blocked { on: Blocker::DiskSpace }, Cause::DiskFull, detail)
}
