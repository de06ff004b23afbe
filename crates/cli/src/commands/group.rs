//! `longhaul group`.

use longhaul_contract::{Group, GroupName, TransferBehavior};
use serde::Serialize;

use crate::connect::Context;
use crate::console::View;
use crate::exit::Exit;
use crate::table::{Align, Cell, Table};
use crate::text::escape;
use crate::trouble::Trouble;
use crate::{describe, identifiers};

/// Groups of downloads that share time
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List the groups
    Ls,
    /// Show one group
    Show {
        /// The group
        #[arg(value_name = "NAME")]
        name: GroupName,
    },
    /// Say whether the members run in parallel or one after the other; makes the group where it is new
    Set {
        /// The group
        #[arg(value_name = "NAME")]
        name: GroupName,
        /// parallel or serialized
        #[arg(value_name = "BEHAVIOR")]
        behavior: TransferBehavior,
    },
    /// Let a member of a serialized group go first; the one that ran before keeps its bytes and waits
    MakeCurrent {
        /// The download, by its id or the beginning of it
        #[arg(value_name = "ID")]
        id: String,
    },
}

#[derive(Serialize)]
struct Items<'a> {
    items: &'a [Group],
}

pub(crate) async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Trouble> {
    let client = context.client().await?;
    let console = &context.console;
    match arguments.command {
        Command::Ls => {
            let groups = client.groups().await?;
            console.data(&Items { items: &groups }, |view| render(&groups, view))?;
            if groups.is_empty() && !console.is_json {
                console.say("No groups.");
            }
        }
        Command::Show { name } => {
            let group = client.group(&name).await?;
            console.data(&group, |view| render(std::slice::from_ref(&group), view))?;
        }
        Command::Set { name, behavior } => {
            let group = client.put_group(&name, behavior).await?;
            console.data(&group, |view| render(std::slice::from_ref(&group), view))?;
        }
        Command::MakeCurrent { id } => {
            let operation = identifiers::resolve(&client, &id).await?.make_current().await?;
            let (status, style) = describe::status(&operation);
            console.data(&operation, |view| {
                format!(
                    "{} goes first, {}\n",
                    describe::name(&operation, None),
                    view.paint.paint(style, status)
                )
            })?;
        }
    }
    Ok(Exit::Success)
}

fn render(groups: &[Group], view: &View) -> String {
    if groups.is_empty() {
        return String::new();
    }
    let mut table =
        Table::new(&[("NAME", Align::Left), ("BEHAVIOR", Align::Left), ("UNDER WAY", Align::Right)]);
    for group in groups {
        table.row([
            Cell::from(escape(group.name.as_str())),
            Cell::from(group.transfer_behavior.word()),
            Cell::from(group.live_operations.to_string()),
        ]);
    }
    table.render(view)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn groups() {
        let group = |name: &str, transfer_behavior, live_operations| Group {
            name: GroupName::new(name).unwrap(),
            transfer_behavior,
            live_operations,
        };
        let groups = [
            group("photos", TransferBehavior::Serialized, 10_000),
            group("ph\u{202e}otos", TransferBehavior::Parallel, 0),
        ];
        insta::assert_snapshot!(render(&groups, &sample::view(80)));
    }
}
