//! What transfers of both kinds report, and what the others are told of it.

use longhaul_contract::{AppId, OperationId, RangesAdded, Receipt};
use longhaul_engine::{AttemptEnd, Fact, Finished};
use longhaul_store::{ResponseBodyWrite, StoredBody, Write};
use longhaul_transfer::{
    Handle, Report, ResponseBody, TransferEnd, Transfers, UploadEnd, UploadReceipt, UploadReport,
    UsedProtocol,
};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::Parts;
use super::job::Prepared;
use crate::heart::Life;

/// Where the reports of one attempt arrive.
pub(super) enum Reports {
    Download(UnboundedReceiver<Report>),
    Upload(UnboundedReceiver<UploadReport>),
}

/// Whose reports they are, and who hears of them.
pub(super) struct Teller<'a> {
    pub(super) parts: &'a Parts,
    pub(super) app: &'a AppId,
    pub(super) id: OperationId,
    pub(super) attempt: u32,
    pub(super) life: Life,
}

pub(super) fn begin(transfers: &Transfers, job: Prepared) -> (Handle, Reports) {
    match job {
        Prepared::Download(job) => {
            let (sender, reports) = unbounded_channel();
            (transfers.start(*job, sender), Reports::Download(reports))
        }
        Prepared::Upload(job) => {
            let (sender, reports) = unbounded_channel();
            (transfers.start_upload(*job, sender), Reports::Upload(reports))
        }
    }
}

impl Reports {
    /// Tells of the next report. The inner value is the end of the attempt; the outer `None` means that none came.
    pub(super) async fn next(&mut self, teller: &Teller<'_>) -> Option<Option<AttemptEnd>> {
        match self {
            Self::Download(reports) => reports.recv().await.map(|report| teller.tell(report)),
            Self::Upload(reports) => reports.recv().await.map(|report| teller.tell_upload(report)),
        }
    }
}

impl Teller<'_> {
    fn fact(&self, fact: Fact) {
        self.parts.heart.report(Some(self.life), fact);
    }

    fn progressed(&self) {
        self.fact(Fact::Progressed { id: self.id, attempt: self.attempt });
    }

    fn responded(&self) {
        self.parts.news.publish(vec![(self.app.clone(), self.id)], Vec::new());
    }

    fn tell(&self, report: Report) -> Option<AttemptEnd> {
        match report {
            Report::Progressed => self.progressed(),
            Report::Received => self.fact(Fact::Received { id: self.id, attempt: self.attempt }),
            Report::Response(_) => self.responded(),
            Report::RangesAdded { ranges, was_restarted } => {
                let added =
                    RangesAdded { id: self.id, added_ranges: ranges, was_download_restarted: was_restarted };
                self.parts.news.publish_ranges(self.app.clone(), added);
            }
            Report::Ended(end) => return Some(self.end(*end)),
        }
        None
    }

    fn end(&self, end: TransferEnd) -> AttemptEnd {
        let metrics = &self.parts.metrics;
        match end {
            TransferEnd::Finished { receipt, response } => {
                metrics.bytes_fetched.inc_by(receipt.bytes_fetched);
                AttemptEnd::Finished(Box::new(Finished { receipt, response }))
            }
            TransferEnd::Stopped => AttemptEnd::Stopped,
            TransferEnd::Failed { failure, has_progressed, response } => {
                metrics.failed(failure.cause);
                AttemptEnd::Failed { failure, has_progressed, response }
            }
        }
    }

    fn tell_upload(&self, report: UploadReport) -> Option<AttemptEnd> {
        match report {
            UploadReport::Progressed => self.progressed(),
            UploadReport::Response(_) => self.responded(),
            UploadReport::Ended(end) => return Some(self.end_upload(*end)),
        }
        None
    }

    fn end_upload(&self, end: UploadEnd) -> AttemptEnd {
        let metrics = &self.parts.metrics;
        match end {
            UploadEnd::Finished { receipt, response, body } => {
                metrics.bytes_sent.inc_by(receipt.bytes_sent);
                self.keep_body(body);
                AttemptEnd::Finished(Box::new(Finished { receipt: receipt_of(receipt), response }))
            }
            UploadEnd::Stopped => AttemptEnd::Stopped,
            UploadEnd::Failed { failure, has_progressed, response, body, .. } => {
                metrics.failed(failure.cause);
                if !body.bytes.is_empty() {
                    self.keep_body(body);
                }
                AttemptEnd::Failed { failure, has_progressed, response }
            }
        }
    }

    /// It is written along with the end of the attempt, which is told after this.
    fn keep_body(&self, body: ResponseBody) {
        let body = StoredBody { bytes: body.bytes.into(), is_cut: body.is_truncated };
        let _acknowledgement =
            self.parts.writer.submit(vec![Write::ResponseBody(ResponseBodyWrite { id: self.id, body })]);
    }
}

/// The receipt of an upload, as callers see it.
pub(crate) fn receipt_of(receipt: UploadReceipt) -> Receipt {
    let protocol = match receipt.protocol {
        UsedProtocol::Plain => "plain",
        UsedProtocol::Tus => "tus",
        UsedProtocol::Resumable => "resumable",
        UsedProtocol::Parts => "parts",
    };
    Receipt {
        chain: receipt.chain,
        etag: receipt.etag,
        size: Some(receipt.size),
        restarts: receipt.restarts,
        upload: Some(longhaul_contract::UploadReceipt {
            protocol: protocol.to_owned(),
            bytes_sent: receipt.bytes_sent,
            requests: receipt.requests,
            part_etags: receipt.part_etags,
        }),
        ..Receipt::default()
    }
}
