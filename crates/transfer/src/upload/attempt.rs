//! One attempt of one upload, from what an earlier one left to the server's last word.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use longhaul_contract::{Failure, Remedy};
use tokio::sync::mpsc;

use super::buffers::Buffers;
use super::call::{Order, Said};
use super::content::Content;
use super::desk::Desk;
use super::job::{UploadEnd, UploadJob, UploadProtocol, UploadReport};
use super::record::{FinishedUpload, ResponseBody, UploadJournalRecord, UsedProtocol};
use super::verdict::{Done, Trouble, is_repeatable, unconfirmed};
use crate::http::address::Reach;
use crate::http::failure::{needs_input, transient};
use crate::http::request::Template;
use crate::transfers::{Shared, StopMode};
use crate::worker::Live;

/// How long a worker that was asked to stop may take to record what it knows.
const KEEP_MAX: Duration = Duration::from_secs(5);
/// How long a server may take to forget a partial upload.
const DISCARD_MAX: Duration = Duration::from_secs(10);

pub(crate) struct Upload {
    pub(super) job: UploadJob,
    pub(super) shared: Arc<Shared>,
    pub(super) desk: Arc<Desk>,
    pub(super) content: Arc<Content>,
    pub(super) template: Template,
    pub(super) reach: Reach,
    pub(super) buffers: Buffers,
}

/// Runs the attempt to its end and reports it.
pub(crate) async fn run(
    shared: Arc<Shared>,
    job: UploadJob,
    live: Arc<Live>,
    reports: mpsc::UnboundedSender<UploadReport>,
) {
    let end = match Upload::begin(&shared, job, &live, reports.clone()).await {
        Ok(upload) => upload.run().await,
        Err((failure, is_repeatable)) => UploadEnd::Failed {
            failure,
            has_progressed: false,
            response: None,
            body: ResponseBody::default(),
            has_sent: false,
            is_repeatable,
        },
    };
    live.set_ended();
    // Nobody listens any more when the service stops; the journal has what matters.
    let _ = reports.send(UploadReport::Ended(Box::new(end)));
}

/// See [`crate::Transfers::discard_upload`].
pub(crate) async fn discard(shared: &Arc<Shared>, job: &UploadJob) -> Result<(), Failure> {
    let Some(record) = job.journal.clone() else { return Ok(()) };
    let live = Arc::new(Live::new(crate::rate::RateLimit::new(None), 0));
    let (reports, _) = mpsc::unbounded_channel();
    let upload = Upload::with(shared, job.clone(), &live, reports, Content::default(), record)?;
    upload.terminate().await
}

impl Upload {
    async fn begin(
        shared: &Arc<Shared>,
        job: UploadJob,
        live: &Arc<Live>,
        reports: mpsc::UnboundedSender<UploadReport>,
    ) -> Result<Self, (Failure, bool)> {
        let is_repeatable = is_repeatable(&job.method, job.idempotency_key.is_some());
        let source = job.source.clone();
        let record = job.journal.clone().unwrap_or_default();
        let content = if record.finished.is_some() {
            Content::default()
        } else {
            let opened = tokio::task::spawn_blocking(move || Content::open(&source)).await;
            opened
                .unwrap_or_else(|_| {
                    Err(transient(longhaul_contract::Cause::FileIo, "opening the source was broken off"))
                })
                .map_err(|failure| (failure, is_repeatable))?
        };
        Self::with(shared, job, live, reports, content, record).map_err(|failure| (failure, is_repeatable))
    }

    fn with(
        shared: &Arc<Shared>,
        job: UploadJob,
        live: &Arc<Live>,
        reports: mpsc::UnboundedSender<UploadReport>,
        content: Content,
        record: UploadJournalRecord,
    ) -> Result<Self, Failure> {
        let reach = Reach { is_public_only: job.public_addresses_only, from: job.interface };
        let template = Template::new(
            &job.url,
            job.method.clone(),
            None,
            &job.headers,
            job.credential.as_ref().filter(|_| job.part_urls.is_empty()),
            &shared.settings.user_agent,
        )?
        .by_proxies(&job.proxy)
        .with_identity(job.identity.as_ref().filter(|_| job.part_urls.is_empty()));
        let desk = Desk::new(job.id, Arc::clone(&shared.journal), Arc::clone(live), reports, record);
        Ok(Self {
            shared: Arc::clone(shared),
            desk: Arc::new(desk),
            content: Arc::new(content),
            template,
            reach,
            buffers: Buffers::default(),
            job,
        })
    }

