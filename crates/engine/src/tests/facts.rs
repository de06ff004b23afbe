//! How attempts end, and what follows.

use longhaul_contract::{
    Blocker, NetworkLevel, OperationId, ReasonCode, Remedy, TransferStatus, WebErrorStatus,
};

use super::*;
use crate::{AttemptEnd, Change, Command, Effect, Fact, NewOperation, Plan, StoredPhase};

#[test]
fn facts_of_older_attempts_are_ignored() {
    let mut world = World::new();
    let id = world.download();
    world.fail(id, transient(), false);
    world.live_through(10 * SECOND);
    assert_eq!(world.attempt(id), 2);
    for fact in [
        Fact::Ended { id, attempt: 1, end: finished() },
        Fact::Ended { id, attempt: 3, end: finished() },
        Fact::Progressed { id, attempt: 1 },
        Fact::Discarded { id },
    ] {
        assert_eq!(world.engine.observe(world.now, fact), Plan::default());
    }
    assert!(world.is_running(id));
}

#[test]
fn retries_back_off_and_end_in_the_last_failure() {
    let mut world = World::new();
    let id = world.download();
    for retry in 1..=3 {
        let plan = world.fail(id, transient(), false);
        assert!(plan.changes.contains(&Change::Counted { id, fruitless_attempts: retry, has_bytes: false }));
        assert!(!plan.needs_commit());
        assert_eq!(world.status(id), TransferStatus::Running);
        let live = world.live(id);
        assert_eq!(live.waiting[0].code, ReasonCode::Backoff);
        assert!(live.waiting[0].until.unwrap() > world.now.wall);
        assert_eq!(live.error.unwrap().web_error_status, WebErrorStatus::ConnectionReset);
        assert_eq!(started(&world.live_through(20 * SECOND)), [id]);
    }
    let plan = world.fail(id, transient(), false);
    assert_eq!(discards(&plan), [id]);
    assert_eq!(world.waits_for(id), [ReasonCode::Stopping]);
    let plan = world.discarded(id);
    assert_eq!(ended(&plan), [(id, StoredPhase::Error { failure: transient() })]);
}

#[test]
fn progress_begins_the_count_again() {
    let mut world = World::new();
    let id = world.download();
    for _ in 0..20 {
        world.fail(id, transient(), false);
        world.live_through(20 * SECOND);
        world.progress(id);
        world.fail(id, transient(), true);
        world.live_through(20 * SECOND);
    }
    assert!(world.is_running(id));
}

#[test]
fn a_failing_operation_holds_no_slot() {
    let limits = longhaul_contract::Limits { running_at_once: 1, ..Default::default() };
    let mut world = World::with_limits(limits);
    let first = world.download();
    let second = world.download();
    assert_eq!(started(&world.fail(first, transient(), false)), [second]);
    world.pass(60 * SECOND);
    assert_eq!(world.waits_for(first), [ReasonCode::RunningAtOnce]);
    assert_eq!(started(&world.fail(second, disk_full(), false)), [first]);
}

#[test]
fn a_file_that_is_only_being_published_holds_no_slot() {
    let limits = longhaul_contract::Limits { running_at_once: 1, ..Default::default() };
    let mut world = World::with_limits(limits.clone());
    let (first, second, third) = (world.download(), world.download(), world.download());
    let received = |id, attempt| Fact::Received { id, attempt };
    assert_eq!(world.engine.observe(world.now, received(first, 2)), Plan::default());
    assert_eq!(started(&world.engine.observe(world.now, received(first, 1))), [second]);
    assert_eq!(started(&world.engine.observe(world.now, received(first, 1))), [], "it has one slot to give");
    assert!(world.is_running(first));
    assert_eq!(stops(&world.put_limits(limits)), [], "it does not count against the limits");
    let plan = world.finish(first);
    assert_eq!((ended(&plan), started(&plan)), (vec![(first, StoredPhase::Completed)], vec![]));
    assert_eq!(started(&world.fail(second, disk_full(), false)), [third]);
}

#[test]
fn a_publication_that_fails_waits_for_a_slot_like_any_other() {
    let limits = longhaul_contract::Limits { running_at_once: 1, ..Default::default() };
    let mut world = World::with_limits(limits);
    let (first, second) = (world.download(), world.download());
    world.engine.observe(world.now, Fact::Received { id: first, attempt: 1 });
    world.fail(first, transient(), true);
    world.pass(60 * SECOND);
    assert_eq!(world.waits_for(first), [ReasonCode::RunningAtOnce]);
    assert_eq!(started(&world.finish(second)), [first]);
}

#[test]
fn slots_are_kept_when_too_many_files_are_being_published() {
    let limits = longhaul_contract::Limits {
        running_at_once: 1,
        running_at_once_per_application: 1,
        ..Default::default()
    };
    let mut world = World::with_limits(limits);
    let ids: Vec<_> = (0..300).map(|_| world.download()).collect();
    let received = |world: &mut World, id| {
        let attempt = world.attempt(id);
        started(&world.engine.observe(world.now, Fact::Received { id, attempt }))
    };
    let mut last = 0;
    while !received(&mut world, ids[last]).is_empty() {
        last += 1;
    }
    assert_eq!(last, 256);
    assert_eq!(started(&world.finish(ids[0])), [], "the slot is still taken");
    assert_eq!(started(&world.finish(ids[last])), [ids[last + 1]]);
    assert_eq!(received(&mut world, ids[last + 1]), [ids[last + 2]], "there is room for one again");
}

