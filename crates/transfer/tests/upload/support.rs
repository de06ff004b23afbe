//! A world with one source folder, a journal that survives crashes, and workers under watch.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use longhaul_contract::{Cause, Failure, OperationId, Remedy};
use longhaul_lab::{Content, Request};
use longhaul_transfer::{
    Handle, Journal, JournalError, JournalRecord, ProxyRules, ResponseBody, Settings, Transfers, UploadEnd,
    UploadJob, UploadJournalRecord, UploadProtocol, UploadReceipt, UploadReport, UploadSource,
};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
const ATTEMPTS_MAX: u32 = 30;
static JOBS: AtomicU64 = AtomicU64::new(1);

/// Keeps records as a store does: as bytes.
#[derive(Default)]
pub(crate) struct MemoryJournal {
    records: Mutex<HashMap<OperationId, Vec<u8>>>,
}

impl MemoryJournal {
    pub(crate) fn record(&self, id: OperationId) -> Option<UploadJournalRecord> {
        let bytes = self.records.lock().unwrap().get(&id).cloned()?;
        Some(serde_json::from_slice(&bytes).unwrap())
    }
}

impl Journal for MemoryJournal {
    fn save(&self, id: OperationId, _: JournalRecord) -> BoxFuture<'static, Result<(), JournalError>> {
        panic!("{id} is an upload");
    }

    fn save_upload(
        &self,
        id: OperationId,
        record: UploadJournalRecord,
    ) -> BoxFuture<'static, Result<(), JournalError>> {
        self.records.lock().unwrap().insert(id, serde_json::to_vec(&record).unwrap());
        Box::pin(std::future::ready(Ok(())))
    }
}

pub(crate) struct World {
    runtime: Runtime,
    pub(crate) folder: TempDir,
    pub(crate) journal: Arc<MemoryJournal>,
    pub(crate) transfers: Transfers,
    settings: Settings,
}

pub(crate) struct Attempt {
    pub(crate) handle: Handle,
    reports: mpsc::UnboundedReceiver<UploadReport>,
}

/// How an attempt ended, with all it reported.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) end: UploadEnd,
    pub(crate) reports: Vec<UploadReport>,
}

