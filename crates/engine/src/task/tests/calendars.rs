//! Calendars over every change of clocks, and against what counting minutes gives.

use jiff::tz::{TimeZone, TimeZoneDatabase, TimeZoneTransition};
use longhaul_contract::Timestamp;
use proptest::prelude::*;

use super::world::at;
use crate::task::calendar::{Calendar, is_same_time, next_offset_change, utc_offset};
use crate::task::check_calendar;

const MINUTE: i64 = 60;
const DAY: i64 = 86_400;

fn occurrences(schedule: &str, zone: &str, from: i64, to: i64) -> Vec<i64> {
    let calendar = Calendar::parse(schedule, zone).unwrap();
    let mut time = Timestamp((from * 1_000_000) - 1);
    let mut found = Vec::new();
    while let Some(next) = calendar.next(time).filter(|next| next.micros() < to * 1_000_000) {
        assert!(next > time, "{schedule} in {zone}: {next} after {time}");
        assert_eq!(next.micros() % 1_000_000, 0);
        found.push(next.micros() / 1_000_000);
        time = next;
    }
    found
}

fn zones() -> Vec<(String, TimeZone)> {
    let database = TimeZoneDatabase::bundled();
    let zones: Vec<_> = database
        .available()
        .map(|name| (name.as_str().to_owned(), database.get(name.as_str()).unwrap()))
        .collect();
    assert!(zones.len() > 400, "{}", zones.len());
    zones
}

/// Instants at which clocks are changed, with the seconds they are put forward.
fn changes(zone: &TimeZone, from: &str, to: &str) -> Vec<(i64, i64)> {
    let [from, to]: [jiff::Timestamp; 2] = [from, to].map(|time| time.parse().unwrap());
    let mut offset = zone.to_offset(from).seconds();
    let mut changes = Vec::new();
    let is_before = |change: &TimeZoneTransition<'_>| change.timestamp() < to;
    for change in zone.following(from).take_while(is_before) {
        let forward = change.offset().seconds() - std::mem::replace(&mut offset, change.offset().seconds());
        if forward != 0 {
            changes.push((change.timestamp().as_second(), i64::from(forward)));
        }
    }
    changes
}

fn civil(zone: &TimeZone, second: i64) -> jiff::civil::DateTime {
    zone.to_datetime(jiff::Timestamp::from_second(second).unwrap())
}

/// What clocks of a zone show, minute by minute.
struct Shown {
    minutes: Vec<(i64, jiff::civil::DateTime)>,
}

impl Shown {
    fn between(zone: &TimeZone, from: i64, to: i64) -> Self {
        let first = from.div_euclid(MINUTE) * MINUTE;
        Self { minutes: (first..to).step_by(60).map(|second| (second, civil(zone, second))).collect() }
    }

    /// The first showing of each day, and the end of the gap for a time that lies in it.
    fn once_a_day(&self, change: i64, (hour, minute): (i8, i8)) -> Vec<i64> {
        let mut expected = Vec::new();
        let mut last_date = None;
        for (second, time) in &self.minutes {
            if (time.hour(), time.minute()) == (hour, minute)
                && last_date.replace(time.date()) != Some(time.date())
            {
                expected.push(*second);
            }
        }
        let at = self.minutes.iter().position(|(second, _)| *second == change).unwrap();
        let [(_, before), (_, first_shown)] = [self.minutes[at - 1], self.minutes[at]];
        let last_shown = before.checked_add(jiff::Span::new().minutes(1)).unwrap();
        let is_skipped = [last_shown.date(), first_shown.date()]
            .map(|date| date.at(hour, minute, 0, 0))
            .into_iter()
            .any(|time| last_shown <= time && time < first_shown);
        if is_skipped {
            expected.push(change);
            expected.sort_unstable();
            expected.dedup();
        }
        expected
    }
}

/// Around every change of every zone in some years, for every quarter of an hour near it: a fixed time comes exactly
/// once a day; in the skipped hour at the end of the gap, in the repeated hour the first time.
#[test]
fn fixed_times_come_once_over_every_change_of_every_zone() {
    let mut seen = (0, 0);
    for (name, zone) in zones() {
        for (change, forward) in changes(&zone, "2025-01-01T00:00:00Z", "2027-01-01T00:00:00Z") {
            if forward > 0 {
                seen.0 += 1;
            } else {
                seen.1 += 1;
            }
            let window = (change - DAY, change + DAY);
            let shown = Shown::between(&zone, window.0, window.1);
            let last =
                civil(&zone, change - 1).checked_add(jiff::Span::new().seconds(1 + forward.min(0))).unwrap();
            for quarter in -2..=forward.abs() / 900 + 2 {
                let time = last.checked_add(jiff::Span::new().minutes(15 * quarter)).unwrap();
                let (hour, minute) = (time.hour(), time.minute() / 15 * 15);
                let schedule = format!("{minute} {hour} * * *");
                let found = occurrences(&schedule, &name, window.0, window.1);
                let expected = shown.once_a_day(change, (hour, minute));
                assert_eq!(found, expected, "{schedule} in {name} around {change} ({forward})");
            }
        }
    }
    assert!(seen.0 > 250 && seen.1 > 250, "changes looked at: {seen:?}");
}

