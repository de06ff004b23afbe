//! The reference model: what callers have been promised, and what the rules forbid. Plain lists and tables,
//! written from the documentation and not from the engine.

use std::collections::BTreeMap;

use longhaul_contract::{AppId, CompletionGroupId, GroupName, OperationId};
use longhaul_engine::StoredPhase;

use crate::event::{Command, Cost, Level, Machine, NewLimits};
use crate::sets::CompletionSet;
use crate::violation::{Invariant, Violation, ensure};

/// Retries without progress before a connected operation fails.
const RETRIES: u32 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    Idle,
    Started,
    Paused,
    NeedsInput,
    Canceling,
    Forgetting,
    Completed,
    Canceled,
    Error,
}

impl Want {
    pub(crate) fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Canceled | Self::Error)
    }

    pub(crate) fn is_over(self) -> bool {
        self.is_final() || matches!(self, Self::Canceling | Self::Forgetting)
    }

    fn matches(self, phase: &StoredPhase) -> bool {
        match phase {
            StoredPhase::Idle => self == Self::Idle,
            StoredPhase::Started => self == Self::Started,
            StoredPhase::PausedByApplication => self == Self::Paused,
            StoredPhase::NeedsInput { .. } => self == Self::NeedsInput,
            StoredPhase::Canceling { forget: false } => self == Self::Canceling,
            StoredPhase::Canceling { forget: true } => self == Self::Forgetting,
            StoredPhase::Completed => self == Self::Completed,
            StoredPhase::Canceled => self == Self::Canceled,
            StoredPhase::Error { .. } => self == Self::Error,
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Operation {
    pub(crate) app: AppId,
    pub(crate) group: Option<GroupName>,
    /// Host 0 is this machine.
    pub(crate) host: u8,
    pub(crate) priority: u8,
    pub(crate) cost_policy: u8,
    pub(crate) rate: Option<u64>,
    /// Seconds since the epoch.
    pub(crate) not_before: Option<i64>,
    pub(crate) is_recoverable: bool,
    pub(crate) size: u64,
    pub(crate) is_upload: bool,
    pub(crate) want: Want,
    /// Failures in a row without progress; unknown after a crash, which may lose the newest counts.
    pub(crate) fruitless: Option<u32>,
    pub(crate) stale: u32,
    pub(crate) has_bytes: Option<bool>,
    /// Its failure is decided and the part file not gone yet.
    pub(crate) is_failing: bool,
    pub(crate) set: Option<CompletionGroupId>,
}

/// What a worker reported, and so what may follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Report {
    Finished,
    Stopped,
    Transient,
    NeedsInput {
        is_not_found: bool,
    },
    /// An upload got no answer and must not be made again without its caller's word.
    Unconfirmed,
    Stale,
    Permanent,
    Blocked,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Model {
    pub(crate) operations: BTreeMap<OperationId, Operation>,
    /// Members that are not final, in their order.
    pub(crate) groups: BTreeMap<(AppId, GroupName), Vec<OperationId>>,
    pub(crate) serialized: BTreeMap<(AppId, GroupName), bool>,
    pub(crate) limits: Option<NewLimits>,
    pub(crate) sets: BTreeMap<CompletionGroupId, CompletionSet>,
}

/// Circumstances of a decision that belong to nobody's promise.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Circumstances {
    pub(crate) machine: Machine,
    /// Seconds since the epoch.
    pub(crate) seconds: i64,
}

impl Model {
    pub(crate) fn live(&self) -> impl Iterator<Item = (OperationId, &Operation)> {
        self.operations.iter().map(|(id, operation)| (*id, operation)).filter(|(_, o)| !o.want.is_final())
    }

    pub(crate) fn create(&mut self, id: OperationId, operation: Operation) {
        if let Some(group) = &operation.group {
            self.groups.entry((operation.app.clone(), group.clone())).or_default().push(id);
        }
        self.operations.insert(id, operation);
    }

    pub(crate) fn remove(&mut self, id: OperationId) {
        self.leave_group(id);
        self.operations.remove(&id);
    }

    fn leave_group(&mut self, id: OperationId) {
        let Some(operation) = self.operations.get(&id) else { return };
        if let Some(group) = &operation.group {
            let key = (operation.app.clone(), group.clone());
            if let Some(members) = self.groups.get_mut(&key) {
                members.retain(|member| *member != id);
            }
        }
    }

    /// Follows a command that was answered, and judges the answer.
    pub(crate) fn command(
        &mut self,
        id: OperationId,
        command: Command,
        is_accepted: bool,
    ) -> Result<(), Violation> {
        let Some(operation) = self.operations.get(&id) else { return Ok(()) };
        let want = operation.want;
        let expected = expected_answer(operation, command);
        ensure(expected.is_none_or(|expected| expected == is_accepted), Invariant::Commands, || {
            let word = if is_accepted { "accepted" } else { "refused" };
            format!("{command:?} of {id} was {word} although its caller wants {want:?}")
        })?;
        if is_accepted {
            self.apply(id, command);
        }
        Ok(())
    }

    fn apply(&mut self, id: OperationId, command: Command) {
        let operation = self.operations.get_mut(&id).expect("looked up by the caller");
        let want = operation.want;
        match command {
            Command::Start if want == Want::Idle => operation.want = Want::Started,
            Command::Pause => operation.want = Want::Paused,
            Command::Resume => {
                if want == Want::NeedsInput {
                    operation.fruitless = Some(0);
                    operation.stale = 0;
                }
                operation.want = Want::Started;
            }
            Command::Cancel if !want.is_over() => {
                operation.want = Want::Canceling;
                operation.is_failing = false;
            }
            Command::Remove if want.is_final() => self.remove(id),
            Command::Remove => {
                operation.want = Want::Forgetting;
                operation.is_failing = false;
            }
            Command::MakeCurrent => self.rotate(id),
            Command::Priority(priority) => operation.priority = priority,
            Command::CostPolicy(policy) => operation.cost_policy = policy,
            Command::Rate(rate) => operation.rate = rate,
            Command::Renew { host } => {
                operation.host = host;
                operation.fruitless = Some(0);
                operation.stale = 0;
            }
            Command::Start | Command::Cancel | Command::Consume => {}
        }
    }

    fn rotate(&mut self, id: OperationId) {
        let operation = &self.operations[&id];
        let Some(group) = operation.group.clone() else { return };
        let members = self.groups.entry((operation.app.clone(), group)).or_default();
        if let Some(position) = members.iter().position(|member| *member == id) {
            members.rotate_left(position);
        }
    }

    /// Counts what a worker met. `is_counted` is whether the operation was connected and wanted.
    pub(crate) fn reported(
        &mut self,
        id: OperationId,
        report: Report,
        has_progressed: bool,
        is_counted: bool,
    ) {
        if has_progressed {
            self.progressed(id);
        }
        let Some(operation) = self.operations.get_mut(&id) else { return };
        let counts = match report {
            Report::Finished
            | Report::Stopped
            | Report::Permanent
            | Report::Blocked
            | Report::Unconfirmed => false,
            Report::Transient => !has_progressed && is_counted,
            Report::NeedsInput { is_not_found } => is_not_found,
            Report::Stale => {
                operation.stale += 1;
                operation.has_bytes = Some(false);
                true
            }
        };
        if counts {
            operation.fruitless = operation.fruitless.map(|count| count + 1);
        }
    }

    pub(crate) fn progressed(&mut self, id: OperationId) {
        if let Some(operation) = self.operations.get_mut(&id) {
            operation.fruitless = Some(0);
            operation.has_bytes = Some(true);
        }
    }

    /// Judges what the engine made of an operation, and follows it.
    pub(crate) fn outcome(
        &mut self,
        id: OperationId,
        phase: &StoredPhase,
        report: Option<Report>,
    ) -> Result<(), Violation> {
        let Some(operation) = self.operations.get_mut(&id) else {
            return Err(Violation::new(
                Invariant::JustOutcome,
                format!("{id} is {phase:?} and does not exist"),
            ));
        };
        ensure(!operation.want.is_final(), Invariant::FinalIsFinal, || {
            format!("{id} was {:?} and is now {phase:?}", operation.want)
        })?;
        let is_just = match phase {
            StoredPhase::Completed => report == Some(Report::Finished) && !operation.want.is_over(),
            StoredPhase::Canceled => operation.want == Want::Canceling,
            StoredPhase::NeedsInput { .. } => {
                let is_new = operation.want == Want::Started;
                operation.want == Want::NeedsInput
                    || (is_new && report.is_some_and(|report| may_need_input(operation, report)))
            }
            StoredPhase::Error { .. } => operation.is_failing,
            same => operation.want.matches(same),
        };
        ensure(is_just, Invariant::JustOutcome, || {
            format!("{id} became {phase:?} after {report:?}; it was {operation:?}")
        })?;
        operation.want = match phase {
            StoredPhase::Completed => Want::Completed,
            StoredPhase::Canceled => Want::Canceled,
            StoredPhase::Error { .. } => Want::Error,
            StoredPhase::NeedsInput { .. } => Want::NeedsInput,
            _ => return Ok(()),
        };
        if operation.want.is_final() {
            operation.is_failing = false;
            self.leave_group(id);
        }
        Ok(())
    }

    /// The engine gives an operation up: is there reason to?
    pub(crate) fn giving_up(&mut self, id: OperationId, report: Option<Report>) -> Result<(), Violation> {
        let Some(operation) = self.operations.get_mut(&id) else { return Ok(()) };
        if operation.want != Want::Started {
            return Ok(());
        }
        let is_just = match report {
            Some(Report::Permanent) => true,
            Some(Report::NeedsInput { .. }) => operation.has_bytes != Some(true),
            Some(Report::Transient) => operation.fruitless.is_none_or(|count| count > RETRIES),
            Some(Report::Stale) => {
                operation.stale > RETRIES || operation.fruitless.is_none_or(|count| count > RETRIES)
            }
            Some(Report::Finished | Report::Stopped | Report::Blocked | Report::Unconfirmed) | None => false,
        };
        operation.is_failing = true;
        ensure(is_just && !operation.is_recoverable_by(report), Invariant::JustOutcome, || {
            format!("{id} is given up after {report:?}; it was {operation:?}")
        })
    }

    /// Compares what a store kept with what was promised.
    pub(crate) fn kept_as(&self, id: OperationId, phase: Option<&StoredPhase>) -> Result<(), Violation> {
        let promised = self.operations.get(&id).map(|operation| operation.want);
        let is_kept = match (promised, phase) {
            (None, None) => true,
            (Some(want), Some(phase)) => want.matches(phase),
            (None, Some(_)) | (Some(_), None) => false,
        };
        ensure(is_kept, Invariant::AcknowledgedIsKept, || {
            format!("{id}: promised {promised:?}, and the store has {phase:?}")
        })
    }

    /// A crash may lose counts that nobody was promised.
    pub(crate) fn forget_counts(&mut self) {
        for operation in self.operations.values_mut() {
            operation.fruitless = None;
            operation.stale = 0;
            operation.has_bytes = None;
            operation.is_failing = false;
        }
    }

    /// Why an operation must not run now, slots apart.
    pub(crate) fn forbids(&self, id: OperationId, now: Circumstances) -> Option<String> {
        let operation = self.operations.get(&id)?;
        if operation.want != Want::Started {
            return Some(format!("its caller wants {:?}", operation.want));
        }
        if operation.is_failing {
            return Some("it has failed".to_owned());
        }
        if operation.rate == Some(0) {
            return Some("its rate is 0".to_owned());
        }
        if self.limits.as_ref().is_some_and(|limits| limits.is_closed(now.seconds)) {
            return Some("the total rate is 0".to_owned());
        }
        if operation.host != 0 && now.machine.level == Some(Level::None) {
            return Some("there is no network".to_owned());
        }
        let is_affordable = now.machine.cost.is_none_or(|cost| affordable(operation.cost_policy, cost));
        if operation.host != 0 && !is_affordable {
            return Some(format!("cost policy {} on {:?}", operation.cost_policy, now.machine.cost));
        }
        if operation.priority != 1 && now.machine.energy_saver == Some(true) {
            return Some("energy saver is on".to_owned());
        }
        None
    }

    pub(crate) fn takes_turns(&self, id: OperationId) -> Option<(AppId, GroupName)> {
        let operation = self.operations.get(&id)?;
        let key = (operation.app.clone(), operation.group.clone()?);
        let is_serialized = self.serialized.get(&key).copied().unwrap_or(false);
        (is_serialized && operation.priority != 1).then_some(key)
    }
}

impl Operation {
    /// Whether the caller said that it can repair this failure.
    pub(crate) fn is_recoverable_by(&self, report: Option<Report>) -> bool {
        self.is_recoverable && matches!(report, Some(Report::NeedsInput { is_not_found: false }))
    }
}

fn may_need_input(operation: &Operation, report: Report) -> bool {
    operation.is_recoverable_by(Some(report))
        || (report == Report::Unconfirmed && operation.is_upload)
        || (matches!(report, Report::NeedsInput { .. }) && operation.has_bytes != Some(false))
}

/// `None` where the documentation leaves it to circumstances.
fn expected_answer(operation: &Operation, command: Command) -> Option<bool> {
    let want = operation.want;
    if operation.is_failing && !matches!(command, Command::Cancel | Command::Remove) {
        return None;
    }
    if want.is_final() {
        return Some(matches!(command, Command::Consume | Command::Remove));
    }
    match command {
        Command::Start => Some(!want.is_over()),
        Command::Pause => Some(want == Want::Started),
        Command::Resume => match want {
            Want::Paused | Want::NeedsInput => Some(true),
            // Only a back-off can be cut short.
            Want::Started => None,
            _ => Some(false),
        },
        Command::Cancel => Some(want != Want::Forgetting),
        Command::Remove => Some(true),
        Command::MakeCurrent => Some(want != Want::Forgetting),
        Command::Consume => Some(want == Want::Canceling),
        Command::Priority(_) | Command::CostPolicy(_) | Command::Rate(_) => Some(!want.is_over()),
        Command::Renew { .. } => match want {
            Want::Idle | Want::Paused | Want::NeedsInput => Some(true),
            Want::Started => None,
            _ => Some(false),
        },
    }
}

/// Policies: 0 Default, 1 UnrestrictedOnly, 2 Always.
fn affordable(policy: u8, cost: Cost) -> bool {
    match cost {
        Cost::Unmetered => true,
        Cost::Metered => policy != 1,
        Cost::ApproachingLimit | Cost::Roaming => policy == 2,
        Cost::OverLimit => false,
    }
}

impl NewLimits {
    fn is_closed(&self, seconds: i64) -> bool {
        let hour = seconds.rem_euclid(86_400) / 3_600;
        let is_closed_hour = self.closed_hours.is_some_and(|(from, to)| {
            let (from, to) = (i64::from(from), i64::from(to));
            if from < to { (from..to).contains(&hour) } else { hour >= from || hour < to }
        });
        self.rate == Some(0) || is_closed_hour
    }
}
