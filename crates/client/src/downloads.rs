//! Downloads: creating them, listing them, and a handle on one.

use std::time::Duration;

use http::Method;
use longhaul_contract::{
    AttachDownloads, AttachedDownloads, ByteRange, CreateDownload, CreateDownloads, CreatedDownloads,
    Explanation, GroupName, Operation, OperationId, Page, PatchDownload, Receipt, ResponseInformation,
    TransferStatus, Verification,
};
use serde::de::DeserializeOwned;
use url::form_urlencoded;

use crate::calls::{DOWNLOADS, read};
use crate::{Client, ClientError, ContentReader, Supposition};

/// What a list of downloads is narrowed to. The default is everything whose result has not been handed over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DownloadQuery {
    /// Any of these; empty is any status.
    pub status: Vec<TransferStatus>,
    pub group: Option<GroupName>,
    pub label: Option<String>,
    /// Found in the address, the file name or the label.
    pub text: Option<String>,
    /// The beginning of an id.
    pub id_prefix: Option<String>,
    /// Also those whose result has been handed over and that are not forgotten yet.
    pub include_consumed: bool,
    /// The order, as the service's contract words it; by creation when absent.
    pub sort: Option<String>,
    /// Items on one page.
    pub limit: Option<u32>,
}

impl DownloadQuery {
    fn target(&self, cursor: Option<&str>) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        if !self.status.is_empty() {
            let words: Vec<_> = self.status.iter().map(|status| status.word()).collect();
            query.append_pair("status", &words.join(","));
        }
        let limit = self.limit.map(|limit| limit.to_string());
        for (name, value) in [
            ("group", self.group.as_ref().map(GroupName::as_str)),
            ("label", self.label.as_deref()),
            ("q", self.text.as_deref()),
            ("idPrefix", self.id_prefix.as_deref()),
            ("consumed", self.include_consumed.then_some("true")),
            ("sort", self.sort.as_deref()),
            ("limit", limit.as_deref()),
            ("cursor", cursor),
        ] {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        match query.finish() {
            empty if empty.is_empty() => DOWNLOADS.to_owned(),
            query => format!("{DOWNLOADS}?{query}"),
        }
    }
}

/// A list that is read page by page.
#[derive(Debug)]
pub struct DownloadPages {
    client: Client,
    query: DownloadQuery,
    cursor: Option<String>,
    is_finished: bool,
}

impl DownloadPages {
    /// The next page; `None` behind the last.
    ///
    /// # Errors
    /// As every call.
    pub async fn next(&mut self) -> Result<Option<Vec<Operation>>, ClientError> {
        if self.is_finished {
            return Ok(None);
        }
        let page: Page<Operation> = self.client.get(self.query.target(self.cursor.as_deref())).await?;
        self.is_finished = page.next_cursor.is_none();
        self.cursor = page.next_cursor;
        Ok(Some(page.items))
    }

