//! Firings: kept until everything holds, at most one, with the newest details; runs by hand; requests.

use longhaul_contract::{
    AccessStatus, Condition, ErrorCode, NetworkCost, NetworkLevel, ReasonCode, RequestResult, RunCause,
    SystemTriggerType, TriggerKind, WorkCost,
};

use super::world::{
    MINUTE, World, answer, battery, canceled, conditions, every, external, failed, machine, me, plan, push,
    requested, retry, started, system, unknown,
};
use crate::task::{Missed, TaskAnswer, TaskEffect, TaskFact, TaskPlan, TaskTrigger, TaskWish};
use crate::tests::known;
use crate::{Effect, Policy, TaskPolicy};

fn details(plan: &crate::Plan) -> Vec<String> {
    plan.effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Task(TaskEffect::EnsureStarted { details, .. }) => Some(details.to_string()),
            _ => None,
        })
        .collect()
}

#[test]
fn a_firing_starts_an_instance_that_is_committed_as_starting() {
    let mut world = World::new();
    let id = world.register(TaskPlan { is_network_requested: true, ..plan(push()) });
    let done = world.fact(TaskFact::Fired { id, details: r#"{"content":"hello"}"#.into() });
    let instance = world.instance(id);
    let effect = TaskEffect::EnsureStarted {
        app: me(),
        id,
        instance,
        details: r#"{"content":"hello"}"#.into(),
        keeps_network: true,
    };
    assert!(done.effects.contains(&Effect::Task(effect)));
    let row = &world.kept.rows[&id];
    assert_eq!((row.state.runs, row.state.running.as_ref().unwrap().id), (1, instance));
    assert!(row.state.latch.is_none());
    let record = &world.kept.instances[&instance];
    assert_eq!(record.state, longhaul_contract::InstanceState::Starting);
    assert_eq!(record.trigger_details["content"], "hello");
    world.complete(id);
    assert_eq!(world.result(id), "Completed");
    world.fired(id);
    assert_ne!(world.instance(id), instance, "every run has an id of its own");
}

/// What a condition needs of each value of its signal; unknown signals as documented.
#[test]
fn conditions_hold_or_hold_back() {
    type Case = (Condition, fn(&mut longhaul_contract::HostState), bool);
    let cases: Vec<Case> = vec![
        (Condition::UserPresent, |host| host.user_present = known(true), true),
        (Condition::UserPresent, |host| host.user_present = known(false), false),
        (Condition::UserPresent, |host| host.user_present = unknown(), false),
        (Condition::UserNotPresent, |host| host.user_present = known(true), false),
        (Condition::UserNotPresent, |host| host.user_present = known(false), true),
        (Condition::UserNotPresent, |host| host.user_present = unknown(), true),
        (Condition::InternetAvailable, |host| host.network.level = known(NetworkLevel::Internet), true),
        (
            Condition::InternetAvailable,
            |host| host.network.level = known(NetworkLevel::ConstrainedInternet),
            false,
        ),
        (Condition::InternetAvailable, |host| host.network.level = unknown(), false),
        (Condition::InternetNotAvailable, |host| host.network.level = known(NetworkLevel::Internet), false),
        (Condition::InternetNotAvailable, |host| host.network.level = known(NetworkLevel::Local), true),
        (Condition::InternetNotAvailable, |host| host.network.level = unknown(), true),
        (Condition::SessionConnected, |host| host.session_connected = known(true), true),
        (Condition::SessionConnected, |host| host.session_connected = known(false), false),
        (Condition::SessionConnected, |host| host.session_connected = unknown(), false),
        (Condition::SessionDisconnected, |host| host.session_connected = known(true), false),
        (Condition::SessionDisconnected, |host| host.session_connected = known(false), true),
        (Condition::SessionDisconnected, |host| host.session_connected = unknown(), true),
        (Condition::FreeNetworkAvailable, |_| {}, true),
        (
            Condition::FreeNetworkAvailable,
            |host| host.network.cost = known(NetworkCost { is_metered: true, ..NetworkCost::default() }),
            false,
        ),
        (
            Condition::FreeNetworkAvailable,
            |host| host.network.cost = known(NetworkCost { is_roaming: true, ..NetworkCost::default() }),
            false,
        ),
        (Condition::FreeNetworkAvailable, |host| host.network.cost = unknown(), true),
        (Condition::FreeNetworkAvailable, |host| host.network.level = known(NetworkLevel::None), false),
        (Condition::FreeNetworkAvailable, |host| host.network.level = unknown(), false),
        (Condition::BackgroundWorkCostNotHigh, |host| host.work_cost = known(WorkCost::Medium), true),
        (Condition::BackgroundWorkCostNotHigh, |host| host.work_cost = known(WorkCost::High), false),
        (Condition::BackgroundWorkCostNotHigh, |host| host.work_cost = unknown(), true),
        (Condition::ExternalPower, |host| host.power = known(external()), true),
        (Condition::ExternalPower, |host| host.power = known(battery()), false),
        (Condition::ExternalPower, |host| host.power = unknown(), false),
        (Condition::BatteryPower, |host| host.power = known(external()), false),
        (Condition::BatteryPower, |host| host.power = known(battery()), true),
        (Condition::BatteryPower, |host| host.power = unknown(), false),
    ];
    for (index, (condition, change, holds)) in cases.into_iter().enumerate() {
        let mut world = World::new();
        world.change_host(change);
        let id = world.register(TaskPlan { conditions: conditions(&[condition]), ..plan(push()) });
        let done = world.fired(id);
        assert_eq!(started(&done).len(), usize::from(holds), "case {index}: {condition}");
        if !holds {
            assert_eq!(world.waits_for(id), [super::super::condition::code(condition)]);
        }
    }
}

#[test]
fn all_conditions_hold_at_one_instant_or_nothing_starts() {
    let mut world = World::new();
    let needed = conditions(&[Condition::InternetAvailable, Condition::UserNotPresent]);
    let id = world.register(TaskPlan { conditions: needed, ..plan(push()) });
    assert!(started(&world.fired(id)).is_empty());
    world.change_host(|host| host.network.level = known(NetworkLevel::None));
    assert!(started(&world.change_host(|host| host.user_present = known(false))).is_empty());
    world.change_host(|host| host.user_present = known(true));
    assert!(
        started(&world.change_host(|host| host.network.level = known(NetworkLevel::Internet))).is_empty()
    );
    assert_eq!(started(&world.change_host(|host| host.user_present = known(false))), [id]);
    world.complete(id);
    world.change_host(|host| host.user_present = known(true));
    assert!(
        started(&world.change_host(|host| host.user_present = known(false))).is_empty(),
        "without a firing"
    );
}

#[test]
fn firings_that_wait_are_one_with_the_newest_details_and_outlive_a_restart() {
    let mut world = World::new();
    let needed = conditions(&[Condition::InternetAvailable]);
    let id = world.register(TaskPlan { conditions: needed, ..plan(push()) });
    world.change_host(|host| host.network.level = known(NetworkLevel::None));
    let first = world.now.wall;
    for number in 1..=3 {
        world.fact(TaskFact::Fired { id, details: format!(r#"{{"n":{number}}}"#).into() });
        world.pass(10);
    }
    assert_eq!(world.live(id).pending_since, Some(first));
    world.restart(3_600);
    assert_eq!(world.live(id).pending_since, Some(first));
    let done = world.change_host(|host| host.network.level = known(NetworkLevel::Internet));
    assert_eq!(details(&done), [r#"{"n":3}"#]);
    assert_eq!(world.complete_all(id), 1);
}

#[test]
fn one_instance_runs_and_one_firing_waits() {
    let mut world = World::new();
    let id = world.register(plan(push()));
    world.fired(id);
    assert!(started(&world.fired(id)).is_empty());
    assert!(started(&world.fired(id)).is_empty());
    assert_eq!(world.waits_for(id), [ReasonCode::InstanceRunning]);
    assert_eq!(started(&world.complete(id)), [id]);
    assert!(started(&world.complete(id)).is_empty());
}

#[test]
fn energy_saver_holds_back_all_but_the_always_allowed() {
    for (status, runs) in
        [(AccessStatus::AllowedSubjectToSystemPolicy, false), (AccessStatus::AlwaysAllowed, true)]
    {
        let mut world = World::new();
        world.put_access(status);
        let id = world.register(plan(push()));
        world.change_host(|host| host.energy_saver = known(true));
        assert_eq!(!started(&world.fired(id)).is_empty(), runs, "{status}");
        if !runs {
            assert_eq!(world.waits_for(id), [ReasonCode::EnergySaver]);
            assert_eq!(started(&world.change_host(|host| host.energy_saver = known(false))), [id]);
        }
    }
}

#[test]
fn maintenance_runs_on_external_power_only() {
    let trigger =
        TaskTrigger::Every { minutes: 15, one_shot: false, is_maintenance: true, missed: Missed::Once };
    for (power, runs) in [(known(external()), true), (known(battery()), false), (unknown(), true)] {
        let mut world = World::new();
        world.change_host(|host| host.power = power.clone());
        let id = world.register(plan(trigger.clone()));
        assert_eq!(!started(&world.pass(15 * MINUTE)).is_empty(), runs, "{power:?}");
        if !runs {
            assert_eq!(world.waits_for(id), [ReasonCode::ExternalPower]);
            assert_eq!(started(&world.change_host(|host| host.power = known(external()))), [id]);
        }
    }
}

#[test]
fn tasks_at_once_are_limited_and_taken_in_turn() {
    let tasks = TaskPolicy { at_once: 3, at_once_per_application: 2, ..TaskPolicy::default() };
    let mut world = World::with(Policy { tasks, ..Policy::default() }, machine());
    world.put_access(AccessStatus::AlwaysAllowed);
    let ids: Vec<_> = (0..4).map(|_| world.register(plan(push()))).collect();
    for id in &ids {
        world.fired(*id);
    }
    let runs = |world: &World| ids.iter().map(|id| world.is_running(*id)).collect::<Vec<_>>();
    assert_eq!(runs(&world), [true, true, false, false]);
    assert_eq!(world.waits_for(ids[2]), [ReasonCode::TasksAtOncePerApplication]);
    world.run(ids[3]);
    assert_eq!(started(&world.complete(ids[0])), [ids[3]], "by hand goes first");
    assert_eq!(started(&world.complete(ids[3])), [ids[2]]);
}

#[test]
fn a_class_of_a_program_needs_the_program() {
    let mut world = World::new();
    let class: std::sync::Arc<str> = "Example.Task".into();
    let id = world.register(TaskPlan { in_process: Some(class.clone()), ..plan(push()) });
    assert!(started(&world.fired(id)).is_empty());
    assert_eq!(world.waits_for(id), [ReasonCode::ProgramNotConnected]);
    assert!(started(&world.run(id)).is_empty(), "not even by hand");
    let serving = |is_connected| TaskFact::Serving { app: me(), class: class.clone(), is_connected };
    assert_eq!(started(&world.fact(serving(true))), [id]);
    world.complete(id);
    world.fact(serving(false));
    assert!(started(&world.fired(id)).is_empty());
}

#[test]
fn a_run_by_hand_passes_over_trigger_and_conditions_and_spends_nothing() {
    let mut world = World::with(Policy::default(), machine());
    let needed = conditions(&[Condition::UserNotPresent]);
    let trigger =
        TaskTrigger::Every { minutes: 60, one_shot: true, is_maintenance: true, missed: Missed::Once };
    let id = world.register(TaskPlan { conditions: needed, ..plan(trigger) });
    world.change_host(|host| {
        host.energy_saver = known(true);
        host.power = known(battery());
    });
    let next = world.live(id).next_fire;
    let done = world.run(id);
    assert_eq!(answer(&done), TaskAnswer::Run(Some(world.instance(id))));
    assert_eq!(world.kept.instances[&world.instance(id)].cause, RunCause::Manual);
    assert!(canceled(&world.change_host(|host| host.user_present = known(true))).is_empty());
    let again = world.run(id);
    assert_eq!(answer(&again), TaskAnswer::Run(None));
    assert_eq!(started(&world.complete(id)), [id], "kept for afterwards");
    world.complete(id);
    let live = world.live(id);
    assert_eq!((live.next_fire, live.is_consumed), (next, false));
    world.put_access(AccessStatus::DeniedByUser);
    let refusal = world.wish(TaskWish::Run { app: me(), id }).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::AccessDenied);
}

#[test]
fn a_run_by_hand_takes_along_the_firing_that_waits() {
    let mut world = World::new();
    let trigger =
        TaskTrigger::Every { minutes: 15, one_shot: true, is_maintenance: false, missed: Missed::Once };
    let needed = conditions(&[Condition::UserNotPresent]);
    let id = world.register(TaskPlan { conditions: needed, ..plan(trigger) });
    world.pass(15 * MINUTE);
    assert!(world.is_pending(id) && !world.live(id).is_consumed);
    assert_eq!(started(&world.run(id)), [id]);
    assert!(world.live(id).is_consumed, "its firing has been used");
    world.complete(id);
    assert!(started(&world.change_host(|host| host.user_present = known(false))).is_empty());
}

#[test]
fn one_shot_is_spent_by_the_start_and_not_by_the_firing() {
    let mut world = World::new();
    let trigger = TaskTrigger::System { event: SystemTriggerType::InternetAvailable, one_shot: true };
    let needed = conditions(&[Condition::UserNotPresent]);
    let id = world.register(TaskPlan { conditions: needed, ..plan(trigger) });
    let flap = |world: &mut World| {
        world.change_host(|host| host.network.level = known(NetworkLevel::None));
        world.change_host(|host| host.network.level = known(NetworkLevel::Internet))
    };
    flap(&mut world);
    assert!(world.is_pending(id) && !world.live(id).is_consumed);
    world.restart(10);
    assert!(world.is_pending(id) && !world.live(id).is_consumed);
    assert_eq!(started(&world.change_host(|host| host.user_present = known(false))), [id]);
    assert!(world.live(id).is_consumed);
    world.complete(id);
    world.pass(MINUTE);
    assert!(started(&flap(&mut world)).is_empty());
    assert_eq!(world.waits_for(id), [ReasonCode::Consumed]);
    world.restart(10);
    assert!(world.live(id).is_consumed, "it stays until it is deleted");
}

/// Access, what else, answer.
#[test]
fn the_table_of_requests() {
    use AccessStatus::{
        AllowedSubjectToSystemPolicy, AlwaysAllowed, DeniedBySystemPolicy, DeniedByUser, Unspecified,
    };
    use RequestResult::{Allowed, CurrentlyRunning, DeniedBySystem, DisabledByPolicy, LowBattery};
    let rows = [
        (TriggerKind::ApplicationTrigger, AllowedSubjectToSystemPolicy, "", Allowed),
        (TriggerKind::ApplicationTrigger, AllowedSubjectToSystemPolicy, "running", CurrentlyRunning),
        (TriggerKind::ApplicationTrigger, AllowedSubjectToSystemPolicy, "saver", Allowed),
        (TriggerKind::ApplicationTrigger, Unspecified, "", DisabledByPolicy),
        (TriggerKind::MediaProcessingTrigger, DeniedByUser, "", DisabledByPolicy),
        (TriggerKind::DeviceUseTrigger, DeniedByUser, "", RequestResult::DeniedByUser),
        (TriggerKind::DeviceUseTrigger, DeniedBySystemPolicy, "", DeniedBySystem),
        (TriggerKind::DeviceUseTrigger, Unspecified, "", DeniedBySystem),
        (TriggerKind::DeviceUseTrigger, AllowedSubjectToSystemPolicy, "saver", LowBattery),
        (TriggerKind::DeviceUseTrigger, AlwaysAllowed, "saver", Allowed),
        (TriggerKind::DeviceUseTrigger, AllowedSubjectToSystemPolicy, "battery", Allowed),
        (TriggerKind::DeviceServicingTrigger, DeniedByUser, "", RequestResult::DeniedByUser),
        (TriggerKind::DeviceServicingTrigger, AllowedSubjectToSystemPolicy, "", Allowed),
        (TriggerKind::DeviceServicingTrigger, AlwaysAllowed, "battery", LowBattery),
    ];
    for (kind, status, circumstance, expected) in rows {
        let mut world = World::new();
        let id = world.register(plan(TaskTrigger::Requested { kind }));
        let request = || TaskWish::Request { app: me(), id, details: "{}".into() };
        world.put_access(status);
        match circumstance {
            "running" => drop(world.wish(request()).unwrap()),
            "saver" => drop(world.change_host(|host| host.energy_saver = known(true))),
            "battery" => {
                let power = longhaul_contract::Power { percent: Some(33), ..battery() };
                drop(world.change_host(|host| host.power = known(power)));
            }
            _ => {}
        }
        let done = world.wish(request()).unwrap();
        assert_eq!(answer(&done), TaskAnswer::Request(expected), "{kind} {status} {circumstance}");
        assert_eq!(
            world.is_pending(id) || !started(&done).is_empty(),
            expected == Allowed,
            "{kind} {status} {circumstance}"
        );
    }
    let mut world = World::new();
    let id = world.register(plan(every(15)));
    let refusal = world.wish(TaskWish::Request { app: me(), id, details: "{}".into() }).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::InvalidTrigger);
    world.register(plan(requested()));
}

#[test]
fn a_newer_firing_overtakes_a_retry() {
    let mut world = World::new();
    let id = world.register(TaskPlan { retry: retry(3, 600, false), ..plan(push()) });
    world.fired(id);
    world.end(id, failed(false));
    assert_eq!(world.waits_for(id), [ReasonCode::RetryDelay]);
    let done = world.fact(TaskFact::Fired { id, details: r#"{"new":true}"#.into() });
    assert_eq!(details(&done), [r#"{"new":true}"#]);
    assert_eq!(world.kept.instances[&world.instance(id)].attempt, 1);
    assert_eq!(world.complete_all(id), 1);
}

#[test]
fn an_event_that_flaps_starts_a_task_once_a_minute_and_loses_nothing() {
    let mut world = World::new();
    let id = world.register(plan(system(SystemTriggerType::InternetAvailable)));
    let mut starts = Vec::new();
    for second in 0..600 {
        let level = if second % 2 == 0 { NetworkLevel::None } else { NetworkLevel::Internet };
        let mut done = world.change_host(|host| host.network.level = known(level));
        done.merge(world.pass(1));
        starts.extend(started(&done).iter().map(|_| second));
        if world.is_running(id) {
            let done = world.complete(id);
            starts.extend(started(&done).iter().map(|_| second));
        }
    }
    assert!(starts.windows(2).all(|pair| pair[1] - pair[0] >= 59), "{starts:?}");
    assert!(starts.len() >= 9, "{starts:?}");
    world.pass(2 * MINUTE);
    assert_eq!(world.complete_all(id), 1, "the last one came as well");
}
