//! `longhaul task add`.

use longhaul_contract::{Condition, OnConflict, RegisterTaskRequest, Retry, Secret, TaskGroupId, TaskName};

use crate::command_line::{self, Work};
use crate::connect::Context;
use crate::exit::Exit;
use crate::input::trigger;
use crate::trouble::Trouble;
use crate::{condition, tasks};

/// Register a task
///
/// The task is a command behind --, which is written into the application's manifest as it would be found and run here
/// and now, or a class that the manifest has already. It survives logout, crash and reboot.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Name of the task, unique among the application's
    #[arg(value_name = "NAME")]
    name: TaskName,
    #[arg(short, long, value_name = "TRIGGER", help = format!("What starts it: {}", trigger::HELP))]
    trigger: String,
    #[arg(short, long = "condition", value_name = "CONDITION", value_delimiter = ',', value_parser = condition::parse)]
    #[arg(help = format!("Start only while this holds (any number, all of them). {}", condition::HELP))]
    conditions: Vec<Condition>,
    /// Class that the application's manifest declares, in place of a command
    #[arg(
        short,
        long,
        value_name = "CLASS",
        required_unless_present = "command",
        conflicts_with = "command"
    )]
    entry_point: Option<String>,
    /// Fire only once; the registration stays until it is removed
    #[arg(long)]
    once: bool,
    /// Cancel it when one of its conditions stops to hold
    #[arg(long)]
    cancel_on_condition_loss: bool,
    /// Longest run, such as 10m or 2h, within what the owner allows; without it 30 seconds for most triggers
    #[arg(long, value_name = "TIME", value_parser = parse_seconds)]
    time_limit: Option<u32>,
    /// What to do when the name is taken: fail, replace the other one, or allow both
    #[arg(long, value_name = "WHAT", default_value = "fail")]
    on_conflict: ConflictWord,
    #[command(flatten)]
    common: CommonOptions,
}

/// What `task add` and `when` have in common.
#[derive(Debug, clap::Args)]
pub(crate) struct CommonOptions {
    /// Group that the task is handled in apart from the others
    #[arg(long, value_name = "GROUP")]
    group: Option<TaskGroupId>,
    /// Run it again after a failure, up to N times, the first time after DELAY (1m), then after twice as long, and so on
    #[arg(long, value_name = "N[:DELAY]", value_parser = parse_retry)]
    retry: Option<Retry>,
    /// With --retry: also after a crash of the service or the machine during a run
    #[arg(long, requires = "retry")]
    retry_interrupted: bool,
    /// Keep the network up while it runs
    #[arg(long)]
    network: bool,
    /// Variable for the command (any number); kept as a secret
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_variable)]
    env: Vec<(String, String)>,
    /// The command and its arguments, run without a shell
    #[arg(last = true, value_name = "COMMAND", num_args = 1..)]
    pub(crate) command: Vec<String>,
}

impl CommonOptions {
    /// Moves what was said into a registration.
    pub(crate) fn apply(self, request: &mut RegisterTaskRequest) {
        request.task_group = self.group;
        request.retry = self.retry.map(|retry| Retry { after_interruption: self.retry_interrupted, ..retry });
        request.is_network_requested = self.network;
        request.env = self.env.into_iter().map(|(name, value)| (name, Secret::new(value))).collect();
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum ConflictWord {
    Fail,
    /// Its running instance is cancelled
    Replace,
    Allow,
}

impl From<ConflictWord> for OnConflict {
    fn from(word: ConflictWord) -> Self {
        match word {
            ConflictWord::Fail => Self::Fail,
            ConflictWord::Replace => Self::Replace,
            ConflictWord::Allow => Self::Allow,
        }
    }
}

pub(crate) async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Trouble> {
    let mut trigger = trigger::parse(&arguments.trigger)?;
    trigger.one_shot |= arguments.once;
    let work = match arguments.entry_point {
        Some(class) => Work::Class(class),
        None => Work::Command(Box::new(command_line::entry_point(&arguments.common.command)?)),
    };
    let mut request = RegisterTaskRequest::new(arguments.name, "", trigger);
    request.conditions = arguments.conditions;
    request.cancel_on_condition_loss = arguments.cancel_on_condition_loss;
    request.time_limit = arguments.time_limit;
    arguments.common.apply(&mut request);
    let client = context.client().await?;
    let task = command_line::register(context, &client, request, work, arguments.on_conflict.into()).await?;
    context.console.data(&task, |_| format!("{}\n", task.id))?;
    if !context.console.is_json {
        tasks::warn(&task, &context.console);
    }
    Ok(Exit::Success)
}

/// `30s`, `10m`, `2h`, `1d`, `1h30m`: whole seconds.
pub(crate) fn parse_seconds(text: &str) -> Result<u32, String> {
    let refuse = || format!("{text:?} is not a time such as 30s, 10m, 2h or 1d");
    // A day is 24 hours here.
    let (days, rest) = text.split_once('d').unwrap_or(("0", text));
    let days: i64 = days.parse().map_err(|_| refuse())?;
    let rest = if rest.is_empty() {
        0
    } else {
        let duration: jiff::SignedDuration = rest.parse().map_err(|_| refuse())?;
        if duration.subsec_nanos() != 0 {
            return Err(refuse());
        }
        duration.as_secs()
    };
    let seconds = days.checked_mul(86_400).and_then(|days| days.checked_add(rest)).ok_or_else(refuse)?;
    u32::try_from(seconds).ok().filter(|seconds| *seconds > 0).ok_or_else(refuse)
}

fn parse_retry(text: &str) -> Result<Retry, String> {
    let (max, delay) = text.split_once(':').unwrap_or((text, "1m"));
    let max: u8 = max.parse().map_err(|_| format!("{max:?} is not a number of runs, 1 to 10"))?;
    Ok(Retry { max, delay_seconds: parse_seconds(delay)?, after_interruption: false })
}

fn parse_variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("{text:?} is not NAME=VALUE")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_whole_seconds() {
        for (text, seconds) in
            [("30s", 30), ("10m", 600), ("1h30m", 5_400), ("1d", 86_400), ("1d12h", 129_600)]
        {
            assert_eq!(parse_seconds(text), Ok(seconds), "{text}");
        }
        for bad in ["", "10", "0s", "-1m", "1.5s", "d", "100000d", "soon"] {
            assert!(parse_seconds(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn retries_and_variables_are_read() {
        let retry = |max, delay_seconds| Retry { max, delay_seconds, after_interruption: false };
        assert_eq!(parse_retry("3"), Ok(retry(3, 60)));
        assert_eq!(parse_retry("5:10s"), Ok(retry(5, 10)));
        assert!(parse_retry("many").is_err() && parse_retry("3:").is_err() && parse_retry("300").is_err());
        assert_eq!(parse_variable("A=b=c"), Ok(("A".to_owned(), "b=c".to_owned())));
        assert!(parse_variable("A").is_err() && parse_variable("=b").is_err());
    }
}
