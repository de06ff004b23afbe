//! Periods, calendars and clocks that cannot be trusted.

use longhaul_contract::{ReasonCode, Signal, TaskId};

use super::world::{HOUR, MINUTE, World, at, calendar, conditions, every, machine, plan, push, started};
use crate::task::{Missed, TaskPlan, TaskTrigger};
use crate::tests::known;
use crate::{BootTime, Policy, Wake};

const YEARS: i64 = 10 * 365 * 86_400;

/// Seconds from now on at which the task starts; it completes at once.
fn starts(world: &mut World, id: TaskId, seconds: u64) -> Vec<u64> {
    let begin = world.now.boot.0;
    let end = begin + seconds * 1_000_000;
    let mut starts = Vec::new();
    while let Some(next) = world.next_wake().filter(|next| next.0 <= end) {
        let ahead = next.0.saturating_sub(world.now.boot.0);
        world.now.boot.0 += ahead;
        world.now.wall.0 += i64::try_from(ahead).unwrap();
        let done = world.wake();
        starts.extend(started(&done).iter().map(|_| (world.now.boot.0 - begin) / 1_000_000));
        world.complete_all(id);
    }
    world.pass((end - world.now.boot.0) / 1_000_000);
    starts
}

fn with_missed(trigger: TaskTrigger, missed: Missed) -> TaskTrigger {
    match trigger {
        TaskTrigger::Every { minutes, one_shot, is_maintenance, .. } => {
            TaskTrigger::Every { minutes, one_shot, is_maintenance, missed }
        }
        TaskTrigger::Calendar { schedule, time_zone, one_shot, .. } => {
            TaskTrigger::Calendar { schedule, time_zone, one_shot, missed }
        }
        other => other,
    }
}

#[test]
fn a_period_fires_when_it_is_over_and_never_drifts() {
    let mut world = World::new();
    let id = world.register(plan(every(15)));
    assert_eq!(world.live(id).next_fire, Some(world.now.wall.plus_seconds(900)));
    assert_eq!(starts(&mut world, id, 3_700), [900, 1_800, 2_700, 3_600]);
    // The service wakes late: the grid stays.
    world.now.boot.0 += 850 * 1_000_000;
    world.now.wall = world.now.wall.plus_seconds(850);
    assert_eq!(started(&world.wake()), [id]);
    world.complete(id);
    assert_eq!(starts(&mut world, id, 1_000), [850], "50 seconds late, and in time again");
}

#[test]
fn nothing_due_means_no_timer() {
    let mut world = World::new();
    let id = world.register(plan(push()));
    assert_eq!(world.engine.next_wake(), Wake::default());
    world.fired(id);
    world.complete(id);
    assert_eq!(world.engine.next_wake(), Wake::default());
    let once =
        TaskTrigger::Every { minutes: 15, one_shot: true, is_maintenance: false, missed: Missed::Once };
    let id = world.register(plan(once));
    assert_eq!(starts(&mut world, id, 4 * HOUR), [900]);
    assert_eq!(world.engine.next_wake(), Wake::default());
}

#[test]
fn suspend_over_many_periods_is_one_run_or_none() {
    for (missed, late, runs) in [
        (Missed::Once, 40 * HOUR + 40 * MINUTE, 1),
        (Missed::Skip, 40 * HOUR + 40 * MINUTE, 0),
        (Missed::Skip, 40 * HOUR + 10 * MINUTE, 1),
    ] {
        let mut world = World::new();
        let id = world.register(plan(with_missed(every(60), missed)));
        world.now.boot.0 += late * 1_000_000;
        world.now.wall = world.now.wall.plus_seconds(i64::try_from(late).unwrap());
        world.wake();
        assert_eq!(world.complete_all(id), runs, "{missed:?} after {late} s");
        let left = HOUR - late % HOUR;
        assert_eq!(starts(&mut world, id, HOUR), [left], "the grid stays");
    }
}

#[test]
fn a_period_goes_on_over_restarts() {
    for (missed, away, at_once, next) in [
        (Missed::Once, 10 * MINUTE, false, 20 * MINUTE),
        (Missed::Once, 30 * MINUTE, true, HOUR),
        (Missed::Once, 5 * HOUR + 45 * MINUTE, true, 45 * MINUTE),
        (Missed::Skip, 5 * HOUR + 55 * MINUTE, false, 35 * MINUTE),
        (Missed::Skip, 5 * HOUR + 40 * MINUTE, true, 50 * MINUTE),
    ] {
        let mut world = World::new();
        let id = world.register(plan(with_missed(every(60), missed)));
        world.pass(30 * MINUTE);
        assert_eq!(!started(&world.restart(away)).is_empty(), at_once, "{missed:?} away {away}");
        world.complete_all(id);
        assert_eq!(starts(&mut world, id, HOUR), [next], "{missed:?} away {away}");
    }
}

