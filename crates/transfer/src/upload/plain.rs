//! One request with the whole body. With the fields of the draft on it, the server may make it resumable.

use http::header::HeaderMap;
use url::Url;

use super::attempt::Upload;
use super::call::Order;
use super::fields::{self, INTEROP_VERSION, TUS_RESUMABLE, UPLOAD_COMPLETE, UPLOAD_LENGTH, UPLOAD_OFFSET};
use super::job::UploadProtocol;
use super::record::UsedProtocol;
use super::resumable::{self, INTEROP};
use super::verdict::{Done, Trouble, unconfirmed};
use crate::http::failure::{needs_input, permanent};
use longhaul_contract::Cause;

impl Upload {
    pub(super) async fn plain(&self) -> Result<Done, Trouble> {
        self.desk.record().receipt.protocol = UsedProtocol::Plain;
        let total = self.content.total;
        let invites = self.job.protocol == UploadProtocol::Auto;
        let is_repeatable = self.is_repeatable();
        let mut order = Order::new(self.job.method.clone(), self.job.url.clone()).range(0..total);
        order.notes_last = !is_repeatable && total > 0;
        if invites {
            order = resumable::greet(order).field(UPLOAD_COMPLETE, "?1")?.number(UPLOAD_LENGTH, total);
            order.wants_interims = true;
        }
        if !is_repeatable && total == 0 {
            self.desk.record().is_unanswered = true;
            self.desk.save().await?;
        }
        match self.call(order, None).await {
            Ok(said) if said.is_success() => {
                let is_partial = fields::boolean(&said.head.headers, &UPLOAD_COMPLETE) == Some(false);
                if is_partial && self.desk.record().upload_url.is_some() {
                    return self.resumable().await;
                }
                Ok(self.done(said))
            }
            Ok(said) => {
                let speaks_tus = said.head.headers.contains_key(&TUS_RESUMABLE) && said.status() == 412;
                if invites && speaks_tus {
                    self.learn_tus(true);
                    self.note(&said);
                    return self.tus().await;
                }
                let is_final = fields::boolean(&said.head.headers, &UPLOAD_COMPLETE) == Some(true);
                if said.status() >= 500 && !is_final && self.desk.record().upload_url.is_some() {
                    self.note(&said);
                    return self.resumable().await;
                }
                if said.status() == 413 && invites && self.shrinks(&said.head.headers) {
                    self.note(&said);
                    return self.resumable().await;
                }
                let may_be_done = self.desk.record().is_unanswered;
                let trouble = self.refused(said, self.desk.sent_in_this_attempt() > 0);
                // An answer that leaves open whether the request was carried out.
                let failure = if may_be_done { unconfirmed(trouble.failure) } else { trouble.failure };
                Err(Trouble { failure, ..trouble })
            }
            Err(trouble) => {
                if !trouble.has_sent {
                    self.desk.record().is_unanswered = false;
                }
                Err(trouble)
            }
        }
    }

    /// Whether a body that was too large for one request may come in several.
    fn shrinks(&self, headers: &HeaderMap) -> bool {
        let Some((limits, _)) = fields::limits(headers) else { return false };
        let is_possible = limits.max_append_size.is_some_and(|most| most > 0 && most < self.content.total)
            && limits.max_size.is_none_or(|most| most >= self.content.total);
        if is_possible {
            self.desk.restart();
            self.desk.record().limits = limits;
        }
        is_possible
    }

    /// The server spoke while the body was on its way (draft, section "Status Code 104"). The upload URL is recorded
    /// before anything relies on it.
    pub(super) async fn note_interim(&self, asked: &Url, headers: &HeaderMap) -> Result<(), Trouble> {
        if fields::integer(headers, &INTEROP_VERSION) != Some(INTEROP) {
            return Ok(());
        }
        let mut is_news = false;
        if let Some(location) = fields::text(headers, &http::header::LOCATION) {
            let url = asked.join(location).map_err(|error| {
                needs_input(Cause::InvalidResponse, format!("{} names no upload URL: {error}", self.host()))
            })?;
            match self.desk.upload_url() {
                None => {
                    resumable::check_url(asked, &url)?;
                    self.desk.set_upload_url(&url);
                    self.choose(UsedProtocol::Resumable);
                    is_news = true;
                }
                Some(known) if known == url => {}
                Some(_) => {
                    return Err(permanent(
                        Cause::InvalidResponse,
                        format!("{} named two upload URLs for one request", self.host()),
                    )
                    .into());
                }
            }
        }
        is_news |= self.note_limits(headers)?;
        let offset = fields::integer(headers, &UPLOAD_OFFSET);
        if let Some(offset) = offset.filter(|offset| *offset <= self.content.total) {
            self.note_offset(offset);
        }
        if is_news {
            self.desk.save().await?;
        }
        Ok(())
    }
}
