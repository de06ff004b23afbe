//! `longhaul task log`.

use std::time::Duration;

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

/// How often a run that is followed is asked for news.
const FOLLOW_PERIOD: Duration = Duration::from_millis(250);

pub(crate) async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Trouble> {
    let client = context.client().await?;
    let task = tasks::resolve(&client, &arguments.task).await?;
    let id = find(&task, arguments.instance.as_deref()).await?;
    if arguments.follow {
        return follow(context, &task, id).await;
    }
    let output = output_of(&task, id).await?;
    if context.console.is_json {
        let instance = task.instance(id).await?;
        context.console.json(&Logged { instance: &instance, output: &output })?;
    } else {
        show(context, &mut Shown::default(), &output)?;
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
    let mut shown = Shown::default();
    loop {
        // Asked before its output: what comes with the end is not missed.
        let instance = task.instance(id).await?;
        let output = output_of(task, id).await?;
        let is_over = instance.state.is_over() && !output.is_running;
        if !context.console.is_json {
            show(context, &mut shown, &output)?;
        } else if is_over {
            context.console.json(&Logged { instance: &instance, output: &output })?;
        }
        if is_over {
            if !context.console.is_json {
                let view = context.console.err_view();
                let (state, style) = tasks::instance_state(&instance);
                context.console.say(&view.paint.paint(style, &state));
                tell_limits(context, &instance);
            }
            return Ok(tasks::exit_of(&instance));
        }
        tokio::time::sleep(FOLLOW_PERIOD).await;
    }
}

/// What of its limits and its sandbox did not hold as it was asked for, on standard error.
fn tell_limits(context: &Context, instance: &Instance) {
    let view = context.console.err_view();
    let mut lines = Vec::new();
    lines.extend(instance.ran_out_of_memory.then(|| "its memory limit was reached".to_owned()));
    let weak = instance.limits.iter().filter(|limit| !limit.is_enforced || limit.detail.is_some());
    lines.extend(weak.map(tasks::limit));
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

/// How much of an output has been shown, in bytes from its beginning.
#[derive(Debug, Default)]
struct Shown(usize);

impl Shown {
    /// What is new. The beginning of an output stays; behind a gap its end moves on.
    fn news(&mut self, output: &InstanceOutput) -> String {
        let gap = gap(output.dropped);
        let (head, tail) = match output.text.split_once(&gap) {
            Some((head, tail)) if output.dropped > 0 => (head, tail),
            _ => (output.text.as_str(), ""),
        };
        let tail_start = head.len() + usize::try_from(output.dropped).unwrap_or(usize::MAX / 2);
        let mut news = from(head, self.0).to_owned();
        if !tail.is_empty() {
            let seen = self.0.max(head.len());
            if tail_start > seen {
                news.push_str(&self::gap((tail_start - seen) as u64));
            }
            news.push_str(from(tail, seen.saturating_sub(tail_start)));
        }
        let total = if tail.is_empty() { head.len() } else { tail_start + tail.len() };
        self.0 = self.0.max(total);
        news
    }
}

/// The line that the service puts where it left out so many bytes.
fn gap(dropped: u64) -> String {
    format!("\n[{dropped} bytes left out]\n")
}

/// Behind so many bytes, or the end of the letter that they cut.
fn from(text: &str, offset: usize) -> &str {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset += 1;
    }
    &text[offset..]
}

fn show(context: &Context, shown: &mut Shown, output: &InstanceOutput) -> Result<(), Trouble> {
    let text = shown.news(output);
    if context.console.is_out_terminal {
        let line = |line: &str| line.split('\t').map(escape).collect::<Vec<_>>().join("\t");
        let safe: Vec<_> = text.split('\n').map(line).collect();
        context.console.text(&safe.join("\n"))
    } else {
        context.console.text(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(text: &str, dropped: u64) -> InstanceOutput {
        InstanceOutput { text: text.to_owned(), dropped, is_running: true }
    }

    #[test]
    fn only_news_are_shown() {
        let mut shown = Shown::default();
        assert_eq!(shown.news(&output("", 0)), "");
        assert_eq!(shown.news(&output("one\n", 0)), "one\n");
        assert_eq!(shown.news(&output("one\n", 0)), "");
        assert_eq!(shown.news(&output("one\nzwölf\n", 0)), "zwölf\n");
        // "zwö" is dropped; the rest has been seen.
        assert_eq!(shown.news(&output("one\n\n[4 bytes left out]\nlf\nnext\n", 4)), "next\n");
        assert_eq!(
            shown.news(&output("one\n\n[90 bytes left out]\nlast\n", 90)),
            "\n[78 bytes left out]\nlast\n"
        );
        assert_eq!(shown.news(&output("one\n\n[90 bytes left out]\nlast\n", 90)), "");
    }

    #[test]
    fn an_output_with_a_gap_is_shown_with_it() {
        let whole = "head\n[5000 bytes left out]\ntail";
        assert_eq!(Shown::default().news(&output(whole, 5_000)), whole);
    }

    #[test]
    fn a_letter_is_never_cut() {
        assert_eq!(Shown(1).news(&output("ää", 0)), "ä");
    }
}
