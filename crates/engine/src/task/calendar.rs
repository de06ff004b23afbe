//! Calendar schedules: a cron expression of five fields in a zone of the IANA database. The expression is worked out in
//! civil time, and what daylight saving does to it is decided here:
//!
//! - An expression that names its hours means those hours of the day. What falls into the hour that is skipped comes
//!   once, at the end of the gap; what falls into the hour that is repeated comes the first time only.
//! - An expression with `*` for the hours is a rhythm. It has nothing in the skipped hour and goes on in both passes of
//!   the repeated one.

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use longhaul_contract::Timestamp;

/// Zone changes looked through for one occurrence: more than 16 years of two a year.
const CHANGES_MAX: usize = 40;
/// Minutes of the longest hour that was ever repeated, and then some.
const REPEATED_MINUTES_MAX: usize = 1_500;

#[derive(Debug, Clone)]
pub(crate) struct Calendar {
    cron: Cron,
    zone: TimeZone,
    names_hours: bool,
}

impl Calendar {
    /// # Errors
    /// Says what is wrong with the expression or the zone.
    pub(crate) fn parse(schedule: &str, zone: &str) -> Result<Self, String> {
        let fields: Vec<&str> = schedule.split_whitespace().collect();
        let [_, hours, _, _, _] = fields.as_slice() else {
            return Err(format!("{schedule:?} has not the five fields minute, hour, day, month and weekday"));
        };
        let cron = CronParser::builder()
            .seconds(Seconds::Disallowed)
            .year(Year::Disallowed)
            .build()
            .parse(schedule)
            .map_err(|error| format!("{schedule:?} is no cron expression: {error}"))?;
        Ok(Self { names_hours: !hours.contains(['*', '?']), cron, zone: zone_of(zone)? })
    }

    /// The first occurrence after `time`; none when there never is one.
    pub(crate) fn next(&self, time: Timestamp) -> Option<Timestamp> {
        let instant = jiff::Timestamp::from_microsecond(time.micros()).ok()?;
        let next = if self.names_hours { self.next_named(instant) } else { self.next_beat(instant) }?;
        Some(Timestamp(next.as_microsecond()))
    }

    fn next_named(&self, after: jiff::Timestamp) -> Option<jiff::Timestamp> {
        let mut civil = self.zone.to_datetime(after);
        // In the second pass of a repeated hour, the first pass of what follows lies behind.
        for _ in 0..REPEATED_MINUTES_MAX {
            civil = self.next_civil(civil)?;
            let instant = self.instant_of_named(civil)?;
            if instant > after {
                return Some(instant);
            }
        }
        None
    }

    fn instant_of_named(&self, civil: DateTime) -> Option<jiff::Timestamp> {
        let ambiguous = self.zone.to_ambiguous_timestamp(civil);
        match ambiguous.offset() {
            AmbiguousOffset::Gap { .. } => {
                // With the offset before the gap it lies at or behind the change.
                let behind = ambiguous.later().ok()?.checked_add(jiff::Span::new().nanoseconds(1)).ok()?;
                self.zone.preceding(behind).next().map(|change| change.timestamp())
            }
            AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => ambiguous.earlier().ok(),
        }
    }

    fn next_beat(&self, after: jiff::Timestamp) -> Option<jiff::Timestamp> {
        let mut offset = self.zone.to_offset(after);
        let mut from = offset.to_datetime(after);
        let mut changes = self.zone.following(after);
        for _ in 0..CHANGES_MAX {
            let next = offset.to_timestamp(self.next_civil(from)?).ok()?;
            let Some(change) = changes.next().filter(|change| change.timestamp() <= next) else {
                return Some(next);
            };
            offset = change.offset();
            let begin = offset.to_datetime(change.timestamp());
            // What falls on the very instant of the change belongs to the time after it.
            from = begin.checked_sub(jiff::Span::new().microseconds(1)).ok()?;
        }
        None
    }

    /// The next time on a clock that knows no zones.
    fn next_civil(&self, civil: DateTime) -> Option<DateTime> {
        let start = civil.to_zoned(TimeZone::UTC).ok()?;
        self.cron.find_next_occurrence(&start, false).ok().map(|next| next.datetime())
    }
}

fn zone_of(name: &str) -> Result<TimeZone, String> {
    TimeZoneDatabase::bundled().get(name).map_err(|_| format!("{name:?} is not a zone of the IANA database"))
}

/// Seconds east of UTC that hold at `time`.
pub(crate) fn utc_offset(zone: &str, time: Timestamp) -> Option<i32> {
    let instant = jiff::Timestamp::from_microsecond(time.micros()).ok()?;
    Some(zone_of(zone).ok()?.to_offset(instant).seconds())
}

/// When the zone's clocks change next.
pub(crate) fn next_offset_change(zone: &str, time: Timestamp) -> Option<Timestamp> {
    let instant = jiff::Timestamp::from_microsecond(time.micros()).ok()?;
    let zone = zone_of(zone).ok()?;
    let offset = zone.to_offset(instant);
    zone.following(instant)
        .take(CHANGES_MAX)
        .find(|change| change.offset() != offset)
        .map(|change| Timestamp(change.timestamp().as_microsecond()))
}

/// Whether clocks of the two zones show the same from `time` on, over the coming year.
pub(crate) fn is_same_time(one: &str, other: &str, time: Timestamp) -> bool {
    one == other
        || matches!((offsets(one, time), offsets(other, time)), (Some(one), Some(other)) if one == other)
}

/// The offset at `time` and its changes over the coming year.
fn offsets(zone: &str, time: Timestamp) -> Option<Vec<(i64, i32)>> {
    const YEAR_SECONDS: i64 = 366 * 86_400;
    let instant = jiff::Timestamp::from_microsecond(time.micros()).ok()?;
    let end = instant.as_second() + YEAR_SECONDS;
    let zone = zone_of(zone).ok()?;
    let mut offsets = vec![(i64::MIN, zone.to_offset(instant).seconds())];
    for change in zone.following(instant).take_while(|change| change.timestamp().as_second() < end) {
        if offsets.last().is_none_or(|(_, last)| *last != change.offset().seconds()) {
            offsets.push((change.timestamp().as_second(), change.offset().seconds()));
        }
    }
    Some(offsets)
}
