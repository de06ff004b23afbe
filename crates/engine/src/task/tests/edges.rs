//! System triggers: which changes of the machine fire which, and which do not.

use SystemTriggerType::{
    BackgroundWorkCostChange, InternetAvailable, NetworkStateChange, PowerStateChange, ServicingComplete,
    SessionConnected, TimeZoneChange, UserAway, UserPresent,
};
use longhaul_contract::{
    BatteryStatus, HostState, NetworkCost, NetworkLevel, Power, SystemTriggerType, TaskId, WorkCost,
};

use super::world::{MINUTE, World, at, external, me, plan, push, started, system, unknown};
use crate::task::TaskFact;
use crate::tests::{app, known};

type Change = fn(&mut HostState);

const ALL: [SystemTriggerType; 9] = [
    InternetAvailable,
    NetworkStateChange,
    SessionConnected,
    UserPresent,
    UserAway,
    TimeZoneChange,
    BackgroundWorkCostChange,
    PowerStateChange,
    ServicingComplete,
];

fn listening() -> (World, Vec<(SystemTriggerType, TaskId)>) {
    let mut world = World::new();
    let listeners = ALL.iter().map(|event| (*event, world.register(plan(system(*event))))).collect();
    (world, listeners)
}

/// What a change fires.
fn fires(
    world: &mut World,
    listeners: &[(SystemTriggerType, TaskId)],
    change: Change,
) -> Vec<SystemTriggerType> {
    world.pass(2 * MINUTE);
    world.change_host(change);
    let mut fired = Vec::new();
    for (event, id) in listeners {
        if world.complete_all(*id) > 0 {
            fired.push(*event);
        }
    }
    fired
}

/// Changes one after the other, and what each of them fires.
#[test]
fn the_table_of_edges() {
    let (mut world, listeners) = listening();
    let rows: Vec<(&str, Change, Vec<SystemTriggerType>)> = vec![
        ("the same", |_| {}, vec![]),
        ("offline", |host| host.network.level = known(NetworkLevel::None), vec![NetworkStateChange]),
        ("local", |host| host.network.level = known(NetworkLevel::Local), vec![NetworkStateChange]),
        (
            "online",
            |host| host.network.level = known(NetworkLevel::Internet),
            vec![InternetAvailable, NetworkStateChange],
        ),
        ("level unknown", |host| host.network.level = unknown(), vec![]),
        ("still online", |host| host.network.level = known(NetworkLevel::Internet), vec![]),
        ("unknown again", |host| host.network.level = unknown(), vec![]),
        ("and offline", |host| host.network.level = known(NetworkLevel::None), vec![NetworkStateChange]),
        ("and unknown", |host| host.network.level = unknown(), vec![]),
        (
            "and online",
            |host| host.network.level = known(NetworkLevel::Internet),
            vec![InternetAvailable, NetworkStateChange],
        ),
        (
            "metered",
            |host| host.network.cost = known(NetworkCost { is_metered: true, ..NetworkCost::default() }),
            vec![NetworkStateChange],
        ),
        ("user away", |host| host.user_present = known(false), vec![UserAway]),
        ("still away", |host| host.user_present = known(false), vec![]),
        ("user back", |host| host.user_present = known(true), vec![UserPresent]),
        ("session gone", |host| host.session_connected = known(false), vec![]),
        ("session there", |host| host.session_connected = known(true), vec![SessionConnected]),
        ("work dear", |host| host.work_cost = known(WorkCost::High), vec![BackgroundWorkCostChange]),
        ("work cheap", |host| host.work_cost = known(WorkCost::Low), vec![BackgroundWorkCostChange]),
        (
            "battery idle",
            |host| host.power = known(Power { battery: BatteryStatus::Idle, ..external() }),
            vec![PowerStateChange],
        ),
        (
            "another charge",
            |host| {
                host.power = known(Power { battery: BatteryStatus::Idle, percent: Some(7), ..external() });
            },
            vec![],
        ),
        ("Paris", |host| host.time_zone = known("Europe/Paris".to_owned()), vec![]),
        ("London", |host| host.time_zone = known("Europe/London".to_owned()), vec![TimeZoneChange]),
        ("zone unknown", |host| host.time_zone = unknown(), vec![]),
        (
            "Abidjan, the same in winter",
            |host| host.time_zone = known("Africa/Abidjan".to_owned()),
            vec![TimeZoneChange],
        ),
    ];
    for (name, change, expected) in rows {
        assert_eq!(fires(&mut world, &listeners, change), expected, "{name}");
    }
}

