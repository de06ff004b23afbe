//! One attempt of one download, from what an earlier one left to the published file.

use std::sync::Arc;
use std::time::Duration;

use longhaul_contract::{Cause, Failure, Receipt, ResponseInformation};
use tokio::sync::mpsc;

use super::crew::Crew;
use super::desk::Desk;
use super::live::Live;
use super::plan::Plan;
use super::sources::{SourceIndex, Sources};
use crate::digest::DigestField;
use crate::files::{Files, Folder, Recovered};
use crate::http::address::Reach;
use crate::http::failure::transient;
use crate::http::follow::Source;
use crate::http::request::Template;
use crate::job::{Job, Report, TransferEnd};
use crate::journal::{Journal, Validators};
use crate::transfers::{Shared, StopMode};

/// Starts from byte 0 within one attempt; a file that changes more often is left alone for a while.
const RESTARTS_MAX: u32 = 3;
/// Requests in a row that bring nothing new.
const FRUITLESS_MAX: u32 = 3;

/// How long a worker that was asked to stop may take to write what it holds.
const FLUSH_MAX: Duration = Duration::from_secs(5);

pub(crate) struct Attempt {
    pub(super) job: Job,
    pub(super) desk: Arc<Desk>,
    pub(super) files: Files,
    pub(super) journal: Arc<dyn Journal>,
    pub(super) sources: Sources,
    /// Where the bytes at hand came from last.
    pub(super) current: SourceIndex,
    pub(super) folder: Option<Folder>,
    /// Name of the file as the caller gave it; `None` lets the server or the URL name it.
    pub(super) given_name: Option<String>,
    pub(super) response: Option<ResponseInformation>,
    /// Repr-Digest fields of the version that is being fetched.
    pub(super) announced: Vec<DigestField>,
    pub(super) restarts: u32,
    pub(super) has_mismatched: bool,
    pub(super) is_recorded: bool,
    /// Whether the server has shown that parts of this version can be had.
    pub(super) can_split: bool,
    /// Where a reader was last seen to wait.
    pub(super) cursor: u64,
}

/// How the transfer of the bytes ended.
pub(super) enum Moved {
    /// All bytes are written and have the right digests.
    Complete,
    /// An earlier attempt had published the file already.
    Published(Box<Receipt>),
}

/// Why the flows of the moment came to an end.
pub(super) enum Pause {
    /// Nothing is under way any more: ask for what is missing.
    Idle { failure: Option<Failure> },
    /// All bytes at hand are void.
    Void(String),
}

/// Runs the attempt to its end and reports it.
pub(crate) async fn run(
    shared: Arc<Shared>,
    job: Job,
    live: Arc<Live>,
    reports: mpsc::UnboundedSender<Report>,
) {
    let end = match Attempt::new(&shared, job, Arc::clone(&live), reports.clone()) {
        Ok(mut attempt) => attempt.run().await,
        Err(failure) => TransferEnd::Failed { failure, has_progressed: false, response: None },
    };
    live.set_ended();
    // Nobody listens any more when the service stops; the journal has what matters.
    let _ = reports.send(Report::Ended(Box::new(end)));
}

