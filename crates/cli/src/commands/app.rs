//! `longhaul app`.

use std::path::{Path, PathBuf};

use longhaul_contract::service::AppPolicy;
use longhaul_contract::{App, AppId, Scope};
use serde::Serialize;

use crate::commands::access;
use crate::connect::Context;
use crate::console::{BAD, View};
use crate::exit::Exit;
use crate::manifest::{ManifestFolder, ManifestText};
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
    /// Install the manifest of an application, which says what its tasks run; an older one is replaced
    ///
    /// Commands that `task add` and `when` wrote into the older one are kept.
    Install {
        /// The manifest, in TOML
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// List the applications that have downloads, tasks, tokens or a manifest
    Ls,
    /// Remove the manifest of an application: its tasks are cancelled and unregistered
    Rm {
        /// Reverse-DNS name of the application
        #[arg(value_name = "APP")]
        app: AppId,
    },
    /// Show or decide what an application's transfers may do
    Policy {
        /// Reverse-DNS name of the application
        #[arg(value_name = "APP")]
        app: AppId,
        /// Whether its transfers run only while a program of it is connected
        #[arg(long, value_name = "true|false")]
        foreground_only: Option<bool>,
    },
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
    match arguments.command {
        Command::Install { file } => install(&file, context)?,
        Command::Ls => list(context).await?,
        Command::Rm { app } => remove(&app, context).await?,
        Command::Policy { app, foreground_only } => policy(&app, foreground_only, context).await?,
        Command::Token { app, scope } => {
            let scopes: Vec<Scope> = scope.into_iter().map(Scope::from).collect();
            let made = context.client().await?.create_token(&app, &scopes).await?;
            context.console.data(&made, |_| format!("{}\n", made.token))?;
            if context.console.is_out_terminal && !context.console.is_json {
                context.console.say("Keep it now: it is not shown again.");
            }
        }
    }
    Ok(Exit::Success)
}

async fn policy(app: &AppId, foreground_only: Option<bool>, context: &Context) -> Result<(), Trouble> {
    let client = context.client().await?;
    if let Some(foreground_only) = foreground_only {
        client.put_policy(app, AppPolicy { foreground_only }).await?;
    }
    let policy = client.policy(app).await?;
    context.console.data(&policy, |_| format!("foreground only: {}\n", policy.foreground_only))
}

/// The folder of manifests, which only commands on the service's own machine may change.
fn folder(context: &Context) -> Result<PathBuf, Trouble> {
    if context.is_local() {
        return Ok(context.paths()?.apps);
    }
    Err(Trouble::usage("manifests are installed on the machine of the service")
        .advise("Leave out --server, and call it there."))
}

fn install(file: &Path, context: &Context) -> Result<(), Trouble> {
    let text = std::fs::read_to_string(file).map_err(|error| Trouble::file(file, &error))?;
    let (mut new, manifest) = ManifestText::parse(&text, file)?;
    let app = manifest.app.id;
    let folder = ManifestFolder::lock(&folder(context)?)?;
    match folder.read(&app) {
        Ok(older) => new.keep_commands_of(&older)?,
        // What cannot be read has nothing to keep; the new one repairs it.
        Err(trouble) => context.console.say(&format!("The older manifest is given up: {trouble}")),
    }
    folder.write(&app, &new)?;
    let classes = new.classes();
    context
        .console
        .data(&serde_json::json!({ "app": app, "entryPoints": classes }), |_| format!("{app}\n"))?;
    if !context.console.is_json {
        let shown: Vec<_> = classes.iter().map(|class| escape(class)).collect();
        context.console.say(&format!("Installed. Entry points: {}", shown.join(", ")));
    }
    Ok(())
}

async fn remove(app: &AppId, context: &Context) -> Result<(), Trouble> {
    // A running service notices at once; one that is started now, at its start.
    context.client().await?;
    let folder = ManifestFolder::lock(&folder(context)?)?;
    if !folder.remove(app)? {
        return Err(Trouble::new(Exit::NotFound, format!("{app} has no manifest"))
            .advise("See the applications with `longhaul app ls`."));
    }
    context.console.data(&serde_json::json!({ "removed": app }), |_| format!("{app} removed\n"))
}

async fn list(context: &Context) -> Result<(), Trouble> {
    let apps = context.client().await?.apps().await?;
    context.console.data(&Items { items: &apps }, |view| render(&apps, view))?;
    if apps.is_empty() && !context.console.is_json {
        context.console.say("No applications.");
    }
    Ok(())
}

fn render(apps: &[App], view: &View) -> String {
    if apps.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&[
        ("APP", Align::Left),
        ("UNDER WAY", Align::Right),
        ("TASKS", Align::Right),
        ("ACCESS", Align::Left),
        ("TOKENS", Align::Right),
        ("SCOPES", Align::Left),
        ("ENTRY POINTS", Align::Left),
    ]);
    for app in apps {
        let scopes: Vec<_> = app.scopes.iter().map(|scope| format!("{scope:?}").to_lowercase()).collect();
        let classes: Vec<_> =
            app.entry_points.iter().flatten().map(|entry_point| entry_point.class.as_str()).collect();
        table.row([
            Cell::from(escape(app.id.as_str())),
            Cell::from(app.live_operations.to_string()),
            Cell::from(app.tasks.to_string()),
            Cell::styled(app.access.word(), access::style(app.access)),
            Cell::from(app.tokens.to_string()),
            Cell::from(scopes.join(",")),
            match &app.manifest_problem {
                Some(problem) => Cell::styled(escape(problem), BAD),
                None => Cell::from(escape(&classes.join(", "))),
            },
        ]);
    }
    table.render(view)
}

#[cfg(test)]
mod tests {
    use longhaul_contract::AccessStatus;
    use longhaul_contract::service::AppEntryPoint;

    use super::*;
    use crate::sample;

    #[test]
    fn applications() {
        let app = |name: &str| App::new(AppId::new(name).unwrap());
        let class = |class: &str| AppEntryPoint {
            class: class.to_owned(),
            kind: "process".to_owned(),
            triggers: Vec::new(),
        };
        let apps = [
            App {
                live_operations: 12,
                tokens: 2,
                scopes: vec![Scope::Submit, Scope::Read],
                ..app("org.example.Photos")
            },
            App {
                tasks: 2,
                access: AccessStatus::AllowedSubjectToSystemPolicy,
                entry_points: Some(vec![class("Mine"), class("command:one\u{1b}[2J")]),
                ..app("io.longhaul.cli")
            },
            App { manifest_problem: Some("may be written by others".to_owned()), ..app("org.example.Odd") },
        ];
        insta::assert_snapshot!(render(&apps, &sample::view(160)));
    }
}
