//! Messages that are worth something for a time only (RFC 8030 section 5.2).

use longhaul_contract::{AccessStatus, RunCause, TaskId};

use super::world::{MINUTE, World, plan, push, started};
use crate::task::TaskFact;

fn denied() -> (World, TaskId) {
    let mut world = World::new();
    let id = world.register(plan(push()));
    world.put_access(AccessStatus::DeniedByUser);
    (world, id)
}

fn send(world: &mut World, id: TaskId, text: &str, seconds: u64) -> crate::Plan {
    world.fact(TaskFact::Message { id, details: text.into(), lifetime_ms: seconds * 1_000 })
}

#[test]
fn a_message_is_kept_for_its_time_and_no_longer() {
    let (mut world, id) = denied();
    send(&mut world, id, "{}", 60);
    assert!(world.is_pending(id));
    world.pass(59);
    assert!(world.is_pending(id));
    world.pass(1);
    assert!(!world.is_pending(id), "its time is over");
    assert_eq!(world.kept.rows[&id].state.latch, None, "and that is written down");
    assert!(started(&world.put_access(AccessStatus::AlwaysAllowed)).is_empty());
    assert_eq!(world.engine.next_wake().boot, None);
}

#[test]
fn a_message_of_no_time_starts_its_task_at_once_or_never() {
    let (mut world, id) = denied();
    send(&mut world, id, "{}", 0);
    assert!(!world.is_pending(id));
    world.put_access(AccessStatus::AlwaysAllowed);
    assert!(!world.is_running(id));
    assert_eq!(started(&send(&mut world, id, "{}", 0)), [id]);
    send(&mut world, id, "{}", 0);
    assert!(!world.is_pending(id), "another instance runs");
}

#[test]
fn the_newest_message_has_the_say() {
    let (mut world, id) = denied();
    send(&mut world, id, r#"{"n":1}"#, 10);
    send(&mut world, id, r#"{"n":2}"#, 100);
    world.pass(50);
    assert!(world.is_pending(id), "the longer life of the newer one counts");
    send(&mut world, id, r#"{"n":3}"#, 10);
    world.pass(10);
    assert!(!world.is_pending(id));
    send(&mut world, id, "{}", 10);
    world.fired(id);
    world.pass(MINUTE);
    assert!(world.is_pending(id), "a firing without a time stays");
}

#[test]
fn its_time_goes_on_while_the_service_is_away() {
    for (away, is_kept) in [(30, true), (60, false), (3_600, false)] {
        let (mut world, id) = denied();
        send(&mut world, id, "{}", 60);
        world.pass(10);
        world.restart(away);
        assert_eq!(world.is_pending(id), is_kept, "away for {away} s");
        world.pass(20);
        assert!(!world.is_pending(id), "away for {away} s");
    }
}

#[test]
fn a_clock_that_is_set_makes_no_message_older_or_younger() {
    for jump in [-86_400, 86_400] {
        let (mut world, id) = denied();
        send(&mut world, id, "{}", 60);
        world.jump(jump);
        world.pass(30);
        world.restart(0);
        world.pass(29);
        assert!(world.is_pending(id), "{jump}");
        world.pass(1);
        assert!(!world.is_pending(id), "{jump}");
    }
}

#[test]
fn a_run_by_hand_that_waits_goes_on_without_the_message() {
    let mut world = World::new();
    let id = world.register(plan(push()));
    world.run(id);
    world.run(id);
    send(&mut world, id, r#"{"n":1}"#, 10);
    world.pass(10);
    world.complete(id);
    let state = &world.kept.rows[&id].state;
    let firing = &state.running.as_ref().expect("the second run by hand").firing;
    assert_eq!((firing.cause, firing.has_fired, &*firing.details), (RunCause::Manual, false, "{}"));
}
