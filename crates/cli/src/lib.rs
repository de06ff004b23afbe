//! Longhaul for a person at a terminal.
//!
//! Everything here goes through `longhaul-client`; what the service is made of is handed in as [`ServiceEntry`], so
//! that this crate does not depend on it. Data goes to standard output, talk to standard error, and text that came
//! from outside is escaped on its way to either.

mod arguments;
mod command_line;
mod commands;
mod condition;
mod connect;
mod console;
mod creation;
mod describe;
mod exit;
mod following;
mod identifiers;
mod input;
mod manifest;
mod measure;
mod reference;
#[cfg(test)]
mod sample;
mod service;
mod table;
mod tasks;
mod text;
mod trouble;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

pub use exit::{Exit, exit_codes_markdown};
pub use reference::reference_markdown;
pub use trouble::Trouble;

use arguments::{Arguments, Call, Command};
use connect::Context;

/// The flags of `longhaul daemon`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DaemonOptions {
    /// TCP addresses to listen on, besides the Unix socket.
    pub listen: Vec<SocketAddr>,
    /// The Unix socket, when not the usual one.
    pub socket: Option<PathBuf>,
    /// The configuration file, when not the usual one.
    pub config: Option<PathBuf>,
    /// The state folder, when not the usual one.
    pub state: Option<PathBuf>,
    /// PEM files with certificates that are trusted besides the system's.
    pub ca_certificates: Vec<PathBuf>,
}

/// One value of the configuration and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ConfigurationValue {
    /// `section.key`
    pub key: String,
    pub value: String,
    /// `default`, the file, the environment variable or the flag.
    pub origin: String,
}

/// What the binary brings in from the service.
#[derive(Debug, Clone, Copy)]
pub struct ServiceEntry {
    /// Runs the service until it is told to stop.
    pub run: fn(DaemonOptions) -> Result<(), Trouble>,
    /// The configuration as the service would see it.
    pub configuration: fn(&DaemonOptions) -> Result<Vec<ConfigurationValue>, Trouble>,
    /// Has the next start of the service seal secrets with a new key; tells the file that holds it.
    pub rotate_key: fn(&DaemonOptions) -> Result<PathBuf, Trouble>,
}

/// Runs the command line `arguments` (the first is the name of the program) to its end.
pub fn run(arguments: impl IntoIterator<Item = OsString>, service: ServiceEntry) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Printing fails only when nobody reads.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() {
                Exit::Usage.code()
            } else {
                Exit::Success.code()
            });
        }
    };
    let context = Context::new(arguments.globals, service);
    let exit = match dispatch(arguments.command, &context) {
        Ok(exit) => exit,
        Err(trouble) => {
            context.console.complain(&trouble);
            trouble.exit
        }
    };
    ExitCode::from(exit.code())
}

fn dispatch(command: Command, context: &Context) -> Result<Exit, Trouble> {
    let call = match command {
        // The service brings its own runtime.
        Command::Daemon(arguments) => return commands::daemon::run(arguments, context),
        Command::Call(call) => call,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Trouble::new(Exit::Internal, format!("no runtime: {error}")))?;
    let result = runtime.block_on(carry_out(call, context));
    // A blocking read of standard input must not keep a finished command alive.
    runtime.shutdown_background();
    result
}

async fn carry_out(call: Call, context: &Context) -> Result<Exit, Trouble> {
    match call {
        Call::Get(arguments) => commands::get::run(*arguments, context).await,
        Call::Put(arguments) => commands::put::run(*arguments, context).await,
        Call::List(arguments) => commands::list::run(arguments, context).await,
        Call::Show(arguments) => commands::show::run(arguments, context).await,
        Call::Why(arguments) => commands::why::run(arguments, context).await,
        Call::Follow(arguments) => commands::follow::run(arguments, context).await,
        Call::Start(arguments) => commands::control::start(arguments, context).await,
        Call::Pause(arguments) => commands::control::pause(arguments, context).await,
        Call::Resume(arguments) => commands::control::resume(arguments, context).await,
        Call::Cancel(arguments) => commands::control::cancel(arguments, context).await,
        Call::Remove(arguments) => commands::control::remove(arguments, context).await,
        Call::Set(arguments) => commands::set::run(arguments, context).await,
        Call::Ranges(arguments) => commands::ranges::run(arguments, context).await,
        Call::Cat(arguments) => commands::cat::run(arguments, context).await,
        Call::Receipt(arguments) => commands::receipt::receipt(arguments, context).await,
        Call::Verify(arguments) => commands::receipt::verify(arguments, context).await,
        Call::Group(arguments) => commands::group::run(arguments, context).await,
        Call::Completion(arguments) => commands::completion::run(arguments, context).await,
        Call::Unconstrain(arguments) => commands::unconstrain::run(arguments, context).await,
        Call::Task(arguments) => commands::task::run(arguments, context).await,
        Call::When(arguments) => commands::when::run(*arguments, context).await,
        Call::Cond(arguments) => commands::cond::run(arguments, context).await,
        Call::Triggers(arguments) => commands::triggers::run(arguments, context).await,
        Call::Access(arguments) => commands::access::run(arguments, context).await,
        Call::Instance(arguments) => commands::instance::run(arguments, context).await,
        Call::Limits(arguments) => commands::limits::run(arguments, context).await,
        Call::Host(arguments) => commands::host::run(arguments, context).await,
        Call::App(arguments) => commands::app::run(arguments, context).await,
        Call::Service(arguments) => commands::service::run(arguments, context).await,
        Call::Doctor(arguments) => commands::doctor::run(arguments, context).await,
        Call::Config(arguments) => commands::config::run(arguments, context),
        Call::Completions(arguments) => commands::completions::run(&arguments, &mut Arguments::command()),
    }
}
