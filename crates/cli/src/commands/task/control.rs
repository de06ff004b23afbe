//! `longhaul task run`, `request`, `cancel` and `rm`.

use std::collections::BTreeMap;

use longhaul_client::{Client, RunningInstance};
use longhaul_contract::{BackgroundTask, ReasonCode, RequestResult, TaskId};

use super::log;
use crate::connect::Context;
use crate::exit::Exit;
use crate::trouble::Trouble;
use crate::{command_line, tasks};

/// Run a task now, whatever its trigger and conditions say
#[derive(Debug, clap::Args)]
pub(crate) struct Run {
    /// The task, by its name, its id or the beginning of it
    #[arg(value_name = "TASK")]
    task: String,
    /// Show what the run writes until it is over
    #[arg(short, long)]
    follow: bool,
}

/// Fire a task whose trigger is `app`, `media` or `device`
///
/// Prints what came of it: Allowed, CurrentlyRunning, DisabledByPolicy and so on. Allowed means accepted; the task starts
/// when its conditions hold.
#[derive(Debug, clap::Args)]
pub(crate) struct Request {
    /// The task, by its name, its id or the beginning of it
    #[arg(value_name = "TASK")]
    task: String,
    /// Arguments that the task gets with its trigger details
    #[arg(value_name = "NAME=VALUE", value_parser = parse_argument)]
    arguments: Vec<(String, String)>,
}

/// Ask the running instance of a task to end; it has five seconds
#[derive(Debug, clap::Args)]
pub(crate) struct Cancel {
    /// The task, by its name, its id or the beginning of it
    #[arg(value_name = "TASK")]
    task: String,
    /// Another run than the one that is going on, by its id or the beginning of it
    #[arg(short, long, value_name = "ID")]
    instance: Option<String>,
}

/// Unregister tasks
///
/// A command that `task add` or `when` wrote into the manifest is taken out of it when no task uses it any more.
#[derive(Debug, clap::Args)]
pub(crate) struct Remove {
    /// The tasks, by their names, their ids or the beginnings of them
    #[arg(value_name = "TASK", required_unless_present = "done")]
    tasks: Vec<String>,
    /// All tasks that have fired and fire only once
    #[arg(long, conflicts_with = "tasks")]
    done: bool,
    /// Let a running instance finish, instead of cancelling it
    #[arg(long)]
    keep_running: bool,
}

fn parse_argument(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("{text:?} is not NAME=VALUE"))?;
    Ok((name.to_owned(), value.to_owned()))
}

pub(crate) async fn run(arguments: Run, context: &Context) -> Result<Exit, Trouble> {
    let client = context.client().await?;
    let task = tasks::resolve(&client, &arguments.task).await?;
    let started = task.run().await?;
    let console = &context.console;
    match started {
        Some(instance) if arguments.follow => return log::follow(context, &task, instance).await,
        Some(instance) => {
            console.data(&serde_json::json!({ "instanceId": instance }), |_| format!("{instance}\n"))?;
        }
        None => {
            console.data(&serde_json::json!({ "instanceId": null }), |_| String::new())?;
            if !console.is_json {
                console.say("It has to wait its turn; longhaul task why tells for what.");
            }
        }
    }
    Ok(Exit::Success)
}

pub(crate) async fn request(arguments: Request, context: &Context) -> Result<Exit, Trouble> {
    let client = context.client().await?;
    let task = tasks::resolve(&client, &arguments.task).await?;
    let result = task.request(arguments.arguments.into_iter().collect::<BTreeMap<_, _>>()).await?;
    context.console.data(&serde_json::json!({ "result": result }), |_| format!("{result}\n"))?;
    Ok(if result == RequestResult::Allowed { Exit::Success } else { Exit::State })
}

pub(crate) async fn cancel(arguments: Cancel, context: &Context) -> Result<Exit, Trouble> {
    let client = context.client().await?;
    let task = tasks::resolve(&client, &arguments.task).await?;
    let instance = match &arguments.instance {
        Some(text) => log::find(&task, Some(text)).await?,
        None => task
            .get()
            .await?
            .running_instance
            .ok_or_else(|| Trouble::new(Exit::State, "no instance of the task is running"))?,
    };
    task.cancel(instance).await?;
    context
        .console
        .data(&serde_json::json!({ "canceled": instance }), |_| format!("{instance} canceled\n"))?;
    Ok(Exit::Success)
}

pub(crate) async fn remove(arguments: Remove, context: &Context) -> Result<Exit, Trouble> {
    let client = context.client().await?;
    let ids: Vec<TaskId> = if arguments.done {
        tasks::all(&client).await?.iter().filter(|task| is_done(task)).map(|task| task.id).collect()
    } else {
        let found = tasks::resolve_all(&client, &arguments.tasks).await?;
        found.iter().map(longhaul_client::Task::id).collect()
    };
    let running = if arguments.keep_running { RunningInstance::LetFinish } else { RunningInstance::Cancel };
    let mut removed = Vec::new();
    let mut exit = Exit::Success;
    for id in ids {
        match unregister(&client, id, running).await {
            Ok(()) => {
                if !context.console.is_json {
                    context.console.text(&format!("{id} removed\n"))?;
                }
                removed.push(id);
            }
            Err(trouble) if trouble.problem.is_some() => {
                context.console.complain(&trouble);
                exit = if exit == Exit::Success { trouble.exit } else { exit };
            }
            Err(trouble) => return Err(trouble),
        }
    }
    if !removed.is_empty() {
        command_line::forget_unused(context, &client).await?;
    }
    if context.console.is_json {
        context.console.json(&serde_json::json!({ "removed": removed }))?;
    }
    Ok(exit)
}

async fn unregister(client: &Client, id: TaskId, running: RunningInstance) -> Result<(), Trouble> {
    Ok(client.task(id).unregister(running).await?)
}

fn is_done(task: &BackgroundTask) -> bool {
    !task.is_active && task.waiting.iter().any(|reason| reason.code == ReasonCode::Consumed)
}
