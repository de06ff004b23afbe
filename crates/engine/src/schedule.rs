//! Rate limits that change with the hours of the week. Windows are civil times of an IANA zone, so they keep
//! their hours over daylight saving time. Zones come from the bundled database: no disk is read here.

use jiff::civil;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use longhaul_contract::{ScheduledRate, Timestamp};

/// A window may reach into the day after it begins.
const DAYS_BACK: i32 = 2;
/// Every weekly edge lies within this.
const DAYS_AHEAD: i32 = 9;

#[derive(Debug, Clone)]
struct Window {
    /// Bit 0 is Monday.
    days: u8,
    from: civil::Time,
    to: civil::Time,
    zone: TimeZone,
    bytes_per_second: u64,
}

/// The parsed form of `Limits::schedule`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Schedule {
    windows: Vec<Window>,
}

impl Schedule {
    /// # Errors
    /// Names the entry and what is wrong with it.
    pub(crate) fn parse(entries: &[ScheduledRate], machine_zone: Option<&str>) -> Result<Self, String> {
        let windows = entries
            .iter()
            .enumerate()
            .map(|(index, entry)| {
                Window::parse(entry, machine_zone).map_err(|problem| format!("schedule[{index}]: {problem}"))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { windows })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.windows.is_empty()
    }

    /// The lowest of `fixed` and of all windows that hold at `time`; `None` is unlimited.
    pub(crate) fn rate_at(&self, fixed: Option<u64>, time: Timestamp) -> Option<u64> {
        self.windows
            .iter()
            .filter(|window| window.spans(time).any(|(from, to)| from <= time && time < to))
            .map(|window| window.bytes_per_second)
            .chain(fixed)
            .min()
    }

    /// The first instant after `time` at which the rate is another one.
    pub(crate) fn next_change(&self, fixed: Option<u64>, time: Timestamp) -> Option<Timestamp> {
        let now = self.rate_at(fixed, time);
        let mut edges: Vec<Timestamp> = self
            .windows
            .iter()
            .flat_map(|window| window.spans(time).flat_map(|(from, to)| [from, to]))
            .filter(|edge| *edge > time)
            .collect();
        edges.sort_unstable();
        edges.dedup();
        edges.into_iter().find(|edge| self.rate_at(fixed, *edge) != now)
    }
}

impl Window {
    fn parse(entry: &ScheduledRate, machine_zone: Option<&str>) -> Result<Self, String> {
        let zone_name = entry.time_zone.as_deref().or(machine_zone);
        let zone = match zone_name {
            None => TimeZone::UTC,
            Some(name) => TimeZoneDatabase::bundled()
                .get(name)
                .map_err(|_| format!("timeZone {name:?} is not a zone of the IANA database"))?,
        };
        let mut days = 0;
        for word in &entry.weekdays {
            days |= 1 << weekday(word)?;
        }
        Ok(Self {
            days: if days == 0 { 0b111_1111 } else { days },
            from: hours_minutes(&entry.from).map_err(|problem| format!("from {problem}"))?,
            to: hours_minutes(&entry.to).map_err(|problem| format!("to {problem}"))?,
            zone,
            bytes_per_second: entry.bytes_per_second,
        })
    }

    /// The window's stretches around `time`, as instants.
    fn spans(&self, time: Timestamp) -> impl Iterator<Item = (Timestamp, Timestamp)> {
        let today = jiff::Timestamp::from_microsecond(time.micros())
            .map(|instant| self.zone.to_datetime(instant).date())
            .ok();
        (-DAYS_BACK..=DAYS_AHEAD).filter_map(move |offset| self.span_of(today?, offset))
    }

    fn span_of(&self, today: civil::Date, offset: i32) -> Option<(Timestamp, Timestamp)> {
        let day = today.checked_add(jiff::Span::new().days(offset)).ok()?;
        if self.days & (1 << day.weekday().to_monday_zero_offset()) == 0 {
            return None;
        }
        let end_day = if self.to > self.from { day } else { day.tomorrow().ok()? };
        let from = self.instant(day, self.from)?;
        let to = self.instant(end_day, self.to)?;
        (from < to).then_some((from, to))
    }

