//! One transfer room with a folder, a journal in memory and short patience.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use longhaul_contract::{Cause, Failure, IfExists, OperationId, Receipt, Remedy, ResponseInformation};
use longhaul_lab::hostile::Cut;
use longhaul_lab::{Content, Exchange, Request, Resource, Server};
use longhaul_transfer::{
    Handle, Job, Journal, JournalError, JournalRecord, ProxyRules, Report, Settings, StopMode, TransferEnd,
    Transfers, UploadJournalRecord,
};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
/// Attempts a download may need in these tests before it counts as hopeless.
const ATTEMPTS_MAX: u32 = 6;

static JOBS: AtomicU64 = AtomicU64::new(0);

/// Long ago, so that it is a strong validator beside [`NOW`].
pub(crate) const OLD_DATE: &str = "Mon, 05 Jan 2026 10:00:00 GMT";
pub(crate) const OTHER_DATE: &str = "Tue, 06 Jan 2026 10:00:00 GMT";
pub(crate) const NOW: &str = "Mon, 05 Oct 2026 10:00:00 GMT";

#[derive(Default)]
pub(crate) struct MemoryJournal {
    records: Mutex<HashMap<OperationId, JournalRecord>>,
}

impl MemoryJournal {
    pub(crate) fn record(&self, id: OperationId) -> Option<JournalRecord> {
        self.records.lock().unwrap().get(&id).cloned()
    }
}

impl Journal for MemoryJournal {
    fn save(&self, id: OperationId, record: JournalRecord) -> BoxFuture<'static, Result<(), JournalError>> {
        self.records.lock().unwrap().insert(id, record);
        Box::pin(std::future::ready(Ok(())))
    }

    fn save_upload(
        &self,
        id: OperationId,
        _: UploadJournalRecord,
    ) -> BoxFuture<'static, Result<(), JournalError>> {
        panic!("{id} is a download");
    }
}

pub(crate) struct World {
    runtime: Runtime,
    folder: TempDir,
    pub(crate) journal: Arc<MemoryJournal>,
    pub(crate) transfers: Transfers,
}

/// A worker under way.
pub(crate) struct Attempt<'w> {
    world: &'w World,
    pub(crate) handle: Handle,
    reports: mpsc::UnboundedReceiver<Report>,
}

/// How an attempt ended, with all it reported.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) end: TransferEnd,
    pub(crate) reports: Vec<Report>,
}

/// Short timeouts, one connection a download, frequent checkpoints.
pub(crate) fn settings() -> Settings {
    Settings {
        connect_timeout: Duration::from_secs(5),
        response_timeout: Duration::from_secs(2),
        stall_timeout: Duration::from_secs(1),
        segments_max: 1,
        checkpoint_bytes: 64 << 10,
        checkpoint_interval: Duration::from_millis(50),
        ..Settings::default()
    }
}

/// Up to four connections a download, also for small files.
pub(crate) fn segmented() -> Settings {
    Settings { segments_max: 4, segment_bytes_min: 64 << 10, ..settings() }
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(settings())
    }

    pub(crate) fn with(settings: Settings) -> Self {
        let journal = Arc::new(MemoryJournal::default());
        let transfers = Transfers::new(settings, Arc::clone(&journal) as Arc<dyn Journal>).unwrap();
        Self {
            runtime: tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap(),
            folder: tempfile::tempdir().unwrap(),
            journal,
            transfers,
        }
    }

    /// Where [`Self::job`] publishes.
    pub(crate) fn result(&self) -> PathBuf {
        self.folder.path().join("file.bin")
    }

    pub(crate) fn job(&self, url: &str) -> Job {
        let number = JOBS.fetch_add(1, Ordering::Relaxed);
        Job {
            id: OperationId::from_parts(1_790_000_000_000 + number, &[7; 10]),
            attempt: 1,
            url: url.parse().unwrap(),
            mirrors: Vec::new(),
            method: http::Method::GET,
            body: None,
            headers: Vec::new(),
            credential: None,
            result_file: self.result().to_str().unwrap().to_owned(),
            if_exists: IfExists::Fail,
            is_random_access: false,
            checksum: None,
            expect: None,
            rate_limit: None,
            journal: None,
            public_addresses_only: false,
            identity: None,
            interface: None,
            proxy: ProxyRules::direct(),
        }
    }

    pub(crate) fn start(&self, job: &Job) -> Attempt<'_> {
        let (sender, reports) = mpsc::unbounded_channel();
        let _entered = self.runtime.enter();
        Attempt { world: self, handle: self.transfers.start(job.clone(), sender), reports }
    }

    /// One attempt to its end.
    #[track_caller]
    pub(crate) fn run(&self, job: &Job) -> Outcome {
        self.start(job).end()
    }

    /// The same job as it would be tried next.
    pub(crate) fn next(&self, job: &Job) -> Job {
        Job { attempt: job.attempt + 1, journal: self.journal.record(job.id), ..job.clone() }
    }

    /// Attempt after attempt as the service makes them, without its delays, until one ends for good.
    #[track_caller]
    pub(crate) fn finish(&self, job: &Job) -> Outcome {
        let mut job = job.clone();
        for _ in 0..ATTEMPTS_MAX {
            let outcome = self.run(&job);
            match &outcome.end {
                TransferEnd::Failed { failure, .. }
                    if matches!(failure.remedy, Remedy::Transient | Remedy::Stale) =>
                {
                    job = self.next(&job);
                }
                _ => return outcome,
            }
        }
        panic!("no end after {ATTEMPTS_MAX} attempts; the last one: {:?}", self.run(&job).end);
    }

    /// Downloads until `kept` bytes have arrived, then lets go; returns the job to go on with. The server must send
    /// exactly so many bytes to the first request and then stall: see [`stalling_first`].
    #[track_caller]
    pub(crate) fn interrupted(&self, server: &Server, kept: u64) -> Job {
        let job = self.job(&server.url("/file.bin"));
        self.interrupt(&job, kept)
    }

    #[track_caller]
    pub(crate) fn interrupt(&self, job: &Job, kept: u64) -> Job {
        let attempt = self.start(job);
        attempt.wait_for_bytes(kept);
        attempt.handle.stop(StopMode::Keep);
        let outcome = attempt.end();
        assert!(matches!(outcome.end, TransferEnd::Stopped), "{:?}", outcome.end);
        let next = self.next(job);
        let record = next.journal.as_ref().expect("a stopped download leaves a record");
        assert_eq!(record.ranges.bytes(), kept, "what arrived is kept");
        next
    }

    /// Nothing lies under the final name.
    #[track_caller]
    pub(crate) fn assert_nothing_published(&self) {
        assert!(!self.result().exists(), "something was published");
    }

    /// Names in the folder.
    pub(crate) fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    pub(crate) fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }
}

