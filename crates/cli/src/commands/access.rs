//! `longhaul access`.

use longhaul_client::Client;
use longhaul_contract::{AccessStatus, AppId, ErrorCode};
use serde::Serialize;

use crate::command_line;
use crate::connect::Context;
use crate::console::{BAD, FAINT, GOOD, View};
use crate::exit::Exit;
use crate::table::{Align, Cell, Table};
use crate::text::escape;
use crate::trouble::Trouble;

/// Show or decide whether an application may run in the background
///
/// Without a command it shows what was decided, the application that is spoken for first. Tasks of an application that may not are
/// registered all the same, and wait.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Let an application run in the background
    Grant {
        /// Reverse-DNS name of the application
        #[arg(value_name = "APP")]
        app: AppId,
        /// Also while energy saver is on
        #[arg(long)]
        always: bool,
    },
    /// Keep an application from running in the background; what it runs now is cancelled
    Deny {
        /// Reverse-DNS name of the application
        #[arg(value_name = "APP")]
        app: AppId,
    },
    /// Take a decision back: the application has to ask again
    Reset {
        /// Reverse-DNS name of the application
        #[arg(value_name = "APP")]
        app: AppId,
    },
    /// Ask for the application that is spoken for, as it would itself
    Request,
}

#[derive(Debug, Serialize)]
struct Status {
    app: AppId,
    status: AccessStatus,
}

#[derive(Serialize)]
struct Items<'a> {
    items: &'a [Status],
}

pub(crate) async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Trouble> {
    let client = context.client().await?;
    let own = command_line::application(context);
    let decided = match arguments.command {
        None => {
            let items = all(&client, own).await?;
            context.console.data(&Items { items: &items }, |view| render(&items, view))?;
            return Ok(Exit::Success);
        }
        Some(Command::Request) => Status { app: own, status: client.request_access(None).await? },
        Some(Command::Grant { app, always }) => {
            let status =
                if always { AccessStatus::AlwaysAllowed } else { AccessStatus::AllowedSubjectToSystemPolicy };
            decide(&client, app, status).await?
        }
        Some(Command::Deny { app }) => decide(&client, app, AccessStatus::DeniedByUser).await?,
        Some(Command::Reset { app }) => decide(&client, app, AccessStatus::Unspecified).await?,
    };
    context.console.data(&decided, |view| render(std::slice::from_ref(&decided), view))?;
    Ok(Exit::Success)
}

/// The application that is spoken for, and the others as far as the caller may know of them.
async fn all(client: &Client, own: AppId) -> Result<Vec<Status>, Trouble> {
    let status = client.access_status().await?;
    let others = match client.apps().await {
        Ok(apps) => apps,
        Err(error) if error.code() == Some(ErrorCode::Forbidden) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let others = others
        .into_iter()
        .filter(|app| app.id != own && (app.access != AccessStatus::Unspecified || app.tasks > 0))
        .map(|app| Status { app: app.id, status: app.access });
    let mut all: Vec<Status> = others.collect();
    all.insert(0, Status { app: own, status });
    Ok(all)
}

async fn decide(client: &Client, app: AppId, status: AccessStatus) -> Result<Status, Trouble> {
    client.put_access(&app, status).await?;
    Ok(Status { app, status })
}

pub(super) fn style(status: AccessStatus) -> anstyle::Style {
    match status {
        AccessStatus::AlwaysAllowed | AccessStatus::AllowedSubjectToSystemPolicy => GOOD,
        AccessStatus::Unspecified => FAINT,
        AccessStatus::DeniedBySystemPolicy | AccessStatus::DeniedByUser => BAD,
    }
}

fn render(items: &[Status], view: &View) -> String {
    let mut table = Table::new(&[("APP", Align::Left), ("ACCESS", Align::Left)]);
    for item in items {
        table.row([
            Cell::from(escape(item.app.as_str())),
            Cell::styled(item.status.word(), style(item.status)),
        ]);
    }
    table.render(view)
}
