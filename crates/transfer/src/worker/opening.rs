//! From what is missing to a response that brings it: which request to make, and what its answer means for the
//! bytes at hand.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderName, header};
use longhaul_contract::{Cause, Expectation, Failure, IfExists, names};

use super::attempt::Attempt;
use super::desk::Desk;
use super::plan::{LeaseId, Plan};
use super::pump::Flow;
use super::rein::Rein;
use super::sources::SourceIndex;
use crate::digest::{DigestField, parse_digest_field};
use crate::http::accept::{Asked, Demand, Verdict, Version, judge};
use crate::http::failure::permanent;
use crate::http::follow::{FollowError, Reached, Source, Urgency};
use crate::http::head::{Head, strong_validator};
use crate::http::origin::{Origin, shown};
use crate::http::request::RangeFields;
use crate::job::Report;
use crate::journal::Validators;

/// Bytes compared before those of another address are trusted.
pub(super) const WIDE_OVERLAP_BYTES: u64 = 256 << 10;
/// A 404 in the middle of a download may be a cluster member that lags behind: it is asked again after these pauses.
const FLAP_PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(2)];

/// One request, before it is made.
pub(super) struct Request {
    pub(super) source: Arc<Source>,
    pub(super) range: Option<RangeFields>,
    pub(super) known: Option<Validators>,
    pub(super) held: u64,
    pub(super) holds_no_page: bool,
}

/// What a job demands of responses; cheap enough to be cloned for each flow.
#[derive(Clone)]
pub(super) struct Demands {
    pub(super) expect: Option<Expectation>,
    pub(super) has_checksum: bool,
    pub(super) is_random_access: bool,
}

/// How the next bytes can be asked for.
enum Mode {
    /// Without a range: nothing is at hand.
    Whole,
    /// Everything, as a range, to see that the server has ranges.
    Probe,
    Resume {
        start: u64,
        range: RangeFields,
        known: Validators,
    },
    /// Nothing ties the bytes at hand to what the server has.
    Impossible,
}

impl Request {
    pub(super) async fn make(
        &self,
        desk: &Desk,
        demands: &Demands,
        urgency: Urgency,
    ) -> Result<(Verdict, Reached), FollowError> {
        let reached = self.source.ask(&desk.client, self.range.as_ref(), urgency).await?;
        let asked = Asked {
            start: self.range.as_ref().map(|range| range.start),
            known: self.known.as_ref(),
            held: self.held,
            holds_no_page: self.holds_no_page,
        };
        let demand = Demand {
            url: self.source.url(),
            expect: demands.expect.as_ref(),
            has_checksum: demands.has_checksum,
            is_random_access: demands.is_random_access,
        };
        let verdict = judge(&asked, &demand, &reached.answer.head, SystemTime::now());
        Ok((verdict, reached))
    }
}

impl Attempt {
    /// Asks for the next missing bytes. `None` when a look at the plan tells more: all is there, or nothing is left.
    pub(super) async fn open(&mut self) -> Result<Option<Flow>, Failure> {
        let mut flaps = FLAP_PAUSES.iter();
        loop {
            let Some(index) = self.sources.best() else {
                return Err(self
                    .sources
                    .first_failure()
                    .unwrap_or_else(|| permanent(Cause::Internal, "no address of the file is left to ask")));
            };
            self.current = index;
            self.note_wanted();
            let mode = self.mode(index);
            let (range, known) = match &mode {
                Mode::Whole => (None, None),
                Mode::Probe => (Some(RangeFields { start: 0, end: None, if_range: None }), None),
                Mode::Resume { range, known, .. } => (Some(range.clone()), Some(known.clone())),
                Mode::Impossible => {
                    self.start_over("the server offers nothing to tell whether the file has changed").await?;
                    continue;
                }
            };
            let request = self.request(index, range, known);
            let demands = self.demands();
            let (verdict, reached) = match request.make(&self.desk, &demands, Urgency::First).await {
                Ok(answered) => answered,
                Err(FollowError::NoSeat) => continue,
                Err(FollowError::Failed(failure)) => {
                    self.give_up(index, failure)?;
                    continue;
                }
            };
            match verdict {
                Verdict::Whole { total, is_resumable, versus_known } => {
                    let is_conditional = request.range.as_ref().is_some_and(|range| range.if_range.is_some());
                    if versus_known == Version::Same && is_conditional {
                        // A server, or a cache before it, that drops Range where it sees If-Range.
                        self.learn_ignores_if_range(&reached);
                        reached.answer.body.discard();
                        continue;
                    }
                    return self
                        .accept_whole(index, reached, total, is_resumable, versus_known)
                        .await
                        .map(Some);
                }
                Verdict::Part { start, end, total, is_resumable } => {
                    let place = Place { start, end, total, is_resumable };
                    return self.accept_part(index, &mode, reached, place).await.map(Some);
                }
                Verdict::Complete => {
                    reached.answer.body.discard();
                    let held = self.desk.plan().held().available_from(0);
                    self.desk.plan().set_total(held);
                    return Ok(None);
                }
                Verdict::Changed(why) | Verdict::NoRange(why) => {
                    reached.answer.body.discard();
                    self.start_over(&why).await?;
                }
                Verdict::Refused(failure) => {
                    reached.answer.body.discard();
                    let is_flap = failure.http_status == Some(404) && request.held > 0;
                    match flaps.next().filter(|_| is_flap) {
                        Some(pause) => tokio::time::sleep(*pause).await,
                        None if failure.http_status == Some(304) && request.source.drop_conditions() => {}
                        None => self.give_up(index, failure)?,
                    }
                }
            }
        }
    }

