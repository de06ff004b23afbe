//! `longhaul app`.

use longhaul_contract::{App, AppId, Scope};
use serde::Serialize;

use crate::connect::Context;
use crate::console::View;
use crate::exit::Exit;
use crate::table::{Align, Cell, Table};
use crate::text::escape;
use crate::trouble::Trouble;

/// Applications that use the service
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List the applications that have downloads or tokens
    Ls,
    /// Make a token for calls over TCP and print it; it is shown this once
    Token {
        /// Reverse-DNS name of the application
        #[arg(value_name = "APP")]
        app: AppId,
        /// What the token may do: submit, read, admin
        #[arg(long, value_name = "SCOPE", value_delimiter = ',', default_value = "submit,read")]
        scope: Vec<ScopeWord>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum ScopeWord {
    /// Create and control downloads
    Submit,
    /// Read downloads, events and content
    Read,
    /// Change what concerns the whole machine
    Admin,
}

impl From<ScopeWord> for Scope {
    fn from(word: ScopeWord) -> Self {
        match word {
            ScopeWord::Submit => Self::Submit,
            ScopeWord::Read => Self::Read,
            ScopeWord::Admin => Self::Admin,
        }
    }
}

#[derive(Serialize)]
struct Items<'a> {
    items: &'a [App],
}

pub(crate) async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Trouble> {
    let client = context.client().await?;
    match arguments.command {
        Command::Ls => {
            let apps = client.apps().await?;
            context.console.data(&Items { items: &apps }, |view| render(&apps, view))?;
            if apps.is_empty() && !context.console.is_json {
                context.console.say("No applications.");
            }
        }
        Command::Token { app, scope } => {
            let scopes: Vec<Scope> = scope.into_iter().map(Scope::from).collect();
            let made = client.create_token(&app, &scopes).await?;
            context.console.data(&made, |_| format!("{}\n", made.token))?;
            if context.console.is_out_terminal && !context.console.is_json {
                context.console.say("Keep it now: it is not shown again.");
            }
        }
    }
    Ok(Exit::Success)
}

fn render(apps: &[App], view: &View) -> String {
    if apps.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&[
        ("APP", Align::Left),
        ("UNDER WAY", Align::Right),
        ("TOKENS", Align::Right),
        ("SCOPES", Align::Left),
    ]);
    for app in apps {
        let scopes: Vec<_> = app.scopes.iter().map(|scope| format!("{scope:?}").to_lowercase()).collect();
        table.row([
            Cell::from(escape(app.id.as_str())),
            Cell::from(app.live_operations.to_string()),
            Cell::from(app.tokens.to_string()),
            Cell::from(scopes.join(",")),
        ]);
    }
    table.render(view)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn applications() {
        let app = App {
            id: AppId::new("org.example.Photos").unwrap(),
            live_operations: 12,
            tokens: 2,
            scopes: vec![Scope::Submit, Scope::Read],
        };
        insta::assert_snapshot!(render(&[app], &sample::view(80)));
    }
}
