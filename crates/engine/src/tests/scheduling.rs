//! Slots, order, fairness, time and size.

use longhaul_contract::{
    Limits, OperationId, PatchDownload, Priority, ReasonCode, ScheduledRate, Timestamp, TransferStatus,
};

use super::*;
use crate::{Command, Effect, NewOperation, Policy, StopMode, Wish};

fn one_slot() -> Limits {
    Limits { running_at_once: 1, ..Limits::default() }
}

/// Finishes whatever runs, one after the other, and answers the order.
fn run_all(world: &mut World, mut next: Vec<OperationId>) -> Vec<OperationId> {
    let mut order = Vec::new();
    while let Some(id) = next.pop() {
        order.push(id);
        next.extend(started(&world.finish(id)));
    }
    order
}

#[test]
fn high_before_default_before_low_and_each_in_order() {
    let mut world = World::with_limits(one_slot());
    let running = world.download();
    let mut of = |priority| {
        let operation = NewOperation { priority, ..world.operation("a") };
        world.create(operation).0
    };
    let low = of(Priority::Low);
    let first = of(Priority::Default);
    let second = of(Priority::Default);
    let high = of(Priority::High);
    assert_eq!(run_all(&mut world, vec![running]), [running, high, first, second, low]);
}

#[test]
fn a_patched_priority_reorders_at_once() {
    let mut world = World::with_limits(one_slot());
    let running = world.download();
    let first = world.download();
    let second = world.download();
    let raise = PatchDownload { priority: Some(Priority::High), ..PatchDownload::default() };
    world.command(second, Command::Patch { patch: Box::new(raise), origin: None }).unwrap();
    assert_eq!(run_all(&mut world, vec![running]), [running, second, first]);
}

#[test]
fn limits_hold_for_all_per_application_and_per_host() {
    let limits = Limits {
        running_at_once: 5,
        running_at_once_per_application: 3,
        connections_per_host: 2,
        ..Limits::default()
    };
    let mut world = World::with_limits(limits);
    let same_host: Vec<_> = (0..3)
        .map(|_| {
            let operation = world.operation("one");
            world.create(operation).0
        })
        .collect();
    assert_eq!(world.waits_for(same_host[2]), [ReasonCode::ConnectionsPerHost]);
    let third = world.download();
    let fourth = world.download();
    assert!(world.is_running(third), "the full host does not hold others back");
    assert_eq!(world.waits_for(fourth), [ReasonCode::RunningAtOncePerApplication]);
    let others: Vec<_> = (0..3)
        .map(|index| {
            let host = format!("other{index}");
            let operation = NewOperation { app: app("Other"), ..world.operation(&host) };
            world.create(operation).0
        })
        .collect();
    let last = world.engine.live(world.now, &app("Other"), others[2]).unwrap();
    assert_eq!(last.waiting[0].code, ReasonCode::RunningAtOnce);
    assert_eq!(started(&world.finish(same_host[0])), [same_host[2]]);
}

#[test]
fn applications_share_slots_evenly() {
    let mut world = World::with_limits(Limits { running_at_once: 4, ..Limits::default() });
    let mut create = |name: &str, count| -> Vec<OperationId> {
        (0..count)
            .map(|index| {
                let host = format!("{name}{index}");
                let operation = NewOperation { app: app(name), ..world.operation(&host) };
                world.create(operation).0
            })
            .collect()
    };
    let greedy = create("Greedy", 100);
    let modest = create("Modest", 100);
    let mut served = (0, 0);
    let mut running: Vec<OperationId> = greedy[..4].to_vec();
    for _ in 0..60 {
        let id = running.remove(0);
        let owner = if modest.contains(&id) { app("Modest") } else { app("Greedy") };
        let attempt = world.engine.live(world.now, &owner, id).unwrap().attempt.unwrap();
        let plan = world.engine.observe(world.now, crate::Fact::Ended { id, attempt, end: finished() });
        for next in started(&plan) {
            if modest.contains(&next) {
                served.1 += 1;
            } else {
                served.0 += 1;
            }
            running.push(next);
        }
        assert_eq!(running.len(), 4);
    }
    assert!((28..=32).contains(&served.0) && (28..=32).contains(&served.1), "{served:?}");
}

#[test]
fn not_before_waits_by_the_wall_clock() {
    let mut world = World::new();
    let time = world.now.wall.plus_seconds(3_600);
    let operation = NewOperation { not_before: Some(time), ..world.operation("a") };
    let (id, plan) = world.create(operation);
    assert!(started(&plan).is_empty());
    assert_eq!(world.live(id).waiting[0].until, Some(time));
    assert_eq!(world.engine.next_wake().wall, Some(time));
    assert_eq!(world.engine.next_wake().boot, None);
    world.now.wall = time;
    let plan = world.engine.wake(world.now);
    assert_eq!(started(&plan), [id]);
    assert_eq!(waited(&plan), [(id, ReasonCode::NotBefore, 3_600)]);
    assert_eq!(world.engine.next_wake().wall, None);
}