    pub(super) fn demands(&self) -> Demands {
        Demands {
            expect: self.job.expect.clone(),
            has_checksum: self.job.checksum.is_some(),
            is_random_access: self.job.is_random_access,
        }
    }

    pub(super) fn request(
        &self,
        index: SourceIndex,
        range: Option<RangeFields>,
        known: Option<Validators>,
    ) -> Request {
        let held = self.desk.plan().held().available_from(0);
        let content_type = self.response.as_ref().and_then(|response| {
            response.headers.iter().find(|(name, _)| name == header::CONTENT_TYPE.as_str())
        });
        let has_bytes = !self.desk.plan().held().is_empty();
        let was_page = content_type.is_some_and(|(_, value)| value.to_ascii_lowercase().contains("html"));
        Request {
            source: Arc::clone(&self.sources.get(index).source),
            range,
            known,
            held,
            holds_no_page: has_bytes && content_type.is_some() && !was_page,
        }
    }

    /// Leaves the address aside; without another one its failure is that of the attempt.
    pub(super) fn give_up(&mut self, index: SourceIndex, failure: Failure) -> Result<(), Failure> {
        let is_local = matches!(failure.remedy, longhaul_contract::Remedy::Blocked { .. });
        let is_last = self.sources.other(index, 0).is_none();
        self.sources.has_failed(index, failure.clone());
        if is_local {
            return Err(failure);
        }
        if is_last { Err(self.sources.first_failure().unwrap_or(failure)) } else { Ok(()) }
    }

    fn mode(&self, index: SourceIndex) -> Mode {
        let plan = self.desk.plan();
        if plan.held().is_empty() {
            return if self.job.is_random_access { Mode::Probe } else { Mode::Whole };
        }
        let settings = &self.desk.settings;
        let candidate = self.sources.get(index);
        let ignores_if_range = self.ignores_if_range(index);
        let (if_range, overlap, known, is_bound) = match &candidate.validators {
            Some(own) => {
                let strong = strong_validator(own).map(str::to_owned);
                let is_bound = strong.is_some();
                (strong.filter(|_| !ignores_if_range), settings.overlap_bytes, own.clone(), is_bound)
            }
            None => {
                let total_only = Validators { total: plan.total(), ..Validators::default() };
                (None, WIDE_OVERLAP_BYTES.max(settings.overlap_bytes), total_only, false)
            }
        };
        let mut hole = plan.next_hole(self.cursor);
        let overlap_at = |hole: Option<(u64, Option<u64>)>| {
            hole.map_or(0, |(position, _)| plan.held_before(position, overlap))
        };
        if !is_bound {
            if overlap_at(hole) == 0 {
                let first_end = plan.held().iter().next().map_or(0, |range| range.end());
                hole = plan.next_hole(first_end);
            }
            let is_known_enough = candidate.validators.is_some() || plan.total().is_some();
            if !settings.allow_unvalidated_resume || overlap_at(hole) == 0 || !is_known_enough {
                return Mode::Impossible;
            }
        }
        let Some((position, end)) = hole else { return Mode::Impossible };
        let range = RangeFields {
            start: position - overlap_at(hole),
            // A little more than is missing, to be compared with what is at hand there.
            end: end
                .map(|end| end.saturating_add(settings.overlap_bytes))
                .filter(|end| plan.total().is_none_or(|total| *end < total)),
            if_range,
        };
        Mode::Resume { start: position, range, known }
    }

    /// Wishes that came while nothing was under way say where to begin.
    fn note_wanted(&mut self) {
        if let Some(range) = self.desk.live.take_wanted().last() {
            self.cursor = range.offset;
        }
    }

    pub(super) fn ignores_if_range(&self, index: SourceIndex) -> bool {
        Origin::of(&self.sources.get(index).source.current())
            .is_some_and(|origin| self.desk.client.pool.traits(&origin).ignores_if_range)
    }

    pub(super) fn learn_ignores_if_range(&self, reached: &Reached) {
        if let Some(origin) = Origin::of(&reached.url) {
            self.desk.client.pool.learn(&origin, |traits| traits.ignores_if_range = true);
        }
    }

