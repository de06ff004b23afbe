//! What the rules say in words, and that the words are those of the decision.

use longhaul_contract::{
    AccessStatus, Condition, Decision, NetworkCost, Reason, ReasonCode, Signal, SystemTriggerType, TaskName,
};

use super::world::{
    World, at, calendar, conditions, every, failed, machine, me, plan, push, retry, started, system,
};
use crate::task::{NewTask, TaskChange, TaskPlan};
use crate::tests::known;
use crate::{Change, Policy, TaskPolicy};

fn explain(world: &World, id: longhaul_contract::TaskId) -> longhaul_contract::Explanation {
    world.engine.explain_task(world.now, &me(), id, None).unwrap()
}

fn only(reasons: &[Reason]) -> &Reason {
    match reasons {
        [only] => only,
        _ => panic!("{reasons:?}"),
    }
}

#[test]
fn a_condition_that_blocks_is_told_with_value_time_source_and_end() {
    let mut world = World::new();
    let needed = conditions(&[Condition::FreeNetworkAvailable, Condition::UserPresent]);
    let id = world.register(TaskPlan { conditions: needed, ..plan(push()) });
    let since = at("2026-03-10T09:00:00Z");
    world.change_host(|host| {
        host.network.cost = Signal::Known {
            value: NetworkCost { is_metered: true, ..NetworkCost::default() },
            since,
            source: "NetworkManager".to_owned(),
        };
    });
    world.fired(id);
    let told = explain(&world, id);
    assert_eq!(told.decision, Decision::Wait);
    let reason = only(&told.blocking);
    assert_eq!(reason.code, ReasonCode::FreeNetworkAvailable);
    assert_eq!(reason.value.as_deref(), Some("metered"));
    assert_eq!((reason.since, reason.set_by.as_deref()), (Some(since), Some("NetworkManager")));
    assert_eq!(reason.ends_when.as_deref(), Some("there is a network that costs nothing"));
    assert!(told.satisfied.iter().any(|reason| reason.code == ReasonCode::UserPresent));
    assert_eq!(told.override_with.as_deref(), Some("longhaul task run task1"));
    assert_eq!(world.live(id).waiting[0].detail, reason.detail);

    let mut better = world.engine.host();
    better.network.cost = known(NetworkCost::default());
    let told = world.engine.explain_task(world.now, &me(), id, Some(&better)).unwrap();
    assert_eq!(told.decision, Decision::Run);
    assert!(started(&world.host(better)).contains(&id), "what was told comes true");
}

#[test]
fn unknown_signals_say_so_on_both_sides() {
    let mut world = World::new();
    let needed = conditions(&[Condition::UserNotPresent, Condition::SessionConnected]);
    let id = world.register(TaskPlan { conditions: needed, ..plan(push()) });
    world.change_host(|host| {
        host.user_present = Signal::unknown("no logind");
        host.session_connected = Signal::unknown("no logind");
    });
    world.fired(id);
    let told = explain(&world, id);
    let blocking = only(&told.blocking);
    assert_eq!(blocking.code, ReasonCode::SessionConnected);
    assert_eq!(blocking.detail, "it is not known that a session is connected: no logind");
    let unknown = only(&told.unknown);
    assert_eq!(unknown.code, ReasonCode::UserNotPresent);
    assert_eq!(unknown.detail, "unknown, and taken for granted that the user is away: no logind");
}

/// How a task comes to wait, and the code, the end and the way around it.
type Row =
    (fn(&mut World) -> longhaul_contract::TaskId, ReasonCode, Option<&'static str>, Option<&'static str>);

fn reasons() -> Vec<Row> {
    vec![
        (
            |world| world.register(plan(system(SystemTriggerType::UserAway))),
            ReasonCode::NotFired,
            Some("its trigger fires"),
            Some("longhaul task run task1"),
        ),
        (
            |world| world.register(plan(every(15))),
            ReasonCode::NotFired,
            Some("2026-03-10T10:15:00Z"),
            Some("longhaul task run task1"),
        ),
        (
            |world| {
                let id = world.register(plan(push()));
                world.put_access(AccessStatus::DeniedByUser);
                world.fired(id);
                id
            },
            ReasonCode::AccessDenied,
            Some("the owner grants access"),
            Some("longhaul access grant org.example.App"),
        ),
        (
            |world| {
                let id = world.register(plan(push()));
                world.put_access(AccessStatus::Unspecified);
                world.fired(id);
                id
            },
            ReasonCode::AccessUnspecified,
            Some("its application asks for access"),
            Some("longhaul task run task1"),
        ),
        (
            |world| {
                let id = world.register(plan(push()));
                world.fired(id);
                world.fired(id);
                id
            },
            ReasonCode::InstanceRunning,
            Some("the instance ends"),
            None,
        ),
        (
            |world| {
                let id = world.register(TaskPlan { retry: retry(1, 60, false), ..plan(push()) });
                world.fired(id);
                world.end(id, failed(false));
                id
            },
            ReasonCode::RetryDelay,
            Some("2026-03-10T10:01:00Z"),
            Some("longhaul task run task1"),
        ),
        (
            |world| {
                let id = world.register(TaskPlan { in_process: Some("A.B".into()), ..plan(push()) });
                world.fired(id);
                id
            },
            ReasonCode::ProgramNotConnected,
            Some("a program connects that serves it"),
            None,
        ),
    ]
}

