//! Registering: names, groups, quotas, access; and letting go.

use longhaul_contract::{
    AccessRequestKind, AccessStatus, CancelReason, ErrorCode, OnConflict, ReasonCode, RequestResult,
    TaskGroupId, TaskName, TriggerKind,
};

use super::world::{World, answer, canceled, every, machine, me, plan, push, requested, started};
use crate::task::{NewTask, TaskAnswer, TaskChange, TaskTrigger, TaskWish};
use crate::tests::app;
use crate::{Change, Policy, TaskPolicy};

fn named(world: &mut World, name: &str, group: Option<&str>) -> NewTask {
    NewTask {
        name: TaskName::new(name).unwrap(),
        group: group.map(|group| TaskGroupId::new(group).unwrap()),
        ..world.new_task(plan(push()))
    }
}

#[test]
fn a_name_is_taken_within_its_application_and_group() {
    let mut world = World::new();
    let first = named(&mut world, "sync", None);
    let first_id = first.id;
    world.try_register(first, OnConflict::Fail).unwrap();
    let again = named(&mut world, "sync", None);
    let refusal = world.try_register(again, OnConflict::Fail).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::TaskNameTaken);
    for (name, group) in [("Sync", None), ("sync", Some("library")), ("sync ", None)] {
        let other = named(&mut world, name, group);
        world.try_register(other, OnConflict::Fail).unwrap();
    }
    let elsewhere = NewTask { app: app("Other"), ..named(&mut world, "sync", None) };
    world.try_register(elsewhere, OnConflict::Fail).unwrap();
    assert_eq!(world.engine.task_ids(&me(), None).len(), 3);
    let library = TaskGroupId::new("library").unwrap();
    assert_eq!(world.engine.task_ids(&me(), Some(&library)).len(), 1);
    assert_eq!(world.engine.task_groups(&me()), [library]);
    assert_eq!(world.engine.task_ids(&me(), None)[0], first_id, "oldest first");
}

#[test]
fn replacing_unregisters_all_of_the_name_in_the_same_plan_and_allowing_keeps_them() {
    let mut world = World::new();
    let ids: Vec<_> = (0..2)
        .map(|_| {
            let task = named(&mut world, "sync", None);
            let id = task.id;
            world.try_register(task, OnConflict::Allow).unwrap();
            id
        })
        .collect();
    world.fired(ids[0]);
    assert!(world.is_running(ids[0]));
    let new = named(&mut world, "sync", None);
    let new_id = new.id;
    let done = world.try_register(new, OnConflict::Replace).unwrap();
    assert_eq!(canceled(&done), [CancelReason::Abort]);
    let order: Vec<_> = done
        .changes
        .iter()
        .filter_map(|change| match change {
            Change::Task(TaskChange::Unregistered { id, .. }) => Some((false, *id)),
            Change::Task(TaskChange::Registered { row, .. }) => Some((true, row.id)),
            _ => None,
        })
        .collect();
    assert_eq!(order, [(false, ids[0]), (false, ids[1]), (true, new_id)]);
    assert_eq!(world.engine.task_ids(&me(), None), [new_id]);
    assert_eq!(done.tasks_removed.len(), 2);
}

#[test]
fn quotas_count_what_stays() {
    let tasks = TaskPolicy { registrations_per_application: 2, ..TaskPolicy::default() };
    let mut world = World::with(Policy { tasks, ..Policy::default() }, machine());
    let first = named(&mut world, "one", None);
    world.try_register(first, OnConflict::Fail).unwrap();
    let second = named(&mut world, "two", None);
    world.try_register(second, OnConflict::Fail).unwrap();
    let third = named(&mut world, "three", None);
    assert_eq!(world.try_register(third, OnConflict::Fail).unwrap_err().code, ErrorCode::TaskQuota);
    let replacing = named(&mut world, "two", None);
    world.try_register(replacing, OnConflict::Replace).unwrap();
    let elsewhere = NewTask { app: app("Other"), ..named(&mut world, "three", None) };
    world.try_register(elsewhere, OnConflict::Fail).unwrap();
}

