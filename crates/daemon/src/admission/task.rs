//! What a new registration of a background task has to be like. Names, quotas and access are the engine's to judge.

use longhaul_contract::manifest::{EntryPointKind, Manifest};
use longhaul_contract::{AppId, Condition, ErrorCode, RegisterTaskRequest, TaskId};
use longhaul_engine::TaskPolicy;
use longhaul_engine::task::{NewTask, RunLimits, TaskPlan};

use super::trigger::{CheckedTrigger, check_trigger};
use crate::apps::ManifestError;
use crate::http::{Answer, Refused};
use crate::triggers::Reach;

/// Runs that a registration may ask for beside the first.
const RETRIES_MAX: u8 = 10;
const RETRY_DELAY_MAX: u32 = 86_400;
const TIME_LIMIT_MAX: u32 = 604_800;
const VARIABLES_MAX: usize = 256;

/// Of a service that was built without them.
pub(crate) const NO_COMPONENTS: &str =
    "this longhaul was built without WebAssembly components (the feature wasm)";

/// A registration that keeps all rules, and what is odd about it all the same.
#[derive(Debug)]
pub(crate) struct CheckedTask {
    pub(crate) trigger: CheckedTrigger,
    conditions: Vec<Condition>,
}

fn refuse(code: ErrorCode, field: &str, detail: impl Into<String>) -> Refused {
    Refused::new(code, detail).with_field(field)
}

/// Everything that can be judged without the manifest, in the order form, trigger, conditions.
pub(crate) fn check_task(spec: &mut RegisterTaskRequest, reach: &Reach) -> Answer<CheckedTask> {
    check_form(spec)?;
    let trigger = check_trigger(&spec.trigger, reach)?;
    let is_for_device = spec.trigger.kind.has_device() && spec.trigger.kind.is_requested();
    if is_for_device && !spec.conditions.is_empty() {
        let detail = format!("a task with a {} takes no conditions: leave them out", spec.trigger.kind);
        return Err(refuse(ErrorCode::InvalidCondition, "/conditions", detail));
    }
    spec.conditions.sort_by_key(|condition| condition.number());
    spec.conditions.dedup();
    Ok(CheckedTask { trigger, conditions: spec.conditions.clone() })
}

fn check_form(spec: &RegisterTaskRequest) -> Answer<()> {
    let invalid = |field: &str, detail: String| Err(refuse(ErrorCode::InvalidField, field, detail));
    let class = &spec.entry_point;
    if class.is_empty() || class.chars().count() > 256 || class.chars().any(char::is_control) {
        return invalid("/entryPoint", "must be 1 to 256 characters without control characters".to_owned());
    }
    if let Some(retry) = spec.retry {
        if !(1..=RETRIES_MAX).contains(&retry.max) {
            return invalid("/retry/max", format!("must be 1 to {RETRIES_MAX}"));
        }
        if !(1..=RETRY_DELAY_MAX).contains(&retry.delay_seconds) {
            return invalid("/retry/delaySeconds", format!("must be 1 to {RETRY_DELAY_MAX}"));
        }
    }
    if spec.time_limit.is_some_and(|limit| !(1..=TIME_LIMIT_MAX).contains(&limit)) {
        return invalid("/timeLimit", format!("must be 1 to {TIME_LIMIT_MAX} seconds"));
    }
    if spec.env.len() > VARIABLES_MAX {
        return invalid("/env", format!("must have at most {VARIABLES_MAX} variables"));
    }
    for (name, value) in &spec.env {
        if name.is_empty() || name.contains(['=', '\0']) || name.starts_with("LONGHAUL_") {
            let detail = format!("{name:?} cannot be the name of a variable of a task");
            return invalid("/env", detail);
        }
        if value.reveal().contains('\0') {
            return invalid("/env", format!("the value of {name} holds a NUL"));
        }
    }
    Ok(())
}

