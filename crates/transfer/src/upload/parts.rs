//! Parts with addresses of their own, as the presigned URLs of an object store are: each is PUT, its ETag is kept.

use http::Method;
use longhaul_contract::{Cause, Failure};
use url::Url;

use super::attempt::Upload;
use super::call::Order;
use super::record::{UploadPartRecord, UsedProtocol};
use super::verdict::{Done, Trouble};
use crate::http::failure::{needs_input, permanent};
use crate::http::pool::Seat;

impl Upload {
    pub(super) async fn put_parts(&self) -> Result<Done, Trouble> {
        self.choose(UsedProtocol::Parts);
        self.lay_out()?;
        let pending = {
            let record = self.desk.record();
            record.parts.iter().filter(|part| part.etag.is_none()).map(|part| part.index as usize).collect()
        };
        self.side_by_side(pending, |index| self.part_url(index), |index, seat| self.put_part(index, seat))
            .await?;
        let mut record = self.desk.record();
        record.receipt.part_etags =
            record.parts.iter().map(|part| part.etag.clone().unwrap_or_default()).collect();
        Ok(Done { response: record.response.clone(), ..Done::default() })
    }

    fn part_url(&self, index: usize) -> Url {
        self.job.part_urls[index].clone()
    }

    fn lay_out(&self) -> Result<(), Failure> {
        let (total, size) = (self.content.total, self.job.part_size);
        let count = if size == 0 { 0 } else { total.div_ceil(size).max(1) };
        if count != self.job.part_urls.len() as u64 {
            return Err(permanent(
                Cause::SizeMismatch,
                format!(
                    "{} part URLs are given, and {total} bytes in parts of {size} need {count}",
                    self.job.part_urls.len()
                ),
            ));
        }
        let mut record = self.desk.record();
        if record.parts.len() as u64 != count {
            record.parts = (0..count)
                .map(|index| UploadPartRecord {
                    index: u32::try_from(index).unwrap_or(u32::MAX),
                    size: size.min(total - index * size),
                    ..UploadPartRecord::default()
                })
                .collect();
        }
        Ok(())
    }

    async fn put_part(&self, index: usize, seat: Option<Seat>) -> Result<bool, Trouble> {
        let start = index as u64 * self.job.part_size;
        let size = self.desk.part(index).size;
        let order = Order::new(Method::PUT, self.part_url(index)).range(start..start + size);
        let said = self.call(order, seat).await?;
        if !said.is_success() {
            return Err(self.refused(said, size > 0));
        }
        let Some(etag) = said.head.text(&http::header::ETAG).map(str::to_owned) else {
            return Err(needs_input(
                Cause::InvalidResponse,
                format!("{} took a part without naming its ETag", said.url.host_str().unwrap_or_default()),
            )
            .into());
        };
        self.note(&said);
        if let Some(part) = self.desk.record().parts.get_mut(index) {
            part.etag = Some(etag);
        }
        self.desk.part_acknowledged(index, size);
        self.desk.save().await?;
        Ok(true)
    }
}
