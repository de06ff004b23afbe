//! Says in words what the rules answered: the view of a live operation, and `explain`.

use longhaul_contract::{
    Cause, CostPolicy, Decision, Explanation, OperationError, Reason, ReasonCode, Signal, Timestamp,
    TransferStatus, WaitingReason,
};

use crate::codes::codes_of_tasks;
use crate::cost;
use crate::download::{Outcome, Phase, Stopping};
use crate::engine::Live;
use crate::rules::{Question, Rule, Until, Verdict};

pub(crate) fn live(question: &Question<'_>) -> Live {
    let phase = &question.entry.phase;
    let mut status = phase.status();
    let is_at_work = status.is_final() || matches!(phase, Phase::Running { stopping: None, .. });
    let mut waiting = Vec::new();
    if !is_at_work {
        let mut system = None;
        for (rule, code, until) in blocking(question) {
            let detail = Words { question, rule, until }.detail(code);
            let until = until.map(|until| until.wall(question.now));
            waiting.push(WaitingReason { code, detail, until });
            system = system.or(system_status(rule));
        }
        if phase.wants_to_run() {
            status = system.unwrap_or(status);
        }
    }
    let attempt = match phase {
        Phase::Running { attempt, .. } => Some(*attempt),
        _ => None,
    };
    let is_forgotten = matches!(
        phase,
        Phase::Running { stopping: Some(Stopping::Cancel { forget: true }), .. }
            | Phase::Discarding { then: Outcome::Canceled { forget: true } }
    );
    Live { status, waiting, error: phase.failure().cloned().map(OperationError::from), attempt, is_forgotten }
}

pub(crate) fn explain(question: &Question<'_>) -> Explanation {
    let mut explanation = Explanation::of(Decision::Run);
    if question.entry.phase.status().is_final() {
        explanation.decision = Decision::Done;
    }
    for rule in Rule::ALL {
        let verdict = question.ask(rule);
        let until = match verdict {
            Verdict::Blocks { until, .. } => until,
            Verdict::Beside | Verdict::Satisfied | Verdict::Unknown => None,
        };
        let words = Words { question, rule, until };
        match verdict {
            Verdict::Beside => {}
            Verdict::Satisfied => explanation.satisfied.push(words.reason(rule.code(), words.satisfied())),
            Verdict::Unknown => explanation.unknown.push(words.reason(rule.code(), words.unknown())),
            Verdict::Blocks { code, .. } => {
                explanation.blocking.push(words.reason(code, words.detail(code)));
            }
        }
    }
    if explanation.decision == Decision::Run && !explanation.blocking.is_empty() {
        explanation.decision = Decision::Wait;
    }
    if let [only] = explanation.blocking.as_slice() {
        explanation.override_with = override_of(only.code, question);
    }
    explanation
}

fn blocking<'a>(question: &'a Question<'a>) -> impl Iterator<Item = (Rule, ReasonCode, Option<Until>)> + 'a {
    Rule::ALL.into_iter().filter_map(|rule| match question.ask(rule) {
        Verdict::Blocks { code, until } => Some((rule, code, until)),
        Verdict::Beside | Verdict::Satisfied | Verdict::Unknown => None,
    })
}

/// The status of an operation that wants to run and is held by the machine or its owner.
fn system_status(rule: Rule) -> Option<TransferStatus> {
    match rule {
        Rule::NetworkLevel => Some(TransferStatus::PausedNoNetwork),
        Rule::NetworkCost => Some(TransferStatus::PausedCostedNetwork),
        Rule::Foreground | Rule::EnergySaver | Rule::OwnRate | Rule::TotalRate => {
            Some(TransferStatus::PausedSystemPolicy)
        }
        Rule::Started
        | Rule::NotPaused
        | Rule::NoInputNeeded
        | Rule::NoBackoff
        | Rule::NoBlocker
        | Rule::NotStopping
        | Rule::NotBefore
        | Rule::GroupTurn
        | Rule::RunningAtOnce
        | Rule::RunningAtOncePerApplication
        | Rule::ConnectionsPerHost => None,
    }
}

