//! The part file of one download.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use longhaul_contract::{ByteRange, ChecksumAlgorithm, Failure, OperationId, RangeSet};
use rustix::fs::{AtFlags, FallocateFlags, Mode, OFlags, StatxFlags};
use rustix::io::Errno;
use tokio::sync::watch;

use super::buffer::{BUFFER_BYTES_MAX, Buffer, BufferPool, PAGE};
use super::failure::io_failure;
use super::{Files, Folder, blocking};
use crate::digest::MultiHasher;
use crate::journal::PartIdentity;

/// An open part file. Cheap to clone; all clones mean the same file. Dropping it leaves the file on disk.
#[derive(Debug, Clone)]
pub struct PartFile {
    pub(super) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) folder: Folder,
    pub(super) name: String,
    pub(super) part_name: String,
    pub(super) descriptor: OwnedFd,
    pub(super) identity: PartIdentity,
    pool: BufferPool,
    state: Mutex<State>,
    growth: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    written: RangeSet,
    durable: RangeSet,
    digests: Vec<ChecksumAlgorithm>,
}

/// The name of the part file of download `id` that is to become `name`, at most 255 bytes long.
pub(super) fn part_name(name: &str, id: OperationId) -> String {
    let tail = format!(".{id}.part");
    let mut end = name.len().min(254 - tail.len());
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!(".{}{tail}", &name[..end])
}

pub(super) fn identity_of(descriptor: &OwnedFd) -> Result<PartIdentity, Errno> {
    let wanted = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
    let seen = rustix::fs::statx(descriptor, "", AtFlags::EMPTY_PATH, wanted)?;
    Ok(identity_from(&seen))
}

pub(super) fn identity_from(seen: &rustix::fs::Statx) -> PartIdentity {
    let is_born_known = seen.stx_mask & StatxFlags::BTIME.bits() != 0;
    let born = i128::from(seen.stx_btime.tv_sec) * 1_000_000_000 + i128::from(seen.stx_btime.tv_nsec);
    PartIdentity {
        device: rustix::fs::makedev(seen.stx_dev_major, seen.stx_dev_minor),
        inode: seen.stx_ino,
        born: if is_born_known { born } else { 0 },
    }
}

impl PartFile {
    pub(super) async fn create(
        files: &Files,
        folder: &Folder,
        name: &str,
        id: OperationId,
        _total: Option<u64>,
    ) -> Result<Self, Failure> {
        let (folder, name, pool) = (folder.clone(), name.to_owned(), files.pool.clone());
        blocking(move || {
            let part_name = part_name(&name, id);
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let made =
                rustix::fs::openat(&folder.shared.descriptor, &part_name, flags, Mode::RUSR | Mode::WUSR)
                    .and_then(|descriptor| Ok((identity_of(&descriptor)?, descriptor)));
            let (identity, descriptor) =
                made.map_err(|errno| io_failure("create a file in", folder.path(), errno))?;
            Ok(Self::assemble(folder, name, part_name, descriptor, identity, pool, RangeSet::new()))
        })
        .await
    }

