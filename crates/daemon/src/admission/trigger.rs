//! The rules of each trigger type [W 2.11], and what the engine needs to know of a trigger.

use longhaul_contract::trigger::{FRESHNESS_MINUTES_MAX, FRESHNESS_MINUTES_MIN};
use longhaul_contract::{ErrorCode, SystemTriggerType, TriggerKind, TriggerSpec};
use longhaul_engine::task::{Missed, TaskTrigger, check_calendar};

use super::filters;
use crate::http::{Answer, Refused};
use crate::triggers::{self, Reach};

/// A trigger that keeps all rules.
#[derive(Debug)]
pub(crate) struct CheckedTrigger {
    pub(crate) trigger: TaskTrigger,
    /// The registration is a firing too.
    pub(crate) fires_at_once: bool,
    pub(crate) warnings: Vec<String>,
}

fn refuse(field: &str, detail: impl Into<String>) -> Refused {
    Refused::new(ErrorCode::InvalidTrigger, detail).with_field(format!("/trigger/{field}"))
}

/// Checks a trigger, and makes of it what the engine knows. `reach` says which events this machine can see.
pub(crate) fn check_trigger(spec: &TriggerSpec, reach: &Reach) -> Answer<CheckedTrigger> {
    check_parameter_names(spec)?;
    check_system_type(spec)?;
    check_freshness(spec)?;
    check_one_shot(spec)?;
    filters::check_parameters(spec)?;
    let warnings = check_support(spec, reach)?;
    let trigger = engine_trigger(spec)?;
    let fires_at_once = match spec.parameters.get("first").map(String::as_str) {
        None => false,
        Some("now") => true,
        Some(other) => return Err(refuse("parameters/first", format!("{other:?} is not now"))),
    };
    Ok(CheckedTrigger { trigger, fires_at_once, warnings })
}

fn check_parameter_names(spec: &TriggerSpec) -> Answer<()> {
    let known = spec.kind.parameters();
    let Some(name) = spec.parameters.keys().find(|name| !known.contains(&name.as_str())) else {
        return Ok(());
    };
    let takes = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    let detail = format!("{} has no parameter {name:?}; it takes {takes}", spec.kind);
    let name = name.replace('~', "~0").replace('/', "~1");
    Err(refuse(&format!("parameters/{name}"), detail))
}

fn check_system_type(spec: &TriggerSpec) -> Answer<()> {
    let field = "systemTriggerType";
    match (spec.kind, spec.system_trigger_type) {
        (TriggerKind::SystemTrigger, None) => {
            Err(refuse(field, "SystemTrigger needs systemTriggerType: name the event to wait for"))
        }
        (TriggerKind::SystemTrigger, Some(_)) | (_, None) => Ok(()),
        (kind, Some(_)) => {
            Err(refuse(field, format!("only SystemTrigger has systemTriggerType: leave it out of {kind}")))
        }
    }
}

fn check_freshness(spec: &TriggerSpec) -> Answer<()> {
    let field = "freshnessTime";
    let is_timed = matches!(spec.kind, TriggerKind::TimeTrigger | TriggerKind::MaintenanceTrigger);
    let has_schedule = spec.parameters.contains_key("schedule");
    match spec.freshness_time {
        Some(_) if !is_timed => {
            let detail = format!(
                "only TimeTrigger and MaintenanceTrigger have freshnessTime: leave it out of {}",
                spec.kind
            );
            Err(refuse(field, detail))
        }
        Some(_) if has_schedule => {
            Err(refuse(field, "a TimeTrigger has freshnessTime or a schedule: leave one of them out"))
        }
        Some(minutes) if !(FRESHNESS_MINUTES_MIN..=FRESHNESS_MINUTES_MAX).contains(&minutes) => {
            let range = format!("{FRESHNESS_MINUTES_MIN} to {FRESHNESS_MINUTES_MAX}");
            Err(refuse(field, format!("freshnessTime is {minutes} minutes and must be {range}")))
        }
        None if is_timed && !has_schedule => {
            Err(refuse(field, format!("{} needs freshnessTime, in minutes", spec.kind)))
        }
        _ => Ok(()),
    }
}

fn check_one_shot(spec: &TriggerSpec) -> Answer<()> {
    if !spec.one_shot {
        return Ok(());
    }
    if !spec.kind.supports_one_shot() {
        let detail = format!("{} cannot be one-shot: leave oneShot out", spec.kind);
        return Err(refuse("oneShot", detail));
    }
    if spec.system_trigger_type == Some(SystemTriggerType::ControlChannelReset) {
        return Err(refuse("oneShot", "ControlChannelReset cannot be one-shot: leave oneShot out"));
    }
    Ok(())
}