#[test]
fn the_first_value_ever_is_no_edge() {
    let mut world = World::with(crate::Policy::default(), HostState::unmeasured());
    world.put_access(longhaul_contract::AccessStatus::AlwaysAllowed);
    let listeners: Vec<_> = ALL.iter().map(|event| (*event, world.register(plan(system(*event))))).collect();
    world.host(super::world::machine());
    assert!(listeners.iter().all(|(_, id)| !world.is_running(*id) && !world.is_pending(*id)));
}

#[test]
fn edges_while_the_service_was_away_are_found_and_none_is_invented() {
    let (mut world, listeners) = listening();
    assert!(started(&world.restart(60)).is_empty(), "the machine is as it was");
    let mut away = world.engine.host();
    away.time_zone = known("Asia/Tokyo".to_owned());
    away.user_present = unknown();
    world.now.wall = world.now.wall.plus_seconds(60);
    world.now.boot = crate::BootTime(1_000_000);
    world.restart_on(away);
    let fired: Vec<_> =
        listeners.iter().filter(|(_, id)| world.is_running(*id)).map(|(event, _)| *event).collect();
    assert_eq!(fired, [TimeZoneChange]);
    for (_, id) in &listeners {
        world.complete_all(*id);
    }
    assert!(started(&world.restart(60)).is_empty(), "told once");
    world.pass(MINUTE);
    world.change_host(|host| host.user_present = known(false));
    let fired: Vec<_> =
        listeners.iter().filter(|(_, id)| world.is_running(*id)).map(|(event, _)| *event).collect();
    assert_eq!(fired, [UserAway], "compared with what was known before it was unknown");
}

#[test]
fn signals_nobody_waits_for_are_not_written_down() {
    let mut world = World::new();
    world.register(plan(push()));
    let quiet = world.change_host(|host| host.user_present = known(false));
    assert!(quiet.changes.is_empty(), "{:?}", quiet.changes);
    let id = world.register(plan(system(UserPresent)));
    assert_eq!(world.kept.signals.user_present, Some(false));
    assert_eq!(world.kept.signals.level, None);
    world.unregister(id, true);
    assert_eq!(world.kept.signals, crate::task::KnownSignals::default());
}

#[test]
fn daylight_saving_is_a_change_of_time_too() {
    let mut world = World::new();
    let id = world.register(plan(system(TimeZoneChange)));
    assert_eq!(world.engine.next_wake().wall, Some(at("2026-03-29T01:00:00Z")));
    let until = at("2026-03-29T01:00:00Z").seconds_since(world.now.wall);
    assert!(started(&world.pass(u64::try_from(until).unwrap() - 1)).is_empty());
    assert_eq!(started(&world.pass(1)), [id]);
    world.complete(id);
    assert_eq!(world.engine.next_wake().wall, Some(at("2026-10-25T01:00:00Z")));
    // The service is away over the next one.
    world.now.wall = at("2026-10-26T00:00:00Z");
    assert_eq!(started(&world.restart(0)), [id]);
    world.complete(id);
    assert!(started(&world.restart(0)).is_empty());
    world.unregister(id, true);
    assert_eq!(world.engine.next_wake(), crate::Wake::default());
}

#[test]
fn events_told_from_outside_reach_their_listeners_and_one_application_alone() {
    let mut world = World::new();
    let mine = world.register(plan(system(ServicingComplete)));
    let event = |app| TaskFact::System { event: ServicingComplete, app, details: r#"{"v":2}"#.into() };
    assert!(started(&world.fact(event(Some(app("Other"))))).is_empty());
    assert_eq!(started(&world.fact(event(Some(me())))), [mine]);
    world.complete(mine);
    world.pass(2 * MINUTE);
    assert_eq!(started(&world.fact(event(None))), [mine]);
    assert_eq!(world.kept.instances[&world.instance(mine)].trigger_details["v"], 2);
}

#[test]
fn the_privilege_to_run_always_is_told_to_its_application_when_it_comes_and_goes() {
    use SystemTriggerType::{LockScreenApplicationAdded, LockScreenApplicationRemoved};
    use longhaul_contract::AccessStatus::{AllowedSubjectToSystemPolicy, AlwaysAllowed, DeniedByUser};
    let mut world = World::new();
    let added = world.register(plan(system(LockScreenApplicationAdded)));
    let removed = world.register(plan(system(LockScreenApplicationRemoved)));
    let mut told = Vec::new();
    for status in [
        AlwaysAllowed,
        AlwaysAllowed,
        AllowedSubjectToSystemPolicy,
        DeniedByUser,
        AllowedSubjectToSystemPolicy,
        AlwaysAllowed,
    ] {
        world.pass(2 * MINUTE);
        world.put_access(status);
        told.push((world.complete_all(added), world.complete_all(removed)));
    }
    assert_eq!(told, [(1, 0), (0, 0), (0, 1), (0, 0), (0, 0), (1, 0)]);
}
