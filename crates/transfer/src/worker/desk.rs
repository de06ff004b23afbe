//! What all streams of one attempt share: the plan, the part file, the books.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use longhaul_contract::{ByteRange, RangeSet, Receipt, ReceiptPiece, Timestamp};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

use super::live::Live;
use super::plan::{LeaseId, Plan};
use crate::files::PartFile;
use crate::http::client::Client;
use crate::job::Report;
use crate::transfers::Settings;

/// Pieces a receipt lists one by one; what comes later is counted but not listed.
const PIECES_MAX: usize = 1024;
/// Ranges are reported no more often than this.
pub(crate) const RANGES_INTERVAL: Duration = Duration::from_millis(200);

pub(crate) struct Desk {
    pub(crate) client: Arc<Client>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) live: Arc<Live>,
    pub(crate) is_random_access: bool,
    /// Whether completeness can be told from more than the way the connection ended.
    pub(crate) is_verifiable: bool,
    reports: mpsc::UnboundedSender<Report>,
    plan: Mutex<Plan>,
    part: OnceLock<PartFile>,
    receipt: Mutex<Receipt>,
    has_progressed: AtomicBool,
    is_progress_told: AtomicBool,
    unsaved: AtomicU64,
    pub(crate) save_due: Notify,
    added: Mutex<Added>,
    /// Flows that may hold bytes in memory.
    flows: watch::Sender<usize>,
}

/// Counts a flow as under way.
pub(crate) struct FlowGuard<'d>(&'d Desk);

impl Drop for FlowGuard<'_> {
    fn drop(&mut self) {
        self.0.flows.send_modify(|count| *count -= 1);
    }
}

/// Bytes that became readable and were not reported yet.
struct Added {
    ranges: RangeSet,
    reported: Option<Instant>,
}

/// A piece of the receipt that is still growing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PieceIndex(usize);

impl Desk {
    pub(crate) fn new(
        client: Arc<Client>,
        settings: Arc<Settings>,
        live: Arc<Live>,
        reports: mpsc::UnboundedSender<Report>,
        is_random_access: bool,
        is_verifiable: bool,
        receipt: Receipt,
    ) -> Self {
        Self {
            client,
            settings,
            live,
            is_random_access,
            is_verifiable,
            reports,
            plan: Mutex::new(Plan::default()),
            part: OnceLock::new(),
            receipt: Mutex::new(receipt),
            has_progressed: AtomicBool::new(false),
            is_progress_told: AtomicBool::new(false),
            unsaved: AtomicU64::new(0),
            save_due: Notify::new(),
            added: Mutex::new(Added { ranges: RangeSet::new(), reported: None }),
            flows: watch::Sender::new(0),
        }
    }

