//! Several tus uploads side by side that the server puts together (tus 1.0, concatenation).

use std::sync::atomic::{AtomicUsize, Ordering};

use http::Method;
use url::Url;

use super::attempt::Upload;
use super::call::Order;
use super::fields::{UPLOAD_CONCAT, UPLOAD_LENGTH};
use super::record::UploadPartRecord;
use super::tus::{TusServer, TusStanding, greet};
use super::verdict::{Done, Trouble};
use crate::http::origin::Origin;
use crate::http::pool::Seat;
use longhaul_contract::Secret;

/// A part is never smaller.
const PART_BYTES_MIN: u64 = 16 << 20;
/// Requests in a row after which the server has no more of a part than before.
const FRUITLESS_MAX: u32 = 3;

impl Upload {
    pub(super) fn wants_concatenation(&self, server: &TusServer) -> bool {
        let record = self.desk.record();
        if !record.parts.is_empty() {
            return true;
        }
        record.upload_url.is_none()
            && server.offers("concatenation")
            && self.shared.settings.segments_max > 1
            && self.content.total >= 2 * PART_BYTES_MIN
    }

    /// The whole as several uploads; `None` when the server has forgotten one of them.
    pub(super) async fn tus_parts(&self, server: &TusServer) -> Result<Option<Done>, Trouble> {
        let pending = {
            let mut record = self.desk.record();
            if record.parts.is_empty() {
                record.parts = split(self.content.total, self.shared.settings.segments_max);
            }
            let open = |part: &&UploadPartRecord| part.offset < part.size;
            record.parts.iter().filter(open).map(|part| part.index as usize).collect()
        };
        let is_kept = self
            .side_by_side(pending, |_| self.job.url.clone(), |index, seat| self.tus_part(server, index, seat))
            .await?;
        if !is_kept {
            return Ok(None);
        }
        self.desk.save().await?;
        let urls: Vec<String> = {
            let record = self.desk.record();
            record
                .parts
                .iter()
                .filter_map(|part| part.url.as_ref())
                .map(|url| url.reveal().to_owned())
                .collect()
        };
        let order = greet(Order::new(Method::POST, self.job.url.clone()));
        let order = order.field(UPLOAD_CONCAT, &format!("final;{}", urls.join(" ")))?;
        let (_, said) = self.create_tus(self.describe(order)?).await?;
        Ok(Some(self.done(said)))
    }

    /// Brings one part to its end; false when the server has forgotten it.
    async fn tus_part(
        &self,
        server: &TusServer,
        index: usize,
        mut seat: Option<Seat>,
    ) -> Result<bool, Trouble> {
        let start: u64 = self.desk.record().parts.iter().take(index).map(|part| part.size).sum();
        let size = self.desk.part(index).size;
        let known = self.desk.part(index).url.as_ref().and_then(|url| Url::parse(url.reveal()).ok());
        let mut is_offset_known = known.is_none();
        let url = match known {
            Some(url) => url,
            None => {
                let order = greet(Order::new(Method::POST, self.job.url.clone())).number(UPLOAD_LENGTH, size);
                let (url, _) = self.create_tus(order.field(UPLOAD_CONCAT, "partial")?).await?;
                if let Some(part) = self.desk.record().parts.get_mut(index) {
                    part.url = Some(Secret::new(url.as_str()));
                }
                self.desk.save().await?;
                url
            }
        };
        let mut fruitless = 0;
        loop {
            if !is_offset_known {
                match self.tus_offset(&url, self.desk.part(index).offset, size).await?.0 {
                    TusStanding::At(offset) => self.desk.part_acknowledged(index, offset),
                    TusStanding::Gone | TusStanding::Unclear => return Ok(false),
                }
            }
            let before = self.desk.part(index).offset;
            if before == size {
                return Ok(true);
            }
            let range = start + before..start + size;
            is_offset_known = true;
            match self.tus_patch(server, &url, before, range, seat.take()).await?.0 {
                TusStanding::At(offset) => {
                    self.desk.part_acknowledged(index, offset);
                    self.desk.save().await?;
                }
                TusStanding::Unclear => is_offset_known = false,
                TusStanding::Gone => return Ok(false),
            }
            fruitless = if self.desk.part(index).offset > before { 0 } else { fruitless + 1 };
            if fruitless > FRUITLESS_MAX {
                return Err(self.fruitless().into());
            }
        }
    }

    /// Does the work for each of `pending`, as many at a time as the host has seats to spare: the first waits for its
    /// seat, the others work only while one is free. False when the work for one was in vain.
    pub(super) async fn side_by_side<'u, Work>(
        &'u self,
        pending: Vec<usize>,
        place: impl Fn(usize) -> Url + 'u,
        work: impl Fn(usize, Option<Seat>) -> Work + 'u,
    ) -> Result<bool, Trouble>
    where
        Work: Future<Output = Result<bool, Trouble>> + 'u,
    {
        let next = AtomicUsize::new(0);
        let count = pending.len().min(self.shared.settings.segments_max as usize).max(1);
        let hands = (0..count).map(|hand| {
            let (next, pending, place, work) = (&next, &pending, &place, &work);
            async move {
                while let Some(index) = pending.get(next.load(Ordering::Relaxed)).copied() {
                    let seat = if hand == 0 {
                        None
                    } else {
                        let origin = Origin::of(&place(index));
                        let Some(seat) =
                            origin.and_then(|origin| self.shared.client.pool.spare_seat(&origin))
                        else {
                            return Ok(true);
                        };
                        Some(seat)
                    };
                    next.fetch_add(1, Ordering::Relaxed);
                    if !work(index, seat).await? {
                        return Ok(false);
                    }
                }
                Ok::<_, Trouble>(true)
            }
        });
        let kept = futures_util::future::try_join_all(hands).await?;
        Ok(kept.into_iter().all(|is_kept| is_kept))
    }
}

fn split(total: u64, most: u32) -> Vec<UploadPartRecord> {
    let count = (total / PART_BYTES_MIN).clamp(1, u64::from(most.max(1)));
    let size = total.div_ceil(count);
    (0..count)
        .map(|index| UploadPartRecord {
            index: u32::try_from(index).unwrap_or(u32::MAX),
            size: size.min(total - index * size),
            ..UploadPartRecord::default()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_are_the_whole() {
        for (total, most) in [(32 << 20, 8), ((32 << 20) + 1, 8), (1 << 30, 3), ((1 << 30) + 7, 4)] {
            let parts = split(total, most);
            assert_eq!(parts.iter().map(|part| part.size).sum::<u64>(), total);
            assert!(parts.len() <= most as usize && parts.iter().all(|part| part.size > 0));
        }
    }
}