#[test]
fn some_types_an_application_has_once() {
    for kind in TriggerKind::ALL.iter().copied().filter(|kind| kind.is_single()) {
        let trigger =
            if kind.is_requested() { TaskTrigger::Requested { kind } } else { TaskTrigger::Sourced { kind } };
        let mut world = World::new();
        world.register(plan(trigger.clone()));
        let second = world.new_task(plan(trigger.clone()));
        let name = second.name.clone();
        let refusal = world.try_register(second, OnConflict::Fail).unwrap_err();
        assert_eq!(refusal.code, ErrorCode::TaskQuota, "{kind}");
        assert_eq!(world.engine.task_ids(&me(), None).len(), 1);
        let first = world.engine.task_ids(&me(), None)[0];
        let replacing =
            NewTask { name: world.kept.rows[&first].name.clone(), ..world.new_task(plan(trigger)) };
        world.try_register(replacing, OnConflict::Replace).unwrap();
        assert_ne!(world.kept.rows.values().next().unwrap().name, name);
    }
}

#[test]
fn registering_needs_no_access_unless_the_owner_is_strict() {
    let mut world = World::with(Policy::default(), machine());
    let id = world.register(plan(push()));
    assert_eq!(world.waits_for(id), [ReasonCode::AccessUnspecified]);
    assert!(started(&world.fired(id)).is_empty());
    assert_eq!(started(&world.put_access(AccessStatus::AllowedSubjectToSystemPolicy)), [id]);

    let tasks = TaskPolicy { is_registration_strict: true, ..TaskPolicy::default() };
    let mut strict = World::with(Policy { tasks, ..Policy::default() }, machine());
    let task = strict.new_task(plan(push()));
    assert_eq!(
        strict.try_register(task.clone(), OnConflict::Fail).unwrap_err().code,
        ErrorCode::AccessDenied
    );
    strict.put_access(AccessStatus::AlwaysAllowed);
    strict.try_register(task, OnConflict::Fail).unwrap();
}

/// Status before, what is done, status after.
#[test]
fn the_table_of_access() {
    use AccessStatus::{
        AllowedSubjectToSystemPolicy as Allowed, AlwaysAllowed, DeniedBySystemPolicy, DeniedByUser,
    };
    let request = |kind| TaskWish::RequestAccess { app: me(), kind };
    let remove = || TaskWish::RemoveAccess { app: me() };
    let rows = [
        (AccessStatus::Unspecified, request(None), Allowed),
        (AccessStatus::Unspecified, request(Some(AccessRequestKind::AlwaysAllowed)), Allowed),
        (AlwaysAllowed, request(None), AlwaysAllowed),
        (DeniedByUser, request(None), DeniedByUser),
        (DeniedBySystemPolicy, request(Some(AccessRequestKind::AlwaysAllowed)), DeniedBySystemPolicy),
        (Allowed, remove(), AccessStatus::Unspecified),
        (AlwaysAllowed, remove(), AccessStatus::Unspecified),
        (DeniedByUser, remove(), DeniedByUser),
        (DeniedBySystemPolicy, remove(), DeniedBySystemPolicy),
        (AccessStatus::Unspecified, remove(), AccessStatus::Unspecified),
    ];
    for (before, wish, after) in rows {
        let mut world = World::with(Policy::default(), machine());
        world.put_access(before);
        let is_request = matches!(wish, TaskWish::RequestAccess { .. });
        let done = world.wish(wish).unwrap();
        assert_eq!(world.engine.access(&me()), after, "from {before}");
        assert_eq!(world.kept.access.get(&me()).copied().unwrap_or(AccessStatus::Unspecified), after);
        if is_request {
            assert_eq!(answer(&done), TaskAnswer::Access(after));
        }
        world.restart(0);
        assert_eq!(world.engine.access(&me()), after, "after a restart");
    }
}

