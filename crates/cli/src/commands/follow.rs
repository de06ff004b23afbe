//! `longhaul follow`.

use longhaul_client::DownloadQuery;
use longhaul_contract::{EventKind, GroupName};

use crate::commands::control::resolve_all;
use crate::connect::Context;
use crate::describe;
use crate::exit::Exit;
use crate::following::picture::Picture;
use crate::following::{Ending, Following, Showing};
use crate::trouble::Trouble;

/// Follow downloads to their end
///
/// With ids, or those of a group or label: until all of them have ended, taking their results; the exit code is that
/// of `get`. Without: whatever is under way, until Ctrl-C. With --json: every event, one document a line.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The downloads, by their ids or the beginnings of them
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// The members of this group
    #[arg(short, long, value_name = "NAME", conflicts_with = "ids")]
    group: Option<GroupName>,
    /// Those with this label
    #[arg(short, long, value_name = "LABEL", conflicts_with = "ids")]
    label: Option<String>,
}

pub(crate) async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Trouble> {
    let client = context.client().await?;
    let is_selective = arguments.group.is_some() || arguments.label.is_some();
    let showing = if context.console.is_json { Showing::Events } else { Showing::Progress };
    let mut picture =
        if arguments.ids.is_empty() && !is_selective { Picture::of_all() } else { Picture::of_expected() };
    for transfer in resolve_all(&client, &arguments.ids).await? {
        picture.expect_one_of(transfer.kind(), transfer.id(), transfer.id().to_string());
    }
    if is_selective {
        let query =
            DownloadQuery { group: arguments.group, label: arguments.label, ..DownloadQuery::default() };
        for operation in client.operations(query).collect().await? {
            picture.expect_one_of(operation.kind, operation.id, describe::short_name(&operation));
        }
        if picture.items().next().is_none() {
            return Err(Trouble::new(Exit::NotFound, "there is no such operation"));
        }
    }
    let takes_all = picture.follows_all();
    let kinds = if takes_all { Vec::new() } else { kinds_without_snapshot() };
    let watch = client.watch(&kinds);
    let mut following = Following::new(context, client, watch, picture, showing);
    if !takes_all {
        following = following.taking_results();
    }
    following.connected().await?;
    following.refresh().await?;
    if takes_all && showing == Showing::Progress {
        context.console.say("Following everything that is under way; Ctrl-C ends this and nothing else.");
    }
    match following.run().await? {
        Ending::Settled => Ok(following.picture.exit()),
        Ending::Interrupted if takes_all => Ok(Exit::Success),
        Ending::Interrupted => {
            context.console.say("They go on in the background.");
            Ok(Exit::Interrupted)
        }
    }
}

/// What following operations by their ids needs to hear; their states are asked for one by one.
pub(crate) fn kinds_without_snapshot() -> Vec<EventKind> {
    vec![EventKind::Resync, EventKind::Operation, EventKind::Removed, EventKind::Progress]
}
