//! From part file to final name: the steps for one file. [`super::publisher`] puts them together for many.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use longhaul_contract::{Blocker, Cause, Failure, IfExists, Remedy, names};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use tokio::sync::oneshot;

use super::failure::{failure, io_failure};
use super::folder::Folder;
use super::identity;
use super::part::PartFile;
use super::shared::Shared;
use crate::journal::JournalError;

/// A file under its final name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    pub name: String,
    /// Absolute path; that of the folder's present place if it was moved meanwhile.
    pub path: String,
    /// Bytes.
    pub size: u64,
}

/// Records that the rename to a name is about to happen.
pub(super) type Intent = Box<dyn FnMut(String) -> BoxFuture<'static, Result<(), JournalError>> + Send>;

/// One publication on its way.
pub(super) struct Request {
    pub(super) part: PartFile,
    pub(super) if_exists: IfExists,
    pub(super) intent: Intent,
    /// The name to try next.
    pub(super) name: String,
    more_names: Box<dyn Iterator<Item = String> + Send>,
    size: u64,
    /// Given just before the rename: until the intent is recorded, the mode tells our own left-over part files.
    final_mode: Mode,
    /// The data must still be made durable.
    pub(super) is_sync_needed: bool,
    is_prepared: bool,
    reply: oneshot::Sender<Result<Published, Failure>>,
}

pub(super) enum Renamed {
    Done,
    NameTaken,
}

impl Request {
    pub(super) fn new(
        part: PartFile,
        as_name: &str,
        if_exists: IfExists,
        intent: Intent,
    ) -> Result<(Self, oneshot::Receiver<Result<Published, Failure>>), Failure> {
        let (size, is_sync_needed) = whole_size(&part.shared)?;
        let (reply, answer) = oneshot::channel();
        let request = Self {
            part,
            if_exists,
            intent,
            name: as_name.to_owned(),
            more_names: Box::new(names::candidates(as_name)),
            size,
            final_mode: Mode::RUSR | Mode::WUSR,
            is_sync_needed,
            is_prepared: false,
            reply,
        };
        Ok((request, answer))
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.part.shared
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// The file has its name, durably, in the folder that is at `path` now.
    pub(super) fn confirm_in(self, path: &str) {
        let published = Published { path: join(path, &self.name), name: self.name, size: self.size };
        // Whoever asked may have gone; the file is published all the same.
        let _ = self.reply.send(Ok(published));
    }

    pub(super) fn refuse(self, failure: Failure) {
        // Whoever asked may have gone.
        let _ = self.reply.send(Err(failure));
    }

    /// Gives the file its true length, and decides its name and its final mode. `is_taken` tells names that other
    /// publications of the same moment have chosen. Repeatable.
    pub(super) fn prepare(&mut self, mode: Mode, is_taken: &dyn Fn(&str) -> bool) -> Result<(), Failure> {
        let shared = Arc::clone(self.shared());
        let explain = |errno| shared.failed("finish", errno);
        if !identity::is_still(shared.open_folder(), &shared.part_name, shared.identity).map_err(explain)? {
            return Err(shared.replaced("was removed or replaced by somebody else"));
        }
        self.final_mode = self.choose_name(is_taken)?.unwrap_or(mode);
        if self.is_prepared {
            return Ok(());
        }
        let seen = rustix::fs::fstat(shared.sink.descriptor()).map_err(explain)?;
        let has_blocks_behind = shared.state().reserved.is_some_and(|reserved| reserved > self.size);
        if seen.st_size.cast_unsigned() < self.size {
            return Err(shared.replaced("is shorter than what was written to it"));
        }
        if seen.st_size.cast_unsigned() != self.size || has_blocks_behind {
            rustix::fs::ftruncate(shared.sink.descriptor(), self.size).map_err(explain)?;
            self.is_sync_needed = true;
        }
        self.is_prepared = true;
        Ok(())
    }

    /// Settles on a name, and returns the mode of the file that will be replaced.
    fn choose_name(&mut self, is_taken: &dyn Fn(&str) -> bool) -> Result<Option<Mode>, Failure> {
        let shared = Arc::clone(self.shared());
        let folder = shared.open_folder();
        loop {
            let there = identity::look_for(folder, &self.name)
                .map_err(|errno| io_failure("look at", &folder.path_of(&self.name), errno))?;
            let file_type = there.map(|seen| FileType::from_raw_mode(u32::from(seen.stx_mode)));
            match (self.if_exists, file_type) {
                (IfExists::Replace, Some(FileType::Directory)) => return Err(self.name_exists("a folder")),
                (IfExists::Replace, _) => {
                    let kept = there.filter(|_| file_type == Some(FileType::RegularFile));
                    return Ok(kept.map(|seen| Mode::from_raw_mode(u32::from(seen.stx_mode)) & permissions()));
                }
                (IfExists::Fail, Some(_)) => return Err(self.name_exists("a file")),
                (IfExists::Fail, None) => return Ok(None),
                (IfExists::Rename, None) if !is_taken(&self.name) => return Ok(None),
                (IfExists::Rename, _) => {
                    self.name = self.more_names.next().expect("there is always one more number");
                }
            }
        }
    }

    pub(super) fn name_exists(&self, what: &str) -> Failure {
        name_exists(what, &self.part.shared.open_folder().path_of(&self.name))
    }

    /// Gives the file its final name; making that durable is left to the caller.
    pub(super) fn rename(&self) -> Result<Renamed, Failure> {
        let shared = self.shared();
        let folder = shared.open_folder();
        rustix::fs::fchmod(shared.sink.descriptor(), self.final_mode)
            .map_err(|errno| shared.failed("finish", errno))?;
        let result = match self.if_exists {
            IfExists::Replace => {
                rustix::fs::renameat(&folder.descriptor, &shared.part_name, &folder.descriptor, &self.name)
            }
            IfExists::Fail | IfExists::Rename => self.rename_without_replacing(),
        };
        match result {
            Ok(()) => Ok(Renamed::Done),
            Err(Errno::EXIST) if self.if_exists == IfExists::Rename => Ok(Renamed::NameTaken),
            Err(Errno::EXIST) => Err(self.name_exists("a file")),
            Err(Errno::ISDIR) => Err(self.name_exists("a folder")),
            Err(errno) => Err(io_failure("publish as", &folder.path_of(&self.name), errno)),
        }
    }

    fn rename_without_replacing(&self) -> Result<(), Errno> {
        let shared = self.shared();
        let (folder, part_name) = (&shared.open_folder().descriptor, &shared.part_name);
        match rustix::fs::renameat_with(folder, part_name, folder, &self.name, RenameFlags::NOREPLACE) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {}
            renamed => return renamed,
        }
        match rustix::fs::linkat(folder, part_name, folder, &self.name, AtFlags::empty()) {
            Ok(()) => return rustix::fs::unlinkat(folder, part_name, AtFlags::empty()),
            Err(Errno::PERM | Errno::NOSYS | Errno::OPNOTSUPP | Errno::MLINK) => {}
            Err(errno) => return Err(errno),
        }
        // Neither way exists here: take the name with an empty file, which only then is replaced.
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let placeholder = rustix::fs::openat(folder, &self.name, flags, Mode::RUSR | Mode::WUSR)?;
        drop(placeholder);
        let renamed = rustix::fs::renameat(folder, part_name, folder, &self.name);
        if renamed.is_err() {
            let _ = rustix::fs::unlinkat(folder, &self.name, AtFlags::empty());
        }
        renamed
    }
}

