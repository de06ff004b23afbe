//! `longhaul config`.

use serde::Serialize;

use crate::ConfigurationValue;
use crate::commands::daemon::Options;
use crate::connect::Context;
use crate::console::{FAINT, View};
use crate::exit::Exit;
use crate::table::{Align, Cell, Table};
use crate::text::escape;
use crate::trouble::Trouble;

/// The service's configuration
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show each value and where it comes from: default, file, environment or flag
    Show(Options),
}

#[derive(Serialize)]
struct Items<'a> {
    items: &'a [ConfigurationValue],
}

pub(crate) fn run(arguments: Arguments, context: &Context) -> Result<Exit, Trouble> {
    let Command::Show(options) = arguments.command;
    let values = (context.service.configuration)(&options.resolve(context)?)?;
    context.console.data(&Items { items: &values }, |view| render(&values, view))?;
    Ok(Exit::Success)
}

fn render(values: &[ConfigurationValue], view: &View) -> String {
    let mut table = Table::new(&[("KEY", Align::Left), ("VALUE", Align::Left), ("FROM", Align::Left)]);
    for value in values {
        table.row([
            Cell::from(escape(&value.key)),
            Cell::from(escape(&value.value)),
            Cell::styled(escape(&value.origin), FAINT),
        ]);
    }
    table.render(view)
}
