//! How bytes get from memory into a file: direct writes of whole pages where that pays, the page cache for the rest.
//!
//! A direct write leaves neither a copy nor dirty pages behind, so that making the file durable is cheap. Pages that
//! one write covers only in part go through the page cache; the kernel keeps the two ways coherent.

use std::os::fd::OwnedFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use longhaul_contract::ByteRange;
use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags};
use rustix::io::Errno;
use rustix::process::Resource;

use super::buffer::PAGE;
use super::folder::OpenFolder;
use crate::journal::PartIdentity;

/// Less than this is not worth a trip to the disk of its own.
const DIRECT_BYTES_MIN: usize = 256 << 10;
/// After so many bytes through the page cache the kernel is asked to begin writing them out.
const WRITEBACK_BYTES: u64 = 8 << 20;

/// An open file, and how it is best written.
#[derive(Debug)]
pub(super) struct Sink {
    descriptor: OwnedFd,
    /// The same file opened for direct writes, once that was tried.
    direct: OnceLock<Option<OwnedFd>>,
    is_direct_refused: AtomicBool,
    /// Largest file this process may make, in bytes (RLIMIT_FSIZE); beyond it the kernel would send SIGXFSZ.
    size_max: u64,
    /// Bytes written through the page cache since writeback was last begun.
    dirty: AtomicU64,
}

impl Sink {
    pub(super) fn new(descriptor: OwnedFd) -> Self {
        let size_max = rustix::process::getrlimit(Resource::Fsize).current.unwrap_or(u64::MAX);
        Self {
            descriptor,
            direct: OnceLock::new(),
            is_direct_refused: AtomicBool::new(false),
            size_max,
            dirty: AtomicU64::new(0),
        }
    }

    pub(super) fn descriptor(&self) -> &OwnedFd {
        &self.descriptor
    }

    /// Whether a file of `size` bytes is allowed to this process.
    pub(super) fn check_size(&self, size: u64) -> Result<(), Errno> {
        if size > self.size_max { Err(Errno::FBIG) } else { Ok(()) }
    }

    /// Writes through the page cache; `written` hears of each piece.
    pub(super) fn write_buffered(
        &self,
        offset: u64,
        bytes: &[u8],
        written: &mut dyn FnMut(ByteRange),
    ) -> Result<(), Errno> {
        self.check_size(offset + bytes.len() as u64)?;
        write_all(&self.descriptor, offset, bytes, written)
    }

    /// Writes, directly as far as that pays; `written` hears of each piece. `folder` and `name` are where the file can
    /// be opened once more, and `identity` tells whether that is still so.
    pub(super) fn write(
        &self,
        offset: u64,
        bytes: &[u8],
        place: &Place<'_>,
        written: &mut dyn FnMut(ByteRange),
    ) -> Result<(), Errno> {
        self.check_size(offset + bytes.len() as u64)?;
        let (head, middle) = direct_part(offset, bytes);
        let direct = if middle >= DIRECT_BYTES_MIN { self.direct(place) } else { None };
        let Some(direct) = direct else {
            write_all(&self.descriptor, offset, bytes, written)?;
            self.begin_writeback(bytes.len());
            return Ok(());
        };
        write_all(&self.descriptor, offset, &bytes[..head], written)?;
        let body = &bytes[head..head + middle];
        let mut done = 0;
        let directly = write_all(direct, offset + head as u64, body, &mut |range| {
            done += usize::try_from(range.length).expect("part of a slice");
            written(range);
        });
        match directly {
            Ok(()) => {}
            Err(Errno::INVAL | Errno::OPNOTSUPP) => {
                self.is_direct_refused.store(true, Ordering::Relaxed);
                write_all(&self.descriptor, offset + (head + done) as u64, &body[done..], written)?;
            }
            Err(errno) => return Err(errno),
        }
        write_all(&self.descriptor, offset + (head + middle) as u64, &bytes[head + middle..], written)
    }

    /// Keeps the last sync short by letting the disk begin early.
    fn begin_writeback(&self, bytes: usize) {
        if self.dirty.fetch_add(bytes as u64, Ordering::Relaxed) + (bytes as u64) < WRITEBACK_BYTES {
            return;
        }
        self.dirty.store(0, Ordering::Relaxed);
        // An error would be told by the sync that follows in any case.
        sync_file_range(&self.descriptor);
    }

