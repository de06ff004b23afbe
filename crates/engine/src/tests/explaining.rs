//! `explain` and the views say what the scheduler does, whatever happens.

use longhaul_contract::{
    CostPolicy, Decision, HostState, Limits, NetworkLevel, OperationId, PatchDownload, Priority, ReasonCode,
    Remedy, TransferBehavior, TransferStatus, WebErrorStatus,
};
use proptest::prelude::*;

use super::*;
use crate::{AttemptEnd, Command, Fact, NewOperation, Origin, Policy, Wish};

#[test]
fn the_answer_names_what_blocks_who_set_it_and_what_would_override_it() {
    let mut world = World::new();
    world.host(metered());
    let operation = NewOperation { cost_policy: CostPolicy::UnrestrictedOnly, ..world.operation("a") };
    let (id, _) = world.create(operation);
    let told = world.engine.explain(world.now, &app("App"), id, None).unwrap();
    assert_eq!(told.decision, Decision::Wait);
    assert_eq!(told.blocking.len(), 1);
    let reason = &told.blocking[0];
    assert_eq!(reason.code, ReasonCode::NetworkCost);
    assert_eq!(reason.value.as_deref(), Some("metered"));
    assert_eq!(reason.set_by.as_deref(), Some("test"));
    assert_eq!(told.override_with, Some(format!("longhaul set {id} costPolicy=Always")));
    assert!(told.satisfied.iter().any(|reason| reason.code == ReasonCode::NetworkLevel));
    let what_if = world.engine.explain(world.now, &app("App"), id, Some(&online())).unwrap();
    assert_eq!(what_if.decision, Decision::Run);
    let blind = world.engine.explain(world.now, &app("App"), id, Some(&HostState::unmeasured())).unwrap();
    assert_eq!(blind.decision, Decision::Run);
    let unknown: Vec<_> = blind.unknown.iter().map(|reason| reason.code).collect();
    assert_eq!(unknown, [ReasonCode::NetworkLevel, ReasonCode::NetworkCost, ReasonCode::EnergySaver]);
}

#[test]
fn a_running_operation_is_explained_by_a_hypothetical_host_too() {
    let mut world = World::new();
    let id = world.download();
    let told = world.engine.explain(world.now, &app("App"), id, None).unwrap();
    assert_eq!((told.decision, told.override_with), (Decision::Run, None));
    let told = world.engine.explain(world.now, &app("App"), id, Some(&offline())).unwrap();
    assert_eq!(told.decision, Decision::Wait);
    assert_eq!(told.blocking[0].code, ReasonCode::NetworkLevel);
}

#[test]
fn overrides_do_what_they_say() {
    let mut world = World::new();
    let id = world.download();
    world.fail(id, transient(), false);
    let told = world.engine.explain(world.now, &app("App"), id, None).unwrap();
    assert_eq!(told.override_with, Some(format!("longhaul resume {id}")));
    assert_eq!(told.blocking[0].value.as_deref(), Some("connectionReset"));
    assert!(told.blocking[0].ends_when.is_some());
    let operation = NewOperation { start: false, ..world.operation("b") };
    let (id, _) = world.create(operation);
    let told = world.engine.explain(world.now, &app("App"), id, None).unwrap();
    assert_eq!(told.override_with, Some(format!("longhaul start {id}")));
    let mut world = World::with_limits(Limits { running_at_once: 1, ..Limits::default() });
    world.download();
    let id = world.download();
    let told = world.engine.explain(world.now, &app("App"), id, None).unwrap();
    assert_eq!(told.override_with.as_deref(), Some("longhaul limits set --at-once 2"));
    let plan = world.put_limits(Limits { running_at_once: 2, ..Limits::default() });
    assert_eq!(started(&plan), [id]);
    world.put_limits(Limits { bytes_per_second: Some(0), ..Limits::default() });
    world.stopped(id);
    let told = world.engine.explain(world.now, &app("App"), id, None).unwrap();
    assert_eq!(told.override_with.as_deref(), Some("longhaul limits set --rate none"));
}

