//! The life of an instance: limits, reasons of cancellation, ends, retries, crashes, quarantine.

use longhaul_contract::{
    AccessStatus, CancelReason, Condition, ErrorCode, InstanceState, NetworkLevel, ReasonCode, RunCause,
    WorkCost,
};

use super::world::{
    MINUTE, World, battery, canceled, conditions, end, external, failed, killed, me, plan, push, retry,
    started,
};
use crate::Effect;
use crate::task::{Missed, TaskEffect, TaskFact, TaskPlan, TaskTrigger, TaskWish};
use crate::tests::{app, known};

fn running(plan: TaskPlan) -> (World, longhaul_contract::TaskId) {
    let mut world = World::new();
    let id = world.register(plan);
    world.fired(id);
    assert!(world.is_running(id));
    (world, id)
}

#[test]
fn time_is_up_after_25_seconds_of_running_and_the_second_net_comes_6_seconds_later() {
    let (mut world, id) = running(plan(push()));
    world.pass(10);
    let instance = world.instance(id);
    world.fact(TaskFact::Running { id, instance });
    let begun = world.now.boot;
    assert_eq!(world.engine.next_wake().boot, Some(begun.plus_millis(25_000)), "counted from its start");
    assert!(canceled(&world.pass(24)).is_empty());
    let done = world.pass(1);
    let effect =
        TaskEffect::EnsureCanceled { instance, reason: CancelReason::ExecutionTimeExceeded, grace_ms: 5_000 };
    assert_eq!(done.effects, [Effect::Task(effect)]);
    assert_eq!(world.kept.instances[&instance].state, InstanceState::Canceling);
    assert!(killed(&world.pass(5)).is_empty(), "the runner kills at the end of the grace");
    assert_eq!(killed(&world.pass(1)), [instance]);
    assert_eq!(world.engine.next_wake().boot, None);
    world.end(id, failed(false));
    assert_eq!(world.result(id), "Canceled:ExecutionTimeExceeded");
    assert_eq!(world.kept.instances[&instance].state, InstanceState::Canceled);
}

#[test]
fn an_instance_that_never_says_that_it_runs_is_ended_too() {
    let (mut world, id) = running(plan(push()));
    assert_eq!(canceled(&world.pass(25)), [CancelReason::ExecutionTimeExceeded]);
    assert!(world.is_running(id));
}

/// The plan, what happens, and the reason the instance is given; none where it goes on.
type Row = (TaskPlan, fn(&mut World) -> crate::Plan, Option<CancelReason>);

fn rows_of_the_machine() -> Vec<Row> {
    let maintenance =
        TaskTrigger::Every { minutes: 15, one_shot: false, is_maintenance: true, missed: Missed::Once };
    let needed = conditions(&[Condition::InternetAvailable, Condition::BackgroundWorkCostNotHigh]);
    let careful = TaskPlan { conditions: needed, cancel_on_condition_loss: true, ..plan(push()) };
    let carefree = TaskPlan { cancel_on_condition_loss: false, ..careful.clone() };
    let offline: fn(&mut World) -> crate::Plan =
        |world| world.change_host(|host| host.network.level = known(NetworkLevel::None));
    vec![
        (careful.clone(), offline, Some(CancelReason::ConditionLoss)),
        (carefree, offline, None),
        (
            careful.clone(),
            |world| world.change_host(|host| host.work_cost = known(WorkCost::High)),
            Some(CancelReason::ConditionLoss),
        ),
        (careful, |world| world.change_host(|host| host.network.level = super::world::unknown()), None),
        (
            plan(push()),
            |world| world.change_host(|host| host.energy_saver = known(true)),
            Some(CancelReason::EnergySaver),
        ),
        (
            plan(maintenance.clone()),
            |world| world.change_host(|host| host.power = known(battery())),
            Some(CancelReason::Abort),
        ),
        (plan(maintenance), |world| world.change_host(|host| host.power = super::world::unknown()), None),
        (plan(push()), |world| world.change_host(|host| host.power = known(battery())), None),
        (
            plan(push()),
            |world| world.put_access(AccessStatus::DeniedByUser),
            Some(CancelReason::SystemPolicy),
        ),
        (
            plan(push()),
            |world| world.wish(TaskWish::RemoveAccess { app: me() }).unwrap(),
            Some(CancelReason::SystemPolicy),
        ),
        (plan(push()), |world| world.put_access(AccessStatus::AlwaysAllowed), None),
    ]
}

