//! The journal of an attempt: what is recorded when, and what becomes of the part file when it is let go.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use http::HeaderMap;
use longhaul_contract::{Blocker, Cause, ChecksumAlgorithm, Failure, RangeSet};

use super::attempt::Attempt;
use super::opening::{REPR_DIGEST, digests_in};
use crate::files::PartFile;
use crate::http::failure::blocked;
use crate::journal::{JournalError, JournalRecord};

impl Attempt {
    /// What is to be kept of the download now, with `ranges` as what is durable.
    pub(super) fn record(&self, part: &PartFile, ranges: RangeSet) -> JournalRecord {
        JournalRecord {
            validators: self.validators(),
            ranges,
            part: part.identity(),
            name: part.name().to_owned(),
            folder: part.folder().path().to_owned(),
            publish_as: None,
            receipt: self.desk.receipt().clone(),
            response: self.response.clone(),
            source: Some(self.sources.get(self.current).fingerprint.clone()),
            others: self.sources.other_versions(self.current),
            seams: self.desk.plan().seams(),
        }
    }

    /// Makes durable what has been written and records it.
    pub(super) fn checkpoint(&self) -> BoxFuture<'static, Result<(), Failure>> {
        let part = self.desk.part().expect("bytes have been written").clone();
        let mut record = self.record(&part, RangeSet::new());
        let (journal, id, desk) = (Arc::clone(&self.journal), self.job.id, Arc::clone(&self.desk));
        Box::pin(async move {
            record.ranges = part.sync().await?;
            // A seam is noted before the first byte behind it is written.
            record.seams = desk.plan().seams();
            journal.save(id, record).await.map_err(|error| not_recorded(&error))
        })
    }

    /// Keeps what is there for the next attempt.
    pub(super) async fn keep(&mut self) -> Result<(), Failure> {
        self.desk.plan().release_all();
        self.desk.report_ranges(true);
        let Some(part) = self.desk.part() else { return Ok(()) };
        if part.readable().is_empty() && !self.is_recorded {
            // Nothing is worth a record, and without one nobody would find the file again.
            let record = self.record(part, RangeSet::new());
            let folder = part.folder().path().to_owned();
            return self.files.discard(&folder, self.job.id, &record).await;
        }
        self.checkpoint().await?;
        self.is_recorded = true;
        Ok(())
    }

    /// Deletes the part file, as far as that is possible.
    pub(super) async fn discard(&mut self) {
        self.desk.plan().release_all();
        let record = match (self.desk.part(), &self.job.journal) {
            (Some(part), _) => self.record(part, RangeSet::new()),
            (None, Some(record)) => record.clone(),
            (None, None) => return,
        };
        if let Err(failure) = self.files.discard(&record.folder, self.job.id, &record).await {
            tracing::warn!(id = %self.job.id, detail = failure.detail, "the part file could not be removed");
        }
    }

    /// All bytes at hand are void. The record must not name them any longer when the first one is overwritten.
    pub(super) async fn void(&mut self) -> Result<(), Failure> {
        self.sources.forget_versions();
        self.announced.clear();
        self.desk.restart();
        let Some(part) = self.desk.part() else { return Ok(()) };
        if self.is_recorded {
            let record = self.record(part, RangeSet::new());
            self.journal.save(self.job.id, record).await.map_err(|error| not_recorded(&error))?;
        }
        part.restart().await?;
        self.desk.live.set_part(part.reader(), None);
        Ok(())
    }

    /// Digests to compute: those there is something to compare with.
    pub(super) fn algorithms(&self) -> Vec<ChecksumAlgorithm> {
        let mut algorithms: Vec<_> = self.announced.iter().map(|digest| digest.algorithm).collect();
        algorithms.extend(self.job.checksum.as_ref().map(|checksum| checksum.algorithm));
        algorithms.sort_unstable();
        algorithms.dedup();
        algorithms
    }

    /// Takes over digests that came behind the body (RFC 9530 section 3, RFC 9110 section 6.5).
    pub(super) fn note_trailers(&mut self, trailers: Option<&HeaderMap>) {
        if let Some(trailers) = trailers {
            self.announced.extend(digests_in(trailers, &REPR_DIGEST));
        }
    }
}

pub(super) fn not_recorded(error: &JournalError) -> Failure {
    blocked(Blocker::Store, Cause::StoreUnavailable, error.to_string())
}