#[test]
fn clock_jumps_change_nothing_for_periods() {
    for jump in [3_600, -3_600, YEARS, -YEARS] {
        let mut world = World::new();
        let id = world.register(plan(every(60)));
        world.pass(40 * MINUTE);
        world.jump(jump);
        assert!(!world.is_running(id), "{jump}");
        assert_eq!(starts(&mut world, id, 90 * MINUTE), [20 * MINUTE, 80 * MINUTE], "{jump}");
        // Neither when nobody tells of the jump, nor over a restart after it.
        world.now.wall = world.now.wall.plus_seconds(-jump);
        assert!(started(&world.wake()).is_empty());
        assert!(started(&world.restart(10 * MINUTE)).is_empty(), "{jump}");
        assert_eq!(starts(&mut world, id, HOUR), [40 * MINUTE], "{jump}");
    }
}

#[test]
fn a_clock_that_is_dead_at_start_delays_no_period_once_it_is_set() {
    let mut world = World::new();
    let id = world.register(plan(every(60)));
    world.pass(30 * MINUTE);
    let truth = world.now.wall;
    world.now.wall = at("1970-01-01T00:00:05Z");
    assert!(started(&world.restart(0)).is_empty());
    world.pass(20);
    let set = truth.plus_seconds(2 * 3_600).to_string();
    assert_eq!(started(&world.set_clock(&set)), [id], "it was due long ago");
    world.complete(id);
    assert_eq!(starts(&mut world, id, HOUR), [30 * MINUTE]);

    let mut world = World::new();
    let id = world.register(plan(every(60)));
    world.now.wall = at("1970-01-01T00:00:05Z");
    world.restart(0);
    assert_eq!(starts(&mut world, id, 61 * MINUTE), [HOUR], "nobody sets it: a whole period from the start");
}

#[test]
fn a_calendar_follows_the_clock_of_its_zone() {
    let mut world = World::new();
    let berlin = world.register(plan(calendar("30 14 * * *", None)));
    let tokyo = world.register(plan(calendar("30 14 * * *", Some("Asia/Tokyo"))));
    assert_eq!(world.live(berlin).next_fire, Some(at("2026-03-10T13:30:00Z")));
    assert_eq!(world.live(tokyo).next_fire, Some(at("2026-03-11T05:30:00Z")));
    assert_eq!(world.engine.next_wake().wall, Some(at("2026-03-10T13:30:00Z")));
    world.change_host(|host| host.time_zone = known("America/New_York".to_owned()));
    assert_eq!(world.live(berlin).next_fire, Some(at("2026-03-10T18:30:00Z")), "the machine has travelled");
    assert_eq!(world.live(tokyo).next_fire, Some(at("2026-03-11T05:30:00Z")));
    world.change_host(|host| host.time_zone = Signal::unknown("gone"));
    assert_eq!(world.live(berlin).next_fire, Some(at("2026-03-10T18:30:00Z")), "the last known zone");
}

#[test]
fn a_calendar_without_any_zone_is_that_of_the_policy() {
    let mut host = machine();
    host.time_zone = Signal::unknown("none");
    let policy = Policy { time_zone: Some("Asia/Tokyo".to_owned()), ..Policy::default() };
    let mut world = World::with(policy, host);
    let id = world.register(plan(calendar("0 20 * * *", None)));
    assert_eq!(world.live(id).next_fire, Some(at("2026-03-10T11:00:00Z")));
}

#[test]
fn a_calendar_makes_up_for_what_it_missed_once_or_skips_it() {
    for (missed, back, fires) in [
        (Missed::Once, "2026-03-14T00:00:00Z", true),
        (Missed::Skip, "2026-03-14T00:00:00Z", false),
        (Missed::Skip, "2026-03-14T11:10:00Z", true),
        (Missed::Skip, "2026-03-14T11:20:00Z", false),
        (Missed::Once, "2026-03-10T10:59:00Z", false),
    ] {
        let mut world = World::new();
        let id = world.register(plan(with_missed(calendar("0 11 * * *", Some("UTC")), missed)));
        world.now.wall = at(back);
        assert_eq!(!started(&world.restart(0)).is_empty(), fires, "{missed:?} {back}");
        assert_eq!(world.complete_all(id), u32::from(fires));
        assert!(started(&world.restart(1)).is_empty(), "only once");
    }
}

