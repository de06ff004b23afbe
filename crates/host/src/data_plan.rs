//! What was used of a connection's data plan, from the kernel's counters, and whether it will last: pure bookkeeping over
//! what [`crate::network::Traffic`] tells (ConnectionCost.ApproachingDataLimit and OverDataLimit).
//!
//! The count lives over restarts of the service and of the machine. A counter that was made anew, or went back, has
//! begun again at 0. Deliberately absent: reading counters by itself, and keeping the ledger.

use jiff::Zoned;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use longhaul_contract::{DataPlanUse, Timestamp};
use serde::{Deserialize, Serialize};

/// Of the limit in per cent: from here on it is approached, however late in the period it is.
const NEAR_PERCENT: u64 = 80;
/// Of the limit in per cent: less than this, used early in the period, says nothing about its end.
const FORECAST_PERCENT: u64 = 25;
/// Of the limit in per cent: a forecast that exceeded the limit has to fall below this to be no more of concern.
const EASED_PERCENT: u64 = 95;

const PERIOD_SECONDS_MAX: i64 = 31 * 86_400;

/// What the owner said about a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataPlan {
    /// For one period, sent and received together.
    pub limit_bytes: u64,
    /// Day of the month on which a period begins, 1 to 31; in shorter months their last day stands in.
    pub resets_on_day: u8,
    /// What had been used in the period in which the owner wrote this.
    pub used_bytes: u64,
}

/// A counter as it was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Which start of the machine it was (`/proc/sys/kernel/random/boot_id`).
    pub boot: String,
    pub link: String,
    pub index: u32,
    pub bytes: u64,
}

/// The count for one connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    since: Timestamp,
    used_bytes: u64,
    /// What the owner said had been used, when this began.
    given_bytes: u64,
    mark: Option<Mark>,
    /// The forecast exceeded the limit and has not eased since.
    is_ahead: bool,
}

impl Ledger {
    #[must_use]
    pub fn begin(plan: &DataPlan, now: Timestamp, zone: &TimeZone) -> Self {
        let since = period(plan, now, zone).0;
        Self { since, used_bytes: plan.used_bytes, given_bytes: plan.used_bytes, mark: None, is_ahead: false }
    }

    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.used_bytes
    }

    /// Takes in what the counter of the connection shows now; `None` while the connection is not in use.
    pub fn count(&mut self, plan: &DataPlan, seen: Option<Mark>, now: Timestamp, zone: &TimeZone) {
        if self.given_bytes != plan.used_bytes {
            // The owner has corrected the count.
            let mark = self.mark.take();
            *self = Self { mark, ..Self::begin(plan, now, zone) };
            self.mark.clone_from(&seen);
        }
        let (since, _) = period(plan, now, zone);
        if since > self.since {
            self.used_bytes = 0;
            self.is_ahead = false;
            self.since = since;
        } else if self.since.seconds_since(now) > PERIOD_SECONDS_MAX {
            // A clock that was put back a little begins no other period; one that had gone astray did.
            self.since = since;
        }
        if let (Some(before), Some(seen)) = (&self.mark, &seen) {
            self.used_bytes = self.used_bytes.saturating_add(growth(before, seen));
        }
        self.mark = seen;
        let (limit, projected) = (u128::from(plan.limit_bytes), self.projection(plan, now, zone));
        let is_telling = percent(self.used_bytes) >= limit * u128::from(FORECAST_PERCENT);
        let bound = if self.is_ahead { limit * u128::from(EASED_PERCENT) / 100 } else { limit };
        self.is_ahead = is_telling && projected > bound;
    }

    /// What will have been used at the end of the period, if it goes on as it went on average until now.
    fn projection(&self, plan: &DataPlan, now: Timestamp, zone: &TimeZone) -> u128 {
        let (since, end) = period(plan, now, zone);
        let whole = u128::try_from(end.0 - since.0).unwrap_or(1);
        let passed = u128::try_from(now.0 - since.0).unwrap_or(0).max(1);
        u128::from(self.used_bytes) * whole / passed
    }

    #[must_use]
    pub fn usage(&self, connection: &str, plan: &DataPlan, now: Timestamp, zone: &TimeZone) -> DataPlanUse {
        let (since, resets_time) = period(plan, now, zone);
        let is_over_limit = self.used_bytes >= plan.limit_bytes;
        let is_near = percent(self.used_bytes) >= u128::from(plan.limit_bytes) * u128::from(NEAR_PERCENT);
        DataPlanUse {
            connection: connection.to_owned(),
            is_in_use: self.mark.is_some(),
            limit_bytes: plan.limit_bytes,
            used_bytes: self.used_bytes,
            projected_bytes: u64::try_from(self.projection(plan, now, zone)).unwrap_or(u64::MAX),
            since,
            resets_time,
            is_approaching_limit: is_near || self.is_ahead,
            is_over_limit,
        }
    }

    /// When the verdict is another one if nothing more is used: at the end of the period, or when a forecast eases.
    #[must_use]
    pub fn changes_at(&self, plan: &DataPlan, now: Timestamp, zone: &TimeZone) -> Timestamp {
        let (since, end) = period(plan, now, zone);
        if !self.is_ahead {
            return end;
        }
        let whole = i128::from(end.0 - since.0);
        let enough = i128::from(plan.limit_bytes) * i128::from(EASED_PERCENT) / 100;
        let eased = i128::from(self.used_bytes) * whole / enough.max(1) + 1;
        let eased = i64::try_from(i128::from(since.0) + eased).unwrap_or(i64::MAX);
        end.min(Timestamp(eased))
    }
}

