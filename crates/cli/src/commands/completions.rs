//! `longhaul completions`.

use std::io;

use clap_complete::Shell;

use crate::exit::Exit;
use crate::trouble::Trouble;

/// Print the completion script of a shell
///
/// For example: longhaul completions bash > ~/.local/share/bash-completion/completions/longhaul
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

pub(crate) fn run(arguments: &Arguments, command: &mut clap::Command) -> Result<Exit, Trouble> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, command, "longhaul", &mut script);
    io::Write::write_all(&mut io::stdout().lock(), &script).map_err(|error| Trouble::output(&error))?;
    Ok(Exit::Success)
}
