//! The shared side of all workers: connections, rate budget, space ledger, publishing.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use longhaul_contract::{ByteRange, Failure, OperationId, Progress, RangeSet, ResponseInformation};
use tokio::sync::mpsc;

use crate::files::Files;
use crate::http::client::Client;
use crate::job::{Job, Report};
use crate::journal::{Journal, JournalRecord};
use crate::rate::RateLimit;
use crate::upload::attempt as uploads;
use crate::upload::job::{UploadJob, UploadReport};
use crate::upload::tus::TusServers;
use crate::worker::{self, Live};

/// Settings of the transfer room; the owner's configuration file names each.
#[derive(Debug, Clone)]
pub struct Settings {
    pub user_agent: String,
    /// PEM files of further roots, beside the system's trust.
    pub ca_certificates: Vec<PathBuf>,
    /// TCP and TLS set-up of one connection [W 1.14].
    pub connect_timeout: Duration,
    /// From the request to the first byte of the response [W 1.14].
    pub response_timeout: Duration,
    /// A body that brings fewer than `stall_bytes_per_second` on average over this time is broken off.
    pub stall_timeout: Duration,
    pub stall_bytes_per_second: u64,
    pub redirects_max: u32,
    pub connections_per_host: u32,
    /// Connections one download may use to one host.
    pub segments_max: u32,
    /// The same on a path that loses packets, where each connection gets little; only where `segments_max` allows more
    /// than one, and never fewer than that.
    pub segments_lossy_max: u32,
    /// Smaller files are never split.
    pub segment_bytes_min: u64,
    /// At least this often in bytes and in time what has arrived becomes durable and recorded.
    pub checkpoint_bytes: u64,
    pub checkpoint_interval: Duration,
    /// The bytes before a resume point that are fetched again and compared.
    pub overlap_bytes: u64,
    /// Resume without any validator when the overlap is equal (row 5 of the faults).
    pub allow_unvalidated_resume: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            user_agent: concat!("longhaul/", env!("CARGO_PKG_VERSION")).to_owned(),
            ca_certificates: Vec::new(),
            connect_timeout: Duration::from_mins(5),
            response_timeout: Duration::from_mins(2),
            stall_timeout: Duration::from_secs(60),
            stall_bytes_per_second: 64,
            redirects_max: 20,
            connections_per_host: 16,
            segments_max: 8,
            segments_lossy_max: 16,
            segment_bytes_min: 8 << 20,
            checkpoint_bytes: 16 << 20,
            checkpoint_interval: Duration::from_secs(1),
            overlap_bytes: 4096,
            allow_unvalidated_resume: true,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopMode {
    /// Make durable what is there and keep it.
    Keep,
    /// Delete the part file.
    Discard,
}

#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error("cannot use the certificate file {path}: {problem}")]
    Certificate { path: PathBuf, problem: String },
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
}

/// All workers of one service. Cheap to clone.
#[derive(Clone)]
pub struct Transfers {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) settings: Arc<Settings>,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) client: Arc<Client>,
    pub(crate) files: Files,
    pub(crate) tus_servers: TusServers,
    rate: RateLimit,
}

