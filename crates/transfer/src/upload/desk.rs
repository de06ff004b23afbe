//! The books of one upload attempt: what was sent, what the server has acknowledged, and what is recorded of it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use futures_util::future::BoxFuture;
use longhaul_contract::{Blocker, Cause, Failure, OperationId, ResponseInformation, Secret};
use tokio::sync::mpsc;
use url::Url;

use super::content::Witness;
use super::job::UploadReport;
use super::record::{UploadJournalRecord, UploadPartRecord};
use crate::http::failure::blocked;
use crate::journal::Journal;
use crate::worker::Live;

pub(crate) struct Desk {
    id: OperationId,
    journal: Arc<dyn Journal>,
    pub(super) live: Arc<Live>,
    reports: mpsc::UnboundedSender<UploadReport>,
    record: Mutex<UploadJournalRecord>,
    has_progressed: AtomicBool,
    /// Body bytes that left in this attempt.
    sent: AtomicU64,
    /// Of those, what the record does not tell yet.
    unrecorded: AtomicU64,
}

impl Desk {
    pub(super) fn new(
        id: OperationId,
        journal: Arc<dyn Journal>,
        live: Arc<Live>,
        reports: mpsc::UnboundedSender<UploadReport>,
        record: UploadJournalRecord,
    ) -> Self {
        Self {
            id,
            journal,
            live,
            reports,
            record: Mutex::new(record),
            has_progressed: AtomicBool::new(false),
            sent: AtomicU64::new(0),
            unrecorded: AtomicU64::new(0),
        }
    }

    pub(super) fn record(&self) -> MutexGuard<'_, UploadJournalRecord> {
        self.record.lock().expect("no holder of this lock panics")
    }

    /// Makes what the record says now durable.
    pub(super) async fn save(&self) -> Result<(), Failure> {
        let record = {
            let mut record = self.record();
            record.receipt.bytes_sent += self.unrecorded.swap(0, Ordering::Relaxed);
            record.clone()
        };
        self.journal
            .save_upload(self.id, record)
            .await
            .map_err(|error| blocked(Blocker::Store, Cause::StoreUnavailable, error.to_string()))
    }

    /// Whether bytes have left that the record does not tell of.
    pub(super) fn is_behind(&self) -> bool {
        self.unrecorded.load(Ordering::Relaxed) > 0
    }

    /// Bytes the server has acknowledged.
    pub(super) fn offset(&self) -> u64 {
        self.record().offset
    }

    pub(super) fn sent_in_this_attempt(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    pub(super) fn has_progressed(&self) -> bool {
        self.has_progressed.load(Ordering::Relaxed)
    }

    pub(super) fn report(&self, report: UploadReport) {
        // Nobody listens any more when the service stops; the journal has what matters.
        let _ = self.reports.send(report);
    }

    /// The server has all bytes before `offset`.
    pub(super) fn acknowledged(&self, offset: u64) {
        let (is_news, is_whole) = {
            let mut record = self.record();
            let is_news = offset > record.offset;
            record.offset = offset;
            // What left just before a crash was not recorded any more; the server has it all the same.
            let counted = record.receipt.bytes_sent + self.unrecorded.load(Ordering::Relaxed);
            record.receipt.bytes_sent += offset.saturating_sub(counted);
            (is_news, offset >= record.total)
        };
        self.live.meter.set_sent(offset);
        if is_news {
            self.progressed(is_whole);
        }
    }

    /// The same while a request is under way, whose bytes run ahead.
    pub(super) fn acknowledged_on_the_way(&self, offset: u64) {
        let is_whole = {
            let mut record = self.record();
            if offset <= record.offset {
                return;
            }
            record.offset = offset;
            offset >= record.total
        };
        self.progressed(is_whole);
    }

    /// The server has more of one part than before.
    pub(super) fn part_acknowledged(&self, index: usize, offset: u64) {
        let is_whole = {
            let mut record = self.record();
            let Some(part) = record.parts.get_mut(index) else { return };
            let is_news = offset > part.offset;
            part.offset = offset;
            let held: u64 = record.parts.iter().map(|part| part.offset).sum();
            record.offset = held;
            if !is_news {
                return;
            }
            held >= record.total
        };
        self.progressed(is_whole);
    }

    fn progressed(&self, is_whole: bool) {
        // What comes in one go is over before anybody could act on its progress.
        if !self.has_progressed.swap(true, Ordering::Relaxed) && !is_whole {
            self.report(UploadReport::Progressed);
        }
    }

    pub(super) fn part(&self, index: usize) -> UploadPartRecord {
        self.record().parts.get(index).cloned().unwrap_or_default()
    }

    /// Where the rest of the bytes goes, once the server has said it.
    pub(super) fn upload_url(&self) -> Option<Url> {
        self.record().upload_url.as_ref().and_then(|url| Url::parse(url.reveal()).ok())
    }

    pub(super) fn set_upload_url(&self, url: &Url) {
        self.record().upload_url = Some(Secret::new(url.as_str()));
    }

    /// Nothing of what the server has counts any more.
    pub(super) fn restart(&self) {
        {
            let mut record = self.record();
            record.upload_url = None;
            record.offset = 0;
            record.parts.clear();
            record.expires = None;
            record.limits = super::record::UploadLimits::default();
            record.receipt.restarts += 1;
            self.live.set_restarts(record.receipt.restarts);
        }
        self.live.meter.upload_restarted();
    }

    pub(super) fn note_response(&self, information: ResponseInformation) {
        let had_one = self.record().response.replace(information.clone()).is_some();
        if had_one {
            self.live.meter.response_changed();
        }
        self.live.set_response(information.clone());
        self.report(UploadReport::Response(information));
    }
}

impl Witness for Desk {
    fn left(&self, bytes: u64) {
        self.sent.fetch_add(bytes, Ordering::Relaxed);
        self.unrecorded.fetch_add(bytes, Ordering::Relaxed);
        self.live.meter.left(bytes);
    }

    fn last(&self) -> BoxFuture<'_, Result<(), Failure>> {
        self.record().is_unanswered = true;
        Box::pin(self.save())
    }
}