#[test]
fn a_clock_set_back_does_not_undo_a_reached_time() {
    let mut world = World::with_limits(one_slot());
    let running = world.download();
    let time = world.now.wall.plus_seconds(10);
    let operation = NewOperation { not_before: Some(time), ..world.operation("a") };
    let (id, _) = world.create(operation);
    world.pass(11 * SECOND);
    world.now.wall = Timestamp(0);
    assert_eq!(world.waits_for(id), [ReasonCode::RunningAtOnce]);
    assert_eq!(started(&world.finish(running)), [id]);
}

#[test]
fn lowered_limits_let_go_of_the_youngest() {
    let mut world = World::new();
    let ids: Vec<_> = (0..4)
        .map(|_| {
            world.pass(SECOND);
            world.download()
        })
        .collect();
    let plan = world.put_limits(Limits { running_at_once: 2, ..Limits::default() });
    assert_eq!(stops(&plan), [(ids[2], StopMode::Keep), (ids[3], StopMode::Keep)]);
    world.stopped(ids[3]);
    assert_eq!(world.waits_for(ids[3]), [ReasonCode::RunningAtOnce]);
    let plan = world.put_limits(Limits::default());
    assert_eq!(started(&plan), [ids[3]]);
    let bad = Limits { running_at_once: 0, ..Limits::default() };
    let refusal = world.engine.command(world.now, Wish::PutLimits(bad)).unwrap_err();
    assert_eq!(refusal.code, longhaul_contract::ErrorCode::InvalidField);
}

#[test]
fn a_scheduled_rate_of_zero_stops_until_its_edge() {
    let mut world = World::new();
    world.now.wall = "2026-02-02T07:59:00Z".parse().unwrap();
    let id = world.download();
    let entry = ScheduledRate {
        weekdays: vec!["Mon".to_owned()],
        from: "08:00".to_owned(),
        to: "17:00".to_owned(),
        time_zone: Some("UTC".to_owned()),
        bytes_per_second: 0,
    };
    let limits = Limits { bytes_per_second: Some(500), schedule: vec![entry], ..Limits::default() };
    let plan = world.put_limits(limits);
    assert!(plan.effects.contains(&Effect::SetTotalRate { bytes_per_second: Some(500) }));
    assert_eq!(world.engine.next_wake().wall, Some("2026-02-02T08:00:00Z".parse().unwrap()));
    let plan = world.pass(60 * SECOND);
    assert_eq!(stops(&plan), [(id, StopMode::Keep)]);
    assert!(plan.effects.contains(&Effect::SetTotalRate { bytes_per_second: Some(0) }));
    world.stopped(id);
    assert_eq!(world.status(id), TransferStatus::PausedSystemPolicy);
    let waiting = world.live(id).waiting;
    let edge: Timestamp = "2026-02-02T17:00:00Z".parse().unwrap();
    assert_eq!((waiting[0].code, waiting[0].until), (ReasonCode::RateLimitZero, Some(edge)));
    assert_eq!(world.engine.next_wake().wall, Some(edge));
    let plan = world.live_through(9 * 3_600 * SECOND);
    assert_eq!(started(&plan), [id]);
    world.command(id, Command::Pause).unwrap();
    world.stopped(id);
    assert_eq!(world.engine.next_wake().wall, None, "nothing could run: no edge matters");
}

#[test]
fn ten_thousand_waiting_operations_ask_for_no_wake_up() {
    let mut world = World::with(Policy::default(), Limits::default(), offline());
    for _ in 0..10_000 {
        world.download();
    }
    assert_eq!(world.engine.next_wake(), crate::Wake::default());
}

/// The quickest of several rounds of starts behind a queue of this length.
fn quickest_round(queued: usize) -> std::time::Duration {
    let mut world = World::with_limits(one_slot());
    let mut next = vec![world.download()];
    let batch: Vec<_> = (0..queued)
        .map(|index| {
            let host = format!("host{}", index % 1_000);
            world.operation(&host)
        })
        .collect();
    world.engine.command(world.now, Wish::Create(batch)).unwrap();
    assert_eq!(world.engine.next_wake(), crate::Wake::default());
    let round = || {
        let begin = std::time::Instant::now();
        for _ in 0..100 {
            let id = next.pop().unwrap();
            next.extend(started(&world.finish(id)));
        }
        begin.elapsed()
    };
    std::iter::repeat_with(round).take(10).min().unwrap()
}

#[test]
fn the_length_of_the_queue_costs_a_step_nothing() {
    let short = quickest_round(2_000);
    let long = quickest_round(100_000);
    // A scan of the queue would make it fifty times as slow.
    assert!(long < short * 15, "{short:?} with 2,000 queued, {long:?} with 100,000");
}

#[test]
fn a_queued_operation_fits_in_two_hundred_bytes() {
    let entry = size_of::<Option<crate::roster::Entry>>();
    let place = size_of::<crate::queue::Place>();
    let index = size_of::<crate::roster::Slot>() + 1 + size_of::<crate::TargetKey>() + 1;
    // B-trees are two thirds full on average, hash tables at the least 7/16.
    let measured = entry + place * 3 / 2 + index * 16 / 7;
    println!("entry {entry}, place {place}, index {index}: about {measured} bytes a queued operation");
    assert!(measured <= 200, "{measured}");
    assert!(entry <= 112, "{entry}");
}
