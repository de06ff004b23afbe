//! Names and identities of part files.

use std::os::fd::OwnedFd;

use longhaul_contract::OperationId;
use longhaul_contract::names::NAME_BYTES_MAX;
use rustix::fs::{AtFlags, Statx, StatxFlags};
use rustix::io::Errno;

use super::folder::OpenFolder;
use crate::journal::PartIdentity;

/// How many names are tried for a part file before giving up.
const NAMES_MAX: u32 = 8;

/// What `statx` must be asked for so that [`of_statx`] can tell the identity.
pub(super) const WANTED: StatxFlags = StatxFlags::BASIC_STATS.union(StatxFlags::BTIME);

/// The names the part file of download `id` may have, in the order they are tried: `.<name>.<id>.part`, and a number
/// before the end where something else has that name already. Each fits a directory entry.
pub(super) fn part_names(name: &str, id: OperationId) -> impl Iterator<Item = String> {
    let name = name.to_owned();
    (0..NAMES_MAX).map(move |number| {
        let tail = if number == 0 { format!(".{id}.part") } else { format!(".{id}.{number}.part") };
        let mut end = name.len().min(NAME_BYTES_MAX - 1 - tail.len());
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        format!(".{}{tail}", &name[..end])
    })
}

pub(super) fn of_statx(seen: &Statx) -> PartIdentity {
    let is_birth_known = seen.stx_mask & StatxFlags::BTIME.bits() != 0;
    let born = i128::from(seen.stx_btime.tv_sec) * 1_000_000_000 + i128::from(seen.stx_btime.tv_nsec);
    PartIdentity {
        device: rustix::fs::makedev(seen.stx_dev_major, seen.stx_dev_minor),
        inode: seen.stx_ino,
        born: if is_birth_known { born } else { 0 },
    }
}

pub(super) fn look_at(descriptor: &OwnedFd) -> Result<Statx, Errno> {
    rustix::fs::statx(descriptor, "", AtFlags::EMPTY_PATH, WANTED)
}

/// What has `name` in `folder`, itself even if it is a symbolic link.
pub(super) fn look_for(folder: &OpenFolder, name: &str) -> Result<Option<Statx>, Errno> {
    match rustix::fs::statx(&folder.descriptor, name, AtFlags::SYMLINK_NOFOLLOW, WANTED) {
        Ok(seen) => Ok(Some(seen)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Whether `name` in `folder` still is the file of that identity.
pub(super) fn is_still(folder: &OpenFolder, name: &str, identity: PartIdentity) -> Result<bool, Errno> {
    Ok(look_for(folder, name)?.is_some_and(|seen| of_statx(&seen) == identity))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn part_names_are_hidden_and_fit() {
        let id = OperationId::from_parts(1, &[7; 10]);
        let names: Vec<_> = part_names("a.iso", id).collect();
        assert_eq!(names[0], format!(".a.iso.{id}.part"));
        assert_eq!(names[1], format!(".a.iso.{id}.1.part"));
        for name in part_names(&"ü".repeat(127), id) {
            assert!(name.len() <= NAME_BYTES_MAX && name.len() > NAME_BYTES_MAX - 4, "{name}");
            assert!(name.starts_with(".ü") && name.ends_with(".part"));
        }
    }
}
