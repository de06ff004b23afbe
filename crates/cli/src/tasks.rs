//! Background tasks as a person names and reads them.

use futures_util::{StreamExt, TryStreamExt};
use longhaul_client::{Client, Task};
use longhaul_contract::instance::{InstanceLimit, KeepAwake};
use longhaul_contract::{
    BackgroundTask, BackgroundTaskDetail, Instance, InstanceState, PastTask, ReasonCode, TaskId,
    WaitingReason,
};

use crate::console::{BAD, Console, FAINT, GOOD, WARNING};
use crate::exit::Exit;
use crate::text::escape;
use crate::trouble::Trouble;

/// Details that are asked for at one time.
const CALLS_AT_ONCE: usize = 16;

/// All tasks of the application, those of groups behind the others.
pub(crate) async fn all(client: &Client) -> Result<Vec<BackgroundTask>, Trouble> {
    let mut tasks = client.tasks().await?;
    for group in client.task_groups().await? {
        tasks.extend(group.tasks);
    }
    Ok(tasks)
}

/// Everything about all of them. One that is unregistered meanwhile is left out.
pub(crate) async fn details(client: &Client) -> Result<Vec<BackgroundTaskDetail>, Trouble> {
    let tasks = all(client).await?;
    let details: Vec<_> = futures_util::stream::iter(tasks)
        .map(|task| async move {
            match client.task(task.id).get().await {
                Ok(detail) => Ok(Some(detail)),
                Err(error) if error.code() == Some(longhaul_contract::ErrorCode::NotFound) => Ok(None),
                Err(error) => Err(Trouble::from(error)),
            }
        })
        .buffered(CALLS_AT_ONCE)
        .try_collect()
        .await?;
    Ok(details.into_iter().flatten().collect())
}

/// Finds the one task with this name, or whose id is or begins with `text`.
pub(crate) async fn resolve(client: &Client, text: &str) -> Result<Task, Trouble> {
    if let Ok(id) = text.parse::<TaskId>() {
        return Ok(client.task(id));
    }
    let tasks = all(client).await?;
    pick(&tasks, text).map(|task| client.task(task.id))
}

/// As [`resolve`]; where no task fits, the last of those that have unregistered themselves.
pub(crate) async fn resolve_with_past(client: &Client, text: &str) -> Result<Task, Trouble> {
    let trouble = match resolve(client, text).await {
        Err(trouble) if trouble.exit == Exit::NotFound => trouble,
        found => return found,
    };
    let past = client.past_tasks().await?;
    let prefix = text.to_ascii_lowercase();
    let named = past.iter().find(|task| task.name.as_str() == text);
    let begins = |task: &&PastTask| !prefix.is_empty() && task.id.to_string().starts_with(&prefix);
    let found =
        named.or_else(|| past.iter().find(begins).filter(|_| past.iter().filter(begins).count() == 1));
    found.map(|task| client.task(task.id)).ok_or(trouble)
}

/// As [`resolve`], before anything is done to the first of several.
pub(crate) async fn resolve_all(client: &Client, texts: &[String]) -> Result<Vec<Task>, Trouble> {
    let mut found = Vec::with_capacity(texts.len());
    for text in texts {
        found.push(resolve(client, text).await?);
    }
    Ok(found)
}

fn pick<'a>(tasks: &'a [BackgroundTask], text: &str) -> Result<&'a BackgroundTask, Trouble> {
    let mut fitting: Vec<_> = tasks.iter().filter(|task| task.name.as_str() == text).collect();
    if fitting.is_empty() && !text.is_empty() {
        let prefix = text.to_ascii_lowercase();
        fitting = tasks.iter().filter(|task| task.id.to_string().starts_with(&prefix)).collect();
    }
    match fitting.as_slice() {
        [only] => Ok(only),
        [] => Err(Trouble::new(
            Exit::NotFound,
            format!("no task has the name {text:?} or an id that begins with it"),
        )
        .advise("See the tasks with `longhaul task ls`, and with `--past` those that have unregistered themselves.")),
        several => {
            let named: Vec<_> = several.iter().map(|task| format!("{} ({})", task.id, task.name)).collect();
            Err(Trouble::new(Exit::NotFound, format!("{text} fits several: {}", named.join(", ")))
                .advise("Give the id, or more of it."))
        }
    }
}