    async fn run(&self) -> UploadEnd {
        let finished = self.desk.record().finished.clone();
        if let Some(finished) = finished {
            return self.finished(finished);
        }
        let live = Arc::clone(&self.desk.live);
        let ended = tokio::select! {
            biased;
            mode = live.stopped() => Err(mode),
            moved = self.transfer() => Ok(moved),
        };
        match ended {
            Err(mode) => self.stop(mode).await,
            Ok(Ok(done)) => self.finish(done).await,
            Ok(Err(trouble)) => self.failed(trouble).await,
        }
    }

    async fn transfer(&self) -> Result<Done, Trouble> {
        self.take_up().await?;
        let done = if self.job.part_urls.is_empty() {
            match self.protocol().await? {
                UsedProtocol::Plain | UsedProtocol::Parts => self.plain().await?,
                UsedProtocol::Tus => self.tus().await?,
                UsedProtocol::Resumable => self.resumable().await?,
            }
        } else {
            self.put_parts().await?
        };
        // Bytes of two versions are no upload, whatever the server says.
        self.content.check()?;
        Ok(done)
    }

    /// Compares what an earlier attempt left with the source as it is now.
    async fn take_up(&self) -> Result<(), Trouble> {
        let identities = self.content.identities();
        let (is_first, is_other) = {
            let record = self.desk.record();
            let is_first = record.source.is_empty() && record.total == 0 && record.protocol.is_none();
            (is_first, record.source != identities || record.total != self.content.total)
        };
        if !is_first && is_other {
            if let Err(failure) = self.terminate().await {
                tracing::debug!(id = %self.job.id, detail = failure.detail, "a partial upload stays at its server");
            }
            self.desk.restart();
        }
        let offset = {
            let mut record = self.desk.record();
            record.source = identities;
            record.total = self.content.total;
            record.receipt.size = self.content.total;
            record.offset
        };
        self.desk.live.meter.set_to_send(self.content.total);
        self.desk.live.meter.set_sent(offset);
        // What the server had made resumable can be asked about.
        let may_be_done = {
            let record = self.desk.record();
            record.is_unanswered && record.upload_url.is_none()
        };
        if may_be_done && !self.is_repeatable() {
            let lost = transient(
                longhaul_contract::Cause::ConnectionClosed,
                format!("the answer of {} was lost", self.host()),
            );
            return Err(unconfirmed(lost).into());
        }
        self.desk.save().await?;
        Ok(())
    }

    /// By which protocol to begin, or to go on.
    async fn protocol(&self) -> Result<UsedProtocol, Trouble> {
        if let Some(known) = self.desk.record().protocol {
            return Ok(known);
        }
        Ok(match self.job.protocol {
            UploadProtocol::Plain => UsedProtocol::Plain,
            UploadProtocol::Tus => UsedProtocol::Tus,
            UploadProtocol::Resumable => UsedProtocol::Resumable,
            UploadProtocol::Auto if self.job.method == Method::POST && self.speaks_tus().await? => {
                UsedProtocol::Tus
            }
            UploadProtocol::Auto => UsedProtocol::Plain,
        })
    }

    pub(super) fn is_repeatable(&self) -> bool {
        is_repeatable(&self.job.method, self.job.idempotency_key.is_some())
    }

    pub(super) fn host(&self) -> &str {
        self.job.url.host_str().unwrap_or_default()
    }

    /// Notes the protocol that is used from now on.
    pub(super) fn choose(&self, protocol: UsedProtocol) {
        let mut record = self.desk.record();
        record.protocol = Some(protocol);
        record.receipt.protocol = protocol;
    }

    /// Notes a final response that counts, and what it tells.
    pub(super) fn note(&self, said: &Said) {
        let is_resumable = self.desk.record().upload_url.is_some();
        self.desk.record().is_unanswered = false;
        // An upload URL is a capability and is not shown.
        let shown = if is_resumable { &self.job.url } else { &said.url };
        self.desk.note_response(said.head.information(shown, is_resumable));
    }