impl Attempt<'_> {
    /// Waits until so many bytes have arrived.
    #[track_caller]
    pub(crate) fn wait_for_bytes(&self, bytes: u64) {
        longhaul_lab::wait_until("the arrival of the bytes", DEADLINE, || {
            (self.handle.progress().bytes_received >= bytes).then_some(())
        });
    }

    /// Waits for the last report.
    #[track_caller]
    pub(crate) fn end(mut self) -> Outcome {
        let mut reports = Vec::new();
        loop {
            let next = self
                .world
                .runtime
                .block_on(async { tokio::time::timeout(DEADLINE, self.reports.recv()).await });
            match next {
                Ok(Some(Report::Ended(end))) => return Outcome { end: *end, reports },
                Ok(Some(report)) => reports.push(report),
                Ok(None) => panic!("the worker vanished without an end; it reported {reports:?}"),
                Err(_) => panic!("the worker did not end within {DEADLINE:?}; it reported {reports:?}"),
            }
        }
    }
}

impl Outcome {
    #[track_caller]
    pub(crate) fn failure(&self) -> &Failure {
        match &self.end {
            TransferEnd::Failed { failure, .. } => failure,
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
    pub(crate) fn receipt(&self) -> &Receipt {
        match &self.end {
            TransferEnd::Finished { receipt, .. } => receipt,
            other => panic!("a finished download was expected, not {other:?}"),
        }
    }

    /// Asserts that exactly `content` was published.
    #[track_caller]
    pub(crate) fn assert_published(&self, world: &World, content: Content) {
        assert_eq!(self.receipt().size, Some(content.length));
        content.assert_file(&world.result());
        assert_eq!(world.files(), ["file.bin"], "nothing else is left in the folder");
    }

    #[track_caller]
    pub(crate) fn response(&self) -> &ResponseInformation {
        let last = self.reports.iter().rev().find_map(|report| match report {
            Report::Response(response) => Some(response),
            _ => None,
        });
        last.expect("a response was reported")
    }

    pub(crate) fn has_restarted(&self) -> bool {
        self.restarts() > 0
    }

    pub(crate) fn restarts(&self) -> u32 {
        self.receipt().restarts
    }
}

/// A server that sends the first `kept` bytes of `resource` to the first request and then nothing; every later
/// request is left to `later`.
pub(crate) fn stalling_first(
    resource: Resource,
    kept: u64,
    later: impl Fn(&mut Exchange<'_>) + Send + Sync + 'static,
) -> Server {
    Server::start(move |exchange| {
        if exchange.request.number == 0 {
            exchange.respond(resource.full().cut_after(kept, Cut::Stall));
        } else {
            later(exchange);
        }
    })
}

/// Whether the request resumes at `held`, allowing for an overlap that is compared.
pub(crate) fn resumes_at(request: &Request, held: u64) -> bool {
    let start = request.range_start();
    start <= held && start + Settings::default().overlap_bytes >= held && start > 0
}