#[derive(Debug, Clone)]
enum Input {
    Create { app: u8, host: u8, group: Option<u8>, priority: u8, cost: u8, flags: u8 },
    Command { which: usize, command: u8 },
    End { which: usize, end: u8 },
    Host { level: u8, is_metered: bool, is_saving: bool },
    Limits { total: u32, app: u32, host: u32, is_stopped: bool },
    Behavior { group: u8, is_serialized: bool },
    Pass { milliseconds: u64 },
    Eased,
}

fn input() -> impl Strategy<Value = Input> {
    prop_oneof![
        4 => (0..3u8, 0..4u8, proptest::option::of(0..2u8), 0..3u8, 0..3u8, any::<u8>()).prop_map(
            |(app, host, group, priority, cost, flags)| Input::Create { app, host, group, priority, cost, flags }
        ),
        4 => (any::<usize>(), 0..12u8).prop_map(|(which, command)| Input::Command { which, command }),
        6 => (any::<usize>(), 0..8u8).prop_map(|(which, end)| Input::End { which, end }),
        2 => (0..4u8, any::<bool>(), any::<bool>())
            .prop_map(|(level, is_metered, is_saving)| Input::Host { level, is_metered, is_saving }),
        1 => (1..6u32, 1..4u32, 1..3u32, any::<bool>())
            .prop_map(|(total, app, host, is_stopped)| Input::Limits { total, app, host, is_stopped }),
        1 => (0..2u8, any::<bool>()).prop_map(|(group, is_serialized)| Input::Behavior { group, is_serialized }),
        3 => (0..90_000u64).prop_map(|milliseconds| Input::Pass { milliseconds }),
        1 => Just(Input::Eased),
    ]
}

struct Random {
    world: World,
    all: Vec<(longhaul_contract::AppId, OperationId)>,
}

impl Random {
    fn pick(&self, which: usize) -> Option<(longhaul_contract::AppId, OperationId)> {
        (!self.all.is_empty()).then(|| self.all[which % self.all.len()].clone())
    }

    fn apply(&mut self, input: &Input) {
        match input {
            Input::Create { app: owner, host, group: name, priority, cost, flags } => {
                let operation = self.world.operation(&format!("host{host}"));
                let operation = NewOperation {
                    app: app(&format!("App{owner}")),
                    origin: Origin { is_local: *host == 0, ..operation.origin.clone() },
                    group: name.map(|name| group(&format!("g{name}"))),
                    priority: Priority::from_number(*priority).unwrap(),
                    cost_policy: CostPolicy::from_number(*cost).unwrap(),
                    start: flags % 8 != 0,
                    not_before: (flags % 5 == 0).then(|| self.world.now.wall.plus_seconds(i64::from(*flags))),
                    rate_limit: (flags % 11 == 0).then_some(0),
                    recoverable: if flags % 3 == 0 { [WebErrorStatus::NotFound].into() } else { [].into() },
                    ..operation
                };
                self.all.push((operation.app.clone(), operation.id));
                self.world.create(operation);
            }
            Input::Command { which, command } => self.command(*which, *command),
            Input::End { which, end } => self.end(*which, *end),
            Input::Host { level, is_metered, is_saving } => {
                let mut host = if *is_metered { metered() } else { online() };
                host.network.level = known(
                    [
                        NetworkLevel::None,
                        NetworkLevel::Local,
                        NetworkLevel::ConstrainedInternet,
                        NetworkLevel::Internet,
                    ][usize::from(*level)],
                );
                host.energy_saver = known(*is_saving);
                self.world.host(host);
            }
            Input::Limits { total, app, host, is_stopped } => {
                self.world.put_limits(Limits {
                    running_at_once: *total,
                    running_at_once_per_application: *app,
                    connections_per_host: *host,
                    bytes_per_second: is_stopped.then_some(0),
                    schedule: Vec::new(),
                });
            }
            Input::Behavior { group: name, is_serialized } => {
                let behavior =
                    if *is_serialized { TransferBehavior::Serialized } else { TransferBehavior::Parallel };
                for owner in 0..3 {
                    let wish = Wish::PutGroup {
                        app: app(&format!("App{owner}")),
                        name: group(&format!("g{name}")),
                        behavior,
                    };
                    self.world.engine.command(self.world.now, wish).unwrap();
                }
            }
            Input::Pass { milliseconds } => {
                self.world.pass(*milliseconds);
            }
            Input::Eased => {
                let fact = Fact::BlockerEased { on: longhaul_contract::Blocker::DiskSpace, id: None };
                self.world.engine.observe(self.world.now, fact);
            }
        }
    }