#[test]
fn resume_cuts_a_back_off_short() {
    let mut world = World::new();
    let id = world.download();
    world.fail(id, transient(), false);
    assert_eq!(started(&world.command(id, Command::Resume).unwrap()), [id]);
}

#[test]
fn an_expired_link_waits_for_the_caller_when_there_are_bytes() {
    let mut world = World::new();
    let forbidden = failure(Remedy::NeedsInput, WebErrorStatus::Forbidden);
    let id = world.download();
    world.progress(id);
    let plan = world.fail(id, forbidden.clone(), false);
    assert_eq!(kept(&plan, id).unwrap().phase, StoredPhase::NeedsInput { failure: forbidden.clone() });
    assert_eq!(world.status(id), TransferStatus::PausedRecoverableWebErrorStatus);
    assert_eq!(world.waits_for(id), [ReasonCode::NeedsInput]);
    assert_eq!(
        world.command(id, Command::Pause).unwrap_err().code,
        longhaul_contract::ErrorCode::InvalidState
    );
    assert_eq!(started(&world.command(id, Command::Resume).unwrap()), [id]);

    let id = world.download();
    world.fail(id, forbidden.clone(), false);
    assert!(matches!(&ended(&world.discarded(id))[..], [(_, StoredPhase::Error { .. })]));

    let operation = NewOperation { recoverable: [WebErrorStatus::Forbidden].into(), ..world.operation("a") };
    let (id, _) = world.create(operation);
    world.fail(id, forbidden, false);
    assert_eq!(world.status(id), TransferStatus::PausedRecoverableWebErrorStatus);
}

#[test]
fn what_the_machine_blocks_waits_and_goes_on_when_it_eases() {
    let mut world = World::new();
    let id = world.download();
    world.fail(id, disk_full(), false);
    assert_eq!(world.status(id), TransferStatus::PausedSystemPolicy);
    assert_eq!(world.waits_for(id), [ReasonCode::DiskSpace]);
    let other = world.engine.observe(world.now, Fact::BlockerEased { on: Blocker::Folder, id: None });
    assert!(started(&other).is_empty());
    let plan = world.engine.observe(world.now, Fact::BlockerEased { on: Blocker::DiskSpace, id: None });
    assert_eq!(started(&plan), [id]);
    world.fail(id, disk_full(), false);
    let plan = world.live_through(61 * SECOND);
    assert_eq!(started(&plan), [id], "it looks again by itself");
}

#[test]
fn what_is_blocked_by_the_disk_is_watched_as_long_as_it_waits() {
    let mut world = World::new();
    let (first, second) = (world.download(), world.download());
    let watches = |plan: &Plan| -> Vec<(bool, OperationId)> {
        let watch = |effect: &Effect| match effect {
            Effect::EnsureWatched { id, on: Blocker::DiskSpace } => Some((true, *id)),
            Effect::EnsureUnwatched { id } => Some((false, *id)),
            _ => None,
        };
        plan.effects.iter().filter_map(watch).collect()
    };
    assert_eq!(watches(&world.fail(first, disk_full(), false)), [(true, first)]);
    assert_eq!(watches(&world.fail(second, disk_full(), false)), [(true, second)]);
    let eased = Fact::BlockerEased { on: Blocker::DiskSpace, id: Some(second) };
    let plan = world.engine.observe(world.now, eased);
    assert_eq!((started(&plan), watches(&plan)), (vec![second], vec![(false, second)]));
    let plan = world.command(first, Command::Pause).unwrap();
    assert_eq!(watches(&plan), [(false, first)]);
    let again = Fact::BlockerEased { on: Blocker::DiskSpace, id: Some(first) };
    assert!(started(&world.engine.observe(world.now, again)).is_empty(), "it is paused");
}

#[test]
fn a_network_that_comes_back_ends_the_back_off_it_caused() {
    let mut world = World::new();
    let mut local = online();
    local.network.level = known(NetworkLevel::Local);
    world.host(local);
    let id = world.download();
    for _ in 0..10 {
        world.fail(id, transient(), false);
        assert_eq!(world.status(id), TransferStatus::PausedNoNetwork);
        world.live_through(400 * SECOND);
        assert!(world.is_running(id), "no attempt is consumed without the Internet");
    }
    world.fail(id, transient(), false);
    world.host(online());
    assert_eq!(started(&world.live_through(2 * SECOND)), [id]);
}

#[test]
fn a_failure_while_being_stopped_by_the_machine_counts_nothing() {
    let mut world = World::new();
    let id = world.download();
    let plan = world.host(offline());
    assert_eq!(stops(&plan).len(), 1);
    let plan = world.fail(id, transient(), false);
    assert!(!plan.changes.iter().any(|change| matches!(change, Change::Counted { .. })));
    assert_eq!(world.status(id), TransferStatus::PausedNoNetwork);
    assert_eq!(world.waits_for(id), [ReasonCode::NetworkLevel]);
}

#[test]
fn a_worker_that_lets_go_unasked_is_started_again() {
    let mut world = World::new();
    let id = world.download();
    let plan = world.end(id, AttemptEnd::Stopped);
    assert_eq!(started(&plan), [id]);
}