    pub(super) fn assemble(
        folder: Folder,
        name: String,
        part_name: String,
        descriptor: OwnedFd,
        identity: PartIdentity,
        pool: BufferPool,
        durable: RangeSet,
    ) -> Self {
        let state = State { written: durable.clone(), durable, digests: Vec::new() };
        Self {
            shared: Arc::new(Shared {
                folder,
                name,
                part_name,
                descriptor,
                identity,
                pool,
                state: Mutex::new(state),
                growth: watch::Sender::new(0),
            }),
        }
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

    /// Reserves disk space for `total` bytes, where the file system can, without writing zeros.
    ///
    /// # Errors
    /// The disk or quota cannot hold them, or the file system has no files that large.
    pub async fn reserve(&self, total: u64) -> Result<(), Failure> {
        let shared = Arc::clone(&self.shared);
        blocking(move || {
            match rustix::fs::fallocate(&shared.descriptor, FallocateFlags::KEEP_SIZE, 0, total.max(1)) {
                Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(()),
                Err(errno) => Err(io_failure("reserve space in", shared.folder.path(), errno)),
            }
        })
        .await
    }

    /// Memory for up to `wanted` bytes that will be written at `offset`. Waits while the service's budget is
    /// exhausted; the capacity may be smaller than `wanted` and is chosen so that the next buffer starts on a page
    /// boundary. Ask for no more than will soon arrive: a held buffer is one that others wait for.
    pub async fn buffer(&self, offset: u64, wanted: usize) -> Buffer {
        let lead = usize::try_from(offset % PAGE as u64).expect("less than a page");
        let pages = (lead + wanted.clamp(1, BUFFER_BYTES_MAX - lead)).div_ceil(PAGE);
        self.shared.pool.take(pages * PAGE - lead).await
    }

    /// Queues `data` for writing at `offset`; waits while too much is queued already. Overlaps with receiving.
    ///
    /// # Errors
    /// This or an earlier queued write failed; each error is told once, and [`Self::readable`] is the truth.
    pub async fn write(&self, offset: u64, data: Buffer) -> Result<(), Failure> {
        let shared = Arc::clone(&self.shared);
        blocking(move || shared.write_now(offset, data.filled())).await
    }

    /// What is written and can be read, durable or not.
    #[must_use]
    pub fn readable(&self) -> RangeSet {
        self.shared.state().written.clone()
    }

    /// Makes durable all that was queued before and tells what now is durable.
    ///
    /// # Errors
    /// An earlier write failed, or the sync did: then whatever was not durable before is void.
    pub async fn sync(&self) -> Result<RangeSet, Failure> {
        let shared = Arc::clone(&self.shared);
        blocking(move || shared.sync_now()).await
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
        let mut state = self.shared.state();
        state.written.remove(range);
        state.durable.remove(range);
    }

    /// All bytes are void: truncates to 0.
    ///
    /// # Errors
    /// The file cannot be truncated.
    pub async fn restart(&self) -> Result<(), Failure> {
        let shared = Arc::clone(&self.shared);
        blocking(move || {
            {
                let mut state = shared.state();
                state.written = RangeSet::new();
                state.durable = RangeSet::new();
            }
            rustix::fs::ftruncate(&shared.descriptor, 0)
                .map_err(|errno| io_failure("truncate", &shared.path(), errno))
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
        PartReader { shared: Arc::clone(&self.shared), growth: self.shared.growth.subscribe() }
    }

    /// Hashes with `algorithms` from now on; call it before the first write of an attempt. Bytes that arrive in order
    /// are hashed on their way to disk, others are read back.
    pub fn start_digests(&self, algorithms: Vec<ChecksumAlgorithm>) {
        self.shared.state().digests = algorithms;
    }

    /// The digests of bytes `0..total`, all of which must have been written.
    ///
    /// # Errors
    /// A write failed, or the file cannot be read back.
    pub async fn finish_digests(&self, total: u64) -> Result<Vec<(ChecksumAlgorithm, Vec<u8>)>, Failure> {
        let algorithms = self.shared.state().digests.clone();
        let mut hasher = MultiHasher::new(&algorithms);
        let mut position = 0;
        while position < total {
            let length = usize::try_from(total - position).unwrap_or(usize::MAX).min(BUFFER_BYTES_MAX);
            let bytes = self.read_at(position, length).await?;
            if bytes.is_empty() {
                return Err(io_failure("read back", &self.shared.path(), Errno::IO));
            }
            hasher.update(&bytes);
            position += bytes.len() as u64;
        }
        Ok(hasher.finish())
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }

    pub(super) fn path(&self) -> String {
        format!("{}/{}", self.folder.path(), self.part_name)
    }

    fn write_now(&self, offset: u64, mut bytes: &[u8]) -> Result<(), Failure> {
        let mut position = offset;
        while !bytes.is_empty() {
            match rustix::io::pwrite(&self.descriptor, bytes, position) {
                Ok(count) => {
                    self.state().written.insert(ByteRange::new(position, count as u64));
                    position += count as u64;
                    bytes = &bytes[count..];
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(io_failure("write", &self.path(), errno)),
            }
        }
        self.growth.send_modify(|generation| *generation += 1);
        Ok(())
    }

    pub(super) fn sync_now(&self) -> Result<RangeSet, Failure> {
        let written = self.state().written.clone();
        let synced = rustix::fs::fdatasync(&self.descriptor);
        let mut state = self.state();
        match synced {
            Ok(()) => {
                state.durable.extend(&written);
                Ok(state.durable.clone())
            }
            Err(errno) => {
                state.written = state.durable.clone();
                Err(io_failure("make durable", &self.path(), errno))
            }
        }
    }
}

/// Reads a part file that is being filled; works on also after publication.
#[derive(Debug, Clone)]
pub struct PartReader {
    shared: Arc<Shared>,
    growth: watch::Receiver<u64>,
}

impl PartReader {
    #[must_use]
    pub fn readable(&self) -> RangeSet {
        self.shared.state().written.clone()
    }

    /// Waits until a byte at `offset` is readable and tells how many follow it without a gap; `None` when every
    /// [`PartFile`] of this file is dropped first.
    pub async fn wait(&mut self, offset: u64) -> Option<u64> {
        loop {
            self.growth.mark_unchanged();
            let available = self.shared.state().written.available_from(offset);
            if available > 0 {
                return Some(available);
            }
            self.growth.changed().await.ok()?;
        }
    }

    /// Reads what is there from `offset` on, at most `length` bytes; empty when nothing is.
    ///
    /// # Errors
    /// The disk cannot read.
    pub async fn read_at(&self, offset: u64, length: usize) -> Result<Bytes, Failure> {
        let shared = Arc::clone(&self.shared);
        let available = self.shared.state().written.available_from(offset);
        let wanted = length.min(usize::try_from(available).unwrap_or(usize::MAX));
        blocking(move || {
            let mut bytes = vec![0; wanted];
            let mut filled = 0;
            while filled < wanted {
                match rustix::io::pread(&shared.descriptor, &mut bytes[filled..], offset + filled as u64) {
                    Ok(0) => break,
                    Ok(count) => filled += count,
                    Err(Errno::INTR) => {}
                    Err(errno) => return Err(io_failure("read", &shared.path(), errno)),
                }
            }
            bytes.truncate(filled);
            Ok(Bytes::from(bytes))
        })
        .await
    }
}
