//! From part file to final name.

use futures_util::future::BoxFuture;
use longhaul_contract::{Blocker, Cause, Failure, IfExists, Remedy, names};
use rustix::fs::RenameFlags;
use rustix::io::Errno;

use super::failure::{failure, io_failure};
use super::{PartFile, blocking};
use crate::journal::JournalError;

/// A file under its final name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    pub name: String,
    /// Absolute path.
    pub path: String,
    pub size: u64,
}

pub(super) type Intent = Box<dyn FnMut(String) -> BoxFuture<'static, Result<(), JournalError>> + Send>;

pub(super) async fn publish(
    part: PartFile,
    as_name: String,
    if_exists: IfExists,
    mut intent: Intent,
) -> Result<Published, Failure> {
    let durable = part.sync().await?;
    let size = durable.available_from(0);
    let mut candidates = names::candidates(&as_name);
    let mut name = as_name.clone();
    loop {
        intent(name.clone()).await.map_err(|error| {
            failure(
                Remedy::Blocked { on: Blocker::Store },
                Cause::StoreUnavailable,
                format!("the publication cannot be recorded: {error}"),
            )
        })?;
        let (shared, target) = (part.shared.clone(), name.clone());
        let renamed = blocking(move || {
            let folder = &shared.folder.shared.descriptor;
            let flags = match if_exists {
                IfExists::Replace => RenameFlags::empty(),
                IfExists::Fail | IfExists::Rename => RenameFlags::NOREPLACE,
            };
            rustix::fs::ftruncate(&shared.descriptor, size)?;
            rustix::fs::renameat_with(folder, &shared.part_name, folder, &target, flags)?;
            rustix::fs::fsync(folder)
        })
        .await;
        match renamed {
            Ok(()) => {
                let path = format!("{}/{name}", part.folder().path());
                return Ok(Published { name, path, size });
            }
            Err(Errno::EXIST) if if_exists == IfExists::Rename => {
                name = candidates.next().expect("candidates never end");
            }
            Err(errno) => {
                let path = format!("{}/{name}", part.folder().path());
                return Err(io_failure("publish as", &path, errno));
            }
        }
    }
}
