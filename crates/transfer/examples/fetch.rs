//! Fetches one or more URLs into a folder, keeping the journal in memory: `fetch [-k CA.pem] [-c SEGMENTS] FOLDER URL…`.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use longhaul_contract::{IfExists, OperationId};
use longhaul_transfer::{
    Job, Journal, JournalError, JournalRecord, ProxyRules, Report, Settings, TransferEnd, Transfers,
    UploadJournalRecord,
};
use tokio::sync::mpsc;

struct InMemory;

impl Journal for InMemory {
    fn save(&self, _: OperationId, _: JournalRecord) -> BoxFuture<'static, Result<(), JournalError>> {
        Box::pin(async { Ok(()) })
    }

    fn save_upload(
        &self,
        _: OperationId,
        _: UploadJournalRecord,
    ) -> BoxFuture<'static, Result<(), JournalError>> {
        Box::pin(async { Ok(()) })
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut settings = Settings::default();
    let mut places = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "-k" => settings.ca_certificates.push(PathBuf::from(arguments.next().ok_or("-k needs a file")?)),
            "-c" => settings.segments_max = arguments.next().ok_or("-c needs a number")?.parse()?,
            _ => places.push(argument),
        }
    }
    let (folder, urls) = places.split_first().ok_or("fetch [-k CA.pem] [-c SEGMENTS] FOLDER URL…")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(fetch_all(settings, folder, urls))
}

async fn fetch_all(settings: Settings, folder: &str, urls: &[String]) -> Result<(), Box<dyn Error>> {
    let transfers = Transfers::new(settings, Arc::new(InMemory))?;
    let folder = std::fs::canonicalize(folder)?.to_string_lossy().into_owned();
    let mut running = Vec::new();
    for (number, url) in (0_u64..).zip(urls) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let job = Job {
            id: OperationId::from_parts(number, &[0; 10]),
            attempt: 1,
            url: url.parse()?,
            mirrors: Vec::new(),
            method: http::Method::GET,
            body: None,
            headers: Vec::new(),
            credential: None,
            result_file: format!("{folder}/"),
            if_exists: IfExists::Replace,
            is_random_access: false,
            checksum: None,
            expect: None,
            rate_limit: None,
            journal: None,
            public_addresses_only: false,
            identity: None,
            interface: None,
            proxy: ProxyRules::direct(),
        };
        running.push((transfers.start(job, sender), receiver));
    }
    for (_handle, mut reports) in running {
        while let Some(report) = reports.recv().await {
            let Report::Ended(end) = report else { continue };
            match *end {
                TransferEnd::Finished { receipt, .. } => println!("{}", receipt.path.unwrap_or_default()),
                TransferEnd::Failed { failure, .. } => return Err(failure.detail.into()),
                TransferEnd::Stopped => {}
            }
        }
    }
    Ok(())
}
