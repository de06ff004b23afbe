//! `longhaul start`, `pause`, `resume`, `cancel` and `rm`.

use longhaul_client::{Client, ClientError, DownloadQuery, Transfer};
use longhaul_contract::{Operation, TransferStatus};
use serde::Serialize;

use crate::connect::Context;
use crate::console::View;
use crate::exit::Exit;
use crate::trouble::Trouble;
use crate::{describe, identifiers};

/// Start operations that were created without starting
#[derive(Debug, clap::Args)]
pub(crate) struct Start {
    /// The operations, by their ids or the beginnings of them
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
}

/// Pause downloads and uploads; the bytes of downloads are kept
#[derive(Debug, clap::Args)]
pub(crate) struct Pause {
    #[command(flatten)]
    which: Which,
}

/// Let paused operations go on
#[derive(Debug, clap::Args)]
pub(crate) struct Resume {
    #[command(flatten)]
    which: Which,
}

/// Cancel operations and delete the bytes of downloads
#[derive(Debug, clap::Args)]
pub(crate) struct Cancel {
    #[command(flatten)]
    which: Which,
}

/// Forget operations, cancelling them where they are not finished; published files stay
#[derive(Debug, clap::Args)]
pub(crate) struct Remove {
    /// The operations, by their ids or the beginnings of them
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// The operations, by their ids or the beginnings of them
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// All operations that this can be done to
    #[arg(short, long)]
    all: bool,
}

#[derive(Serialize)]
struct Items {
    items: Vec<Operation>,
}

/// One of the commands that answer with the changed operation.
#[derive(Clone, Copy)]
enum Command {
    Start,
    Pause,
    Resume,
    Cancel,
}

impl Command {
    async fn give(self, transfer: &Transfer) -> Result<Operation, ClientError> {
        match self {
            Self::Start => transfer.start().await,
            Self::Pause => transfer.pause().await,
            Self::Resume => transfer.resume().await,
            Self::Cancel => transfer.cancel().await,
        }
    }

    fn applies_to(self, status: TransferStatus) -> bool {
        match self {
            Self::Start => status == TransferStatus::Idle,
            Self::Pause => !status.is_final() && status != TransferStatus::PausedByApplication,
            Self::Resume => matches!(
                status,
                TransferStatus::PausedByApplication | TransferStatus::PausedRecoverableWebErrorStatus
            ),
            Self::Cancel => !status.is_final(),
        }
    }

    const fn done(self) -> &'static str {
        match self {
            Self::Start => "started",
            Self::Pause => "paused",
            Self::Resume => "resumed",
            Self::Cancel => "canceled",
        }
    }
}

pub(crate) async fn start(arguments: Start, context: &Context) -> Result<Exit, Trouble> {
    each(context, &Which { ids: arguments.ids, all: false }, Command::Start).await
}

pub(crate) async fn pause(arguments: Pause, context: &Context) -> Result<Exit, Trouble> {
    each(context, &arguments.which, Command::Pause).await
}

pub(crate) async fn resume(arguments: Resume, context: &Context) -> Result<Exit, Trouble> {
    each(context, &arguments.which, Command::Resume).await
}

pub(crate) async fn cancel(arguments: Cancel, context: &Context) -> Result<Exit, Trouble> {
    each(context, &arguments.which, Command::Cancel).await
}

/// Gives the command to one after the other; a refusal does not keep the others from theirs.
async fn each(context: &Context, which: &Which, command: Command) -> Result<Exit, Trouble> {
    let client = context.client().await?;
    let downloads =
        if which.all { all(&client, command).await? } else { resolve_all(&client, &which.ids).await? };
    let mut items = Vec::new();
    let mut exit = Exit::Success;
    for download in &downloads {
        match command.give(download).await {
            Ok(operation) => {
                if !context.console.is_json {
                    context.console.text(&line(&operation, command.done(), &context.console.view()))?;
                }
                items.push(operation);
            }
            // Between listing and now it may have ended.
            Err(ClientError::Refused(_)) if which.all => {}
            Err(error) => exit = complain(context, error, exit)?,
        }
    }
    if context.console.is_json {
        context.console.json(&Items { items })?;
    } else if downloads.is_empty() {
        context.console.say(&format!("Nothing can be {}.", command.done()));
    }
    Ok(exit)
}

pub(crate) async fn remove(arguments: Remove, context: &Context) -> Result<Exit, Trouble> {
    let client = context.client().await?;
    let mut exit = Exit::Success;
    let mut removed = Vec::new();
    for download in resolve_all(&client, &arguments.ids).await? {
        match download.remove().await {
            Ok(()) => {
                if !context.console.is_json {
                    context.console.text(&format!("{} removed\n", download.id()))?;
                }
                removed.push(download.id());
            }
            Err(error) => exit = complain(context, error, exit)?,
        }
    }
    if context.console.is_json {
        context.console.json(&serde_json::json!({ "removed": removed }))?;
    }
    Ok(exit)
}

/// Ids are resolved before anything is done, so that a mistyped one changes nothing.
pub(crate) async fn resolve_all(client: &Client, ids: &[String]) -> Result<Vec<Transfer>, Trouble> {
    let mut downloads = Vec::with_capacity(ids.len());
    for id in ids {
        downloads.push(identifiers::resolve(client, id).await?);
    }
    Ok(downloads)
}

async fn all(client: &Client, command: Command) -> Result<Vec<Transfer>, Trouble> {
    let status = TransferStatus::ALL.iter().copied().filter(|status| command.applies_to(*status)).collect();
    let query = DownloadQuery { status, ..DownloadQuery::default() };
    let mut transfers = Vec::new();
    let mut pages = client.operations(query);
    while let Some(page) = pages.next().await? {
        transfers.extend(page.iter().map(|operation| client.transfer(operation.kind, operation.id)));
    }
    Ok(transfers)
}

/// The first refusal decides the exit code; a lost connection ends the command.
fn complain(context: &Context, error: ClientError, exit: Exit) -> Result<Exit, Trouble> {
    let is_refusal = matches!(error, ClientError::Refused(_));
    let trouble = Trouble::from(error);
    if !is_refusal {
        return Err(trouble);
    }
    context.console.complain(&trouble);
    Ok(if exit == Exit::Success { trouble.exit } else { exit })
}

fn line(operation: &Operation, done: &str, view: &View) -> String {
    let (status, style) = describe::status(operation);
    let status =
        if status == done { String::new() } else { format!(", now {}", view.paint.paint(style, status)) };
    format!("{} {done}{status}  {}\n", operation.id, describe::name(operation, None))
}
