//! Uploads: creating them, listing them, and a handle on one.

use std::ops::Deref;

use http::Method;
use longhaul_contract::{
    CreateUpload, CreateUploads, CreatedDownloads, Operation, OperationId, OperationKind,
};

use crate::calls::UPLOADS;
use crate::{Client, ClientError, ContentReader, DownloadPages, DownloadQuery, Transfer};

impl Client {
    /// Creates an upload. When this returns, the record is on disk.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with `invalid-uri`, `invalid-source`, `source-not-readable`, `quota` and others.
    pub async fn create_upload(&self, spec: &CreateUpload) -> Result<Operation, ClientError> {
        self.call(Method::POST, UPLOADS, spec).await
    }

    /// Creates all or none, at most 1,000. The ids come back in the order of `operations`.
    ///
    /// # Errors
    /// [`ClientError::Refused`] names the refused operation in `field`.
    pub async fn create_uploads(
        &self,
        operations: Vec<CreateUpload>,
    ) -> Result<Vec<OperationId>, ClientError> {
        let batch = CreateUploads { operations };
        let created: CreatedDownloads = self.call(Method::POST, format!("{UPLOADS}/batch"), &batch).await?;
        Ok(created.ids)
    }

    /// The uploads that match, page by page.
    #[must_use]
    pub fn uploads(&self, query: DownloadQuery) -> DownloadPages {
        DownloadPages::new(self, UPLOADS, query)
    }

    /// A handle on one upload; nothing is sent.
    #[must_use]
    pub fn upload(&self, id: OperationId) -> Upload {
        Upload(self.transfer(OperationKind::Upload, id))
    }
}

/// One upload (UploadOperation).
///
/// ```no_run
/// # async fn example(client: longhaul_client::Client) -> Result<(), longhaul_client::ClientError> {
/// use longhaul_client::contract::CreateUpload;
///
/// let mut spec = CreateUpload::new("https://example.org/inbox/film.mkv", "/home/ann/film.mkv");
/// spec.method = Some("PUT".to_owned());
/// let created = client.create_upload(&spec).await?;
/// let finished = client.upload(created.id).attach().await?;
/// println!("{} bytes were sent: {}", finished.progress.bytes_sent, finished.status);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Upload(Transfer);

impl Deref for Upload {
    type Target = Transfer;

    fn deref(&self) -> &Transfer {
        &self.0
    }
}

impl Upload {
    /// The body of the server's answer, as far as it is kept; empty when none has come.
    ///
    /// # Errors
    /// As every call.
    pub async fn response_body(&self) -> Result<ContentReader, ClientError> {
        ContentReader::open(&self.client, self.path("/response/body"), 0, None).await
    }
}