impl Attempt {
    fn new(
        shared: &Shared,
        job: Job,
        live: Arc<Live>,
        reports: mpsc::UnboundedSender<Report>,
    ) -> Result<Self, Failure> {
        let settings = Arc::clone(&shared.settings);
        let reach = Reach { is_public_only: job.public_addresses_only, from: job.interface };
        let template = Template::new(
            &job.url,
            job.method.clone(),
            job.body.as_ref(),
            &job.headers,
            job.credential.as_ref(),
            &settings.user_agent,
        )?;
        let template = Arc::new(template.by_proxies(&job.proxy).with_identity(job.identity.as_ref()));
        let addresses = std::iter::once(&job.url).chain(&job.mirrors);
        let sources = addresses
            .map(|url| {
                let template = Arc::clone(&template);
                Source::new(url.clone(), template, reach, settings.redirects_max, job.credential.as_ref())
            })
            .collect();
        let mut sources = Sources::new(sources);
        let current = sources.best().expect("there is at least the URL itself");
        let record = job.journal.as_ref();
        if let Some(record) = record {
            sources.remember(record);
        }
        let is_verifiable =
            job.checksum.is_some() || job.expect.as_ref().is_some_and(|expect| expect.size.is_some());
        let desk = Desk::new(
            Arc::clone(&shared.client),
            settings,
            live,
            reports,
            job.is_random_access,
            is_verifiable,
            record.map(|record| record.receipt.clone()).unwrap_or_default(),
        );
        Ok(Self {
            desk: Arc::new(desk),
            files: shared.files.clone(),
            journal: Arc::clone(&shared.journal),
            sources,
            current,
            folder: None,
            given_name: given_name(&job.result_file),
            response: record.and_then(|record| record.response.clone()),
            announced: Vec::new(),
            restarts: 0,
            has_mismatched: false,
            is_recorded: record.is_some(),
            can_split: false,
            cursor: 0,
            job,
        })
    }

    async fn run(&mut self) -> TransferEnd {
        let desk = Arc::clone(&self.desk);
        let moved = tokio::select! {
            biased;
            mode = stopped(&desk) => Err(mode),
            moved = self.transfer() => Ok(moved),
        };
        let outcome = match moved {
            Err(mode) => return self.stop(mode).await,
            Ok(Ok(Moved::Published(receipt))) => Ok(*receipt),
            Ok(Ok(Moved::Complete)) => {
                self.desk.report(Report::Received);
                self.publish().await
            }
            Ok(Err(failure)) => Err(failure),
        };
        match outcome {
            Ok(receipt) => TransferEnd::Finished { receipt, response: self.response.clone() },
            Err(failure) => {
                // What counts is the failure that is already known.
                let _ = self.keep().await;
                TransferEnd::Failed {
                    failure,
                    has_progressed: self.desk.has_progressed(),
                    response: self.response.clone(),
                }
            }
        }
    }

    async fn stop(&mut self, mode: StopMode) -> TransferEnd {
        match mode {
            StopMode::Keep => {
                if let Err(failure) = self.keep().await {
                    return TransferEnd::Failed {
                        failure,
                        has_progressed: self.desk.has_progressed(),
                        response: self.response.clone(),
                    };
                }
                // Asked to discard after all while the bytes were being kept.
                if self.desk.live.stop_mode() == Some(StopMode::Discard) {
                    self.discard().await;
                }
            }
            StopMode::Discard => self.discard().await,
        }
        TransferEnd::Stopped
    }

    /// Brings all bytes to disk and checks them.
    async fn transfer(&mut self) -> Result<Moved, Failure> {
        if let Some(receipt) = self.recover().await? {
            return Ok(Moved::Published(Box::new(receipt)));
        }
        let mut fruitless = 0;
        let mut held_before = 0;
        loop {
            while !self.desk.plan().is_complete() {
                let Some(flow) = self.open().await? else { continue };
                let pause = Crew::new(self, flow).run().await?;
                if self.desk.live.stop_mode().is_some() {
                    // Whoever polls this drops it now.
                    std::future::pending::<()>().await;
                }
                match pause {
                    Pause::Void(why) => self.start_over(&why).await?,
                    Pause::Idle { failure: Some(failure) }
                        if !self.desk.plan().is_complete() && !self.turn_to_another(&failure) =>
                    {
                        return Err(failure);
                    }
                    Pause::Idle { .. } => {}
                }
                let held = self.desk.plan().held().bytes();
                fruitless = if held == held_before { fruitless + 1 } else { 0 };
                held_before = held;
                if fruitless > FRUITLESS_MAX {
                    return Err(transient(
                        Cause::InvalidResponse,
                        format!("{} answers, but without bringing what is missing", self.host()),
                    ));
                }
            }
            self.desk.report_ranges(true);
            if let Some(why) = self.prove_seams().await? {
                self.sources.suspect(self.current);
                self.start_over(&why).await?;
                continue;
            }
            match self.verify().await? {
                None => return Ok(Moved::Complete),
                Some(failure) if self.has_mismatched => return Err(failure),
                Some(failure) => {
                    self.has_mismatched = true;
                    self.sources.suspect(self.current);
                    self.start_over(&failure.detail).await?;
                }
            }
        }
    }