#[test]
fn losing_access_ends_what_runs_and_keeps_what_waits() {
    let mut world = World::new();
    let (running, waiting) = (world.register(plan(push())), world.register(plan(every(15))));
    world.fired(running);
    assert_eq!(canceled(&world.put_access(AccessStatus::DeniedByUser)), [CancelReason::SystemPolicy]);
    world.complete(running);
    assert_eq!(world.result(running), "Canceled:SystemPolicy");
    assert!(started(&world.pass(15 * 60)).is_empty());
    assert_eq!(world.waits_for(waiting), [ReasonCode::AccessDenied]);
    assert_eq!(started(&world.put_access(AccessStatus::AlwaysAllowed)), [waiting]);
}

#[test]
fn unregistering_cancels_or_lets_finish_and_nothing_of_it_runs_again() {
    for cancel_running in [true, false] {
        let mut world = World::new();
        let id = world.register(plan(push()));
        world.fired(id);
        world.fired(id);
        assert!(world.is_pending(id));
        let instance = world.instance(id);
        let done = world.unregister(id, cancel_running);
        assert_eq!(canceled(&done).len(), usize::from(cancel_running));
        assert_eq!(done.tasks_removed, [(me(), id)]);
        assert!(world.engine.task_live(world.now, &me(), id).is_none());
        assert!(!world.kept.rows.contains_key(&id));
        if !cancel_running {
            let late = world.pass(25);
            assert_eq!(canceled(&late), [CancelReason::ExecutionTimeExceeded], "it keeps its limits");
        }
        let over = world.fact(crate::task::TaskFact::Ended {
            id,
            instance,
            end: super::world::end(crate::task::InstanceOutcome::Completed),
        });
        assert!(started(&over).is_empty());
        let reason = if cancel_running { CancelReason::Abort } else { CancelReason::ExecutionTimeExceeded };
        assert_eq!(world.kept.instances[&instance].cancel_reason, Some(reason));
        assert!(world.kept.instances[&instance].state.is_over());
        assert_eq!(world.engine.next_wake(), crate::Wake::default(), "nothing is left to do");
    }
}

#[test]
fn unregistering_what_is_not_there_is_refused() {
    let mut world = World::new();
    let id = world.register(plan(push()));
    let wish = TaskWish::Unregister { app: app("Other"), id, cancel_running: true };
    assert_eq!(world.wish(wish).unwrap_err().code, ErrorCode::NotFound);
    world.unregister(id, true);
    let wish = TaskWish::Unregister { app: me(), id, cancel_running: true };
    assert_eq!(world.wish(wish).unwrap_err().code, ErrorCode::NotFound);
}

#[test]
fn uninstalling_takes_everything_of_the_application_and_nothing_else() {
    let mut world = World::new();
    let ids = [world.register(plan(push())), world.register(plan(every(15)))];
    let leaving = world.register(plan(requested()));
    let request = TaskWish::Request { app: me(), id: leaving, details: "{}".into() };
    assert_eq!(answer(&world.wish(request).unwrap()), TaskAnswer::Request(RequestResult::Allowed));
    world.unregister(leaving, false);
    let other = NewTask { app: app("Other"), ..world.new_task(plan(push())) };
    let other_id = other.id;
    world.try_register(other, OnConflict::Fail).unwrap();
    world.fired(ids[0]);
    let done = world.wish(TaskWish::Uninstall { app: me() }).unwrap();
    assert_eq!(canceled(&done), [CancelReason::Uninstall, CancelReason::Uninstall]);
    assert!(world.engine.task_ids(&me(), None).is_empty());
    assert_eq!(world.engine.access(&me()), AccessStatus::Unspecified);
    assert_eq!(world.kept.rows.keys().copied().collect::<Vec<_>>(), [other_id]);
}