impl CheckedTask {
    /// Makes the wish, with the manifest of the application as it is now.
    pub(crate) fn into_new(
        self,
        id: TaskId,
        app: AppId,
        spec: RegisterTaskRequest,
        manifest: Result<Option<Manifest>, ManifestError>,
        policy: &TaskPolicy,
        components: bool,
    ) -> Answer<NewTask> {
        let unknown = |detail: String| refuse(ErrorCode::UnknownEntryPoint, "/entryPoint", detail);
        let class = &spec.entry_point;
        let manifest = manifest.map_err(|error| unknown(error.to_string()))?;
        let manifest =
            manifest.ok_or_else(|| unknown(format!("{app} has no manifest, and so no entry points")))?;
        let entry_point = manifest
            .entry_point(class)
            .ok_or_else(|| unknown(format!("the manifest of {app} declares no entry point {class:?}")))?;
        if !entry_point.triggers.is_empty() && !entry_point.triggers.contains(&spec.trigger.kind) {
            let detail = format!("the manifest of {app} does not let {} start {class:?}", spec.trigger.kind);
            return Err(unknown(detail));
        }
        let in_process = match entry_point.kind().map_err(|error| unknown(error.to_string()))? {
            EntryPointKind::Process(_) | EntryPointKind::DBus(..) => None,
            EntryPointKind::InProcess => Some(class.as_str().into()),
            EntryPointKind::Wasm(_) if components => None,
            EntryPointKind::Wasm(_) => return Err(unknown(NO_COMPONENTS.to_owned())),
        };
        let limit = entry_point.time_limit_seconds().map_err(|error| unknown(error.to_string()))?;
        let plan = TaskPlan {
            trigger: self.trigger.trigger,
            conditions: self.conditions.into_iter().collect(),
            cancel_on_condition_loss: spec.cancel_on_condition_loss,
            is_network_requested: spec.is_network_requested,
            limits: run_limits(policy, &spec, limit)?,
            retry: spec.retry,
            in_process,
        };
        Ok(NewTask {
            id,
            app,
            group: spec.task_group.clone(),
            name: spec.name.clone(),
            kind: spec.trigger.kind,
            plan,
            fires_at_once: self.trigger.fires_at_once,
            spec: Box::new(spec),
        })
    }
}

/// What a registration asks for has to lie within what its manifest says, and both within what the owner allows. A limit
/// counts from the start to the kill: the time to answer a cancellation is part of it, as far as there is room.
fn run_limits(policy: &TaskPolicy, spec: &RegisterTaskRequest, manifest: Option<u32>) -> Answer<RunLimits> {
    let milliseconds = |seconds: u32| u64::from(seconds) * 1000;
    let highest = manifest.map_or(policy.run_max_ms, |limit| milliseconds(limit).min(policy.run_max_ms));
    let default = policy.limits(spec.trigger.kind);
    let Some(whole) = spec.time_limit.map(milliseconds).or(manifest.map(|_| highest)) else {
        return Ok(default);
    };
    if whole > highest {
        let detail = format!("the manifest and the owner allow at most {} seconds", highest / 1000);
        return Err(refuse(ErrorCode::InvalidField, "/timeLimit", detail));
    }
    let grace_ms = default.grace_ms.min(whole / 2);
    Ok(RunLimits { cancel_after_ms: whole - grace_ms, grace_ms })
}

/// What is odd about a registration, in the order of the request.
pub(crate) fn warnings(spec: &RegisterTaskRequest, reach: &Reach) -> Vec<String> {
    const CONTRARY: [(Condition, Condition); 4] = [
        (Condition::UserPresent, Condition::UserNotPresent),
        (Condition::InternetAvailable, Condition::InternetNotAvailable),
        (Condition::SessionConnected, Condition::SessionDisconnected),
        (Condition::ExternalPower, Condition::BatteryPower),
    ];
    let has = |condition| spec.conditions.contains(&condition);
    let contrary = CONTRARY.iter().filter(|(one, other)| has(*one) && has(*other));
    let contrary =
        contrary.map(|(one, other)| format!("{one} and {other} never hold together: it cannot start"));
    let free = (has(Condition::FreeNetworkAvailable) && has(Condition::InternetNotAvailable)).then(|| {
        "FreeNetworkAvailable and InternetNotAvailable never hold together: it cannot start".to_owned()
    });
    let missing = check_trigger(&spec.trigger, reach).map(|checked| checked.warnings).unwrap_or_default();
    contrary.chain(free).chain(missing).collect()
}