/// Gives what is missing for the moment.
fn check_support(spec: &TriggerSpec, reach: &Reach) -> Answer<Vec<String>> {
    let unsupported = |field: &str, what: String, support: &triggers::Support| {
        let reason = support.reason.as_deref().unwrap_or("it has no source");
        Refused::new(ErrorCode::TriggerUnsupported, format!("{what} can never fire here: {reason}"))
            .with_field(format!("/trigger/{field}"))
    };
    let support = triggers::support(spec.kind, reach);
    if !support.supported {
        return Err(unsupported("type", spec.kind.to_string(), &support));
    }
    if filters::is_distributed(spec) {
        let support = reach.table.push_distributor();
        if let (false, Some(reason)) = (support.is_supported, support.reason) {
            let detail = format!("no message can come by way of a distributor: {reason}");
            return Err(Refused::new(ErrorCode::TriggerUnsupported, detail)
                .with_field("/trigger/parameters/distributor"));
        }
    }
    if spec.kind == TriggerKind::ActivitySensorTrigger {
        let told = reach.table.activities();
        let untold = filters::activities(spec)?.into_iter().find(|activity| !told.contains(activity));
        if let Some(untold) = untold {
            let detail = format!("no sensor of this machine tells {}", untold.word());
            return Err(Refused::new(ErrorCode::TriggerUnsupported, detail)
                .with_field("/trigger/parameters/subscribedActivities"));
        }
    }
    let Some(event) = spec.system_trigger_type else { return Ok(support.reason.into_iter().collect()) };
    let support = triggers::system_support(event, reach);
    if !support.supported {
        return Err(unsupported("systemTriggerType", event.to_string(), &support));
    }
    Ok(support.reason.into_iter().collect())
}

fn engine_trigger(spec: &TriggerSpec) -> Answer<TaskTrigger> {
    let one_shot = spec.one_shot;
    Ok(match spec.kind {
        TriggerKind::SystemTrigger => {
            let event = spec.system_trigger_type.ok_or_else(|| refuse("systemTriggerType", "is missing"))?;
            TaskTrigger::System { event, one_shot }
        }
        TriggerKind::TimeTrigger | TriggerKind::MaintenanceTrigger => match calendar(spec)? {
            Some((schedule, time_zone)) => TaskTrigger::Calendar {
                schedule: schedule.into(),
                time_zone: time_zone.map(Into::into),
                one_shot,
                missed: missed(spec)?,
            },
            None => TaskTrigger::Every {
                minutes: spec.freshness_time.unwrap_or(FRESHNESS_MINUTES_MIN),
                one_shot,
                is_maintenance: spec.kind == TriggerKind::MaintenanceTrigger,
                missed: missed(spec)?,
            },
        },
        kind if kind.is_requested() => TaskTrigger::Requested { kind },
        TriggerKind::CompletionGroupTrigger => {
            TaskTrigger::Completion { group: filters::completion_group(spec)? }
        }
        kind => TaskTrigger::Sourced { kind },
    })
}

fn calendar(spec: &TriggerSpec) -> Answer<Option<(&str, Option<&str>)>> {
    let time_zone = spec.parameters.get("timeZone").map(String::as_str);
    let Some(schedule) = spec.parameters.get("schedule") else {
        return match time_zone {
            Some(_) => Err(refuse("parameters/timeZone", "timeZone goes with a schedule: leave it out")),
            None => Ok(None),
        };
    };
    if let Some(zone) = time_zone
        && jiff::tz::TimeZone::get(zone).is_err()
    {
        let detail = format!("{zone:?} is no time zone of the IANA database, such as Europe/Berlin");
        return Err(refuse("parameters/timeZone", detail));
    }
    check_calendar(schedule, time_zone).map_err(|problem| refuse("parameters/schedule", problem))?;
    Ok(Some((schedule, time_zone)))
}

fn missed(spec: &TriggerSpec) -> Answer<Missed> {
    match spec.parameters.get("missed").map(String::as_str) {
        None | Some("once") => Ok(Missed::Once),
        Some("skip") => Ok(Missed::Skip),
        Some(other) => Err(refuse("parameters/missed", format!("{other:?} is neither once nor skip"))),
    }
}
