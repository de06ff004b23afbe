//! `longhaul when`.

use longhaul_client::Client;
use longhaul_contract::{
    BackgroundTask, Condition, ErrorCode, OnConflict, RegisterTaskRequest, TaskName, TriggerKind, TriggerSpec,
};

use crate::command_line::{self, Work};
use crate::commands::task::{CommonOptions, parse_seconds};
use crate::connect::Context;
use crate::exit::Exit;
use crate::text::escape;
use crate::trouble::Trouble;
use crate::{condition, tasks};

/// Run a command once, as soon as conditions hold
///
/// It is a task that has fired already and fires only once, so it survives logout, crash and reboot, and starts at the
/// first moment at which all conditions hold together. Once started it is not stopped when they cease to hold. See it
/// with `longhaul task ls`, take it back with `longhaul task rm NAME`, and clear away what is done with `longhaul
/// task rm --done`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[arg(value_name = "CONDITION", value_delimiter = ',', required = true, value_parser = condition::parse)]
    #[arg(help = format!("What must hold, separated by commas. {}", condition::HELP))]
    conditions: Vec<Condition>,
    /// Name of the task; when-1, when-2 and so on without
    #[arg(long, value_name = "NAME")]
    name: Option<TaskName>,
    /// Longest run, such as 10m or 2h, within what the owner allows
    #[arg(long, value_name = "TIME", value_parser = parse_seconds, default_value = "1d")]
    time_limit: u32,
    #[command(flatten)]
    common: CommonOptions,
}

pub(crate) async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Trouble> {
    let entry_point = command_line::entry_point(&arguments.common.command)?;
    let mut request = RegisterTaskRequest::new(name(1)?, "", trigger());
    request.conditions.clone_from(&arguments.conditions);
    arguments.common.apply(&mut request);
    request.time_limit = Some(arguments.time_limit);
    let client = context.client().await?;
    let task = match arguments.name {
        Some(name) => {
            request.name = name;
            let work = Work::Command(Box::new(entry_point));
            command_line::register(context, &client, request, work, OnConflict::Fail).await?
        }
        None => register_unnamed(context, &client, request, Work::Command(Box::new(entry_point))).await?,
    };
    context.console.data(&task, |_| format!("{}\n", task.id))?;
    if !context.console.is_json {
        tasks::warn(&task, &context.console);
        let name = escape(task.name.as_str()).into_owned();
        context.console.say(&format!(
            "{name} runs as soon as this holds: {}. See longhaul task why {name}",
            condition::sentence(&arguments.conditions)
        ));
    }
    Ok(Exit::Success)
}

/// Fires with its registration and never again. The period is the shortest there is, and never comes to pass.
fn trigger() -> TriggerSpec {
    let mut spec = TriggerSpec {
        freshness_time: Some(longhaul_contract::trigger::FRESHNESS_MINUTES_MIN),
        one_shot: true,
        ..TriggerSpec::new(TriggerKind::TimeTrigger)
    };
    spec.parameters.insert("first".to_owned(), "now".to_owned());
    spec
}

/// Takes the first number that is free. Who took it meanwhile makes the service refuse, and the next is tried.
async fn register_unnamed(
    context: &Context,
    client: &Client,
    mut request: RegisterTaskRequest,
    work: Work,
) -> Result<BackgroundTask, Trouble> {
    let taken: std::collections::BTreeSet<String> =
        tasks::all(client).await?.into_iter().map(|task| task.name.as_str().to_owned()).collect();
    let mut number = 1;
    loop {
        let name = name(number)?;
        number += 1;
        if taken.contains(name.as_str()) {
            continue;
        }
        request.name = name;
        match command_line::register(context, client, request.clone(), work.clone(), OnConflict::Fail).await {
            Err(trouble)
                if trouble
                    .problem
                    .as_ref()
                    .is_some_and(|problem| problem.code == ErrorCode::TaskNameTaken) => {}
            registered => return registered,
        }
    }
}

fn name(number: u32) -> Result<TaskName, Trouble> {
    TaskName::new(&format!("when-{number}")).map_err(|error| Trouble::new(Exit::Internal, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registration_is_the_one_firing() {
        assert_eq!(
            serde_json::to_value(trigger()).unwrap(),
            serde_json::json!({
                "type": "TimeTrigger", "freshnessTime": 15, "oneShot": true, "parameters": { "first": "now" }
            })
        );
        assert_eq!(name(7).unwrap().as_str(), "when-7");
    }
}
