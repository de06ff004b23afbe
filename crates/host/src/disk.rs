//! What file systems say of themselves: whether files can be made in a folder, and how much room there is
//! (access(2), statfs(2)). Nothing is written to find out, so nothing is left behind by a crash.

use std::io;
use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD, accessat, statfs, statvfs};
use rustix::io::Errno;

/// File systems of the kernel that hold no files of anybody's (`f_type` of statfs(2)). For root they look writable to
/// access(2) and then refuse every new file.
const KERNELS_OWN: [(u32, &str); 20] = [
    (0x0000_9fa0, "proc"),
    (0x6265_6572, "sysfs"),
    (0x0027_e0eb, "cgroup"),
    (0x6367_7270, "cgroup2"),
    (0x6462_6720, "debugfs"),
    (0x7472_6163, "tracefs"),
    (0x7363_6673, "securityfs"),
    (0x6165_676c, "pstore"),
    (0xcafe_4a11, "bpf"),
    (0xde5e_81e4, "efivarfs"),
    (0x0000_1cd1, "devpts"),
    (0x1980_0202, "mqueue"),
    (0x6265_6570, "configfs"),
    (0xf97c_ff8c, "selinuxfs"),
    (0x4341_5d53, "smackfs"),
    (0x4249_4e4d, "binfmt_misc"),
    (0x6573_5543, "fusectl"),
    (0x6759_6969, "rpc_pipefs"),
    (0x9584_58f6, "hugetlbfs"),
    (0x6e73_6673, "nsfs"),
];

/// Why no file can be made in a folder.
#[derive(Debug, thiserror::Error)]
pub enum NotWritable {
    #[error("{0}")]
    Refused(io::Error),
    #[error("{0} is a file system of the kernel, in which nobody makes files")]
    KernelsOwn(&'static str),
}

/// Whether this process may make files in `folder`. Blocks on the disk.
///
/// # Errors
/// Why it may not; also when there is no such folder.
pub fn check_writable(folder: &Path) -> Result<(), NotWritable> {
    let refused = |error: Errno| NotWritable::Refused(error.into());
    accessat(CWD, folder, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS).map_err(refused)?;
    let kind = statfs(folder).map_err(refused)?.f_type;
    // The kernel's type is as wide as a register; magic numbers have 32 bits.
    let own = KERNELS_OWN.iter().find(|(magic, _)| i64::from(*magic) == kind & 0xffff_ffff);
    own.map_or(Ok(()), |(_, name)| Err(NotWritable::KernelsOwn(name)))
}

/// Bytes that this user may still write on the file system of `path`.
///
/// # Errors
/// There is no such path, or its file system does not answer.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let numbers = statvfs(path)?;
    Ok(numbers.f_bavail.saturating_mul(numbers.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_files_are_told_from_those_of_the_kernel() {
        let place = tempfile::tempdir().unwrap();
        check_writable(place.path()).unwrap();
        assert!(free_bytes(place.path()).unwrap() > 0);
        for folder in ["/proc", "/proc/self", "/sys"] {
            let refusal = check_writable(Path::new(folder)).unwrap_err();
            assert!(!refusal.to_string().is_empty(), "{folder}");
        }
        assert!(check_writable(&place.path().join("missing")).is_err());
    }
}