    pub(crate) fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().expect("no holder of this lock panics")
    }

    pub(crate) fn receipt(&self) -> MutexGuard<'_, Receipt> {
        self.receipt.lock().expect("no holder of this lock panics")
    }

    pub(crate) fn part(&self) -> Option<&PartFile> {
        self.part.get()
    }

    /// The part file, made or found once for the whole attempt.
    pub(crate) fn set_part(&self, part: PartFile) {
        let is_first = self.part.set(part).is_ok();
        debug_assert!(is_first, "an attempt has one part file");
    }

    pub(crate) fn begin_flow(&self) -> FlowGuard<'_> {
        self.flows.send_modify(|count| *count += 1);
        FlowGuard(self)
    }

    /// Resolves when no flow holds bytes in memory.
    pub(crate) async fn flushed(&self) {
        // The sender lives as long as the desk.
        let _ = self.flows.subscribe().wait_for(|count| *count == 0).await;
    }

    pub(crate) fn report(&self, report: Report) {
        // Nobody listens any more when the service stops; the journal has what matters.
        let _ = self.reports.send(report);
    }

    pub(crate) fn has_progressed(&self) -> bool {
        self.has_progressed.load(Ordering::Relaxed)
    }

    /// New bytes of the file came over the network.
    pub(crate) fn arrived(&self, bytes: u64) {
        self.live.meter.arrived(bytes);
        self.has_progressed.store(true, Ordering::Relaxed);
    }

    /// Bytes are on their way to disk.
    pub(crate) fn written(&self, lease: LeaseId, piece: Option<PieceIndex>, range: ByteRange) {
        let is_whole = {
            let mut plan = self.plan();
            plan.advance(lease, range.length);
            plan.is_complete()
        };
        // What comes in one go is over before anybody could act on its progress.
        if !is_whole && !self.is_progress_told.swap(true, Ordering::Relaxed) {
            self.report(Report::Progressed);
        }
        self.grow_piece(piece, range.length);
        let before = self.unsaved.fetch_add(range.length, Ordering::Relaxed);
        let limit = self.settings.checkpoint_bytes;
        if !is_whole && before == 0 || (before < limit && before + range.length >= limit) {
            self.save_due.notify_one();
        }
        if self.is_random_access {
            self.added().ranges.insert(range);
            self.report_ranges(false);
        }
    }

    /// Bytes written since the last checkpoint began.
    pub(crate) fn unsaved(&self) -> u64 {
        self.unsaved.load(Ordering::Relaxed)
    }

    pub(crate) fn begin_save(&self) {
        self.unsaved.store(0, Ordering::Relaxed);
    }

    fn added(&self) -> MutexGuard<'_, Added> {
        self.added.lock().expect("no holder of this lock panics")
    }

    /// Tells of new ranges, unless that was done a moment ago.
    pub(crate) fn report_ranges(&self, is_last: bool) {
        let mut added = self.added();
        let is_due = added.reported.is_none_or(|at| at.elapsed() >= RANGES_INTERVAL);
        if added.ranges.is_empty() || !(is_due || is_last) {
            return;
        }
        added.reported = Some(Instant::now());
        let ranges = std::mem::take(&mut added.ranges).as_slice().to_vec();
        drop(added);
        self.report(Report::RangesAdded { ranges, was_restarted: false });
    }

    /// When the ranges that wait should be told, if any wait.
    pub(crate) fn ranges_due(&self) -> Option<Instant> {
        let added = self.added();
        if added.ranges.is_empty() { None } else { added.reported.map(|at| at + RANGES_INTERVAL) }
    }

    pub(crate) fn begin_piece(&self, start: u64, url: &str, address: &str) -> Option<PieceIndex> {
        let mut receipt = self.receipt();
        if receipt.pieces.len() >= PIECES_MAX {
            return None;
        }
        let now = Timestamp::now();
        receipt.pieces.push(ReceiptPiece {
            range: ByteRange::new(start, 0),
            url: url.to_owned(),
            address: Some(address.to_owned()),
            from: now,
            to: now,
        });
        Some(PieceIndex(receipt.pieces.len() - 1))
    }

    fn grow_piece(&self, piece: Option<PieceIndex>, bytes: u64) {
        let Some(PieceIndex(index)) = piece else { return };
        if let Some(known) = self.receipt().pieces.get_mut(index) {
            known.range.length += bytes;
            known.to = Timestamp::now();
        }
    }

    /// Body bytes received, wanted or not.
    pub(crate) fn count_fetched(&self, bytes: u64) {
        self.receipt().bytes_fetched += bytes;
    }

    /// All bytes at hand are void.
    pub(crate) fn restart(&self) {
        *self.plan() = Plan::default();
        let mut receipt = self.receipt();
        receipt.pieces.clear();
        receipt.restarts += 1;
        self.live.set_restarts(receipt.restarts);
        drop(receipt);
        self.begin_save();
        self.live.meter.restarted();
        if self.is_random_access {
            self.added().ranges = RangeSet::new();
            self.report(Report::RangesAdded { ranges: Vec::new(), was_restarted: true });
        }
    }
}
