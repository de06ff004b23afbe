//! The destination folder, the part file and its publication.
//!
//! Bytes go to `.<name>.<id>.part` in the destination folder and get their final name only when they are complete,
//! checked and durable. Deliberately absent: what the bytes mean, and when to try again.

mod buffer;
mod failure;
mod folder;
mod folders;
mod hashing;
mod identity;
mod part;
mod publish;
mod publisher;
mod reader;
mod recover;
mod shared;
mod sink;
mod space;
mod writer;

pub use buffer::{BUFFER_BYTES_MAX, Buffer};
pub use folder::{Folder, resolve_folder};
pub use part::PartFile;
pub use publish::Published;
pub use reader::PartReader;
pub use recover::Recovered;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use longhaul_contract::{Failure, IfExists, OperationId};

use crate::journal::{JournalError, JournalRecord};
use buffer::BufferPool;
use folders::OpenFolders;
use publisher::Publisher;
use space::SpaceLedger;

/// What all workers of one service share: the buffers, the publisher, the space ledger. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Files {
    shared: Arc<FilesShared>,
}

#[derive(Debug)]
struct FilesShared {
    pool: BufferPool,
    publisher: Publisher,
    folders: OpenFolders,
    ledger: SpaceLedger,
}

impl Default for Files {
    fn default() -> Self {
        Self::new()
    }
}

impl Files {
    #[must_use]
    pub fn new() -> Self {
        let (pool, publisher, ledger) = (BufferPool::new(), Publisher::new(), SpaceLedger::default());
        let folders = OpenFolders::default();
        Self { shared: Arc::new(FilesShared { pool, publisher, folders, ledger }) }
    }

    /// Opens the destination folder. No component of `path` may be a symbolic link: [`resolve_folder`] resolves links
    /// once, when the download is created.
    ///
    /// # Errors
    /// The folder is missing, is no folder, leads through a link, or may not be entered.
    pub async fn open_folder(&self, path: &str) -> Result<Folder, Failure> {
        self.shared.folders.open(path).await
    }

    /// Looks whether a file could be published under this name now without replacing another.
    ///
    /// # Errors
    /// A file of that name exists, or the folder cannot be looked into.
    pub async fn check_free(&self, folder: &Folder, name: &str) -> Result<(), Failure> {
        let (folder, name) = (folder.clone(), name.to_owned());
        blocking(move || publish::check_free(&folder, &name)).await
    }

    /// Makes the part file, exclusively, with mode 0600, and reserves `total` bytes if that is known.
    ///
    /// # Errors
    /// The folder cannot be written, is full, or cannot hold a file of that size; nothing is left behind then.
    pub async fn create_part(
        &self,
        folder: &Folder,
        name: &str,
        id: OperationId,
        total: Option<u64>,
    ) -> Result<PartFile, Failure> {
        let part = PartFile::create(self, folder, name, id).await?;
        if let Some(total) = total
            && let Err(failure) = part.reserve(total).await
        {
            part.discard().await?;
            return Err(failure);
        }
        Ok(part)
    }

    /// Finds what an earlier attempt left. `record.name` must be the name the part file was created for.
    ///
    /// # Errors
    /// The folder or the part file cannot be looked at.
    pub async fn recover(
        &self,
        folder: &Folder,
        id: OperationId,
        record: &JournalRecord,
    ) -> Result<Recovered, Failure> {
        recover::recover(self, folder, id, record).await
    }

    /// Gives the finished part file its final name. All bytes must be written; this makes them durable, calls
    /// `intent` with the final name (again with another one when a file of that name turned up meanwhile), renames,
    /// and makes the rename durable. Publications that wait at the same time share their syncs.
    ///
    /// # Errors
    /// A file of that name exists (the part file stays), the part file was replaced, the intent could not be recorded,
    /// or the disk or folder broke.
    pub async fn publish<I>(
        &self,
        part: PartFile,
        as_name: &str,
        if_exists: IfExists,
        intent: I,
    ) -> Result<Published, Failure>
    where
        I: FnMut(String) -> BoxFuture<'static, Result<(), JournalError>> + Send + 'static,
    {
        self.shared.publisher.publish(part, as_name, if_exists, Box::new(intent)).await
    }

    /// Removes the part file an earlier attempt left in `folder_path`, if it is still the one we made.
    ///
    /// # Errors
    /// The folder cannot be written. A missing folder or file is no error.
    pub async fn discard(
        &self,
        folder_path: &str,
        id: OperationId,
        record: &JournalRecord,
    ) -> Result<(), Failure> {
        recover::discard(folder_path.to_owned(), id, record).await
    }
}

/// Runs file calls off the runtime's own threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The runtime is shutting down and will not come back to this.
        Err(_) => std::future::pending().await,
    }
}
