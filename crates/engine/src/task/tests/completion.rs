//! Completion groups, their members and the tasks that wait for them.

use longhaul_contract::{
    AccessStatus, CompletionGroupId, ErrorCode, InstanceState, NetworkCost, Notification, OnConflict,
    OperationId, OperationKind, Priority, Remedy, WebErrorStatus,
};

use super::world::*;
use crate::task::{InstanceOutcome, NewTask, TaskAnswer, TaskFact, TaskTrigger};
use crate::tests::{app, failure, finished, known};
use crate::{
    AttemptEnd, Command, CompletionWish, Effect, Fact, Marks, NewOperation, Notified, Origin, Plan, Refusal,
    StoredPhase, Wish,
};

const DAY: u64 = 24 * HOUR;

fn group_id(number: u64) -> CompletionGroupId {
    CompletionGroupId::from_parts(number, &[3; 10])
}

fn operation_id(number: u64) -> OperationId {
    OperationId::from_parts(number, &[5; 10])
}

fn waiting_for(group: CompletionGroupId) -> TaskTrigger {
    TaskTrigger::Completion { group }
}

fn metered_over_limit() -> NetworkCost {
    NetworkCost { is_metered: true, is_over_data_limit: true, ..NetworkCost::default() }
}

fn said(text: &str) -> Option<Box<Notification>> {
    Some(Box::new(Notification { title: text.to_owned(), body: None }))
}

impl World {
    fn try_wish(&mut self, wish: Wish) -> Result<Plan, Refusal> {
        let plan = self.engine.command(self.now, wish)?;
        Ok(self.take(plan))
    }

    fn group(&mut self, number: u64) -> CompletionGroupId {
        let (success_notification, failure_notification) = (said("good"), said("bad"));
        let wish = CompletionWish::Create {
            app: me(),
            id: group_id(number),
            success_notification,
            failure_notification,
        };
        self.try_wish(Wish::Completion(wish)).unwrap();
        group_id(number)
    }

    fn enable(&mut self, group: CompletionGroupId) -> Result<Plan, Refusal> {
        self.try_wish(Wish::Completion(CompletionWish::Enable { app: me(), id: group }))
    }

    fn join(&mut self, number: u64, group: Option<CompletionGroupId>) -> Result<OperationId, Refusal> {
        self.join_marked(number, group, Marks::notifying(group.is_none(), group.is_none()))
    }

    fn join_marked(
        &mut self,
        number: u64,
        group: Option<CompletionGroupId>,
        marks: Marks,
    ) -> Result<OperationId, Refusal> {
        let operation = NewOperation {
            id: operation_id(number),
            kind: OperationKind::Download,
            app: me(),
            group: None,
            origin: Origin { name: format!("https://host{number}:443").as_str().into(), is_local: false },
            target: None,
            priority: Priority::Default,
            cost_policy: longhaul_contract::CostPolicy::Default,
            rate_limit: None,
            not_before: None,
            recoverable: [].into(),
            completion_group: group,
            marks,
            start: true,
            spec: longhaul_contract::CreateDownload::new("https://host/file", "/folder/file").into(),
        };
        self.try_wish(Wish::Create(vec![operation]))?;
        Ok(operation_id(number))
    }

    fn end_attempt(&mut self, id: OperationId, end: AttemptEnd) -> Plan {
        let attempt = self.engine.live(self.now, &me(), id).unwrap().attempt.unwrap();
        let plan = self.engine.observe(self.now, Fact::Ended { id, attempt, end });
        self.take(plan)
    }

    fn finish(&mut self, id: OperationId) -> Plan {
        self.end_attempt(id, finished())
    }

    /// Fails for good; the set hears of it when the part file is gone.
    fn fail(&mut self, id: OperationId) -> Plan {
        let failure = failure(Remedy::Permanent, WebErrorStatus::NotFound);
        self.end_attempt(id, AttemptEnd::Failed { failure, has_progressed: false, response: None });
        let plan = self.engine.observe(self.now, Fact::Discarded { id });
        self.take(plan)
    }

    fn remove(&mut self, id: OperationId) -> Plan {
        self.try_wish(Wish::Command { app: me(), id, command: Command::Remove }).unwrap();
        let stopped = Fact::Ended { id, attempt: 1, end: AttemptEnd::Stopped };
        let plan = self.engine.observe(self.now, stopped);
        self.take(plan);
        let plan = self.engine.observe(self.now, Fact::Discarded { id });
        self.take(plan)
    }

    fn is_over(&self, group: CompletionGroupId) -> bool {
        self.engine.completion_group(&me(), group).unwrap().is_over
    }
}

fn shown(plan: &Plan) -> Vec<(Notified, bool)> {
    let effects = plan.effects.iter();
    effects
        .filter_map(|effect| match effect {
            Effect::Notify { of, is_success, .. } => Some((*of, *is_success)),
            _ => None,
        })
        .collect()
}