#[test]
fn clock_jumps_make_calendars_look_again() {
    let mut world = World::new();
    let id = world.register(plan(calendar("0 11 * * *", Some("UTC"))));
    // It is 10:00. Forward over 11:00: missed, and made up for.
    assert_eq!(started(&world.set_clock("2026-03-10T11:30:00Z")), [id]);
    world.complete(id);
    // Back before 11:00: it has been today.
    assert!(started(&world.set_clock("2026-03-10T10:30:00Z")).is_empty());
    assert_eq!(world.live(id).next_fire, Some(at("2026-03-11T11:00:00Z")));
    // Back by days: those days are still to come.
    world.set_clock("2026-03-05T10:30:00Z");
    assert_eq!(world.live(id).next_fire, Some(at("2026-03-05T11:00:00Z")));
    // Ten years on and back.
    assert_eq!(started(&world.set_clock("2036-03-05T10:30:00Z")), [id]);
    world.complete(id);
    world.set_clock("2026-03-05T10:40:00Z");
    assert_eq!(world.live(id).next_fire, Some(at("2026-03-05T11:00:00Z")));
    // Ten years back is before any clock was set.
    world.set_clock("2016-03-05T10:40:00Z");
    assert_eq!(world.waits_for(id), [ReasonCode::ClockUntrusted]);
    assert_eq!(world.live(id).next_fire, None);
    world.set_clock("2026-03-05T10:50:00Z");
    assert_eq!(world.live(id).next_fire, Some(at("2026-03-05T11:00:00Z")));
}

#[test]
fn a_small_step_back_does_not_repeat_a_time() {
    let mut world = World::new();
    let id = world.register(plan(calendar("0 11 * * *", Some("UTC"))));
    assert_eq!(started(&world.pass(HOUR)), [id]);
    world.complete(id);
    world.jump(-2);
    assert!(started(&world.pass(10)).is_empty());
}

#[test]
fn calendars_wait_for_a_clock_they_can_trust() {
    let mut world = World::new();
    let id = world.register(plan(calendar("0 11 * * *", Some("UTC"))));
    world.now.wall = at("2025-01-01T10:59:50Z");
    world.restart(0);
    assert_eq!(world.waits_for(id), [ReasonCode::ClockUntrusted]);
    assert!(started(&world.pass(MINUTE)).is_empty());
    let fresh = world.register(plan(calendar("0 11 * * *", Some("UTC"))));
    assert_eq!(
        started(&world.set_clock("2026-03-10T11:20:00Z")),
        [id],
        "missed, and the other was not there"
    );
    assert_eq!(world.live(fresh).next_fire, Some(at("2026-03-11T11:00:00Z")));
}

#[test]
fn a_clock_nobody_sets_is_believed_after_a_day() {
    let mut world = World::new();
    let id = world.register(plan(calendar("0 11 * * *", Some("UTC"))));
    world.now.wall = at("2026-03-01T12:00:00Z");
    world.restart(0);
    assert_eq!(world.engine.next_wake().boot, Some(BootTime(1_000_000).plus_millis(86_400_000)));
    assert!(started(&world.pass(24 * HOUR - 1)).is_empty());
    world.pass(1);
    assert_eq!(world.live(id).next_fire, Some(at("2026-03-03T11:00:00Z")));
    assert_eq!(started(&world.pass(23 * HOUR)), [id]);
}

#[test]
fn a_one_shot_calendar_comes_once() {
    let mut world = World::new();
    let trigger = TaskTrigger::Calendar {
        schedule: "0 * * * *".into(),
        time_zone: None,
        one_shot: true,
        missed: Missed::Once,
    };
    let id = world.register(plan(trigger));
    assert_eq!(starts(&mut world, id, 5 * HOUR), [HOUR]);
    assert!(world.live(id).is_consumed);
    world.restart(5);
    assert_eq!(world.engine.next_wake(), Wake::default());
}

#[test]
fn ten_thousand_timers_are_one_wake_up_at_a_time() {
    let mut world = World::new();
    let held = conditions(&[longhaul_contract::Condition::UserNotPresent]);
    for minutes in 0..10_000 {
        world.register(TaskPlan { conditions: held, ..plan(every(15 + minutes)) });
    }
    let first = world.now.boot.plus_millis(15 * 60_000);
    assert_eq!(world.engine.next_wake().boot, Some(first));
    world.pass(15 * MINUTE);
    assert_eq!(world.engine.next_wake().boot, Some(first.plus_millis(60_000)));
}