    fn command(&mut self, which: usize, command: u8) {
        let Some((app, id)) = self.pick(which) else { return };
        let patch = |patch| Command::Patch { patch: Box::new(patch), origin: None };
        let none = PatchDownload::default();
        let command = match command {
            0 | 1 => Command::Start,
            2 => Command::Pause,
            3 | 4 => Command::Resume,
            5 => Command::Cancel,
            6 => Command::MakeCurrent,
            7 => patch(PatchDownload { priority: Some(Priority::High), ..none }),
            8 => patch(PatchDownload { priority: Some(Priority::Low), ..none }),
            9 => patch(PatchDownload { cost_policy: Some(CostPolicy::UnrestrictedOnly), ..none }),
            10 => patch(PatchDownload { rate_limit: Some(None), ..none }),
            _ => patch(PatchDownload { rate_limit: Some(Some(0)), ..none }),
        };
        // Refusals are as good as anything else here: the views have to agree either way.
        let _ = self.world.engine.command(self.world.now, Wish::Command { app, id, command });
    }

    fn end(&mut self, which: usize, end: u8) {
        let Some((app, id)) = self.pick(which) else { return };
        let Some(live) = self.world.engine.live(self.world.now, &app, id) else { return };
        let Some(attempt) = live.attempt else {
            self.world.discarded(id);
            return;
        };
        let fail = |remedy, status| AttemptEnd::Failed {
            failure: failure(remedy, status),
            has_progressed: which.is_multiple_of(2),
            response: None,
        };
        let end = match end {
            0 => finished(),
            1 | 2 => fail(Remedy::Transient, WebErrorStatus::ConnectionReset),
            3 => fail(Remedy::Blocked { on: longhaul_contract::Blocker::DiskSpace }, WebErrorStatus::Unknown),
            4 => fail(Remedy::NeedsInput, WebErrorStatus::NotFound),
            5 => fail(Remedy::Permanent, WebErrorStatus::Unknown),
            6 => fail(Remedy::Stale, WebErrorStatus::Unknown),
            _ => AttemptEnd::Stopped,
        };
        self.world.engine.observe(self.world.now, Fact::Ended { id, attempt, end });
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let engine = &self.world.engine;
        let now = self.world.now;
        let caps = engine.limits();
        prop_assert!(engine.queue.running() as usize == engine.running.len());
        let mut active = 0;
        for (app, id) in &self.all {
            let Some(live) = engine.live(now, app, *id) else { continue };
            let told = engine.explain(now, app, *id, None).unwrap();
            let slot = engine.find(app, *id).unwrap();
            let runs =
                matches!(engine.roster[slot].phase, crate::download::Phase::Running { stopping: None, .. });
            active += u32::from(runs);
            prop_assert_eq!(told.decision == Decision::Run, runs, "{}: {:?}", id, told);
            let is_waiting = !runs && live.status != TransferStatus::Canceled;
            prop_assert_eq!(!live.waiting.is_empty(), is_waiting, "{}: {:?}", id, live);
            if is_waiting {
                let codes: Vec<_> = live.waiting.iter().map(|reason| reason.code).collect();
                let told: Vec<_> = told.blocking.iter().map(|reason| reason.code).collect();
                prop_assert_eq!(codes, told);
            }
            if live.status == TransferStatus::Running && live.attempt.is_some() {
                prop_assert!(runs);
            }
        }
        prop_assert!(active <= caps.running_at_once);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn run_is_explained_exactly_when_it_runs(inputs in proptest::collection::vec(input(), 1..120)) {
        let world = World::with(Policy::default(), Limits { running_at_once: 4, ..Limits::default() }, online());
        let mut random = Random { world, all: Vec::new() };
        for input in &inputs {
            random.apply(input);
            random.check()?;
        }
    }
}