/// A rhythm follows what clocks show, minute by minute, in both passes of a repeated hour.
#[test]
fn rhythms_go_on_over_every_change_of_every_zone() {
    for (name, zone) in zones() {
        for (change, forward) in changes(&zone, "2025-06-01T00:00:00Z", "2026-06-01T00:00:00Z") {
            let window = (change - 5_400 - forward.abs(), change + 5_400 + forward.abs());
            let found = occurrences("*/15 * * * *", &name, window.0, window.1);
            let expected: Vec<i64> = (window.0..window.1)
                .filter(|second| {
                    let time = civil(&zone, *second);
                    time.minute() % 15 == 0 && time.second() == 0
                })
                .collect();
            assert_eq!(found, expected, "{name} around {change} ({forward})");
        }
    }
}

#[test]
fn the_documented_examples() {
    let find = |schedule, from: &str| {
        let calendar = Calendar::parse(schedule, "Europe/Berlin").unwrap();
        let mut time = at(from);
        let mut next = || {
            time = calendar.next(time).unwrap();
            time.to_string()
        };
        [next(), next()]
    };
    // Clocks go forward on 2026-03-29 at 01:00 UTC, and back on 2026-10-25 at 01:00 UTC.
    assert_eq!(find("30 2 * * *", "2026-03-28T12:00:00Z"), ["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]);
    assert_eq!(
        find("0,30 2 * * *", "2026-03-28T12:00:00Z"),
        ["2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z"]
    );
    assert_eq!(find("30 2 * * *", "2026-10-24T12:00:00Z"), ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
    assert_eq!(
        find("30 2 * * *", "2026-10-25T01:10:00Z"),
        ["2026-10-26T01:30:00Z", "2026-10-27T01:30:00Z"],
        "asked in the second pass"
    );
    assert_eq!(find("30 * * * *", "2026-10-25T00:00:00Z"), ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"]);
    assert_eq!(find("30 * * * *", "2026-03-29T00:00:00Z"), ["2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z"]);
    assert_eq!(find("0 9 29 2 *", "2026-01-01T00:00:00Z"), ["2028-02-29T08:00:00Z", "2032-02-29T08:00:00Z"]);
}

#[test]
fn bad_schedules_are_named() {
    for (schedule, zone, word) in [
        ("", "UTC", "five fields"),
        ("* * * *", "UTC", "five fields"),
        ("0 * * * * *", "UTC", "five fields"),
        ("@daily", "UTC", "five fields"),
        ("61 * * * *", "UTC", "no cron expression"),
        ("a * * * *", "UTC", "no cron expression"),
        ("0 9 * * *", "Mars/Phobos", "Mars/Phobos"),
        ("0 0 30 2 *", "UTC", "never"),
    ] {
        let problem = check_calendar(schedule, Some(zone)).unwrap_err();
        assert!(problem.contains(word), "{schedule}: {problem}");
    }
    for good in ["0 9 * * MON-FRI", "*/5 8-18 1,15 * *", "0 0 29 2 *", "0 12 L * *"] {
        assert_eq!(check_calendar(good, None), Ok(()), "{good}");
    }
}

#[test]
fn zones_are_compared_by_what_their_clocks_show() {
    let now = at("2026-01-10T00:00:00Z");
    assert!(is_same_time("Europe/Berlin", "Europe/Paris", now));
    assert!(!is_same_time("Europe/Berlin", "Africa/Lagos", now), "the same now, another summer");
    assert!(!is_same_time("Europe/Berlin", "Europe/London", now));
    assert!(!is_same_time("Europe/Berlin", "Nowhere/Land", now));
    assert_eq!(utc_offset("Europe/Berlin", now), Some(3_600));
    assert_eq!(next_offset_change("Europe/Berlin", now), Some(at("2026-03-29T01:00:00Z")));
    assert_eq!(next_offset_change("UTC", now), None);
}

fn field(values: std::ops::Range<u32>) -> impl Strategy<Value = String> {
    let first = values.start;
    let number = values.clone().prop_map(|value| value.to_string());
    let pair =
        (values.clone(), values).prop_map(|(one, other)| format!("{},{}", one.min(other), one.max(other)));
    prop_oneof![
        Just("*".to_owned()),
        number,
        pair,
        (2_u32..20).prop_map(move |step| { if first == 0 { format!("*/{step}") } else { "*".to_owned() } })
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// From wherever it is asked, the next occurrence is the same one.
    #[test]
    fn the_answer_does_not_depend_on_when_it_is_asked(
        minute in field(0..60),
        hour in field(0..24),
        day in field(1..29),
        weekday in field(0..7),
        zone in 0_usize..600,
        start in 1_700_000_000_i64..1_900_000_000,
        share in 1_i64..1_000,
    ) {
        let zones = zones();
        let (name, _) = &zones[zone % zones.len()];
        let calendar = Calendar::parse(&format!("{minute} {hour} {day} * {weekday}"), name).unwrap();
        let start = Timestamp(start * 1_000_000);
        if let Some(next) = calendar.next(start) {
            prop_assert!(next > start);
            let between = Timestamp(start.micros() + (next.micros() - start.micros() - 1) / 1_000 * share);
            prop_assert_eq!(calendar.next(between), Some(next));
            prop_assert_eq!(calendar.next(Timestamp(next.micros() - 1)), Some(next));
        }
    }
}