fn percent(bytes: u64) -> u128 {
    u128::from(bytes) * 100
}

/// What went over the interface between two looks, of which the second may be at another counter.
fn growth(before: &Mark, seen: &Mark) -> u64 {
    if before.link != seen.link {
        // The connection went over to another interface: what that one counted was not ours.
        return 0;
    }
    let is_same = before.boot == seen.boot && before.index == seen.index;
    match seen.bytes.checked_sub(before.bytes) {
        Some(growth) if is_same => growth,
        _ => seen.bytes,
    }
}

/// The beginning and the end of the period that `now` lies in.
fn period(plan: &DataPlan, now: Timestamp, zone: &TimeZone) -> (Timestamp, Timestamp) {
    let instant = jiff::Timestamp::from_microsecond(now.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let today = instant.to_zoned(zone.clone()).date();
    let this = reset(plan, today);
    let (begins, ends) = if today >= this {
        (this, reset(plan, first_of_next_month(today)))
    } else {
        (reset(plan, last_of_previous_month(today)), this)
    };
    (midnight(begins, zone), midnight(ends, zone))
}

/// The reset in the month of `day`.
fn reset(plan: &DataPlan, day: Date) -> Date {
    let wanted = i8::try_from(plan.resets_on_day.max(1)).unwrap_or(31);
    day.first_of_month().with().day(wanted.min(day.days_in_month())).build().unwrap_or(day)
}

fn first_of_next_month(day: Date) -> Date {
    day.last_of_month().tomorrow().unwrap_or(day)
}

fn last_of_previous_month(day: Date) -> Date {
    day.first_of_month().yesterday().unwrap_or(day)
}

/// The first moment of a day.
fn midnight(day: Date, zone: &TimeZone) -> Timestamp {
    let begins: Result<Zoned, _> = day.to_zoned(zone.clone());
    Timestamp(begins.map_or(0, |zoned| zoned.timestamp().as_microsecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: DataPlan = DataPlan { limit_bytes: 1_000, resets_on_day: 10, used_bytes: 0 };

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn mark(boot: &str, index: u32, bytes: u64) -> Option<Mark> {
        Some(Mark { boot: boot.to_owned(), link: "wwan0".to_owned(), index, bytes })
    }

    fn usage(ledger: &Ledger, now: Timestamp) -> DataPlanUse {
        ledger.usage("wwan0", &PLAN, now, &TimeZone::UTC)
    }

    #[test]
    fn periods_follow_the_day_and_the_zone() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        for (day, now, begins, ends) in [
            (10, "2026-03-15T12:00:00Z", "2026-03-09T23:00:00Z", "2026-04-09T22:00:00Z"),
            (10, "2026-03-09T22:59:59Z", "2026-02-09T23:00:00Z", "2026-03-09T23:00:00Z"),
            (31, "2026-02-28T12:00:00Z", "2026-02-27T23:00:00Z", "2026-03-30T22:00:00Z"),
            (31, "2026-02-27T12:00:00Z", "2026-01-30T23:00:00Z", "2026-02-27T23:00:00Z"),
            (1, "2026-12-31T22:00:00Z", "2026-11-30T23:00:00Z", "2026-12-31T23:00:00Z"),
        ] {
            let plan = DataPlan { resets_on_day: day, ..PLAN };
            assert_eq!(period(&plan, at(now), &zone), (at(begins), at(ends)), "{now}");
        }
    }

    #[test]
    fn counters_that_begin_again_are_counted_from_nothing() {
        let now = at("2026-03-20T12:00:00Z");
        let mut ledger = Ledger::begin(&PLAN, now, &TimeZone::UTC);
        for (seen, expected) in [
            // What went before the first look is not ours to count.
            (mark("a", 2, 5_000), 0),
            (mark("a", 2, 5_100), 100),
            (mark("a", 2, 5_100), 100),
            // It went back: the driver was loaded anew.
            (mark("a", 2, 30), 130),
            // The machine was started anew, and the counter is beyond where it was.
            (mark("b", 2, 40), 170),
            // The interface was made anew.
            (mark("b", 7, 50), 220),
            // Another connection was in use meanwhile.
            (None, 220),
            (mark("b", 7, 500), 220),
            (mark("b", 7, 510), 230),
        ] {
            ledger.count(&PLAN, seen.clone(), now, &TimeZone::UTC);
            assert_eq!(ledger.used_bytes(), expected, "{seen:?}");
        }
        let kept: Ledger = serde_json::from_str(&serde_json::to_string(&ledger).unwrap()).unwrap();
        assert_eq!(kept, ledger);
        let elsewhere = Mark { link: "usb0".to_owned(), ..mark("b", 7, 900).unwrap() };
        ledger.count(&PLAN, Some(elsewhere), now, &TimeZone::UTC);
        assert_eq!(ledger.used_bytes(), 230);
    }

    #[test]
    fn the_forecast_and_the_limit() {
        let mut ledger = Ledger::begin(&PLAN, at("2026-03-10T00:00:00Z"), &TimeZone::UTC);
        ledger.count(&PLAN, mark("a", 1, 0), at("2026-03-10T00:00:00Z"), &TimeZone::UTC);
        // 31 days; each row adds to the counter.
        for (now, counter, is_approaching, is_over) in [
            ("2026-03-10T01:00:00Z", 249, false, false),
            ("2026-03-10T02:00:00Z", 250, true, false),
            // A quarter of the limit after a quarter of the time, and then some.
            ("2026-03-17T18:00:00Z", 250, true, false),
            ("2026-03-18T06:00:00Z", 250, false, false),
            ("2026-04-08T00:00:00Z", 799, false, false),
            ("2026-04-08T00:00:00Z", 800, true, false),
            ("2026-04-09T00:00:00Z", 999, true, false),
            ("2026-04-09T00:00:00Z", 1000, true, true),
            ("2026-04-10T00:00:00Z", 1010, false, false),
        ] {
            ledger.count(&PLAN, mark("a", 1, counter), at(now), &TimeZone::UTC);
            let usage = usage(&ledger, at(now));
            let verdict = (usage.is_approaching_limit, usage.is_over_limit);
            assert_eq!(verdict, (is_approaching, is_over), "{now} {counter}: {usage:?}");
        }
        assert_eq!(ledger.used_bytes(), 10, "what was counted at the first look of a period belongs to it");
    }

    #[test]
    fn a_forecast_eases_when_it_said_it_would() {
        let begin = at("2026-03-10T00:00:00Z");
        let mut ledger = Ledger::begin(&PLAN, begin, &TimeZone::UTC);
        ledger.count(&PLAN, mark("a", 1, 0), begin, &TimeZone::UTC);
        assert_eq!(ledger.changes_at(&PLAN, begin, &TimeZone::UTC), at("2026-04-10T00:00:00Z"));
        let now = begin.plus_seconds(3600);
        ledger.count(&PLAN, mark("a", 1, 300), now, &TimeZone::UTC);
        assert!(usage(&ledger, now).is_approaching_limit);
        let eases = ledger.changes_at(&PLAN, now, &TimeZone::UTC);
        ledger.count(&PLAN, mark("a", 1, 300), eases.plus_seconds(-3600), &TimeZone::UTC);
        assert!(usage(&ledger, eases).is_approaching_limit);
        ledger.count(&PLAN, mark("a", 1, 300), eases, &TimeZone::UTC);
        assert!(!usage(&ledger, eases).is_approaching_limit, "{eases}");
    }

    #[test]
    fn the_owner_corrects_the_count_and_a_clock_that_goes_back_does_not() {
        let now = at("2026-03-20T12:00:00Z");
        let mut ledger = Ledger::begin(&PLAN, now, &TimeZone::UTC);
        ledger.count(&PLAN, mark("a", 1, 0), now, &TimeZone::UTC);
        ledger.count(&PLAN, mark("a", 1, 70), now, &TimeZone::UTC);
        for (other, expected) in [
            ("2026-02-20T12:00:00Z", 70),
            ("2026-03-20T12:00:00Z", 70),
            ("2030-01-20T12:00:00Z", 0),
            ("2026-03-20T12:00:00Z", 0),
            ("2026-04-20T12:00:00Z", 0),
        ] {
            ledger.count(&PLAN, mark("a", 1, 70), at(other), &TimeZone::UTC);
            assert_eq!(ledger.used_bytes(), expected, "{other}");
        }
        assert_eq!(ledger.since, at("2026-04-10T00:00:00Z"));
        ledger.count(&PLAN, mark("a", 1, 70), now, &TimeZone::UTC);
        let corrected = DataPlan { used_bytes: 400, ..PLAN };
        ledger.count(&corrected, mark("a", 1, 80), now, &TimeZone::UTC);
        assert_eq!(ledger.used_bytes(), 400);
        ledger.count(&corrected, mark("a", 1, 90), now, &TimeZone::UTC);
        assert_eq!(ledger.used_bytes(), 410);
    }
}