fn rows_of_people() -> Vec<Row> {
    vec![
        (
            plan(push()),
            |world| world.fact(TaskFact::Revoked { app: None, reason: CancelReason::LoggingOff }),
            Some(CancelReason::LoggingOff),
        ),
        (
            plan(push()),
            |world| world.fact(TaskFact::Revoked { app: Some(me()), reason: CancelReason::ServicingUpdate }),
            Some(CancelReason::ServicingUpdate),
        ),
        (
            plan(push()),
            |world| {
                world.fact(TaskFact::Revoked {
                    app: Some(app("Other")),
                    reason: CancelReason::ServicingUpdate,
                })
            },
            None,
        ),
        (
            plan(push()),
            |world| world.fact(TaskFact::Revoked { app: None, reason: CancelReason::ResourceRevocation }),
            Some(CancelReason::ResourceRevocation),
        ),
        (
            plan(push()),
            |world| {
                let id = *world.kept.rows.keys().next().unwrap();
                world.fact(TaskFact::DeviceGone { id })
            },
            Some(CancelReason::ResourceRevocation),
        ),
        (
            plan(push()),
            |world| world.fact(TaskFact::DeviceGone { id: longhaul_contract::TaskId::from_bytes([7; 16]) }),
            None,
        ),
        (
            plan(push()),
            |world| world.fact(TaskFact::Revoked { app: None, reason: CancelReason::IdleTask }),
            Some(CancelReason::IdleTask),
        ),
        (
            plan(push()),
            |world| {
                let id = world.engine.task_ids(&me(), None)[0];
                let instance = world.instance(id);
                world.wish(TaskWish::CancelInstance { app: me(), id, instance }).unwrap()
            },
            Some(CancelReason::Abort),
        ),
    ]
}

#[test]
fn the_table_of_cancellations() {
    let rows = rows_of_the_machine().into_iter().chain(rows_of_people());
    for (index, (plan, event, reason)) in rows.enumerate() {
        let mut world = World::new();
        let id = world.register(plan);
        world.fired(id);
        assert!(world.is_running(id), "row {index}");
        assert_eq!(canceled(&event(&mut world)), Vec::from_iter(reason), "row {index}");
        world.complete(id);
        let expected = reason.map_or("Completed".to_owned(), |reason| format!("Canceled:{reason}"));
        assert_eq!(world.result(id), expected, "row {index}");
        assert!(!world.is_pending(id), "row {index}: a cancelled run is not repeated");
    }
}

#[test]
fn the_first_reason_stays() {
    let (mut world, id) = running(plan(push()));
    world.fact(TaskFact::Revoked { app: None, reason: CancelReason::LoggingOff });
    assert!(canceled(&world.put_access(AccessStatus::DeniedByUser)).is_empty());
    assert!(canceled(&world.pass(4)).is_empty());
    world.complete(id);
    assert_eq!(world.result(id), "Canceled:LoggingOff");
}

#[test]
fn a_run_by_hand_ends_by_denial_and_time_only() {
    let mut world = World::new();
    world.put_access(AccessStatus::Unspecified);
    let needed = conditions(&[Condition::InternetAvailable]);
    let id = world.register(TaskPlan { conditions: needed, cancel_on_condition_loss: true, ..plan(push()) });
    world.run(id);
    assert_eq!(world.kept.instances[&world.instance(id)].cause, RunCause::Manual);
    let calm = world.change_host(|host| {
        host.network.level = known(NetworkLevel::None);
        host.energy_saver = known(true);
    });
    assert!(canceled(&calm).is_empty());
    assert_eq!(canceled(&world.put_access(AccessStatus::DeniedByUser)), [CancelReason::SystemPolicy]);
}

