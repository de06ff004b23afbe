//! Serialized groups and MakeCurrentInTransferGroup.

use longhaul_contract::{OperationId, PatchDownload, Priority, ReasonCode, TransferBehavior};

use super::*;
use crate::{Change, Command, NewOperation, StopMode};

fn serialized() -> World {
    let mut world = World::new();
    world.put_group("g", TransferBehavior::Serialized);
    world
}

fn members(world: &mut World, count: usize) -> Vec<OperationId> {
    (0..count).map(|_| world.member("g", Priority::Default)).collect()
}

/// The order in which the group runs from now on.
fn order(world: &mut World, running: OperationId) -> Vec<OperationId> {
    let mut order = vec![running];
    let mut next = started(&world.finish(running));
    while let Some(id) = next.pop() {
        order.push(id);
        next.extend(started(&world.finish(id)));
    }
    order
}

#[test]
fn one_default_member_at_a_time_and_high_beside_it() {
    let mut world = serialized();
    let ids = members(&mut world, 3);
    let low = world.member("g", Priority::Low);
    let high = world.member("g", Priority::High);
    assert!(world.is_running(ids[0]) && world.is_running(high));
    for id in [ids[1], ids[2], low] {
        assert_eq!(world.waits_for(id), [ReasonCode::GroupSerialized]);
    }
    let info = world.engine.group(&app("App"), &group("g")).unwrap();
    assert_eq!(info.live_operations, 5);
    assert_eq!(world.engine.groups(&app("App")), [info]);
    assert_eq!(world.engine.groups(&app("Other")), []);
    assert_eq!(world.engine.live_operations(Some(&app("App"))), 5);
    assert_eq!(world.engine.live_operations(Some(&app("Other"))), 0);
    assert_eq!(world.engine.live_operations(None), 5);
    assert_eq!(order(&mut world, ids[0]), [ids[0], ids[1], ids[2], low]);
}

#[test]
fn a_waiting_or_failing_member_does_not_hold_the_group() {
    let mut world = serialized();
    let ids = members(&mut world, 4);
    assert_eq!(started(&world.fail(ids[0], transient(), false)), [ids[1]]);
    world.command(ids[1], Command::Pause).unwrap();
    assert_eq!(started(&world.stopped(ids[1])), [ids[2]]);
    assert_eq!(started(&world.fail(ids[2], disk_full(), false)), [ids[3]]);
    // A member that the machine forbids lets another one pass that it allows.
    let mut world = serialized();
    let ids = members(&mut world, 2);
    let free_only = PatchDownload {
        cost_policy: Some(longhaul_contract::CostPolicy::UnrestrictedOnly),
        ..PatchDownload::default()
    };
    world.host(metered());
    let plan = world.command(ids[0], Command::Patch { patch: Box::new(free_only), origin: None }).unwrap();
    assert_eq!(stops(&plan), [(ids[0], StopMode::Keep)]);
    assert_eq!(started(&world.stopped(ids[0])), [ids[1]]);
}

#[test]
fn make_current_rotates_the_group_and_displaces_the_running_one() {
    let mut world = serialized();
    let ids = members(&mut world, 6);
    world.progress(ids[0]);
    let plan = world.command(ids[3], Command::MakeCurrent).unwrap();
    assert_eq!(stops(&plan), [(ids[0], StopMode::Keep)]);
    assert!(plan.needs_commit(), "the new order is kept");
    let plan = world.stopped(ids[0]);
    assert_eq!(started(&plan), [ids[3]]);
    let expected = [ids[3], ids[4], ids[5], ids[0], ids[1], ids[2]];
    let last = world.member("g", Priority::Default);
    let got = order(&mut world, ids[3]);
    assert_eq!(got[..6], expected);
    assert_eq!(got[6], last, "new members go to the end");
}

