//! What callers do to operations, from creation to the end.

use longhaul_contract::{ErrorCode, PatchDownload, Remedy, TransferStatus, WebErrorStatus};

use super::*;
use crate::{Change, Command, Effect, NewOperation, Origin, Policy, StopMode, StoredPhase, Wish};
use longhaul_contract::{CostPolicy, Limits, Priority, ReasonCode};

#[test]
fn a_download_from_creation_to_completion() {
    let mut world = World::new();
    let operation = world.operation("a");
    let (id, plan) = world.create(operation);
    assert!(matches!(&plan.changes[0], Change::Created { row, .. } if row.phase == StoredPhase::Started));
    assert_eq!(started(&plan), [id]);
    assert!(plan.needs_commit());
    assert_eq!(plan.touched, [(app("App"), id)]);
    assert_eq!(world.status(id), TransferStatus::Running);
    assert!(world.live(id).waiting.is_empty());
    let plan = world.progress(id);
    assert!(!plan.needs_commit(), "progress alone is worth no sync");
    let plan = world.finish(id);
    assert_eq!(ended(&plan), [(id, StoredPhase::Completed)]);
    assert!(world.try_live(id).is_none());
    assert_eq!(world.engine.next_wake().boot, None);
    let keep_until = world.now.wall.plus_seconds(Policy::default().keep_unconsumed_seconds);
    assert!(
        plan.changes
            .iter()
            .any(|change| matches!(change, Change::Ended { keep_until: k, .. } if *k == keep_until))
    );
}

#[test]
fn idle_until_started_and_start_is_idempotent() {
    let mut world = World::new();
    let operation = NewOperation { start: false, ..world.operation("a") };
    let (id, plan) = world.create(operation);
    assert!(started(&plan).is_empty());
    assert_eq!((world.status(id), world.waits_for(id)), (TransferStatus::Idle, vec![ReasonCode::NotStarted]));
    assert_eq!(world.command(id, Command::Pause).unwrap_err().code, ErrorCode::InvalidState);
    assert_eq!(world.command(id, Command::Resume).unwrap_err().code, ErrorCode::InvalidState);
    let plan = world.command(id, Command::Start).unwrap();
    assert_eq!(started(&plan), [id]);
    assert_eq!(kept(&plan, id).unwrap().phase, StoredPhase::Started);
    let plan = world.command(id, Command::Start).unwrap();
    assert_eq!(plan, crate::Plan::default());
}

#[test]
fn a_pause_is_promised_at_once_and_the_slot_freed_when_the_worker_lets_go() {
    let mut world = World::with_limits(Limits { running_at_once: 1, ..Limits::default() });
    let first = world.download();
    let second = world.download();
    let plan = world.command(first, Command::Pause).unwrap();
    assert_eq!(stops(&plan), [(first, StopMode::Keep)]);
    assert_eq!(kept(&plan, first).unwrap().phase, StoredPhase::PausedByApplication);
    assert_eq!(world.status(first), TransferStatus::PausedByApplication);
    assert_eq!(world.waits_for(first), [ReasonCode::PausedByApplication, ReasonCode::Stopping]);
    assert!(started(&plan).is_empty(), "the worker still holds the slot");
    let plan = world.stopped(first);
    assert_eq!(started(&plan), [second]);
    assert_eq!(world.command(first, Command::Pause).unwrap_err().code, ErrorCode::InvalidState);
    world.command(first, Command::Resume).unwrap();
    assert_eq!(world.waits_for(first), [ReasonCode::RunningAtOnce]);
    let refusal = world.command(first, Command::Resume).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::InvalidState);
    assert!(refusal.detail.contains("Idle"), "{refusal}");
}

#[test]
fn resume_while_the_worker_lets_go_never_runs_two() {
    let mut world = World::new();
    let id = world.download();
    world.command(id, Command::Pause).unwrap();
    let plan = world.command(id, Command::Resume).unwrap();
    assert!(started(&plan).is_empty());
    assert_eq!(kept(&plan, id).unwrap().phase, StoredPhase::Started);
    let plan = world.stopped(id);
    assert_eq!(plan.effects, [Effect::EnsureRunning { id, attempt: 2 }]);
}

#[test]
fn cancel_of_what_never_ran_is_final_at_once() {
    let mut world = World::new();
    let operation = NewOperation { start: false, ..world.operation("a") };
    let (id, _) = world.create(operation);
    let plan = world.command(id, Command::Cancel).unwrap();
    assert_eq!(ended(&plan), [(id, StoredPhase::Canceled)]);
    assert!(plan.effects.is_empty());
    assert!(world.try_live(id).is_none());
}

