//! `longhaul task log`.

use longhaul_client::Task;
use longhaul_contract::instance::InstanceOutput;
use longhaul_contract::{ErrorCode, Instance, InstanceId};
use serde::Serialize;

use crate::connect::Context;
use crate::exit::Exit;
use crate::tasks;
use crate::text::escape;
use crate::trouble::Trouble;

/// Show what a run of a task has written
///
/// A task that has unregistered itself is found too; see `longhaul task ls --past`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The task, by its name, its id or the beginning of it
    #[arg(value_name = "TASK")]
    task: String,
    /// The run, by its id or the beginning of it; the newest one without
    #[arg(short, long, value_name = "ID")]
    instance: Option<String>,
    /// Show what comes until the run is over
    #[arg(short, long)]
    follow: bool,
}

#[derive(Serialize)]
struct Logged<'a> {
    instance: &'a Instance,
    output: &'a InstanceOutput,
}

pub(crate) async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Trouble> {
    let client = context.client().await?;
    let task = tasks::resolve_with_past(&client, &arguments.task).await?;
    let id = find(&task, arguments.instance.as_deref()).await?;
    if arguments.follow {
        return follow(context, &task, id).await;
    }
    let output = output_of(&task, id).await?;
    if context.console.is_json {
        let instance = task.instance(id).await?;
        context.console.json(&Logged { instance: &instance, output: &output })?;
    } else {
        show(context, &output.text)?;
        tell_limits(context, &task.instance(id).await?);
    }
    Ok(Exit::Success)
}

/// The run that is meant by the beginning of its id, or the newest.
pub(super) async fn find(task: &Task, text: Option<&str>) -> Result<InstanceId, Trouble> {
    if let Some(Ok(id)) = text.map(str::parse::<InstanceId>) {
        return Ok(id);
    }
    let prefix = text.unwrap_or_default().to_ascii_lowercase();
    let instances = task.instances().await?;
    let mut fitting = instances.iter().filter(|instance| instance.id.to_string().starts_with(&prefix));
    match (fitting.next(), fitting.next()) {
        (None, _) => Err(Trouble::new(Exit::NotFound, "there is no such run of the task")
            .advise("See its runs with `longhaul task show TASK`.")),
        (Some(_), Some(_)) if text.is_some() => {
            Err(Trouble::new(Exit::NotFound, format!("{prefix} fits several runs"))
                .advise("Give more of the id."))
        }
        (Some(newest), _) => Ok(newest.id),
    }
}

/// Shows the run's output until it is over; its end decides the exit code.
pub(super) async fn follow(context: &Context, task: &Task, id: InstanceId) -> Result<Exit, Trouble> {
    let mut reader = task.follow_output(id).await?;
    let mut rest = Vec::new();
    while let Some(chunk) = reader.chunk().await? {
        if !context.console.is_json {
            rest.extend_from_slice(&chunk);
            show(context, &letters(&mut rest))?;
        }
    }
    let instance = task.instance(id).await?;
    if context.console.is_json {
        context.console.json(&Logged { instance: &instance, output: &output_of(task, id).await? })?;
    } else {
        let view = context.console.err_view();
        let (state, style) = tasks::instance_state(&instance);
        context.console.say(&view.paint.paint(style, &state));
        tell_limits(context, &instance);
    }
    Ok(tasks::exit_of(&instance))
}

/// Takes the letters that have come whole; the service sends nothing but UTF-8.
fn letters(bytes: &mut Vec<u8>) -> String {
    let whole = match std::str::from_utf8(bytes) {
        Ok(text) => text.len(),
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        Err(_) => bytes.len(),
    };
    let taken: Vec<u8> = bytes.drain(..whole).collect();
    String::from_utf8_lossy(&taken).into_owned()
}

/// What of its limits and its sandbox did not hold as it was asked for, on standard error.
fn tell_limits(context: &Context, instance: &Instance) {
    let view = context.console.err_view();
    let mut lines = Vec::new();
    lines.extend(instance.ran_out_of_memory.then(|| "its memory limit was reached".to_owned()));
    let weak = instance.limits.iter().filter(|limit| !limit.is_enforced || limit.detail.is_some());
    lines.extend(weak.map(tasks::limit));
    let asleep = instance.keep_awake.as_ref().filter(|keep_awake| !keep_awake.is_held);
    lines.extend(asleep.map(|keep_awake| format!("kept awake: {}", tasks::keep_awake(keep_awake))));
    for line in lines {
        context.console.say(&format!("{} {line}", view.paint.warning_mark()));
    }
}

/// A run that has not written anything yet has no output.
async fn output_of(task: &Task, id: InstanceId) -> Result<InstanceOutput, Trouble> {
    match task.output(id).await {
        Err(error) if error.code() == Some(ErrorCode::NotFound) => {
            let instance = task.instance(id).await?;
            let is_running = !instance.state.is_over();
            Ok(InstanceOutput { text: String::new(), dropped: 0, is_running })
        }
        output => Ok(output?),
    }
}

fn show(context: &Context, text: &str) -> Result<(), Trouble> {
    if context.console.is_out_terminal {
        let line = |line: &str| line.split('\t').map(escape).collect::<Vec<_>>().join("\t");
        let safe: Vec<_> = text.split('\n').map(line).collect();
        context.console.text(&safe.join("\n"))
    } else {
        context.console.text(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_is_never_cut() {
        let mut bytes = b"a\xc3".to_vec();
        assert_eq!(letters(&mut bytes), "a");
        bytes.extend_from_slice(b"\xa4b");
        assert_eq!((letters(&mut bytes), bytes.len()), ("\u{e4}b".to_owned(), 0));
    }
}
