//! What administrators of the machine say of background access.

use std::collections::BTreeSet;

use longhaul_contract::{AccessStatus, AppId, CancelReason, Condition, Decision, HostState, ReasonCode};

use super::world::{World, answer, canceled, me, plan, push, started};
use crate::task::{TaskAnswer, TaskFact, TaskWish};
use crate::{AccessRule, AccessRules};

fn rules(default: AccessRule) -> AccessRules {
    AccessRules {
        source: "/etc/longhaul/policy.toml".to_owned(),
        default,
        allow: BTreeSet::new(),
        deny: BTreeSet::new(),
        owner: BTreeSet::new(),
    }
}

fn deny(app: AppId) -> TaskFact {
    TaskFact::AccessRules(vec![AccessRules { deny: BTreeSet::from([app]), ..rules(AccessRule::Owner) }])
}

#[test]
fn a_denied_application_waits_and_is_told_by_whom() {
    let mut world = World::new();
    let id = world.register(plan(push()));
    world.fact(deny(me()));
    assert_eq!(world.engine.access(&me()), AccessStatus::DeniedBySystemPolicy);
    world.fired(id);
    assert_eq!(world.waits_for(id), [ReasonCode::AccessDenied]);
    let told = world.engine.explain_task(world.now, &me(), id, None).unwrap();
    assert_eq!(told.decision, Decision::Wait);
    assert!(
        told.blocking[0].detail.ends_with("DeniedBySystemPolicy by /etc/longhaul/policy.toml"),
        "{told:?}"
    );
    assert_eq!((told.blocking[0].set_by.as_deref(), told.override_with), (Some("policy"), None));
    // The owner may say what they like: it counts once the policy leaves it to them.
    let plan = world.put_access(AccessStatus::AlwaysAllowed);
    assert_eq!(answer(&plan), TaskAnswer::Access(AccessStatus::DeniedBySystemPolicy));
    assert!(world.wish(TaskWish::Run { app: me(), id }).is_err());
    assert_eq!(started(&world.fact(TaskFact::AccessRules(Vec::new()))), [id], "it was kept");
    assert_eq!(world.engine.access(&me()), AccessStatus::AlwaysAllowed);
}

#[test]
fn what_runs_is_ended_when_the_policy_comes() {
    let mut world = World::new();
    let id = world.register(plan(push()));
    world.fired(id);
    let other = AppId::new("org.example.Other").unwrap();
    assert!(canceled(&world.fact(deny(other))).is_empty(), "it is about another");
    assert_eq!(canceled(&world.fact(deny(me()))), [CancelReason::SystemPolicy]);
}

#[test]
fn the_strictest_rule_holds_and_what_is_allowed_needs_no_decision() {
    let mut world = World::new();
    world.put_access(AccessStatus::DeniedByUser);
    let say = |world: &mut World, rules: &[AccessRules]| {
        world.fact(TaskFact::AccessRules(rules.to_vec()));
        world.engine.access(&me())
    };
    let allowed = rules(AccessRule::Allow);
    assert_eq!(say(&mut world, &[]), AccessStatus::DeniedByUser);
    assert_eq!(say(&mut world, std::slice::from_ref(&allowed)), AccessStatus::AllowedSubjectToSystemPolicy);
    let owned = AccessRules { owner: BTreeSet::from([me()]), ..rules(AccessRule::Deny) };
    assert_eq!(say(&mut world, std::slice::from_ref(&owned)), AccessStatus::DeniedByUser);
    let denied = AccessRules { deny: BTreeSet::from([me()]), allow: BTreeSet::from([me()]), ..owned };
    assert_eq!(say(&mut world, &[allowed, denied]), AccessStatus::DeniedBySystemPolicy);
}

/// What callers are told of a condition is what starts tasks, for every state of its signals.
#[test]
fn conditions_are_judged_by_the_rule_that_starts_tasks() {
    for host in hosts() {
        for condition in Condition::ALL {
            let mut world = World::with(crate::Policy::default(), host.clone());
            world.put_access(AccessStatus::AlwaysAllowed);
            let needed = super::world::conditions(&[*condition]);
            let id = world.register(crate::task::TaskPlan { conditions: needed, ..plan(push()) });
            world.fired(id);
            let told = world.engine.conditions();
            let standing =
                told.iter().find(|standing| standing.condition == *condition).expect("all are told");
            assert_eq!(standing.lets_start, world.is_running(id), "{condition}: {standing:?} {host:?}");
            assert!(standing.holds.is_none_or(|holds| holds == standing.lets_start), "{standing:?}");
            assert!(!standing.detail.is_empty());
        }
    }
}

/// The machine with each of its signals at every value that a condition tells apart, one at a time.
fn hosts() -> Vec<HostState> {
    use longhaul_contract::{BatteryStatus, NetworkCost, NetworkLevel, Power, WorkCost};

    use crate::tests::known;
    let base = super::world::machine();
    let changed = |change: &dyn Fn(&mut HostState)| {
        let mut host = base.clone();
        change(&mut host);
        host
    };
    let metered = NetworkCost { is_metered: true, ..NetworkCost::default() };
    let roaming = NetworkCost { is_roaming: true, ..NetworkCost::default() };
    let mut hosts = vec![base.clone(), HostState::unmeasured()];
    for level in
        [NetworkLevel::None, NetworkLevel::Local, NetworkLevel::ConstrainedInternet, NetworkLevel::Internet]
    {
        for cost in [NetworkCost::default(), metered, roaming] {
            hosts.push(changed(&|host| {
                host.network.level = known(level);
                host.network.cost = known(cost);
            }));
        }
        hosts.push(changed(&|host| {
            host.network.level = known(level);
            host.network.cost = super::world::unknown();
        }));
    }
    hosts.push(changed(&|host| host.network.level = super::world::unknown()));
    for is_so in [false, true] {
        hosts.push(changed(&|host| host.user_present = known(is_so)));
        hosts.push(changed(&|host| host.session_connected = known(is_so)));
        let power = Power { is_external: is_so, battery: BatteryStatus::Discharging, percent: None };
        hosts.push(changed(&|host| host.power = known(power)));
    }
    for cost in [WorkCost::Low, WorkCost::Medium, WorkCost::High] {
        hosts.push(changed(&|host| host.work_cost = known(cost)));
    }
    hosts
}
