//! Which bytes of the file are at hand, which are being fetched by whom, and which are nobody's yet.

use std::collections::BTreeSet;
use std::time::Duration;

use longhaul_contract::{ByteRange, RangeSet};

/// Boundaries of split ranges, in bytes.
pub(crate) const ALIGNMENT: u64 = 64 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LeaseId(u64);

/// What one stream fetches. `end` may move towards `position` while it does.
#[derive(Debug, Clone, Copy)]
struct Lease {
    id: LeaseId,
    position: u64,
    /// First byte that is not its business; `None` until the length of the file is known.
    end: Option<u64>,
    /// Asked for, but not accepted yet: whoever has the same bytes in its lease goes on with them meanwhile.
    is_tentative: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Plan {
    total: Option<u64>,
    held: RangeSet,
    leases: Vec<Lease>,
    last_id: u64,
    /// Where bytes of two responses meet that were not compared with each other.
    seams: BTreeSet<u64>,
}

impl Plan {
    pub(crate) fn new(total: Option<u64>, held: RangeSet) -> Self {
        Self { total, held, leases: Vec::new(), last_id: 0, seams: BTreeSet::new() }
    }

    /// With the seams that an earlier attempt left open.
    pub(crate) fn with_seams(mut self, seams: &[u64]) -> Self {
        self.seams.extend(seams);
        self
    }

    pub(crate) fn seams(&self) -> Vec<u64> {
        self.seams.iter().copied().collect()
    }

    /// Notes where the bytes of a lease that begins now will meet others: at its start, unless that is proved, and at
    /// its end, if bytes are at hand there. Who comes to an end of it later has a start of his own.
    pub(crate) fn note_seams(&mut self, id: LeaseId, is_start_proved: bool) {
        let Some(lease) = self.find(id).copied() else { return };
        if !is_start_proved {
            self.seams.insert(lease.position);
        }
        self.seams.extend(lease.end.filter(|end| self.held.available_from(*end) > 0));
    }

    /// The bytes on both sides of `position` are of one version.
    pub(crate) fn prove_seam(&mut self, position: u64) {
        self.seams.remove(&position);
    }

    pub(crate) const fn total(&self) -> Option<u64> {
        self.total
    }

    pub(crate) const fn held(&self) -> &RangeSet {
        &self.held
    }

    pub(crate) fn set_total(&mut self, total: u64) {
        self.total = Some(total);
        for lease in &mut self.leases {
            lease.end = Some(lease.end.map_or(total, |end| end.min(total)));
        }
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.total.is_some_and(|total| self.held.contains(ByteRange::new(0, total)))
    }

    /// Bytes that are not at hand.
    pub(crate) fn remaining(&self) -> Option<u64> {
        let total = self.total?;
        Some(total.saturating_sub(self.held.bytes()))
    }

    /// Where to fetch next: the first bytes nobody fetches at or behind `from`, else the first of all. The end is open
    /// while the length of the file is unknown.
    pub(crate) fn next_hole(&self, from: u64) -> Option<(u64, Option<u64>)> {
        let Some(total) = self.total else {
            let start = self.held.available_from(0);
            return self.leases.is_empty().then_some((start, None));
        };
        let mut holes = self.held.missing(total);
        for lease in &self.leases {
            holes.remove(ByteRange::from_bounds(lease.position, lease.end.unwrap_or(total)));
        }
        let hole = holes.iter().find(|hole| hole.end() > from).or_else(|| holes.iter().next())?;
        let start = if hole.end() > from { hole.offset.max(from) } else { hole.offset };
        Some((start, Some(hole.end())))
    }

    /// Bytes at hand right before `start`, at most `most`.
    pub(crate) fn held_before(&self, start: u64, most: u64) -> u64 {
        self.held
            .iter()
            .find(|range| range.offset < start && range.end() >= start)
            .map_or(0, |range| (start - range.offset).min(most))
    }

    pub(crate) fn lease(&mut self, start: u64, end: Option<u64>) -> LeaseId {
        self.make_lease(start, end, false)
    }