/// Escaped.
pub(crate) fn name(task: &BackgroundTask) -> String {
    escape(task.name.as_str()).into_owned()
}

/// Tells what is odd about a task, on standard error.
pub(crate) fn warn(task: &BackgroundTask, console: &Console) {
    let view = console.err_view();
    for warning in &task.warnings {
        console.say(&format!("{} {}", view.paint.warning_mark(), escape(warning)));
    }
}

/// One or two words for a list, and how they are coloured.
pub(crate) fn state(is_active: bool, waiting: &[WaitingReason]) -> (&'static str, anstyle::Style) {
    if is_active {
        return ("running", GOOD);
    }
    match waiting.first().map(|reason| reason.code) {
        None | Some(ReasonCode::NotFired) => ("ready", FAINT),
        Some(ReasonCode::Consumed) => ("done", FAINT),
        Some(ReasonCode::AccessUnspecified | ReasonCode::AccessDenied) => ("no access", BAD),
        Some(ReasonCode::Quarantined) => ("quarantined", BAD),
        Some(_) => ("waiting", WARNING),
    }
}

/// How a run ended, and how that is coloured; the words are those of the service.
pub(crate) fn result(result: &str) -> (String, anstyle::Style) {
    let style = match result.split(':').next() {
        Some("Completed") => GOOD,
        Some("Failed") => BAD,
        _ => WARNING,
    };
    (escape(result).into_owned(), style)
}

/// How an instance is doing or has ended.
pub(crate) fn instance_state(instance: &Instance) -> (String, anstyle::Style) {
    match (&instance.result, instance.state) {
        (Some(text), _) => result(text),
        (None, InstanceState::Canceling) => ("canceling".to_owned(), WARNING),
        (None, InstanceState::Starting) => ("starting".to_owned(), GOOD),
        (None, _) => (format!("running, {}", instance.progress), GOOD),
    }
}

/// What became of one limit or sandbox of an instance.
pub(crate) fn limit(limit: &InstanceLimit) -> String {
    let InstanceLimit { limit, is_enforced, means, detail } = limit;
    let mut text = limit.to_string();
    match means {
        Some(means) => text.push_str(&format!(": held by {}", escape(means))),
        None => text.push_str(if *is_enforced { ": held" } else { ": not held" }),
    }
    if let Some(detail) = detail {
        text.push_str(&format!(" ({})", escape(detail)));
    }
    text
}

/// Whether the machine is kept awake for an instance.
pub(crate) fn keep_awake(keep_awake: &KeepAwake) -> String {
    let KeepAwake { is_held, detail } = keep_awake;
    format!("{}: {}", if *is_held { "yes" } else { "no" }, escape(detail))
}

/// How a command that followed an instance to its end ends itself.
pub(crate) fn exit_of(instance: &Instance) -> Exit {
    match instance.state {
        InstanceState::Failed | InstanceState::Canceled | InstanceState::Interrupted => Exit::TransferFailed,
        InstanceState::Starting
        | InstanceState::Running
        | InstanceState::Canceling
        | InstanceState::Completed => Exit::Success,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn names_win_over_ids_and_must_fit_one() {
        let tasks = [
            sample::task(1, "nightly"),
            sample::task(2, "019c"),
            sample::task(3, "twice"),
            sample::task(4, "twice"),
        ];
        assert_eq!(pick(&tasks, "nightly").unwrap().id, tasks[0].id);
        assert_eq!(pick(&tasks, "019c").unwrap().id, tasks[1].id);
        assert_eq!(pick(&tasks, "019C8A3B-7f2e-7001").unwrap().id, tasks[0].id);
        for (text, says) in
            [("weekly", "no task"), ("", "no task"), ("twice", "fits several"), ("019c8", "several")]
        {
            let trouble = pick(&tasks, text).unwrap_err();
            assert_eq!(trouble.exit, Exit::NotFound);
            assert!(trouble.message.contains(says), "{text}: {}", trouble.message);
        }
    }
}