impl Transfers {
    /// # Errors
    /// A certificate file that cannot be read or parsed.
    pub fn new(settings: Settings, journal: Arc<dyn Journal>) -> Result<Self, SettingsError> {
        let client = Arc::new(Client::new(&settings)?);
        let shared = Shared {
            settings: Arc::new(settings),
            journal,
            client,
            files: Files::new(),
            tus_servers: TusServers::default(),
            rate: RateLimit::new(None),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Starts a worker on the current tokio runtime. Its last report is [`Report::Ended`].
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn start(&self, job: Job, reports: mpsc::UnboundedSender<Report>) -> Handle {
        let restarts = job.journal.as_ref().map_or(0, |journal| journal.receipt.restarts);
        let live = Arc::new(Live::new(self.shared.rate.child(job.rate_limit), restarts));
        tokio::spawn(worker::run(Arc::clone(&self.shared), job, Arc::clone(&live), reports));
        Handle { live }
    }

    /// Starts an upload worker on the current tokio runtime. Its last report is [`UploadReport::Ended`]. Of the handle
    /// only the progress, the response, the rate and the stop have a meaning.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn start_upload(&self, job: UploadJob, reports: mpsc::UnboundedSender<UploadReport>) -> Handle {
        let restarts = job.journal.as_ref().map_or(0, |journal| journal.receipt.restarts);
        let live = Arc::new(Live::new(self.shared.rate.child(job.rate_limit), restarts));
        tokio::spawn(uploads::run(Arc::clone(&self.shared), job, Arc::clone(&live), reports));
        Handle { live }
    }

    /// Bytes per second of all workers together; 0 stops them.
    pub fn set_rate(&self, bytes_per_second: Option<u64>) {
        self.shared.rate.set(bytes_per_second);
    }

    /// Requests under way at one origin, over all workers.
    pub fn set_connections_per_host(&self, connections: u32) {
        self.shared.client.pool.set_seats(connections);
    }

    /// Addresses or routes changed: idle connections are dropped, and live ones that have gone silent are not trusted.
    pub fn network_changed(&self) {
        self.shared.client.network_changed();
    }

    /// The machine has slept: every connection from before is made anew, as the other ends have long given them up.
    pub fn resumed(&self) {
        self.shared.client.resumed();
    }

    /// Removes the part file a stopped download left, if it is still the one we made.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub async fn discard(&self, id: OperationId, record: &JournalRecord) -> Result<(), Failure> {
        self.shared.files.discard(&record.folder, id, record).await
    }

    /// Asks the server to forget the partial upload that `job.journal` tells of, where the protocol can; the rest of
    /// the job says with which headers and credentials. To be called while no worker of the upload runs.
    ///
    /// # Errors
    /// The server cannot be reached, or does not do it.
    pub async fn discard_upload(&self, job: &UploadJob) -> Result<(), Failure> {
        uploads::discard(&self.shared, job).await
    }
}

/// A running worker.
#[derive(Clone)]
pub struct Handle {
    live: Arc<Live>,
}

impl Handle {
    /// Asks the worker to let go; [`Report::Ended`] follows. Repeatable; to discard overrules to keep.
    pub fn stop(&self, mode: StopMode) {
        self.live.ask_to_stop(mode);
    }

    /// Sampled, never waits.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.live.meter.progress()
    }

    /// Readable ranges right now, durable or not.
    #[must_use]
    pub fn ranges(&self) -> RangeSet {
        self.live.ranges()
    }

    #[must_use]
    pub fn response(&self) -> Option<ResponseInformation> {
        self.live.response()
    }

    /// How often the download has begun again at byte 0, over all its attempts. A reader that sees another number
    /// after a read than before has bytes of two versions.
    #[must_use]
    pub fn restarts(&self) -> u32 {
        self.live.restarts()
    }

    /// Bytes per second of this worker; 0 stops it.
    pub fn set_rate(&self, bytes_per_second: Option<u64>) {
        self.live.rate.set(bytes_per_second);
    }

    /// Fetch `range` next; for random-access reads.
    pub fn want(&self, range: ByteRange) {
        self.live.want(range);
    }

    /// Reads up to `length` bytes at `offset` of what is readable now; waits until at least one byte is.
    ///
    /// # Errors
    /// The worker ended (the caller reads the published file, or waits for the next attempt), or the file broke.
    pub async fn read_at(&self, offset: u64, length: usize) -> Result<bytes::Bytes, ReadError> {
        self.live.read_at(offset, length).await
    }
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    #[error("the worker has ended")]
    Ended,
    #[error("the offset lies behind the end of the file, which has {total} bytes")]
    BehindEnd { total: u64 },
    #[error("the part file cannot be read: {}", .0.detail)]
    File(Failure),
}