#[test]
fn the_table_of_reasons() {
    for (prepare, code, ends_when, override_with) in reasons() {
        let mut world = World::new();
        let id = prepare(&mut world);
        let told = explain(&world, id);
        assert_eq!(told.decision, Decision::Wait, "{code:?}");
        let reason = only(&told.blocking);
        assert_eq!((reason.code, reason.ends_when.as_deref()), (code, ends_when));
        assert_eq!(told.override_with.as_deref(), override_with, "{code:?}");
    }
}

#[test]
fn a_quarantined_task_says_what_it_did() {
    let mut world = World::new();
    let id = world.register(plan(push()));
    for _ in 0..5 {
        world.fired(id);
        world.end(id, failed(true));
    }
    let told = explain(&world, id);
    let reason = told.blocking.iter().find(|reason| reason.code == ReasonCode::Quarantined).unwrap();
    assert_eq!(
        reason.detail,
        "it took its host down 5 times in a row, the last time with Failed:exit code 1"
    );
    assert_eq!(told.override_with.as_deref(), Some("longhaul task run task1"));
    assert_eq!(world.waits_for(id), [ReasonCode::Quarantined], "although it has not fired");
}

#[test]
fn what_runs_is_explained_as_running_and_what_is_consumed_as_done() {
    let mut world = World::new();
    let once = crate::task::TaskTrigger::System { event: SystemTriggerType::UserAway, one_shot: true };
    let id = world.register(plan(once));
    world.change_host(|host| host.user_present = known(false));
    let told = explain(&world, id);
    assert_eq!((told.decision, told.blocking.len()), (Decision::Run, 0));
    assert!(world.live(id).waiting.is_empty());
    world.complete(id);
    let told = explain(&world, id);
    assert_eq!(told.decision, Decision::Done);
    assert!(world.engine.explain_task(world.now, &crate::tests::app("Other"), id, None).is_none());
}

#[test]
fn another_time_may_be_asked_about() {
    let mut world = World::new();
    let period = world.register(plan(every(60)));
    let daily = world.register(plan(calendar("0 12 * * *", Some("UTC"))));
    let later =
        crate::Now { wall: at("2026-03-10T12:00:00Z"), boot: world.now.boot.plus_millis(2 * 3_600_000) };
    for id in [period, daily] {
        assert_eq!(explain(&world, id).decision, Decision::Wait);
        let told = world.engine.explain_task(later, &me(), id, None).unwrap();
        assert_eq!(told.decision, Decision::Run);
    }
}

#[test]
fn names_that_a_shell_would_split_are_quoted() {
    let mut world = World::new();
    let task = NewTask { name: TaskName::new("it's nightly").unwrap(), ..world.new_task(plan(push())) };
    let id = task.id;
    world.try_register(task, longhaul_contract::OnConflict::Fail).unwrap();
    assert_eq!(explain(&world, id).override_with.as_deref(), Some(r"longhaul task run 'it'\''s nightly'"));
}

#[test]
fn stretches_of_waiting_are_kept_by_their_reason() {
    let tasks = TaskPolicy { at_once: 1, ..TaskPolicy::default() };
    let mut world = World::with(Policy { tasks, ..Policy::default() }, machine());
    world.put_access(AccessStatus::AllowedSubjectToSystemPolicy);
    let other = world.register(plan(push()));
    let needed = conditions(&[Condition::UserNotPresent]);
    let id = world.register(TaskPlan { conditions: needed, ..plan(push()) });
    world.fired(other);
    let mut plans = world.fired(id);
    plans.merge(world.pass(10));
    plans.merge(world.change_host(|host| host.user_present = known(false)));
    assert_eq!(world.waits_for(id), [ReasonCode::TasksAtOnce]);
    plans.merge(world.pass(5));
    plans.merge(world.complete(other));
    assert!(world.is_running(id));
    let waited: Vec<(ReasonCode, i64)> = plans
        .changes
        .iter()
        .filter_map(|change| match change {
            Change::Task(TaskChange::Waited { id: of, code, from, to }) if *of == id => {
                Some((*code, to.seconds_since(*from)))
            }
            _ => None,
        })
        .collect();
    assert_eq!(waited, [(ReasonCode::UserNotPresent, 10), (ReasonCode::TasksAtOnce, 5)]);
}
