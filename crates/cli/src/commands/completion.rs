//! `longhaul completion`.

use longhaul_client::Client;
use longhaul_contract::{
    CompletionGroup, CompletionGroupDetail, CompletionGroupId, CreateCompletionGroup, Notification,
};
use serde::Serialize;

use crate::connect::Context;
use crate::console::View;
use crate::exit::Exit;
use crate::table::{Align, Cell, Table};
use crate::trouble::Trouble;
use crate::{describe, identifiers};

/// Sets of transfers whose common end runs a task
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a completion group and print its id
    New {
        /// Show this on the desktop when all members have completed
        #[arg(long, value_name = "TITLE")]
        on_success: Option<String>,
        /// Show this on the desktop when all are over and one has failed or was canceled
        #[arg(long, value_name = "TITLE")]
        on_failure: Option<String>,
    },
    /// Show a completion group and its members
    Show {
        /// The completion group, by its id or the beginning of it
        #[arg(value_name = "ID")]
        id: String,
    },
    /// Close the set: nothing can join it any more, and its task runs once all members have ended
    Enable {
        /// The completion group, by its id or the beginning of it
        #[arg(value_name = "ID")]
        id: String,
    },
    /// List the completion groups
    Ls,
}

#[derive(Serialize)]
struct Items<'a> {
    items: &'a [CompletionGroup],
}

pub(crate) async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Trouble> {
    let client = context.client().await?;
    let console = &context.console;
    match arguments.command {
        Command::New { on_success, on_failure } => {
            let notification = |title| Notification { title, body: None };
            let spec = CreateCompletionGroup {
                success_notification: on_success.map(notification),
                failure_notification: on_failure.map(notification),
            };
            let group = client.create_completion_group(&spec).await?;
            console.data(&group, |_| format!("{}\n", group.id))?;
        }
        Command::Show { id } => {
            let id = resolve(&client, &id).await?;
            let detail = client.completion_group(id).await?;
            console.data(&detail, |view| show(&detail, view))?;
        }
        Command::Enable { id } => {
            let id = resolve(&client, &id).await?;
            let group = client.enable_completion_group(id).await?;
            console.data(&group, |view| list(std::slice::from_ref(&group), view))?;
        }
        Command::Ls => {
            let groups = client.completion_groups().await?;
            console.data(&Items { items: &groups }, |view| list(&groups, view))?;
            if groups.is_empty() && !console.is_json {
                console.say("No completion groups.");
            }
        }
    }
    Ok(Exit::Success)
}

/// Finds the one group whose id begins with `text`.
pub(crate) async fn resolve(client: &Client, text: &str) -> Result<CompletionGroupId, Trouble> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    let wanted = text.to_ascii_lowercase();
    let groups = client.completion_groups().await?;
    let mut found = groups.iter().map(|group| group.id).filter(|id| id.to_string().starts_with(&wanted));
    match (found.next().filter(|_| !wanted.is_empty()), found.next()) {
        (Some(only), None) => Ok(only),
        (None, _) => Err(Trouble::new(
            Exit::NotFound,
            format!("no completion group has an id that begins with {text:?}"),
        )
        .advise("See the ids with `longhaul completion ls`.")),
        (Some(_), Some(_)) => {
            Err(Trouble::new(Exit::NotFound, format!("{text} fits several completion groups"))
                .advise("Give more of the id."))
        }
    }
}

fn state(group: &CompletionGroup) -> &'static str {
    match (group.is_over, group.is_enabled) {
        (true, _) => "over",
        (false, true) => "enabled",
        (false, false) => "open",
    }
}

fn list(groups: &[CompletionGroup], view: &View) -> String {
    if groups.is_empty() {
        return String::new();
    }
    let ids: Vec<String> = groups.iter().map(|group| group.id.to_string()).collect();
    let mut table = Table::new(&[
        ("ID", Align::Left),
        ("STATE", Align::Left),
        ("UNDER WAY", Align::Right),
        ("TASK", Align::Left),
        ("CREATED", Align::Left),
    ]);
    for (group, id) in groups.iter().zip(identifiers::shortened(&ids)) {
        table.row([
            Cell::from(id),
            Cell::from(state(group)),
            Cell::from(group.live_operations.to_string()),
            Cell::from(group.task_id.map_or_else(|| "-".to_owned(), |task| task.to_string())),
            Cell::from(view.instant(group.created_time)),
        ]);
    }
    table.render(view)
}

fn show(detail: &CompletionGroupDetail, view: &View) -> String {
    let group = &detail.group;
    let mut text = list(std::slice::from_ref(group), view);
    let members: Vec<_> = detail.downloads.iter().chain(&detail.uploads).cloned().collect();
    if members.is_empty() {
        text.push_str("No members.\n");
        return text;
    }
    let mut table = Table::new(&[("ID", Align::Left), ("STATUS", Align::Left), ("NAME", Align::Left)]);
    for (member, id) in members.iter().zip(identifiers::short(&members)) {
        table.row([
            Cell::from(id),
            Cell::from(member.status.word()),
            Cell::from(describe::name(member, None)),
        ]);
    }
    text.push('\n');
    text.push_str(&table.render(view));
    text
}

#[cfg(test)]
mod tests {
    use longhaul_contract::TransferStatus;

    use super::*;
    use crate::sample;

    fn group(number: u8) -> CompletionGroup {
        CompletionGroup {
            id: format!("019c8a3b-7f2e-7{number:03x}-8000-000000000000").parse().unwrap(),
            is_enabled: number > 1,
            is_over: number > 2,
            live_operations: u64::from(3 - number),
            task_id: None,
            created_time: sample::NOW,
            enabled_time: None,
            ended_time: None,
            success_notification: None,
            failure_notification: None,
        }
    }

    #[test]
    fn groups_and_members() {
        let groups = [group(1), group(2), group(3)];
        let listed = list(&groups, &sample::view(100));
        for (line, state) in listed.lines().skip(1).zip(["open", "enabled", "over"]) {
            assert!(line.contains(state), "{listed}");
        }
        let mut failed = sample::numbered(2, "b.bin");
        failed.status = TransferStatus::Error;
        let downloads = vec![sample::numbered(1, "a.bin"), failed];
        let detail = CompletionGroupDetail { group: group(2), downloads, uploads: Vec::new() };
        let shown = show(&detail, &sample::view(100));
        for text in ["a.bin", "b.bin", "Running", "Error"] {
            assert!(shown.contains(text), "{shown}");
        }
    }
}
