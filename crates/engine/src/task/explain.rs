//! Says in words what the rules of tasks answered: why a firing waits, and `explain`.

use longhaul_contract::{
    AccessStatus, Condition, Decision, Explanation, Reason, ReasonCode, Timestamp, WaitingReason,
};

use super::condition::{self, Seen, met, unmet};
use super::row::TaskTrigger;
use super::rules::{TaskQuestion, TaskRule, TaskVerdict};
use crate::codes::codes_of_transfers;
use crate::rules::Until;

/// The codes of conditions that only a condition has.
macro_rules! conditions {
    () => {
        ReasonCode::UserPresent
            | ReasonCode::UserNotPresent
            | ReasonCode::InternetAvailable
            | ReasonCode::InternetNotAvailable
            | ReasonCode::SessionConnected
            | ReasonCode::SessionDisconnected
            | ReasonCode::FreeNetworkAvailable
            | ReasonCode::BackgroundWorkCostNotHigh
            | ReasonCode::BatteryPower
    };
}

/// Why a firing that is kept does not start, or why none can come.
pub(crate) fn waiting(question: &TaskQuestion<'_>) -> Vec<WaitingReason> {
    let has_fired = question.latch().is_some();
    if !has_fired && question.task.row.state.running.is_some() {
        return Vec::new();
    }
    blocking(question)
        .filter(|(_, code, _)| has_fired || keeps_from_firing(*code))
        .map(|(rule, code, until)| WaitingReason {
            code,
            detail: Words { question, rule, until }.detail(code),
            until: until.map(|until| until.wall(question.now)),
        })
        .collect()
}

pub(crate) fn explain(question: &TaskQuestion<'_>) -> Explanation {
    let is_waiting = question.latch().is_some();
    let is_running = question.task.row.state.running.is_some();
    let mut explanation = Explanation::of(Decision::Run);
    for rule in TaskRule::all() {
        let verdict = question.ask(rule);
        let until = match verdict {
            TaskVerdict::Blocks { until, .. } => until,
            TaskVerdict::Beside | TaskVerdict::Satisfied | TaskVerdict::Unknown => None,
        };
        let words = Words { question, rule, until };
        match verdict {
            TaskVerdict::Beside => {}
            TaskVerdict::Satisfied => {
                explanation.satisfied.push(words.reason(rule.code(), words.satisfied()));
            }
            TaskVerdict::Unknown => {
                explanation.unknown.push(words.reason(rule.code(), words.unknown()));
            }
            // It runs, and nothing waits: what would hold back a next firing is not what is asked.
            TaskVerdict::Blocks { .. } if is_running && !is_waiting => {}
            TaskVerdict::Blocks { code, .. } => {
                explanation.blocking.push(words.reason(code, words.detail(code)));
            }
        }
    }
    let is_consumed = explanation.blocking.iter().any(|reason| reason.code == ReasonCode::Consumed);
    explanation.decision = if is_consumed {
        Decision::Done
    } else if explanation.blocking.is_empty() {
        Decision::Run
    } else {
        Decision::Wait
    };
    explanation.override_with = override_of(question, &explanation.blocking);
    explanation
}

fn blocking<'a>(
    question: &'a TaskQuestion<'a>,
) -> impl Iterator<Item = (TaskRule, ReasonCode, Option<Until>)> + 'a {
    TaskRule::all().filter_map(|rule| match question.ask(rule) {
        TaskVerdict::Blocks { code, until } => Some((rule, code, until)),
        TaskVerdict::Beside | TaskVerdict::Satisfied | TaskVerdict::Unknown => None,
    })
}

/// Whether it keeps firings from coming or from ever starting, even while there is none.
fn keeps_from_firing(code: ReasonCode) -> bool {
    matches!(
        code,
        ReasonCode::Consumed
            | ReasonCode::Quarantined
            | ReasonCode::AccessUnspecified
            | ReasonCode::AccessDenied
            | ReasonCode::ClockUntrusted
    )
}

/// A run by hand passes over most rules; of the others, only the owner's word can be changed by a command.
fn override_of(question: &TaskQuestion<'_>, blocking: &[Reason]) -> Option<String> {
    let row = &question.task.row;
    if blocking.is_empty() {
        return None;
    }
    if question.policy_denies().is_some() {
        // Nothing that the owner of the service could say counts.
        return None;
    }
    if question.access() == AccessStatus::DeniedByUser
        || question.access() == AccessStatus::DeniedBySystemPolicy
    {
        return Some(format!("longhaul access grant {}", row.app));
    }
    let is_passed_over = |reason: &Reason| {
        !matches!(
            reason.code,
            ReasonCode::ProgramNotConnected
                | ReasonCode::InstanceRunning
                | ReasonCode::TasksAtOnce
                | ReasonCode::TasksAtOncePerApplication
                | ReasonCode::ServiceStopping
        )
    };
    blocking.iter().all(is_passed_over).then(|| format!("longhaul task run {}", quoted(row.name.as_str())))
}

