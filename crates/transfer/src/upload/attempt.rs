//! One attempt of one upload.

use std::sync::Arc;

use longhaul_contract::{Cause, Failure};
use tokio::sync::mpsc;

use super::job::{UploadEnd, UploadJob, UploadReport};
use super::record::ResponseBody;
use crate::http::failure::permanent;
use crate::transfers::Shared;
use crate::worker::Live;

/// Runs the attempt to its end and reports it.
pub(crate) async fn run(
    _shared: Arc<Shared>,
    _job: UploadJob,
    live: Arc<Live>,
    reports: mpsc::UnboundedSender<UploadReport>,
) {
    let end = UploadEnd::Failed {
        failure: permanent(Cause::Internal, "uploads come with one of the next steps"),
        has_progressed: false,
        response: None,
        body: ResponseBody::default(),
        has_sent: false,
        is_repeatable: true,
    };
    live.set_ended();
    let _ = reports.send(UploadReport::Ended(Box::new(end)));
}

pub(crate) async fn discard(_shared: &Shared, _job: &UploadJob) -> Result<(), Failure> {
    Ok(())
}