#[test]
fn cancel_of_a_running_one_is_promised_and_final_when_the_part_file_is_gone() {
    let mut world = World::new();
    let id = world.download();
    let plan = world.command(id, Command::Cancel).unwrap();
    assert_eq!(stops(&plan), [(id, StopMode::Discard)]);
    let row = kept(&plan, id).unwrap();
    assert_eq!(row.phase, StoredPhase::Canceling { forget: false });
    assert_eq!(world.status(id), TransferStatus::Canceled);
    assert_eq!(world.command(id, Command::Resume).unwrap_err().code, ErrorCode::InvalidState);
    assert!(world.command(id, Command::Cancel).is_ok(), "repeatable");
    assert!(world.command(id, Command::Consume).is_ok(), "its caller has the result already");

    // A crash in between leaves the part file to the next life.
    let mut reborn = world.restarted(vec![row]);
    assert_eq!(reborn.status(id), TransferStatus::Canceled);
    assert_eq!(ended(&reborn.discarded(id)), [(id, StoredPhase::Canceled)]);

    assert_eq!(discards(&world.stopped(id)), [id], "it may have let go before it heard of the cancellation");
    let plan = world.discarded(id);
    assert_eq!(ended(&plan), [(id, StoredPhase::Canceled)]);
    assert!(matches!(plan.changes.last(), Some(Change::Consumed { .. })), "known when it is final");
}

#[test]
fn a_finish_that_crosses_a_cancellation_stays_canceled() {
    let mut world = World::new();
    let id = world.download();
    world.command(id, Command::Cancel).unwrap();
    assert_eq!(ended(&world.finish(id)), [(id, StoredPhase::Canceled)]);
    let id = world.download();
    world.command(id, Command::Cancel).unwrap();
    let plan = world.fail(id, transient(), true);
    assert_eq!(discards(&plan), [id], "the worker has not discarded anything");
    assert_eq!(ended(&world.discarded(id)), [(id, StoredPhase::Canceled)]);
}

#[test]
fn delete_hides_at_once_and_forgets_when_clear() {
    let mut world = World::new();
    let id = world.download();
    let plan = world.command(id, Command::Remove).unwrap();
    assert_eq!(plan.removed, [(app("App"), id)]);
    assert!(plan.touched.is_empty());
    assert!(world.live(id).is_forgotten);
    assert_eq!(world.command(id, Command::Pause).unwrap_err().code, ErrorCode::NotFound);
    world.stopped(id);
    let plan = world.discarded(id);
    assert!(plan.changes.contains(&Change::Removed { id }));
    assert!(world.try_live(id).is_none());
    // What the engine does not hold is the store's to forget.
    let plan = world.command(id, Command::Remove).unwrap();
    assert_eq!(plan.changes, [Change::Removed { id }]);
    let plan = world.command(id, Command::Consume).unwrap();
    assert!(matches!(plan.changes[..], [Change::Consumed { .. }]));
    assert_eq!(world.command(id, Command::Cancel).unwrap_err().code, ErrorCode::NotFound);
}

#[test]
fn foreign_operations_are_not_found() {
    let mut world = World::new();
    let id = world.download();
    for command in [Command::Pause, Command::Remove, Command::Consume, Command::MakeCurrent] {
        let wish = Wish::Command { app: app("Other"), id, command };
        assert_eq!(world.engine.command(world.now, wish).unwrap_err().code, ErrorCode::NotFound);
    }
    assert!(world.engine.live(world.now, &app("Other"), id).is_none());
    assert!(world.engine.explain(world.now, &app("Other"), id, None).is_none());
    assert!(world.is_running(id));
}

#[test]
fn the_address_changes_only_at_rest_and_the_rest_at_any_time() {
    let mut world = World::new();
    let id = world.download();
    let renew = || Command::Patch {
        patch: Box::new(PatchDownload {
            requested_uri: Some("https://b/f".to_owned()),
            ..PatchDownload::default()
        }),
        origin: Some(Origin { name: "https://b:443".into(), is_local: false }),
    };
    let refusal = world.command(id, renew()).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::InvalidState);
    assert!(refusal.detail.contains("Running"));
    let rate = PatchDownload { rate_limit: Some(Some(1_000)), ..PatchDownload::default() };
    let plan = world.command(id, Command::Patch { patch: Box::new(rate), origin: None }).unwrap();
    assert_eq!(plan.effects, [Effect::SetRate { id, bytes_per_second: Some(1_000) }]);
    assert_eq!(kept(&plan, id).unwrap().rate_limit, Some(1_000));
    world.command(id, Command::Pause).unwrap();
    let plan = world.command(id, renew()).unwrap();
    assert_eq!(&*kept(&plan, id).unwrap().origin.name, "https://b:443");
    world.stopped(id);
    world.command(id, Command::Resume).unwrap();
    assert!(world.is_running(id));
}