    /// A lease for a range that somebody may have in his, to be followed by [`Self::accept`] or [`Self::release`].
    pub(crate) fn lease_tentatively(&mut self, start: u64, end: u64) -> LeaseId {
        self.make_lease(start, Some(end), true)
    }

    fn make_lease(&mut self, start: u64, end: Option<u64>, is_tentative: bool) -> LeaseId {
        self.last_id += 1;
        let id = LeaseId(self.last_id);
        self.leases.push(Lease { id, position: start, end, is_tentative });
        id
    }

    /// The bytes of a tentative lease will come: from its start, or from where they are not at hand yet.
    pub(crate) fn accept(&mut self, id: LeaseId) {
        let Some(index) = self.leases.iter().position(|lease| lease.id == id) else { return };
        let mut lease = self.leases[index];
        let end = lease.end.unwrap_or(u64::MAX);
        lease.is_tentative = false;
        lease.position = end.min(lease.position + self.held.available_from(lease.position));
        self.leases[index] = lease;
        for other in self.leases.iter_mut().filter(|other| other.id != id && !other.is_tentative) {
            if other.position <= lease.position && other.end.is_none_or(|end| end > lease.position) {
                other.end = Some(lease.position);
            }
        }
    }

    /// The next byte of the lease and how many it may still fetch; `None` when that is open.
    pub(crate) fn room(&self, id: LeaseId) -> (u64, Option<u64>) {
        self.find(id).map_or((0, Some(0)), |lease| {
            (lease.position, lease.end.map(|end| end.saturating_sub(lease.position)))
        })
    }

    /// Notes that the lease's next `count` bytes are on their way to disk.
    pub(crate) fn advance(&mut self, id: LeaseId, count: u64) {
        if let Some(lease) = self.leases.iter_mut().find(|lease| lease.id == id) {
            self.held.insert(ByteRange::new(lease.position, count));
            lease.position += count;
        }
    }

    pub(crate) fn release(&mut self, id: LeaseId) {
        self.leases.retain(|lease| lease.id != id);
    }

    pub(crate) fn release_all(&mut self) {
        self.leases.clear();
    }

    /// The second half of what the lease has left that would end last, if each half has at least `least` bytes and takes
    /// at least the time `worth`. `pace` tells how fast a lease is fetched, in bytes per second.
    pub(crate) fn split(
        &self,
        least: u64,
        worth: Duration,
        pace: impl Fn(LeaseId) -> f64,
    ) -> Option<(u64, u64)> {
        let left = |lease: &Lease| self.last_of(lease).map_or(0, |end| end.saturating_sub(lease.position));
        let time = |lease: &Lease| left(lease) as f64 / pace(lease.id).max(1.0);
        let is_divisible = |lease: &&Lease| {
            !lease.is_tentative && left(lease) >= 2 * least && time(lease) >= 2.0 * worth.as_secs_f64()
        };
        let divisible = self.leases.iter().filter(is_divisible);
        let last = divisible.max_by(|one, other| time(one).total_cmp(&time(other)))?;
        let end = self.last_of(last)?;
        let middle = last.position + (end - last.position).div_ceil(2);
        let middle = middle.next_multiple_of(ALIGNMENT);
        (middle + least / 2 < end).then_some((middle, end))
    }

    /// Where the lease will end when all tentative ones are accepted.
    fn last_of(&self, lease: &Lease) -> Option<u64> {
        let tentative =
            self.leases.iter().filter(|other| other.is_tentative && other.position >= lease.position);
        let first = tentative.map(|other| other.position).min();
        match (lease.end, first) {
            (Some(end), Some(first)) => Some(end.min(first)),
            (end, first) => end.or(first),
        }
    }

