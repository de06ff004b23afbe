//! New ids: UUIDv7 (RFC 9562 section 5.7), rising strictly within one life of the service, so that the order of ids is
//! the order of creation also within a millisecond and when the clock steps back.

use std::sync::{Mutex, PoisonError};

use longhaul_contract::{CompletionGroupId, OperationId, TaskId, Timestamp};
use rand::RngCore;

/// Bits of a UUIDv7 behind the time.
const TAIL_BITS: u32 = 74;
const LOW_BITS: u32 = 62;

#[derive(Debug, Default)]
pub(crate) struct Ids {
    last: Mutex<(u64, u128)>,
}

impl Ids {
    pub(crate) fn next(&self, now: Timestamp) -> OperationId {
        let (time, further) = self.parts(now);
        OperationId::from_parts(time, &further)
    }

    pub(crate) fn next_task(&self, now: Timestamp) -> TaskId {
        let (time, further) = self.parts(now);
        TaskId::from_parts(time, &further)
    }

    pub(crate) fn next_completion_group(&self, now: Timestamp) -> CompletionGroupId {
        let (time, further) = self.parts(now);
        CompletionGroupId::from_parts(time, &further)
    }

    fn parts(&self, now: Timestamp) -> (u64, [u8; 10]) {
        let now = u64::try_from(now.micros() / 1000).unwrap_or_default();
        let mut random = rand::rng();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut time, mut tail) = *last;
        if now > time {
            time = now;
            // Half of the room stays free for those that follow in the same millisecond.
            tail = (u128::from(random.next_u64()) << 9 | u128::from(random.next_u32() & 0x1ff))
                % (1 << (TAIL_BITS - 1));
        } else {
            tail += 1 + u128::from(random.next_u32());
            if tail >> TAIL_BITS > 0 {
                time += 1;
                tail = 0;
            }
        }
        *last = (time, tail);
        (time, further(tail))
    }
}

/// Spreads `tail` around the bits that say "version 7, variant 10".
fn further(tail: u128) -> [u8; 10] {
    let high = u16::try_from(tail >> LOW_BITS & 0x0fff).unwrap_or_default();
    let low = u64::try_from(tail & ((1 << LOW_BITS) - 1)).unwrap_or_default();
    let mut bytes = [0; 10];
    bytes[..2].copy_from_slice(&high.to_be_bytes());
    bytes[2..].copy_from_slice(&low.to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_rise_whatever_the_clock_does() {
        let ids = Ids::default();
        let mut previous = ids.next(Timestamp(5_000_000));
        for micros in [5_000_000, 5_000_100, 4_000_000, 5_001_000, 0, -7].into_iter().cycle().take(10_000) {
            let next = ids.next(Timestamp(micros));
            assert!(next > previous, "{next} after {previous}");
            previous = next;
        }
        assert_eq!(previous.0.get_version_num(), 7);
        assert_eq!(previous.0.get_variant(), uuid::Variant::RFC4122);
    }

    #[test]
    fn a_full_millisecond_moves_on() {
        let ids = Ids::default();
        *ids.last.lock().unwrap() = (7, (1 << TAIL_BITS) - 1);
        let before = OperationId::from_parts(7, &further((1 << TAIL_BITS) - 1));
        assert!(ids.next(Timestamp(0)) > before);
        assert_eq!(ids.last.lock().unwrap().0, 8);
    }
}