    async fn accept_whole(
        &mut self,
        index: SourceIndex,
        reached: Reached,
        total: Option<u64>,
        is_resumable: bool,
        versus_known: Version,
    ) -> Result<Flow, Failure> {
        let has_bytes = !self.desk.plan().held().is_empty();
        if has_bytes {
            let why = match versus_known {
                Version::Other(difference) => difference,
                Version::Same | Version::Unknown => {
                    "the server sent the whole file instead of the rest".to_owned()
                }
            };
            self.start_over(&why).await?;
        }
        self.begin_file(&reached, total).await?;
        self.sources.get_mut(index).validators = Some(reached.answer.head.validators(total));
        self.note_response(&reached, is_resumable);
        let lease = self.desk.plan().lease(0, total);
        Ok(flow(reached, lease, 0, total, Rein::default()))
    }

    async fn accept_part(
        &mut self,
        index: SourceIndex,
        mode: &Mode,
        reached: Reached,
        place: Place,
    ) -> Result<Flow, Failure> {
        let seen = reached.answer.head.validators(place.total);
        let lease = if let Mode::Resume { start, .. } = mode {
            let mut plan = self.desk.plan();
            if let (None, Some(total)) = (plan.total(), place.total) {
                plan.set_total(total);
                self.desk.live.meter.set_total(total);
            }
            let end = plan.next_hole(*start).and_then(|(_, end)| end);
            plan.lease(*start, end)
        } else {
            self.begin_file(&reached, place.total).await?;
            self.desk.plan().lease(0, place.total)
        };
        let candidate = self.sources.get_mut(index);
        candidate.validators.get_or_insert(seen);
        self.note_response(&reached, place.is_resumable);
        Ok(flow(reached, lease, place.start, Some(place.end), Rein::default()))
    }

    /// Makes the file ready for a new version of its bytes, from byte 0 on.
    async fn begin_file(&mut self, reached: &Reached, total: Option<u64>) -> Result<(), Failure> {
        self.announced = digests(&reached.answer.head, &REPR_DIGEST);
        let part = match self.desk.part() {
            Some(part) => {
                if let Some(total) = total {
                    part.reserve(total).await?;
                }
                part.clone()
            }
            None => {
                let folder = self.folder.as_ref().expect("the folder is opened before anything is asked for");
                let name = match &self.given_name {
                    Some(name) => name.clone(),
                    None => {
                        // Nobody knew it before, so nobody has looked.
                        let name = self.name_from(&reached.answer.head);
                        if self.job.if_exists == IfExists::Fail {
                            self.files.check_free(folder, &name).await?;
                        }
                        name
                    }
                };
                let part = self.files.create_part(folder, &name, self.job.id, total).await?;
                self.desk.set_part(part.clone());
                part
            }
        };
        part.start_digests(self.algorithms());
        *self.desk.plan() = Plan::new(total, longhaul_contract::RangeSet::new());
        self.desk.live.set_part(part.reader(), total);
        Ok(())
    }

    fn name_from(&self, head: &Head) -> String {
        head.headers
            .get(header::CONTENT_DISPOSITION)
            .and_then(|value| names::from_content_disposition(value.as_bytes()))
            .unwrap_or_else(|| names::from_url(&self.job.url))
    }

    fn note_response(&mut self, reached: &Reached, is_resumable: bool) {
        let information = reached.answer.head.information(&reached.url, is_resumable);
        if self.response.is_some() {
            self.desk.live.meter.response_changed();
        }
        let seen = self.validators();
        {
            let mut receipt = self.desk.receipt();
            receipt.chain.clone_from(&reached.chain);
            receipt.etag = seen.etag;
            receipt.last_modified = seen.last_modified;
        }
        // An FTP server sends to the end of the file whatever is wanted, and each piece would be a login of its own.
        self.can_split = is_resumable && Origin::of(&reached.url).is_some();
        self.response = Some(information.clone());
        self.desk.live.set_response(information.clone());
        self.desk.report(Report::Response(information));
    }
}

/// What a 206 holds.
struct Place {
    start: u64,
    end: u64,
    total: Option<u64>,
    is_resumable: bool,
}

pub(super) fn flow(reached: Reached, lease: LeaseId, start: u64, end: Option<u64>, rein: Rein) -> Flow {
    let content_digests = digests(&reached.answer.head, &CONTENT_DIGEST);
    Flow {
        lease,
        start,
        end,
        host: reached.url.host_str().unwrap_or_default().to_owned(),
        url: shown(&reached.url),
        remote: reached.answer.remote,
        local: reached.answer.local,
        content_digests,
        rein,
        body: reached.answer.body,
    }
}

pub(super) const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");

/// The digests of a field that may be spread over several lines (RFC 9651 section 4.2).
fn digests(head: &Head, name: &HeaderName) -> Vec<DigestField> {
    digests_in(&head.headers, name)
}

pub(super) fn digests_in(headers: &http::HeaderMap, name: &HeaderName) -> Vec<DigestField> {
    let lines: Vec<&[u8]> = headers.get_all(name).iter().map(http::HeaderValue::as_bytes).collect();
    if lines.is_empty() { Vec::new() } else { parse_digest_field(&lines.join(&b", "[..])) }
}