#[test]
fn canceling_what_does_not_run_is_refused() {
    let (mut world, id) = running(plan(push()));
    let instance = world.instance(id);
    let cancel = |app, id| TaskWish::CancelInstance { app, id, instance };
    assert_eq!(world.wish(cancel(app("Other"), id)).unwrap_err().code, ErrorCode::NotFound);
    world.complete(id);
    assert_eq!(world.wish(cancel(me(), id)).unwrap_err().code, ErrorCode::InstanceOver);
}

#[test]
fn reports_of_other_instances_change_nothing() {
    let (mut world, id) = running(plan(push()));
    let old = world.instance(id);
    world.complete(id);
    world.fired(id);
    let before = world.kept.rows[&id].clone();
    let late = world.fact(TaskFact::Ended { id, instance: old, end: end(failed(true)) });
    assert!(late.changes.is_empty() && late.effects.is_empty());
    world.fact(TaskFact::Running { id, instance: old });
    assert_eq!(world.kept.rows[&id], before);
    assert!(world.is_running(id));
}

#[test]
fn a_failed_run_is_repeated_with_doubled_delays_if_the_registration_asks() {
    let (mut world, id) = running(TaskPlan { retry: retry(3, 10, false), ..plan(push()) });
    for (attempt, delay) in [(1, 10), (2, 20), (3, 40)] {
        assert_eq!(world.kept.instances[&world.instance(id)].attempt, attempt);
        world.end(id, failed(false));
        assert_eq!(world.result(id), "Failed:exit code 1");
        assert!(started(&world.pass(delay - 1)).is_empty());
        assert_eq!(started(&world.pass(1)), [id], "after {delay} s");
        assert_eq!(world.kept.instances[&world.instance(id)].cause, RunCause::Retry);
    }
    world.end(id, failed(false));
    assert!(!world.is_pending(id), "three further runs were asked for");
    let (mut world, id) = running(plan(push()));
    world.end(id, failed(false));
    assert!(!world.is_pending(id), "none was asked for");
}

#[test]
fn a_retry_keeps_its_delay_over_a_restart_and_over_clock_jumps() {
    let (mut world, id) = running(TaskPlan { retry: retry(1, 100, false), ..plan(push()) });
    world.end(id, failed(false));
    assert!(started(&world.restart(60)).is_empty());
    assert!(started(&world.pass(39)).is_empty());
    assert_eq!(started(&world.pass(1)), [id]);
    let (mut world, id) = running(TaskPlan { retry: retry(1, 100, false), ..plan(push()) });
    world.end(id, failed(false));
    assert!(started(&world.jump(315_360_000)).is_empty());
    assert!(started(&world.jump(-315_360_000)).is_empty());
    assert!(started(&world.pass(49)).is_empty());
    world.jump(3_600);
    assert!(started(&world.restart(20)).is_empty());
    assert!(started(&world.pass(30)).is_empty());
    assert_eq!(started(&world.pass(1)), [id]);
}

#[test]
fn what_ran_at_a_crash_is_interrupted_and_repeated_only_by_consent() {
    for (after_interruption, runs) in [(false, 0), (true, 1)] {
        let (mut world, id) = running(TaskPlan { retry: retry(2, 10, after_interruption), ..plan(push()) });
        let instance = world.instance(id);
        let done = world.restart(1);
        assert_eq!(killed(&done), [instance], "what may be left of it goes");
        let record = &world.kept.instances[&instance];
        assert_eq!(
            (record.state, record.result.as_deref()),
            (InstanceState::Interrupted, Some("Interrupted"))
        );
        assert_eq!(world.result(id), "Interrupted");
        assert_eq!(world.kept.rows[&id].state.host_crashes, 1);
        assert_eq!(started(&world.pass(10)).len(), runs);
        if runs == 1 {
            assert_eq!(world.kept.instances[&world.instance(id)].attempt, 2);
        } else {
            assert!(!world.is_running(id));
            assert_eq!(started(&world.fired(id)), [id], "the next firing runs");
        }
    }
}