#[test]
fn a_rate_of_zero_stops_and_another_one_starts_again() {
    let mut world = World::new();
    let id = world.download();
    let rate = |rate| Command::Patch {
        patch: Box::new(PatchDownload { rate_limit: Some(rate), ..PatchDownload::default() }),
        origin: None,
    };
    let plan = world.command(id, rate(Some(0))).unwrap();
    assert_eq!(stops(&plan), [(id, StopMode::Keep)]);
    world.stopped(id);
    assert_eq!(world.status(id), TransferStatus::PausedSystemPolicy);
    assert_eq!(world.waits_for(id), [ReasonCode::RateLimitZero]);
    assert_eq!(started(&world.command(id, rate(None)).unwrap()), [id]);
}

#[test]
fn quotas_refuse_the_whole_batch() {
    let policy = Policy { operations_per_application: 2, groups_per_application: 1, ..Policy::default() };
    let mut world = World::with(policy, Limits::default(), online());
    let batch: Vec<_> = (0..3).map(|_| world.operation("a")).collect();
    let refusal = world.engine.command(world.now, Wish::Create(batch)).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::Quota);
    let one = world.member("g", Priority::Default);
    let other = NewOperation { group: Some(group("h")), ..world.operation("a") };
    let refusal = world.engine.command(world.now, Wish::Create(vec![other.clone()])).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::GroupQuota);
    world.finish(one);
    assert!(world.engine.command(world.now, Wish::Create(vec![other])).is_ok());
    // A group that was put by hand gives way when it has no members.
    let mut world =
        World::with(Policy { groups_per_application: 1, ..Policy::default() }, Limits::default(), online());
    world.put_group("g", longhaul_contract::TransferBehavior::Serialized);
    let other = NewOperation { group: Some(group("h")), ..world.operation("a") };
    let plan = world.engine.command(world.now, Wish::Create(vec![other])).unwrap();
    assert!(plan.changes.iter().any(|change| matches!(change, Change::GroupRemoved { .. })));
    assert!(world.engine.group(&app("App"), &group("g")).is_none());
}

#[test]
fn one_file_is_made_by_one_operation() {
    let key = crate::row::TargetKey(7.try_into().unwrap());
    let mut world = World::new();
    let first = NewOperation { target: Some(key), ..world.operation("a") };
    let (id, _) = world.create(first);
    let second = NewOperation { target: Some(key), ..world.operation("a") };
    let other = world.operation("a");
    let batch = vec![other, second.clone()];
    let refusal = world.engine.command(world.now, Wish::Create(batch)).unwrap_err();
    assert_eq!((refusal.code, refusal.index), (ErrorCode::TargetInUse, Some(1)));
    world.command(id, Command::Cancel).unwrap();
    world.stopped(id);
    assert!(world.engine.command(world.now, Wish::Create(vec![second])).is_ok());
}

#[test]
fn a_restart_takes_everything_up_again() {
    let mut world = World::new();
    let operation = NewOperation {
        group: Some(group("g")),
        priority: Priority::Low,
        cost_policy: CostPolicy::Always,
        rate_limit: Some(5),
        recoverable: [WebErrorStatus::Forbidden].into(),
        ..world.operation("a")
    };
    let (id, plan) = world.create(operation);
    let row = kept(&plan, id).unwrap();
    let reborn = world.restarted(vec![row.clone()]);
    assert!(reborn.is_running(id));
    let slot = reborn.engine.find(&app("App"), id).unwrap();
    assert_eq!(reborn.engine.row(slot), row);
    let plan = world.fail(id, failure(Remedy::NeedsInput, WebErrorStatus::Forbidden), false);
    let reborn = world.restarted(vec![kept(&plan, id).unwrap()]);
    assert_eq!(reborn.status(id), TransferStatus::PausedRecoverableWebErrorStatus);
    assert_eq!(reborn.live(id).error.unwrap().http_status, Some(403));
}

#[test]
fn results_expire_by_one_timer() {
    let mut world = World::new();
    for _ in 0..100 {
        let id = world.download();
        world.finish(id);
    }
    assert_eq!(world.engine.expiries.len(), 1, "a batch of an hour is one timer");
    let wake = world.engine.next_wake().wall.unwrap();
    let days = Policy::default().keep_unconsumed_seconds;
    assert!(wake > world.now.wall.plus_seconds(days) && wake <= world.now.wall.plus_seconds(days + 3_600));
    world.now.wall = wake;
    let plan = world.engine.wake(world.now);
    assert_eq!(plan.effects, [Effect::Prune { time: wake }]);
    let ids = vec![(app("App"), world.operation("x").id)];
    let plan = world.engine.command(world.now, Wish::Forget { ids: ids.clone() }).unwrap();
    assert_eq!(plan.removed, ids);
    assert_eq!(plan.effects, [Effect::Prune { time: wake }], "there may be more");
    let plan = world.engine.command(world.now, Wish::Forget { ids: Vec::new() }).unwrap();
    assert!(plan.effects.is_empty());
}