/// A name as a shell takes it for one word.
fn quoted(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | ':' | '@');
    if name.chars().all(is_plain) { name.to_owned() } else { format!("'{}'", name.replace('\'', r"'\''")) }
}

impl TaskRule {
    /// The code under which its verdict is told when it does not block.
    fn code(self) -> ReasonCode {
        match self {
            Self::Fired => ReasonCode::NotFired,
            Self::NotQuarantined => ReasonCode::Quarantined,
            Self::Access => ReasonCode::AccessUnspecified,
            Self::Program => ReasonCode::ProgramNotConnected,
            Self::NotRunning => ReasonCode::InstanceRunning,
            Self::Condition(condition) => condition::code(condition),
            Self::ExternalPower => ReasonCode::ExternalPower,
            Self::EnergySaver => ReasonCode::EnergySaver,
            Self::NotStopping => ReasonCode::ServiceStopping,
            Self::RetryDelay => ReasonCode::RetryDelay,
            Self::NotFlapping => ReasonCode::Flapping,
            Self::AtOnce => ReasonCode::TasksAtOnce,
            Self::AtOncePerApplication => ReasonCode::TasksAtOncePerApplication,
        }
    }
}

/// One verdict, to be put into words.
struct Words<'a> {
    question: &'a TaskQuestion<'a>,
    rule: TaskRule,
    until: Option<Until>,
}