    /// The response, as the last word on the upload.
    pub(super) fn done(&self, said: Said) -> Done {
        self.note(&said);
        self.desk.acknowledged(self.content.total);
        let mut record = self.desk.record();
        record.receipt.etag = said.head.validators(None).etag;
        Done { response: record.response.clone(), body: said.body }
    }

    /// A response that tells a failure.
    pub(super) fn refused(&self, said: Said, has_sent: bool) -> Trouble {
        self.note(&said);
        Trouble {
            failure: super::verdict::refused(&said.url, &said.head),
            response: self.desk.record().response.clone(),
            body: said.body,
            has_sent,
        }
    }

    async fn finish(&self, done: Done) -> UploadEnd {
        let finished = FinishedUpload { response: done.response, body: done.body };
        self.desk.record().finished = Some(finished.clone());
        // Whoever asks again after a crash is told the same.
        match self.desk.save().await {
            Ok(()) => self.finished(finished),
            Err(failure) => self.failed(failure.into()).await,
        }
    }

    fn finished(&self, finished: FinishedUpload) -> UploadEnd {
        let receipt = self.desk.record().receipt.clone();
        UploadEnd::Finished { receipt, response: finished.response, body: finished.body }
    }

    async fn failed(&self, trouble: Trouble) -> UploadEnd {
        let is_resumable = self.desk.record().upload_url.is_some();
        let is_repeatable = is_resumable || self.is_repeatable() || !self.desk.record().is_unanswered;
        // What counts is the failure that is already known.
        let _ = tokio::time::timeout(KEEP_MAX, self.desk.save()).await;
        let failure = if is_repeatable { trouble.failure } else { unconfirmed(trouble.failure) };
        if is_resumable && failure.remedy == Remedy::Permanent {
            // What it has of the bytes is of no use to anybody.
            let _ = self.terminate().await;
        }
        UploadEnd::Failed {
            failure,
            has_progressed: self.desk.has_progressed(),
            response: trouble.response,
            body: trouble.body,
            has_sent: trouble.has_sent,
            is_repeatable,
        }
    }

    async fn stop(&self, mode: StopMode) -> UploadEnd {
        if mode == StopMode::Keep {
            if let Ok(Err(failure)) = tokio::time::timeout(KEEP_MAX, self.desk.save()).await {
                return self.failed(failure.into()).await;
            }
            // Asked to discard after all while it was being kept.
            if self.desk.live.stop_mode() != Some(StopMode::Discard) {
                return UploadEnd::Stopped;
            }
        }
        if let Err(failure) = self.terminate().await {
            tracing::warn!(id = %self.job.id, detail = failure.detail, "a partial upload stays at its server");
        }
        UploadEnd::Stopped
    }

    /// Asks the server to forget what it has of the upload, if there is a way.
    async fn terminate(&self) -> Result<(), Failure> {
        let (protocol, urls) = {
            let record = self.desk.record();
            let parts = record.parts.iter().filter_map(|part| part.url.clone());
            let urls: Vec<_> = record.upload_url.clone().into_iter().chain(parts).collect();
            (record.protocol, urls)
        };
        if !matches!(protocol, Some(UsedProtocol::Tus | UsedProtocol::Resumable)) {
            return Ok(());
        }
        let mut first = Ok(());
        for url in urls {
            let Ok(url) = url.reveal().parse() else { continue };
            let order = Order::new(Method::DELETE, url);
            let order = if protocol == Some(UsedProtocol::Tus) {
                super::tus::greet(order)
            } else {
                super::resumable::greet(order)
            };
            let told = tokio::time::timeout(DISCARD_MAX, self.call(order, None)).await;
            let outcome = match told {
                Err(_) => {
                    Err(transient(longhaul_contract::Cause::ResponseTimeout, "the server does not answer"))
                }
                Ok(Err(trouble)) => Err(trouble.failure),
                Ok(Ok(said)) if said.is_success() || matches!(said.status(), 404 | 410) => Ok(()),
                Ok(Ok(said)) => Err(needs_input(
                    longhaul_contract::Cause::HttpStatus,
                    format!("{} answered {} to the wish to forget the upload", self.host(), said.status()),
                )),
            };
            first = first.and(outcome);
        }
        first
    }

    /// The partial upload is gone, or will never fit.
    pub(super) fn start_over(&self) {
        self.desk.restart();
    }
}
