//! One engine with its clock, and short words for what tests do to it.

use std::sync::{Arc, LazyLock};

use longhaul_contract::{
    AppId, Blocker, Cause, CostPolicy, CreateDownload, Failure, GroupName, HostState, Limits, Network,
    NetworkCost, NetworkLevel, OperationId, OperationKind, Priority, ReasonCode, Receipt, Remedy, Signal,
    Spec, Timestamp, TransferBehavior, TransferStatus, WebErrorStatus,
};

use crate::{
    AttemptEnd, BootTime, Change, Command, Effect, Engine, Fact, Finished, Live, Marks, NewOperation, Now,
    Origin, Plan, Policy, Refusal, Row, StopMode, StoredPhase, Wish,
};

pub(crate) const SECOND: u64 = 1_000;

pub(crate) struct World {
    pub(crate) engine: Engine,
    pub(crate) now: Now,
    pub(crate) next: u64,
}

pub(crate) fn app(name: &str) -> AppId {
    AppId::new(&format!("org.example.{name}")).unwrap()
}

pub(crate) fn group(name: &str) -> GroupName {
    GroupName::new(name).unwrap()
}

pub(crate) fn known<T>(value: T) -> Signal<T> {
    Signal::Known { value, since: Timestamp(0), source: "test".to_owned() }
}

pub(crate) fn online() -> HostState {
    HostState {
        network: Network { level: known(NetworkLevel::Internet), cost: known(NetworkCost::default()) },
        energy_saver: known(false),
        ..HostState::unmeasured()
    }
}

pub(crate) fn offline() -> HostState {
    let mut host = online();
    host.network.level = known(NetworkLevel::None);
    host
}

pub(crate) fn metered() -> HostState {
    let mut host = online();
    host.network.cost = known(NetworkCost { is_metered: true, ..NetworkCost::default() });
    host
}

pub(crate) fn failure(remedy: Remedy, status: WebErrorStatus) -> Failure {
    let http = status.number();
    Failure {
        remedy,
        cause: if http >= 300 { Cause::HttpStatus } else { Cause::ConnectionReset },
        web_error_status: status,
        http_status: (http >= 300).then_some(http),
        detail: "the test made it fail".to_owned(),
        retry_after_seconds: None,
    }
}

pub(crate) fn transient() -> Failure {
    failure(Remedy::Transient, WebErrorStatus::ConnectionReset)
}