/// Only for what is blocked by one thing, so that the command is enough.
#[expect(clippy::unnested_or_patterns, reason = "the codes of the other side have one name")]
fn override_of(code: ReasonCode, question: &Question<'_>) -> Option<String> {
    let id = question.entry.id;
    let caps = question.engine.queue.caps();
    let costs_too_much_for_all =
        question.host().network.cost.value().is_some_and(|cost| !cost::allows(CostPolicy::Always, *cost));
    match code {
        ReasonCode::NotStarted => Some(format!("longhaul start {id}")),
        ReasonCode::PausedByApplication
        | ReasonCode::Backoff
        | ReasonCode::DiskSpace
        | ReasonCode::Folder
        | ReasonCode::ReadOnly
        | ReasonCode::Portal
        | ReasonCode::Resources
        | ReasonCode::Store => Some(format!("longhaul resume {id}")),
        ReasonCode::NetworkLevel if matches!(question.entry.phase, Phase::Blocked { .. }) => {
            Some(format!("longhaul resume {id}"))
        }
        ReasonCode::NeedsInput if is_unconfirmed(&question.entry.phase) => {
            Some(format!("longhaul resume {id}"))
        }
        ReasonCode::NeedsInput => {
            Some(format!("longhaul set {id} requestedUri=NEW_URL && longhaul resume {id}"))
        }
        ReasonCode::NetworkCost if !costs_too_much_for_all => {
            Some(format!("longhaul set {id} costPolicy=Always"))
        }
        ReasonCode::EnergySaver => Some(format!("longhaul set {id} priority=High")),
        ReasonCode::ForegroundOnly => {
            let app = question.engine.apps.key(question.entry.app);
            Some(format!("longhaul app policy {app} --foreground-only false"))
        }
        ReasonCode::GroupSerialized => Some(format!("longhaul group make-current {id}")),
        ReasonCode::RateLimitZero if question.entry.rate_limit() == Some(0) => {
            Some(format!("longhaul set {id} rateLimit=none"))
        }
        ReasonCode::RateLimitZero if question.engine.limits.bytes_per_second == Some(0) => {
            Some("longhaul limits set --rate none".to_owned())
        }
        ReasonCode::RateLimitZero => Some("longhaul limits set --no-schedule".to_owned()),
        ReasonCode::RunningAtOnce => Some(format!("longhaul limits set --at-once {}", caps.total + 1)),
        ReasonCode::RunningAtOncePerApplication => {
            Some(format!("longhaul limits set --at-once-per-app {}", caps.per_application + 1))
        }
        ReasonCode::ConnectionsPerHost => {
            Some(format!("longhaul limits set --per-host {}", caps.per_origin + 1))
        }
        ReasonCode::NotBefore
        | ReasonCode::NetworkLevel
        | ReasonCode::NetworkCost
        | ReasonCode::Stopping
        | ReasonCode::Finished
        | codes_of_tasks!() => None,
    }
}

impl Rule {
    /// The code under which its verdict is told when it does not block.
    fn code(self) -> ReasonCode {
        match self {
            Self::Started => ReasonCode::NotStarted,
            Self::NotPaused => ReasonCode::PausedByApplication,
            Self::NoInputNeeded => ReasonCode::NeedsInput,
            Self::NoBackoff | Self::NoBlocker => ReasonCode::Backoff,
            Self::NotStopping => ReasonCode::Stopping,
            Self::NotBefore => ReasonCode::NotBefore,
            Self::OwnRate | Self::TotalRate => ReasonCode::RateLimitZero,
            Self::NetworkLevel => ReasonCode::NetworkLevel,
            Self::NetworkCost => ReasonCode::NetworkCost,
            Self::EnergySaver => ReasonCode::EnergySaver,
            Self::Foreground => ReasonCode::ForegroundOnly,
            Self::GroupTurn => ReasonCode::GroupSerialized,
            Self::RunningAtOnce => ReasonCode::RunningAtOnce,
            Self::RunningAtOncePerApplication => ReasonCode::RunningAtOncePerApplication,
            Self::ConnectionsPerHost => ReasonCode::ConnectionsPerHost,
        }
    }
}

/// One verdict, to be put into words.
struct Words<'a> {
    question: &'a Question<'a>,
    rule: Rule,
    until: Option<Until>,
}

