//! The journals of the workers, kept in the store beside everything else.

use futures_util::future::BoxFuture;
use longhaul_contract::OperationId;
use longhaul_store::{JournalWrite, Write, Writer};
use longhaul_transfer::{Journal, JournalError, JournalRecord, UploadJournalRecord};

/// Writes through the store's writer, so that a checkpoint shares its sync with whatever else is written.
pub(crate) struct StoreJournal {
    pub(crate) writer: Writer,
}

impl Journal for StoreJournal {
    fn save(&self, id: OperationId, record: JournalRecord) -> BoxFuture<'static, Result<(), JournalError>> {
        let write = serde_json::to_vec(&record).map(|bytes| JournalWrite {
            id,
            received: record.ranges.bytes(),
            total: record.validators.total.unwrap_or_default(),
            record: bytes,
        });
        self.submit(write)
    }

    fn save_upload(
        &self,
        id: OperationId,
        record: UploadJournalRecord,
    ) -> BoxFuture<'static, Result<(), JournalError>> {
        let write = serde_json::to_vec(&record).map(|bytes| JournalWrite {
            id,
            received: record.offset,
            total: record.total,
            record: bytes,
        });
        self.submit(write)
    }
}

impl StoreJournal {
    fn submit(
        &self,
        write: serde_json::Result<JournalWrite>,
    ) -> BoxFuture<'static, Result<(), JournalError>> {
        let acknowledgement = write
            .map(|write| self.writer.submit(vec![Write::Journal(write)]))
            .map_err(|error| JournalError(error.to_string()));
        Box::pin(async move { acknowledgement?.await.map_err(|error| JournalError(error.to_string())) })
    }
}

/// # Errors
/// The record was not written by [`StoreJournal`].
pub(crate) fn decode_upload(record: &[u8]) -> serde_json::Result<UploadJournalRecord> {
    serde_json::from_slice(record)
}

/// # Errors
/// The record was not written by [`StoreJournal`].
pub(crate) fn decode(record: &[u8]) -> serde_json::Result<JournalRecord> {
    serde_json::from_slice(record)
}
