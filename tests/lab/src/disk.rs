//! Disks that are full, read-only, or of a kind one does not have at hand. Needs root: mounts are the machine's.

use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};
use tempfile::TempDir;

use crate::process::program;

/// A file system of its own, unmounted and deleted when dropped.
pub struct Disk {
    folder: TempDir,
    is_mounted: bool,
}

/// File systems that can be made in an image file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageKind {
    Ext4,
    Vfat,
}

impl Disk {
    /// A memory file system of `bytes`, rounded up to whole pages by the kernel.
    ///
    /// # Panics
    /// The caller may not mount.
    #[must_use]
    pub fn tmpfs(bytes: u64) -> Self {
        let mut disk = Self::prepare();
        disk.plug_in_tmpfs(bytes);
        disk
    }

    /// Mounts another, empty memory file system in place of one that was pulled.
    ///
    /// # Panics
    /// The caller may not mount.
    pub fn plug_in_tmpfs(&mut self, bytes: u64) {
        let options = std::ffi::CString::new(format!("size={bytes}")).expect("no NUL inside");
        let mounted = mount("longhaul-lab", self.path(), "tmpfs", MountFlags::empty(), options.as_c_str());
        self.note_mount(mounted.map_err(|e| format!("tmpfs: {e}")));
    }

    /// A file system in an image of `bytes`, by way of a loop device.
    ///
    /// # Panics
    /// The caller may not mount, or the kernel or the machine lacks the file system.
    #[must_use]
    pub fn image(kind: ImageKind, bytes: u64) -> Self {
        let mut disk = Self::prepare();
        let image = disk.folder.path().join("image");
        std::fs::File::create(&image).and_then(|file| file.set_len(bytes)).expect("a temporary file");
        let mut make = match kind {
            ImageKind::Ext4 => {
                let mut make = Command::new(program("mkfs.ext4", "e2fsprogs"));
                make.args(["-q", "-F", "-m", "0"]);
                make
            }
            ImageKind::Vfat => Command::new(program("mkfs.vfat", "dosfstools")),
        };
        run(make.arg(&image));
        let mut command = Command::new(program("mount", "mount"));
        let outcome = command.args(["-o", "loop"]).arg(&image).arg(disk.path()).output();
        let outcome = outcome.map_err(|e| e.to_string()).and_then(|output| {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            if output.status.success() { Ok(()) } else { Err(text) }
        });
        disk.note_mount(outcome);
        disk
    }

    fn prepare() -> Self {
        let folder = tempfile::Builder::new().prefix("longhaul-disk-").tempdir().expect("a temporary folder");
        std::fs::create_dir(folder.path().join("mount")).expect("a writable temporary folder");
        Self { folder, is_mounted: false }
    }

    #[track_caller]
    fn note_mount(&mut self, outcome: Result<(), String>) {
        if let Err(problem) = outcome {
            panic!("cannot mount a test disk (this needs root): {problem}");
        }
        self.is_mounted = true;
    }

    /// Where the file system is mounted.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("mount")
    }

    /// Remounts for reading only. Fails while a file is open for writing.
    ///
    /// # Errors
    /// The kernel's word for what is in the way.
    pub fn set_read_only(&self, is_read_only: bool) -> std::io::Result<()> {
        let flags = if is_read_only { MountFlags::RDONLY } else { MountFlags::empty() };
        Ok(mount_remount(self.path(), flags, c"")?)
    }

    /// Resizes a memory file system.
    ///
    /// # Panics
    /// It is no memory file system.
    pub fn resize(&self, bytes: u64) {
        let options = std::ffi::CString::new(format!("size={bytes}")).expect("no NUL inside");
        mount_remount(self.path(), MountFlags::empty(), options.as_c_str())
            .expect("a memory file system resizes");
    }

    /// Fills the disk with a file of zeros until at most `bytes_left` can be written; returns that file.
    ///
    /// # Panics
    /// The disk cannot be written.
    #[must_use]
    pub fn fill(&self, bytes_left: u64) -> PathBuf {
        let file = self.path().join("filler");
        let free = free_bytes(&self.path());
        let zeros = vec![0; 1 << 16];
        let mut filler = std::fs::File::create(&file).expect("a writable disk");
        let mut left = free.saturating_sub(bytes_left);
        while left > 0 {
            let count = left.min(zeros.len() as u64);
            let piece = &zeros[..usize::try_from(count).expect("a small piece")];
            if std::io::Write::write_all(&mut filler, piece).is_err() {
                break;
            }
            left -= count;
        }
        file
    }

    /// Detaches the file system from its folder, as a pulled drive does; open files stay usable.
    pub fn pull(&mut self) {
        if self.is_mounted {
            let _ = unmount(self.path(), UnmountFlags::DETACH);
            self.is_mounted = false;
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.pull();
    }
}

/// Bytes an ordinary user may still write below `path`.
///
/// # Panics
/// The path does not exist.
#[must_use]
pub fn free_bytes(path: &Path) -> u64 {
    let numbers = rustix::fs::statvfs(path).expect("the path exists");
    numbers.f_bavail * numbers.f_frsize
}

#[track_caller]
pub(crate) fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|e| panic!("cannot run {command:?}: {e}"));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed: {text}");
}