    /// All that remains, in memory.
    ///
    /// # Errors
    /// As every call.
    pub async fn collect(mut self) -> Result<Vec<Operation>, ClientError> {
        let mut all = Vec::new();
        while let Some(items) = self.next().await? {
            all.extend(items);
        }
        Ok(all)
    }
}

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
        DownloadPages { client: self.clone(), query, cursor: None, is_finished: false }
    }

    /// A handle on one download; nothing is sent.
    #[must_use]
    pub fn download(&self, id: OperationId) -> Download {
        Download { client: self.clone(), id }
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
pub struct Download {
    client: Client,
    id: OperationId,
}

impl Download {
    #[must_use]
    pub fn id(&self) -> OperationId {
        self.id
    }

    fn path(&self, below: &str) -> String {
        format!("{DOWNLOADS}/{}{below}", self.id)
    }

    async fn fetch<T: DeserializeOwned>(&self, below: &str) -> Result<T, ClientError> {
        self.client.get(self.path(below)).await
    }

    async fn command(&self, below: &str) -> Result<Operation, ClientError> {
        self.client.post(self.path(below)).await
    }

    /// # Errors
    /// `not-found` when it is forgotten or belongs to another application; as every call of this handle.
    pub async fn get(&self) -> Result<Operation, ClientError> {
        self.fetch("").await
    }

    /// Starts a download that was created without starting (StartAsync).
    ///
    /// # Errors
    /// `invalid-state` when it has been started.
    pub async fn start(&self) -> Result<Operation, ClientError> {
        self.command("/start").await
    }

    /// # Errors
    /// `invalid-state` when it is not started, already paused or final.
    pub async fn pause(&self) -> Result<Operation, ClientError> {
        self.command("/pause").await
    }

    /// # Errors
    /// `invalid-state` when it is not paused.
    pub async fn resume(&self) -> Result<Operation, ClientError> {
        self.command("/resume").await
    }

    /// Ends it as Canceled and deletes its bytes; the record stays until its result is taken.
    ///
    /// # Errors
    /// `invalid-state` when it is final.
    pub async fn cancel(&self) -> Result<Operation, ClientError> {
        self.command("/cancel").await
    }

    /// Makes it the first of its serialized group (MakeCurrentInTransferGroup).
    ///
    /// # Errors
    /// `invalid-state` when it is final or in no group.
    pub async fn make_current(&self) -> Result<Operation, ClientError> {
        self.command("/make-current").await
    }

    /// Waits for the final state and takes the result (AttachAsync): the service may forget the operation then.
    ///
    /// # Errors
    /// As every call. When the connection breaks the result is still there to be taken.
    pub async fn attach(&self) -> Result<Operation, ClientError> {
        self.attach_at(self.path("/attach")).await
    }

    /// As [`Download::attach`], but answers with the present state after `wait` at the latest; a state that is not
    /// final consumes nothing.
    ///
    /// # Errors
    /// As every call.
    pub async fn attach_within(&self, wait: Duration) -> Result<Operation, ClientError> {
        self.attach_at(format!("{}?wait={}", self.path("/attach"), wait.as_secs())).await
    }

    async fn attach_at(&self, target: String) -> Result<Operation, ClientError> {
        let outgoing = self.client.outgoing(Method::POST, target);
        let body = self.client.answer_of_transfer(&outgoing).await?;
        read(&outgoing, &body)
    }

    /// Changes a live download; what the patch leaves out stays.
    ///
    /// # Errors
    /// `invalid-state` where the field cannot be changed now, `invalid-field` for what is not allowed at all.
    pub async fn patch(&self, patch: &PatchDownload) -> Result<Operation, ClientError> {
        self.client.call(Method::PATCH, self.path(""), patch).await
    }

    /// Cancels it if need be, and forgets it.
    ///
    /// # Errors
    /// As every call.
    pub async fn remove(&self) -> Result<(), ClientError> {
        let outgoing = self.client.outgoing(Method::DELETE, self.path(""));
        self.client.answer(&outgoing).await.map(drop)
    }

    /// The newest response of the server; `None` before the first (GetResponseInformation).
    ///
    /// # Errors
    /// As every call.
    pub async fn response(&self) -> Result<Option<ResponseInformation>, ClientError> {
        let outgoing = self.client.outgoing(Method::GET, self.path("/response"));
        let body = self.client.answer(&outgoing).await?;
        if body.is_empty() {
            return Ok(None);
        }
        read(&outgoing, &body).map(Some)
    }

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

    /// Why it is or is not running, from the decision itself.
    ///
    /// # Errors
    /// As every call.
    pub async fn explain(&self) -> Result<Explanation, ClientError> {
        self.fetch("/explain").await
    }

    /// What would be decided if this were so.
    ///
    /// # Errors
    /// `invalid-parameter` for a word that the service does not know.
    pub async fn explain_if(&self, supposition: &Supposition) -> Result<Explanation, ClientError> {
        self.fetch(&supposition.target()).await
    }

    /// What was fetched from where and how it was checked.
    ///
    /// # Errors
    /// As every call.
    pub async fn receipt(&self) -> Result<Receipt, ClientError> {
        self.fetch("/receipt").await
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_names_only_what_it_asks_for() {
        assert_eq!(DownloadQuery::default().target(None), DOWNLOADS);
        let query = DownloadQuery {
            status: vec![TransferStatus::Running, TransferStatus::Idle],
            label: Some("a b&c".to_owned()),
            include_consumed: true,
            limit: Some(5),
            ..DownloadQuery::default()
        };
        assert_eq!(
            query.target(Some("x=")),
            format!("{DOWNLOADS}?status=Running%2CIdle&label=a+b%26c&consumed=true&limit=5&cursor=x%3D")
        );
    }
}
