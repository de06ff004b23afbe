//! Network, cost and energy saver.

use longhaul_contract::{CostPolicy, PatchDownload, Priority, ReasonCode, TransferStatus};

use super::*;
use crate::{Command, Fact, NewOperation, Origin, StopMode};

#[test]
fn a_forbidden_network_stops_and_an_allowed_one_starts_again() {
    let mut world = World::new();
    let operation = NewOperation { cost_policy: CostPolicy::UnrestrictedOnly, ..world.operation("a") };
    let (id, _) = world.create(operation);
    let other = world.download();
    world.pass(100 * SECOND);
    let plan = world.host(metered());
    assert_eq!(stops(&plan), [(id, StopMode::Keep)]);
    assert!(world.is_running(other));
    assert_eq!(world.status(id), TransferStatus::PausedCostedNetwork);
    world.stopped(id);
    assert_eq!(world.waits_for(id), [ReasonCode::NetworkCost]);
    world.pass(50 * SECOND);
    world.host(online());
    let settling = world.live(id);
    assert_eq!(settling.status, TransferStatus::PausedCostedNetwork);
    assert_eq!(
        settling.waiting[0].until,
        Some(longhaul_contract::Timestamp(world.now.wall.micros() + 1_000_000))
    );
    let plan = world.live_through(SECOND);
    assert_eq!(started(&plan), [id]);
    assert_eq!(waited(&plan), [(id, ReasonCode::NetworkCost, 51)]);
}

#[test]
fn a_cost_policy_changed_on_the_live_operation_holds_at_once() {
    let mut world = World::new();
    world.host(metered());
    let id = world.download();
    assert!(world.is_running(id));
    let policy = |policy| Command::Patch {
        patch: Box::new(PatchDownload { cost_policy: Some(policy), ..PatchDownload::default() }),
        origin: None,
    };
    let plan = world.command(id, policy(CostPolicy::UnrestrictedOnly)).unwrap();
    assert_eq!(stops(&plan), [(id, StopMode::Keep)]);
    world.stopped(id);
    assert_eq!(started(&world.command(id, policy(CostPolicy::Always)).unwrap()), [id]);
}

#[test]
fn local_origins_need_no_network() {
    let mut world = World::new();
    world.host(offline());
    let operation = NewOperation {
        origin: Origin { name: "http://127.0.0.1:8080".into(), is_local: true },
        cost_policy: CostPolicy::UnrestrictedOnly,
        ..world.operation("a")
    };
    let (id, plan) = world.create(operation);
    assert_eq!(started(&plan), [id]);
    let remote = world.download();
    assert_eq!(world.status(remote), TransferStatus::PausedNoNetwork);
}

#[test]
fn an_application_that_has_to_be_in_the_foreground_waits_until_it_is() {
    let mut world = World::new();
    let id = world.download();
    let idle = {
        let operation = NewOperation { start: false, ..world.operation("b") };
        world.create(operation).0
    };
    let tell = |world: &mut World, is_held_back| {
        let app = world.operation("c").app;
        world.engine.observe(world.now, Fact::HeldBack { app, is_held_back })
    };
    let plan = tell(&mut world, true);
    assert_eq!(stops(&plan), [(id, StopMode::Keep)]);
    world.stopped(id);
    assert_eq!(world.status(id), TransferStatus::PausedSystemPolicy);
    assert_eq!(world.waits_for(id), [ReasonCode::ForegroundOnly]);
    let created = world.download();
    assert_eq!(world.waits_for(created), [ReasonCode::ForegroundOnly], "new ones wait too");
    assert!(stops(&tell(&mut world, true)).is_empty(), "told twice, done once");
    // The network does what it does; it is not what they wait for.
    world.host(offline());
    world.host(online());
    world.live_through(90 * SECOND);
    assert!(!world.is_running(id) && !world.is_running(created));
    let mut begun = started(&tell(&mut world, false));
    begun.sort();
    assert_eq!(begun, [id, created]);
    assert_eq!(world.status(idle), TransferStatus::Idle);
}

#[test]
fn energy_saver_holds_all_but_high() {
    let mut world = World::new();
    let mut saving = online();
    saving.energy_saver = known(true);
    let high = NewOperation { priority: Priority::High, ..world.operation("a") };
    let (high, _) = world.create(high);
    let id = world.download();
    let plan = world.host(saving);
    assert_eq!(stops(&plan), [(id, StopMode::Keep)]);
    world.stopped(id);
    assert!(world.is_running(high));
    assert_eq!(world.status(id), TransferStatus::PausedSystemPolicy);
    assert_eq!(world.waits_for(id), [ReasonCode::EnergySaver]);
}

#[test]
fn all_that_blocks_is_listed() {
    let mut world = World::new();
    let mut host = metered();
    host.network.level = known(longhaul_contract::NetworkLevel::None);
    world.host(host);
    let operation = NewOperation { cost_policy: CostPolicy::UnrestrictedOnly, ..world.operation("a") };
    let (id, _) = world.create(operation);
    assert_eq!(world.status(id), TransferStatus::PausedNoNetwork);
    assert_eq!(world.waits_for(id), [ReasonCode::NetworkLevel, ReasonCode::NetworkCost]);
    world.command(id, Command::Pause).unwrap();
    assert_eq!(world.status(id), TransferStatus::PausedByApplication);
    let all = [ReasonCode::PausedByApplication, ReasonCode::NetworkLevel, ReasonCode::NetworkCost];
    assert_eq!(world.waits_for(id), all);
}

#[test]
fn a_network_that_flaps_every_second_starts_at_most_once_a_minute() {
    let mut world = World::new();
    let id = world.download();
    let mut starts: u32 = 0;
    for second in 0..1_200 {
        starts +=
            u32::try_from(started(&world.host(if second % 2 == 0 { offline() } else { online() })).len())
                .unwrap();
        if world.live(id).attempt.is_some() && !world.is_running(id) {
            world.stopped(id);
        }
        starts += u32::try_from(started(&world.live_through(SECOND)).len()).unwrap();
    }
    assert!(starts <= 20, "{starts} starts in 20 minutes");
}

#[test]
fn every_view_that_changed_is_touched() {
    let mut world = World::new();
    for _ in 0..40 {
        world.download();
    }
    let plan = world.host(offline());
    assert_eq!(plan.touched.len(), 40);
    let plan = world.engine.observe(world.now, Fact::Host(Box::new(offline())));
    assert!(plan.touched.is_empty(), "nothing changed");
}

#[test]
fn time_spent_waiting_is_told_by_cause() {
    let limits = longhaul_contract::Limits { running_at_once: 1, ..Default::default() };
    let mut world = World::with_limits(limits);
    let running = world.download();
    let id = world.download();
    world.pass(100 * SECOND);
    world.host(offline());
    world.stopped(running);
    world.pass(30 * SECOND);
    world.host(online());
    world.live_through(10 * SECOND);
    assert!(world.is_running(running));
    world.pass(20 * SECOND);
    let plan = world.finish(running);
    let of_second: Vec<_> = waited(&plan).into_iter().filter(|(of, _, _)| *of == id).collect();
    assert_eq!(
        of_second,
        [
            (id, ReasonCode::RunningAtOnce, 100),
            (id, ReasonCode::NetworkLevel, 31),
            (id, ReasonCode::RunningAtOnce, 29),
        ]
    );
}
