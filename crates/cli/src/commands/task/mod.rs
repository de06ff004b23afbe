//! `longhaul task`.

mod add;
mod control;
mod list;
mod log;
mod show;

pub(crate) use add::{CommonOptions, parse_seconds};

use crate::connect::Context;
use crate::exit::Exit;
use crate::trouble::Trouble;

/// Background tasks: programs that run when a trigger fires and conditions hold
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Add(Box<add::Arguments>),
    Ls(list::Arguments),
    Show(show::Arguments),
    Why(show::Why),
    Run(control::Run),
    Log(log::Arguments),
    Request(control::Request),
    Cancel(control::Cancel),
    Rm(control::Remove),
}

pub(crate) async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Trouble> {
    match arguments.command {
        Command::Add(arguments) => add::run(*arguments, context).await,
        Command::Ls(arguments) => list::run(&arguments, context).await,
        Command::Show(arguments) => show::run(&arguments, context).await,
        Command::Why(arguments) => show::why(arguments, context).await,
        Command::Run(arguments) => control::run(arguments, context).await,
        Command::Log(arguments) => log::run(arguments, context).await,
        Command::Request(arguments) => control::request(arguments, context).await,
        Command::Cancel(arguments) => control::cancel(arguments, context).await,
        Command::Rm(arguments) => control::remove(arguments, context).await,
    }
}