#[test]
fn fires_once_when_it_is_enabled_and_all_have_ended() {
    let mut world = World::new();
    let group = world.group(1);
    let task = world.register(plan(waiting_for(group)));
    let (one, other) = (world.join(1, Some(group)).unwrap(), world.join(2, Some(group)).unwrap());
    world.finish(one);
    world.fail(other);
    assert!(!world.is_pending(task), "all have ended, and more may come");
    let done = world.enable(group).unwrap();
    assert_eq!(started(&done), [task]);
    assert_eq!(shown(&done), [(Notified::CompletionGroup(group), false)]);
    assert_eq!(done.tasks_removed, [(me(), task)], "it vanishes as it fires");
    let instance = world.kept.instances.values().last().unwrap().clone();
    assert_eq!(instance.trigger_details, serde_json::json!({ "completionGroup": group }));
    assert!(world.is_over(group));
    for _ in 0..3 {
        assert!(started(&world.restart(1)).is_empty());
        assert!(started(&world.pass(HOUR)).is_empty());
    }
}

#[test]
fn enabled_first_it_fires_with_the_last_end() {
    let mut world = World::new();
    let group = world.group(1);
    let task = world.register(plan(waiting_for(group)));
    let (one, other) = (world.join(1, Some(group)).unwrap(), world.join(2, Some(group)).unwrap());
    assert!(started(&world.enable(group).unwrap()).is_empty());
    assert!(started(&world.finish(one)).is_empty());
    assert!(started(&world.restart(5)).is_empty(), "one has not ended");
    let done = world.finish(other);
    assert_eq!(started(&done), [task]);
    assert_eq!(shown(&done), [(Notified::CompletionGroup(group), true)]);
    let ends = done.changes.iter().position(|change| change.operation() == Some(other));
    assert!(ends.is_some(), "the end and the firing are of one commit");
}

#[test]
fn what_is_canceled_or_deleted_has_ended_too() {
    let mut world = World::new();
    let group = world.group(1);
    let task = world.register(plan(waiting_for(group)));
    let (one, other) = (world.join(1, Some(group)).unwrap(), world.join(2, Some(group)).unwrap());
    world.enable(group).unwrap();
    world.finish(one);
    let done = world.remove(other);
    assert_eq!(started(&done), [task]);
    assert_eq!(shown(&done), [(Notified::CompletionGroup(group), false)]);
}

#[test]
fn an_empty_set_is_over_as_soon_as_it_is_closed() {
    let mut world = World::new();
    let group = world.group(1);
    let task = world.register(plan(waiting_for(group)));
    assert_eq!(started(&world.enable(group).unwrap()), [task]);
}

#[test]
fn a_closed_set_takes_nothing_in_and_is_not_closed_twice() {
    let mut world = World::new();
    let group = world.group(1);
    world.join(1, Some(group)).unwrap();
    world.enable(group).unwrap();
    for refusal in [world.join(2, Some(group)).unwrap_err(), world.enable(group).unwrap_err()] {
        assert_eq!(refusal.code, ErrorCode::CompletionGroupEnabled);
    }
    assert_eq!(world.join(3, Some(group_id(9))).unwrap_err().code, ErrorCode::InvalidField);
    assert_eq!(world.enable(group_id(9)).unwrap_err().code, ErrorCode::NotFound);
    let foreign = CompletionWish::Enable { app: app("Other"), id: group };
    assert_eq!(world.try_wish(Wish::Completion(foreign)).unwrap_err().code, ErrorCode::NotFound);
    world.restart(1);
    assert_eq!(world.enable(group).unwrap_err().code, ErrorCode::CompletionGroupEnabled);
}

#[test]
fn one_registration_at_a_time_waits_for_a_set() {
    let mut world = World::new();
    let group = world.group(1);
    let task = world.register(plan(waiting_for(group)));
    let second = world.new_task(plan(waiting_for(group)));
    let refusal = world.try_register(second, OnConflict::Fail).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::CompletionGroupTaken);
    let replacing =
        NewTask { name: world.kept.rows[&task].name.clone(), ..world.new_task(plan(waiting_for(group))) };
    let replacement = replacing.id;
    world.try_register(replacing, OnConflict::Replace).unwrap();
    world.unregister(replacement, true);
    let third = world.register(plan(waiting_for(group)));
    assert_eq!(world.engine.completion_group(&me(), group).unwrap().task_id, Some(third));
    world.restart(1);
    assert_eq!(world.engine.completion_group(&me(), group).unwrap().task_id, Some(third));
    assert_eq!(started(&world.enable(group).unwrap()), [third]);
    let late = world.new_task(plan(waiting_for(group)));
    let refusal = world.try_register(late, OnConflict::Fail).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::CompletionGroupEnabled, "it is over");
    let of_none = world.new_task(plan(waiting_for(group_id(9))));
    assert_eq!(world.try_register(of_none, OnConflict::Fail).unwrap_err().code, ErrorCode::InvalidTrigger);
}

