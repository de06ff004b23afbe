//! `longhaul access`.

use longhaul_client::Client;
use longhaul_contract::{AccessStatus, AppId};
use serde::Serialize;

use crate::command_line;
use crate::connect::Context;
use crate::console::{BAD, GOOD, View, WARNING};
use crate::exit::Exit;
use crate::table::pairs;
use crate::text::escape;
use crate::trouble::Trouble;

/// Show or decide whether an application may run in the background
///
/// Without a command it shows the status of the application that is spoken for. Tasks of an application that may not are
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

#[derive(Serialize)]
struct Answer<'a> {
    app: &'a AppId,
    status: AccessStatus,
}

pub(crate) async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Trouble> {
    let client = context.client().await?;
    let own = command_line::application(context);
    let (app, status) = match arguments.command {
        None => (own, client.access_status().await?),
        Some(Command::Request) => (own, client.request_access(None).await?),
        Some(Command::Grant { app, always }) => {
            let status =
                if always { AccessStatus::AlwaysAllowed } else { AccessStatus::AllowedSubjectToSystemPolicy };
            decide(&client, app, status).await?
        }
        Some(Command::Deny { app }) => decide(&client, app, AccessStatus::DeniedByUser).await?,
        Some(Command::Reset { app }) => decide(&client, app, AccessStatus::Unspecified).await?,
    };
    let answer = Answer { app: &app, status };
    context.console.data(&answer, |view| render(&answer, view))?;
    Ok(Exit::Success)
}

async fn decide(client: &Client, app: AppId, status: AccessStatus) -> Result<(AppId, AccessStatus), Trouble> {
    client.put_access(&app, status).await?;
    Ok((app, status))
}

fn render(answer: &Answer<'_>, view: &View) -> String {
    let style = match answer.status {
        AccessStatus::AlwaysAllowed | AccessStatus::AllowedSubjectToSystemPolicy => GOOD,
        AccessStatus::Unspecified => WARNING,
        AccessStatus::DeniedBySystemPolicy | AccessStatus::DeniedByUser => BAD,
    };
    pairs(view, [(escape(answer.app.as_str()).as_ref(), view.paint.paint(style, answer.status.word()))])
}