#[test]
fn make_current_moves_the_shorter_block() {
    for position in [1, 8] {
        let mut world = serialized();
        let ids = members(&mut world, 10);
        let plan = world.command(ids[position], Command::MakeCurrent).unwrap();
        let moved = plan.changes.iter().filter(|change| matches!(change, Change::Updated { .. })).count();
        assert_eq!(moved, position.min(10 - position));
        world.stopped(ids[0]);
        let mut expected = ids[position..].to_vec();
        expected.extend(&ids[..position]);
        assert_eq!(order(&mut world, ids[position]), expected);
    }
}

#[test]
fn make_current_of_what_cannot_run_displaces_nobody() {
    let mut world = serialized();
    let ids = members(&mut world, 3);
    world.command(ids[2], Command::Pause).unwrap();
    let plan = world.command(ids[2], Command::MakeCurrent).unwrap();
    assert!(stops(&plan).is_empty());
    let ungrouped = world.download();
    assert_eq!(world.command(ungrouped, Command::MakeCurrent).unwrap(), crate::Plan::default());
}

#[test]
fn the_new_order_survives_a_restart() {
    let mut world = serialized();
    let ids = members(&mut world, 4);
    world.command(ids[2], Command::MakeCurrent).unwrap();
    let rows = ids.iter().map(|id| world.engine.row(world.engine.find(&app("App"), *id).unwrap())).collect();
    let mut reborn = {
        let mut engine =
            crate::Engine::new(crate::Policy::default(), world.engine.limits(), world.engine.host());
        engine.adopt_group(app("App"), group("g"), TransferBehavior::Serialized);
        let rows: Vec<_> = rows;
        for row in rows {
            engine.adopt(row);
        }
        engine.begin(world.now);
        World { engine, ..world }
    };
    assert_eq!(order(&mut reborn, ids[2]), [ids[2], ids[3], ids[0], ids[1]]);
}

#[test]
fn the_behavior_changes_under_way() {
    let mut world = World::new();
    let ids = members(&mut world, 3);
    assert!(ids.iter().all(|id| world.is_running(*id)));
    let plan = world.put_group("g", TransferBehavior::Serialized);
    assert_eq!(stops(&plan), [(ids[1], StopMode::Keep), (ids[2], StopMode::Keep)]);
    world.stopped(ids[1]);
    world.stopped(ids[2]);
    assert_eq!(world.waits_for(ids[1]), [ReasonCode::GroupSerialized]);
    let plan = world.put_group("g", TransferBehavior::Parallel);
    assert_eq!(started(&plan), [ids[1], ids[2]]);
}

#[test]
fn a_high_member_that_becomes_default_takes_turns() {
    let mut world = serialized();
    let first = world.member("g", Priority::Default);
    let high = world.member("g", Priority::High);
    assert!(world.is_running(first) && world.is_running(high));
    let lower = PatchDownload { priority: Some(Priority::Default), ..PatchDownload::default() };
    let plan = world.command(high, Command::Patch { patch: Box::new(lower), origin: None }).unwrap();
    assert_eq!(stops(&plan), [(high, StopMode::Keep)]);
    world.stopped(high);
    assert_eq!(started(&world.finish(first)), [high]);
}

#[test]
fn ten_thousand_members_work_and_are_fast() {
    let mut world = serialized();
    let begin = std::time::Instant::now();
    let batch: Vec<NewOperation> = (0..10_000)
        .map(|index| {
            let host = format!("host{}", index % 7);
            NewOperation { group: Some(group("g")), ..world.operation(&host) }
        })
        .collect();
    let ids: Vec<OperationId> = batch.iter().map(|operation| operation.id).collect();
    let plan = world.engine.command(world.now, crate::Wish::Create(batch)).unwrap();
    assert_eq!(started(&plan), [ids[0]]);
    world.command(ids[5_000], Command::MakeCurrent).unwrap();
    world.stopped(ids[0]);
    let got = order(&mut world, ids[5_000]);
    assert_eq!(got.len(), 10_000);
    assert_eq!((got[0], got[4_999], got[5_000], got[9_999]), (ids[5_000], ids[9_999], ids[0], ids[4_999]));
    assert!(begin.elapsed() < std::time::Duration::from_mins(1), "{:?}", begin.elapsed());
}
