//! A further connection for a file that is already flowing: it may be refused without harm, and it must bring the
//! very same version.

use std::sync::{Arc, OnceLock};

use super::desk::Desk;
use super::opening::{Demands, Request, WIDE_OVERLAP_BYTES, flow};
use super::plan::LeaseId;
use super::pump::{FlowEnd, compare_with_file, pump};
use super::rein::Rein;
use crate::files::PartFile;
use crate::http::accept::{Verdict, Version};
use crate::http::follow::{FollowError, Reached, Source, Urgency};
use crate::http::head::strong_validator;
use crate::http::origin::Origin;
use crate::http::request::RangeFields;
use crate::journal::Validators;

pub(super) struct Further {
    pub(super) lease: LeaseId,
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) source: Arc<Source>,
    /// The version that is being fetched, as this address names it.
    pub(super) known: Option<Validators>,
    /// Takes the version that the address answers with.
    pub(super) seen: Arc<OnceLock<Validators>>,
    /// Whether this address brought some of the bytes at hand.
    pub(super) is_proved: bool,
    pub(super) demands: Demands,
    pub(super) urgency: Urgency,
    pub(super) rein: Rein,
}

/// Asks for the lease's range and fetches it.
pub(super) async fn run(desk: Arc<Desk>, further: Further) -> FlowEnd {
    let recall = further.rein.recall.clone();
    tokio::select! {
        biased;
        () = recall.cancelled() => return FlowEnd::Recalled,
        _ = desk.live.stopped() => return FlowEnd::Stopped,
        proved = prove(&desk, &further) => if let Err(end) = proved { return end },
    }
    let opened = tokio::select! {
        biased;
        () = recall.cancelled() => return FlowEnd::Recalled,
        _ = desk.live.stopped() => return FlowEnd::Stopped,
        opened = open(&desk, &further) => opened,
    };
    match opened {
        Ok(flow) => pump(desk, flow).await,
        Err(end) => end,
    }
}

async fn open(desk: &Desk, further: &Further) -> Result<super::pump::Flow, FlowEnd> {
    let overlap = desk.plan().held_before(further.start, desk.settings.overlap_bytes);
    let ignores_if_range = Origin::of(&further.source.current())
        .is_some_and(|origin| desk.client.pool.traits(&origin).ignores_if_range);
    let if_range = further.known.as_ref().and_then(strong_validator).filter(|_| !ignores_if_range);
    // A little more than is missing, to be compared with what others have brought there by then.
    let total = desk.plan().total();
    let end = further.end.saturating_add(desk.settings.overlap_bytes).min(total.unwrap_or(u64::MAX));
    let range =
        RangeFields { start: further.start - overlap, end: Some(end), if_range: if_range.map(str::to_owned) };
    let (reached, place) = ask(desk, further, range).await?;
    // Whoever asked for the version first is right.
    let _ = further.seen.set(reached.answer.head.validators(total));
    desk.plan().accept(further.lease);
    Ok(flow(reached, further.lease, place.0, Some(place.1), further.rein.clone()))
}

/// Asks for `range` and accepts nothing but a part of the same version.
async fn ask(desk: &Desk, further: &Further, range: RangeFields) -> Result<(Reached, (u64, u64)), FlowEnd> {
    let total = desk.plan().total();
    let known = further.known.clone().unwrap_or(Validators { total, ..Validators::default() });
    let request = Request {
        source: Arc::clone(&further.source),
        range: Some(range),
        known: Some(known),
        held: 0,
        holds_no_page: false,
    };
    let (verdict, reached) =
        request.make(desk, &further.demands, further.urgency).await.map_err(|error| match error {
            FollowError::NoSeat => FlowEnd::NoSeat,
            FollowError::Failed(failure) => FlowEnd::Unwelcome(failure.detail),
        })?;
    let refused = match verdict {
        Verdict::Part { start, end, total: seen, .. } if seen.is_none() || seen == total => {
            return Ok((reached, (start, end)));
        }
        Verdict::Part { .. } => FlowEnd::Changed("the length of the file differs".to_owned()),
        Verdict::Whole { versus_known: Version::Other(why), .. } | Verdict::Changed(why) => {
            FlowEnd::Changed(why)
        }
        Verdict::Whole { .. } => FlowEnd::Unwelcome("the whole file was sent for a part".to_owned()),
        Verdict::NoRange(why) => FlowEnd::Unwelcome(why),
        Verdict::Complete => FlowEnd::Unwelcome("the range was refused (416)".to_owned()),
        Verdict::Refused(failure) => FlowEnd::Unwelcome(failure.detail),
    };
    reached.answer.body.discard();
    Err(refused)
}

/// Before an address that brought nothing so far is trusted, it has to repeat bytes that are at hand.
async fn prove(desk: &Desk, further: &Further) -> Result<(), FlowEnd> {
    if further.is_proved || desk.plan().held_before(further.start, 1) > 0 {
        return Ok(());
    }
    let (part, held) = match desk.part() {
        Some(part) => (part, part.readable()),
        None => return Err(FlowEnd::NoSeat),
    };
    let Some(sample) = held.iter().next() else { return Err(FlowEnd::NoSeat) };
    let end = sample.offset + sample.length.min(WIDE_OVERLAP_BYTES);
    let range = RangeFields { start: sample.offset, end: Some(end), if_range: None };
    let (reached, (start, _)) = ask(desk, further, range).await?;
    repeat(desk, part, reached, start, end).await
}

/// Reads `start..end`, with which the body begins: it must be equal to what is at hand.
pub(super) async fn repeat(
    desk: &Desk,
    part: &PartFile,
    reached: Reached,
    start: u64,
    end: u64,
) -> Result<(), FlowEnd> {
    let host = reached.url.host_str().unwrap_or_default().to_owned();
    let mut body = reached.answer.body;
    let mut position = start;
    let mut scratch = vec![0; 64 << 10];
    while position < end {
        let most = scratch.len().min(usize::try_from(end - position).unwrap_or(usize::MAX));
        let read = std::future::poll_fn(|context| body.poll_read(context, &mut scratch[..most]));
        let count = match tokio::time::timeout(desk.settings.stall_timeout, read).await {
            Ok(Ok(count)) if count > 0 => count,
            _ => return Err(FlowEnd::Unwelcome(format!("{host} did not repeat what is at hand"))),
        };
        desk.count_fetched(count as u64);
        compare_with_file(part, &host, position, &scratch[..count]).await?;
        position += count as u64;
    }
    body.discard();
    Ok(())
}