/// Short timeouts, one connection an upload, frequent records.
pub(crate) fn settings() -> Settings {
    Settings {
        connect_timeout: Duration::from_secs(5),
        response_timeout: Duration::from_secs(2),
        stall_timeout: Duration::from_secs(1),
        segments_max: 1,
        checkpoint_interval: Duration::from_millis(50),
        ..Settings::default()
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(settings())
    }

    pub(crate) fn with(settings: Settings) -> Self {
        let journal = Arc::new(MemoryJournal::default());
        let transfers = Transfers::new(settings.clone(), Arc::clone(&journal) as Arc<dyn Journal>).unwrap();
        Self { runtime: runtime(), folder: tempfile::tempdir().unwrap(), journal, transfers, settings }
    }

    /// Where [`Self::job`] reads.
    pub(crate) fn source(&self) -> PathBuf {
        self.folder.path().join("source.bin")
    }

    /// A job that PUTs a file with `content`.
    pub(crate) fn job(&self, url: &str, content: Content) -> UploadJob {
        content.write_to(&self.source());
        let number = JOBS.fetch_add(1, Ordering::Relaxed);
        UploadJob {
            id: OperationId::from_parts(1_790_000_000_000 + number, &[9; 10]),
            attempt: 1,
            url: url.parse().unwrap(),
            method: http::Method::PUT,
            headers: Vec::new(),
            credential: None,
            source: UploadSource::File(self.source()),
            protocol: UploadProtocol::Plain,
            part_urls: Vec::new(),
            part_size: 0,
            content_type: None,
            idempotency_key: None,
            rate_limit: None,
            journal: None,
            public_addresses_only: false,
            identity: None,
            interface: None,
            proxy: ProxyRules::direct(),
            response_body_max: 1 << 16,
        }
    }

    pub(crate) fn start(&self, job: &UploadJob) -> Attempt {
        let (sender, reports) = mpsc::unbounded_channel();
        let _entered = self.runtime.enter();
        Attempt { handle: self.transfers.start_upload(job.clone(), sender), reports }
    }

    /// One attempt to its end.
    #[track_caller]
    pub(crate) fn run(&self, job: &UploadJob) -> Outcome {
        self.end(self.start(job))
    }

    /// Waits for the last report.
    #[track_caller]
    pub(crate) fn end(&self, mut attempt: Attempt) -> Outcome {
        let mut reports = Vec::new();
        loop {
            let next =
                self.runtime.block_on(async { tokio::time::timeout(DEADLINE, attempt.reports.recv()).await });
            match next {
                Ok(Some(UploadReport::Ended(end))) => return Outcome { end: *end, reports },
                Ok(Some(report)) => reports.push(report),
                Ok(None) => panic!("the worker vanished without an end; it reported {reports:?}"),
                Err(_) => panic!("the worker did not end within {DEADLINE:?}; it reported {reports:?}"),
            }
        }
    }

    /// The same job as it would be tried next.
    pub(crate) fn next(&self, job: &UploadJob) -> UploadJob {
        UploadJob { attempt: job.attempt + 1, journal: self.journal.record(job.id), ..job.clone() }
    }

    /// Attempt after attempt as the service makes them, without its delays, until one ends for good.
    #[track_caller]
    pub(crate) fn finish(&self, job: &UploadJob) -> Outcome {
        let mut job = job.clone();
        for _ in 0..ATTEMPTS_MAX {
            let outcome = self.run(&job);
            match &outcome.end {
                UploadEnd::Failed { failure, .. }
                    if matches!(failure.remedy, Remedy::Transient | Remedy::Stale) =>
                {
                    job = self.next(&job);
                }
                _ => return outcome,
            }
        }
        panic!("no end after {ATTEMPTS_MAX} attempts; the last one: {:?}", self.run(&job).end);
    }

    /// All workers and connections vanish where they are, as in a crash; what was recorded stays.
    pub(crate) fn crash(&mut self) {
        std::mem::replace(&mut self.runtime, runtime()).shutdown_background();
        self.transfers =
            Transfers::new(self.settings.clone(), Arc::clone(&self.journal) as Arc<dyn Journal>).unwrap();
    }

    pub(crate) fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }
}

impl Attempt {
    /// Waits until so many bytes have left.
    #[track_caller]
    pub(crate) fn wait_for_bytes(&self, bytes: u64) {
        longhaul_lab::wait_until("the sending of the bytes", DEADLINE, || {
            (self.handle.progress().bytes_sent >= bytes).then_some(())
        });
    }
}

impl Outcome {
    #[track_caller]
    pub(crate) fn failure(&self) -> &Failure {
        match &self.end {
            UploadEnd::Failed { failure, .. } => failure,
            other => panic!("a failure was expected, not {other:?}"),
        }
    }

    /// The cause and the remedy of the failure.
    #[track_caller]
    pub(crate) fn why(&self) -> (Cause, Remedy) {
        let failure = self.failure();
        (failure.cause, failure.remedy)
    }

    #[track_caller]
    pub(crate) fn receipt(&self) -> &UploadReceipt {
        match &self.end {
            UploadEnd::Finished { receipt, .. } => receipt,
            other => panic!("a finished upload was expected, not {other:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn body(&self) -> &ResponseBody {
        match &self.end {
            UploadEnd::Finished { body, .. } | UploadEnd::Failed { body, .. } => body,
            UploadEnd::Stopped => panic!("a stopped upload has no response"),
        }
    }

    /// Whether bytes had been sent, and whether the request may be repeated.
    #[track_caller]
    pub(crate) fn repeat(&self) -> (bool, bool) {
        match &self.end {
            UploadEnd::Failed { has_sent, is_repeatable, .. } => (*has_sent, *is_repeatable),
            other => panic!("a failure was expected, not {other:?}"),
        }
    }
}

/// Asserts that the request carried the whole content as it is.
#[track_caller]
pub(crate) fn assert_body(request: &Request, content: Content) {
    assert_eq!(request.header("content-length"), Some(content.length.to_string().as_str()));
    assert!(request.body == content.all(), "the body of {} is another", request.target);
}