/// Looks whether a file could be published under this name without replacing another.
pub(super) fn check_free(folder: &Folder, name: &str) -> Result<(), Failure> {
    let path = folder.shared.path_of(name);
    match identity::look_for(&folder.shared, name).map_err(|errno| io_failure("look at", &path, errno))? {
        Some(_) => Err(name_exists("a file", &path)),
        None => Ok(()),
    }
}

fn name_exists(what: &str, path: &str) -> Failure {
    failure(Remedy::Permanent, Cause::NameExists, format!("{what} of the name {path} exists"))
}

/// What a failed intent means.
pub(super) fn intent_failure(error: &JournalError) -> Failure {
    failure(
        Remedy::Blocked { on: Blocker::Store },
        Cause::StoreUnavailable,
        format!("the publication cannot be recorded: {error}"),
    )
}

/// Size of a file that is written without holes, and whether any of it is not durable yet.
fn whole_size(shared: &Shared) -> Result<(u64, bool), Failure> {
    let state = shared.state();
    let size = match state.written.as_slice() {
        [] => Some(0),
        [whole] if whole.offset == 0 => Some(whole.length),
        _ => None,
    };
    match size {
        Some(size) => Ok((size, state.written != state.durable || size == 0)),
        None => {
            drop(state);
            let detail = format!("{} was to be published with holes in it", shared.path());
            Err(failure(Remedy::Permanent, Cause::Internal, detail))
        }
    }
}

fn permissions() -> Mode {
    Mode::RWXU | Mode::RWXG | Mode::RWXO
}

fn join(folder: &str, name: &str) -> String {
    if folder == "/" { format!("/{name}") } else { format!("{folder}/{name}") }
}