#[test]
fn a_firing_that_has_to_wait_survives_a_crash() {
    let mut world = World::new();
    let group = world.group(1);
    let task = world.register(plan(waiting_for(group)));
    let by_hand = world.run(task);
    assert_eq!(answer(&by_hand), TaskAnswer::Run(Some(world.instance(task))));
    world.complete(task);
    assert_eq!(world.engine.task_ids(&me(), None), [task], "by hand it stays");
    world.change_host(|host| host.energy_saver = known(true));
    world.enable(group).unwrap();
    assert!(world.is_pending(task));
    assert!(started(&world.restart(10)).is_empty());
    let done = world.change_host(|host| host.energy_saver = known(false));
    assert_eq!(started(&done), [task]);
    let instance = *world.kept.instances.keys().last().unwrap();
    world.fact(TaskFact::Ended { id: task, instance, end: end(InstanceOutcome::Completed) });
    assert_eq!(world.kept.instances[&instance].state, InstanceState::Completed);
    assert!(started(&world.restart(10)).is_empty());
}

#[test]
fn with_retries_it_vanishes_after_the_last() {
    let mut world = World::new();
    let group = world.group(1);
    let task =
        world.register(crate::task::TaskPlan { retry: retry(1, 30, true), ..plan(waiting_for(group)) });
    assert_eq!(started(&world.enable(group).unwrap()), [task]);
    assert!(started(&world.restart(1)).is_empty(), "interrupted, and repeated after its delay");
    let again = world.pass(60);
    assert_eq!(started(&again), [task]);
    let instance = world.instance(task);
    let done = world.fact(TaskFact::Ended { id: task, instance, end: end(failed(false)) });
    assert_eq!(done.tasks_removed, [(me(), task)]);
    assert!(world.kept.rows.is_empty());
}

#[test]
fn operations_that_want_it_are_shown_by_themselves() {
    let mut world = World::new();
    let (one, other) = (world.join(1, None).unwrap(), world.join(2, None).unwrap());
    assert_eq!(shown(&world.finish(one)), [(Notified::Operation(one), true)]);
    assert_eq!(shown(&world.fail(other)), [(Notified::Operation(other), false)]);
    assert_eq!(world.kept.operations[&one].phase, StoredPhase::Completed);
    assert!(shown(&world.restart(1)).is_empty());
}

#[test]
fn whoever_is_named_is_asked_when_input_is_needed_and_again_after_a_restart() {
    let mut world = World::new();
    let asked = |plan: &Plan| {
        let is_question = |effect: &&Effect| matches!(effect, Effect::AskInput { .. });
        plan.effects.iter().filter(is_question).count()
    };
    let silent = world.join(1, None).unwrap();
    let asking = world.join_marked(2, None, Marks::default().asking_for_input()).unwrap();
    let forbidden = || AttemptEnd::Failed {
        failure: failure(Remedy::NeedsInput, WebErrorStatus::Forbidden),
        has_progressed: true,
        response: None,
    };
    assert_eq!(asked(&world.end_attempt(silent, forbidden())), 0);
    assert_eq!(asked(&world.end_attempt(asking, forbidden())), 1);
    assert_eq!(asked(&world.restart(5)), 1);
    assert_eq!(asked(&world.pass(HOUR)), 0);
}

#[test]
fn groups_are_forgotten_when_nobody_needs_them() {
    let mut world = World::new();
    let (over, unused, used) = (world.group(1), world.group(2), world.group(3));
    world.join(1, Some(used)).unwrap();
    world.enable(over).unwrap();
    world.restart(1);
    world.pass(6 * DAY);
    assert_eq!(world.engine.completion_groups(&me()).len(), 3);
    world.pass(2 * DAY);
    assert!(world.engine.completion_group(&me(), over).is_none());
    world.pass(25 * DAY);
    assert!(world.engine.completion_group(&me(), unused).is_none());
    assert_eq!(world.kept.groups.keys().copied().collect::<Vec<_>>(), [used]);
}

#[test]
fn an_unconstrained_operation_goes_on_under_energy_saver() {
    let mut world = World::new();
    world.change_host(|host| host.energy_saver = known(true));
    let id = world.join(1, None).unwrap();
    let wish = || Wish::Unconstrain { app: me(), ids: vec![id, operation_id(77)] };
    let refused = world.try_wish(wish()).unwrap();
    assert_eq!(answer(&refused), TaskAnswer::Unconstrained(false), "the owner has not consented");
    let is_running = |world: &World| world.engine.live(world.now, &me(), id).unwrap().attempt.is_some();
    assert!(!is_running(&world));
    world.put_access(AccessStatus::AlwaysAllowed);
    assert_eq!(answer(&world.try_wish(wish()).unwrap()), TaskAnswer::Unconstrained(true));
    assert!(is_running(&world));
    world.restart(1);
    world.change_host(|host| host.energy_saver = known(true));
    assert!(is_running(&world), "it stays so");
    world.change_host(|host| host.network.cost = known(metered_over_limit()));
    let stopped = Fact::Ended { id, attempt: 1, end: AttemptEnd::Stopped };
    world.engine.observe(world.now, stopped);
    assert!(!is_running(&world), "the cost policy holds as ever");
}
