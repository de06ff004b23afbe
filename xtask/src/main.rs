//! The project's own commands: everything that checks the project, and what makes its generated files.
//!
//! Kept to the standard library, TOML and JSON, so that it builds in seconds. What needs the real crates (generated
//! references) is asked of another program, `longhaul-reference`.

mod arrows;
mod ci;
mod generate;
mod lexer;
mod setup;
mod tidy;
mod workspace;

use std::process::ExitCode;

use workspace::{Failure, Workspace};

const USAGE: &str = "\
cargo xtask COMMAND

  ci [STEP…]          every check in the order of continuous integration, or only the named steps
  arrows              which crate may know which
  tidy [--tighten]    file and function length, names, leftovers; --tighten lowers the exceptions to what is needed
  generate [--check]  write the generated references, or fail when they differ
  setup               install the programs that the checks need
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[&str]) -> Result<(), Failure> {
    let workspace = Workspace::find()?;
    match arguments {
        ["ci", steps @ ..] => ci::run(&workspace, steps),
        ["arrows"] => arrows::run(&workspace),
        ["tidy"] => tidy::run(&workspace, tidy::Mode::Check),
        ["tidy", "--tighten"] => tidy::run(&workspace, tidy::Mode::Tighten),
        ["generate"] => generate::run(&workspace, generate::Mode::Write),
        ["generate", "--check"] => generate::run(&workspace, generate::Mode::Check),
        ["setup"] => setup::run(&workspace),
        [] | ["help" | "--help" | "-h"] => {
            print!("{USAGE}");
            Ok(())
        }
        _ => Err(Failure::new(format!("unknown command: {}\n\n{USAGE}", arguments.join(" ")))),
    }
}
