//! `longhaul task ls`.

use longhaul_contract::{BackgroundTask, PastTask};
use serde::Serialize;

use crate::connect::Context;
use crate::console::{FAINT, View};
use crate::exit::Exit;
use crate::table::{Align, Cell, Table};
use crate::text::escape;
use crate::trouble::Trouble;
use crate::{condition, identifiers, tasks};

/// List the tasks
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Only members of this group
    #[arg(short, long, value_name = "GROUP")]
    group: Option<String>,
    /// Tasks that have unregistered themselves instead; the newest 100 are kept
    #[arg(long, conflicts_with = "group")]
    past: bool,
}

#[derive(Serialize)]
struct Items<'a> {
    items: &'a [BackgroundTask],
}

pub(crate) async fn run(arguments: &Arguments, context: &Context) -> Result<Exit, Trouble> {
    let client = context.client().await?;
    if arguments.past {
        let past = client.past_tasks().await?;
        context.console.data(&serde_json::json!({ "items": past }), |view| render_past(&past, view))?;
        if past.is_empty() && !context.console.is_json {
            context.console.say("No tasks.");
        }
        return Ok(Exit::Success);
    }
    let mut tasks = tasks::all(&client).await?;
    if let Some(group) = &arguments.group {
        tasks.retain(|task| task.task_group.as_ref().is_some_and(|of_task| of_task.as_str() == group));
    }
    context.console.data(&Items { items: &tasks }, |view| render(&tasks, view))?;
    if tasks.is_empty() && !context.console.is_json {
        context.console.say("No tasks.");
    }
    Ok(Exit::Success)
}

fn render(tasks: &[BackgroundTask], view: &View) -> String {
    if tasks.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&[
        ("ID", Align::Left),
        ("NAME", Align::Left),
        ("STATE", Align::Left),
        ("TRIGGER", Align::Left),
        ("CONDITIONS", Align::Left),
        ("GROUP", Align::Left),
        ("LAST RUN", Align::Left),
        ("RESULT", Align::Left),
        ("WHY", Align::Left),
    ]);
    let ids: Vec<String> = tasks.iter().map(|task| task.id.to_string()).collect();
    for (task, id) in tasks.iter().zip(identifiers::shortened(&ids)) {
        let (state, style) = tasks::state(task.is_active, &task.waiting);
        let (result, result_style) = task.last_run_result.as_deref().map(tasks::result).unwrap_or_default();
        let conditions: Vec<_> =
            task.conditions.iter().map(|condition| condition::word(*condition)).collect();
        let why = task.waiting.first().filter(|_| !task.is_active);
        table.row([
            Cell::from(id),
            Cell::from(tasks::name(task)),
            Cell::styled(state, style),
            Cell::from(task.trigger_type.word().trim_end_matches("Trigger")),
            Cell::from(conditions.join(",")),
            Cell::from(
                task.task_group.as_ref().map(|group| escape(group.as_str()).into_owned()).unwrap_or_default(),
            ),
            Cell::from(task.last_completed_time.map(|time| view.instant(time)).unwrap_or_default()),
            Cell::styled(result, result_style),
            Cell::styled(why.map(|reason| escape(&reason.detail).into_owned()).unwrap_or_default(), FAINT),
        ]);
    }
    table.render(view)
}

fn render_past(tasks: &[PastTask], view: &View) -> String {
    if tasks.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&[
        ("ID", Align::Left),
        ("NAME", Align::Left),
        ("REGISTERED", Align::Left),
        ("UNREGISTERED", Align::Left),
        ("LAST RUN", Align::Left),
        ("RESULT", Align::Left),
    ]);
    let ids: Vec<String> = tasks.iter().map(|task| task.id.to_string()).collect();
    for (task, id) in tasks.iter().zip(identifiers::shortened(&ids)) {
        let (result, style) = task.last_run_result.as_deref().map(tasks::result).unwrap_or_default();
        table.row([
            Cell::from(id),
            Cell::from(escape(task.name.as_str()).into_owned()),
            Cell::from(view.instant(task.registered_time)),
            Cell::from(view.instant(task.unregistered_time)),
            Cell::from(task.last_completed_time.map(|time| view.instant(time)).unwrap_or_default()),
            Cell::styled(result, style),
        ]);
    }
    table.render(view)
}

#[cfg(test)]
mod tests {
    use longhaul_contract::{Condition, ReasonCode, TriggerKind, WaitingReason};

    use super::*;
    use crate::sample::{self, NOW};

    #[test]
    fn tasks_in_every_state() {
        let waiting =
            |code, detail: &str| vec![WaitingReason { code, detail: detail.to_owned(), until: None }];
        let tasks = [
            BackgroundTask {
                is_active: true,
                last_run_result: Some("Canceled:ConditionLoss".to_owned()),
                last_completed_time: Some(NOW.plus_seconds(-3_600)),
                ..sample::task(1, "nightly")
            },
            BackgroundTask {
                conditions: vec![Condition::ExternalPower, Condition::FreeNetworkAvailable],
                waiting: waiting(ReasonCode::FreeNetworkAvailable, "the network is metered"),
                ..sample::task(2, "when-1")
            },
            BackgroundTask {
                trigger_type: TriggerKind::SystemTrigger,
                last_run_result: Some("Failed:exit code 3\u{1b}[2J".to_owned()),
                last_completed_time: Some(NOW),
                task_group: Some("org.example.sync".parse().unwrap()),
                ..sample::task(3, "zone")
            },
            BackgroundTask {
                waiting: waiting(ReasonCode::Consumed, "it has fired and fires only once"),
                last_run_result: Some("Completed".to_owned()),
                last_completed_time: Some(NOW),
                ..sample::task(4, "when-2")
            },
            BackgroundTask {
                waiting: waiting(ReasonCode::AccessDenied, "the owner denies it"),
                ..sample::task(5, "denied")
            },
        ];
        insta::assert_snapshot!(render(&tasks, &sample::view(160)));
    }

    #[test]
    fn tasks_that_are_gone() {
        let past = |number: u32, name: &str, result: Option<&str>| {
            let BackgroundTask { id, name, .. } = sample::task(number, name);
            PastTask {
                id,
                name,
                registered_time: NOW.plus_seconds(-7_200),
                unregistered_time: NOW.plus_seconds(-60),
                last_completed_time: result.map(|_| NOW),
                last_run_result: result.map(str::to_owned),
            }
        };
        let tasks = [past(1, "after", None), past(2, "retry", Some("Failed:exit code 3\u{1b}[2J"))];
        insta::assert_snapshot!(render_past(&tasks, &sample::view(120)));
        assert_eq!(render_past(&[], &sample::view(120)), "");
    }
}
