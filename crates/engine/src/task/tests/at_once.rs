//! A registration that is a firing itself (`first=now`), and power as a condition.

use longhaul_contract::{AccessStatus, Condition, HostState, OnConflict, ReasonCode, RunCause, TaskId};

use super::world::{HOUR, World, battery, conditions, every, external, machine, me, plan, unknown};
use crate::Policy;
use crate::task::{Missed, NewTask, TaskPlan, TaskTrigger};
use crate::tests::known;

fn once(asked: &[Condition]) -> TaskPlan {
    let trigger =
        TaskTrigger::Every { minutes: 15, one_shot: true, is_maintenance: false, missed: Missed::Once };
    TaskPlan { conditions: conditions(asked), ..plan(trigger) }
}

fn register(world: &mut World, plan: TaskPlan) -> TaskId {
    let task = NewTask { fires_at_once: true, ..world.new_task(plan) };
    let id = task.id;
    world.try_register(task, OnConflict::Fail).unwrap();
    id
}

fn on_battery() -> HostState {
    HostState { power: known(battery()), ..machine() }
}

#[test]
fn it_starts_as_soon_as_its_conditions_hold_and_never_again() {
    let mut world = World::new();
    world.host(on_battery());
    let id = register(&mut world, once(&[Condition::ExternalPower]));
    assert_eq!(world.waits_for(id), [ReasonCode::ExternalPower]);
    // The period goes by without a second firing, and a crash loses nothing.
    world.pass(HOUR);
    world.restart(HOUR);
    assert_eq!(world.waits_for(id), [ReasonCode::ExternalPower]);
    assert!(world.live(id).pending_since.is_some());
    world.change_host(|host| host.power = known(external()));
    let running = world.live(id).running.expect("it runs");
    assert_eq!(running.firing.cause, RunCause::Trigger);
    assert!(world.live(id).is_consumed);
    world.complete(id);
    world.pass(100 * HOUR);
    assert!(world.live(id).running.is_none());
    assert_eq!(world.kept.instances.len(), 1);
}

#[test]
fn a_periodic_one_goes_on_after_its_period() {
    let mut world = World::new();
    let id = register(&mut world, plan(every(60)));
    assert!(world.live(id).running.is_some());
    world.complete(id);
    world.pass(HOUR);
    assert_eq!(world.kept.instances.len(), 2);
}

#[test]
fn the_registration_and_its_firing_are_one_commit() {
    let mut world = World::new();
    world.host(on_battery());
    let task = NewTask { fires_at_once: true, ..world.new_task(once(&[Condition::ExternalPower])) };
    let id = task.id;
    let plan = world.try_register(task, OnConflict::Fail).unwrap();
    assert!(!plan.changes.is_empty());
    assert!(world.kept.rows[&id].state.latch.as_ref().is_some_and(|latch| latch.has_fired));
}

#[test]
fn power_must_be_seen_to_be_what_is_asked_for() {
    for (asked, power, is_met) in [
        (Condition::ExternalPower, known(external()), true),
        (Condition::ExternalPower, known(battery()), false),
        (Condition::ExternalPower, unknown(), false),
        (Condition::BatteryPower, known(battery()), true),
        (Condition::BatteryPower, known(external()), false),
        (Condition::BatteryPower, unknown(), false),
    ] {
        let mut world = World::with(Policy::default(), HostState { power, ..machine() });
        world.put_access(AccessStatus::AllowedSubjectToSystemPolicy);
        let id = register(&mut world, once(&[asked]));
        assert_eq!(world.live(id).running.is_some(), is_met, "{asked}");
        if !is_met {
            let explanation = world.engine.explain_task(world.now, &me(), id, None).unwrap();
            let reason = &explanation.blocking[0];
            assert_eq!(reason.code.word(), crate::task::condition::code(asked).word());
            assert!(reason.ends_when.as_deref().is_some_and(|end| end.contains("machine")), "{reason:?}");
        }
    }
}