impl Words<'_> {
    fn reason(&self, code: ReasonCode, detail: String) -> Reason {
        let seen = self.seen();
        let (signal_since, source) =
            seen.as_ref().map_or((None, None), |seen| (seen.since, seen.source.clone()));
        Reason {
            code,
            detail,
            value: seen.and_then(|seen| seen.value).or_else(|| self.value()),
            since: signal_since.or_else(|| self.since()),
            set_by: source.or_else(|| self.set_by().map(str::to_owned)),
            ends_when: self.ends_when(code),
        }
    }

    /// The signal of the machine that the rule looks at.
    fn seen(&self) -> Option<Seen> {
        let host = self.question.host();
        match self.rule {
            TaskRule::Condition(condition) => Some(condition::seen(condition, host)),
            TaskRule::ExternalPower => Some(Seen::of(&host.power, condition::describe_power)),
            TaskRule::EnergySaver => {
                Some(Seen::of(&host.energy_saver, |is_on| if *is_on { "on" } else { "off" }.to_owned()))
            }
            _ => None,
        }
    }

    fn detail(&self, code: ReasonCode) -> String {
        let row = &self.question.task.row;
        let policy = &self.question.engine.policy.tasks;
        let unseen = self.seen().and_then(|seen| seen.unknown);
        let text = match code {
            ReasonCode::NotFired => return self.not_fired(),
            ReasonCode::Consumed => "it was to run once, and has been started",
            ReasonCode::ClockUntrusted => "the clock has not been set since the machine started, as it seems",
            ReasonCode::Quarantined => {
                let last = row.state.last.as_ref().map_or("", |last| &*last.result);
                return format!(
                    "it took its host down {} times in a row, the last time with {last}",
                    policy.crashes_max
                );
            }
            ReasonCode::AccessUnspecified => "its application has not asked for background access",
            ReasonCode::AccessDenied => {
                let access = format!("background access of {} is {}", row.app, self.question.access());
                return match self.question.policy_denies() {
                    Some(source) => format!("{access} by {source}"),
                    None => access,
                };
            }
            ReasonCode::ProgramNotConnected => {
                let class = row.plan.in_process.as_deref().unwrap_or_default();
                return format!("no connected program serves {class}");
            }
            ReasonCode::InstanceRunning => "an instance of it is running; this firing is kept for afterwards",
            ReasonCode::ExternalPower => "the machine runs on its battery",
            ReasonCode::EnergySaver => "energy saver is on, and its application is not always allowed",
            ReasonCode::ServiceStopping => "the service is stopping",
            ReasonCode::RetryDelay => "its last run failed and is repeated later",
            ReasonCode::Flapping => "it was started a moment ago, and its event came again",
            ReasonCode::TasksAtOnce => {
                return format!("{} tasks are running, as many as may", policy.at_once);
            }
            ReasonCode::TasksAtOncePerApplication => {
                return format!(
                    "{} tasks of {} are running, as many as may",
                    policy.at_once_per_application, row.app
                );
            }
            conditions!() => match self.rule {
                TaskRule::Condition(condition) => unmet(condition),
                _ => "it is held back",
            },
            codes_of_transfers!() => "it is held back",
        };
        match unseen {
            Some(reason) => format!("it is not known that {}: {reason}", self.wanted()),
            None => text.to_owned(),
        }
    }

    fn not_fired(&self) -> String {
        let what = match &self.question.task.row.plan.trigger {
            TaskTrigger::System { event, .. } => format!("{event} has not come"),
            TaskTrigger::Every { minutes, .. } => format!("{minutes} minutes are not over"),
            TaskTrigger::Calendar { schedule, .. } => format!("it is not the time of {schedule:?}"),
            TaskTrigger::Requested { .. } => "its application has not requested it".to_owned(),
            TaskTrigger::Completion { group } => self.question.engine.completion.missing(*group),
            TaskTrigger::Sourced { kind } => format!("nothing has come that fires {kind}"),
        };
        format!("its trigger has not fired: {what}")
    }

    fn satisfied(&self) -> String {
        match self.rule {
            TaskRule::Fired => match self.question.latch().and_then(|latch| latch.expires) {
                Some(time) => format!("its trigger has fired; its message is kept until {time}"),
                None => "its trigger has fired".to_owned(),
            },
            TaskRule::NotQuarantined => "it has not taken its host down too often".to_owned(),
            TaskRule::Access => "its application may run in the background".to_owned(),
            TaskRule::Program => "a connected program serves its entry point".to_owned(),
            TaskRule::NotRunning => "no instance of it is running".to_owned(),
            TaskRule::Condition(_) | TaskRule::ExternalPower | TaskRule::EnergySaver => {
                self.wanted().to_owned()
            }
            TaskRule::NotStopping | TaskRule::RetryDelay | TaskRule::NotFlapping => {
                "nothing delays it".to_owned()
            }
            TaskRule::AtOnce | TaskRule::AtOncePerApplication => "one task more may run".to_owned(),
        }
    }

    fn unknown(&self) -> String {
        let reason = self.seen().and_then(|seen| seen.unknown).unwrap_or_default();
        format!("unknown, and taken for granted that {}: {reason}", self.wanted())
    }

    /// What the rule asks of the machine.
    fn wanted(&self) -> &'static str {
        match self.rule {
            TaskRule::Condition(condition) => met(condition),
            TaskRule::ExternalPower => met(Condition::ExternalPower),
            _ => "energy saver is off",
        }
    }

    fn value(&self) -> Option<String> {
        let question = self.question;
        let row = &question.task.row;
        match self.rule {
            TaskRule::Access => Some(question.access().to_string()),
            TaskRule::NotQuarantined => Some(row.state.host_crashes.to_string()),
            TaskRule::AtOnce => Some(question.engine.tasks.queue.running().to_string()),
            TaskRule::AtOncePerApplication => {
                Some(question.engine.tasks.queue.running_of(&row.app).to_string())
            }
            TaskRule::NotRunning => row.state.running.as_ref().map(|running| running.id.to_string()),
            TaskRule::RetryDelay => question.latch().map(|latch| latch.attempt.to_string()),
            TaskRule::Program => row.plan.in_process.as_deref().map(str::to_owned),
            _ => None,
        }
    }

    fn since(&self) -> Option<Timestamp> {
        let state = &self.question.task.row.state;
        match self.rule {
            TaskRule::Fired => Some(state.latch.as_ref().map_or(state.anchor, |latch| latch.fired)),
            TaskRule::NotRunning => state.running.as_ref().map(|running| running.started),
            TaskRule::NotQuarantined | TaskRule::RetryDelay => state.last.as_ref().map(|last| last.ended),
            _ => None,
        }
    }

    fn set_by(&self) -> Option<&'static str> {
        match self.rule {
            TaskRule::Fired => Some("trigger"),
            TaskRule::Access if self.question.access() == AccessStatus::DeniedByUser => Some("owner"),
            TaskRule::Access if self.question.access() == AccessStatus::DeniedBySystemPolicy => {
                Some("policy")
            }
            TaskRule::Access | TaskRule::Program => Some("application"),
            TaskRule::AtOnce | TaskRule::AtOncePerApplication => Some("limits"),
            _ => None,
        }
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
            ReasonCode::NotFired => "its trigger fires",
            ReasonCode::Quarantined => "it is registered again, or run by hand and succeeds",
            ReasonCode::AccessUnspecified => "its application asks for access",
            ReasonCode::AccessDenied if self.question.policy_denies().is_some() => "the policy lets it",
            ReasonCode::AccessDenied => "the owner grants access",
            ReasonCode::ProgramNotConnected => "a program connects that serves it",
            ReasonCode::InstanceRunning => "the instance ends",
            ReasonCode::TasksAtOnce | ReasonCode::TasksAtOncePerApplication => "another task ends",
            ReasonCode::ClockUntrusted => "the clock is set",
            ReasonCode::ServiceStopping => "the service starts again",
            ReasonCode::Consumed | codes_of_transfers!() => return None,
            ReasonCode::ExternalPower | ReasonCode::EnergySaver | conditions!() => self.wanted(),
            ReasonCode::RetryDelay | ReasonCode::Flapping => "its delay is over",
        };
        Some(text.to_owned())
    }

    fn blocks(&self) -> bool {
        matches!(self.question.ask(self.rule), TaskVerdict::Blocks { .. })
    }
}
