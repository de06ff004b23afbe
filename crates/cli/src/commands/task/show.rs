//! `longhaul task show` and `longhaul task why`.

use longhaul_contract::{BackgroundTaskDetail, Instance};

use crate::commands::why;
use crate::connect::Context;
use crate::console::{STRONG, View};
use crate::exit::Exit;
use crate::table::{Align, Cell, Table, pairs};
use crate::text::escape;
use crate::trouble::Trouble;
use crate::{condition, identifiers, measure, tasks};

/// Show everything about one task, with its newest runs
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The task, by its name, its id or the beginning of it
    #[arg(value_name = "TASK")]
    task: String,
}

/// Tell why a task does or does not run
///
/// The answer is made by the very decision that runs it or holds it back.
#[derive(Debug, clap::Args)]
pub(crate) struct Why {
    /// The task, by its name, its id or the beginning of it
    #[arg(value_name = "TASK")]
    task: String,
    #[command(flatten)]
    supposing: why::Supposing,
}

pub(crate) async fn run(arguments: &Arguments, context: &Context) -> Result<Exit, Trouble> {
    let client = context.client().await?;
    let detail = tasks::resolve(&client, &arguments.task).await?.get().await?;
    context.console.data(&detail, |view| render(&detail, view))?;
    Ok(Exit::Success)
}

pub(crate) async fn why(arguments: Why, context: &Context) -> Result<Exit, Trouble> {
    let client = context.client().await?;
    let supposed = arguments.supposing.read()?;
    let explanation = tasks::resolve(&client, &arguments.task).await?.explain_if(&supposed).await?;
    context.console.data(&explanation, |view| why::render(&explanation, &supposed, view))?;
    Ok(Exit::Success)
}

fn render(detail: &BackgroundTaskDetail, view: &View) -> String {
    let (state, style) = tasks::state(detail.is_active, &detail.waiting);
    let mut lines = vec![
        ("id", detail.id.to_string()),
        ("name", escape(detail.name.as_str()).into_owned()),
        ("state", view.paint.paint(style, state)),
    ];
    let mut add = |name: &'static str, value: Option<String>| {
        lines.extend(value.map(|value| (name, value)));
    };
    let escaped = |text: &str| escape(text).into_owned();
    let yes = |is_so: bool| is_so.then(|| "yes".to_owned());
    for (place, reason) in detail.waiting.iter().enumerate() {
        add(if place == 0 { "waiting" } else { "" }, Some(escaped(&reason.detail)));
    }
    add("entry point", Some(escaped(&detail.entry_point)));
    add("trigger", Some(trigger(detail)));
    let conditions: Vec<_> = detail.conditions.iter().map(|condition| condition::word(*condition)).collect();
    add("conditions", Some(conditions.join(", ")).filter(|words| !words.is_empty()));
    add("ends on loss", yes(detail.cancel_on_condition_loss));
    add("keeps network", yes(detail.is_network_requested));
    add("group", detail.task_group.as_ref().map(|group| escaped(group.as_str())));
    add("time limit", detail.time_limit.map(|seconds| measure::words(seconds.into())));
    add(
        "retry",
        detail.retry.map(|retry| {
            let after = if retry.after_interruption { ", also after an interruption" } else { "" };
            format!("{} times, first after {}{after}", retry.max, measure::words(retry.delay_seconds.into()))
        }),
    );
    add("created", Some(view.instant(detail.created_time)));
    add("fires next", detail.next_fire_time.map(|time| view.instant(time)));
    add("fired", detail.pending_since.map(|time| view.instant(time) + ", and waits"));
    add("fired once", yes(detail.is_consumed));
    add("quarantined", yes(detail.is_quarantined));
    add("progress", detail.progress.map(|progress| format!("{progress}%")));
    add(
        "last result",
        detail.last_run_result.as_deref().map(|result| {
            let (result, style) = tasks::result(result);
            view.paint.paint(style, &result)
        }),
    );
    add("last ended", detail.last_completed_time.map(|time| view.instant(time)));
    if let Some(newest) = detail.history.first() {
        add("kept awake", newest.keep_awake.as_ref().map(tasks::keep_awake));
        add("out of memory", yes(newest.ran_out_of_memory));
        for (place, limit) in newest.limits.iter().enumerate() {
            add(if place == 0 { "limits" } else { "" }, Some(tasks::limit(limit)));
        }
    }
    for warning in &detail.warnings {
        add("mind", Some(escaped(warning)));
    }
    let mut text = pairs(view, lines);
    if !detail.history.is_empty() {
        text.push_str(&format!("\n{}\n{}", view.paint.paint(STRONG, "Runs"), history(&detail.history, view)));
    }
    text
}