pub(crate) fn disk_full() -> Failure {
    failure(Remedy::Blocked { on: Blocker::DiskSpace }, WebErrorStatus::Unknown)
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(Policy::default(), Limits::default(), online())
    }

    pub(crate) fn with_limits(limits: Limits) -> Self {
        Self::with(Policy::default(), limits, online())
    }

    pub(crate) fn with(policy: Policy, limits: Limits, host: HostState) -> Self {
        let mut world = Self {
            engine: Engine::new(policy, limits, host),
            now: Now { wall: Timestamp(1_700_000_000_000_000), boot: BootTime(1_000_000) },
            next: 0,
        };
        world.engine.begin(world.now);
        world
    }

    /// The engine a restart makes of what was kept.
    pub(crate) fn restarted(&self, rows: Vec<Row>) -> Self {
        let mut engine = Engine::new(Policy::default(), self.engine.limits(), self.engine.host());
        for row in rows {
            engine.adopt(row);
        }
        engine.begin(self.now);
        Self { engine, now: self.now, next: self.next + 1_000_000 }
    }

    pub(crate) fn pass(&mut self, milliseconds: u64) -> Plan {
        self.now.boot = self.now.boot.plus_millis(milliseconds);
        self.now.wall = Timestamp(self.now.wall.micros() + i64::try_from(milliseconds).unwrap() * 1_000);
        self.engine.wake(self.now)
    }

    /// Goes to each instant the engine asks for until `milliseconds` have passed; answers all that was planned.
    pub(crate) fn live_through(&mut self, milliseconds: u64) -> Plan {
        let end = self.now.boot.plus_millis(milliseconds);
        let mut plans = Plan::default();
        loop {
            let wake = self.engine.next_wake();
            let by_wall = wake.wall.map(|wall| {
                BootTime(self.now.boot.0 + u64::try_from(wall.micros() - self.now.wall.micros()).unwrap_or(0))
            });
            match wake.boot.into_iter().chain(by_wall).min() {
                Some(next) if next <= end => {
                    let ahead = next.0.saturating_sub(self.now.boot.0).max(1).div_ceil(1_000);
                    plans.merge(self.pass(ahead));
                }
                _ => {
                    plans.merge(self.pass((end.0.saturating_sub(self.now.boot.0)) / 1_000));
                    return plans;
                }
            }
        }
    }

    pub(crate) fn operation(&mut self, name: &str) -> NewOperation {
        self.next += 1;
        let id =
            OperationId::from_parts(self.next, &self.next.to_be_bytes().repeat(2)[..10].try_into().unwrap());
        let host = format!("https://{name}:443");
        NewOperation {
            id,
            kind: OperationKind::Download,
            app: app("App"),
            group: None,
            origin: Origin { name: host.as_str().into(), is_local: false },
            target: None,
            priority: Priority::Default,
            cost_policy: CostPolicy::Default,
            rate_limit: None,
            not_before: None,
            recoverable: Arc::from([]),
            completion_group: None,
            marks: Marks::default(),
            start: true,
            spec: spec(),
        }
    }

    pub(crate) fn create(&mut self, operation: NewOperation) -> (OperationId, Plan) {
        let id = operation.id;
        let plan = self.engine.command(self.now, Wish::Create(vec![operation])).unwrap();
        (id, plan)
    }

    /// A started download of its own origin.
    pub(crate) fn download(&mut self) -> OperationId {
        let name = format!("host{}", self.next);
        let operation = self.operation(&name);
        self.create(operation).0
    }

    pub(crate) fn member(&mut self, name: &str, priority: Priority) -> OperationId {
        let host = format!("host{}", self.next);
        let operation = NewOperation { group: Some(group(name)), priority, ..self.operation(&host) };
        self.create(operation).0
    }

    pub(crate) fn command(&mut self, id: OperationId, command: Command) -> Result<Plan, Refusal> {
        self.engine.command(self.now, Wish::Command { app: app("App"), id, command })
    }

    pub(crate) fn put_group(&mut self, name: &str, behavior: TransferBehavior) -> Plan {
        let wish = Wish::PutGroup { app: app("App"), name: group(name), behavior };
        self.engine.command(self.now, wish).unwrap()
    }

    pub(crate) fn put_limits(&mut self, limits: Limits) -> Plan {
        self.engine.command(self.now, Wish::PutLimits(limits)).unwrap()
    }

    pub(crate) fn host(&mut self, host: HostState) -> Plan {
        self.engine.observe(self.now, Fact::Host(Box::new(host)))
    }

    pub(crate) fn attempt(&self, id: OperationId) -> u32 {
        self.live(id).attempt.expect("it runs")
    }

    pub(crate) fn end(&mut self, id: OperationId, end: AttemptEnd) -> Plan {
        let attempt = self.attempt(id);
        self.engine.observe(self.now, Fact::Ended { id, attempt, end })
    }

    pub(crate) fn finish(&mut self, id: OperationId) -> Plan {
        self.end(id, finished())
    }

    pub(crate) fn fail(&mut self, id: OperationId, failure: Failure, has_progressed: bool) -> Plan {
        self.end(id, AttemptEnd::Failed { failure, has_progressed, response: None })
    }

    pub(crate) fn stopped(&mut self, id: OperationId) -> Plan {
        self.end(id, AttemptEnd::Stopped)
    }

    pub(crate) fn discarded(&mut self, id: OperationId) -> Plan {
        self.engine.observe(self.now, Fact::Discarded { id })
    }

    pub(crate) fn progress(&mut self, id: OperationId) -> Plan {
        let attempt = self.attempt(id);
        self.engine.observe(self.now, Fact::Progressed { id, attempt })
    }

    pub(crate) fn try_live(&self, id: OperationId) -> Option<Live> {
        self.engine.live(self.now, &app("App"), id)
    }

    pub(crate) fn live(&self, id: OperationId) -> Live {
        self.try_live(id).expect("the engine holds it")
    }

    pub(crate) fn status(&self, id: OperationId) -> TransferStatus {
        self.live(id).status
    }

    pub(crate) fn is_running(&self, id: OperationId) -> bool {
        self.try_live(id).is_some_and(|live| live.status == TransferStatus::Running && live.attempt.is_some())
    }

    pub(crate) fn waits_for(&self, id: OperationId) -> Vec<ReasonCode> {
        self.live(id).waiting.into_iter().map(|reason| reason.code).collect()
    }
}

pub(crate) fn finished() -> AttemptEnd {
    AttemptEnd::Finished(Box::new(Finished { receipt: Receipt::default(), response: None }))
}

fn spec() -> Spec {
    static SPEC: LazyLock<Spec> =
        LazyLock::new(|| CreateDownload::new("https://host/file", "/folder/file").into());
    SPEC.clone()
}

pub(crate) fn started(plan: &Plan) -> Vec<OperationId> {
    plan.effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::EnsureRunning { id, .. } => Some(*id),
            _ => None,
        })
        .collect()
}

pub(crate) fn stops(plan: &Plan) -> Vec<(OperationId, StopMode)> {
    plan.effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::EnsureStopped { id, mode, .. } => Some((*id, *mode)),
            _ => None,
        })
        .collect()
}

pub(crate) fn discards(plan: &Plan) -> Vec<OperationId> {
    plan.effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::EnsureDiscarded { id } => Some(*id),
            _ => None,
        })
        .collect()
}

/// The newest row of an operation that the plan asks to keep.
pub(crate) fn kept(plan: &Plan, id: OperationId) -> Option<Row> {
    plan.changes.iter().rev().find_map(|change| match change {
        Change::Created { row, .. } | Change::Updated { row } | Change::Ended { row, .. } if row.id == id => {
            Some(row.clone())
        }
        _ => None,
    })
}

pub(crate) fn ended(plan: &Plan) -> Vec<(OperationId, StoredPhase)> {
    plan.changes
        .iter()
        .filter_map(|change| match change {
            Change::Ended { row, .. } => Some((row.id, row.phase.clone())),
            _ => None,
        })
        .collect()
}

pub(crate) fn waited(plan: &Plan) -> Vec<(OperationId, ReasonCode, i64)> {
    plan.changes
        .iter()
        .filter_map(|change| match change {
            Change::Waited { id, code, from, to } => Some((*id, *code, to.seconds_since(*from))),
            _ => None,
        })
        .collect()
}
