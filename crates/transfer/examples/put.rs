//! Sends a file, with its journal in a file: `put [-k CA.pem] [-m METHOD] [-p auto|plain|tus|resumable] [-j JOURNAL] FILE URL`.
//! Run again after a crash with the same journal, it goes on where the server is.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use longhaul_contract::OperationId;
use longhaul_transfer::{
    Journal, JournalError, JournalRecord, ProxyRules, Settings, Transfers, UploadEnd, UploadJob,
    UploadJournalRecord, UploadProtocol, UploadReport, UploadSource,
};
use tokio::sync::mpsc;

struct InFile(Option<PathBuf>);

impl Journal for InFile {
    fn save(&self, _: OperationId, _: JournalRecord) -> BoxFuture<'static, Result<(), JournalError>> {
        Box::pin(async { Ok(()) })
    }

    fn save_upload(
        &self,
        _: OperationId,
        record: UploadJournalRecord,
    ) -> BoxFuture<'static, Result<(), JournalError>> {
        let saved = self.0.as_ref().map_or(Ok(()), |path| save(path, &record));
        Box::pin(async move { saved.map_err(|error| JournalError(error.to_string())) })
    }
}

fn save(path: &PathBuf, record: &UploadJournalRecord) -> std::io::Result<()> {
    let next = path.with_extension("next");
    std::fs::write(&next, serde_json::to_vec(record)?)?;
    std::fs::rename(next, path)
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut settings = Settings::default();
    let (mut method, mut protocol) = (http::Method::PUT, UploadProtocol::Plain);
    let (mut journal, mut places) = (None, Vec::new());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or("a value is missing");
        match argument.as_str() {
            "-k" => settings.ca_certificates.push(PathBuf::from(value()?)),
            "-m" => method = value()?.parse()?,
            "-j" => journal = Some(PathBuf::from(value()?)),
            "-p" => protocol = serde_json::from_value(serde_json::Value::String(value()?))?,
            _ => places.push(argument),
        }
    }
    let [file, url] = places.as_slice() else { return Err("FILE URL is wanted".into()) };
    let kept = journal.as_ref().and_then(|path| std::fs::read(path).ok());
    let job = UploadJob {
        id: OperationId::from_parts(1, &[0; 10]),
        attempt: 1,
        url: url.parse()?,
        method,
        headers: Vec::new(),
        credential: None,
        source: UploadSource::File(PathBuf::from(file)),
        protocol,
        part_urls: Vec::new(),
        part_size: 0,
        content_type: None,
        idempotency_key: None,
        rate_limit: None,
        journal: kept.as_deref().map(serde_json::from_slice).transpose()?,
        public_addresses_only: false,
        identity: None,
        interface: None,
        proxy: ProxyRules::direct(),
        response_body_max: 1 << 20,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let transfers = Transfers::new(settings, Arc::new(InFile(journal)))?;
        let (sender, mut reports) = mpsc::unbounded_channel();
        let _handle = transfers.start_upload(job, sender);
        while let Some(report) = reports.recv().await {
            if let UploadReport::Ended(end) = report {
                return match *end {
                    UploadEnd::Finished { receipt, body, .. } => {
                        println!(
                            "{} {}",
                            serde_json::to_string(&receipt)?,
                            String::from_utf8_lossy(&body.bytes)
                        );
                        Ok(())
                    }
                    UploadEnd::Stopped => Err("stopped".into()),
                    UploadEnd::Failed { failure, .. } => Err(failure.detail.into()),
                };
            }
        }
        Err("the upload ended without saying how".into())
    })
}
