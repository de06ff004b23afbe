//! The destination folder, the part file and its publication.
//!
//! Bytes go to `.<name>.<id>.part` in the destination folder and get their final name only when they are complete,
//! checked and durable. Deliberately absent: what the bytes mean, and when to try again.

mod buffer;
mod failure;
mod folder;
mod part;
mod publish;
mod recover;

pub use buffer::{BUFFER_BYTES_MAX, Buffer};
pub use folder::Folder;
pub use part::{PartFile, PartReader};
pub use publish::Published;
pub use recover::Recovered;

use longhaul_contract::{Failure, IfExists, OperationId};

use crate::journal::{JournalError, JournalRecord};
use buffer::BufferPool;
use futures_util::future::BoxFuture;

/// What all workers of one service share: the buffers, the publisher, the space ledger. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Files {
    pool: BufferPool,
}

impl Default for Files {
    fn default() -> Self {
        Self::new()
    }
}

impl Files {
    #[must_use]
    pub fn new() -> Self {
        Self { pool: BufferPool::new() }
    }

    /// Opens the destination folder. No component of `path` may be a symbolic link: links are resolved once, when the
    /// download is created.
    ///
    /// # Errors
    /// The folder is missing, is no folder, or may not be entered.
    pub async fn open_folder(&self, path: &str) -> Result<Folder, Failure> {
        let path = path.to_owned();
        blocking(move || Folder::open(&path)).await
    }

    /// Makes the part file, exclusively, with mode 0600, and reserves `total` bytes if that is known.
    ///
    /// # Errors
    /// The folder cannot be written, is full, or cannot hold a file of that size.
    pub async fn create_part(
        &self,
        folder: &Folder,
        name: &str,
        id: OperationId,
        total: Option<u64>,
    ) -> Result<PartFile, Failure> {
        let part = PartFile::create(self, folder, name, id, total).await?;
        if let Some(total) = total {
            part.reserve(total).await?;
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
    /// and makes the rename durable.
    ///
    /// # Errors
    /// A file of that name exists (the part file stays), the intent could not be recorded, or the folder broke.
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
        publish::publish(part, as_name.to_owned(), if_exists, Box::new(intent)).await
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
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