    /// The range to fetch for somebody who waits for `offset`; `None` when it is at hand or will be within `near`
    /// bytes from now.
    pub(crate) fn claim(&self, offset: u64, near: u64) -> Option<(u64, u64)> {
        let total = self.total?;
        let is_soon = |lease: &Lease| {
            lease.position <= offset
                && offset - lease.position <= near
                && lease.end.is_none_or(|end| offset < end)
        };
        if offset >= total || self.held.available_from(offset) > 0 || self.leases.iter().any(is_soon) {
            return None;
        }
        let held = self.held.iter().map(|range| range.offset);
        let leased = self.leases.iter().map(|lease| lease.position);
        let covering =
            self.leases.iter().filter(|lease| lease.position <= offset).filter_map(|lease| lease.end);
        let end = held.chain(leased).chain(covering).filter(|end| *end > offset).min().unwrap_or(total);
        Some((offset, end))
    }

    fn find(&self, id: LeaseId) -> Option<&Lease> {
        self.leases.iter().find(|lease| lease.id == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn plan(total: u64, held: &[(u64, u64)]) -> Plan {
        Plan::new(Some(total), held.iter().map(|(start, end)| ByteRange::from_bounds(*start, *end)).collect())
    }

    #[test]
    fn holes_are_offered_from_the_wanted_place_on_and_then_from_the_start() {
        let mut plan = plan(100, &[(10, 20), (40, 50)]);
        assert_eq!(plan.next_hole(0), Some((0, Some(10))));
        assert_eq!(plan.next_hole(15), Some((20, Some(40))));
        assert_eq!(plan.next_hole(30), Some((30, Some(40))));
        let id = plan.lease(50, Some(100));
        assert_eq!(plan.next_hole(60), Some((0, Some(10))));
        plan.release(id);
        assert_eq!(plan.next_hole(60), Some((60, Some(100))));
        assert_eq!(plan.held_before(20, 4), 4);
        assert_eq!(plan.held_before(20, 400), 10);
        assert_eq!(plan.held_before(30, 4), 0);
    }

    #[test]
    fn an_unknown_length_is_learned_at_the_end() {
        let mut plan = Plan::new(None, RangeSet::new());
        let (start, end) = plan.next_hole(0).unwrap();
        let id = plan.lease(start, end);
        assert_eq!(plan.next_hole(0), None);
        assert_eq!(plan.room(id), (0, None));
        plan.advance(id, 70);
        assert!(!plan.is_complete());
        plan.set_total(70);
        assert!(plan.is_complete());
        assert_eq!(plan.room(id), (70, Some(0)));
    }

    #[test]
    fn the_largest_lease_is_halved_at_a_boundary() {
        let mut plan = plan(64 * MIB, &[]);
        let whole = plan.lease(0, Some(64 * MIB));
        plan.advance(whole, 5);
        assert_eq!(plan.split(MIB, Duration::ZERO, |_| 1.0), Some((32 * MIB + ALIGNMENT, 64 * MIB)));
        let second = plan.lease_tentatively(32 * MIB + ALIGNMENT, 64 * MIB);
        assert_eq!(plan.room(whole), (5, Some(64 * MIB - 5)));
        assert_eq!(
            plan.split(MIB, Duration::ZERO, |_| 1.0),
            Some((16 * MIB + ALIGNMENT, 32 * MIB + ALIGNMENT))
        );
        plan.accept(second);
        assert_eq!(plan.room(whole), (5, Some(32 * MIB + ALIGNMENT - 5)));
        plan.advance(second, 2 * MIB);
        let third = plan.lease_tentatively(16 * MIB + ALIGNMENT, 32 * MIB + ALIGNMENT);
        assert_eq!(plan.split(MIB, Duration::ZERO, |_| 1.0), Some((49 * MIB + ALIGNMENT, 64 * MIB)));
        plan.release(third);
        assert_eq!(
            plan.split(MIB, Duration::ZERO, |_| 1.0),
            Some((16 * MIB + ALIGNMENT, 32 * MIB + ALIGNMENT))
        );
        assert_eq!(plan.split(17 * MIB, Duration::ZERO, |_| 1.0), None);
    }

    #[test]
    fn a_wanted_place_is_claimed_unless_it_comes_soon() {
        let mut plan = plan(64 * MIB, &[(0, MIB), (40 * MIB, 41 * MIB)]);
        let stream = plan.lease(MIB, Some(40 * MIB));
        assert_eq!(plan.claim(0, MIB), None);
        assert_eq!(plan.claim(64 * MIB, MIB), None);
        assert_eq!(plan.claim(2 * MIB, MIB), None);
        assert_eq!(plan.claim(30 * MIB, MIB), Some((30 * MIB, 40 * MIB)));
        let wanted = plan.lease_tentatively(30 * MIB, 40 * MIB);
        assert_eq!(plan.room(stream), (MIB, Some(39 * MIB)));
        plan.accept(wanted);
        assert_eq!(plan.room(stream), (MIB, Some(29 * MIB)));
        assert_eq!(plan.claim(50 * MIB, MIB), Some((50 * MIB, 64 * MIB)));
        assert_eq!(plan.claim(35 * MIB, MIB), Some((35 * MIB, 40 * MIB)));
    }

    #[test]
    fn seams_are_where_bytes_meet_that_nobody_compared() {
        let mut plan = plan(64 * MIB, &[(10 * MIB, 20 * MIB)]).with_seams(&[10 * MIB]);
        let hole = plan.lease(MIB, Some(10 * MIB));
        plan.note_seams(hole, true);
        let tail = plan.lease(20 * MIB, Some(64 * MIB));
        plan.note_seams(tail, true);
        assert_eq!(plan.seams(), [10 * MIB]);
        let late = plan.lease_tentatively(40 * MIB, 64 * MIB);
        plan.accept(late);
        plan.note_seams(late, false);
        assert_eq!(plan.seams(), [10 * MIB, 40 * MIB]);
        plan.prove_seam(40 * MIB);
        plan.note_seams(plan.leases[0].id, false);
        assert_eq!(plan.seams(), [MIB, 10 * MIB]);
    }

    #[test]
    fn a_range_that_is_refused_stays_with_whoever_had_it() {
        let mut plan = plan(10 * MIB, &[]);
        let whole = plan.lease(0, Some(10 * MIB));
        let late = plan.lease_tentatively(5 * MIB, 10 * MIB);
        plan.advance(whole, 7 * MIB);
        plan.accept(late);
        assert_eq!(plan.room(whole), (7 * MIB, Some(0)));
        assert_eq!(plan.room(late), (7 * MIB, Some(3 * MIB)));
    }

    #[test]
    fn streams_that_split_and_release_at_random_fetch_every_byte_once() {
        let mut seed = 7_u64;
        let mut random = move |limit: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % limit.max(1)
        };
        for _ in 0..200 {
            let total = (1 + random(40)) * MIB + random(MIB);
            let mut plan = Plan::new(Some(total), RangeSet::new());
            let mut streams: Vec<LeaseId> = Vec::new();
            let mut fetched = 0;
            while !plan.is_complete() {
                let choice = random(8);
                if choice == 0 {
                    if let Some((start, end)) = plan.split(MIB, Duration::ZERO, |_| 1.0) {
                        let id = plan.lease_tentatively(start, end);
                        plan.accept(id);
                        streams.push(id);
                    }
                } else if choice == 1 {
                    if let Some((start, end)) = plan.claim(random(total), MIB) {
                        let id = plan.lease_tentatively(start, end);
                        plan.accept(id);
                        streams.push(id);
                    }
                } else if choice == 2 && !streams.is_empty() {
                    let gone = streams.swap_remove(usize::try_from(random(streams.len() as u64)).unwrap());
                    plan.release(gone);
                }
                if streams.is_empty() {
                    let (start, end) = plan.next_hole(random(total)).unwrap();
                    streams.push(plan.lease(start, end));
                }
                for id in streams.clone() {
                    let (position, room) = plan.room(id);
                    let count = room.unwrap().min(1 + random(MIB));
                    assert!(!plan.held().contains(ByteRange::new(position, 1)) || count == 0);
                    plan.advance(id, count);
                    fetched += count;
                    if plan.room(id).1 == Some(0) {
                        plan.release(id);
                        streams.retain(|stream| *stream != id);
                    }
                }
            }
            assert_eq!(fetched, total);
        }
    }
}
