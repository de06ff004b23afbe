//! Downloads: creating them, listing them, and a handle on one.

use std::ops::Deref;

use http::Method;
use longhaul_contract::{
    AttachDownloads, AttachedDownloads, ByteRange, CreateDownload, CreateDownloads, CreatedDownloads,
    Operation, OperationId, OperationKind, Page, Verification,
};

use crate::calls::{DOWNLOADS, read};
use crate::{Client, ClientError, ContentReader, DownloadPages, DownloadQuery, Transfer};

impl Client {
    /// Creates a download. When this returns, the record is on disk.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with `invalid-uri`, `invalid-path`, `file-exists`, `quota` and others.
    pub async fn create_download(&self, spec: &CreateDownload) -> Result<Operation, ClientError> {
        self.call(Method::POST, DOWNLOADS, spec).await
    }

    /// Creates all or none, in as many calls as batches of [`CreateDownloads::MAX`] take. The ids come back in the
    /// order of `operations`.
    ///
    /// # Errors
    /// [`ClientError::Refused`] names the refused operation in `field`, counted within its batch; earlier batches of
    /// the same call then exist.
    pub async fn create_downloads(
        &self,
        operations: Vec<CreateDownload>,
    ) -> Result<Vec<OperationId>, ClientError> {
        let mut ids = Vec::with_capacity(operations.len());
        let mut rest = operations;
        while !rest.is_empty() {
            let behind = rest.split_off(rest.len().min(CreateDownloads::MAX));
            let batch = CreateDownloads { operations: rest };
            let created: CreatedDownloads =
                self.call(Method::POST, format!("{DOWNLOADS}/batch"), &batch).await?;
            if created.ids.len() != batch.operations.len() {
                return Err(ClientError::Protocol {
                    call: format!("POST {DOWNLOADS}/batch"),
                    detail: format!(
                        "{} operations were sent and {} ids came back",
                        batch.operations.len(),
                        created.ids.len()
                    ),
                });
            }
            ids.extend(created.ids);
            rest = behind;
        }
        Ok(ids)
    }

    /// Takes the results of those that are over, in as many calls as [`AttachDownloads::MAX`] makes necessary, and
    /// answers which they were. Waits for none.
    ///
    /// # Errors
    /// What any call may fail with; results of the calls before have been taken then.
    pub async fn attach_downloads(&self, ids: &[OperationId]) -> Result<Vec<OperationId>, ClientError> {
        let mut taken = Vec::with_capacity(ids.len());
        for ids in ids.chunks(AttachDownloads::MAX) {
            let asked = AttachDownloads { ids: ids.to_vec() };
            let answer: AttachedDownloads =
                self.call(Method::POST, format!("{DOWNLOADS}/attach"), &asked).await?;
            taken.extend(answer.ids);
        }
        Ok(taken)
    }

    /// The downloads that match, page by page.
    #[must_use]
    pub fn downloads(&self, query: DownloadQuery) -> DownloadPages {
        DownloadPages::new(self, DOWNLOADS, query)
    }

    /// A handle on one download; nothing is sent.
    #[must_use]
    pub fn download(&self, id: OperationId) -> Download {
        Download(self.transfer(OperationKind::Download, id))
    }
}

/// One download (DownloadOperation).
///
/// ```no_run
/// # async fn example(client: longhaul_client::Client, id: longhaul_client::contract::OperationId)
/// # -> Result<(), longhaul_client::ClientError> {
/// use longhaul_client::contract::PatchDownload;
///
/// let download = client.download(id);
/// download.pause().await?;
/// let renewed = PatchDownload {
///     requested_uri: Some("https://example.org/film.mkv?signature=new".to_owned()),
///     ..PatchDownload::default()
/// };
/// download.patch(&renewed).await?;
/// download.resume().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Download(Transfer);

impl Deref for Download {
    type Target = Transfer;

    fn deref(&self) -> &Transfer {
        &self.0
    }
}

impl Download {
    /// The bytes that are on disk (GetDownloadedRanges).
    ///
    /// # Errors
    /// As every call.
    pub async fn ranges(&self) -> Result<Vec<ByteRange>, ClientError> {
        let page: Page<ByteRange> = self.fetch("/ranges").await?;
        Ok(page.items)
    }

    /// Reads the file's bytes while it is still being downloaded: what is not there yet is waited for and fetched
    /// first (GetResultRandomAccessStreamReference). `length` of `None` reads to the end.
    ///
    /// # Errors
    /// `range-not-satisfiable` when `offset` lies behind the end.
    pub async fn content(&self, offset: u64, length: Option<u64>) -> Result<ContentReader, ClientError> {
        ContentReader::open(&self.client, self.path("/content"), offset, length).await
    }

    /// Has the service read the published file again and compare it with the receipt.
    ///
    /// # Errors
    /// `invalid-state` before it is completed; a 404 when the file is gone.
    pub async fn verify(&self) -> Result<Verification, ClientError> {
        let outgoing = self.client.outgoing(Method::POST, self.path("/verify"));
        let body = self.client.answer_of_transfer(&outgoing).await?;
        read(&outgoing, &body)
    }
}
