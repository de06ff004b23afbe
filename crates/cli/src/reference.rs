//! The reference of the command line, made from its definition.

use clap::{Arg, Command, CommandFactory};

use crate::arguments::Arguments;

/// `docs/reference/cli.md`.
#[must_use]
pub fn reference_markdown() -> String {
    let mut root = Arguments::command().term_width(0);
    root.build();
    let mut text = String::from(
        "# Command line\n\nData goes to standard output, talk to standard error. Ids may be shortened to a prefix that no \
         other has. How commands end: [exit-codes.md](exit-codes.md).\n\n",
    );
    text.push_str("## Options of every command\n\n");
    let globals: Vec<&Arg> = root.get_arguments().filter(|argument| argument.is_global_set()).collect();
    text.push_str(&options(&globals));
    for command in root.get_subcommands() {
        describe(&mut text, command, "longhaul", 2);
    }
    text
}

fn describe(text: &mut String, command: &Command, above: &str, level: usize) {
    if command.is_hide_set() || command.get_name() == "help" {
        return;
    }
    let name = format!("{above} {}", command.get_name());
    text.push_str(&format!("\n{} `{name}`\n\n", "#".repeat(level)));
    let about = command.get_long_about().or_else(|| command.get_about());
    if let Some(about) = about {
        text.push_str(&format!("{about}\n"));
    }
    let own = |argument: &&Arg| {
        !argument.is_global_set()
            && !argument.is_hide_set()
            && !matches!(argument.get_id().as_str(), "help" | "version")
    };
    let arguments: Vec<&Arg> = command.get_arguments().filter(own).collect();
    let positional: Vec<String> = arguments
        .iter()
        .filter(|argument| argument.is_positional())
        .map(|argument| shown(argument))
        .collect();
    if command.has_subcommands() {
        for below in command.get_subcommands() {
            describe(text, below, &name, level + 1);
        }
        return;
    }
    let has_options = arguments.iter().any(|argument| !argument.is_positional());
    let mut usage = name;
    if has_options {
        usage.push_str(" [OPTIONS]");
    }
    for argument in positional {
        usage.push_str(&format!(" {argument}"));
    }
    text.push_str(&format!("\n```text\n{usage}\n```\n"));
    if !arguments.is_empty() {
        text.push_str(&format!("\n{}", options(&arguments)));
    }
}

/// A positional argument as in a usage line.
fn shown(argument: &Arg) -> String {
    let name = value_name(argument);
    let is_many = argument.get_num_args().is_some_and(|range| range.max_values() > 1);
    let name = if is_many { format!("{name}…") } else { name };
    if argument.is_required_set() { name } else { format!("[{name}]") }
}

fn value_name(argument: &Arg) -> String {
    let names = argument.get_value_names().unwrap_or_default();
    names.iter().map(clap::builder::Str::as_str).collect::<Vec<_>>().join(" ")
}

fn options(arguments: &[&Arg]) -> String {
    let mut text = String::from("| | |\n|---|---|\n");
    for argument in arguments {
        let mut names = Vec::new();
        names.extend(argument.get_short().map(|letter| format!("-{letter}")));
        names.extend(argument.get_long().map(|word| format!("--{word}")));
        let mut spelled = names.join(", ");
        if argument.is_positional() {
            spelled = value_name(argument);
        } else if argument.get_action().takes_values() {
            spelled.push_str(&format!(" {}", value_name(argument)));
        }
        let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
        text.push_str(&format!("| `{}` | {}{} |\n", spelled, help.replace('|', "\\|"), remarks(argument)));
    }
    text
}

fn remarks(argument: &Arg) -> String {
    let mut remarks = Vec::new();
    let values: Vec<_> = argument
        .get_possible_values()
        .iter()
        .filter(|value| argument.get_action().takes_values() && !value.is_hide_set())
        .map(|value| format!("`{}`", value.get_name()))
        .collect();
    if !values.is_empty() {
        remarks.push(format!("one of {}", values.join(", ")));
    }
    let defaults: Vec<_> =
        argument.get_default_values().iter().map(|value| value.to_string_lossy().into_owned()).collect();
    if argument.get_action().takes_values() && !defaults.is_empty() {
        remarks.push(format!("default `{}`", defaults.join(",")));
    }
    remarks.extend(argument.get_env().map(|name| format!("environment `{}`", name.to_string_lossy())));
    if remarks.is_empty() { String::new() } else { format!(" ({})", remarks.join("; ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_and_option_is_in_the_reference() {
        let text = reference_markdown();
        let mut root = Arguments::command();
        root.build();
        let mut commands: Vec<(String, &Command)> = root
            .get_subcommands()
            .map(|command| (format!("longhaul {}", command.get_name()), command))
            .collect();
        let mut count = 0;
        while let Some((name, command)) = commands.pop() {
            if command.get_name() == "help" {
                continue;
            }
            count += 1;
            assert!(text.contains(&format!("`{name}`")), "{name} is missing");
            for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
                if let Some(long) = argument.get_long().filter(|long| !matches!(*long, "help" | "version")) {
                    assert!(text.contains(&format!("--{long}")), "{name} --{long} is missing");
                }
            }
            commands.extend(
                command.get_subcommands().map(|below| (format!("{name} {}", below.get_name()), below)),
            );
        }
        assert!(count > 25, "only {count} commands were looked at");
    }

    #[test]
    fn nothing_of_this_machine_is_in_the_reference() {
        let text = reference_markdown();
        assert!(!text.contains(env!("CARGO_MANIFEST_DIR")));
        assert!(!text.contains("\u{1b}"));
    }
}
