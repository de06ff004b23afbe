//! The command line: one enum of commands, and what holds for all of them.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use longhaul_contract::AppId;

use crate::commands::{
    access, app, cat, completion, completions, cond, config, control, daemon, doctor, follow, get, group,
    host, instance, limits, list, put, ranges, receipt, service, set, show, task, triggers, unconstrain,
    when, why,
};
use crate::console::ColorChoice;

/// Downloads and uploads that finish whatever happens, and tasks that run when it is time.
///
/// `longhaul get URL` and `longhaul put FILE URL` hand a transfer to a service that works in the background, survives
/// interrupted networks, reboots and its own crashes, and publishes the right bytes or nothing. `longhaul task add` and
/// `longhaul when` have it run programs when a trigger fires and conditions hold.
#[derive(Debug, Parser)]
#[command(name = "longhaul", version, propagate_version = true, disable_help_subcommand = true)]
#[command(arg_required_else_help = true, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) globals: Globals,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Globals {
    /// Write one JSON document (`follow`: one a line) instead of text for people
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// When to use colour
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: ColorChoice,
    /// Speak for this application, a reverse-DNS name
    #[arg(long, global = true, value_name = "APP", env = "LONGHAUL_APP")]
    pub(crate) app: Option<AppId>,
    /// The service's Unix socket
    #[arg(long, global = true, value_name = "PATH", env = "LONGHAUL_SOCKET")]
    pub(crate) socket: Option<PathBuf>,
    /// Call a service over TCP instead; needs --token-file
    #[arg(long, global = true, value_name = "HOST:PORT", env = "LONGHAUL_SERVER", requires = "token_file")]
    pub(crate) server: Option<String>,
    /// File that holds the token for --server
    #[arg(long, global = true, value_name = "FILE", env = "LONGHAUL_TOKEN_FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Do not start the service when it is not there
    #[arg(long, global = true)]
    pub(crate) no_start: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[command(flatten)]
    Call(Call),
    Daemon(daemon::Arguments),
}

/// Everything but the service itself.
#[derive(Debug, Subcommand)]
pub(crate) enum Call {
    Get(Box<get::Arguments>),
    Put(Box<put::Arguments>),
    #[command(name = "ls")]
    List(list::Arguments),
    Show(show::Arguments),
    Why(why::Arguments),
    Follow(follow::Arguments),
    Start(control::Start),
    Pause(control::Pause),
    Resume(control::Resume),
    Cancel(control::Cancel),
    #[command(name = "rm")]
    Remove(control::Remove),
    Set(set::Arguments),
    Ranges(ranges::Arguments),
    Cat(cat::Arguments),
    Receipt(receipt::ReceiptArguments),
    Verify(receipt::VerifyArguments),
    Group(group::Arguments),
    Completion(completion::Arguments),
    Unconstrain(unconstrain::Arguments),
    Task(task::Arguments),
    When(Box<when::Arguments>),
    Cond(cond::Arguments),
    Triggers(triggers::Arguments),
    Access(access::Arguments),
    Instance(instance::Arguments),
    Limits(limits::Arguments),
    Host(host::Arguments),
    App(app::Arguments),
    Service(service::Arguments),
    Doctor(doctor::Arguments),
    Config(config::Arguments),
    Completions(completions::Arguments),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