    /// A time that daylight saving skips is taken as much later as the gap is long, a repeated one the first time.
    fn instant(&self, day: civil::Date, time: civil::Time) -> Option<Timestamp> {
        let instant = self.zone.to_timestamp(day.to_datetime(time)).ok()?;
        Some(Timestamp(instant.as_microsecond()))
    }
}

/// Whether scheduled rates may name this zone.
#[must_use]
pub fn is_time_zone(name: &str) -> bool {
    TimeZoneDatabase::bundled().get(name).is_ok()
}

fn weekday(word: &str) -> Result<u32, String> {
    ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
        .iter()
        .zip(0..)
        .find_map(|(known, index)| known.eq_ignore_ascii_case(word).then_some(index))
        .ok_or_else(|| format!("weekdays has {word:?}: use Mon, Tue, Wed, Thu, Fri, Sat or Sun"))
}

/// `HH:MM`, and `24:00` for midnight at the end of a day.
fn hours_minutes(text: &str) -> Result<civil::Time, String> {
    let refuse = || format!("{text:?} is not a time of day: write it as HH:MM");
    let (hour, minute) = text.split_once(':').ok_or_else(refuse)?;
    let number = |part: &str| {
        (part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit()))
            .then(|| part.parse::<i8>().ok())
            .flatten()
            .ok_or_else(refuse)
    };
    match (number(hour)?, number(minute)?) {
        (24, 0) => Ok(civil::Time::midnight()),
        (hour, minute) => civil::Time::new(hour, minute, 0, 0).map_err(|_| refuse()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(weekdays: &[&str], from: &str, to: &str, zone: &str, rate: u64) -> ScheduledRate {
        ScheduledRate {
            weekdays: weekdays.iter().map(|day| (*day).to_owned()).collect(),
            from: from.to_owned(),
            to: to.to_owned(),
            time_zone: Some(zone.to_owned()),
            bytes_per_second: rate,
        }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_night_window_belongs_to_the_day_it_begins_on() {
        // 2026-01-30 is a Friday.
        let schedule =
            Schedule::parse(&[entry(&["Fri"], "22:00", "06:00", "Europe/Berlin", 0)], None).unwrap();
        for (time, expected) in [
            ("2026-01-30T20:59:59Z", Some(9)),
            ("2026-01-30T21:00:00Z", Some(0)),
            ("2026-01-31T04:59:59Z", Some(0)),
            ("2026-01-31T05:00:00Z", Some(9)),
            ("2026-01-31T22:00:00Z", Some(9)),
        ] {
            assert_eq!(schedule.rate_at(Some(9), at(time)), expected, "{time}");
        }
        let change = schedule.next_change(Some(9), at("2026-01-25T00:00:00Z"));
        assert_eq!(change, Some(at("2026-01-30T21:00:00Z")));
        let change = schedule.next_change(Some(9), at("2026-01-30T21:00:00Z"));
        assert_eq!(change, Some(at("2026-01-31T05:00:00Z")));
    }

    #[test]
    fn hours_stay_hours_when_the_clocks_change() {
        let schedule = Schedule::parse(&[entry(&[], "01:00", "05:00", "Europe/Berlin", 7)], None).unwrap();
        // Clocks go forward on 2026-03-29 at 01:00 UTC: the window is three hours long.
        assert_eq!(schedule.next_change(None, at("2026-03-28T12:00:00Z")), Some(at("2026-03-29T00:00:00Z")));
        assert_eq!(schedule.next_change(None, at("2026-03-29T00:00:00Z")), Some(at("2026-03-29T03:00:00Z")));
        // And back on 2026-10-25 at 01:00 UTC: five hours.
        assert_eq!(schedule.next_change(None, at("2026-10-24T12:00:00Z")), Some(at("2026-10-24T23:00:00Z")));
        assert_eq!(schedule.next_change(None, at("2026-10-24T23:00:00Z")), Some(at("2026-10-25T04:00:00Z")));
        // An edge inside the skipped hour moves behind it.
        let skipped = Schedule::parse(&[entry(&[], "02:30", "04:00", "Europe/Berlin", 7)], None).unwrap();
        assert_eq!(skipped.next_change(None, at("2026-03-28T12:00:00Z")), Some(at("2026-03-29T01:30:00Z")));
    }

    #[test]
    fn equal_ends_mean_the_whole_day_and_the_lowest_rate_wins() {
        let entries = [
            entry(&["Mon"], "00:00", "00:00", "UTC", 100),
            entry(&["Mon"], "08:00", "24:00", "UTC", 50),
            entry(&[], "09:00", "10:00", "UTC", 500),
        ];
        let schedule = Schedule::parse(&entries, None).unwrap();
        // 2026-02-02 is a Monday.
        for (time, expected) in [
            ("2026-02-01T23:59:59Z", None),
            ("2026-02-02T00:00:00Z", Some(100)),
            ("2026-02-02T08:00:00Z", Some(50)),
            ("2026-02-02T09:30:00Z", Some(50)),
            ("2026-02-03T00:00:00Z", None),
            ("2026-02-03T09:30:00Z", Some(500)),
        ] {
            assert_eq!(schedule.rate_at(None, at(time)), expected, "{time}");
        }
        assert_eq!(schedule.rate_at(Some(30), at("2026-02-02T09:30:00Z")), Some(30));
    }

    #[test]
    fn a_rate_that_never_changes_has_no_edge() {
        let schedule = Schedule::parse(&[entry(&[], "00:00", "00:00", "UTC", 5)], None).unwrap();
        assert_eq!(schedule.rate_at(None, at("2026-02-02T00:00:00Z")), Some(5));
        assert_eq!(schedule.next_change(None, at("2026-02-02T12:00:00Z")), None);
        assert_eq!(Schedule::default().next_change(Some(1), at("2026-02-02T12:00:00Z")), None);
    }

    #[test]
    fn bad_entries_are_named() {
        for (bad, word) in [
            (entry(&["Funday"], "00:00", "01:00", "UTC", 1), "Funday"),
            (entry(&[], "25:00", "01:00", "UTC", 1), "from"),
            (entry(&[], "00:00", "1:00", "UTC", 1), "to"),
            (entry(&[], "00:00", "-1:00", "UTC", 1), "to"),
            (entry(&[], "00:00", "01:00", "Mars/Phobos", 1), "Mars/Phobos"),
        ] {
            let problem = Schedule::parse(&[bad], None).unwrap_err();
            assert!(problem.contains(word) && problem.contains("schedule[0]"), "{problem}");
        }
        let machine = ScheduledRate { time_zone: None, ..entry(&[], "00:00", "01:00", "", 1) };
        assert!(Schedule::parse(std::slice::from_ref(&machine), Some("Nowhere/Land")).is_err());
        assert!(Schedule::parse(&[machine], None).is_ok());
    }
}