    fn direct(&self, place: &Place<'_>) -> Option<&OwnedFd> {
        if self.is_direct_refused.load(Ordering::Relaxed) {
            return None;
        }
        self.direct.get_or_init(|| place.open_direct().ok().flatten()).as_ref()
    }
}

/// Where a part file is.
#[derive(Debug)]
pub(super) struct Place<'a> {
    pub(super) folder: &'a OpenFolder,
    pub(super) name: &'a str,
    pub(super) identity: PartIdentity,
}

impl Place<'_> {
    /// `None` where direct writes are unknown to pay, or the name has come to mean another file.
    fn open_direct(&self) -> Result<Option<OwnedFd>, Errno> {
        if !is_local_disk(self.folder)? {
            return Ok(None);
        }
        let flags = OFlags::WRONLY | OFlags::DIRECT | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(&self.folder.descriptor, self.name, flags, Mode::empty())?;
        let wanted = StatxFlags::BASIC_STATS | StatxFlags::BTIME | StatxFlags::DIOALIGN;
        let seen = rustix::fs::statx(&opened, "", AtFlags::EMPTY_PATH, wanted)?;
        if super::identity::of_statx(&seen) != self.identity {
            return Ok(None);
        }
        let is_aligned = |unit: u32| unit > 0 && PAGE.is_multiple_of(unit as usize);
        let is_known = seen.stx_mask & StatxFlags::DIOALIGN.bits() != 0;
        let fits = is_aligned(seen.stx_dio_mem_align) && is_aligned(seen.stx_dio_offset_align);
        Ok((!is_known || fits).then_some(opened))
    }
}

/// File systems whose direct writes go straight to a block device, and whose `syncfs` is a true barrier.
pub(super) fn is_local_disk(folder: &OpenFolder) -> Result<bool, Errno> {
    const EXT: u64 = 0xEF53;
    const XFS: u64 = 0x5846_5342;
    const BTRFS: u64 = 0x9123_683E;
    const F2FS: u64 = 0xF2F5_2010;
    const BCACHEFS: u64 = 0xCA45_1A4E;
    let kind = rustix::fs::fstatfs(&folder.descriptor)?.f_type as u64 & 0xFFFF_FFFF;
    Ok(matches!(kind, EXT | XFS | BTRFS | F2FS | BCACHEFS))
}

/// Length of what lies before the first page boundary, and of the whole pages behind it, where memory and file agree
/// on the boundaries; else there are no such pages.
fn direct_part(offset: u64, bytes: &[u8]) -> (usize, usize) {
    let into_page = usize::try_from(offset % PAGE as u64).expect("less than a page");
    if bytes.as_ptr() as usize % PAGE != into_page {
        return (0, 0);
    }
    let head = ((PAGE - into_page) % PAGE).min(bytes.len());
    (head, (bytes.len() - head) / PAGE * PAGE)
}

fn write_all(
    descriptor: &OwnedFd,
    mut offset: u64,
    mut bytes: &[u8],
    written: &mut dyn FnMut(ByteRange),
) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::pwrite(descriptor, bytes, offset) {
            Ok(0) => return Err(Errno::NOSPC),
            Ok(count) => {
                written(ByteRange::new(offset, count as u64));
                offset += count as u64;
                bytes = &bytes[count..];
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Begins writing out all dirty pages of the file, without waiting.
fn sync_file_range(descriptor: &OwnedFd) {
    use std::os::fd::AsRawFd as _;
    // SAFETY: the call takes a descriptor that is open as long as `descriptor` is borrowed, and no memory.
    let _ = unsafe { libc::sync_file_range(descriptor.as_raw_fd(), 0, 0, libc::SYNC_FILE_RANGE_WRITE) };
}

/// Reads up to `bytes.len()` bytes at `offset`; fewer only at the end of the file.
pub(super) fn read_full(descriptor: &OwnedFd, offset: u64, bytes: &mut [u8]) -> Result<usize, Errno> {
    let mut filled = 0;
    while filled < bytes.len() {
        match rustix::io::pread(descriptor, &mut bytes[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(filled)
}