impl Words<'_> {
    fn reason(&self, code: ReasonCode, detail: String) -> Reason {
        let (since, source) = self.signal();
        Reason {
            code,
            detail,
            value: self.value(),
            since,
            set_by: source.or_else(|| self.set_by()),
            ends_when: self.ends_when(code),
        }
    }

    /// What holds the operation back, in one sentence.
    #[expect(clippy::unnested_or_patterns, reason = "the codes of the other side have one name")]
    fn detail(&self, code: ReasonCode) -> String {
        let engine = self.question.engine;
        let entry = self.question.entry;
        let caps = engine.queue.caps();
        let failure = || entry.phase.failure().map_or_else(String::new, |failure| failure.detail.clone());
        let settles = if self.is_settling() { ", and has to stay that way for a while" } else { "" };
        match code {
            ReasonCode::NotStarted => "it has been created and not started".to_owned(),
            ReasonCode::PausedByApplication => "its application paused it".to_owned(),
            ReasonCode::NeedsInput if is_unconfirmed(&entry.phase) => {
                format!("its application has to say whether the request is made again: {}", failure())
            }
            ReasonCode::NeedsInput => {
                format!("its application has to renew the address, a header or a credential: {}", failure())
            }
            ReasonCode::Backoff => format!("the last attempt failed and will be repeated: {}", failure()),
            ReasonCode::DiskSpace
            | ReasonCode::Folder
            | ReasonCode::ReadOnly
            | ReasonCode::Portal
            | ReasonCode::Resources
            | ReasonCode::Store => failure(),
            ReasonCode::Stopping => "the worker of an earlier decision is still letting go".to_owned(),
            ReasonCode::NotBefore => "its application asked not to start it before a given time".to_owned(),
            ReasonCode::RateLimitZero if self.rule == Rule::OwnRate => "its rate limit is 0".to_owned(),
            ReasonCode::RateLimitZero => "the rate limit of all transfers is 0 now".to_owned(),
            ReasonCode::NetworkLevel if self.rule == Rule::NoBlocker => failure(),
            ReasonCode::NetworkLevel if self.is_settling() => format!("the network has come back{settles}"),
            ReasonCode::NetworkLevel => "there is no network".to_owned(),
            ReasonCode::NetworkCost if self.is_settling() => {
                format!("the network has become one that its cost policy allows{settles}")
            }
            ReasonCode::NetworkCost => format!(
                "the network is {}, which cost policy {} does not allow",
                self.value().unwrap_or_default(),
                entry.cost_policy
            ),
            ReasonCode::EnergySaver if self.is_settling() => format!("energy saver is off{settles}"),
            ReasonCode::EnergySaver => "energy saver is on".to_owned(),
            ReasonCode::ForegroundOnly => {
                "its application may transfer only in the foreground, and has no connection open".to_owned()
            }
            ReasonCode::GroupSerialized => "another operation of its serialized group goes first".to_owned(),
            ReasonCode::RunningAtOnce => format!("all {} slots are taken", caps.total),
            ReasonCode::RunningAtOncePerApplication => {
                format!("all {} slots of its application are taken", caps.per_application)
            }
            ReasonCode::ConnectionsPerHost => {
                let origin = &engine.origins.key(entry.origin).name;
                format!("{} operations use {origin} already", caps.per_origin)
            }
            ReasonCode::Finished | codes_of_tasks!() => "it is over".to_owned(),
        }
    }

    fn satisfied(&self) -> String {
        match self.rule {
            Rule::Started => "it has been started",
            Rule::NotPaused => "its application has not paused it",
            Rule::NoInputNeeded => "it needs nothing from its application",
            Rule::NoBackoff | Rule::NoBlocker => "no failed attempt keeps it waiting",
            Rule::NotStopping => "no worker of an earlier decision is left",
            Rule::NotBefore => "its earliest time has come",
            Rule::OwnRate => "its rate limit lets bytes pass",
            Rule::TotalRate => "the rate limit of all transfers lets bytes pass",
            Rule::NetworkLevel => "there is a network",
            Rule::NetworkCost => "its cost policy allows the network",
            Rule::EnergySaver => "energy saver does not hold it",
            Rule::Foreground => "its application need not be in the foreground, or is",
            Rule::GroupTurn => "it is its turn in its serialized group",
            Rule::RunningAtOnce => "a slot is free or its own",
            Rule::RunningAtOncePerApplication => "its application has a slot free, or it has one",
            Rule::ConnectionsPerHost => "its host may be used by one more, or it is using it",
        }
        .to_owned()
    }

    fn unknown(&self) -> String {
        let host = self.question.host();
        let reason = match self.rule {
            Rule::NetworkLevel => unknown_reason(&host.network.level),
            Rule::NetworkCost => unknown_reason(&host.network.cost),
            _ => unknown_reason(&host.energy_saver),
        };
        format!("unknown, which forbids nothing: {reason}")
    }

    fn blocks(&self) -> bool {
        matches!(self.question.ask(self.rule), Verdict::Blocks { .. })
    }

    fn is_settling(&self) -> bool {
        self.until.is_some()
            && matches!(self.rule, Rule::NetworkLevel | Rule::NetworkCost | Rule::EnergySaver)
    }

    fn value(&self) -> Option<String> {
        let engine = self.question.engine;
        let entry = self.question.entry;
        let host = self.question.host();
        match self.rule {
            Rule::NetworkLevel => host.network.level.value().map(|level| format!("{level:?}")),
            Rule::NetworkCost => host.network.cost.value().map(|value| cost::describe(*value)),
            Rule::EnergySaver => {
                host.energy_saver.value().map(|is_on| if *is_on { "on" } else { "off" }.to_owned())
            }
            Rule::NotBefore => entry.not_before().map(|time| time.to_string()),
            Rule::OwnRate => entry.rate_limit().map(|rate| rate.to_string()),
            Rule::TotalRate => engine.rates.rate_at(self.question.now.wall).map(|rate| rate.to_string()),
            Rule::NoBackoff | Rule::NoBlocker | Rule::NoInputNeeded => {
                let failure = entry.phase.failure().filter(|_| self.blocks());
                failure.map(|failure| failure.cause.word())
            }
            Rule::RunningAtOnce => Some(engine.queue.running().to_string()),
            Rule::RunningAtOncePerApplication => Some(engine.queue.running_of_app(entry.app).to_string()),
            Rule::ConnectionsPerHost => Some(engine.queue.running_of_origin(entry.origin).to_string()),
            Rule::GroupTurn => entry.group.map(|group| engine.groups.key(group).1.to_string()),
            Rule::Started | Rule::NotPaused | Rule::NotStopping | Rule::Foreground => None,
        }
    }

    fn signal(&self) -> (Option<Timestamp>, Option<String>) {
        let host = self.question.host();
        match self.rule {
            Rule::NetworkLevel => origin_of(&host.network.level),
            Rule::NetworkCost => origin_of(&host.network.cost),
            Rule::EnergySaver => origin_of(&host.energy_saver),
            Rule::Started | Rule::NotPaused | Rule::NoInputNeeded | Rule::NoBackoff | Rule::NoBlocker => {
                (Some(self.question.entry.since), None)
            }
            _ => (None, None),
        }
    }

    fn set_by(&self) -> Option<String> {
        let word = match self.rule {
            Rule::Started | Rule::NotPaused | Rule::NotBefore | Rule::OwnRate => "application",
            Rule::NoInputNeeded | Rule::NoBackoff => "server",
            Rule::TotalRate
            | Rule::RunningAtOnce
            | Rule::RunningAtOncePerApplication
            | Rule::ConnectionsPerHost => "limits",
            Rule::GroupTurn => "group",
            Rule::Foreground => "owner",
            Rule::NoBlocker
            | Rule::NotStopping
            | Rule::NetworkLevel
            | Rule::NetworkCost
            | Rule::EnergySaver => return None,
        };
        Some(word.to_owned())
    }

    #[expect(clippy::unnested_or_patterns, reason = "the codes of the other side have one name")]
    fn ends_when(&self, code: ReasonCode) -> Option<String> {
        if let Some(until) = self.until {
            return Some(until.wall(self.question.now).to_string());
        }
        if !self.blocks() {
            return None;
        }
        let text = match code {
            ReasonCode::NotStarted => "it is started",
            ReasonCode::PausedByApplication => "its application resumes it",
            ReasonCode::NeedsInput => "its application renews what failed and resumes it",
            ReasonCode::RateLimitZero => "the rate limit is changed",
            ReasonCode::NetworkLevel => "there is a network",
            ReasonCode::NetworkCost => "the network or the cost policy changes",
            ReasonCode::EnergySaver => "energy saver is turned off",
            ReasonCode::ForegroundOnly => {
                "its application opens the event stream, or the owner lifts the rule"
            }
            ReasonCode::GroupSerialized => "the members before it end or wait",
            ReasonCode::RunningAtOnce
            | ReasonCode::RunningAtOncePerApplication
            | ReasonCode::ConnectionsPerHost => "a running operation ends or waits",
            ReasonCode::Stopping => "the worker has let go",
            ReasonCode::NotBefore
            | ReasonCode::Backoff
            | ReasonCode::DiskSpace
            | ReasonCode::Folder
            | ReasonCode::ReadOnly
            | ReasonCode::Portal
            | ReasonCode::Resources
            | ReasonCode::Store
            | ReasonCode::Finished
            | codes_of_tasks!() => return None,
        };
        Some(text.to_owned())
    }
}

/// A request may have been carried out, and no answer came.
fn is_unconfirmed(phase: &Phase) -> bool {
    phase.failure().is_some_and(|failure| failure.cause == Cause::Unconfirmed)
}

fn origin_of<T>(signal: &Signal<T>) -> (Option<Timestamp>, Option<String>) {
    match signal {
        Signal::Known { since, source, .. } => (Some(*since), Some(source.clone())),
        Signal::Unknown { .. } => (None, None),
    }
}

fn unknown_reason<T>(signal: &Signal<T>) -> &str {
    match signal {
        Signal::Unknown { reason } => reason,
        Signal::Known { .. } => "",
    }
}