fn trigger(detail: &BackgroundTaskDetail) -> String {
    let mut text = detail.trigger.kind.word().to_owned();
    for (name, value) in &detail.trigger.parameters {
        text.push_str(&format!(" {}={}", escape(name), escape(value)));
    }
    text
}

fn history(instances: &[Instance], view: &View) -> String {
    let mut table = Table::new(&[
        ("INSTANCE", Align::Left),
        ("STARTED", Align::Left),
        ("TOOK", Align::Right),
        ("CAUSE", Align::Left),
        ("EXIT", Align::Right),
        ("RESULT", Align::Left),
    ]);
    let ids: Vec<String> = instances.iter().map(|instance| instance.id.to_string()).collect();
    for (instance, id) in instances.iter().zip(identifiers::shortened(&ids)) {
        let (state, style) = tasks::instance_state(instance);
        let end = instance.ended_time.unwrap_or(view.now);
        let taken = u64::try_from(end.seconds_since(instance.started_time)).unwrap_or(0);
        let code = instance.exit_code.map(|code| code.to_string());
        let killed = instance.signal.map(|signal| format!("signal {signal}"));
        let state = if instance.was_killed { state + ", killed" } else { state };
        let state = if instance.ran_out_of_memory { state + ", out of memory" } else { state };
        table.row([
            Cell::from(id),
            Cell::from(view.instant(instance.started_time)),
            Cell::from(measure::clock(taken)),
            Cell::from(instance.cause.word()),
            Cell::from(code.or(killed).unwrap_or_default()),
            Cell::styled(state, style),
        ]);
    }
    table.render(view)
}

#[cfg(test)]
mod tests {
    use longhaul_contract::trigger::TriggerView;
    use longhaul_contract::{Condition, Retry, TriggerKind, TriggerSpec};

    use super::*;
    use crate::sample::{self, NOW};

    #[test]
    fn everything_about_a_task() {
        let mut spec = TriggerSpec::new(TriggerKind::TimeTrigger);
        spec.parameters.insert("schedule".to_owned(), "30 2 * * *".to_owned());
        spec.parameters.insert("timeZone".to_owned(), "Europe/Berlin\u{1b}[1m".to_owned());
        let detail = BackgroundTaskDetail {
            trigger: TriggerView::from(&spec),
            conditions: vec![Condition::ExternalPower, Condition::UserNotPresent],
            cancel_on_condition_loss: true,
            retry: Some(Retry { max: 3, delay_seconds: 60, after_interruption: true }),
            time_limit: Some(5_400),
            next_fire_time: Some(NOW.plus_seconds(600)),
            warnings: vec!["this host has no source of user presence".to_owned()],
            ..sample::task_detail("nightly")
        };
        insta::assert_snapshot!(render(&detail, &sample::view(120)));
    }

    #[test]
    fn a_task_that_has_never_run() {
        let detail = BackgroundTaskDetail {
            history: Vec::new(),
            last_run_result: None,
            last_completed_time: None,
            ..sample::task_detail("new")
        };
        insta::assert_snapshot!(render(&detail, &sample::view(120)));
    }
}