    /// Finds what an earlier attempt left. A receipt means that it had come to the end.
    async fn recover(&mut self) -> Result<Option<Receipt>, Failure> {
        let folder = self.files.open_folder(folder_of(&self.job.result_file)).await?;
        self.folder = Some(folder.clone());
        let Some(record) = self.job.journal.clone() else { return Ok(None) };
        let folder = if record.folder == folder.path() {
            folder
        } else {
            let recorded = self.files.open_folder(&record.folder).await?;
            self.folder = Some(recorded.clone());
            recorded
        };
        match self.files.recover(&folder, self.job.id, &record).await? {
            Recovered::Part(part) => {
                let held = part.readable();
                self.desk.live.meter.set_received(held.bytes());
                let total = record.validators.total;
                *self.desk.plan() = Plan::new(total, held).with_seams(&record.seams);
                self.desk.live.set_part(part.reader(), total);
                part.start_digests(self.algorithms());
                self.desk.set_part(part);
                Ok(None)
            }
            Recovered::Published { name, size } => {
                let mut receipt = record.receipt;
                receipt.path = Some(format!("{}/{name}", folder.path().trim_end_matches('/')));
                receipt.size = Some(size);
                self.desk.live.meter.set_received(size);
                self.desk.live.meter.set_total(size);
                Ok(Some(receipt))
            }
            Recovered::Missing | Recovered::Replaced => {
                self.sources.forget_versions();
                Ok(None)
            }
        }
    }

    /// Whether another address can go on where this one failed.
    fn turn_to_another(&mut self, failure: &Failure) -> bool {
        let is_local = matches!(failure.remedy, longhaul_contract::Remedy::Blocked { .. });
        if is_local || self.sources.other(self.current, 0).is_none() {
            return false;
        }
        self.sources.has_failed(self.current, failure.clone());
        true
    }

    /// Throws all bytes at hand away and begins again at byte 0.
    pub(super) async fn start_over(&mut self, why: &str) -> Result<(), Failure> {
        tracing::info!(id = %self.job.id, why, "starting over from byte 0");
        self.restarts += 1;
        if self.restarts > RESTARTS_MAX {
            return Err(transient(Cause::SourceChanged, format!("{} keeps changing: {why}", self.host())));
        }
        self.void().await
    }

    pub(super) fn host(&self) -> String {
        self.sources.get(self.current).source.host().to_owned()
    }

    /// The version of the bytes at hand, as the address they came from names it.
    pub(super) fn validators(&self) -> Validators {
        let known = self.sources.get(self.current).validators.clone().unwrap_or_default();
        Validators { total: self.desk.plan().total().or(known.total), ..known }
    }
}

/// Resolves when the worker was asked to stop and what has come is on its way to disk.
async fn stopped(desk: &Desk) -> StopMode {
    let mode = desk.live.stopped().await;
    if mode == StopMode::Keep {
        // A disk that takes longer loses what is in memory; it will be fetched again.
        let _ = tokio::time::timeout(FLUSH_MAX, desk.flushed()).await;
    }
    desk.live.stop_mode().unwrap_or(mode)
}

/// The folder part of the path a caller gave.
fn folder_of(result_file: &str) -> &str {
    let folder = result_file.rsplit_once('/').map_or("", |(folder, _)| folder);
    if folder.is_empty() { "/" } else { folder }
}

fn given_name(result_file: &str) -> Option<String> {
    let name = result_file.rsplit_once('/').map_or(result_file, |(_, name)| name);
    (!name.is_empty()).then(|| name.to_owned())
}