#[test]
fn what_was_told_to_end_before_a_crash_is_not_repeated() {
    let (mut world, id) = running(TaskPlan { retry: retry(2, 10, true), ..plan(push()) });
    let instance = world.instance(id);
    world.wish(TaskWish::CancelInstance { app: me(), id, instance }).unwrap();
    world.restart(1);
    assert!(started(&world.pass(60)).is_empty());
    let record = &world.kept.instances[&instance];
    assert_eq!((record.state, record.cancel_reason), (InstanceState::Interrupted, Some(CancelReason::Abort)));
    assert_eq!(world.kept.rows[&id].state.host_crashes, 0);
}

#[test]
fn an_instance_without_a_registration_is_interrupted_too() {
    let (mut world, id) = running(plan(push()));
    let instance = world.instance(id);
    world.unregister(id, false);
    let done = world.restart(1);
    assert_eq!(killed(&done), [instance]);
    assert_eq!(world.kept.instances[&instance].state, InstanceState::Interrupted);
}

#[test]
fn five_host_crashes_in_a_row_quarantine_and_a_run_by_hand_lifts_it() {
    let mut world = World::new();
    let id = world.register(plan(push()));
    let crash = |world: &mut World| {
        world.fired(id);
        world.end(id, failed(true));
    };
    for _ in 0..4 {
        crash(&mut world);
    }
    world.fired(id);
    world.complete(id);
    for count in 0..5 {
        assert!(!world.live(id).is_quarantined, "{count}: success has reset the count");
        crash(&mut world);
    }
    assert!(world.live(id).is_quarantined);
    world.restart(10);
    assert!(started(&world.fired(id)).is_empty());
    assert_eq!(world.waits_for(id), [ReasonCode::Quarantined]);
    assert_eq!(started(&world.run(id)), [id]);
    world.end(id, failed(true));
    assert!(world.live(id).is_quarantined, "one more crash puts it back");
    world.run(id);
    world.complete(id);
    assert_eq!(started(&world.fired(id)), [id]);
}

#[test]
fn plain_failures_do_not_quarantine() {
    let mut world = World::new();
    let id = world.register(plan(push()));
    for _ in 0..20 {
        world.fired(id);
        world.end(id, failed(false));
    }
    assert!(!world.live(id).is_quarantined);
}

#[test]
fn a_service_that_stops_starts_nothing_more() {
    let (mut world, id) = running(plan(push()));
    world.fired(id);
    let done = world.fact(TaskFact::Revoked { app: None, reason: CancelReason::Terminating });
    assert_eq!(canceled(&done), [CancelReason::Terminating]);
    assert!(started(&world.complete(id)).is_empty());
    assert_eq!(world.waits_for(id), [ReasonCode::ServiceStopping]);
    assert_eq!(started(&world.restart(1)), [id], "it is kept for the next start");
}

#[test]
fn power_that_goes_during_maintenance_ends_it_until_the_next_period() {
    let mut world = World::new();
    let trigger =
        TaskTrigger::Every { minutes: 60, one_shot: false, is_maintenance: true, missed: Missed::Once };
    let id = world.register(plan(trigger));
    assert_eq!(started(&world.pass(60 * MINUTE)), [id]);
    world.change_host(|host| host.power = known(battery()));
    world.complete(id);
    assert!(started(&world.change_host(|host| host.power = known(external()))).is_empty());
    assert_eq!(started(&world.pass(60 * MINUTE)), [id]);
}

#[test]
fn ids_of_instances_follow_from_time_and_count_and_differ() {
    let make = || {
        let mut world = World::new();
        let ids: Vec<_> = (0..50).map(|_| world.register(plan(push()))).collect();
        let mut seen = Vec::new();
        for id in ids {
            for _ in 0..4 {
                world.fired(id);
                seen.push(world.instance(id));
                world.complete(id);
            }
        }
        seen
    };
    let seen = make();
    assert_eq!(seen, make());
    let distinct: std::collections::BTreeSet<_> = seen.iter().collect();
    assert_eq!(distinct.len(), seen.len());
    assert!(seen.iter().all(|id| id.0.get_version_num() == 7));
}
